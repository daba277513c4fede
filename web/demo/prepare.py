"""Makes the demo's database in the tab, as a durable job of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from database import generate

from durable_lite import Context, job

__all__ = ["Wanted", "make_database"]


@dataclass
class Wanted:
    """How many invoices, and where to; the rest is what the page triggers the export with."""

    invoices: int
    database: str
    page_size: int
    pause: str


@job
async def make_database(ctx: Context, wanted: Wanted) -> int:
    """The size of the file in bytes."""
    return await ctx.step("generate", make, wanted.database, wanted.invoices)


def make(database: str, invoices: int) -> int:
    """The same for the same number, so what is there is kept; it appears whole or not at all."""
    path = Path(database)
    if not path.exists():
        half = path.with_name(f".{path.name}.half")
        generate(half, invoices)
        os.replace(half, path)
    return path.stat().st_size
