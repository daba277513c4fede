"""The SQL of the SQLite store, one name for each statement."""

from __future__ import annotations

from ..records import (
    Checkpoint,
    Lease,
    LogRow,
    QueueRow,
    RunRow,
    StepRow,
    TokenRow,
    TriggerRow,
)
from ..status import READY, UNFINISHED, Status


def _insert(table: str, fields: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({', '.join('?' * len(fields))})"


RUN = ", ".join(f"runs.{name}" for name in RunRow._fields)
# A completed step and one that isn't are rows of different tables: the first is only ever appended.
_COMPLETED = tuple(name for name in StepRow._fields if name not in ("state", "error", "wake_at"))
_UNFINISHED = tuple(name for name in StepRow._fields if name not in ("seq", "output"))


# A run's completed steps are a range of rowids.
_OF_RUN = """steps.id >= (SELECT number << 32 FROM runs WHERE id = ?1)
    AND steps.id < (SELECT number + 1 << 32 FROM runs WHERE id = ?1)"""


def _in_turn(seq: str) -> str:
    """Whether the run has what comes before this number of its sequence."""
    return f"""(
    {seq} - 1 <= runs.seq
    OR EXISTS (SELECT 1 FROM steps WHERE steps.id = runs.number << 32 | {seq} - 1)
    OR EXISTS (SELECT 1 FROM events WHERE events.run_id = runs.id AND events.seq = {seq} - 1)
)"""


def _save(
    table: str,
    fields: tuple[str, ...],
    conflict: str,
    given: tuple[str, ...] = StepRow._fields,
    key: str = "",
) -> str:
    """Store a step if the run is still of this generation, which comes after the `given` fields."""
    values, turn = ", ".join(f"?{given.index(name) + 1}" for name in fields), ""
    if key:
        fields, values = ("id", *fields), f"{key}, {values}"
        turn = "AND " + _in_turn(f"?{given.index('seq') + 1}")
    return f"""
INSERT INTO {table} ({", ".join(fields)})
SELECT {values} FROM runs
WHERE id = ?1 AND generation = ?{len(given) + 1} AND status = '{Status.EXECUTING}' {turn}
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

GET_RUN = f"SELECT {RUN} FROM runs WHERE id = ?"
GET_RUNS = f"SELECT {RUN} FROM json_each(?) AS wanted JOIN runs ON runs.id = wanted.value ORDER BY wanted.key"
GUARD = "SELECT status, generation FROM runs WHERE id = ?"
CREATE_RUN = _insert("runs", RunRow._fields) + " ON CONFLICT (id) DO NOTHING"
CREATE_TAG = "INSERT INTO tags (tag, created_at, run_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
MORE_KEYS = f"""
SELECT {RUN} FROM more_keys CROSS JOIN runs ON runs.id = more_keys.run_id
WHERE more_keys.job = ? AND more_keys.idempotency_key = ?
    AND (more_keys.expires_at IS NULL OR more_keys.expires_at > ?)
"""
ADD_KEY = """
INSERT INTO more_keys (job, idempotency_key, run_id, expires_at) VALUES (?, ?, ?, ?)
ON CONFLICT (job, idempotency_key) DO UPDATE SET run_id = excluded.run_id, expires_at = excluded.expires_at
"""
KEYS_OF = "SELECT job, idempotency_key, run_id, expires_at FROM more_keys WHERE run_id = ?"
DEBOUNCED = f"""
SELECT {RUN} FROM runs INDEXED BY runs_debounce WHERE job = ? AND debounce_key = ?
ORDER BY created_at DESC, id DESC LIMIT 1
"""
BUSY = f"""
SELECT {RUN} FROM runs INDEXED BY runs_busy WHERE concurrency_key = ? AND finished_at IS NULL
ORDER BY created_at, id LIMIT 1
"""
NOT_STARTED = f"""
SELECT {RUN} FROM runs INDEXED BY runs_busy
WHERE concurrency_key = ? AND finished_at IS NULL AND started_at IS NULL AND job = ?
ORDER BY created_at, id LIMIT 1
"""
KEY_HOLDER = (
    f"SELECT {RUN} FROM runs INDEXED BY runs_key WHERE key_live = 1 AND job = ? AND idempotency_key = ?"
)
LAST_SEQ = f"""
SELECT (SELECT seq FROM steps WHERE {_OF_RUN} ORDER BY steps.id DESC LIMIT 1),
    (SELECT max(seq) FROM events WHERE run_id = ?1)
"""
COUNT_CHECKPOINTS = f"SELECT count(*) FROM steps WHERE {_OF_RUN}"

# Claims

_EXPIRING = "runs INDEXED BY runs_expiring WHERE expires_at IS NOT NULL AND finished_at IS NULL"
_NEXT_PLACE = """
SELECT min(period + (SELECT at FROM starts WHERE starts.queue = queues.name ORDER BY at LIMIT 1))
FROM queues WHERE period IS NOT NULL AND EXISTS (
    SELECT 1 FROM runs INDEXED BY runs_queue_line WHERE blocked = 'queue' AND runs.queue = queues.name
)
"""
NEXT_DUE = f"""
SELECT (
    SELECT ready_at FROM runs INDEXED BY runs_due
    WHERE claimable = 0 AND ready_at IS NOT NULL ORDER BY ready_at LIMIT 1
), (SELECT expires_at FROM {_EXPIRING} ORDER BY expires_at LIMIT 1), ({_NEXT_PLACE})
"""
START_OVER = """
SELECT 1 FROM queues
WHERE period + (SELECT at FROM starts WHERE starts.queue = queues.name ORDER BY at LIMIT 1) <= ? LIMIT 1
"""
_ready = ", ".join(f"'{status}'" for status in sorted(READY))
_UNCONNECTED = f"claimable = 1 AND status = '{Status.PENDING}' AND job = ?"
ANY_UNCONNECTED = f"SELECT 1 FROM runs INDEXED BY runs_job WHERE {_UNCONNECTED} LIMIT 1"
LACK_CONNECTIONS = f"""
UPDATE runs INDEXED BY runs_job SET status = '{Status.WAITING_ON_CONNECTIONS}' WHERE {_UNCONNECTED}
RETURNING id
"""
ANY_CLAIMABLE = "SELECT 1 FROM runs INDEXED BY runs_claimable WHERE claimable = 1 AND job = ? LIMIT 1"
PROMOTE = """
UPDATE runs INDEXED BY runs_due SET claimable = 1 WHERE claimable = 0 AND ready_at <= ? AND gated = 0
"""
EXPIRED = f"SELECT {RUN} FROM {_EXPIRING} AND expires_at <= ?"
DUE_GATED = f"""
SELECT {RUN} FROM runs INDEXED BY runs_due WHERE claimable = 0 AND ready_at <= ? AND gated = 1
"""
BEST = f"""
SELECT {RUN} FROM runs INDEXED BY runs_claimable
WHERE claimable = 1 AND job = ?1
    AND (?3 IS NULL OR coalesce(version, '') IN (SELECT value FROM json_each(?3)))
ORDER BY priority DESC, created_at, id LIMIT ?2
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
UPDATE runs SET status = ?, generation = generation + ?, attempt = ?, executed = ?, ready_at = ?,
    claimable = ?, last_seen_at = ?, output = ?, error = ?, finished_at = ?, key_live = key_live AND ?,
    remaining = ?, interrupted = ?, progress = coalesce(?, progress), metadata = coalesce(?, metadata),
    seq = 1 + max(seq, coalesce((
        SELECT steps.seq FROM steps WHERE steps.id >= runs.number << 32 AND steps.id < runs.number + 1 << 32
        ORDER BY steps.id DESC LIMIT 1
    ), 0), coalesce((SELECT max(events.seq) FROM events WHERE events.run_id = runs.id), 0))
WHERE id = ? AND generation = ? AND status = '{Status.EXECUTING}'
RETURNING parent_id, awaited, gated, seq
"""

# Queues and concurrency keys

_QUEUE = ", ".join(QueueRow._fields)
QUEUE = f"SELECT {_QUEUE} FROM queues WHERE name = ?"
LIMITED = "SELECT 1 FROM queues WHERE concurrency IS NOT NULL OR rate IS NOT NULL OR paused LIMIT 1"
SET_QUEUE = f"""
{_insert("queues", QueueRow._fields)} ON CONFLICT (name)
DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in QueueRow._fields[1:])}
"""
QUEUES = f"""
SELECT {_QUEUE},
    (SELECT count(*) FROM runs INDEXED BY runs_queue_line WHERE blocked = 'queue' AND runs.queue = name),
    (SELECT count(*) FROM runs INDEXED BY runs_slot WHERE slot = 1 AND runs.queue = name)
