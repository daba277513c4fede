"""One writer for a SQLite file: many callers share a commit, and nobody blocks on a lock.

A unit is what one verb writes. What is written in one turn of the event loop, and whatever was queued
meanwhile, goes into one transaction. Each unit is on its own in there: an error of one undoes only
that one. Statements run on the event loop, as they take microseconds; the commit, which waits for the
disk, may run on a thread. If the file is locked the units wait, without blocking the event loop, until
they are written or `busy_limit` has passed. Nobody is told before the commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from ..errors import StoreError, StoreUnavailable
from ..records import Change
from .sqlite_errors import explain, is_busy, is_damaged, locked_too_long

__all__ = ["Backoff", "Busy", "Work", "Writer"]

Work = Callable[[sqlite3.Cursor], tuple[Any, tuple[Change, ...]]]

# One transaction takes at most this many units, so that the first of them need not wait for long.
_BATCH = 512


class Busy(Exception):
    """Somebody else has the file's lock; nothing was written."""


class Backoff:
    """How long to wait for a locked file: a few milliseconds first, then up to 50, never in step."""

    def __init__(self) -> None:
        self._next = 0.002

    def delay(self) -> float:
        delay, self._next = self._next, min(0.05, self._next * 1.6)
        return delay * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._next = 0.002


class _Unit:
    __slots__ = ("changes", "deadline", "error", "future", "result", "single", "work")

    def __init__(self, work: Work, single: bool, future: asyncio.Future[Any]) -> None:
        self.work, self.single, self.future = work, single, future
        self.deadline: float | None = None  # set when the file is first found locked
        self.result: Any = None
        self.changes: tuple[Change, ...] = ()
        self.error: Exception | None = None


