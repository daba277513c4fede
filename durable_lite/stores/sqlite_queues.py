"""Who may be claimed in a SQLite store: places in queues, concurrency keys, and the lines for both.

A gated run that is due takes its concurrency key first, then a slot of its queue. Where one is taken it
stands in the line for that, and is QUEUED. Whoever lets go of a place lets the first in the line go on.
Everything here happens inside the transaction of a verb, and adds to its `changes`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial

from ..records import Change, QueueRow, RunRow
from ..status import FINAL, Status, check
from . import sqlite_statements as sql
from .rows import goes_before, is_limited, is_shared, order, rate_moment
from .sqlite_rows import change, find

__all__ = [
    "is_gated",
    "leave",
    "pause_queue",
    "promote_all",
    "ready",
    "set_queues",
    "start",
    "take_places",
]

Cursor = sqlite3.Cursor
Changes = list[Change]


def set_queues(cursor: Cursor, queues: Sequence[QueueRow], now: float) -> tuple[None, tuple[Change, ...]]:
    changes: Changes = []
    for queue in queues:
        before = limits(cursor, queue.name)
        queue = queue._replace(paused=before.paused if before else 0)
        if queue != before:
            _set(cursor, queue, now, changes)
    return None, tuple(changes)


def pause_queue(cursor: Cursor, name: str, paused: bool, now: float) -> tuple[None, tuple[Change, ...]]:
    changes: Changes = []
    queue = limits(cursor, name) or QueueRow(name)
    if queue.paused != paused:
        _set(cursor, queue._replace(paused=int(paused)), now, changes)
    return None, tuple(changes)


def _set(cursor: Cursor, queue: QueueRow, now: float, changes: Changes) -> None:
    """The limits of a queue have changed: they hold for all that are there."""
    cursor.execute(sql.SET_QUEUE, queue)
    cursor.execute(sql.GATE, (int(is_limited(queue)), queue.name))
    if is_limited(queue):
        cursor.execute(sql.ALL_STAND_IN_LINE, (queue.name,))
    _promote(cursor, queue.name, now, changes)
    changes.append(Change(None, claimable=True))


def limits(cursor: Cursor, name: str) -> QueueRow | None:
    row = cursor.execute(sql.QUEUE, (name,)).fetchone()
    return None if row is None else QueueRow._make(row)


# Taking places


def is_gated(cursor: Cursor, row: RunRow) -> bool:
    """Whether a run needs places to be claimable."""
    return row.concurrency_key is not None or is_limited(limits(cursor, row.queue))


def take_places(cursor: Cursor, run_id: str, now: float, changes: Changes) -> None:
    """A run has been made claimable, which it may not be yet."""
    row = find(cursor, run_id)
    if row is not None and row.gated and row.claimable:
        ready(cursor, row._replace(claimable=0), now, changes)


def ready(cursor: Cursor, row: RunRow, now: float, changes: Changes) -> None:
    """A run is due: it becomes claimable, or QUEUED."""
    freed: str | None = None
    if not row.key_held and is_shared(row, partial(find, cursor)):
        row = row._replace(key_held=2)
    if row.concurrency_key is not None and not row.key_held:
        holders = [RunRow._make(one) for one in cursor.execute(sql.HOLDERS, (row.concurrency_key,))]
        if any(not goes_before(row, holder) for holder in holders):
            _block(cursor, row, "key", changes)
            return
        for holder in holders:
            freed = holder.queue if holder.slot else None
            _block(cursor, holder._replace(key_held=0, slot=0), "key", changes)
        row = row._replace(key_held=1)
    queue = limits(cursor, row.queue)
    if queue is not None and is_limited(queue) and not row.slot:
        first = _next_in_line(cursor, queue.name, now)
        if first is not None and order(first) < order(row):
            # A rate lets others start by now, who were here before.
            _block(cursor, row, "queue", changes)
            _promote(cursor, row.queue, now, changes)
            _promote(cursor, freed, now, changes)
            return
        if _is_full(cursor, queue, row, now):
            found = None if queue.paused else cursor.execute(sql.LAST_UNSTARTED, (row.queue,)).fetchone()
            last = None if found is None else RunRow._make(found)
            if last is None or order(last) < order(row):
                _block(cursor, row, "queue", changes)
                _promote(cursor, freed, now, changes)
                return
            _block(cursor, last._replace(slot=0), "queue", changes)
        row = row._replace(slot=1)
        if queue.period is not None:
            cursor.execute(sql.COUNT_TO, (_moment(cursor, queue.name, now), queue.name))
    if row.status == Status.QUEUED:
        check(row.id, row.status, Status.PENDING)
        row = row._replace(status=Status.PENDING, ready_at=None)
    change(
        cursor, row, status=row.status, ready_at=row.ready_at, claimable=1, blocked=None, slot=row.slot,
        key_held=row.key_held,
    )  # fmt: skip
    changes.append(Change(row.id, claimable=True))
    _promote(cursor, freed, now, changes)


def _block(cursor: Cursor, row: RunRow, place: str, changes: Changes) -> None:
    if row.status != Status.QUEUED:
        check(row.id, row.status, Status.QUEUED)
    change(
        cursor, row, status=Status.QUEUED, claimable=0, ready_at=row.deadline, blocked=place, slot=row.slot,
        key_held=row.key_held, remaining=None,
    )  # fmt: skip
    changes.append(Change(row.id, claimable=False))


def _is_full(cursor: Cursor, queue: QueueRow, row: RunRow, now: float) -> bool:
    if queue.paused:
        return True
    if queue.concurrency is not None and _count(cursor, sql.TAKEN, queue.name) >= queue.concurrency:
        return True
    if queue.rate is None or queue.period is None or row.started_at is not None:
        return False
    started = _count(cursor, sql.STARTED, queue.name, queue.period, _moment(cursor, queue.name, now))
    return started + _count(cursor, sql.COMING, queue.name) >= queue.rate


def _count(cursor: Cursor, statement: str, *values: object) -> int:
    (count,) = cursor.execute(statement, values).fetchone()
    return int(count)


# Letting go of places


def leave(cursor: Cursor, run_id: str, now: float, changes: Changes) -> None:
    """A gated run waits, or has ended: others may have its places."""
    row = find(cursor, run_id)
    if row is None:
        return
    queue = limits(cursor, row.queue)
    keeps_key = row.status not in FINAL and (queue is None or queue.key_scope == "run")
    change(cursor, row, slot=0, key_held=row.key_held if keeps_key else 0, blocked=None)
    if row.key_held and not keeps_key:
        _promote_key(cursor, row.concurrency_key or "", now, changes)
    _promote(cursor, row.queue, now, changes)


def promote_all(cursor: Cursor, now: float, changes: Changes) -> None:
    """Time has passed: rates let others start. Whoever else forgets starts wakes nobody."""
    cursor.execute(sql.FORGOTTEN, (now,))
    cursor.execute(sql.FORGET_STARTS, (now,))
    for (name,) in cursor.execute(sql.LINES).fetchall():
        _promote(cursor, name, now, changes)


def _promote(cursor: Cursor, name: str | None, now: float, changes: Changes) -> None:
    """Let those go on that stand in a queue's line, for as long as there is a place."""
    if name is None:
        return
    queue = limits(cursor, name)
    if queue is None or not is_limited(queue):
        if cursor.execute(sql.LET_ALL_GO_ON, (name,)).rowcount:
            changes.append(Change(None, claimable=True))
        return
    while (first := _next_in_line(cursor, name, now)) is not None:
        ready(cursor, first, now, changes)


