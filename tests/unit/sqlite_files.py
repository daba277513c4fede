"""SQLite stores on files of their own, and another process's lock on such a file, for the tests."""

import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from durable_lite.stores.sqlite import SQLiteStore

# Where writes can go: Pyodide has no threads.
INLINE_OR_THREAD = [False] if sys.platform == "emscripten" else [False, True]


@contextmanager
def new_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="durable-lite-") as directory:
        yield Path(directory) / "durable.db"


@asynccontextmanager
async def opened(
    path: Path | None = None, durability: str = "relaxed", **options
) -> AsyncIterator[SQLiteStore]:
    """An open store, on a new file unless told which."""
    if path is None:
        with new_path() as path:
            async with opened(path, durability, **options) as store:
                yield store
        return
    store = SQLiteStore(path, durability=durability, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """While this lasts somebody else is writing to the file."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.close()


def rows(path: Path, query: str) -> list[tuple]:
    """What a stranger reads from the file."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
