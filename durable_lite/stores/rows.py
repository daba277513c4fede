"""What every store agrees on: the first row of a run, and how often its worker has disappeared."""

from __future__ import annotations

from ..records import NewRun, RunRow
from ..status import Status

__all__ = ["first_row", "recovered"]

# Stale for these reasons means that the worker disappeared without waking or releasing.
_DISAPPEARED = frozenset({"heartbeat", "worker gone"})


def first_row(new: NewRun) -> RunRow:
    """A run as it is created, before its `run.triggered` event."""
    return RunRow(
        id=new.id, job=new.job, version=new.version, status=Status.PENDING, queue=new.queue,
        priority=new.priority, created_at=new.created_at, ready_at=new.ready_at,
        claimable=int(new.ready_at <= new.created_at), started_at=None, finished_at=None,
        payload=new.payload, output=None, error=None, attempt=1, first_attempt=1, recoveries=0,
        recovery_seq=0, generation=0, worker=None, seq=0, executed=0.0, last_seen_at=None,
        stale_reason=None, max_duration=new.max_duration, deadline=new.deadline,
        trigger=new.trigger, environment=new.environment, tags=new.tags, progress=None,
        metadata="{}", idempotency_key=new.idempotency_key,
        idempotency_expires_at=new.idempotency_expires_at,
        key_live=int(new.idempotency_key is not None),
    )  # fmt: skip


def recovered(row: RunRow, last_checkpoint: int) -> tuple[int, int]:
    """`recoveries` and `recovery_seq` of a run that is claimed, with its last checkpoint's seq."""
    if row.status != Status.STALE or row.stale_reason not in _DISAPPEARED:
        return row.recoveries, row.recovery_seq
    return 1 if last_checkpoint > row.recovery_seq else row.recoveries + 1, last_checkpoint