def _next_in_line(cursor: Cursor, name: str, now: float) -> RunRow | None:
    """The first who may go on, if one may: a rate holds up those who haven't started, and no others."""
    queue, free = limits(cursor, name), []
    for started in (0, 1):
        if found := cursor.execute(sql.QUEUE_LINE, (name, started)).fetchone():
            row = RunRow._make(found)
            if queue is None or not is_limited(queue) or not _is_full(cursor, queue, row, now):
                free.append(row)
    return min(free, key=order, default=None)


def _promote_key(cursor: Cursor, key: str, now: float, changes: Changes) -> None:
    found = cursor.execute(sql.KEY_LINE, (key,)).fetchone()
    if found is not None and cursor.execute(sql.HOLDERS, (key,)).fetchone() is None:
        ready(cursor, RunRow._make(found), now, changes)


# Rates


def start(cursor: Cursor, row: RunRow, now: float) -> float:
    """A gated run is claimed for the first time: when it has started."""
    queue = limits(cursor, row.queue)
    if queue is None or queue.period is None:
        return now
    moment = _moment(cursor, queue.name, now)
    cursor.execute(sql.START, (row.queue, moment, row.id))
    return moment


def _moment(cursor: Cursor, name: str, now: float) -> float:
    (counted,) = cursor.execute(sql.COUNTED_TO, (name,)).fetchone()
    return rate_moment(now, counted)
