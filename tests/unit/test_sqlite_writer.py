"""The one writer: shared commits, each unit on its own in them, and files that others have locked."""

import asyncio
import sqlite3
import time

import pytest

from durable_lite.errors import Conflict, StoreError, StoreUnavailable
from durable_lite.records import Beat, Change
from tests.conformance.build import NOW, claim, create, executing, get, new_run, step
from tests.unit.sqlite_files import INLINE_OR_THREAD, locked, new_path, opened, rows

# What fails a checkpoint, in three ways: its statement alone, the whole transaction, or the commit.
TRIGGER = """
CREATE TRIGGER bad AFTER INSERT ON steps WHEN new.path = 'bad' BEGIN SELECT RAISE({action}, 'bad'); END
"""
DEFERRED = (
    "CREATE TABLE parent (id TEXT PRIMARY KEY)",
    "CREATE TABLE child (id TEXT REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)",
    """CREATE TRIGGER bad AFTER INSERT ON steps WHEN new.path = 'bad'
       BEGIN INSERT INTO child VALUES ('x'); END""",
    "PRAGMA foreign_keys = ON",
)

threads = pytest.mark.parametrize("writer_thread", INLINE_OR_THREAD)


def paths(path):
    return {name for (name,) in rows(path, "SELECT path FROM steps")}


async def together(path, *calls):
    """Start these while the file is locked, so that they share a transaction; their outcomes."""
    with locked(path):
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0.03)
        assert not any(task.done() for task in tasks)
    return await asyncio.gather(*tasks, return_exceptions=True)


# Shared commits


@threads
async def test_what_waits_together_is_committed_together(writer_thread):
    async with opened(durability="strict", writer_thread=writer_thread) as store:
        await executing(store)
        statements = []
        with locked(store.path):
            tasks = [asyncio.ensure_future(store.save_step("r", 1, step(f"s{n}", n))) for n in range(3, 23)]
            await asyncio.sleep(0.03)
            store.connections[0].set_trace_callback(statements.append)
        assert await asyncio.gather(*tasks) == [None] * 20
        store.connections[0].set_trace_callback(None)
        assert statements.count("COMMIT") == 1
        assert len([text for text in statements if text.lstrip().startswith("INSERT")]) == 20


@threads
async def test_a_refused_unit_fails_only_its_caller(writer_thread):
    async with opened(writer_thread=writer_thread) as store:
        await executing(store)
        outcomes = await together(
            store.path,
            store.save_step("r", 1, step("a", 3)),
            store.save_step("r", 7, step("late", 4)),
            store.save_step("gone", 1, step("b", 3, run_id="gone")),
            store.save_step("r", 1, step("c", 4)),
        )
        assert outcomes == [None, ("EXECUTING", 1), (None, 0), None]
        assert paths(store.path) == {"a", "c"}


@threads
@pytest.mark.parametrize("action", ["ABORT", "FAIL", "ROLLBACK"])
async def test_an_error_is_its_callers_own(writer_thread, action):
    async with opened(writer_thread=writer_thread) as store:
        await executing(store)
        await create(store, "other", job="unknown")
        store.connections[0].execute(TRIGGER.format(action=action))
        a, bad, conflict, b, run = await together(
            store.path,
            store.save_step("r", 1, step("a", 3)),
            store.save_step("r", 1, step("bad", 4)),
            store.delete_run("other"),
            store.save_step("r", 1, step("b", 5 if action == "FAIL" else 4)),  # FAIL keeps its row
            store.cancel_run("other", NOW),
        )
        assert (a, b, run.status) == (None, None, "CANCELLED")
        assert isinstance(bad, StoreError)
        assert isinstance(conflict, Conflict)
        if action != "FAIL":  # which keeps what its statement had done: nothing of ours uses it
            assert paths(store.path) == {"a", "b"}


@threads
async def test_a_unit_of_many_statements_is_undone_as_one(writer_thread):
    async with opened(writer_thread=writer_thread) as store:
        store.connections[0].execute(
            """CREATE TRIGGER bad AFTER INSERT ON runs WHEN new.id = 'bad'
               BEGIN SELECT RAISE(ABORT, 'bad'); END"""
        )
        good, bad, also = await together(
            store.path,
            store.create_runs([new_run("a")]),
            store.create_runs([new_run("b"), new_run("bad")]),
            store.create_runs([new_run("c")]),
        )
        assert good[0].run.id == "a"
        assert also[0].run.id == "c"
        assert isinstance(bad, StoreError)
        assert rows(store.path, "SELECT id FROM runs ORDER BY id") == [("a",), ("c",)]
        assert rows(store.path, "SELECT run_id FROM events ORDER BY run_id") == [("a",), ("c",)]


