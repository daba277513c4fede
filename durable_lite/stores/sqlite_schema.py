"""The tables of a SQLite store: created and upgraded in one transaction, or refused as too new."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from ..errors import SchemaTooNew, StoreError

if TYPE_CHECKING:
    from sqlite_utils import Database, Migrations

__all__ = ["RESERVED", "SCHEMA", "is_current", "upgrade"]

# What this code writes. Each migration raises it by one, and says in `meta.min_reader` from which
# number on older code can still read and write what it leaves behind.
SCHEMA = 1

# Keys of `meta` that say so; all others are facts that the engine keeps there.
RESERVED = ("schema", "min_reader")

_TABLES = (
    "runs",
    "steps",
    "unfinished_steps",
    "events",
    "logs",
    "leases",
    "workers",
    "tags",
    "meta",
    "tokens",
    "queues",
    "starts",
    "more_keys",
    "triggers",
    "schedules",
    "sent_events",
)

# A checkpoint is appended to its run's range of one b-tree of rowids (`runs.number << 32 | seq`): one page
# a commit, where any other key costs two. What isn't completed is kept apart. In `runs` the small
# columns come first: a large payload doesn't stand between the guard and the generation.
_FIRST = """
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    job TEXT NOT NULL,
    status TEXT NOT NULL,
    generation INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    created_at REAL NOT NULL,
    ready_at REAL,
    started_at REAL,
    finished_at REAL,
    last_seen_at REAL,
    executed REAL NOT NULL,
    claimable INTEGER NOT NULL,
    worker TEXT,
    queue TEXT NOT NULL,
    version TEXT,
    seq INTEGER NOT NULL,
    first_attempt INTEGER NOT NULL,
    recoveries INTEGER NOT NULL,
    recovery_seq INTEGER NOT NULL,
    stale_reason TEXT,
    max_duration REAL,
    deadline REAL,
    environment TEXT,
    key_live INTEGER NOT NULL,
    idempotency_key TEXT,
    idempotency_expires_at REAL,
    parent_id TEXT,
    awaited INTEGER NOT NULL,
    remaining INTEGER,
    interrupted INTEGER NOT NULL,
    concurrency_key TEXT,
    gated INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    key_held INTEGER NOT NULL,
    blocked TEXT,
    expires_at REAL,
    debounce_key TEXT,
    debounce_until REAL,
    "trigger" TEXT NOT NULL,
    tags TEXT NOT NULL,
    progress TEXT,
    metadata TEXT NOT NULL,
    payload TEXT NOT NULL,
    output TEXT,
    error TEXT
) STRICT;
CREATE INDEX runs_claimable ON runs (job, priority DESC, created_at, id) WHERE claimable = 1;
CREATE INDEX runs_due ON runs (ready_at) WHERE claimable = 0 AND ready_at IS NOT NULL;
CREATE INDEX runs_finished ON runs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX runs_created ON runs (created_at, id);
CREATE INDEX runs_status ON runs (status, created_at, id);
CREATE INDEX runs_job ON runs (job, status, created_at, id);
CREATE INDEX runs_slot ON runs (queue, started_at) WHERE slot = 1;
CREATE INDEX runs_key_held ON runs (concurrency_key) WHERE key_held > 0;
CREATE INDEX runs_queue_line ON runs (queue, started_at IS NOT NULL, priority DESC, created_at, id)
    WHERE blocked = 'queue';
CREATE INDEX runs_key_line ON runs (concurrency_key, priority DESC, created_at, id) WHERE blocked = 'key';
CREATE INDEX runs_busy ON runs (concurrency_key, created_at, id)
    WHERE concurrency_key IS NOT NULL AND finished_at IS NULL;
CREATE INDEX runs_expiring ON runs (expires_at) WHERE expires_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX runs_debounce ON runs (job, debounce_key, created_at, id) WHERE debounce_key IS NOT NULL;
CREATE INDEX runs_children ON runs (parent_id) WHERE parent_id IS NOT NULL AND finished_at IS NULL;
CREATE UNIQUE INDEX runs_key ON runs (job, idempotency_key) WHERE key_live = 1;

