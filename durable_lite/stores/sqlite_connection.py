"""A SQLite store, opened: its connections, its writer, and patience while others keep the file locked."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from ..errors import InvalidOption, StoreError, StoreUnavailable
from ..ports import Store
from ..records import Change
from . import sqlite_connect as connect
from . import sqlite_writes as writes
from .sqlite_errors import explain, is_busy, locked_too_long
from .sqlite_watch import File, Watch
from .sqlite_workers import WorkerLocks
from .sqlite_writer import Backoff, Work, Writer

__all__ = ["SQLiteConnection"]

T = TypeVar("T")


class SQLiteConnection(Store):
    """What the verbs of a SQLite store share."""

    announces_all = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: str = "strict",
        writer_thread: bool | None = None,
        busy_limit: float = 30.0,
    ) -> None:
        super().__init__()
        self.path = os.fspath(path)
        if self.path in ("", ":memory:"):
            raise InvalidOption(
                "path", "SQLite's own in-memory databases can't be shared: use the store memory:"
            )
        if durability not in ("strict", "relaxed"):
            raise InvalidOption("durability", f"{durability!r} is neither 'strict' nor 'relaxed'")
        if writer_thread is None:
            writer_thread = durability == "strict" and sys.platform != "emscripten"
        self.url = f"sqlite:{self.path}"
        self.durability, self.busy_limit = durability, busy_limit
        self.connections: tuple[sqlite3.Connection, ...] = ()  # the writing one, the reading one
        self._writer_thread = writer_thread
        self._writer: Writer | None = None
        self._cursor: sqlite3.Cursor | None = None
        self._locks = WorkerLocks(os.path.realpath(self.path) + "-workers")
        self._file: File | None = None
        self._watch: Watch | None = None

    def listen(self, callback: Callable[[Change], None], *, steps: bool = True) -> Callable[[], None]:
        stop = super().listen(callback, steps=steps)
        if self._watch is not None:
            self._watch.start()
        return stop

    async def open(self) -> None:
        if self.connections:
            return
        connect.check_path(self.path)
        writing = await self._patiently(lambda: connect.connect(self.path, self.durability))
        try:
            await self._patiently(lambda: connect.prepare(writing, self.path))
            reading = await self._patiently(lambda: connect.connect(self.path, self.durability))
        except BaseException:
            writing.close()
            raise
        self.connections = (writing, reading)
        self._cursor = reading.cursor()
        self._writer = Writer(
            writing, self.path, self.announce, threaded=self._writer_thread, busy_limit=self.busy_limit
        )
        self._file = File(self.path)
        self._watch = Watch(
            reading, writing, self._writer, self.announce, lambda: bool(self._listeners), self._file
        )
        self._watch.start()

    async def close(self) -> None:
        if self._writer is None or self._watch is None:
            return
        writer, connections = self._writer, self.connections
        self._watch.stop()
        await writer.close()
        self._writer, self._cursor, self._watch, self.connections = None, None, None, ()
        self._locks.close()
        connect.disconnect(*connections)

    def _write(self, work: Work, *, single: bool = False, urgent: bool = False) -> Awaitable[Any]:
        if self._writer is None or not self._is_there:
            raise self._not_open()
        return self._writer.write(work, single=single, urgent=urgent)

    async def _execute(self, statement: str, *values: object) -> None:
        await self._write(partial(writes.execute, statement=statement, values=values), single=True)

    async def _read(self, work: Callable[[sqlite3.Cursor], T]) -> T:
        cursor = self._cursor
        if cursor is None or not self._is_there:
            raise self._not_open()
        return await self._patiently(lambda: work(cursor))

    async def _rows(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        return await self._read(lambda cursor: cursor.execute(statement, values).fetchall())

    async def _patiently(self, call: Callable[[], T]) -> T:
        """What `call` returns, tried again while somebody else has the file locked."""
        backoff, deadline = None, 0.0
        while True:
            try:
                return call()
            except Exception as error:
                if not is_busy(error):
                    raise explain(error, self.path) from error
            if backoff is None:
                backoff, deadline = Backoff(), time.monotonic() + self.busy_limit
            elif time.monotonic() >= deadline:
                raise locked_too_long(self.path, self.busy_limit)
            await asyncio.sleep(backoff.delay())

    @property
    def _is_there(self) -> bool:
        return self._file is not None and (self._file.is_there or self._file.look())

    def _not_open(self) -> StoreError:
        if self._writer is not None:
            return StoreUnavailable(
                f"{self.path} was deleted, moved or replaced while it was open; what is written now would be "
                "lost: put it back, or start this process again"
            )
        return StoreError(f"{self.path}: the store is not open")
