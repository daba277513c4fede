"""The standard library that Pyodide ships, as members of an archive: all of it, or what a tab needs."""

from __future__ import annotations

from typing import Literal

from .archive import members_of
from .pyodide import STDLIB, Pyodide
from .slim import is_left_out

__all__ = ["PLACE", "Variant", "stdlib_members"]

Variant = Literal["full", "slim"]

PLACE = "/lib/python314.zip/"  # where Pyodide puts the archive; tracebacks then say so too


def stdlib_members(pyodide: Pyodide, variant: Variant) -> dict[str, bytes]:
    shipped = members_of(pyodide.read(STDLIB))
    return {name: data for name, data in shipped.items() if variant == "full" or not is_left_out(name)}
