"""What the verbs of the SQLite store cost: statements, query plans, and work as finished runs pile up."""

import sqlite3
from contextlib import contextmanager
from typing import Any

import pytest

from durable_lite.errors import Busy
from durable_lite.moving import gather
from durable_lite.records import (
    Beat,
    Lease,
    LogRow,
    QueueRow,
    RunFilter,
    RunRow,
    SentEvent,
    TokenFilter,
    TriggerRow,
    Wakes,
)
from durable_lite.status import Status
from durable_lite.stores.sqlite import SQLiteStore
from tests.conformance.build import (
    NOW,
    claim,
    create,
    event,
    executing,
    log,
    new_run,
    settle,
    settlement,
    spawn,
    step,
    token,
    wait,
)
from tests.unit.sqlite_files import opened

FINISHED = 5_000

# Finished runs have it, and so have those whose work is counted.
SAME: dict[str, Any] = {
    "queue": "q", "concurrency_key": "k", "debounce_key": "d", "parent_id": "r", "awaited": 1,
}  # fmt: skip


FILLED = ("runs", "steps", "events", "logs", "tags", "tokens", "sent_events")


@contextmanager
def traced(store: SQLiteStore):
    """What either connection executes, as SQL with its values."""
    statements: list[str] = []
    for connection in store.connections:
        connection.set_trace_callback(statements.append)
    yield statements
    for connection in store.connections:
        connection.set_trace_callback(None)


@contextmanager
def counted(store: SQLiteStore):
    """How many instructions SQLite's virtual machine executes, give or take 10 a statement."""
    steps = [0]

    def tick() -> int:
        steps[0] += 10
        return 0

    for connection in store.connections:
        connection.set_progress_handler(tick, 10)
    yield steps
    for connection in store.connections:
        connection.set_progress_handler(None, 0)


async def fill(store: SQLiteStore, count: int) -> None:
    """Finished runs with a step, events, a tag, a token, and all that limits and groups runs.

    One is made by the verbs, then copied by SQL.
    """
    if not count:
        return
    await executing(store, "old", created_at=0.0, tags='["t"]', idempotency_key="old", **SAME)
    await store.save_step("old", 1, step("a", 3, run_id="old"))
    await store.create_token(
        "old", 1, wait("old", "old"), token("old", "old", kind="event", name="paid", match="{}")
    )
    await store.send_event(SentEvent("old", "paid", "{}", NOW), [])
    await settle(store, "old", Status.COMPLETED)
    changed = {
        "id": "'old-' || value",
        "run_id": "'old-' || value",
        "at": "value",
        "created_at": "value * 0.1",  # before all others
        "finished_at": "value + 1.0",
        "idempotency_key": "'old-' || value",
    }
    for table in ("runs", "steps", "events", "tags", "tokens", "sent_events"):
        found = store.connections[0].execute("SELECT name FROM pragma_table_info(?)", (table,))
        columns = [name for (name,) in found if name != "number"]
        number = "(SELECT number FROM runs WHERE id = 'old-' || value) << 32 | seq"
        mapped = changed | ({"id": number} if table == "steps" else {})
        store.connections[0].execute(
            f"""WITH RECURSIVE n (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < ?)
            INSERT INTO {table} ({", ".join(columns)})
            SELECT {", ".join(mapped.get(name, name) for name in columns)}
            FROM n CROSS JOIN (SELECT * FROM {table})""",
            (count,),
        )


# Statements


async def test_a_checkpoint_is_one_statement_and_one_commit():
    async with opened() as store:
        await executing(store)
        with traced(store) as statements:
            assert await store.save_step("r", 1, step("a", 3)) is None
        [insert] = statements
        assert insert.lstrip().startswith("INSERT INTO steps")


async def test_a_strict_checkpoint_alone_is_one_statement_too():
    async with opened(durability="strict") as store:
        await executing(store)
        with traced(store) as statements:
            assert await store.save_step("r", 1, step("a", 3)) is None
        assert len(statements) == 1


async def test_a_refused_checkpoint_reads_why_once():
    async with opened(durability="strict") as store:
        await executing(store)
        await store.cancel_run("r", NOW)
        with traced(store) as statements:
            assert await store.save_step("r", 1, step("a", 3)) == ("CANCELLED", 2)
        assert [statement.split()[0] for statement in statements] == ["INSERT", "SELECT"]


async def test_a_claim_that_finds_nothing_takes_no_write_lock():
    async with opened() as store:
        await create(store, job="unknown")
        await create(store, "later", ready_at=NOW + 60)
        with traced(store) as statements:
            assert await claim(store, jobs=("job", "other")) == []
        assert {statement.split()[0] for statement in statements} == {"SELECT"}


