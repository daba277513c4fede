"""What a build writes, what it leaves alone, and what the next one does again."""

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import brotli
import pytest

from durable_lite.web.modules import REQUIRED
from durable_lite.web.pyodide import MAGIC
from tests.web.support import (
    COMMAND,
    JOBS,
    PYODIDE,
    ROOT,
    attempt,
    boot,
    command,
    listing,
    manifest,
    refused,
    run,
)

# Bytes as brotli. The wheel is byte code, twice the size of its source and imported in a sixth of the time.
FIRST_DOWNLOAD = {"full": 5_500_000, "slim": 4_800_000}
WHEEL = 210_000


@pytest.fixture
def out(full: Path, tmp_path: Path, jobs: Path) -> Path:
    """A copy of the full build, to be built again."""
    folder = shutil.copytree(full, tmp_path / "static")
    build(folder, jobs)  # somebody may have edited a module since
    return folder


def build(out: Path, *args: object, **options) -> dict:
    return json.loads(command("web", "build", "--out", out, "--pyodide", PYODIDE, "--json", *args, **options))


class TestWhatIsWritten:
    @pytest.fixture(params=["full", "slim"])
    def built(self, request) -> Path:
        return request.getfixturevalue(request.param)

    def test_every_file_is_in_the_manifest(self, built):
        files = manifest(built)["files"]
        siblings = {f"{url}.br" for url, entry in files.items() if "brotli" in entry}
        own = {"durable-lite.json", "durable-lite.json.br"}
        assert set(listing(built)) == set(files) | siblings | own

    def test_sizes_and_hashes_are_true(self, built):
        for url, entry in manifest(built)["files"].items():
            data = (built / url).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["size"], entry["sha256"])
            if "brotli" in entry:
                compressed = (built / f"{url}.br").read_bytes()
                assert len(compressed) == entry["brotli"] < len(data)
                assert brotli.decompress(compressed) == data

    def test_the_manifest_is_compressed_too(self, built):
        text = (built / "durable-lite.json").read_bytes()
        assert brotli.decompress((built / "durable-lite.json.br").read_bytes()) == text

    def test_only_what_a_tab_needs(self, built):
        kinds = {}
        for url, entry in manifest(built)["files"].items():
            kinds.setdefault(entry["kind"], []).append(url)
        assert sorted(Path(url).name for url in kinds["pyodide"]) == [
            "pyodide.asm.mjs",
            "pyodide.asm.wasm",
            "pyodide.mjs",
        ]
        assert {kind: len(kinds[kind]) for kind in ("stdlib", "wheel", "job")} == {
            "stdlib": 1,
            "wheel": 1,
            "job": 1,
        }
        assert set(REQUIRED) <= {*kinds["module"], *kinds["extra"]}
        assert {"remote.mjs", "react.mjs"} <= set(kinds["extra"])

    def test_what_is_immutable_has_its_hash_or_version_in_its_url(self, built):
        for url, entry in manifest(built)["files"].items():
            named = url.startswith("pyodide/314.0.7/") or entry["sha256"][:12] in url
            assert entry["immutable"] is named is (entry["kind"] not in ("module", "extra"))

    def test_the_library_is_byte_code_and_stored(self, built):
        told = manifest(built)["stdlib"]
        assert told["bytecode"] is True
        with zipfile.ZipFile(built / told["url"]) as archive:
            for member in archive.infolist():
                assert member.compress_type == zipfile.ZIP_STORED
                assert not member.filename.endswith(".py")
            assert archive.read("asyncio/tasks.pyc")[:8] == MAGIC + b"\1\0\0\0"

    def test_the_lock_names_our_wheel(self, built):
        told = manifest(built)
        ours = told["lock"]["packages"]["durable-lite"]
        assert told["packages"] == ["durable-lite"]
        assert told["files"][ours["file_name"]]["sha256"] == ours["sha256"]
        shipped = json.loads((PYODIDE / "pyodide-lock.json").read_text())["info"]
        assert told["lock"]["info"] == shipped

    def test_the_first_download_is_within_its_budget(self, built):
        told = manifest(built)
        files = [entry for entry in told["files"].values() if entry["kind"] != "extra"]
        sizes = [entry.get("brotli", entry["size"]) for entry in files]
        sizes.append((built / "durable-lite.json.br").stat().st_size)
        assert sum(sizes) < FIRST_DOWNLOAD[told["stdlib"]["variant"]]
        (wheel,) = (entry for entry in told["files"].values() if entry["kind"] == "wheel")
        assert wheel["brotli"] < WHEEL


