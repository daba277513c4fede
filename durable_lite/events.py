"""What happens to a run, in a closed vocabulary: the stored events and the live ones."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

__all__ = ["LIVE", "EventType", "RunEvent"]


class EventType(StrEnum):
    """Every type of event there is. A completed step's row is its `step.completed` event."""

    TRIGGERED = "run.triggered"
    CLAIMED = "run.claimed"
    STALE = "run.stale"
    RESUMED = "run.resumed"
    WAITING = "run.waiting"
    RETRYING = "run.retrying"
    RELEASED = "run.released"
    COMPLETED = "run.completed"
    FAILED = "run.failed"
    CANCELLED = "run.cancelled"
    TIMED_OUT = "run.timed_out"
    EXPIRED = "run.expired"
    MOVED = "run.moved"
    SWALLOWED_STOP = "run.swallowed_stop"
    STEP_STARTED = "step.started"
    STEP_COMPLETED = "step.completed"
    STEP_FAILED = "step.failed"
    STEP_BLOCKED = "step.blocked"
    PROGRESS = "run.progress"
    METADATA = "run.metadata"
    LOG = "run.log"
    STORE_DOWN = "store.down"
    STORE_UP = "store.up"
    JOB_UNKNOWN = "job.unknown"


# Never stored: only listeners in the worker's own process hear them. Nor is the `step.failed` of a step that
# its job gave up, or that returned what can't be stored.
LIVE = frozenset(
    {
        EventType.SWALLOWED_STOP,
        EventType.STEP_STARTED,
        EventType.STEP_BLOCKED,
        EventType.PROGRESS,
        EventType.METADATA,
        EventType.LOG,
        EventType.STORE_DOWN,
        EventType.STORE_UP,
        EventType.JOB_UNKNOWN,
    }
)


class RunEvent(NamedTuple):
    """One event: of which run, its place in the run's gapless sequence (None: live), when, what."""

    run_id: str | None
    seq: int | None
    at: float
    type: str
    data: dict[str, Any]


# What the events written by a store itself say, so that all stores say it alike.


def claimed(worker: str, generation: int, attempt: int, status: str) -> dict[str, Any]:
    return {"worker": worker, "generation": generation, "attempt": attempt, "from": status}


def resumed(replayed: int, now: float, last_seen_at: float | None) -> dict[str, Any]:
    gap = 0.0 if last_seen_at is None else max(0.0, now - last_seen_at)
    return {"replayed": replayed, "gap_ms": round(gap * 1000)}


def stale(reason: str, worker: str, heartbeat_at: float) -> dict[str, Any]:
    return {"reason": reason, "worker": worker, "heartbeat_at": heartbeat_at}


def cancelled_with(parent: str) -> dict[str, Any]:
    return {"parent": parent}


def moved_out(status: str, ready_at: float | None) -> dict[str, Any]:
    """To another store; with what the run was, which its row doesn't say any more."""
    return {"direction": "out", "from": status, "ready_at": ready_at}


def moved_in() -> dict[str, Any]:
    return {"direction": "in"}


def step_completed(path: str, name: str | None, started_at: float) -> dict[str, Any]:
    return {"path": path, "name": name, "started_at": started_at}
