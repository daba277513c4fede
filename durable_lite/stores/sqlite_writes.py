"""What each write verb does to a SQLite store inside its transaction.

Every function takes a cursor first, and returns what the verb returns together with the changes to
announce once it is committed. Nothing here begins or ends a transaction.
"""

from __future__ import annotations

import json
import operator
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .. import events as ev
from ..errors import Conflict, StoreError
from ..events import EventType
from ..ports import Versions
from ..records import (
    Beat,
    Change,
    Claim,
    Lease,
    NewEvent,
    Refusal,
    RunRow,
    Settlement,
    StepRow,
)
from ..status import FINAL, KEEPS_KEY, OTHERS, RESUMABLE, Status, check
from . import sqlite_queues as queues
from . import sqlite_statements as sql
from . import sqlite_waking as waits
from .rows import deadline_passed, is_due, not_resumable, order, recovered, too_early
from .sqlite_create import create_runs
from .sqlite_rows import change, existing_run, find, forget, holder_of_key, record, refusal

__all__ = [
    "beat",
    "cancel_run",
    "change",
    "claim_runs",
    "create_runs",
    "delete_run",
    "end_run",
    "execute",
    "existing_run",
    "find",
    "forget",
    "holder_of_key",
    "mark_stale",
    "not_saved",
    "purge",
    "record",
    "refusal",
    "register_worker",
    "resume_run",
    "save_failure",
    "save_step",
    "saving",
    "settle",
]

Cursor = sqlite3.Cursor
Changes = tuple[Change, ...]


# A worker's claim on a run


def claim_runs(
    cursor: Cursor, worker: str, jobs: Sequence[str], limit: int, now: float, via: str,
    versions: Versions | None,
) -> tuple[list[Claim], Changes]:  # fmt: skip
    changes = _let_come(cursor, now)
    names = dict.fromkeys(jobs)
    wanted = {job: json.dumps(list(of_job)) for job, of_job in (versions or {}).items()}
    asked = [(job, limit, wanted.get(job)) for job in names]
    best = [RunRow._make(row) for one in asked for row in cursor.execute(sql.BEST, one)]
    if len(names) > 1:
        best.sort(key=order)
    claims = [_claim(cursor, row, worker, now, via) for row in best[:limit]]
    return claims, (*changes, *(Change(claim.run.id, claimable=False) for claim in claims))


def lack_connections(cursor: Cursor, jobs: Sequence[str]) -> tuple[None, Changes]:
    found = [row for job in jobs for row in cursor.execute(sql.LACK_CONNECTIONS, (job,)).fetchall()]
    return None, tuple(Change(id, claimable=False) for (id,) in found)


def _let_come(cursor: Cursor, now: float) -> list[Change]:
    """What time brings: runs that are too late, that are due, that a rate lets start."""
    changes: list[Change] = []
    for found in _in_order(cursor, sql.EXPIRED, now):
        row = existing_run(cursor, found.id)  # one before it may have changed it
        if row.expires_at is not None and row.expires_at <= now and row.status not in FINAL:
            _, more = end_run(cursor, row, now, EventType.EXPIRED, {}, status=Status.EXPIRED, key_live=0)
            changes += more
    for found in _in_order(cursor, sql.DUE_GATED, now):
        if (row := existing_run(cursor, found.id)).status == Status.QUEUED and is_due(row, now):
            fields = {"status": Status.TIMED_OUT, "key_live": 0, "error": deadline_passed()}
            changes += end_run(cursor, row, now, EventType.TIMED_OUT, {"code": "deadline"}, **fields)[1]
    cursor.execute(sql.PROMOTE, (now,))  # and those whom these ends have woken
    for found in _in_order(cursor, sql.DUE_GATED, now):
        if (row := existing_run(cursor, found.id)).status != Status.QUEUED and is_due(row, now):
            queues.ready(cursor, row, now, changes)
    if cursor.execute(sql.LIMITED).fetchone():
        queues.promote_all(cursor, now, changes)
    return changes


def _in_order(cursor: Cursor, statement: str, now: float) -> list[RunRow]:
    return sorted(map(RunRow._make, cursor.execute(statement, (now,)).fetchall()), key=order)