class TestAgain:
    def test_nothing_is_made_or_written(self, out, jobs):
        before = listing(out)
        done = attempt("web", "build", "--out", out, "--pyodide", PYODIDE, "--json", jobs)
        assert json.loads(done.stdout)["written"] == 0
        assert done.stderr == "", "neither compiled nor compressed"
        assert listing(out) == before

    def test_elsewhere_it_gives_the_same_bytes(self, slim, jobs, tmp_path):
        report = build(tmp_path / "other", jobs, "--stdlib", "slim", "--no-br")
        made = [
            {url: entry["sha256"] for url, entry in files.items() if entry["kind"] not in ("module", "extra")}
            for files in (report["files"], manifest(slim)["files"])
        ]
        assert made[0] == made[1]
        assert not any(path.suffix == ".br" for path in (tmp_path / "other").rglob("*"))

    def test_only_what_has_changed_is_written(self, out, jobs):
        before = listing(out)
        (old,) = (url for url in before if url.endswith("jobs.py"))
        jobs.write_text(JOBS + "\n# changed\n")
        report = build(out, jobs)
        after = listing(out)
        (new,) = (url for url in after if url.endswith("jobs.py"))
        assert new != old
        assert set(after) ^ set(before) == {old, f"{old}.br", new, f"{new}.br"}
        assert report["written"] == 4  # with the manifest and its sibling
        assert not (out / old).parent.exists()

    def test_a_spoilt_sibling_is_made_again(self, out, jobs):
        sibling = next(out.glob("jobs/*/jobs.py.br"))
        good = sibling.read_bytes()
        sibling.write_bytes(b"\0" * len(good))
        assert build(out, jobs)["written"] == 1
        assert sibling.read_bytes() == good

    def test_without_compression_no_stale_sibling_stays(self, out, jobs):
        jobs.write_text(JOBS + "\n# changed\n")
        files = build(out, jobs, "--no-br")["files"]
        (new,) = (url for url in files if url.endswith("jobs.py"))
        assert "brotli" not in files[new]
        assert not list(out.glob("jobs/**/*.br"))
        assert not (out / "durable-lite.json.br").exists()
        wasm = "pyodide/314.0.7/pyodide.asm.wasm"
        assert "brotli" in files[wasm], "what is still right stays"
        assert (out / f"{wasm}.br").exists()


class TestWhatItLeavesAlone:
    def test_files_of_others_stay(self, out, jobs):
        page = out / "index.html"
        page.write_text("mine")
        strange = out / "jobs" / "notes.txt"
        strange.write_text("mine too")
        jobs.write_text(JOBS + "\n# changed\n")
        build(out, jobs, "--no-br")
        assert (page.read_text(), strange.read_text()) == ("mine", "mine too")

    def test_a_folder_of_others_is_refused(self, tmp_path, jobs):
        out = tmp_path / "other"
        out.mkdir()
        (out / "index.html").write_text("mine")
        line = refused("web", "build", "--out", out, "--pyodide", PYODIDE, jobs)
        assert line.startswith("durable-lite: --out: ")
        assert "isn't empty" in line
        assert listing(out).keys() == {"index.html"}

    def test_a_file_in_the_way_is_refused(self, out, jobs):
        told = manifest(out)
        del told["files"]["indexeddb.mjs"]
        (out / "durable-lite.json").write_text(json.dumps(told))
        before = listing(out)
        line = refused("web", "build", "--out", out, "--pyodide", PYODIDE, jobs)
        assert "indexeddb.mjs: no build has written it" in line
        assert listing(out) == before
        assert build(out, jobs, "--force")["files"]["indexeddb.mjs"]

    def test_a_manifest_that_leads_elsewhere_is_not_followed(self, out, jobs, tmp_path):
        victim = tmp_path / "victim.txt"
        victim.write_text("mine")
        told = manifest(out)
        told["files"] |= {"../victim.txt": {"sha256": "0"}, str(victim): {}, "a/../../victim.txt": {}}
        (out / "durable-lite.json").write_text(json.dumps(told))
        build(out, jobs, "--no-br")
        assert victim.read_text() == "mine"