FROM queues ORDER BY name
"""
TAKEN = "SELECT count(*) FROM runs INDEXED BY runs_slot WHERE slot = 1 AND queue = ?"
COMING = TAKEN + " AND started_at IS NULL"
STARTED = "SELECT count(*) FROM starts WHERE queue = ? AND at + ? > ?"
START = "INSERT OR IGNORE INTO starts (queue, at, run_id) VALUES (?, ?, ?)"
COUNTED_TO = "SELECT counted_to FROM queues WHERE name = ?"
COUNT_TO = "UPDATE queues SET counted_to = ? WHERE name = ?"
FORGOTTEN = """
UPDATE queues SET counted_to = ?1 WHERE counted_to < ?1 AND period + (
    SELECT at FROM starts WHERE starts.queue = queues.name ORDER BY at LIMIT 1
) <= ?1
"""
FORGET_STARTS = """
DELETE FROM starts WHERE EXISTS (
    SELECT 1 FROM queues WHERE name = starts.queue AND period IS NOT NULL AND starts.at + period <= ?
)
"""
HOLDERS = f"SELECT {RUN} FROM runs INDEXED BY runs_key_held WHERE key_held > 0 AND concurrency_key = ?"
LAST_UNSTARTED = f"""
SELECT {RUN} FROM runs INDEXED BY runs_slot
WHERE slot = 1 AND queue = ? AND started_at IS NULL AND status IN ({_ready})
ORDER BY priority, created_at DESC, id DESC LIMIT 1
"""
# The first of those that have never started, or of the others: a rate is for the former.
QUEUE_LINE = f"""
SELECT {RUN} FROM runs INDEXED BY runs_queue_line
WHERE blocked = 'queue' AND queue = ? AND (started_at IS NOT NULL) = ?
ORDER BY priority DESC, created_at, id LIMIT 1
"""
KEY_LINE = f"""
SELECT {RUN} FROM runs INDEXED BY runs_key_line WHERE blocked = 'key' AND concurrency_key = ?
ORDER BY priority DESC, created_at, id LIMIT 1
"""
LINES = """
SELECT name FROM queues WHERE EXISTS (
    SELECT 1 FROM runs INDEXED BY runs_queue_line WHERE blocked = 'queue' AND runs.queue = queues.name
)
"""
LET_ALL_GO_ON = f"""
UPDATE runs INDEXED BY runs_queue_line
SET status = '{Status.PENDING}', claimable = 1, blocked = NULL, ready_at = NULL
WHERE blocked = 'queue' AND queue = ?
"""
_unfinished = ", ".join(f"'{status}'" for status in sorted(UNFINISHED))
GATE = f"""
UPDATE runs INDEXED BY runs_status SET gated = max(gated, ?1), slot = CASE
    WHEN NOT ?1 THEN 0
    WHEN status IN ('{Status.EXECUTING}', '{Status.STALE}') OR claimable AND interrupted THEN 1
    ELSE slot END
