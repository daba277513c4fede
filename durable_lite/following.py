"""Following a run from outside, wherever it executes: until its end, or event by event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from .errors import RunNotFound
from .events import RunEvent
from .ports import Clock, Store
from .records import Change, RunRow
from .status import FINAL

__all__ = ["Changes", "ended", "existing", "follow", "stored_events"]

_BATCH = 500


async def existing(store: Store, run_id: str) -> RunRow:
    """The run's row. `RunNotFound`."""
    row = await store.get_run(run_id)
    if row is None:
        raise RunNotFound(run_id)
    return row


async def stored_events(store: Store, run_id: str) -> list[RunEvent]:
    """All of a run's, in order; none if there is no such run."""
    found: list[RunEvent] = []
    while batch := await store.read_events(run_id, found[-1].seq or 0 if found else 0, _BATCH):
        found += batch
    return found


async def ended(store: Store, clock: Clock, poll: float, run_id: str, limit: float | None) -> RunRow:
    """The run's row, once it has ended. `TimeoutError` after `limit` seconds, `RunNotFound`."""
    async with Changes(store, clock, poll, run_id, limit, steps=False) as changes:
        while True:
            row = await existing(store, run_id)
            if row.status in FINAL:
                return row
            if not await changes.next():
                raise TimeoutError(f"run {run_id} is {row.status} after {limit:g} s; it goes on")


async def follow(store: Store, clock: Clock, poll: float, run_id: str, after: int) -> AsyncIterator[RunEvent]:
    """The stored events with `seq` > `after`, gapless, until the run has ended. `RunNotFound`."""
    seen = after
    async with Changes(store, clock, poll, run_id, None, steps=True) as changes:
        while True:
            row = await existing(store, run_id)
            while batch := await store.read_events(run_id, seen, _BATCH):
                for event in batch:
                    seen = event.seq or seen
                    yield event
            if row.status in FINAL:
                return
            await changes.next()


class Changes:
    """Wakes a reader when a run may have changed; at the latest after the poll interval."""

    def __init__(
        self, store: Store, clock: Clock, poll: float, run_id: str, limit: float | None, steps: bool
    ) -> None:
        self._store, self._clock, self._poll = store, clock, poll
        self._run_id, self._limit, self._steps = run_id, limit, steps
        self._event = asyncio.Event()
        self._over = False

    async def __aenter__(self) -> Changes:
        self._unlisten = self._store.listen(self._hear, steps=self._steps)
        self._timer = None
        if self._limit is not None:
            self._timer = self._clock.call_later(self._limit, self._time_out)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._unlisten()
        if self._timer is not None:
            self._timer.cancel()

    def _hear(self, change: Change) -> None:
        if change.run_id is None or change.run_id == self._run_id:
            self._event.set()

    def _time_out(self) -> None:
        self._over = True
        self._event.set()

    async def next(self) -> bool:
        """Wait for a change. False: the time is up."""
        if not self._over:
            poll = None
            if not self._store.announces_all:
                poll = self._clock.call_later(self._poll, self._event.set)
            await self._event.wait()
            if poll is not None:
                poll.cancel()
            self._event.clear()
        return not self._over
