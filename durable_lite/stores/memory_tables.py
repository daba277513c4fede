"""What the parts of the memory store share: its dictionaries, and what several verbs do to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..errors import RunNotFound, StoreError
from ..events import EventType
from ..ports import Store
from ..records import (
    Lease,
    LogRow,
    NewEvent,
    QueueRow,
    Refusal,
    RunRow,
    ScheduleRow,
    Sent,
    StepRow,
    TokenRow,
    TriggerRow,
)
from ..status import Status
from .rows import too_early

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
        self._triggers: list[TriggerRow] = []
        self._schedules: dict[tuple[str, str], ScheduleRow] = {}  # by job and name
        self._sent: dict[str, tuple[float, Sent]] = {}  # by the event's id
        self._queues: dict[str, QueueRow] = {}
        self._starts: dict[str, list[float]] = {}  # of queues with a rate
        self._counted_to: dict[str, float] = {}  # and the latest moment up to which that has counted
        self._more_keys: dict[tuple[str, str], tuple[str, float | None]] = {}  # (job, key): run, expires

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def _store_step(self, run_id: str, step: StepRow) -> None:
        self._check_seq(run_id, step)
        if step.seq is not None:
            self._paths[run_id][step.seq] = step.path
        self._steps[run_id][step.path] = step

    def _check_seq(self, run_id: str, step: StepRow) -> None:
        if step.seq is not None and self._paths[run_id].get(step.seq, step.path) != step.path:
            raise StoreError(f"run {run_id} has another step under this seq")
        self._check_turn(run_id, step.seq)

    def _check_turn(self, run_id: str, seq: int | None) -> None:
        if seq is None or seq - 1 <= self._runs[run_id].seq or seq - 1 in self._paths[run_id]:
            return
        if all(event.seq != seq - 1 for event in reversed(self._events[run_id])):
            raise too_early(run_id)

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

    def _record(self, run_id: str, at: float, type: EventType, data: dict[str, Any]) -> None:
        self._append(run_id, at, type, json.dumps(data))

    def _append(self, run_id: str, at: float, type: str, data: str) -> None:
        """Write a transition's event after everything that the run has so far."""
        row = self._runs[run_id]
        steps = (step.seq for step in self._steps[run_id].values() if step.seq is not None)
        events = (event.seq for event in self._events[run_id])
        last = max(row.seq, max(steps, default=0), max(events, default=0))
        self._events[run_id].append(NewEvent(last + 1, at, type, data))
        self._runs[run_id] = row._replace(seq=last + 1)

    def _end_lease(self, run_id: str) -> RunRow:
        self._leases.pop(run_id, None)
        return self._runs[run_id]

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
        self._more_keys = {key: held for key, held in self._more_keys.items() if held[0] != run_id}
