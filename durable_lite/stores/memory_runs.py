"""How runs of the memory store begin, wake and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import Busy
from ..events import EventType
from ..records import Change, Created, NewRun, RunRow
from ..status import FINAL, KEEPS_KEY, Status, check
from .memory_queues import MemoryQueues
from .rows import first_row, is_shared

__all__ = ["MemoryRuns"]


class MemoryRuns(MemoryQueues):
    """What the verbs that create and end runs share."""

    def _create(self, runs: Sequence[NewRun]) -> list[Created]:
        may_raise = any(new.on_busy == "reject" for new in runs)
        before, keys = (dict(self._runs), dict(self._more_keys)) if may_raise else ({}, {})
        try:
            created = [self._answer(new) or self._insert(new) for new in runs]
        except Busy:
            for id in self._runs.keys() - before.keys():
                self._forget(id)
            self._runs, self._more_keys = before, keys
            raise
        created = [outcome._replace(run=self._runs[outcome.run.id]) for outcome in created]
        for outcome in created:
            self.announce(Change(outcome.run.id, claimable=True))
        return created

    def _answer(self, new: NewRun) -> Created | None:
        """What stands for a new run that need not be created."""
        if existing := self._runs.get(new.id):
            return Created(existing, "created")
        self._expire_key(new.job, new.idempotency_key, new.created_at)
        if existing := self._holder_of_key(new.job, new.idempotency_key, new.created_at):
            return Created(existing, "idempotent")
        existing = self._debounced(new)
        if existing is None and new.on_busy == "skip":
            unstarted = [row for row in self._unfinished(new.concurrency_key) if row.started_at is None]
            existing = next((row for row in unstarted if row.job == new.job), None)
        if existing is None:
            if new.on_busy == "reject" and (busy := self._unfinished(new.concurrency_key)):
                raise Busy(new.concurrency_key or "", busy[0].id)
            return None
        if new.idempotency_key is not None:
            self._more_keys[new.job, new.idempotency_key] = existing.id, new.idempotency_expires_at
        return Created(existing, "coalesced")

    def _debounced(self, new: NewRun) -> RunRow | None:
        if new.debounce_key is None:
            return None
        found = [
            row for row in self._runs.values() if (row.job, row.debounce_key) == (new.job, new.debounce_key)
        ]
        row = max(found, key=lambda row: (row.created_at, row.id), default=None)
        if row is None:
            return None
        if new.debounce_mode == "leading":
            if row.debounce_until is None or row.debounce_until <= new.created_at:
                return None
            self._runs[row.id] = row._replace(debounce_until=new.debounce_until)
            return row
        if row.status != Status.PENDING or row.started_at is not None or row.claimable:
            return None
        latest = row.debounce_until
        ready_at = new.ready_at if latest is None else min(new.ready_at, latest)
        self._runs[row.id] = row._replace(payload=new.payload, ready_at=ready_at, expires_at=new.expires_at)
        return row

    def _unfinished(self, key: str | None) -> list[RunRow]:
        """Those with this concurrency key, oldest first."""
        if key is None:
            return []
        found = [row for row in self._runs.values() if row.concurrency_key == key and row.status not in FINAL]
        return sorted(found, key=lambda row: (row.created_at, row.id))

    def _insert(self, new: NewRun) -> Created:
        row = first_row(new)
        self._steps[new.id], self._paths[new.id] = {}, {}
        self._events[new.id], self._logs[new.id] = [], {}
        shared = is_shared(new, self._runs.get)
        row = row._replace(gated=int(self._is_gated(row)), key_held=2 if shared else 0)
        due = bool(row.claimable)
        self._runs[new.id] = row = row._replace(claimable=int(due and not row.gated))
        self._record(new.id, new.created_at, EventType.TRIGGERED, {})
        if due and row.gated:
            self._ready(self._runs[new.id], new.created_at)
        return Created(self._runs[new.id], "created")

    def _holder_of_key(self, job: str, key: str | None, now: float) -> RunRow | None:
        """The run that answers for this key."""
        if (row := self._live_key(job, key)) and not _is_key_over(row, now):
            return row
        run_id, expires = self._more_keys.get((job, key or ""), ("", None))
        more = self._runs.get(run_id)
        alive = more is not None and (more.status not in FINAL or more.status in KEEPS_KEY)
        return more if alive and (expires is None or expires > now) else None

    def _live_key(self, job: str, key: str | None) -> RunRow | None:
        if key is None:
            return None
        found = (row for row in self._runs.values() if (row.job, row.idempotency_key) == (job, key))
        return next((row for row in found if row.key_live), None)

    def _expire_key(self, job: str, key: str | None, now: float) -> None:
        """A run whose time as a holder is up lets go of its key."""
        if (row := self._live_key(job, key)) and _is_key_over(row, now):
            self._runs[row.id] = row._replace(key_live=0)

    def _is_awaited(self, row: RunRow) -> bool:
        """Whether a run that has not ended may still want to know how this one has."""
        parent = self._runs.get(row.parent_id or "") if row.awaited else None
        return parent is not None and parent.status not in FINAL

    def _end(self, row: RunRow, status: Status, now: float, type: EventType, data: dict[str, Any]) -> RunRow:
        """An outsider ends a run, whoever holds it."""
        check(row.id, row.status, status)
        if lease := self._leases.pop(row.id, None):
            row = row._replace(executed=lease.executed, last_seen_at=lease.heartbeat_at)
        self._runs[row.id] = row._replace(
            status=status, generation=row.generation + 1, claimable=0, ready_at=None, finished_at=now,
            remaining=None,
        )  # fmt: skip
        self._record(row.id, now, type, data)
        self.announce(Change(row.id, claimable=False, ended=status))
        self._ended(row.id, now)
        return self._runs[row.id]

    def _ended(self, run_id: str, now: float) -> None:
        """What the end of a run lets others do."""
        self._leave(run_id, now)
        self._tell_parent(self._runs[run_id], now)

    def _tell_parent(self, child: RunRow, now: float) -> None:
        """A run has ended: its parent may wait for that."""
        parent = self._runs.get(child.parent_id or "")
        if parent is None or not child.awaited:
            return
        woken = False
        if parent.status == Status.WAITING and parent.remaining is not None:
            left = parent.remaining - 1 if child.status == Status.COMPLETED else 0
            self._runs[parent.id] = parent._replace(remaining=max(left, 0))
            if woken := left <= 0:
                self._wake(parent.id, now)
        self.announce(Change(parent.id, claimable=woken))

    def _wake(self, run_id: str, now: float) -> None:
        """A WAITING run is due now."""
        row = self._runs[run_id]
        if not row.claimable and (row.ready_at is None or row.ready_at > now):
            self._runs[run_id] = row._replace(ready_at=now)


def _is_key_over(row: RunRow, now: float) -> bool:
    return row.idempotency_expires_at is not None and row.idempotency_expires_at <= now
