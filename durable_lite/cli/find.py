"""Finding runs: by an id or the beginning of one, or by job and payload."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import NamedTuple

from ..ports import Store
from ..records import RunFilter, RunRow
from ..status import RESUMABLE, UNFINISHED
from .exits import Exit, Failure

__all__ = ["Earlier", "find_earlier", "find_run"]

_PAGE = 200
_SHORTEST = 4
_ID_LENGTH, _TIME_LENGTH = 26, 10
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_SLACK = 60.0  # seconds between a run's id and its created_at, when the clock was set back


async def find_run(store: Store, prefix: str) -> RunRow:
    """The run with this id, or the only one whose id begins so."""
    if (row := await store.get_run(prefix)) is not None:
        return row
    wanted = prefix.lower()
    if wanted != prefix and (row := await store.get_run(wanted)) is not None:
        return row
    if len(wanted) >= _ID_LENGTH or not wanted or not set(wanted) <= set(_ALPHABET):
        raise Failure(f"{prefix}: no run has this id", Exit.USAGE)
    if len(wanted) < _SHORTEST:
        raise Failure(f"{prefix}: give at least {_SHORTEST} characters of the run's id", Exit.USAGE)
    found: list[RunRow] = []
    async for row in _pages(store, _made_like(wanted)):
        if row.id.startswith(wanted):
            found.append(row)
            if len(found) > 1:
                ids = " and ".join(row.id for row in found)
                raise Failure(f"{prefix}: several ids begin so, {ids} among them", Exit.USAGE)
    if not found:
        raise Failure(f"{prefix}: no run's id begins so", Exit.USAGE)
    return found[0]


class Earlier(NamedTuple):
    """What a job has been run for already, with one payload."""

    unfinished: RunRow | None  # the newest
    failed: RunRow | None  # the newest of all, if it could be resumed


async def find_earlier(store: Store, job: str, payload: str) -> Earlier:
    """Runs of a job with a payload, as stored. A finished one is only looked for among the last runs."""
    wanted = _canonical(payload)

    def same(row: RunRow) -> bool:
        return row.payload == payload or _canonical(row.payload) == wanted

    async for row in _pages(store, RunFilter(tuple(UNFINISHED), job, limit=_PAGE)):
        if same(row):
            return Earlier(row, None)
    last = await store.list_runs(RunFilter(None, job, limit=_PAGE))
    newest = next((row for row in last if same(row)), None)
    return Earlier(None, newest if newest is not None and newest.status in RESUMABLE else None)


def _canonical(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)


def _made_like(prefix: str) -> RunFilter:
    """The runs made when an id that begins so was made: an id begins with its milliseconds."""
    clock = prefix[:_TIME_LENGTH]
    first, last = (_millis(clock.ljust(_TIME_LENGTH, pad)) / 1000 for pad in ("0", "z"))
    return RunFilter(created_after=first - _SLACK, created_before=last + _SLACK, limit=_PAGE)


def _millis(text: str) -> int:
    number = 0
    for character in text:
        number = number * 32 + _ALPHABET.index(character)
    return number


async def _pages(store: Store, filter: RunFilter) -> AsyncIterator[RunRow]:
    while True:
        rows = await store.list_runs(filter)
        for row in rows:
            yield row
        if len(rows) < filter.limit:
            return
        filter = filter._replace(cursor=(rows[-1].created_at, rows[-1].id))
