"""The wheel of durable_lite for a tab: the core, the stores that a tab has, and `browser/`.

It is made from the files of the installed package, and the same files give the same bytes. As byte
code it is imported in a sixth of the time; tracebacks then have its line numbers, but not its lines.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from .. import __version__
from ..errors import InvalidOption
from .archive import stored

__all__ = ["PACKAGE", "PLACE", "Wheel", "make_wheel", "members"]

PACKAGE = "durable_lite"
PLACE = "/lib/python3.14/site-packages/"  # where Pyodide installs it
_DISTRIBUTION = "durable-lite"
_FOLDER = Path(__file__).parents[1]
# What a tab imports, by folder of the package. Whatever else there is needs a disk or a terminal.
_CONTENTS = {
    ".": ("*.py", "py.typed"),
    "stores": ("__init__.py", "memory*.py", "rows.py", "indexeddb.py", "indexeddb_*.py"),
    "browser": ("**/*.py",),
}
_REQUIRED = ("durable.py", "stores/memory.py", "stores/indexeddb.py", "browser/__init__.py")


class Wheel(NamedTuple):
    """A wheel, and what Pyodide's lock file has to say of it."""

    filename: str
    data: bytes
    name: str
    version: str
    imports: tuple[str, ...]


def members(folder: Path = _FOLDER) -> dict[str, bytes]:
    """The files of the package that a tab needs, by their path in the wheel."""
    found = {
        f"{PACKAGE}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for below, patterns in _CONTENTS.items()
        for pattern in patterns
        for path in (folder / below).glob(pattern)
    }
    missing = [name for name in _REQUIRED if f"{PACKAGE}/{name}" not in found]
    if missing:
        raise InvalidOption(_DISTRIBUTION, f"its installation lacks {', '.join(missing)}; install it again")
    return found


def make_wheel(contents: Mapping[str, bytes], version: str = __version__) -> Wheel:
    """A wheel of these files, after
    https://packaging.python.org/en/latest/specifications/binary-distribution-format/.
    """
    base = f"{PACKAGE}-{version}"
    info = f"{base}.dist-info"
    files = {
        **contents,
        f"{info}/METADATA": _lines("Metadata-Version: 2.1", f"Name: {_DISTRIBUTION}", f"Version: {version}"),
        f"{info}/WHEEL": _lines(
            "Wheel-Version: 1.0", "Generator: durable-lite", "Root-Is-Purelib: true", "Tag: py3-none-any"
        ),
    }
    record = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in sorted(files.items())]
    files[f"{info}/RECORD"] = _lines(*record, f"{info}/RECORD,,")
    return Wheel(f"{base}-py3-none-any.whl", stored(files), _DISTRIBUTION, version, (PACKAGE,))


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
