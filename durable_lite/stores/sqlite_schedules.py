"""Schedules in a SQLite store: each verb inside its transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from ..records import Change, NewRun, ScheduleRow
from . import rows
from .sqlite_create import create_runs

__all__ = ["SCHEDULES", "pause_schedule", "set_schedules", "tick"]

Cursor = sqlite3.Cursor
Changes = tuple[Change, ...]

_FIELDS = ", ".join(ScheduleRow._fields)
SCHEDULES = f"SELECT {_FIELDS} FROM schedules ORDER BY job, name"
_OF_JOBS = f"SELECT {_FIELDS} FROM schedules WHERE job IN (SELECT value FROM json_each(?))"
_FORGET = "DELETE FROM schedules WHERE job IN (SELECT value FROM json_each(?))"
_PUT = f"INSERT OR REPLACE INTO schedules ({_FIELDS}) VALUES ({', '.join('?' * len(ScheduleRow._fields))})"
_ONE = f"SELECT {_FIELDS} FROM schedules WHERE job = ? AND name = ?"


def set_schedules(
    cursor: Cursor, jobs: Sequence[str], schedules: Sequence[ScheduleRow]
) -> tuple[None, Changes]:
    of_jobs = (json.dumps(list(jobs)),)
    before = {(row[0], row[1]): ScheduleRow._make(row) for row in cursor.execute(_OF_JOBS, of_jobs)}
    after = {(row.job, row.name): rows.goes_on(row, before.get((row.job, row.name))) for row in schedules}
    if after == before:
        return None, ()
    cursor.execute(_FORGET, of_jobs)
    cursor.executemany(_PUT, after.values())
    return None, (Change(None, claimable=True),)


def pause_schedule(cursor: Cursor, job: str, name: str, paused: bool, now: float) -> tuple[None, Changes]:
    row = _find(cursor, job, name)
    if row is None or row.paused == paused:
        return None, ()
    cursor.execute(_PUT, rows.paused(row, paused, now))
    return None, (Change(None, claimable=True),)


def tick(
    cursor: Cursor, seen: ScheduleRow, next_at: float, last_at: float | None, runs: Sequence[NewRun]
) -> tuple[bool, Changes]:
    if _find(cursor, seen.job, seen.name) != seen or seen.paused:
        return False, ()
    _, changes = create_runs(cursor, runs)
    cursor.execute(_PUT, seen._replace(next_at=next_at, last_at=last_at))
    return True, changes


def _find(cursor: Cursor, job: str, name: str) -> ScheduleRow | None:
    row = cursor.execute(_ONE, (job, name)).fetchone()
    return None if row is None else ScheduleRow._make(row)