WHERE queue = ?2 AND status IN ({_unfinished})
"""
ALL_STAND_IN_LINE = f"""
UPDATE runs INDEXED BY runs_status
SET status = '{Status.QUEUED}', claimable = 0, blocked = 'queue', slot = 0, ready_at = deadline,
    remaining = NULL
WHERE queue = ? AND claimable = 1 AND interrupted = 0 AND status IN ({_ready}, '{Status.WAITING}')
"""

# Steps, events, logs

# Trying again after an unknown outcome finds the very row; another step's is never replaced.
_SAME = "(id) DO UPDATE SET path = excluded.path WHERE path = excluded.path"
SAVE_STEP = _save("steps", _COMPLETED, _SAME, key=f"number << 32 | ?{StepRow._fields.index('seq') + 1}")
# Most steps have neither of these, and binding NULL is slow in Python.
BARE = tuple(name for name in _COMPLETED if name not in ("arguments", "title", "ref"))
SAVE_BARE_STEP = _save("steps", BARE, _SAME, BARE, f"number << 32 | ?{BARE.index('seq') + 1}")
IN_TURN = f"SELECT 1 FROM runs WHERE id = ?1 AND {_in_turn('?2')}"
SAVE_UNFINISHED = _save(
    "unfinished_steps",
    _UNFINISHED,
    "(run_id, path) DO UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in _UNFINISHED[2:]),
)
# What an earlier try of this very call has stored.
CHILDREN_OF_STEP = """
SELECT ref FROM steps WHERE id = (SELECT number FROM runs WHERE id = :run_id) << 32 | :seq AND path = :path
    AND started_at = :started_at AND failures = :failures AND attempt = :attempt AND ref != ''
