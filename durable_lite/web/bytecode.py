"""Finds somebody who compiles for Pyodide's Python, CPython 3.14 or Pyodide on Node, and lets it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from .archive import members_of, stored
from .pyodide import MAGIC, Pyodide, upwards

__all__ = ["CompileError", "Compiler", "compiled", "find_compiler"]

_HERE = Path(__file__).parent
_OLDEST_NODE = 24  # runs Pyodide 314
_PATIENCE = 240.0  # seconds; it takes ten
_ASKING = 20.0  # seconds for a program to say its version
_NO_COLUMNS = ("-X", "no_debug_ranges")  # as compile_zip.mjs has it
_PRINT_MAGIC = "import importlib.util; print(importlib.util.MAGIC_NUMBER.hex())"


@dataclass(frozen=True, slots=True)
class Compiler:
    """A command that takes SOURCE, TARGET and PREFIX, and what people call it."""

    name: str
    command: tuple[str, ...]


class CompileError(Exception):
    """A compiler was there and failed; the message is what it said."""


def find_compiler(pyodide: Pyodide, *, start: Path | None = None) -> Compiler | None:
    """CPython with Pyodide's byte code, else Node with Pyodide; None if there is neither."""
    script = str(_HERE / "compile_zip.py")
    python = sys.executable if util.MAGIC_NUMBER == MAGIC else shutil.which("python3.14")
    if python and (python == sys.executable or _answer([python, "-c", _PRINT_MAGIC]) == MAGIC.hex()):
        return Compiler(f"CPython ({Path(python).name})", (python, "-I", "-B", *_NO_COLUMNS, script))
    for node in _nodes(pyodide, start or Path.cwd()):
        version = re.match(r"v(\d+)\.", _answer([node, "--version"]) or "")
        if version and int(version[1]) >= _OLDEST_NODE:
            driver = str(_HERE / "compile_zip.mjs")
            command = (node, driver, str(pyodide.folder.resolve()), script)
            return Compiler(f"Pyodide on Node {version[1]}", command)
    return None


def compiled(compiler: Compiler, sources: Mapping[str, bytes], place: str) -> dict[str, bytes]:
    """The members with byte code for source, which says it is at `place`. Raises CompileError."""
    with tempfile.TemporaryDirectory(prefix="durable-lite-") as folder:
        source, target = Path(folder, "source.zip"), Path(folder, "target.zip")
        source.write_bytes(stored(sources))
        command = [*compiler.command, str(source), str(target), place]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE, cwd=folder
            )
            if done.returncode:
                said = (done.stderr or done.stdout).strip().splitlines()
                raise CompileError(f"{compiler.name}: {said[-1][:300] if said else 'it failed'}")
            members = members_of(target.read_bytes())
        except (OSError, subprocess.TimeoutExpired, zipfile.BadZipFile) as error:
            raise CompileError(f"{compiler.name}: {error}") from None
    if any(name.endswith(".pyc") and data[:4] != MAGIC for name, data in members.items()):
        raise CompileError(f"{compiler.name}: its byte code isn't that of Pyodide's Python")
    return members


def _nodes(pyodide: Pyodide, start: Path) -> Iterator[str]:
    name = "node.exe" if os.name == "nt" else "node"
    seen: set[Path] = set()
    for above in (*upwards(start), *upwards(pyodide.folder)):
        candidate = above / "node_modules" / ".bin" / name
        if candidate not in seen and candidate.is_file():
            yield str(candidate)
        seen.add(candidate)
    if on_path := shutil.which("node"):
        yield on_path


def _answer(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_ASKING)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
