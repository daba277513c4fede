"""What wakes a WAITING run of a SQLite store besides time: its tokens, and the ends of its children."""

from __future__ import annotations

import json
import sqlite3

from ..records import Change, Wakes
from ..status import Status
from . import sqlite_statements as sql

__all__ = ["outlook", "tell_parent", "wake"]


def outlook(cursor: sqlite3.Cursor, wakes: Wakes) -> tuple[bool, int]:
    """Whether what is waited for has come, and how many completed children are still missing."""
    come = completed = ended = 0
    if wakes.tokens:
        (come,) = cursor.execute(sql.TOKENS_COME, (json.dumps(wakes.tokens),)).fetchone()
    children = list(dict.fromkeys(wakes.children))
    if children:
        completed, ended = cursor.execute(sql.CHILDREN_ENDED, (json.dumps(children),)).fetchone()
    left = (len(children) if wakes.all else 1) - completed
    return bool(come or ended or (left <= 0 and children)), max(left, 0)


def tell_parent(cursor: sqlite3.Cursor, parent_id: str, status: str, now: float) -> tuple[Change, ...]:
    """A run has ended with this status, which its parent may wait for."""
    woken = False
    if found := cursor.execute(sql.PARENT_WAITS, (parent_id,)).fetchone():
        left = max(found[0] - 1, 0) if status == Status.COMPLETED else 0
        cursor.execute(sql.FEWER_REMAIN, (left, parent_id))
        if woken := left == 0:
            wake(cursor, parent_id, now)
    return (Change(parent_id, claimable=woken),)


def wake(cursor: sqlite3.Cursor, run_id: str, now: float) -> None:
    """A WAITING run is due now."""
    cursor.execute(sql.WAKE, (now, run_id))
