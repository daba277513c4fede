"""Finds the files of Pyodide on this machine, and refuses a version that isn't the supported one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidOption

__all__ = ["BROWSER_FILES", "MAGIC", "SUPPORTED", "Pyodide", "find", "upwards"]

SUPPORTED = "314.0.7"
MAGIC = (3627).to_bytes(2, "little") + b"\r\n"  # of its Python's byte code: all of 3.14

# What a browser loads; neither the lock file, which the manifest replaces, nor maps and consoles.
BROWSER_FILES = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm")
STDLIB = "python_stdlib.zip"
_LOCK = "pyodide-lock.json"
_INFO = ("abi_version", "arch", "platform", "python")
_HOW = f"`npm install pyodide@{SUPPORTED}`, or unpack its release and say --pyodide DIR"


@dataclass(frozen=True, slots=True)
class Pyodide:
    """A folder with a Pyodide of the supported version."""

    folder: Path
    version: str
    info: dict[str, str]  # of its lock file: which wheels fit

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


def find(folder: Path | None = None, *, start: Path | None = None) -> Pyodide:
    """Pyodide in this folder, or in the nearest node_modules/pyodide above `start`.

    Raises InvalidOption with a line that says how to get it.
    """
    if folder is None:
        found = (above / "node_modules" / "pyodide" for above in upwards(start or Path.cwd()))
        folder = next((one for one in found if (one / "pyodide.mjs").is_file()), None)
        if folder is None:
            raise InvalidOption("--pyodide", f"no node_modules/pyodide here or above: {_HOW}")
    elif not folder.is_dir():
        raise InvalidOption("--pyodide", f"{folder}: there is no such folder: {_HOW}")
    for name in (*BROWSER_FILES, STDLIB, _LOCK, "package.json"):
        if not (folder / name).is_file():
            raise InvalidOption("--pyodide", f"{folder}: {name} is missing: {_HOW}")
    version = _json(folder / "package.json").get("version")
    if version != SUPPORTED:
        raise InvalidOption("--pyodide", f"{folder}: Pyodide {version} isn't supported: {_HOW}")
    info = _json(folder / _LOCK).get("info")
    if not isinstance(info, dict) or not all(isinstance(info.get(name), str) for name in _INFO):
        raise InvalidOption("--pyodide", f"{folder}: {_LOCK} doesn't say what it is for: {_HOW}")
    return Pyodide(folder, version, {name: info[name] for name in _INFO})


def upwards(start: Path) -> Iterator[Path]:
    """The folder and those above it."""
    start = start.resolve()
    yield start
    yield from start.parents


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidOption("--pyodide", f"{path}: {error}") from None
    return data if isinstance(data, dict) else {}
