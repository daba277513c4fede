"""`durable-lite runs export|import`: hand a run over from one store to another."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO

import click

from ..durable import Durable
from ..errors import InvalidDocument, TooLarge
from .exits import Exit, Failure
from .find import find_run
from .options import Database, db_option, opened
from .safe import visible

__all__ = ["MOVING"]


@click.command("export")
@click.argument("run_id", metavar="ID")
@db_option
@click.option("--out", metavar="FILE", help="Write it to this file, which isn't there yet, not to stdout.")
def export_(run_id: str, db: Database, out: str | None) -> None:
    """Hand an unfinished run over: print a document from which another store goes on with it.

    Here it is MOVED. A worker that executes it stops at its next write or heartbeat; a step in flight is
    executed again where the run goes on. Exporting it again prints the same document.
    """

    async def export() -> str:
        async with opened(db) as store, Durable(store, worker=False) as app:
            row = await find_run(store, run_id)
            with _written(out) as file:
                file.write(await app.export_run(row.id) + "\n")
            return f"{row.id} of {row.job} is MOVED. To go on with it: durable-lite runs import {out}"

    told = asyncio.run(export())
    if out is not None:
        click.echo(visible(told))


@contextlib.contextmanager
def _written(path: str | None) -> Iterator[TextIO]:
    """A new file, gone again if nothing comes of it; or stdout."""
    if path is None:
        yield sys.stdout
        return
    try:
        with open(path, "x", encoding="utf-8") as file:
            try:
                yield file
            except BaseException:
                os.unlink(path)
                raise
    except OSError as error:
        raise Failure(f"--out: {path}: {error.strerror}") from None


@click.command("import")
@click.argument("file", metavar="FILE|-")
@db_option
def import_(file: str, db: Database) -> None:
    """Go on here with a run from another store; - reads the document from stdin.

    Import a document into one store only. Where it came from the run may come back, too.
    """
    document = _read(file)

    async def take_in() -> str:
        async with opened(db, create=not db.is_memory) as store, Durable(store, worker=False) as app:
            try:
                run = await app.import_run(document)
            except (InvalidDocument, TooLarge) as error:
                raise Failure(f"{file}: {error}", Exit.FAILED) from None
            return (
                f"{run.id} of {run.job} is {run.status}. To execute it: durable-lite worker FILE.py{db.hint}"
            )

    click.echo(visible(asyncio.run(take_in())))


def _read(path: str) -> str:
    try:
        if path == "-":
            return sys.stdin.read()
        with open(path, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise Failure(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from None


MOVING: tuple[click.Command, ...] = (export_, import_)