async def test_verbs_with_nothing_to_do_write_nothing():
    async with opened() as store:
        with traced(store) as statements:
            assert await store.beat("w", [], NOW) == {}
            assert await store.mark_stale([], "heartbeat", NOW) == []
            assert await store.purge(NOW, 10) == 0
        assert {statement.split()[0] for statement in statements} <= {"SELECT"}


async def test_a_beat_is_one_transaction_however_many_runs():
    async with opened() as store:
        for number in range(5):
            await create(store, f"r{number}")
        claims = await claim(store)
        with traced(store) as statements:
            await store.beat("w", [Beat(found.run.id, 1, 0.5) for found in claims], NOW + 5)
        assert [statement.split()[0] for statement in statements] == ["BEGIN", *["UPDATE"] * 5, "COMMIT"]


# Plans and work


async def exercise(store: SQLiteStore) -> None:
    """Every verb, with at least one row to find for each."""
    await store.create_runs(
        [new_run("a", tags='["t"]', idempotency_key="k"), new_run("b", ready_at=NOW + 1), new_run("c")]
    )
    await store.create_runs([new_run("a", idempotency_key="k"), new_run("d", idempotency_key="k")])
    await store.next_due()
    claims = await store.claim_runs("w", ["job", "other"], 5, NOW + 2, "lease")
    assert len(claims) == 3
    await store.save_step("a", 1, step("s", 3, run_id="a"))
    await store.save_failure("a", 1, step("s/f", run_id="a"), event(4))
    await store.beat("w", [Beat("a", 1, 0.1, '{"n": 1}', None, (log(run_id="a"),))], NOW + 3)
    assert await store.mark_stale(await store.leases(), "heartbeat", NOW + 9)
    assert len(await store.claim_runs("w", ["job"], 5, NOW + 9, "lease")) == 3
    await store.settle("a", 3, settlement(Status.FAILED))
    await store.resume_run("a", NOW + 10)
    await store.cancel_run("a", NOW + 11)
    await store.settle("b", 3, settlement(Status.COMPLETED))
    for verb in (store.get_run, store.load_checkpoints, store.load_steps, store.read_logs):
        await verb("a")
    await store.read_events("a", 2, 10)
    cursor = (NOW, "z")
    for filter in (
        RunFilter(limit=5),
        RunFilter(cursor=cursor, limit=5),
        RunFilter(created_after=NOW - 1, created_before=NOW + 1, limit=5),
        RunFilter(statuses=("FAILED",), limit=5),
        RunFilter(statuses=("FAILED", "CANCELLED", "EXECUTING"), cursor=cursor, limit=5),
        RunFilter(job="job", limit=5),
        RunFilter(job="job", statuses=("CANCELLED",), cursor=cursor, limit=5),
        RunFilter(tags=("t",), cursor=cursor, limit=5),
        RunFilter(tags=("t",), job="job", statuses=("COMPLETED",), cursor=cursor, limit=5),
    ):
        assert len(await store.list_runs(filter)) <= 5
    await store.delete_run("a")
    await store.gone_workers(["w"])
    moved = await gather(store, await store.move_run("c", NOW))
    await store.import_run(moved, NOW)
    await store.import_run(moved, NOW)
    await store.cancel_run("c", NOW)
    await store.delete_run("b")
    await store.delete_run("c")