def _claim(cursor: Cursor, row: RunRow, worker: str, now: float, via: str) -> Claim:
    run_id, generation = row.id, row.generation + 1
    check(run_id, row.status, Status.EXECUTING)
    checkpoint = event = None
    if row.started_at is not None or row.seq > 1:  # else it has no steps
        checkpoint, event = cursor.execute(sql.LAST_SEQ, (run_id,)).fetchone()
    seq = max(row.seq, checkpoint or 0, event or 0) + 1
    recoveries, recovery_seq = recovered(row, checkpoint or 0)
    events = [(seq, EventType.CLAIMED, ev.claimed(worker, generation, row.attempt, row.status))]
    if row.interrupted:
        (replayed,) = cursor.execute(sql.COUNT_CHECKPOINTS, (run_id,)).fetchone()
        seq += 1
        events.append((seq, EventType.RESUMED, ev.resumed(replayed, now, row.last_seen_at)))
    started = row.started_at
    if started is None:
        started = queues.start(cursor, row, now) if row.gated else now
    claimed = change(
        cursor, row, status=Status.EXECUTING, ready_at=None, claimable=0, worker=worker, stale_reason=None,
        generation=generation, recoveries=recoveries, recovery_seq=recovery_seq, seq=seq,
        started_at=started, last_seen_at=now, remaining=None, interrupted=0, expires_at=None,
    )  # fmt: skip
    cursor.execute(sql.CREATE_LEASE, (run_id, generation, worker, now, via, row.executed))
    for number, type, data in events:
        cursor.execute(sql.CREATE_EVENT, (run_id, number, now, type, json.dumps(data)))
    return Claim(claimed, row.status, fresh=row.started_at is None and checkpoint is None)


def beat(cursor: Cursor, beats: Sequence[Beat], now: float) -> tuple[dict[str, Refusal], Changes]:
    lost: dict[str, Refusal] = {}
    for one in beats:
        values = (now, one.executed, one.run_id, one.generation)
        if cursor.execute(sql.BEAT, values).rowcount == 0:
            lost[one.run_id] = refusal(cursor, one.run_id)
            continue
        if one.progress is not None or one.metadata is not None:
            cursor.execute(sql.FLUSH, (one.progress, one.metadata, one.run_id))
        if one.logs:
            cursor.executemany(sql.CREATE_LOG, one.logs)
    return lost, ()


def mark_stale(cursor: Cursor, leases: Sequence[Lease], reason: str, now: float) -> tuple[list[str], Changes]:
    done = []
    for seen in leases:
        values = (seen.run_id, seen.generation, seen.heartbeat_at)
        lease = cursor.execute(sql.END_SEEN_LEASE, values).fetchall()
        if not lease:
            continue
        worker, heartbeat_at, executed = lease[0]
        row = existing_run(cursor, seen.run_id)
        check(row.id, row.status, Status.STALE)
        row = change(
            cursor, row, status=Status.STALE, claimable=1, ready_at=None, generation=row.generation + 1,
            stale_reason=reason, last_seen_at=heartbeat_at, executed=executed, interrupted=1,
        )  # fmt: skip
        record(cursor, row, now, EventType.STALE, ev.stale(reason, worker, heartbeat_at))
        done.append(row.id)
    return done, tuple(Change(run_id, claimable=True) for run_id in done)


