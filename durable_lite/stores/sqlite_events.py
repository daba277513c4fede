"""Events sent to a SQLite store: the runs that they start, and the waits that they end."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from ..matching import matches
from ..ports import EVENT_TTL
from ..records import Change, NewRun, Sent, SentEvent, TokenRow, TriggerRow
from ..status import FINAL
from . import sqlite_statements as sql
from .sqlite_create import create_runs
from .sqlite_rows import existing_run
from .sqlite_waits import finish

__all__ = ["send_event", "set_triggers"]

Cursor = sqlite3.Cursor
Changes = tuple[Change, ...]


def set_triggers(cursor: Cursor, jobs: Sequence[str], triggers: Sequence[TriggerRow]) -> tuple[None, Changes]:
    of_jobs = (json.dumps(list(jobs)),)
    before = {TriggerRow._make(row) for row in cursor.execute(sql.TRIGGERS_OF, of_jobs)}
    if before != set(triggers):
        cursor.execute(sql.FORGET_TRIGGERS, of_jobs)
        cursor.executemany(sql.ADD_TRIGGER, triggers)
    return None, ()


def send_event(cursor: Cursor, event: SentEvent, runs: Sequence[NewRun]) -> tuple[Sent, Changes]:
    known_since = event.at - EVENT_TTL
    if earlier := cursor.execute(sql.SENT, (event.id, known_since)).fetchone():
        return Sent(False, tuple(json.loads(earlier[0])), earlier[1]), ()
    created, changes = create_runs(cursor, runs)
    payload, ended = json.loads(event.payload), 0
    waiting = cursor.execute(sql.EVENT_WAITS, (event.name, event.at)).fetchall()
    for token in map(TokenRow._make, waiting):
        if matches(token.match or "{}", payload) and existing_run(cursor, token.run_id).status not in FINAL:
            changes += finish(cursor, token, "completed", event.payload, None, event.at)[1]
            ended += 1
    ids = [outcome.run.id for outcome in created]
    cursor.execute(sql.SEND, (*event, json.dumps(ids), ended))
    cursor.execute(sql.FORGET_SENT, (known_since,))
    return Sent(True, tuple(ids), ended), changes