UNION ALL
SELECT ref FROM unfinished_steps WHERE :seq IS NULL AND run_id = :run_id AND path = :path
    AND started_at = :started_at AND failures = :failures AND attempt = :attempt AND ref != ''
"""
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
_INNER_FAILURES = """
    run_id = ?1 AND path > ?2 || '/' AND path < ?2 || '0' AND state IN ('failed', 'retrying')
"""  # '0' comes after '/'
VOID_INNER_CALLS = f"UPDATE unfinished_steps SET attempt = 0 WHERE kind = 'call' AND {_INNER_FAILURES}"
FORGET_INNER_FAILURES = f"DELETE FROM unfinished_steps WHERE kind != 'call' AND {_INNER_FAILURES}"
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
TOKEN = ", ".join(f"tokens.{name}" for name in TokenRow._fields)
GET_TOKEN = f"SELECT {TOKEN} FROM tokens WHERE id = ?"
GET_TOKENS = (
    f"SELECT {TOKEN} FROM json_each(?) AS wanted JOIN tokens ON tokens.id = wanted.value ORDER BY wanted.key"
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
SELECT {RUN} FROM runs INDEXED BY runs_children WHERE parent_id = ? AND finished_at IS NULL
"""

# Events

_TRIGGER = ", ".join(TriggerRow._fields)
FORGET_TRIGGERS = "DELETE FROM triggers WHERE job IN (SELECT value FROM json_each(?))"
TRIGGERS_OF = f"SELECT {_TRIGGER} FROM triggers WHERE job IN (SELECT value FROM json_each(?))"
ADD_TRIGGER = _insert("triggers", TriggerRow._fields) + " ON CONFLICT DO NOTHING"
TRIGGERS = f"SELECT {_TRIGGER} FROM triggers WHERE kind = ? AND name = ? ORDER BY job, match"
SENT = "SELECT runs, waits FROM sent_events WHERE id = ? AND at > ?"
SEND = "INSERT OR REPLACE INTO sent_events (id, name, payload, at, runs, waits) VALUES (?, ?, ?, ?, ?, ?)"
FORGET_SENT = """
DELETE FROM sent_events WHERE id IN (SELECT id FROM sent_events WHERE at <= ? ORDER BY at LIMIT 10)
"""
EVENT_WAITS = f"""
SELECT {TOKEN} FROM tokens INDEXED BY tokens_event
WHERE kind = 'event' AND state = 'pending' AND name = ? AND deadline > ?
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
_OF_A_RUN = ("unfinished_steps", "events", "logs", "tokens", "more_keys")
FORGET = (
    f"DELETE FROM steps WHERE {_OF_RUN}",
    *(f"DELETE FROM {table} WHERE run_id = ?1" for table in _OF_A_RUN),
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
