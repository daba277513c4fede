"""What every store agrees on: the first row of a run, how often its worker has disappeared, a hand-over."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from .. import events as ev
from ..errors import Conflict, StoreUnavailable
from ..events import EventType
from ..records import Created, Moved, NewRun, QueueRow, RunRow, ScheduleRow, StepRow, TokenRow
from ..status import FINAL, READY, RESUMABLE, Status, check

__all__ = [
    "answered",
    "arrival",
    "deadline_passed",
    "first_row",
    "goes_before",
    "goes_on",
    "is_due",
    "is_limited",
    "is_news",
    "is_same",
    "is_shared",
    "key_taken",
    "leaving",
    "not_resumable",
    "order",
    "paused",
    "rate_moment",
    "recovered",
    "token_expired",
    "token_taken",
    "tokens_run_ended",
    "too_early",
]

LONGEST_LAG = 60.0  # seconds

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
        key_live=int(new.idempotency_key is not None), parent_id=new.parent_id, awaited=new.awaited,
        remaining=None, interrupted=0, concurrency_key=new.concurrency_key, gated=0, slot=0, key_held=0,
        blocked=None, expires_at=new.expires_at, debounce_key=new.debounce_key,
        debounce_until=new.debounce_until,
    )  # fmt: skip


def order(row: RunRow) -> tuple[int, float, str]:
    """The order in which runs are claimed, and take places."""
    return -row.priority, row.created_at, row.id


def rate_moment(now: float, counted: float) -> float:
    """When a queue's rate counts: not before the moment up to which it has counted.

    A claim that waited for the store comes with an earlier moment than those that went before it. A clock
    that is further behind than that takes is another machine's, and wrong.
    """
    return counted if now < counted < now + LONGEST_LAG else now


def is_due(row: RunRow, now: float) -> bool:
    """Whether its time has come, and it isn't claimable yet."""
    return not row.claimable and row.ready_at is not None and row.ready_at <= now


def is_shared(run: NewRun | RunRow, find: Callable[[str], RunRow | None]) -> bool:
    """Whether an ancestor that waits for a run has its concurrency key."""
    key, parent_id, awaited = run.concurrency_key, run.parent_id, run.awaited
    while key is not None and awaited and parent_id is not None:
        parent = find(parent_id)
        if parent is None or parent.status in FINAL:
            return False
        if parent.concurrency_key == key and parent.key_held:
            return True
        parent_id, awaited = parent.parent_id, parent.awaited
    return False


def goes_before(row: RunRow, holder: RunRow) -> bool:
    """Whether a run takes the concurrency key from one that holds it, which was never claimed."""
    unstarted = holder.status in (*READY, Status.QUEUED) and holder.started_at is None
    return unstarted and holder.key_held == 1 and order(row) < order(holder)


def is_same(stored: StepRow, step: StepRow) -> bool:
    """Whether a stored step with children is of the very call that would store `step`."""
    of_call = [(one.path, one.seq, one.started_at, one.failures, one.attempt) for one in (stored, step)]
    return bool(stored.ref) and of_call[0] == of_call[1]


def answered(new: Sequence[NewRun], runs: Sequence[RunRow]) -> list[Created]:
    """What an earlier try of the very call that would create `new` came to."""
    return [
        Created(run, "created" if run.id == one.id else "idempotent" if one.idempotency_key else "coalesced")
        for one, run in zip(new, runs, strict=True)
    ]


def is_limited(queue: QueueRow | None) -> bool:
    return queue is not None and (
        queue.concurrency is not None or queue.rate is not None or bool(queue.paused)
    )


def recovered(row: RunRow, last_checkpoint: int) -> tuple[int, int]:
    """`recoveries` and `recovery_seq` of a run that is claimed, with its last checkpoint's seq."""
    if row.status != Status.STALE or row.stale_reason not in _DISAPPEARED:
        return row.recoveries, row.recovery_seq
    return 1 if last_checkpoint > row.recovery_seq else row.recoveries + 1, last_checkpoint