@threads
async def test_a_failed_commit_acknowledges_nobody(writer_thread):
    changes = []
    async with opened(writer_thread=writer_thread) as store:
        await executing(store)
        for statement in DEFERRED:
            store.connections[0].execute(statement)
        store.listen(changes.append)
        outcomes = await together(
            store.path,
            store.save_step("r", 1, step("a", 3)),
            store.save_step("r", 1, step("bad", 4)),
            store.save_step("r", 1, step("b", 5)),
        )
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
        assert str(store.path) in str(outcomes[0])
        assert [change for change in changes if change.run_id is not None] == []
        assert paths(store.path) == set()
        assert not store.connections[0].in_transaction
        assert await store.save_step("r", 1, step("a", 3)) is None


@threads
async def test_beats_go_first(writer_thread):
    async with opened(writer_thread=writer_thread) as store:
        await executing(store)
        statements = []
        with locked(store.path):
            tasks = [asyncio.ensure_future(store.save_step("r", 1, step(f"s{n}", n))) for n in range(3, 6)]
            tasks.append(asyncio.ensure_future(store.beat("w", [Beat("r", 1, 0.5)], NOW + 5)))
            await asyncio.sleep(0.02)
            store.connections[0].set_trace_callback(statements.append)
        await asyncio.gather(*tasks)
        store.connections[0].set_trace_callback(None)
        written = [text.split()[0] for text in statements if text.split()[0] in ("UPDATE", "INSERT")]
        assert written == ["UPDATE", "INSERT", "INSERT", "INSERT"]


@threads
async def test_a_cancelled_caller_harms_nobody(writer_thread):
    async with opened(writer_thread=writer_thread) as store:
        await executing(store)
        with locked(store.path):
            lost = asyncio.ensure_future(store.save_step("r", 1, step("a", 3)))
            kept = asyncio.ensure_future(store.save_step("r", 1, step("b", 4)))
            await asyncio.sleep(0.01)
            lost.cancel()
        assert await kept is None
        assert lost.cancelled()
        assert paths(store.path) == {"a", "b"}


@threads
async def test_changes_are_announced_after_the_commit(writer_thread):
    async with opened(writer_thread=writer_thread) as store:
        seen = []

        def look(change):
            seen.append((change, rows(store.path, "SELECT count(*) FROM runs")))

        store.listen(look)
        await create(store)
        assert seen == [(Change("r", True), [(1,)])]
        await claim(store)
        assert seen[1] == (Change("r", False), [(1,)])


@threads
async def test_ones_own_commits_are_announced_once(writer_thread):
    async with opened(writer_thread=writer_thread) as store:
        changes = []
        store.listen(changes.append)
        await executing(store)
        for seq in range(3, 9):
            await store.save_step("r", 1, step(f"s{seq}", seq))
            await asyncio.sleep(0.015)
        await asyncio.sleep(0.06)
        assert {change.run_id for change in changes} == {"r"}
        assert len(changes) == 8


@threads
async def test_commits_of_others_are_noticed(writer_thread):
    async with opened(writer_thread=writer_thread) as store, opened(store.path) as other:
        changed = asyncio.Event()
        stop = store.listen(lambda change: changed.set() if change.run_id is None else None)
        delays = []
        for number in range(3):
            changed.clear()
            await create(store, f"own{number}")
            await create(other, f"r{number}")
            began = time.monotonic()
            await asyncio.wait_for(changed.wait(), 5)
            delays.append(time.monotonic() - began)
        assert min(delays) < 0.2, delays  # the machine may stand still for a moment
        stop()
        changed.clear()
        await create(other, "more")
        await asyncio.sleep(0.08)
        assert not changed.is_set()


# Locked files


@threads
async def test_a_locked_file_does_not_block_the_event_loop(writer_thread):
    async with opened(writer_thread=writer_thread) as store:
        await executing(store)
        with locked(store.path):
            saving = asyncio.ensure_future(store.save_step("r", 1, step("a", 3)))
            for _ in range(50):
                await asyncio.sleep(0.001)
            assert not saving.done()  # a store that blocks the loop is done when the loop turns again
            assert (await get(store)).status == "EXECUTING"  # readers don't wait
        assert await asyncio.wait_for(saving, 20) is None
        assert paths(store.path) == {"a"}