CREATE TABLE steps (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    path TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT,
    arguments TEXT,
    failures INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    started_at REAL NOT NULL,
    finished_at REAL,
    title TEXT,
    ref TEXT,
    output TEXT
) STRICT;

CREATE TABLE unfinished_steps (
    run_id TEXT NOT NULL,
    path TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    name TEXT,
    arguments TEXT,
    failures INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    started_at REAL NOT NULL,
    finished_at REAL,
    wake_at REAL,
    title TEXT,
    ref TEXT,
    error TEXT,
    PRIMARY KEY (run_id, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE queues (
    name TEXT PRIMARY KEY NOT NULL,
    concurrency INTEGER,
    rate INTEGER,
    period REAL,
    key_scope TEXT NOT NULL,
    paused INTEGER NOT NULL,
    counted_to REAL NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE starts (
    queue TEXT NOT NULL,
    at REAL NOT NULL,
    run_id TEXT NOT NULL,
    PRIMARY KEY (queue, at, run_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE more_keys (
    job TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    run_id TEXT NOT NULL,
    expires_at REAL,
    PRIMARY KEY (job, idempotency_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX more_keys_run ON more_keys (run_id);

CREATE TABLE triggers (
    job TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    match TEXT NOT NULL,
    version TEXT,
    queue TEXT NOT NULL,
    PRIMARY KEY (kind, name, job, match)
) STRICT, WITHOUT ROWID;
CREATE INDEX triggers_job ON triggers (job);

CREATE TABLE schedules (
    job TEXT NOT NULL,
    name TEXT NOT NULL,
    spec TEXT NOT NULL,
    catch_up TEXT NOT NULL,
    next_at REAL NOT NULL,
    last_at REAL,
    paused INTEGER NOT NULL,
    PRIMARY KEY (job, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE sent_events (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    at REAL NOT NULL,
    runs TEXT NOT NULL,
    waits INTEGER NOT NULL,
    payload TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sent_events_at ON sent_events (at);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY NOT NULL,
    run_id TEXT NOT NULL,
    path TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at REAL NOT NULL,
    deadline REAL NOT NULL,
    finished_at REAL,
    name TEXT,
    match TEXT,
    output TEXT,
    error TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_created ON tokens (created_at, id);
CREATE INDEX tokens_state ON tokens (state, created_at, id);
CREATE INDEX tokens_event ON tokens (name, deadline) WHERE kind = 'event' AND state = 'pending';
CREATE INDEX tokens_run ON tokens (run_id, created_at, id);

CREATE TABLE events (
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at REAL NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE logs (
    run_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    path TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    at REAL NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    fields TEXT NOT NULL,
    PRIMARY KEY (run_id, attempt, path, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
    run_id TEXT PRIMARY KEY NOT NULL,
    generation INTEGER NOT NULL,
    worker TEXT NOT NULL,
    heartbeat_at REAL NOT NULL,
    via TEXT NOT NULL,
    executed REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE workers (
    slot INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    info TEXT NOT NULL,
    started_at REAL NOT NULL,
    lock TEXT
) STRICT;

CREATE TABLE tags (
    tag TEXT NOT NULL,
    created_at REAL NOT NULL,
    run_id TEXT NOT NULL,
    PRIMARY KEY (tag, created_at, run_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE VIEW runs_readable AS SELECT
    id, job, status, attempt, worker,
    strftime('%Y-%m-%dT%H:%M:%fZ', created_at, 'unixepoch') AS created,
    strftime('%Y-%m-%dT%H:%M:%fZ', ready_at, 'unixepoch') AS ready,
    strftime('%Y-%m-%dT%H:%M:%fZ', started_at, 'unixepoch') AS started,
    strftime('%Y-%m-%dT%H:%M:%fZ', finished_at, 'unixepoch') AS finished,
    round(executed, 3) AS seconds, progress, tags, payload, output, error
FROM runs;
CREATE VIEW steps_readable AS SELECT
    runs.id AS run_id, path, steps.seq, kind, 'completed' AS state, failures,
    strftime('%Y-%m-%dT%H:%M:%fZ', steps.started_at, 'unixepoch') AS started,
    strftime('%Y-%m-%dT%H:%M:%fZ', steps.finished_at, 'unixepoch') AS finished,
    NULL AS wakes, round(steps.finished_at - steps.started_at, 3) AS seconds, steps.output, NULL AS error
FROM runs CROSS JOIN steps ON steps.id >= runs.number << 32 AND steps.id < runs.number + 1 << 32
UNION ALL SELECT
    run_id, path, NULL, kind, state, failures,
    strftime('%Y-%m-%dT%H:%M:%fZ', started_at, 'unixepoch'),
    strftime('%Y-%m-%dT%H:%M:%fZ', finished_at, 'unixepoch'),
    strftime('%Y-%m-%dT%H:%M:%fZ', wake_at, 'unixepoch'), round(finished_at - started_at, 3), NULL, error
FROM unfinished_steps AS open
WHERE NOT EXISTS (
    SELECT 1 FROM runs CROSS JOIN steps ON steps.id >= runs.number << 32 AND steps.id < runs.number + 1 << 32
    WHERE runs.id = open.run_id AND steps.path = open.path
);
CREATE VIEW events_readable AS
SELECT run_id, seq, strftime('%Y-%m-%dT%H:%M:%fZ', at, 'unixepoch') AS at, type, data FROM events
UNION ALL
SELECT runs.id, steps.seq,
    strftime('%Y-%m-%dT%H:%M:%fZ', coalesce(steps.finished_at, steps.started_at), 'unixepoch'),
    'step.completed', json_object('path', path, 'name', name)
FROM runs CROSS JOIN steps ON steps.id >= runs.number << 32 AND steps.id < runs.number + 1 << 32;
"""


def _migrations() -> Migrations:
    """The way from any older schema to `SCHEMA`; append, never edit."""
    from sqlite_utils import Migrations

    migrations = Migrations("durable_lite")

    @migrations()
    def first(db: Database) -> None:
        for statement in _FIRST.split(";\n"):  # a whole script would be searched for its ends
            db.execute(statement)
        _note(db, schema=1, min_reader=1)

    return migrations


def _note(db: Database, *, schema: int, min_reader: int) -> None:
    for key, value in (("schema", schema), ("min_reader", min_reader)):
        db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", [key, str(value)])


def is_current(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the tables can be used as they are. `SchemaTooNew` if this code must not touch them."""
    marks = ", ".join("?" * len(_TABLES))
    found = {
        name
        for (name,) in connection.execute(
            f"SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ({marks})", _TABLES
        )
    }
    facts: dict[str, str] = {}
    columns = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info('meta')")}
    if columns.issuperset(("key", "value")):
        rows = connection.execute("SELECT key, value FROM meta WHERE key IN ('schema', 'min_reader')")
        facts = dict(rows.fetchall())
    if "schema" not in facts:
        if found:
            names = ", ".join(sorted(found))
            raise StoreError(f"{path} has tables that are not durable_lite's ({names}); use another file")
        return False
    if int(facts["min_reader"]) > SCHEMA:
        raise SchemaTooNew(
            f"{path} was written by a newer durable_lite (schema {facts['schema']}, to be read from "
            f"{facts['min_reader']} on); this one knows schema {SCHEMA}: upgrade durable_lite"
        )
    return int(facts["schema"]) >= SCHEMA


def upgrade(connection: sqlite3.Connection, path: str) -> None:
    """Bring the tables to `SCHEMA` in one immediate transaction, unless another process just did.

    Raises SQLite's busy error if another process is writing: nothing was done.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not is_current(connection, path):
            try:
                from sqlite_utils import Database
            except ImportError:
                raise StoreError(f"{path} can't be set up: the package sqlite-utils is missing") from None

            # Inside a transaction `apply` uses savepoints and leaves the commit to us.
            _migrations().apply(Database(connection, recursive_triggers=False, execute_plugins=False))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
