"""Opening a SQLite file: what may be wrong with it, how it is set up, how it is let go."""

from __future__ import annotations

import contextlib
import os
import sqlite3

from ..errors import StoreError, StoreUnavailable
from .sqlite_schema import is_current, upgrade

__all__ = ["check_path", "connect", "disconnect", "prepare"]

_OLDEST = (3, 37, 0)  # STRICT tables; RETURNING and upsert are older


def check_path(path: str) -> None:
    """Raise what can be said of `path` before SQLite sees it, which would tell less."""
    if sqlite3.sqlite_version_info < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise StoreError(
            f"this Python has SQLite {sqlite3.sqlite_version}; durable_lite needs {oldest} or newer"
        )
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise StoreError(f"{path}: there is no directory {folder}")
    if os.path.isdir(path):
        raise StoreError(f"{path} is a directory, not a database file")
    if not os.path.exists(path):
        if not _may(folder, os.W_OK):
            raise StoreUnavailable(f"{path} can't be created: its directory {folder} is read-only")
    elif not _may(path, os.R_OK):
        raise StoreError(f"{path} can't be read: permission denied")
    elif not _may(path, os.W_OK):
        raise StoreUnavailable(f"{path} is read-only")


def _may(path: str, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def connect(path: str, durability: str) -> sqlite3.Connection:
    """A connection that never waits for a lock. Raises SQLite's own errors."""
    connection = sqlite3.connect(
        path, timeout=0.0, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            # No shared memory here (some network and virtual file systems): readers and writers
            # then exclude each other, for moments.
            connection.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
        if durability == "strict":
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")  # macOS: through the disk's own cache too
        else:
            connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Create or upgrade the tables, unless they are as this code wants them."""
    if not is_current(connection, path):
        upgrade(connection, path)


def disconnect(writing: sqlite3.Connection, reading: sqlite3.Connection) -> None:
    """Close, leaving as little in the WAL file as others who use it allow."""
    reading.close()
    with contextlib.suppress(sqlite3.Error):
        writing.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    writing.close()
