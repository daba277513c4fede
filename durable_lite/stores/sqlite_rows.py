"""Rows of a SQLite store as several verbs read and change them, inside the transaction of one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from ..errors import RunNotFound
from ..events import EventType
from ..records import Refusal, RunRow
from ..status import FINAL, KEEPS_KEY
from . import sqlite_statements as sql

__all__ = ["change", "existing_run", "find", "forget", "holder_of_key", "record", "refusal"]

Cursor = sqlite3.Cursor


def find(cursor: Cursor, run_id: str) -> RunRow | None:
    row = cursor.execute(sql.GET_RUN, (run_id,)).fetchone()
    return None if row is None else RunRow._make(row)


def existing_run(cursor: Cursor, run_id: str) -> RunRow:
    row = find(cursor, run_id)
    if row is None:
        raise RunNotFound(run_id)
    return row


def refusal(cursor: Cursor, run_id: str) -> Refusal:
    """What the run is now, for a caller whose guard failed."""
    row = cursor.execute(sql.GUARD, (run_id,)).fetchone()
    return Refusal(None, 0) if row is None else Refusal(*row)


def change(cursor: Cursor, row: RunRow, **fields: Any) -> RunRow:
    cursor.execute(sql.change_run(tuple(fields)), (*fields.values(), row.id))
    return row._replace(**fields)


def record(cursor: Cursor, row: RunRow, at: float, type: EventType, data: dict[str, Any]) -> RunRow:
    """Write a transition's event after everything that the run has so far."""
    checkpoint, event = cursor.execute(sql.LAST_SEQ, (row.id,)).fetchone()
    seq = max(row.seq, checkpoint or 0, event or 0) + 1
    cursor.execute(sql.CREATE_EVENT, (row.id, seq, at, type, json.dumps(data)))
    return change(cursor, row, seq=seq)


def holder_of_key(cursor: Cursor, job: str, key: str | None, now: float) -> RunRow | None:
    """The run that answers for this key; one whose time is up lets go of it here."""
    if key is None:
        return None
    row: RunRow | None
    found = cursor.execute(sql.KEY_HOLDER, (job, key)).fetchone()
    if found is not None:
        row = RunRow._make(found)
        if row.idempotency_expires_at is None or row.idempotency_expires_at > now:
            return row
        change(cursor, row, key_live=0)
    found = cursor.execute(sql.MORE_KEYS, (job, key, now)).fetchone()
    row = None if found is None else RunRow._make(found)
    return row if row is not None and (row.status not in FINAL or row.status in KEEPS_KEY) else None


def forget(cursor: Cursor, runs: Sequence[tuple[str, float, str]]) -> None:
    cursor.executemany(sql.FORGET_TAGS, runs)
    for statement in sql.FORGET:
        cursor.executemany(statement, [(run_id,) for run_id, _, _ in runs])