@threads
async def test_a_file_locked_for_too_long_is_unavailable(writer_thread):
    async with opened(writer_thread=writer_thread, busy_limit=0.1) as store:
        await executing(store)
        with locked(store.path):
            began = time.monotonic()
            for call in (
                store.save_step("r", 1, step("a", 3)),
                store.beat("w", [Beat("r", 1, 0.5)], NOW),
                store.create_runs([new_run("b")]),
            ):
                with pytest.raises(StoreUnavailable, match="another process has kept the file locked for"):
                    await call
            assert 0.3 <= time.monotonic() - began < 3
        assert await store.save_step("r", 1, step("a", 3)) is None
        assert rows(store.path, "SELECT id FROM runs") == [("r",)]


@threads
async def test_each_waits_for_no_longer_than_its_own_limit(writer_thread):
    async with opened(writer_thread=writer_thread, busy_limit=2.0) as store:
        await executing(store)
        with locked(store.path):
            first = asyncio.ensure_future(store.save_step("r", 1, step("a", 3)))
            await asyncio.sleep(1.0)
            second = asyncio.ensure_future(store.save_step("r", 1, step("b", None)))
            third = asyncio.ensure_future(store.save_step("r", 1, step("c", 4)))
            with pytest.raises(StoreUnavailable):
                await first
            assert not second.done()
        assert await second is None
        with pytest.raises(StoreUnavailable, match="a write that comes before this one"):
            await third  # else the sequence had a gap


@threads
async def test_closing_finishes_what_was_accepted(writer_thread):
    with new_path() as path:
        async with opened(path, writer_thread=writer_thread) as store:
            await executing(store)
            with locked(path):
                saving = asyncio.ensure_future(store.save_step("r", 1, step("a", 3)))
                await asyncio.sleep(0.01)
                closing = asyncio.ensure_future(store.close())
                await asyncio.sleep(0.02)
                assert not closing.done()
                with pytest.raises(StoreError):
                    await store.save_step("r", 1, step("b", 4))
            await closing
            assert await saving is None
        assert paths(path) == {"a"}


async def test_a_closed_store_says_so():
    async with opened() as store:
        await store.close()
        assert store.connections == ()
        for call in (
            store.get_run("r"),
            store.create_runs([new_run()]),
            store.claim_runs("w", ["j"], 1, NOW, ""),
        ):
            with pytest.raises(StoreError, match="not open"):
                await call


async def test_closing_does_not_wait_for_readers():
    with new_path() as path:
        async with opened(path) as store:
            await create(store)
            reader = sqlite3.connect(path, isolation_level=None)
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM runs").fetchall()
            await create(store, "more")
            began = time.monotonic()
            await store.close()
            assert time.monotonic() - began < 1
        assert len(rows(path, "SELECT id FROM runs")) == 2
        reader.close()


# Values


@threads
@pytest.mark.parametrize("output", ["\ud800", b"bytes", 2**70, object()])
async def test_a_value_that_sqlite_cannot_hold_is_an_error_of_the_caller(writer_thread, output):
    async with opened(writer_thread=writer_thread) as store:
        await executing(store)
        with pytest.raises(StoreError):
            await store.save_step("r", 1, step("a", 3, output=output))
        assert await store.save_step("r", 1, step("b", 3)) is None
        assert paths(store.path) == {"b"}


@threads
async def test_a_full_database_is_unavailable_and_recovers(writer_thread):
    async with opened(writer_thread=writer_thread) as store:
        await executing(store)
        [pages] = store.connections[0].execute("PRAGMA page_count").fetchone()
        store.connections[0].execute(f"PRAGMA max_page_count = {pages}").fetchone()
        with pytest.raises(StoreUnavailable, match="full"):
            await store.save_step("r", 1, step("a", 3, output="x" * 100_000))
        outcomes = await together(
            store.path,
            store.save_step("r", 1, step("small", 3)),
            store.save_step("r", 1, step("b", 4, output="x" * 100_000)),
        )
        assert outcomes[0] is None or isinstance(outcomes[0], StoreUnavailable)
        assert isinstance(outcomes[1], StoreUnavailable)
        assert paths(store.path) == ({"small"} if outcomes[0] is None else set())
        store.connections[0].execute("PRAGMA max_page_count = 100000").fetchone()
        assert await store.save_step("r", 1, step("b", 4, output="x" * 100_000)) is None
