"""One writer for a SQLite file: many callers share a commit, and nobody blocks on a lock.

A unit is what one verb writes. Whatever units are queued go into one transaction. Each is on its own
in there: an error of one undoes only that one. If the file is locked the units wait, without blocking
the event loop, until they are written or `busy_limit` has passed. Nobody is told before the commit.
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

    def __init__(self, work: Work, single: bool, future: asyncio.Future[Any] | None) -> None:
        self.work, self.single, self.future = work, single, future
        self.deadline: float | None = None  # set when the file is first found locked
        self.result: Any = None
        self.changes: tuple[Change, ...] = ()
        self.error: Exception | None = None


class Writer:
    """The only user of `connection`: on a thread of its own, or on the event loop (inline)."""

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
        self._closing = False
        # The event loop rings, the thread waits; a lock is the cheapest bell there is.
        self._bell = threading.Lock() if threaded else None
        self._thread: threading.Thread | None = None
        self._stopped: asyncio.Future[None] | None = None
        self._retry: asyncio.Handle | None = None

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
        future = self.submit(work, single=single, urgent=urgent)
        if not self.threaded and self._retry is None:
            # What else is written in this turn of the event loop shares the commit.
            self._retry = asyncio.get_running_loop().call_soon(self._try_again)
        return await future

    def submit(self, work: Work, *, single: bool = False, urgent: bool = False) -> asyncio.Future[Any]:
        """Queue `work`; the future has its result once it is committed."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        unit = _Unit(work, single, future)
        if urgent:
            self._queue.appendleft(unit)
        else:
            self._queue.append(unit)
        if self.threaded:
            self._ring()
        return future

    async def close(self) -> None:
        """Finish what was accepted, and stop."""
        self._closing = True
        if self._thread is not None:
            self._stopped = asyncio.get_running_loop().create_future()
            self._ring()
            await self._stopped
            self._thread.join()
            self._thread = None
        if self._queue:  # inline, and the file is locked
            await asyncio.wait([unit.future for unit in self._queue if unit.future is not None])

    # On the thread

    def _ring(self) -> None:
        """Called on the event loop only, so there is one ringer and one waiter."""
        assert self._bell is not None
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="durable_lite sqlite writer", daemon=True)
            self._thread.start()
        elif self._bell.locked():
            self._bell.release()

    def _run(self) -> None:
        assert self._bell is not None
        while True:
            while self._queue:
                units = self._take()
                try:
                    self._commit(units)
                except Busy:
                    units = self._put_back(units)
                    if not units:
                        time.sleep(self._backoff.delay())
                        continue
                self._call_loop(units[0], self._resolve, units)
            if self._closing and self._stopped is not None:
                self._call_loop_of(self._stopped, self._stopped.set_result, None)
                return
            self._bell.acquire()

    def _call_loop(self, unit: _Unit, callback: Callable[..., object], *values: object) -> None:
        assert unit.future is not None
        self._call_loop_of(unit.future, callback, *values)

    def _call_loop_of(
        self, future: asyncio.Future[Any], callback: Callable[..., object], *values: object
    ) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is waiting any more
            future.get_loop().call_soon_threadsafe(callback, *values)

    # Inline, while the file is locked

    def _requeue(self, units: list[_Unit]) -> None:
        expired = self._put_back(units)
        self._resolve(expired)
        if self._queue and self._retry is None:
            loop = asyncio.get_running_loop()
            self._retry = loop.call_later(self._backoff.delay(), self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        while self._queue:
            units = self._take()
            try:
                self._commit(units)
            except Busy:
                self._requeue(units)
                return
            self._resolve(units)

    # Both

    def _take(self) -> list[_Unit]:
        units: list[_Unit] = []
        while self._queue and len(units) < _BATCH:
            units.append(self._queue.popleft())
        return units

    def _put_back(self, units: Sequence[_Unit]) -> list[_Unit]:
        """Queue again what found the file locked, in order; returns those that waited too long."""
        now = time.monotonic()
        expired = []
        for unit in reversed(units):
            if unit.deadline is None:
                unit.deadline = now + self._busy_limit
            if now < unit.deadline:
                self._queue.appendleft(unit)
            else:
                unit.error = locked_too_long(self._path, self._busy_limit)
                expired.append(unit)
        return expired

    def _resolve(self, units: Iterable[_Unit]) -> None:
        """Tell the callers; on the event loop."""
        for unit in units:
            for change in unit.changes:
                self._announce(change)
            if unit.future is None or unit.future.done():
                continue  # its caller was cancelled
            if unit.error is not None:
                unit.future.set_exception(unit.error)
            else:
                unit.future.set_result(unit.result)

    def _commit(self, units: Sequence[_Unit]) -> None:
        """Write `units`, and note in each how it went. `Busy`: nothing was written."""
        left, careful = list(units), False
        while left:
            try:
                spoiler = self._transaction(left, careful)
            except Exception as error:
                if is_busy(error):
                    raise Busy from None
                for unit in left:
                    unit.error, unit.changes = self._failed(error), ()
                break
            if spoiler is None:
                break
            if careful:
                left.remove(spoiler)
            careful = True
        self._backoff.reset()

    def _transaction(self, units: Sequence[_Unit], careful: bool) -> _Unit | None:
        """One transaction of `units`; returns the one whose error threw it away as a whole.

        `careful`: each has a savepoint, so that an error is its own. As errors are rare, that is for
        the second try.
        """
        connection, cursor = self._connection, self._cursor
        alone = len(units) == 1
        if alone and units[0].single:
            self._attempt(units[0], isolated=False)  # a statement is a transaction of its own
            return None
        cursor.execute("BEGIN IMMEDIATE")
        try:
            for unit in units:
                isolated = not alone and not unit.single
                self._attempt(unit, isolated=isolated and careful)
                if not connection.in_transaction or (unit.error is not None and isolated and not careful):
                    return unit
            if not alone or units[0].error is None:
                cursor.execute("COMMIT")
        finally:
            if connection.in_transaction:
                cursor.execute("ROLLBACK")
        return None

    def _attempt(self, unit: _Unit, isolated: bool) -> None:
        cursor = self._cursor
        try:
            if isolated:
                cursor.execute("SAVEPOINT unit")
            unit.result, unit.changes = unit.work(cursor)
            if isolated:
                cursor.execute("RELEASE unit")
            unit.error = None
        except Exception as error:
            if is_busy(error):
                raise
            unit.error, unit.changes = explain(error, self._path), ()
            if isolated and self._connection.in_transaction:
                cursor.execute("ROLLBACK TO unit")
                cursor.execute("RELEASE unit")

    def _failed(self, error: Exception) -> Exception:
        """A transaction that could not begin or be committed: all of it was undone."""
        explained = explain(error, self._path)
        if isinstance(explained, StoreUnavailable) or is_damaged(error):
            return explained
        return StoreUnavailable(f"{self._path}: the transaction failed and was undone: {error}")
