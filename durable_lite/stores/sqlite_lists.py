"""The queries of the lists of a SQLite store, each from an index that has the order already."""

from __future__ import annotations

from ..records import RunFilter, RunRow, TokenFilter
from ..status import Status
from .sqlite_statements import RUN, TOKEN

__all__ = ["list_runs", "list_tokens"]


# A run found by one tag has another one, too.
_ALSO = """EXISTS (
    SELECT 1 FROM tags AS also
    WHERE also.tag = ? AND also.created_at = tags.created_at AND also.run_id = tags.run_id
)"""


def list_runs(filter: RunFilter) -> tuple[str, list[object]]:
    """The query of a list, newest first, from the index that has the order already.

    With statuses (a job has all of them) it merges one ordered index range for each.
    """
    f = filter
    table = "tags" if f.tags else "runs"
    key = (f"{table}.created_at", f"{table}.{'run_id' if table == 'tags' else 'id'}")
    terms: list[str] = []
    values: list[object] = []
    if f.created_after is not None:
        terms.append(f"{table}.created_at > ?")
        values.append(f.created_after)
    if f.created_before is not None:
        terms.append(f"{table}.created_at < ?")
        values.append(f.created_before)
    if f.cursor is not None:
        terms.append(f"({', '.join(key)}) < (?, ?)")
        values.extend(f.cursor)
    if f.job is not None:
        terms.append("runs.job = ?")
        values.append(f.job)
    statuses: tuple[str, ...] = () if f.statuses is None else tuple(dict.fromkeys(f.statuses))
    if f.tags:
        first, *others = f.tags
        terms.append("tags.tag = ?")
        terms.extend([_ALSO] * len(others))
        values.extend((first, *others))
        if f.statuses is not None:
            terms.append(f"runs.status IN ({', '.join('?' * len(statuses))})")
            values.extend(statuses)
        source, statuses = "tags CROSS JOIN runs ON runs.id = tags.run_id", ()
    else:
        if f.job is not None and f.statuses is None:
            statuses = tuple(Status)
        by = ("runs_job" if f.job is not None else "runs_status") if statuses else "runs_created"
        source = f"runs INDEXED BY {by}"
    if statuses:
        terms.append("runs.status = ?")
    one = f"SELECT {RUN} FROM {source}" + (f" WHERE {' AND '.join(terms)}" if terms else "")
    if not statuses:
        return f"{one} ORDER BY {', '.join(f'{name} DESC' for name in key)} LIMIT ?", [*values, f.limit]
    # The parts of a compound are ordered by position.
    order = ", ".join(f"{1 + RunRow._fields.index(name)} DESC" for name in ("created_at", "id"))
    everything = [value for status in statuses for value in (*values, status)]
    return f"{' UNION ALL '.join([one] * len(statuses))} ORDER BY {order} LIMIT ?", [*everything, f.limit]


def list_tokens(filter: TokenFilter) -> tuple[str, list[object]]:
    """The query of a list, newest first, from the index that has the order already."""
    f, terms = filter, ["1"]
    values: list[object] = []
    by = "tokens_created"
    if f.run_id is not None:
        by, terms, values = "tokens_run", ["run_id = ?"], [f.run_id]
    if f.state is not None:
        by = "tokens_state" if f.run_id is None else by
        terms.append("state = ?")
        values.append(f.state)
    if f.cursor is not None:
        terms.append("(created_at, id) < (?, ?)")
        values.extend(f.cursor)
    where = " AND ".join(terms)
    query = (
        f"SELECT {TOKEN} FROM tokens INDEXED BY {by} WHERE {where} ORDER BY created_at DESC, id DESC LIMIT ?"
    )
    return query, [*values, f.limit]
