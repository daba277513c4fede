"""Makes archives of modules, of byte code if somebody can compile; what is as it was is used again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .bytecode import CompileError, Compiler, compiled
from .output import Output

__all__ = ["Made", "Maker"]

_RECIPE = 1  # raise it when the same sources give another archive
_NO_COMPILER = (
    "modules stay source, and a tab starts a second later: compiling them takes Python 3.14 or "
    "Node 24 on the PATH, or `npm install node@24`"
)


@dataclass(frozen=True, slots=True)
class Made:
    """An archive, and what it follows from, as a hash."""

    data: bytes
    is_bytecode: bool
    made_from: str


class Maker:
    """Makes them with this compiler, and collects in `notes` why some are source."""

    def __init__(self, compiler: Compiler | None, output: Output, step: Callable[[str], None]) -> None:
        self._compiler, self._output, self._step = compiler, output, step
        self.notes: list[str] = [] if compiler is not None else [_NO_COMPILER]

    def make(
        self,
        what: str,
        sources: Mapping[str, bytes],
        place: str,
        pack: Callable[[Mapping[str, bytes]], bytes],
    ) -> Made:
        """`pack` makes an archive of modules that a tab will have at `place`; `what` is for people."""
        key = _key(what, sources, place, self._compiler is not None)
        if (again := self._output.made(key)) is not None:
            return Made(again, self._compiler is not None, key)
        if self._compiler is not None:
            self._step(f"compiling {what} with {self._compiler.name}")
            try:
                return Made(pack(compiled(self._compiler, sources, place)), True, key)
            except CompileError as error:
                self.notes.append(f"{what} stays source: {error}")
        return Made(pack(sources), False, _key(what, sources, place, False))


def _key(what: str, sources: Mapping[str, bytes], place: str, is_bytecode: bool) -> str:
    """Equal ones stand for archives that are equally good."""
    here = Path(__file__).parent
    scripts = [here / "compile_zip.py", here / "compile_zip.mjs"] if is_bytecode else []
    parts = [f"{_RECIPE} {what} {place}".encode(), *(script.read_bytes() for script in scripts)]
    for name in sorted(sources):
        parts += [name.encode(), sources[name]]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
