"""A run's way out of a SQLite store and into it, each in one transaction, as in `sqlite_writes`."""

from __future__ import annotations

import json
import sqlite3

from .. import events as ev
from ..events import EventType
from ..records import Change, Moved, RunRow
from ..status import Status
from . import sqlite_queues as queues
from . import sqlite_statements as sql
from .rows import arrival, is_news, key_taken, leaving, token_taken
from .sqlite_rows import existing_run, find, forget, holder_of_key, record
from .sqlite_writes import end_run

__all__ = ["import_run", "move_run"]

Cursor = sqlite3.Cursor
Changes = tuple[Change, ...]


def move_run(cursor: Cursor, run_id: str, now: float) -> tuple[RunRow, Changes]:
    row = existing_run(cursor, run_id)
    if row.status == Status.MOVED:
        return row, ()

    def holds(statement: str, id: str | None) -> bool:
        return cursor.execute(statement, (id,)).fetchone() is not None

    data = leaving(
        row,
        waits=holds(sql.WAITS_FOR_CHILDREN, run_id),
        calls=holds(sql.CALLS, run_id),
        awaited=bool(row.awaited) and holds(sql.IS_AWAITED, row.parent_id),
    )
    return end_run(cursor, row, now, EventType.MOVED, data, status=Status.MOVED)


def import_run(cursor: Cursor, moved: Moved, now: float) -> tuple[RunRow, Changes]:
    run_id, here = moved.run.id, find(cursor, moved.run.id)

    def moved_at(seq: int) -> float | None:
        found = cursor.execute(sql.MOVED_AT, (run_id, seq)).fetchone()
        return None if found is None else found[0]

    if here is not None and not is_news(moved, here, moved_at):
        return here, ()
    row = arrival(moved.run, here, now)
    ids = json.dumps([token.id for token in moved.tokens])
    if taken := cursor.execute(sql.TOKEN_OF_ANOTHER, (ids, run_id)).fetchone():
        raise token_taken(row, taken[0])
    other = holder_of_key(cursor, row.job, row.idempotency_key, now) if row.key_live else None
    if other is not None and other.id != run_id:
        raise key_taken(row, other)
    keys = cursor.execute(sql.KEYS_OF, (run_id,)).fetchall()
    if here is not None:
        forget(cursor, [(run_id, here.created_at, here.tags)])
    cursor.executemany(sql.ADD_KEY, keys)
    row = row._replace(gated=int(queues.is_gated(cursor, row)))
    cursor.execute(sql.CREATE_RUN, row)
    cursor.executemany(sql.CREATE_TAG, [(tag, row.created_at, run_id) for tag in json.loads(row.tags)])
    cursor.executemany(sql.ADD_STEP, [step for step in moved.steps if step.seq is not None])
    cursor.executemany(sql.ADD_UNFINISHED, [step for step in moved.steps if step.seq is None])
    cursor.executemany(sql.CREATE_EVENT, [(run_id, *event) for event in moved.events])
    cursor.executemany(sql.CREATE_LOG, moved.logs)
    cursor.executemany(sql.CREATE_TOKEN, moved.tokens)
    record(cursor, row, now, EventType.MOVED, ev.moved_in())
    changes: list[Change] = []
    queues.take_places(cursor, run_id, now, changes)
    return existing_run(cursor, run_id), (*changes, Change(run_id, claimable=True))
