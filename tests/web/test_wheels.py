"""Our wheel for a tab, wheels of users, and the published wheel: valid, installable, and complete."""

import base64
import csv
import hashlib
import io
import json
import shutil
import sys
import zipfile

import pytest

from durable_lite.web.modules import dashboard_files, page_modules
from durable_lite.web.wheel import make_wheel, members
from tests.web.support import PYODIDE, boot, command, manifest, own_wheel, refused, run


def the_wheel(build):
    (url,) = (url for url, entry in manifest(build)["files"].items() if entry["kind"] == "wheel")
    return build / url


class TestOurs:
    def test_the_record_is_true(self, full):
        with zipfile.ZipFile(the_wheel(full)) as archive:
            names = archive.namelist()
            (record,) = (name for name in names if name.endswith("RECORD"))
            rows = list(csv.reader(io.StringIO(archive.read(record).decode())))
            assert sorted(row[0] for row in rows) == sorted(names)
            for name, digest, size in rows:
                if name != record:
                    data = archive.read(name)
                    expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                    assert (digest, int(size)) == (f"sha256={expected}", len(data))

    def test_pip_installs_it(self, full, tmp_path):
        done = run(
            sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-compile",
            "--target", tmp_path / "site", the_wheel(full),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "site" / "durable_lite" / "durable.pyc").exists()

    def test_only_what_a_tab_needs(self):
        names = set(members())
        assert {"durable_lite/durable.py", "durable_lite/stores/indexeddb.py"} <= names
        for part in ("cli/", "server/", "testing/", "web/", "sqlite", "__pycache__"):
            assert not [name for name in names if part in name.removeprefix("durable_lite/")], part

    def test_the_same_files_give_the_same_bytes(self):
        first = members()
        again = dict(reversed(first.items()))
        assert make_wheel(first).data == make_wheel(again).data

    def test_it_depends_on_no_other_package(self, full, tmp_path):
        code = "import json; from importlib.metadata import requires; json.dumps(requires('durable-lite'))"
        assert boot(full, code, tmp_path) is None


class TestOfUsers:
    def build(self, slim, tmp_path, *wheels):
        out = shutil.copytree(slim, tmp_path / "out")  # what both have isn't compiled twice
        options = [word for wheel in wheels for word in ("--wheel", wheel)]
        flags = ("--stdlib", "slim", "--no-br", "--json")
        return json.loads(command("web", "build", "--out", out, "--pyodide", PYODIDE, *flags, *options))

    def test_they_are_there_in_the_tab(self, slim, tmp_path):
        asks = own_wheel(
            tmp_path, "asks", requires=["helper", "other; extra == 'more'"], source="import helper\n"
        )
        report = self.build(slim, tmp_path, asks, own_wheel(tmp_path))
        assert not [note for note in report["notes"] if "needs" in note]
        assert manifest(tmp_path / "out")["packages"] == ["durable-lite", "asks", "helper"]
        code = "import json, asks; json.dumps(asks.helper.ANSWER)"
        assert boot(tmp_path / "out", code, tmp_path) == 42

    def test_what_they_lack_is_told(self, slim, tmp_path):
        report = self.build(slim, tmp_path, own_wheel(tmp_path, requires=["Some_Thing>=1"]))
        assert "helper needs some-thing, which isn't among the wheels (--wheel)" in report["notes"]

    @pytest.mark.parametrize("tag", ["cp311-cp311-manylinux_2_17_x86_64", "cp314-cp314-macosx_11_0_arm64"])
    def test_another_platform_is_refused(self, tmp_path, tag):
        wheel = own_wheel(tmp_path, tag=tag)
        line = refused("web", "build", "--out", tmp_path / "out", "--pyodide", PYODIDE, "--wheel", wheel)
        assert line.startswith("durable-lite: --wheel: ")
        assert "pyemscripten_2026_0_wasm32" in line

    def test_what_is_no_wheel_is_refused(self, tmp_path):
        wheel = tmp_path / "helper-1.0-py3-none-any.whl"
        wheel.write_bytes(b"no zip")
        for given, words in (
            (wheel, "not a wheel"),
            (tmp_path / "helper.zip", "its name"),
            (tmp_path / "a-1-py3-none-any.whl", "No such file"),
        ):
            line = refused("web", "build", "--out", tmp_path / "out", "--pyodide", PYODIDE, "--wheel", given)
            assert words in line

    def test_twice_the_same_package_is_refused(self, tmp_path):
        wheel = own_wheel(tmp_path)
        line = refused(
            "web",
            "build",
            "--out",
            tmp_path / "out",
            "--pyodide",
            PYODIDE,
            "--wheel",
            wheel,
            "--wheel",
            wheel,
        )
        assert "helper is there already" in line


def test_the_published_wheel_brings_the_modules_along(tmp_path):
    """Built from the project, installed without an index, and asked for its modules elsewhere."""
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    environment = tmp_path / "venv"
    assert run(sys.executable, "-m", "venv", "--without-pip", environment).returncode == 0
    python = environment / "bin" / "python"
    installed = run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel
    )
    assert installed.returncode == 0, installed.stderr
    code = (
        "import json, durable_lite.web.modules as m; from durable_lite.web import bytecode, wheel; "
        "assert bytecode._HERE.joinpath('compile_zip.mjs').exists(); "
        "print(json.dumps([m.__file__, sorted(m.page_modules() | m.dashboard_files()), sorted(wheel.members())]))"
    )
    done = run(python, "-c", code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    where, modules, core = json.loads(done.stdout)
    assert where.startswith(str(environment))
    assert modules == sorted(page_modules() | dashboard_files())
    assert core == sorted(members())
