"""The standard library as one zip that boots fast and shrinks well: byte code, and nothing deflated.

As shipped, Pyodide's is deflated source: each visit compiles what it imports, and brotli can't shrink
what is deflated already.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .bytecode import CompileError, Compiler, compile_archive
from .pyodide import MAGIC, STDLIB, Pyodide
from .slim import LEFT_OUT, is_left_out

__all__ = ["Stdlib", "Variant", "made_from", "make_stdlib", "stored"]

Variant = Literal["full", "slim"]

_WHERE = "/lib/python314.zip/"  # Pyodide puts the archive there; tracebacks then say so too
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip knows no earlier time
_RECIPE = 1  # raise it when the same sources give another archive


@dataclass(frozen=True, slots=True)
class Stdlib:
    """The archive; `problem` says why it isn't byte code, if somebody was there to compile."""

    data: bytes
    is_bytecode: bool
    problem: str | None = None


def made_from(pyodide: Pyodide, variant: Variant, is_bytecode: bool) -> str:
    """What the archive follows from, as a hash: equal ones are equally good."""
    rule = sorted(LEFT_OUT.values()) if variant == "slim" else ()
    parts = [repr((_RECIPE, variant, rule)).encode(), pyodide.read(STDLIB)]
    if is_bytecode:
        parts += [Path(__file__).with_name(f"compile_zip.{kind}").read_bytes() for kind in ("py", "mjs")]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def make_stdlib(pyodide: Pyodide, variant: Variant, compiler: Compiler | None) -> Stdlib:
    """The archive. Without a compiler, or if it fails, it has the sources."""
    with zipfile.ZipFile(io.BytesIO(pyodide.read(STDLIB))) as shipped:
        names = (name for name in shipped.namelist() if not name.endswith("/"))
        wanted = {name: shipped.read(name) for name in names if variant == "full" or not is_left_out(name)}
    sources = stored(wanted)
    if compiler is None:
        return Stdlib(sources, False)
    try:
        compiled = compile_archive(compiler, sources, _WHERE)
        with zipfile.ZipFile(io.BytesIO(compiled)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        if any(name.endswith(".pyc") and data[:4] != MAGIC for name, data in members.items()):
            raise CompileError(f"{compiler.name}: its byte code isn't that of Pyodide's Python")
    except (CompileError, zipfile.BadZipFile) as error:
        return Stdlib(sources, False, str(error))
    return Stdlib(stored(members), True)


def stored(members: dict[str, bytes]) -> bytes:
    """A zip that depends on nothing but these names and bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16  # Unix, wherever it is made
            archive.writestr(info, members[name])
    return buffer.getvalue()