async def exercise_waits(store: SQLiteStore) -> None:
    """Children, tokens and events, queues and keys, among many that have had the same and are over."""
    await store.set_queues([QueueRow("q", concurrency=1, rate=5, period=60.0)], NOW)
    await store.set_triggers(["job"], [TriggerRow("job", "event", "paid", "{}", None, "q")])
    await executing(store)
    await spawn(store, "a", "b", **(SAME | {"debounce_key": None}))
    await store.create_token("r", 1, wait(), token())
    await store.create_token("r", 1, wait("e"), token("e", kind="event", name="paid", match="{}"))
    await settle(store, "r", Status.WAITING, wakes=Wakes(("t",), ("a", "b"), all=True), ready_at=None)
    assert [found.run.id for found in await claim(store)] == ["a"]  # the other waits for the key
    await settle(store, "a", Status.COMPLETED)
    assert [found.run.id for found in await claim(store)] == ["b"]
    skipped, debounced, again, other = await store.create_runs(
        [
            new_run("c", on_busy="skip", **(SAME | {"debounce_key": None})),
            new_run("d", debounce_until=NOW + 9, ready_at=NOW + 5, **SAME | {"concurrency_key": None}),
            new_run("again", debounce_until=NOW + 9, ready_at=NOW + 5, **SAME | {"concurrency_key": None}),
            new_run("late", queue="q", expires_at=NOW + 1),
        ]
    )
    assert [one.run.id for one in (skipped, debounced, again, other)] == ["c", "d", "d", "late"]
    with pytest.raises(Busy):
        await store.create_runs([new_run("busy", on_busy="reject", concurrency_key="k")])
    await store.pause_queue("q", True, NOW)
    await store.pause_queue("q", False, NOW)
    [queue] = await store.list_queues()
    assert (queue.queued, queue.taken) == (1, 1)
    assert await store.next_due() == NOW + 1
    assert await claim(store, now=NOW + 1, jobs=("none",)) == []
    assert (await store.get_run("late")).status == Status.EXPIRED
    await store.finish_token("t", "completed", "1", None, NOW)
    await store.read_tokens(["e", "t"], NOW)
    for filter in (TokenFilter(limit=5), TokenFilter("completed", limit=5), TokenFilter(run_id="r", limit=5)):
        assert 0 < len(await store.list_tokens(filter)) <= 5
    [found] = await store.list_triggers("event", "paid")
    assert found.job == "job"
    sent = await store.send_event(SentEvent("new", "paid", "{}", NOW), [new_run("on", queue="q")])
    assert (sent.fresh, sent.waits) == (True, 1)
    assert not (await store.send_event(SentEvent("new", "paid", "{}", NOW), [])).fresh
    await store.fork_run(new_run("fork"), [step("a", 2, run_id="fork")])
    await store.cancel_run("r", NOW)
    assert (await store.get_run("b")).status == Status.CANCELLED
    for id in ("on", "fork"):
        await store.cancel_run(id, NOW)


# What a run has, what was asked for by id, who has a place in a queue and hasn't begun.
SORTED = ("FROM logs", "FROM steps", "FROM json_each", "started_at IS NULL")


async def test_no_statement_scans_what_finished_runs_fill():
    async with opened() as store:
        await fill(store, 50)
        with traced(store) as statements:
            await exercise(store)
            await exercise_waits(store)
            await store.purge(3.0, 2)
        planned = 0
        for statement in set(statements):
            if statement.split()[0] not in ("SELECT", "INSERT", "UPDATE", "DELETE"):
                continue
            for *_, plan in store.connections[0].execute(f"EXPLAIN QUERY PLAN {statement}"):
                planned += 1
                if plan.startswith("SCAN ") and plan.endswith("_created") and " LIMIT " in statement:
                    continue  # the newest, whatever they are: read in order, and no more than those
                scanned = plan.split()[1] if plan.startswith("SCAN ") else None
                assert scanned not in FILLED, (plan, statement)
                if "TEMP B-TREE" in plan:
                    assert any(few in statement for few in SORTED), statement
        assert planned > 30


@pytest.mark.parametrize("verbs", [exercise, exercise_waits], ids=["steps", "waits"])
@pytest.mark.parametrize("durability", ["relaxed", "strict"])
async def test_work_does_not_grow_with_finished_runs(durability, verbs):
    work = []
    for finished in (0, FINISHED):
        async with opened(durability=durability) as store:
            await fill(store, finished)
            with counted(store) as steps:
                await verbs(store)
            work.append(steps[0])
    assert work[1] <= 1.2 * work[0], work


async def test_lists_read_as_much_as_they_return():
    async with opened() as store:
        await fill(store, FINISHED)
        for filter in (
            RunFilter(limit=10),
            RunFilter(job="job", limit=10, cursor=(FINISHED / 2, "old")),
            RunFilter(statuses=("COMPLETED", "FAILED"), limit=10),
            RunFilter(tags=("t",), limit=10, created_before=100.0),
        ):
            with counted(store) as steps:
                assert len(await store.list_runs(filter)) == 10
            assert steps[0] < 3_000, (filter, steps)


async def test_the_tables_have_the_columns_of_the_records():
    async with opened() as store:
        for table, row, keys in (
            ("runs", RunRow, {"number"}),
            ("logs", LogRow, set()),
            ("leases", Lease, set()),
        ):
            columns = store.connections[1].execute("SELECT name FROM pragma_table_info(?)", (table,))
            assert {name for (name,) in columns} == {*row._fields} | keys


async def test_no_read_stays_open():
    """One that did would keep the WAL file from ever being reset."""
    async with opened() as store:
        await exercise(store)
        assert sqlite3.sqlite_version_info >= (3, 37)
        busy, *_ = store.connections[0].execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0
