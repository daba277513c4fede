"""Builds the folder that a static host needs, from a plan; reports its sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import __version__
from . import compress
from .archive import stored
from .bytecode import find_compiler
from .extras import read_jobs, read_wheels, unmet
from .making import Maker
from .manifest import FORMAT, NAME, File, lock, short_hash
from .modules import dashboard_files, is_extra, page_modules
from .output import BR, Output
from .pyodide import BROWSER_FILES, find
from .stdlib import PLACE as stdlib_place
from .stdlib import Variant, stdlib_members
from .wheel import PLACE as wheel_place
from .wheel import make_wheel
from .wheel import members as wheel_members

__all__ = ["Heard", "Plan", "Report", "build"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to build, and where; the options of `durable-lite web build`."""

    out: Path
    jobs: tuple[Path, ...] = ()
    pyodide: Path | None = None
    stdlib: Variant = "full"
    wheels: tuple[Path, ...] = ()
    brotli: bool = True
    force: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What was built. `first_download` is what a first visit loads, in bytes, raw and as brotli."""

    out: Path
    files: dict[str, dict[str, Any]]  # as in the manifest
    first_download: tuple[int, int | None]
    is_bytecode: bool
    written: int
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        raw, brotli = self.first_download
        return {
            "out": str(self.out),
            "files": self.files,
            "first_download": {"raw": raw, "brotli": brotli},
            "bytecode": self.is_bytecode,
            "written": self.written,
            "notes": self.notes,
        }


class Heard:
    """Hears how a build goes on; a subclass shows it."""

    def step(self, what: str) -> None:
        """Something begins that takes seconds."""

    def compressing(self, sizes: Mapping[str, int]) -> None:
        """These files are about to be compressed."""

    def compressed(self, url: str) -> None:
        """One of them is done."""


def build(plan: Plan, heard: Heard | None = None) -> Report:
    """Build it. Raises InvalidOption, and then nothing has changed."""
    heard = heard or Heard()
    output = Output(plan.out, force=plan.force)
    pyodide = find(plan.pyodide)
    jobs = read_jobs(plan.jobs)
    extras = read_wheels(plan.wheels, pyodide)

    maker = Maker(find_compiler(pyodide), output, heard.step)
    library = stdlib_members(pyodide, plan.stdlib)
    stdlib = maker.make(f"the standard library ({plan.stdlib})", library, stdlib_place, stored)
    core = maker.make("durable_lite", wheel_members(), wheel_place, lambda made: make_wheel(made).data)
    wheels = [make_wheel({})._replace(data=core.data), *extras]
    notes = maker.notes + [f"{one}, which isn't among the wheels (--wheel)" for one in unmet(wheels)]

    stdlib_name = f"python/stdlib-{plan.stdlib}-{short_hash(stdlib.data)}.zip"
    stdlib_file = File(stdlib_name, stdlib.data, "stdlib", made_from=stdlib.made_from)
    runtime = [
        File(f"pyodide/{pyodide.version}/{name}", pyodide.read(name), "pyodide") for name in BROWSER_FILES
    ]
    wheel_files = [_hashed("wheels", wheel.filename, wheel.data, "wheel") for wheel in wheels]
    wheel_files[0] = replace(wheel_files[0], made_from=core.made_from)
    job_files = {name: _hashed("jobs", name, data, "job") for name, data in jobs.items()}
    everything = page_modules() | dashboard_files()
    modules = [
        File(name, data, "extra" if is_extra(name) else "module", immutable=False)
        for name, data in everything.items()
    ]
    files = {file.url: file for file in (*modules, *runtime, stdlib_file, *wheel_files, *job_files.values())}
    output.check(name for url in files for name in (url, url + BR))

    brotli = _siblings(plan, files, output, heard, notes)
    entries = {url: files[url].entry(len(brotli[url]) if url in brotli else None) for url in sorted(files)}
    manifest = {
        "format": FORMAT,
        "durable_lite": __version__,
        "pyodide": {"version": pyodide.version, "url": f"pyodide/{pyodide.version}/"},
        "stdlib": {
            "url": stdlib_file.url,
            "variant": plan.stdlib,
            "bytecode": stdlib.is_bytecode,
        },
        "lock": lock(pyodide, zip(wheels, wheel_files, strict=True)),
        "packages": [wheel.name for wheel in wheels],
        "jobs": [{"name": name, "url": file.url} for name, file in job_files.items()],
        "files": entries,
    }
    text = json.dumps(manifest, indent=1).encode() + b"\n"
    named = {NAME: text}
    if plan.brotli and compress.available():
        named[NAME + BR] = compress.brotlied({NAME: text})[NAME]
    written = output.write(files, brotli, named)
    download = _first_download(entries, len(text), len(named[NAME + BR]) if NAME + BR in named else None)
    return Report(plan.out, entries, download, stdlib.is_bytecode, written, notes)


def _siblings(
    plan: Plan, files: Mapping[str, File], output: Output, heard: Heard, notes: list[str]
) -> dict[str, bytes]:
    """The compressed siblings by the URL of their file; those of the last build are used again."""
    can = compress.available()
    found: dict[str, bytes] = {}
    for url, file in files.items():
        entry = output.old.files.get(url, {}) if output.old is not None else {}
        old = output.read(url + BR) if entry.get("sha256") == file.sha256 and "brotli" in entry else None
        if (
            old is not None
            and len(old) == entry["brotli"]
            and (not can or compress.unbrotlied(old) == file.data)
        ):
            found[url] = old
    missing = {url: file.data for url, file in files.items() if url not in found}
    if not can and plan.brotli and missing:
        notes.append('no .br files: pip install "durable-lite[web]", or let the host compress')
    if not can or not plan.brotli or not missing:
        return found
    heard.compressing({url: len(data) for url, data in missing.items()})
    new = compress.brotlied(missing, heard.compressed)
    return found | {url: data for url, data in new.items() if len(data) < len(missing[url])}


def _hashed(folder: str, name: str, data: bytes, kind: str) -> File:
    """The name stays, as wheels and modules need theirs; a folder of its own has the hash."""
    return File(f"{folder}/{short_hash(data)}/{name}", data, kind)


def _first_download(
    entries: Mapping[str, Mapping[str, Any]], manifest: int, brotli: int | None
) -> tuple[int, int | None]:
    loaded = [
        entry for url, entry in entries.items() if not url.endswith(".d.mts") and entry["kind"] != "extra"
    ]
    raw = sum(entry["size"] for entry in loaded) + manifest
    if not any("brotli" in entry for entry in loaded):
        return raw, None
    return raw, sum(entry.get("brotli", entry["size"]) for entry in loaded) + (brotli or manifest)