class Writer:
    """The only user of `connection`. `threaded`: commits wait for the disk on a thread of their own."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: str,
        announce: Callable[[Change], None],
        *,
        threaded: bool,
        busy_limit: float,
    ) -> None:
        self._connection, self._path, self._announce = connection, path, announce
        self._cursor = connection.cursor()
        self.threaded, self._busy_limit = threaded, busy_limit
        self._queue: deque[_Unit] = deque()
        self._backoff = Backoff()
        self._turn: asyncio.Handle | None = None  # when the queue is looked at next
        self._committing = False  # on the thread
        self._closing = False
        self._drained: asyncio.Future[None] | None = None
        # The event loop rings, the thread waits; a lock is the cheapest bell there is.
        self._bell = threading.Lock()
        self._thread: threading.Thread | None = None
        self._job: Callable[[], None] | None = None

    def write_now(self, statement: str, values: tuple[object, ...]) -> int | None:
        """The short way for one statement: how many rows it wrote, committed.

        None: nothing was written, and it has to go through `write`, which also says what is wrong.
        """
        if self.threaded or self._queue or self._closing:
            return None
        try:
            return self._cursor.execute(statement, values).rowcount
        except Exception:
            return None

    async def write(self, work: Work, *, single: bool = False, urgent: bool = False) -> Any:
        """Commit `work` and return its result.

        `single`: its only write is one statement, which SQLite undoes by itself if it fails.
        `urgent`: goes before whatever is queued.
        """
        if self._closing:
            raise StoreError(f"{self._path}: the store is closed")
        return await self.submit(work, single=single, urgent=urgent)

    def submit(self, work: Work, *, single: bool = False, urgent: bool = False) -> asyncio.Future[Any]:
        """Queue `work`; the future has its result once it is committed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        unit = _Unit(work, single, future)
        if urgent:
            self._queue.appendleft(unit)
        else:
            self._queue.append(unit)
        if self._turn is None and not self._committing:
            self._turn = loop.call_soon(self._take_turn)
        return future

    async def close(self) -> None:
        """Finish what was accepted, and stop."""
        self._closing = True
        if self._queue or self._committing:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
        if self._thread is not None:
            self._job = None
            self._bell.release()
            self._thread.join()
            self._thread = None

    # One transaction after the other

    def _take_turn(self) -> None:
        self._look_no_more()
        if self._committing:
            return
        while self._queue:
            units = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            if len(units) == 1 and units[0].single:
                work = partial(self._attempt, units[0], savepoint=False)  # a transaction of its own
            else:
                try:
                    if not self._execute(units):
                        self._resolve(units)
                        continue
                except Busy:
                    self._requeue(units)
                    return
                work = partial(self._commit, units)
            if self.threaded:
                self._committing = True
                self._on_thread(work, units)
                return
            try:
                work()
            except Exception as error:
                if not self._settle(units, error):
                    return
            else:
                self._settle(units, None)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _look_no_more(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _settle(self, units: Sequence[_Unit], error: Exception | None) -> bool:
        """Whether the next transaction may begin: not while the file is locked."""
        if error is not None and is_busy(error):
            self._requeue(units)
            return False
        self._backoff.reset()
        self._resolve(units)
        return True

    def _requeue(self, units: Sequence[_Unit]) -> None:
        """The file is locked: keep what was not written, in order, but for what has waited too long."""
        now, expired = time.monotonic(), []
        for unit in reversed(units):
            if unit.deadline is None:
                unit.deadline = now + self._busy_limit
            if now < unit.deadline:
                self._queue.appendleft(unit)
            else:
                unit.error = locked_too_long(self._path, self._busy_limit)
                expired.append(unit)
        self._resolve(reversed(expired))
        self._look_no_more()
        loop = asyncio.get_running_loop()
        self._turn = loop.call_later(self._backoff.delay() if self._queue else 0.0, self._take_turn)

    def _resolve(self, units: Iterable[_Unit]) -> None:
        """Tell the callers."""
        for unit in units:
            for change in unit.changes:
                self._announce(change)
            if unit.future.done():
                continue  # its caller was cancelled
            if unit.error is not None:
                unit.future.set_exception(unit.error)
            else:
                unit.future.set_result(unit.result)

    # On the thread

    def _on_thread(self, work: Callable[[], None], units: Sequence[_Unit]) -> None:
        loop = asyncio.get_running_loop()

        def job() -> None:
            error: Exception | None = None
            try:
                work()
            except Exception as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is waiting any more
                loop.call_soon_threadsafe(self._committed, units, error)

        self._job = job
        if self._thread is None:
            self._bell.acquire()
            self._thread = threading.Thread(target=self._run, name="durable_lite sqlite writer", daemon=True)
            self._thread.start()
        self._bell.release()

    def _run(self) -> None:
        while True:
            self._bell.acquire()
            if self._job is None:
                return
            self._job()

    def _committed(self, units: Sequence[_Unit], error: Exception | None) -> None:
        self._committing = False
        if self._settle(units, error):
            self._take_turn()

    # In the transaction

    def _execute(self, units: Sequence[_Unit]) -> bool:
        """Do everything but commit, and note in each unit how it went; whether there is anything to commit.

        `Busy`: nothing was done.
        """
        connection, cursor = self._connection, self._cursor
        left, careful = list(units), False
        while left:
            spoiler = None
            try:
                cursor.execute("BEGIN IMMEDIATE")
                for unit in left:
                    savepoint = careful and not unit.single
                    self._attempt(unit, savepoint=savepoint)
                    if not connection.in_transaction or not (unit.error is None or unit.single or savepoint):
                        spoiler = unit
                        break
            except Exception as error:
                self._undo()
                if is_busy(error):
                    raise Busy from None
                self._fail(left, error)
                return False
            if spoiler is None:
                return True
            self._undo()
            # Errors are rare: only the second try has savepoints, so that an error is its unit's own.
            if careful or len(left) == 1:
                left.remove(spoiler)
            careful = True
        return False

    def _attempt(self, unit: _Unit, *, savepoint: bool) -> None:
        cursor = self._cursor
        try:
            if savepoint:
                cursor.execute("SAVEPOINT unit")
            unit.result, unit.changes = unit.work(cursor)
            if savepoint:
                cursor.execute("RELEASE unit")
            unit.error = None
        except Exception as error:
            if is_busy(error):
                raise
            unit.error, unit.changes = explain(error, self._path), ()
            if savepoint and self._connection.in_transaction:
                cursor.execute("ROLLBACK TO unit")
                cursor.execute("RELEASE unit")

    def _commit(self, units: Sequence[_Unit]) -> None:
        try:
            self._cursor.execute("COMMIT")
        except Exception as error:
            self._undo()
            if is_busy(error):
                raise
            self._fail([unit for unit in units if unit.error is None], error)

    def _undo(self) -> None:
        if self._connection.in_transaction:
            self._cursor.execute("ROLLBACK")

    def _fail(self, units: Iterable[_Unit], error: Exception) -> None:
        """Their transaction could not begin or be committed: all of it was undone."""
        explained = explain(error, self._path)
        if not isinstance(explained, StoreUnavailable) and not is_damaged(error):
            explained = StoreUnavailable(f"{self._path}: the transaction failed and was undone: {error}")
        for unit in units:
            unit.error, unit.changes = explained, ()