class TestFailure:
    def test_the_old_build_stays(self, out, jobs):
        before = listing(out)
        jobs.write_text("def broken(:\n")
        line = refused("web", "build", "--out", out, "--pyodide", PYODIDE, jobs)
        assert line == f"durable-lite: FILE.py: {jobs}:1: invalid syntax"
        assert listing(out) == before

    def test_the_old_build_works_when_writing_fails(self, out, jobs):
        shutil.rmtree(out / "jobs")
        (out / "jobs").write_text("a file where a folder has to be")
        before = listing(out)
        jobs.write_text(JOBS + "\n# changed\n")
        line = refused("web", "build", "--out", out, "--pyodide", PYODIDE, "--no-br", jobs)
        assert line.startswith(f"durable-lite: --out: {out / 'jobs'}")
        after = listing(out)
        assert {url: after[url] for url in before} == before, "nothing old is gone, the manifest above all"
        assert not list(out.glob(".*"))

    def test_out_is_a_file(self, tmp_path, jobs):
        out = tmp_path / "file"
        out.touch()
        assert "is a file" in refused("web", "build", "--out", out, "--pyodide", PYODIDE, jobs)

    def test_the_folder_above_is_missing(self, tmp_path, jobs):
        out = tmp_path / "no" / "such"
        assert "there is no such folder" in refused("web", "build", "--out", out, "--pyodide", PYODIDE, jobs)

    @pytest.mark.parametrize("name", ["jobs.txt", "my-jobs.py", "durable_lite.py", "missing.py"])
    def test_a_job_file_that_cannot_be_imported(self, tmp_path, name):
        path = tmp_path / "below" / name
        path.parent.mkdir()
        if name != "missing.py":
            path.write_text(JOBS)
        line = refused("web", "build", "--out", "out", "--pyodide", PYODIDE, path, folder=tmp_path)
        assert line.startswith(f"durable-lite: FILE.py: {path}: ")
        assert not (tmp_path / "out").exists()