def settle(
    cursor: Cursor, run_id: str, generation: int, settlement: Settlement
) -> tuple[Refusal | None, Changes]:
    s = settlement
    released, final = s.status == Status.PENDING, s.status in FINAL
    ready_at, remaining = s.ready_at, None
    if s.wakes is not None:
        come, remaining = waits.outlook(cursor, s.wakes)
        ready_at = s.at if come else ready_at
    values = (
        s.status, int(released), s.attempt, s.executed, ready_at, int(released), s.at, s.output,
        s.error, s.at if final else None, int(not final or s.status in KEEPS_KEY), remaining,
        int(released), s.progress, s.metadata, run_id, generation,
    )  # fmt: skip
    settled = cursor.execute(sql.SETTLE, values).fetchall()
    if not settled:
        row = find(cursor, run_id)
        if row and (row.status, row.generation, row.last_seen_at) == (s.status, generation + released, s.at):
            return None, ()  # an earlier try of this very call
        return Refusal(row.status, row.generation) if row else Refusal(None, 0), ()
    check(run_id, Status.EXECUTING, s.status)
    if s.status in OTHERS:
        raise Conflict(f"run {run_id} can't become {s.status} by its holder: that is for others")
    cursor.execute(sql.DROP_LEASE, (run_id,))
    [(parent_id, awaited, gated, seq)] = settled
    cursor.execute(sql.CREATE_EVENT, (run_id, seq, s.at, s.type, s.data))
    if s.logs:
        cursor.executemany(sql.CREATE_LOG, s.logs)
    changes = [Change(run_id, claimable=not final)]
    if gated and not released:
        queues.leave(cursor, run_id, s.at, changes)
    if final and awaited:
        changes += waits.tell_parent(cursor, parent_id, s.status, s.at)
    return None, tuple(changes)


# Steps

_bare = operator.itemgetter(*(StepRow._fields.index(name) for name in sql.BARE))


def saving(step: StepRow, generation: int) -> tuple[str, tuple[object, ...]]:
    """The statement that stores a step, and its values."""
    if step.seq is None:
        return sql.SAVE_UNFINISHED, (*step, generation)
    if step.arguments is None and step.title is None and step.ref is None:
        return sql.SAVE_BARE_STEP, (*_bare(step), generation)
    return sql.SAVE_STEP, (*step, generation)


def save_step(cursor: Cursor, run_id: str, generation: int, step: StepRow) -> tuple[Refusal | None, Changes]:
    if cursor.execute(*saving(step, generation)).rowcount:
        return None, (Change(run_id, claimable=False, step=True),)
    return not_saved(cursor, run_id, generation, step.seq), ()


def not_saved(cursor: Cursor, run_id: str, generation: int, seq: int | None) -> Refusal:
    """Why the statement of a step wrote nothing."""
    now = refusal(cursor, run_id)
    if now == (Status.EXECUTING, generation):
        _check_turn(cursor, run_id, seq)
        raise StoreError(f"run {run_id} has another step under this seq")
    return now


def _check_turn(cursor: Cursor, run_id: str, seq: int | None) -> None:
    if seq is not None and not cursor.execute(sql.IN_TURN, (run_id, seq)).fetchone():
        raise too_early(run_id)


def save_failure(
    cursor: Cursor, run_id: str, generation: int, step: StepRow, event: NewEvent
) -> tuple[Refusal | None, Changes]:
    now = refusal(cursor, run_id)
    if now != (Status.EXECUTING, generation):
        return now, ()
    if not cursor.execute(sql.HAS_EVENT, (run_id, *event)).fetchone():  # else an earlier try of this call
        _check_turn(cursor, run_id, event.seq)
        cursor.execute(sql.VOID_INNER_CALLS, (run_id, step.path))
        cursor.execute(sql.FORGET_INNER_FAILURES, (run_id, step.path))
        cursor.execute(sql.SAVE_UNFINISHED, (*step, generation))
        cursor.execute(sql.CREATE_EVENT, (run_id, *event))
    return None, (Change(run_id, claimable=False, step=True),)


# Steering from outside


def cancel_run(cursor: Cursor, run_id: str, now: float) -> tuple[RunRow, Changes]:
    row, changes = _cancel(cursor, existing_run(cursor, run_id), now, {})
    parents = [run_id]
    for parent in parents:
        for found in cursor.execute(sql.UNFINISHED_CHILDREN, (parent,)).fetchall():
            child = existing_run(cursor, RunRow._make(found).id)  # it may have got a place just now
            child, more = _cancel(cursor, child, now, ev.cancelled_with(parent))
            parents.append(child.id)
            changes += more
    return row, changes


def _cancel(cursor: Cursor, row: RunRow, now: float, data: dict[str, Any]) -> tuple[RunRow, Changes]:
    return end_run(cursor, row, now, EventType.CANCELLED, data, status=Status.CANCELLED, key_live=0)


