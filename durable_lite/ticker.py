"""The ticker of a worker: starts the runs of schedules that are due, each tick once among all workers."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .engine import Engine, logger
from .job import Job
from .on import Schedule
from .ports import TICK
from .records import NewRun, ScheduleRow
from .trigger import run_started_by

if TYPE_CHECKING:
    from .timetable import Timetable

__all__ = ["Ticker"]

# A tick was missed if nobody has seen to it for so long; how many at once if all are made up for.
_ON_TIME, _BATCH = 60.0, 100
# How long to wait without a look at the clock, which may have been set.
_LONGEST = 60.0


class Ticker:
    """The schedules of the jobs that one worker knows, as the store has them."""

    def __init__(self, engine: Engine, jobs: Mapping[str, Job[Any, Any]]) -> None:
        self._engine, self._jobs = engine, jobs if engine.options.schedules else {}
        self._schedules = [
            (job.name, one) for job in self._jobs.values() for one in job.on if isinstance(one, Schedule)
        ]
        self._look = asyncio.Event()
        self._unreadable: set[str] = set()
        self.behind = False  # there may be more to do at once
        self.next_at: float | None = None  # when it is due next, as far as it knows

    @property
    def has_any(self) -> bool:
        return bool(self._schedules)

    async def start(self) -> None:
        """Tell the store what schedules these jobs have, and tick for the first time."""
        store, now = self._engine.store, self._engine.clock.now()
        rows = [ScheduleRow(job, one.name, one.spec, one.catch_up, now) for job, one in self._schedules]
        if rows or any(row.job in self._jobs for row in await store.list_schedules()):
            await store.set_schedules(sorted(self._jobs), rows)
            await self.tick()

    def look(self) -> None:
        """Schedules may have changed, or time has passed unnoticed."""
        self._look.set()

    async def run(self, may: Callable[[], bool]) -> None:
        """Tick while it `may`, until it is cancelled."""
        clock = self._engine.clock
        while True:
            self._look.clear()
            due = math.inf
            if may():
                while await self._engine.persist(self.tick, may):
                    pass
                due = due if self.next_at is None else self.next_at - clock.now()
            await self._engine.until(self._look, min(_LONGEST, max(TICK, due)))

    async def tick(self) -> bool:
        """Start what is due, a batch at most of each schedule; whether there is more to do at once."""
        clock, was_behind = self._engine.clock, self.behind
        rows, now = await self._rows(), clock.now()
        for row in rows:
            if row.next_at <= now:
                await self._move_on(row, now)
        if any(row.next_at <= now for row in rows):
            rows = await self._rows()
        self.next_at = min((row.next_at for row in rows), default=None)
        self.behind = self.next_at is not None and self.next_at <= clock.now()
        if was_behind and not self.behind:
            self._engine.slot_freed()  # whoever waits until nothing is left to do
        return self.behind

    async def _rows(self) -> list[ScheduleRow]:
        return [row for row in await self._engine.store.list_schedules() if self._is_ours(row)]

    def _is_ours(self, row: ScheduleRow) -> bool:
        return row.job in self._jobs and not row.paused and row.spec not in self._unreadable

    async def _move_on(self, row: ScheduleRow, now: float) -> None:
        """If others did so meanwhile the store says no, which is as well."""
        from .timetable import UNREADABLE, timetable

        try:
            times = timetable(row.spec)
        except UNREADABLE as error:
            logger.error("schedule %s of %s can't be read: %s", row.name, row.job, error)
            self._unreadable.add(row.spec)
            return
        last = times.last(now)
        if last is None or last < row.next_at:  # it has only begun, or isn't paused any more
            ticks: Iterable[float] = ()
        elif row.catch_up == "all":
            ticks = _from(times, row.next_at, last)
        else:
            ticks = (last,) if row.catch_up == "one" or now - last <= _ON_TIME else ()
        runs, before = [], row.last_at
        for at in ticks:
            runs.append(self._run(row, times, at, before, now))
            before = at
        done = before if runs and before is not None else now
        await self._engine.store.tick(row, times.after(done), before, runs)

    def _run(self, row: ScheduleRow, times: Timetable, at: float, before: float | None, now: float) -> NewRun:
        from .timetable import text

        job, payload = self._jobs[row.job], "null"
        if job.payload.takes:
            last = None if before is None else text(before, times.zone)
            payload = json.dumps({"timestamp": text(at, times.zone), "last_timestamp": last})
        trigger = {"kind": "schedule", "name": row.name, "timestamp": at}
        engine = self._engine
        return run_started_by(trigger, engine.new_id(), job, payload, now, engine.options.environment)


def _from(times: Timetable, first: float, last: float) -> Iterable[float]:
    """The ticks from one moment to another, the first so many of them."""
    at = times.after(math.nextafter(first, -math.inf))
    for _ in range(_BATCH):
        if at > last:
            return
        yield at
        at = times.after(at)
