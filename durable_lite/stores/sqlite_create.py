"""How runs begin in a SQLite store: created, or answered for by others, inside one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import partial

from ..errors import Busy
from ..events import EventType
from ..records import Change, Created, NewRun, QueueRow, RunRow, StepRow
from ..status import Status
from . import sqlite_queues as queues
from . import sqlite_statements as sql
from .rows import first_row, is_limited, is_shared
from .sqlite_rows import change, existing_run, find, holder_of_key

__all__ = ["create_runs", "fork_run"]

Cursor = sqlite3.Cursor


def create_runs(cursor: Cursor, runs: Sequence[NewRun]) -> tuple[list[Created], tuple[Change, ...]]:
    limits = {name: queues.limits(cursor, name) for name in {new.queue for new in runs}}
    changes: list[Change] = []
    created, stale = [], False
    for new in runs:
        outcome = _answer(cursor, new)
        stale = stale or outcome is not None
        if outcome is None:
            outcome = _insert(cursor, new, limits[new.queue], changes)
        stale = stale or bool(outcome.run.gated)
        created.append(outcome)
    if stale:  # those behind one may have taken its place, or its key, or brought another payload
        created = [one._replace(run=existing_run(cursor, one.run.id)) for one in created]
    changes += [Change(outcome.run.id, claimable=True) for outcome in created]
    return created, tuple(changes)


def _answer(cursor: Cursor, new: NewRun) -> Created | None:
    """What stands for a new run that need not be created."""
    if new.idempotency_key is None and new.debounce_key is None and new.concurrency_key is None:
        return None
    if existing := find(cursor, new.id):
        return Created(existing, "created")
    if existing := holder_of_key(cursor, new.job, new.idempotency_key, new.created_at):
        return Created(existing, "idempotent")
    existing = _debounced(cursor, new)
    if existing is None and new.on_busy == "skip":
        found = cursor.execute(sql.NOT_STARTED, (new.concurrency_key, new.job)).fetchone()
        existing = None if found is None else RunRow._make(found)
    if existing is None:
        busy = new.on_busy == "reject" and cursor.execute(sql.BUSY, (new.concurrency_key,)).fetchone()
        if busy:
            raise Busy(new.concurrency_key or "", RunRow._make(busy).id)
        return None
    if new.idempotency_key is not None:
        cursor.execute(sql.ADD_KEY, (new.job, new.idempotency_key, existing.id, new.idempotency_expires_at))
    return Created(existing, "coalesced")


def _debounced(cursor: Cursor, new: NewRun) -> RunRow | None:
    if new.debounce_key is None:
        return None
    found = cursor.execute(sql.DEBOUNCED, (new.job, new.debounce_key)).fetchone()
    if found is None:
        return None
    row = RunRow._make(found)
    if new.debounce_mode == "leading":
        if row.debounce_until is None or row.debounce_until <= new.created_at:
            return None
        return change(cursor, row, debounce_until=new.debounce_until)
    if row.status != Status.PENDING or row.started_at is not None or row.claimable:
        return None
    latest = row.debounce_until
    ready_at = new.ready_at if latest is None else min(new.ready_at, latest)
    return change(cursor, row, payload=new.payload, ready_at=ready_at, expires_at=new.expires_at)


def _insert(cursor: Cursor, new: NewRun, queue: QueueRow | None, changes: list[Change]) -> Created:
    row = first_row(new)._replace(seq=1)
    due = bool(row.claimable)
    if new.concurrency_key is not None or is_limited(queue):
        row = row._replace(gated=1, claimable=0, key_held=2 if is_shared(new, partial(find, cursor)) else 0)
    if cursor.execute(sql.CREATE_RUN, row).rowcount == 0:
        return Created(existing_run(cursor, new.id), "created")  # an earlier try of this very call
    cursor.execute(sql.CREATE_EVENT, (new.id, 1, new.created_at, EventType.TRIGGERED, "{}"))
    if new.tags != "[]":
        cursor.executemany(sql.CREATE_TAG, [(tag, new.created_at, new.id) for tag in json.loads(new.tags)])
    if due and row.gated:
        queues.ready(cursor, row, new.created_at, changes)
    return Created(row, "created")


def fork_run(cursor: Cursor, run: NewRun, steps: Sequence[StepRow]) -> tuple[Created, tuple[Change, ...]]:
    known = find(cursor, run.id) is not None
    [created], changes = create_runs(cursor, [run])
    if not known and created.run.id == run.id:
        cursor.executemany(sql.ADD_STEP, steps)
        created = created._replace(run=change(cursor, created.run, seq=1 + len(steps)))
    return created, changes