def resume_run(cursor: Cursor, run_id: str, now: float) -> tuple[RunRow, Changes]:
    row = existing_run(cursor, run_id)
    if row.status not in RESUMABLE:
        raise not_resumable(run_id, row.status)
    if other := holder_of_key(cursor, row.job, row.idempotency_key, now):
        raise Conflict(f"run {run_id} can't resume: run {other.id} has its idempotency key now")
    passed, attempt = row.deadline is not None and row.deadline <= now, row.attempt + 1
    row = change(
        cursor, row, status=Status.PENDING, generation=row.generation + 1, attempt=attempt,
        first_attempt=attempt, recoveries=0, executed=0.0, output=None, error=None, finished_at=None,
        ready_at=None, claimable=1, key_live=int(row.idempotency_key is not None),
        deadline=None if passed else row.deadline, interrupted=int(row.started_at is not None),
        gated=int(queues.is_gated(cursor, row)), expires_at=None,
    )  # fmt: skip
    record(cursor, row, now, EventType.RESUMED, {"by": "request", "attempt": attempt})
    changes: list[Change] = []
    queues.take_places(cursor, run_id, now, changes)
    return existing_run(cursor, run_id), (*changes, Change(run_id, claimable=True))


def delete_run(cursor: Cursor, run_id: str) -> tuple[None, Changes]:
    row = existing_run(cursor, run_id)
    if row.status not in FINAL:
        raise Conflict(f"run {run_id} is {row.status}: cancel it before it is deleted")
    forget(cursor, [(run_id, row.created_at, row.tags)])
    return None, (Change(run_id, claimable=False),)


def purge(cursor: Cursor, before: float, limit: int) -> tuple[int, Changes]:
    old = cursor.execute(sql.OLD_RUNS, (before, limit)).fetchall()
    forget(cursor, old)
    return len(old), ()


# Workers and facts


def register_worker(
    cursor: Cursor,
    worker: str,
    info: str,
    now: float,
    lock: str | None,
    take: Callable[[int], bool],
    gone: Callable[[int], bool],
) -> tuple[bool, Changes]:
    """Whether the worker's lock is held. `lock` names the lock file; None: there is none.

    The lock is taken before the row can be seen, so that nobody finds a live worker's lock free.
    """
    if lock is not None:
        for name, slot in cursor.execute(sql.IDLE_WORKERS, (lock,)).fetchall():
            if gone(slot):
                cursor.execute(sql.FORGET_WORKER, (name,))
    for _ in range(100 if lock is not None else 0):
        cursor.execute(sql.FORGET_WORKER, (worker,))
        cursor.execute(sql.CREATE_WORKER, (worker, info, now, lock))
        if take(cursor.lastrowid or 0):
            return True, ()
        # Held by a worker of a file that was here before this one: slots only go up, so go on.
    cursor.execute(sql.FORGET_WORKER, (worker,))
    cursor.execute(sql.CREATE_WORKER, (worker, info, now, None))
    return False, ()


def execute(cursor: Cursor, statement: str, values: Iterable[object]) -> tuple[None, Changes]:
    """A write that is one plain statement."""
    cursor.execute(statement, tuple(values))
    return None, ()


# What the verbs share


def end_run(
    cursor: Cursor, row: RunRow, now: float, type: EventType, data: dict[str, Any], **fields: Any
) -> tuple[RunRow, Changes]:
    """An outsider ends a run, whoever holds it."""
    check(row.id, row.status, fields["status"])
    executed, last_seen_at = row.executed, row.last_seen_at
    for _, heartbeat_at, held in cursor.execute(sql.END_LEASE, (row.id,)).fetchall():
        executed, last_seen_at = held, heartbeat_at
    row = change(
        cursor, row, generation=row.generation + 1, claimable=0, ready_at=None, finished_at=now,
        executed=executed, last_seen_at=last_seen_at, remaining=None, **fields,
    )  # fmt: skip
    row, changes = record(cursor, row, now, type, data), [Change(row.id, claimable=False, ended=row.status)]
    if row.gated:
        queues.leave(cursor, row.id, now, changes)
    if row.awaited and row.parent_id is not None:
        changes += waits.tell_parent(cursor, row.parent_id, row.status, now)
    return existing_run(cursor, row.id) if row.gated else row, tuple(changes)
