"""Reads what the user brings along: files of jobs, and wheels that fit Pyodide's Python."""

from __future__ import annotations

import ast
import io
import re
import zipfile
from collections.abc import Iterable
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path

from ..errors import InvalidOption
from .pyodide import Pyodide
from .wheel import PACKAGE, Wheel

__all__ = ["read_jobs", "read_wheels", "unmet"]

_LIMIT = 256 * 2**20  # bytes of a wheel: no tab unpacks more


def read_jobs(paths: Iterable[Path]) -> dict[str, bytes]:
    """The job files by name. They are parsed and not executed: they may be made for a tab only."""
    found: dict[str, bytes] = {}
    for path in paths:
        if path.suffix != ".py" or not path.stem.isidentifier() or path.stem == PACKAGE:
            raise InvalidOption("FILE.py", f"{path}: it is imported by its name, such as jobs.py")
        if path.name in found:
            raise InvalidOption("FILE.py", f"{path}: there are two files of this name")
        try:
            found[path.name] = path.read_bytes()
            ast.parse(found[path.name], path.name)
        except OSError as error:
            raise InvalidOption("FILE.py", f"{path}: {error.strerror}") from None
        except (SyntaxError, ValueError) as error:
            line = f"{path}:{error.lineno}" if isinstance(error, SyntaxError) else str(path)
            raise InvalidOption("FILE.py", f"{line}: {getattr(error, 'msg', error)}") from None
    return found


def read_wheels(paths: Iterable[Path], pyodide: Pyodide) -> list[Wheel]:
    """The wheels of --wheel, in order."""
    found: list[Wheel] = []
    for path in paths:
        wheel = _read_wheel(path, pyodide)
        if wheel.name == "durable-lite" or wheel.name in {other.name for other in found}:
            raise InvalidOption("--wheel", f"{path}: {wheel.name} is there already")
        found.append(wheel)
    return found


def unmet(wheels: Iterable[Wheel]) -> list[str]:
    """Requirements without a condition that no wheel meets: `sqlite-utils needs click`."""
    wheels = list(wheels)
    names = {wheel.name for wheel in wheels}
    return [
        f"{wheel.name} needs {needed}"
        for wheel in wheels
        for needed in _requirements(wheel)
        if needed not in names
    ]


def _read_wheel(path: Path, pyodide: Pyodide) -> Wheel:
    parts = path.name.removesuffix(".whl").split("-")
    if path.suffix != ".whl" or len(parts) not in (5, 6):
        raise InvalidOption("--wheel", f"{path}: its name isn't that of a wheel")
    platforms = f"pyemscripten_{pyodide.info['abi_version']}_wasm32"
    if not {"any", platforms, f"{pyodide.info['platform']}_wasm32"} & set(parts[-1].split(".")):
        raise InvalidOption(
            "--wheel", f"{path}: it is for {parts[-1]}; Pyodide takes pure Python (any) or {platforms}"
        )
    try:
        if path.stat().st_size > _LIMIT:
            raise InvalidOption("--wheel", f"{path}: larger than {_LIMIT >> 20} MB")
        data = path.read_bytes()
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
        metadata = _metadata(data)
    except OSError as error:
        raise InvalidOption("--wheel", f"{path}: {error.strerror}") from None
    except (zipfile.BadZipFile, LookupError, ValueError) as error:
        raise InvalidOption("--wheel", f"{path}: not a wheel: {error}") from None
    tops = {name.partition("/")[0] for name in names if name.endswith((".py", ".so"))}
    imports = sorted({top.partition(".")[0] for top in tops if not top.endswith((".dist-info", ".data"))})
    return Wheel(path.name, data, _normal(metadata["Name"] or ""), metadata["Version"] or "", tuple(imports))


def _requirements(wheel: Wheel) -> list[str]:
    lines = _metadata(wheel.data).get_all("Requires-Dist") or []
    names = (re.match(r"[\w.-]+", line) for line in lines if ";" not in line)
    return [_normal(name[0]) for name in names if name]


def _metadata(data: bytes) -> Message:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        paths = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        if len(paths) != 1:
            raise LookupError("it has no METADATA, or several")
        return BytesHeaderParser().parsebytes(archive.read(paths[0]))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
