"""Lists of runs: what to ask a store for, cursors from page to page, and the search in what runs hold."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from .durations import count, moment
from .errors import InvalidOption
from .job import Job
from .ports import Store
from .records import RunFilter, RunRow, TokenRow
from .status import Status

__all__ = ["SEARCHED", "Found", "cursor_after", "list_runs", "matches", "parse_cursor", "run_filter"]

SEARCHED = 10_000  # a search looks at so many runs, the newest ones of the list
_BATCH = 500


class Found(NamedTuple):
    """A page of rows; `cursor` asks for the next, None: there is none.

    `searched`: at how many rows a search has looked.
    """

    rows: list[RunRow]
    cursor: str | None
    searched: int | None


def run_filter(
    *,
    status: str | Iterable[str] | None = None,
    job: Any = None,
    tag: str | Iterable[str] | None = None,
    created_after: Any = None,
    created_before: Any = None,
    limit: int = 50,
    cursor: str | None = None,
) -> RunFilter:
    """What a store is asked for. `InvalidOption` names the option that is wrong."""
    statuses = None
    if status is not None:
        statuses = _texts(status, "status")
        if bad := [one for one in statuses if one not in Status.__members__]:
            raise InvalidOption("status", f"{bad[0]!r:.80} is none of {', '.join(Status)}")
    name = job.name if isinstance(job, Job) else job
    if name is not None and not isinstance(name, str):
        raise InvalidOption("job", f"expected a job or its name, got {job!r:.80}")
    return RunFilter(
        statuses,
        name,
        () if tag is None else _texts(tag, "tag"),
        None if created_after is None else moment(created_after, "created_after"),
        None if created_before is None else moment(created_before, "created_before"),
        parse_cursor(cursor, "list_runs"),
        count(limit, "limit"),
    )


def matches(row: RunRow, filter: RunFilter) -> bool:
    """Whether a run is one of a list, whatever page of it."""
    return (
        (filter.statuses is None or row.status in filter.statuses)
        and filter.job in (None, row.job)
        and (not filter.tags or set(filter.tags) <= set(json.loads(row.tags)))
        and (filter.created_after is None or row.created_at > filter.created_after)
        and (filter.created_before is None or row.created_at < filter.created_before)
    )


async def list_runs(store: Store, filter: RunFilter, search: str | None = None) -> Found:
    """The newest runs of the filter; with `search` those of its newest 10,000 that have this text in them.

    The text is looked for in the id, the tags and the payload as it is stored, whatever the case.
    """
    if search is None:
        rows = await store.list_runs(filter)
        return Found(rows, cursor_after(rows, filter.limit), None)
    if not isinstance(search, str):
        raise InvalidOption("search", f"expected a str, got {search!r:.80}")
    wanted = search.casefold()
    # As it is written in JSON, where quotes and such have a backslash.
    quoted = json.dumps(wanted, ensure_ascii=False)[1:-1]
    found: list[RunRow] = []
    looked, step = 0, filter._replace(limit=_BATCH)
    while looked < SEARCHED:
        rows = await store.list_runs(step)
        for number, row in enumerate(rows, looked + 1):
            if _holds(row, wanted, quoted):
                found.append(row)
                if len(found) == filter.limit:
                    return Found(found, cursor_after([row], 1), number)
        looked += len(rows)
        if len(rows) < _BATCH:
            return Found(found, None, looked)
        step = step._replace(cursor=(rows[-1].created_at, rows[-1].id))
        await asyncio.sleep(0)  # a long search isn't alone on the event loop
    return Found(found, cursor_after(rows, _BATCH), looked)


def cursor_after(rows: Sequence[RunRow] | Sequence[TokenRow], limit: int) -> str | None:
    """What asks for the page after this one; None if it isn't full."""
    return f"{rows[-1].created_at!r}:{rows[-1].id}" if len(rows) == limit else None


def parse_cursor(cursor: str | None, source: str) -> tuple[float, str] | None:
    """The place that a cursor stands for. `InvalidOption` if it isn't one."""
    if cursor is None:
        return None
    created_at, _, row_id = cursor.partition(":") if isinstance(cursor, str) else ("", "", "")
    try:
        at = float(created_at)
    except ValueError:
        at, row_id = 0.0, ""
    if not row_id or not math.isfinite(at):
        raise InvalidOption("cursor", f"{cursor!r:.80} didn't come from {source}")
    return at, row_id


def _holds(row: RunRow, wanted: str, quoted: str) -> bool:
    if wanted in row.id or wanted in row.payload.casefold():
        return True
    if quoted != wanted and quoted in row.payload.casefold():
        return True
    return any(wanted in tag.casefold() for tag in json.loads(row.tags))


def _texts(given: str | Iterable[str], option: str) -> tuple[str, ...]:
    texts = (given,) if isinstance(given, str) else tuple(given)
    if bad := [one for one in texts if not isinstance(one, str)]:
        raise InvalidOption(option, f"expected text, got {bad[0]!r:.80}")
    return texts