def leaving(run: RunRow, *, waits: bool, calls: bool, awaited: bool) -> dict[str, Any]:
    """What the event says of a run that becomes MOVED. `Conflict` if it may not.

    Neither its children nor its parent come along.

    `waits`: it has unfinished children that it awaits. `calls`: a call of it has begun and hasn't ended.
    `awaited`: its parent, which has not ended, awaits it.
    """
    check(run.id, run.status, Status.MOVED)
    if waits:
        why = "waits for child runs, which can't come along: export it when they have ended"
    elif calls:
        why = "hasn't stored yet what its child runs gave, which can't come along: export it when it has"
    elif awaited:
        why = f"is awaited by run {run.parent_id}"
    else:
        # More than time may wake it, which nobody there knows: it is claimed, looks, and waits again.
        return ev.moved_out(run.status, run.ready_at if run.remaining is None else None)
    raise Conflict(f"run {run.id} {why}")


def is_news(moved: Moved, here: RunRow, moved_at: Callable[[int], float | None]) -> bool:
    """Whether a moved run replaces the MOVED one that is `here`; not if it came before. Else `Conflict`.

    `moved_at(seq)` is the moment of the `run.moved` event at `seq` of the run here.
    """
    last = moved.events[-1]
    if here.status != Status.MOVED:
        if moved_at(last.seq) == last.at:
            return False
        raise Conflict(f"run {here.id} can't be imported: it is here, and {here.status}")
    left = (here.seq, moved_at(here.seq))
    if left in [(event.seq, event.at) for event in moved.events if event.type == EventType.MOVED]:
        return True
    raise Conflict(f"run {here.id} can't be imported: it has moved on from here since")


def arrival(run: RunRow, here: RunRow | None, now: float) -> RunRow:
    """A moved run as it is stored, before its `run.moved` event."""
    generation = run.generation if here is None else max(run.generation, here.generation)
    expires = run.idempotency_expires_at
    return run._replace(
        generation=generation + 1, claimable=int(run.ready_at is None or run.ready_at <= now),
        finished_at=None, output=None, worker=None, stale_reason=None,
        interrupted=int(run.started_at is not None and run.status != Status.WAITING),
        key_live=int(run.idempotency_key is not None and (expires is None or expires > now)),
    )  # fmt: skip


def key_taken(run: RunRow, other: RunRow) -> Conflict:
    key = run.idempotency_key
    return Conflict(f"run {run.id} can't be imported: run {other.id} has its idempotency key {key}")


def token_taken(run: RunRow, token_id: str) -> Conflict:
    return Conflict(f"run {run.id} can't be imported: another run has its token {token_id}")


def token_expired(token: TokenRow) -> Conflict:
    return Conflict(f"token {token.id} has expired: nobody finished it in time")


def tokens_run_ended(token: TokenRow, status: str) -> Conflict:
    return Conflict(f"token {token.id} can't be finished: its run {token.run_id} is {status}")


def deadline_passed() -> str:
    """The error of a run whose deadline came while it was QUEUED."""
    return json.dumps({"type": "TimedOut", "code": "deadline", "message": "deadline has passed"})


def goes_on(new: ScheduleRow, before: ScheduleRow | None) -> ScheduleRow:
    """A schedule as a worker declares it, with what it has come to already."""
    if before is None:
        return new
    next_at = before.next_at if before.spec == new.spec else new.next_at
    return new._replace(next_at=next_at, last_at=before.last_at, paused=before.paused)


def paused(row: ScheduleRow, on: bool, now: float) -> ScheduleRow:
    """A schedule that is paused, or goes on with what comes after `now`."""
    return row._replace(paused=int(on), next_at=row.next_at if on else max(row.next_at, now))


def not_resumable(run_id: str, status: str) -> Conflict:
    return Conflict(f"run {run_id} is {status}: only {', '.join(sorted(RESUMABLE))} runs resume")


def too_early(run_id: str) -> StoreUnavailable:
    """A write came before another of the same execution, which has failed and will be tried again.

    Stored at once it would leave a gap in the run's sequence, which a reader would go past.
    """
    return StoreUnavailable(f"run {run_id}: a write that comes before this one isn't stored yet")