class TestPyodide:
    def test_none_is_found(self, tmp_path, jobs):
        line = refused("web", "build", "--out", "out", jobs, folder=tmp_path)
        assert "npm install pyodide@314.0.7" in line
        assert "--pyodide" in line

    def test_it_is_found_above(self, slim, jobs, tmp_path):
        (tmp_path / "node_modules").symlink_to(PYODIDE.parent)
        below = tmp_path / "a" / "b"
        below.mkdir(parents=True)
        shutil.copytree(slim, below / "out")
        (wasm,) = (below / "out").rglob("pyodide.asm.wasm")
        wasm.unlink()
        command("web", "build", "--out", "out", "--stdlib", "slim", "--no-br", jobs, folder=below)
        assert wasm.read_bytes() == (PYODIDE / wasm.name).read_bytes()

    def test_another_version_is_refused(self, tmp_path, jobs):
        other = tmp_path / "pyodide"
        shutil.copytree(PYODIDE, other)
        package = json.loads((other / "package.json").read_text())
        (other / "package.json").write_text(json.dumps(package | {"version": "0.29.0"}))
        line = refused("web", "build", "--out", tmp_path / "out", "--pyodide", other, jobs)
        assert "Pyodide 0.29.0 isn't supported" in line

    @pytest.mark.parametrize("name", ["pyodide.asm.wasm", "pyodide-lock.json", "package.json"])
    def test_a_file_is_missing(self, tmp_path, jobs, name):
        other = tmp_path / "pyodide"
        shutil.copytree(PYODIDE, other)
        (other / name).unlink()
        line = refused("web", "build", "--out", tmp_path / "out", "--pyodide", other, jobs)
        assert f"{name} is missing" in line

    def test_without_a_compiler_modules_stay_source_and_boot(self, tmp_path, jobs):
        other = tmp_path / "pyodide"
        shutil.copytree(PYODIDE, other)
        done = attempt(
            "web", "build", "--out", "out", "--pyodide", other, "--stdlib", "slim", "--no-br", jobs,
            folder=tmp_path, env={"PATH": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert len([line for line in done.stderr.splitlines() if "modules stay source" in line]) == 1
        out = tmp_path / "out"
        assert manifest(out)["stdlib"]["bytecode"] is False
        assert boot(out, "import jobs, json; json.dumps(jobs.squares.name)", tmp_path) == "squares"

    def test_a_compiler_that_fails_is_told_of(self, tmp_path, jobs):
        other, programs = tmp_path / "pyodide", tmp_path / "bin"
        shutil.copytree(PYODIDE, other)
        programs.mkdir()
        fake = programs / "node"
        fake.write_text(
            '#!/bin/sh\n[ "$1" = --version ] && echo v24.0.0 && exit\necho "no memory" >&2\nexit 1\n'
        )
        fake.chmod(0o755)
        done = attempt(
            "web", "build", "--out", "out", "--pyodide", other, "--stdlib", "slim", "--no-br", jobs,
            folder=tmp_path, env={"PATH": f"{programs}:/usr/bin:/bin"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "the standard library (slim) stays source: Pyodide on Node 24: no memory" in done.stderr

    @pytest.mark.skipif(shutil.which("python3.14") is None, reason="no Python 3.14 here")
    def test_cpython_compiles_as_well(self, tmp_path, jobs):
        out = tmp_path / "out"
        done = attempt("web", "build", "--out", out, "--pyodide", PYODIDE, "--no-br", jobs)
        assert "with CPython" in done.stderr
        assert boot(out, "import jobs, json; json.dumps(jobs.squares.name)", tmp_path) == "squares"


def test_the_table_shows_the_first_download(out, jobs):
    shown = command("web", "build", "--out", out, "--pyodide", PYODIDE, jobs)
    assert "a first visit loads" in shown
    assert "pyodide/314.0.7/pyodide.asm.wasm" in shown
    assert "0 files written" in shown


def test_the_magic_number_is_that_of_pyodide(full, tmp_path):
    code = "import importlib.util, json; json.dumps(importlib.util.MAGIC_NUMBER.hex())"
    assert boot(full, code, tmp_path) == MAGIC.hex()


def test_no_module_imports_what_is_left_out():
    """The page's modules import only modules that the build copies."""
    from durable_lite.web.modules import modules_in

    found = modules_in(ROOT / "web")
    for name, path in found.items():
        for line in path.read_text("utf-8").splitlines():
            if line.startswith(("import ", "export ")) and ' from "./' in line:
                target = line.rpartition('"./')[2].partition('"')[0]
                assert (Path(name).parent / target).as_posix() in found, f"{name} imports {target}"


def test_the_page_about_it_has_these_sizes(full, slim):
    rows = re.findall(
        r"^\| `(\w+)` \| ([\d. |]+) \|$", (ROOT / "docs/web-build.md").read_text(), re.MULTILINE
    )
    assert [name for name, _ in rows] == ["full", "slim"]
    for (_, figures), folder in zip(rows, (full, slim), strict=True):
        sizes = {"stdlib": 0, "pyodide": 0, "rest": (folder / "durable-lite.json.br").stat().st_size}
        for url, entry in manifest(folder)["files"].items():
            if url.endswith(".d.mts") or entry["kind"] == "extra":
                continue  # types, which no page loads, and what few pages load
            kind = entry["kind"] if entry["kind"] in sizes else "rest"
            sizes[kind] += entry.get("brotli", entry["size"])
        measured = [sum(sizes.values()), *sizes.values()]
        for told, size in zip(figures.split(" | "), measured, strict=True):
            assert float(told) == pytest.approx(size / 1e6, rel=0.1, abs=0.02)


class TestCompression:
    WITHOUT = "import sys; sys.modules['brotli'] = None; from durable_lite.cli import main; main()"

    def test_without_brotli_it_says_so_and_keeps_what_is_right(self, out, jobs):
        jobs.write_text(JOBS + "\n# changed\n")
        done = run(
            sys.executable, "-c", self.WITHOUT, "web", "build", "--out", out, "--pyodide", PYODIDE, jobs
        )
        assert done.returncode == 0, done.stderr
        assert 'no .br files: pip install "durable-lite[web]"' in done.stderr
        assert (out / "pyodide/314.0.7/pyodide.asm.wasm.br").exists()
        assert not list(out.glob("jobs/**/*.br"))

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
    def test_a_signal_ends_it_and_its_processes(self, out, jobs, number):
        (out / "pyodide/314.0.7/pyodide.asm.wasm.br").unlink()  # takes half a minute to make
        before = listing(out)
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "web", "build", "--out", out, "--pyodide", PYODIDE, jobs],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        with process:
            while "compressing" not in (line := process.stderr.readline()):
                assert line, "it has ended"
            time.sleep(1)
            process.send_signal(number)
            told = process.communicate(timeout=15)[1]  # ends when no process holds the pipe
        assert process.returncode == 128 + number
        assert "Traceback" not in told
        assert listing(out) == before
