"""What the parts of the memory store share: its dictionaries, and what several verbs do to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..errors import RunNotFound, StoreError
from ..events import EventType
from ..ports import Store
from ..records import (
    Change,
    Created,
    Lease,
    LogRow,
    NewEvent,
    NewRun,
    Refusal,
    RunRow,
    StepRow,
    TokenRow,
)
from ..status import FINAL, Status, check
from .rows import first_row

__all__ = ["MemoryTables"]


class MemoryTables(Store):
    """Every table in a dictionary of this object."""

    url = "memory:"
    announces_all = True

    def __init__(self) -> None:
        super().__init__()
        self._runs: dict[str, RunRow] = {}
        self._steps: dict[str, dict[str, StepRow]] = {}
        self._paths: dict[str, dict[int, str]] = {}  # by seq
        self._events: dict[str, list[NewEvent]] = {}
        self._logs: dict[str, dict[tuple[int, str, int], LogRow]] = {}
        self._leases: dict[str, Lease] = {}
        self._workers: dict[str, str] = {}
        self._meta: dict[str, str] = {}
        self._tokens: dict[str, TokenRow] = {}

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def _create(self, runs: Sequence[NewRun]) -> list[Created]:
        created: list[Created] = []
        for new in runs:
            if existing := self._runs.get(new.id):
                created.append(Created(existing, "created"))
                continue
            if existing := self._holder_of_key(new.job, new.idempotency_key, new.created_at):
                created.append(Created(existing, "idempotent"))
                continue
            self._runs[new.id] = first_row(new)
            self._steps[new.id], self._paths[new.id] = {}, {}
            self._events[new.id], self._logs[new.id] = [], {}
            self._record(new.id, new.created_at, EventType.TRIGGERED, {})
            created.append(Created(self._runs[new.id], "created"))
        for outcome in created:
            self.announce(Change(outcome.run.id, claimable=True))
        return created

    def _store_step(self, run_id: str, step: StepRow) -> None:
        self._check_seq(run_id, step)
        if step.seq is not None:
            self._paths[run_id][step.seq] = step.path
        self._steps[run_id][step.path] = step

    def _check_seq(self, run_id: str, step: StepRow) -> None:
        if step.seq is not None and self._paths[run_id].get(step.seq, step.path) != step.path:
            raise StoreError(f"run {run_id} has another step under this seq")

    def _is_awaited(self, row: RunRow) -> bool:
        """Whether a run that has not ended may still want to know how this one has."""
        parent = self._runs.get(row.parent_id or "") if row.awaited else None
        return parent is not None and parent.status not in FINAL

    def _existing(self, run_id: str) -> RunRow:
        try:
            return self._runs[run_id]
        except KeyError:
            raise RunNotFound(run_id) from None

    def _refusal(self, run_id: str, generation: int) -> Refusal | None:
        """The guard: a write of any generation but the run's own changes nothing."""
        row = self._runs.get(run_id)
        if row is None:
            return Refusal(None, 0)
        if row.generation != generation or row.status != Status.EXECUTING:
            return Refusal(row.status, row.generation)
        return None

    def _holder_of_key(self, job: str, key: str | None, now: float) -> RunRow | None:
        """The run that answers for this key; one whose time is up lets go of it here."""
        if key is None:
            return None
        for row in self._runs.values():
            if row.key_live and row.job == job and row.idempotency_key == key:
                expires = row.idempotency_expires_at
                if expires is None or expires > now:
                    return row
                self._runs[row.id] = row._replace(key_live=0)
                break
        return None

    def _record(self, run_id: str, at: float, type: EventType, data: dict[str, Any]) -> None:
        """Write a transition's event after everything that the run has so far."""
        row = self._runs[run_id]
        steps = (step.seq for step in self._steps[run_id].values() if step.seq is not None)
        events = (event.seq for event in self._events[run_id])
        last = max(row.seq, max(steps, default=0), max(events, default=0))
        self._events[run_id].append(NewEvent(last + 1, at, type, json.dumps(data)))
        self._runs[run_id] = row._replace(seq=last + 1)

    def _end_lease(self, run_id: str) -> RunRow:
        self._leases.pop(run_id, None)
        return self._runs[run_id]

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
        self.announce(Change(row.id, claimable=False))
        self._tell_parent(self._runs[row.id], now)
        return self._runs[row.id]

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

    def _flush(self, run_id: str, progress: str | None, metadata: str | None, logs: Sequence[LogRow]) -> None:
        row = self._runs[run_id]
        self._runs[run_id] = row._replace(
            progress=row.progress if progress is None else progress,
            metadata=row.metadata if metadata is None else metadata,
        )
        for line in logs:
            self._logs[run_id].setdefault((line.attempt, line.path, line.ordinal), line)

    def _forget(self, run_id: str) -> None:
        for table in (self._runs, self._steps, self._paths, self._events, self._logs):
            table.pop(run_id, None)
        self._tokens = {id: token for id, token in self._tokens.items() if token.run_id != run_id}
