"""Schedules in the memory store."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Change, NewRun, ScheduleRow
from . import rows
from .memory_events import MemoryEvents

__all__ = ["MemorySchedules"]


class MemorySchedules(MemoryEvents):
    """Verbs on schedules."""

    async def set_schedules(self, jobs: Sequence[str], schedules: Sequence[ScheduleRow]) -> None:
        before = self._schedules
        kept = {key: row for key, row in before.items() if row.job not in jobs}
        new = {(row.job, row.name): rows.goes_on(row, before.get((row.job, row.name))) for row in schedules}
        self._schedules = kept | new
        if self._schedules != before:
            self.announce(Change(None, claimable=True))

    async def list_schedules(self) -> list[ScheduleRow]:
        return sorted(self._schedules.values())

    async def pause_schedule(self, job: str, name: str, paused: bool, now: float) -> None:
        row = self._schedules.get((job, name))
        if row is not None and row.paused != paused:
            self._schedules[job, name] = rows.paused(row, paused, now)
            self.announce(Change(None, claimable=True))

    async def tick(
        self, seen: ScheduleRow, next_at: float, last_at: float | None, runs: Sequence[NewRun]
    ) -> bool:
        if self._schedules.get((seen.job, seen.name)) != seen or seen.paused:
            return False
        self._create(runs)
        self._schedules[seen.job, seen.name] = seen._replace(next_at=next_at, last_at=last_at)
        return True
