"""The statuses of a run and the one table of legal transitions that every store enforces."""

from __future__ import annotations

from enum import StrEnum

from .errors import Conflict

__all__ = ["FINAL", "OTHERS", "READY", "RESUMABLE", "TRANSITIONS", "UNFINISHED", "Status", "check", "mermaid"]


class Status(StrEnum):
    """Where a run is in its life; stored as this text."""

    PENDING = "PENDING"
    QUEUED = "QUEUED"
    WAITING_ON_CONNECTIONS = "WAITING_ON_CONNECTIONS"
    EXECUTING = "EXECUTING"
    STALE = "STALE"
    WAITING = "WAITING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"
    EXPIRED = "EXPIRED"
    INVALID_PAYLOAD = "INVALID_PAYLOAD"
    UNRESOLVED_AUTH = "UNRESOLVED_AUTH"
    MOVED = "MOVED"


_S = Status

# from → {to: what makes it happen}; None is a run that doesn't exist yet.
TRANSITIONS: dict[Status | None, dict[Status, str]] = {
    None: {_S.PENDING: "trigger, replay, import", _S.WAITING: "import"},
    _S.PENDING: {
        _S.EXECUTING: "claim",
        _S.QUEUED: "key or queue is taken",
        _S.WAITING_ON_CONNECTIONS: "the worker has no such connection",
        _S.EXPIRED: "ttl",
        _S.CANCELLED: "cancel",
        _S.MOVED: "export",
    },
    _S.WAITING_ON_CONNECTIONS: {
        _S.EXECUTING: "claim by who has it",
        _S.QUEUED: "key or queue is taken",
        _S.EXPIRED: "ttl",
        _S.CANCELLED: "cancel",
        _S.MOVED: "export",
    },
    _S.QUEUED: {
        _S.PENDING: "a place is free",
        _S.EXPIRED: "ttl",
        _S.TIMED_OUT: "deadline",
        _S.CANCELLED: "cancel",
        _S.MOVED: "export",
    },
    _S.EXECUTING: {
        _S.COMPLETED: "the job returned",
        _S.FAILED: "no attempt left, AbortRun",
        _S.TIMED_OUT: "max_duration, deadline, poison",
        _S.INVALID_PAYLOAD: "payload doesn't fit",
        _S.UNRESOLVED_AUTH: "the auth resolver failed",
        _S.WAITING: "durable wait, back-off",
        _S.STALE: "heartbeat too old, worker gone",
        _S.PENDING: "release (graceful stop)",
        _S.CANCELLED: "cancel",
        _S.MOVED: "export",
    },
    _S.STALE: {_S.EXECUTING: "claim", _S.CANCELLED: "cancel", _S.MOVED: "export"},
    _S.WAITING: {
        _S.EXECUTING: "claim when due",
        _S.QUEUED: "due, but key or queue is taken",
        _S.CANCELLED: "cancel",
        _S.MOVED: "export",
    },
    _S.COMPLETED: {},
    _S.FAILED: {_S.PENDING: "resume"},
    _S.CANCELLED: {_S.PENDING: "resume"},
    _S.TIMED_OUT: {_S.PENDING: "resume"},
    _S.UNRESOLVED_AUTH: {_S.PENDING: "resume"},
    _S.EXPIRED: {},
    _S.INVALID_PAYLOAD: {},
    _S.MOVED: {_S.PENDING: "import", _S.WAITING: "import"},
}

RESUMABLE = frozenset({_S.FAILED, _S.CANCELLED, _S.TIMED_OUT, _S.UNRESOLVED_AUTH})
FINAL = RESUMABLE | {_S.COMPLETED, _S.EXPIRED, _S.INVALID_PAYLOAD, _S.MOVED}
UNFINISHED = frozenset(_S) - FINAL

# Claimable, and never executed under this attempt.
READY = frozenset({_S.PENDING, _S.WAITING_ON_CONNECTIONS})

# A finished run with one of these still holds its idempotency key.
KEEPS_KEY = frozenset({_S.COMPLETED, _S.MOVED})

# What the holder of a run can't make of it: that is for others.
OTHERS = frozenset({_S.STALE, _S.EXPIRED, _S.MOVED})


def check(run_id: str, old: str | None, new: str) -> None:
    """Raise `Conflict` unless a run may go from `old` to `new`."""
    if new not in TRANSITIONS[None if old is None else Status(old)]:
        raise Conflict(f"run {run_id} is {old or 'new'} and can't become {new}")


def mermaid() -> str:
    """The table as a Mermaid state diagram; `docs/statuses.md` is generated from it."""
    lines = ["stateDiagram-v2"]
    for old, targets in TRANSITIONS.items():
        for new, why in targets.items():
            lines.append(f"    {old or '[*]'} --> {new}: {why}")
        if old in FINAL and old not in RESUMABLE:
            lines.append(f"    {old} --> [*]")
    return "\n".join(lines) + "\n"
