"""The SQL of the SQLite store, one name for each statement."""

from __future__ import annotations

from ..records import Checkpoint, Lease, LogRow, RunFilter, RunRow, StepRow, TokenFilter, TokenRow
from ..status import Status


def _insert(table: str, fields: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({', '.join('?' * len(fields))})"


_RUN = ", ".join(f"runs.{name}" for name in RunRow._fields)
# A completed step and one that isn't are rows of different tables: the first is only ever appended.
_COMPLETED = tuple(name for name in StepRow._fields if name not in ("state", "error", "wake_at"))
_UNFINISHED = tuple(name for name in StepRow._fields if name not in ("seq", "output"))


# A run's completed steps are a range of rowids.
_OF_RUN = """steps.id >= (SELECT number << 32 FROM runs WHERE id = ?1)
    AND steps.id < (SELECT number + 1 << 32 FROM runs WHERE id = ?1)"""


def _save(
    table: str,
    fields: tuple[str, ...],
    conflict: str,
    given: tuple[str, ...] = StepRow._fields,
    key: str = "",
) -> str:
    """Store a step if the run is still of this generation, which comes after the `given` fields."""
    values = ", ".join(f"?{given.index(name) + 1}" for name in fields)
    if key:
        fields, values = ("id", *fields), f"{key}, {values}"
    return f"""
INSERT INTO {table} ({", ".join(fields)})
SELECT {values} FROM runs
WHERE id = ?1 AND generation = ?{len(given) + 1} AND status = '{Status.EXECUTING}'
ON CONFLICT {conflict}
"""


def _both(fields: tuple[str, ...]) -> str:
    """Steps of both tables; those that aren't completed come first."""
    missing = {"seq": "NULL", "output": "NULL"}
    unfinished = ", ".join(missing.get(name, name) for name in fields)
    missing = {"state": "'completed'", "error": "NULL", "wake_at": "NULL"}
    completed = ", ".join(missing.get(name, name) for name in fields)
    return f"""
SELECT {unfinished} FROM unfinished_steps WHERE run_id = ?1
UNION ALL SELECT {completed} FROM steps WHERE {_OF_RUN}
"""


# Runs

GET_RUN = f"SELECT {_RUN} FROM runs WHERE id = ?"
GET_RUNS = (
    f"SELECT {_RUN} FROM json_each(?) AS wanted JOIN runs ON runs.id = wanted.value ORDER BY wanted.key"
)
GUARD = "SELECT status, generation FROM runs WHERE id = ?"
CREATE_RUN = _insert("runs", RunRow._fields) + " ON CONFLICT (id) DO NOTHING"
CREATE_TAG = "INSERT INTO tags (tag, created_at, run_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
KEY_HOLDER = (
    f"SELECT {_RUN} FROM runs INDEXED BY runs_key WHERE key_live = 1 AND job = ? AND idempotency_key = ?"
)
LAST_SEQ = f"""
SELECT (SELECT seq FROM steps WHERE {_OF_RUN} ORDER BY steps.id DESC LIMIT 1),
    (SELECT max(seq) FROM events WHERE run_id = ?1)
"""
COUNT_CHECKPOINTS = f"SELECT count(*) FROM steps WHERE {_OF_RUN}"

# Claims

ANY_DUE = "SELECT 1 FROM runs INDEXED BY runs_due WHERE claimable = 0 AND ready_at <= ? LIMIT 1"
NEXT_DUE = """
SELECT ready_at FROM runs INDEXED BY runs_due
WHERE claimable = 0 AND ready_at IS NOT NULL ORDER BY ready_at LIMIT 1
"""
ANY_CLAIMABLE = "SELECT 1 FROM runs INDEXED BY runs_claimable WHERE claimable = 1 AND job = ? LIMIT 1"
PROMOTE = "UPDATE runs INDEXED BY runs_due SET claimable = 1 WHERE claimable = 0 AND ready_at <= ?"
BEST = f"""
SELECT {_RUN} FROM runs INDEXED BY runs_claimable
WHERE claimable = 1 AND job = ? ORDER BY priority DESC, created_at, id LIMIT ?
"""
CREATE_LEASE = _insert("leases", Lease._fields)
LEASES = f"SELECT {', '.join(Lease._fields)} FROM leases"
BEAT = "UPDATE leases SET heartbeat_at = ?, executed = ? WHERE run_id = ? AND generation = ?"
END_LEASE = "DELETE FROM leases WHERE run_id = ? RETURNING worker, heartbeat_at, executed"
END_SEEN_LEASE = """
DELETE FROM leases WHERE run_id = ? AND generation = ? AND heartbeat_at = ?
RETURNING worker, heartbeat_at, executed
"""
DROP_LEASE = "DELETE FROM leases WHERE run_id = ?"
FLUSH = "UPDATE runs SET progress = coalesce(?, progress), metadata = coalesce(?, metadata) WHERE id = ?"
SETTLE = f"""
UPDATE runs SET status = ?, generation = generation + ?, seq = ?, attempt = ?, executed = ?, ready_at = ?,
    claimable = ?, last_seen_at = ?, output = ?, error = ?, finished_at = ?, key_live = key_live AND ?,
    remaining = ?, progress = coalesce(?, progress), metadata = coalesce(?, metadata)
WHERE id = ? AND generation = ? AND status = '{Status.EXECUTING}'
RETURNING parent_id, awaited
"""

# Steps, events, logs

# Trying again after an unknown outcome finds the very row; another step's is never replaced.
_SAME = "(id) DO UPDATE SET path = excluded.path WHERE path = excluded.path"
SAVE_STEP = _save("steps", _COMPLETED, _SAME, key=f"number << 32 | ?{StepRow._fields.index('seq') + 1}")
# Most steps have neither of these, and binding NULL is slow in Python.
BARE = tuple(name for name in _COMPLETED if name not in ("arguments", "title", "ref"))
SAVE_BARE_STEP = _save("steps", BARE, _SAME, BARE, f"number << 32 | ?{BARE.index('seq') + 1}")
SAVE_UNFINISHED = _save(
    "unfinished_steps",
    _UNFINISHED,
    "(run_id, path) DO UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in _UNFINISHED[2:]),
)
# A moved run's, which nobody holds.
ADD_STEP = f"""
INSERT INTO steps (id, {", ".join(_COMPLETED)})
SELECT number << 32 | ?{StepRow._fields.index("seq") + 1},
    {", ".join(f"?{StepRow._fields.index(name) + 1}" for name in _COMPLETED)}
FROM runs WHERE id = ?1
"""
ADD_UNFINISHED = f"""
INSERT INTO unfinished_steps ({", ".join(_UNFINISHED)})
VALUES ({", ".join(f"?{StepRow._fields.index(name) + 1}" for name in _UNFINISHED)})
"""
CHECKPOINTS = _both(Checkpoint._fields)
STEPS = _both(StepRow._fields)
FORGET_INNER_FAILURES = """
DELETE FROM unfinished_steps WHERE run_id = ?1
    AND path > ?2 || '/' AND path < ?2 || '0' AND state IN ('failed', 'retrying')
"""  # '0' comes after '/'
CREATE_EVENT = "INSERT INTO events (run_id, seq, at, type, data) VALUES (?, ?, ?, ?, ?)"
HAS_EVENT = "SELECT 1 FROM events WHERE run_id = ? AND seq = ? AND at = ? AND type = ? AND data = ?"
EVENTS = """
SELECT seq, at, type, data, NULL, NULL, NULL FROM events WHERE run_id = ?1 AND seq > ?2
UNION ALL
SELECT seq, coalesce(finished_at, started_at), NULL, NULL, path, name, started_at
FROM steps
WHERE steps.id > (SELECT (number << 32) + ?2 FROM runs WHERE id = ?1)
    AND steps.id < (SELECT number + 1 << 32 FROM runs WHERE id = ?1)
ORDER BY 1 LIMIT ?3
"""
MOVED_AT = "SELECT at FROM events WHERE run_id = ? AND seq = ? AND type = 'run.moved'"
CREATE_LOG = _insert("logs", LogRow._fields) + " ON CONFLICT DO NOTHING"
LOGS = f"""
SELECT {", ".join(LogRow._fields)} FROM logs WHERE run_id = ?
ORDER BY attempt, at, path, ordinal
"""

# Tokens and children

CREATE_TOKEN = _insert("tokens", TokenRow._fields) + " ON CONFLICT (id) DO NOTHING"
_TOKEN = ", ".join(f"tokens.{name}" for name in TokenRow._fields)
GET_TOKEN = f"SELECT {_TOKEN} FROM tokens WHERE id = ?"
GET_TOKENS = (
    f"SELECT {_TOKEN} FROM json_each(?) AS wanted JOIN tokens ON tokens.id = wanted.value ORDER BY wanted.key"
)
TOKEN_OF_ANOTHER = """
SELECT id FROM tokens WHERE id IN (SELECT value FROM json_each(?)) AND run_id != ? LIMIT 1
"""
FINISH_TOKEN = "UPDATE tokens SET state = ?, output = ?, error = ?, finished_at = ? WHERE id = ?"
EXPIRE_TOKEN = "UPDATE tokens SET state = 'expired', finished_at = ? WHERE id = ? AND state = 'pending'"
TOKENS_COME = """
SELECT count(*) FROM json_each(?) AS wanted LEFT JOIN tokens ON tokens.id = wanted.value
WHERE tokens.state IS NOT 'pending'
"""
CHILDREN_ENDED = f"""
SELECT coalesce(sum(runs.status = '{Status.COMPLETED}'), 0),
    coalesce(sum(runs.id IS NULL OR runs.finished_at IS NOT NULL AND runs.status != '{Status.COMPLETED}'), 0)
FROM json_each(?) AS wanted LEFT JOIN runs ON runs.id = wanted.value
"""
PARENT_WAITS = (
    f"SELECT remaining FROM runs WHERE id = ? AND status = '{Status.WAITING}' AND remaining IS NOT NULL"
)
FEWER_REMAIN = "UPDATE runs SET remaining = ? WHERE id = ?"
WAKE = "UPDATE runs SET ready_at = ?1 WHERE id = ?2 AND claimable = 0 AND (ready_at IS NULL OR ready_at > ?1)"
WAITS_FOR_CHILDREN = """
SELECT 1 FROM runs INDEXED BY runs_children WHERE parent_id = ? AND finished_at IS NULL AND awaited LIMIT 1
"""
IS_AWAITED = "SELECT 1 FROM runs WHERE id = ? AND finished_at IS NULL"
CALLS = f"""
SELECT 1 FROM unfinished_steps AS open WHERE run_id = ?1 AND kind = 'call' AND state = 'waiting'
    AND NOT EXISTS (SELECT 1 FROM steps WHERE {_OF_RUN} AND steps.path = open.path) LIMIT 1
"""
UNFINISHED_CHILDREN = f"""
SELECT {_RUN} FROM runs INDEXED BY runs_children WHERE parent_id = ? AND finished_at IS NULL
"""

# Removal

# What its parent may still wait for stays.
OLD_RUNS = """
SELECT id, created_at, tags FROM runs INDEXED BY runs_finished
WHERE finished_at IS NOT NULL AND finished_at < ? AND NOT (
    awaited AND EXISTS (
        SELECT 1 FROM runs AS parent WHERE parent.id = runs.parent_id AND parent.finished_at IS NULL
    )
)
ORDER BY finished_at LIMIT ?
"""
FORGET_TAGS = (
    "DELETE FROM tags WHERE run_id = ? AND created_at = ? AND tag IN (SELECT value FROM json_each(?))"
)
FORGET = (
    f"DELETE FROM steps WHERE {_OF_RUN}",
    *(f"DELETE FROM {t} WHERE run_id = ?1" for t in ("unfinished_steps", "events", "logs", "tokens")),
    "DELETE FROM runs WHERE id = ?1",
)

# Workers and facts

CREATE_WORKER = "INSERT INTO workers (id, info, started_at, lock) VALUES (?, ?, ?, ?)"
FORGET_WORKER = "DELETE FROM workers WHERE id = ?"
NAMED_WORKERS = "SELECT id, slot, lock FROM workers WHERE id IN (SELECT value FROM json_each(?))"
IDLE_WORKERS = "SELECT id, slot FROM workers WHERE lock = ? AND id NOT IN (SELECT worker FROM leases)"
SET_META = (
    "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
GET_META = "SELECT value FROM meta WHERE key = ?"
DATA_VERSION = "PRAGMA data_version"


def change_run(fields: tuple[str, ...]) -> str:
    """Set these columns of one run."""
    return f"UPDATE runs SET {', '.join(f'{name} = ?' for name in fields)} WHERE id = ?"


def list_runs(filter: RunFilter) -> tuple[str, list[object]]:
    """The query of a list, newest first, from the index that has the order already.

    With statuses (a job has all of them) it merges one ordered index range for each.
    """
    f = filter
    table = "tags" if f.tag is not None else "runs"
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
    if f.tag is not None:
        terms.append("tags.tag = ?")
        values.append(f.tag)
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
    one = f"SELECT {_RUN} FROM {source}" + (f" WHERE {' AND '.join(terms)}" if terms else "")
    if not statuses:
        return f"{one} ORDER BY {', '.join(f'{name} DESC' for name in key)} LIMIT ?", [*values, f.limit]
    # The parts of a compound are ordered by position.
    order = ", ".join(f"{1 + RunRow._fields.index(name)} DESC" for name in ("created_at", "id"))
    everything = [value for status in statuses for value in (*values, status)]
    return f"{' UNION ALL '.join([one] * len(statuses))} ORDER BY {order} LIMIT ?", [*everything, f.limit]


def list_tokens(filter: TokenFilter) -> tuple[str, list[object]]:
    """The query of a list, newest first, from the index that has the order already."""
    f, terms, values = filter, ["1"], []
    by = "tokens_created"
    if f.run_id is not None:
        by, terms, values = "tokens_run", ["run_id = ?"], [f.run_id]
    if f.state is not None:
        by = "tokens_state" if f.run_id is None else by
        terms.append("state = ?")
        values.append(f.state)
    if f.cursor is not None:
        terms.append("(created_at, id) < (?, ?)")
        values.extend(f.cursor)  # type: ignore[arg-type]
    where = " AND ".join(terms)
    query = (
        f"SELECT {_TOKEN} FROM tokens INDEXED BY {by} WHERE {where} ORDER BY created_at DESC, id DESC LIMIT ?"
    )
    return query, [*values, f.limit]
