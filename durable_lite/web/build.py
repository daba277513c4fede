"""Builds the folder that a static host needs, from a plan; reports its sizes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from . import compress
from .bytecode import find_compiler
from .extras import read_jobs, read_wheels, unmet
from .manifest import FORMAT, NAME, File, lock, short_hash
from .modules import page_modules
from .output import BR, Output
from .pyodide import BROWSER_FILES, Pyodide, find
from .stdlib import Stdlib, Variant, made_from, make_stdlib
from .wheel import Wheel, make_wheel, members

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
    wheels = [make_wheel(members()), *read_wheels(plan.wheels, pyodide)]
    notes = [f"{one}, which isn't among the wheels (--wheel)" for one in unmet(wheels)]

    stdlib, key = _stdlib(plan, pyodide, output, heard, notes)
    digest = short_hash(stdlib.data)
    stdlib_file = File(f"python/stdlib-{plan.stdlib}-{digest}.zip", stdlib.data, "stdlib")
    runtime = [
        File(f"pyodide/{pyodide.version}/{name}", pyodide.read(name), "pyodide") for name in BROWSER_FILES
    ]
    wheel_files = [_hashed("wheels", wheel.filename, wheel.data, "wheel") for wheel in wheels]
    job_files = {name: _hashed("jobs", name, data, "job") for name, data in jobs.items()}
    modules = [File(name, data, "module", immutable=False) for name, data in page_modules().items()]
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
            "made_from": key,
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


def _stdlib(
    plan: Plan, pyodide: Pyodide, output: Output, heard: Heard, notes: list[str]
) -> tuple[Stdlib, str]:
    """The standard library and what it was made from; that of the last build, if it would be the same."""
    compiler = find_compiler(pyodide)
    key = made_from(pyodide, plan.stdlib, compiler is not None)
    if output.old is not None and output.old.stdlib.get("made_from") == key:
        url = str(output.old.stdlib.get("url"))
        data = output.read(url)
        if data is not None and hashlib.sha256(data).hexdigest() == output.old.files[url].get("sha256"):
            return Stdlib(data, compiler is not None), key
    if compiler is None:
        notes.append(
            "the standard library stays source, and a tab starts a second later: compiling it takes "
            "Python 3.14 or Node 24 on the PATH, or `npm install node@24`"
        )
    else:
        heard.step(f"compiling the standard library with {compiler.name}")
    made = make_stdlib(pyodide, plan.stdlib, compiler)
    if made.problem is not None:
        notes.append(f"the standard library stays source: {made.problem}")
        key = made_from(pyodide, plan.stdlib, False)
    return made, key


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
    loaded = [entry for url, entry in entries.items() if not url.endswith((".d.ts", ".d.mts"))]
    raw = sum(entry["size"] for entry in loaded) + manifest
    if not any("brotli" in entry for entry in loaded):
        return raw, None
    return raw, sum(entry.get("brotli", entry["size"]) for entry in loaded) + (brotli or manifest)
