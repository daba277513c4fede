"""`beat`, `leases`, `mark_stale`: signs of life, what they carry, and what their absence does."""

import pytest

from durable_lite.events import stale
from durable_lite.records import Beat, Lease, Refusal
from durable_lite.status import Status
from tests.conformance.build import (
    NOW,
    beat,
    bring,
    claim,
    create,
    executing,
    get,
    log,
    mark_stale,
    settle,
    step,
    types,
)
from tests.conformance.state import everything


async def test_a_beat_renews_the_lease_and_nothing_else(store):
    row = await executing(store)
    before = await everything(store)
    assert await store.beat("w", [Beat("r", 1, 4.5)], NOW + 5) == {}
    assert await store.leases() == [Lease("r", 1, "w", NOW + 5, "lease", 4.5)]
    assert await everything(store) == before | {"leases": await store.leases()}
    assert await get(store) == row


async def test_one_beat_speaks_for_many_runs(store):
    for n in range(30):
        await executing(store, f"{n:02}")
    assert await store.beat("w", [Beat(f"{n:02}", 1, float(n)) for n in range(29)], NOW + 5) == {}
    leases = {lease.run_id: (lease.heartbeat_at, lease.executed) for lease in await store.leases()}
    assert leases == {f"{n:02}": (NOW + 5, float(n)) for n in range(29)} | {"29": (NOW, 0.0)}
    assert await store.beat("w", [], NOW + 6) == {}


async def test_leases_of_all_workers_are_seen(store, other):
    await executing(store, "a", worker="v")
    await create(store, "b")
    await other.claim_runs("w", ["job"], 1, NOW + 1, "lock")
    expected = [Lease("a", 1, "v", NOW, "lease", 0.0), Lease("b", 1, "w", NOW + 1, "lock", 0.0)]
    assert sorted(await store.leases()) == sorted(await other.leases()) == expected


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.EXECUTING}))
async def test_only_executing_runs_have_a_lease(store, status):
    await bring(store, status)
    assert await store.leases() == []


# What was buffered


async def test_progress_and_metadata_stay_until_they_change(store):
    row = await executing(store)
    assert (row.progress, row.metadata) == (None, "{}")
    for given, expected in [
        ({"progress": '{"current": 1}'}, ('{"current": 1}', "{}")),
        ({"metadata": '{"a": 1}'}, ('{"current": 1}', '{"a": 1}')),
        ({}, ('{"current": 1}', '{"a": 1}')),
        ({"progress": "", "metadata": ""}, ("", "")),
        ({"progress": '{"current": 2}', "metadata": '{"b": 2}'}, ('{"current": 2}', '{"b": 2}')),
    ]:
        await beat(store, row, NOW + 5, **given)
        found = await get(store)
        assert (found.progress, found.metadata) == expected


async def test_progress_and_metadata_live_through_a_crash(store):
    row = await executing(store)
    await beat(store, row, NOW + 5, progress='"p"', metadata='"m"')
    await mark_stale(store)
    [found] = await claim(store)
    assert (found.run.progress, found.run.metadata) == ('"p"', '"m"')


async def test_a_log_line_is_kept_as_first_written(store):
    """A replay repeats the lines that the run has already: none is stored twice or changed."""
    row = await executing(store)
    first = [
        log(0),
        log(1, level="error", message="x", fields='{"k": [1]}', at=NOW + 1),
        log(0, path="a/b", at=NOW + 2),
    ]
    await beat(store, row, NOW + 5, logs=tuple(first))
    again = [
        log(0, message="again"),
        log(1, at=NOW + 9),
        log(0, path="a/b", level="debug"),
        log(2, at=NOW + 3),
    ]
    await beat(store, row, NOW + 6, logs=tuple(again))
    assert await store.read_logs("r") == [*first, again[-1]]


async def test_a_line_twice_in_one_beat_is_kept_once(store):
    row = await executing(store)
    await beat(store, row, NOW + 5, logs=(log(0, message="first"), log(0, message="second")))
    assert await store.read_logs("r") == [log(0, message="first")]


async def test_settle_flushes_what_was_buffered_and_repeats_no_line(store):
    row = await executing(store)
    await beat(store, row, NOW + 5, logs=(log(0),), progress='"1"', metadata='"1"')
    await settle(store, "r", Status.WAITING, logs=(log(0, message="again"), log(1)), progress='"2"')
    found = await get(store)
    assert (found.progress, found.metadata) == ('"2"', '"1"')
    assert await store.read_logs("r") == [log(0), log(1)]


async def test_the_log_is_by_attempt_time_path_ordinal(store):
    lines = [
        log(5, path="z", at=NOW - 3),
        log(0, path="", at=NOW + 1),
        log(0, path="a", at=NOW + 1),
        log(1, path="a", at=NOW + 1),
        log(2, path="a", at=NOW + 1),
        log(10, path="a", at=NOW + 1),
        log(0, path="b", at=NOW + 1),
        log(0, path="A", at=NOW + 2),
        log(9, path="", at=NOW - 10, attempt=2),
        log(0, path="", at=NOW - 9, attempt=2),
        log(0, path="", at=NOW - 20, attempt=10),
    ]
    row = await executing(store)
    await executing(store, "s")
    mixed = [lines[n * 7 % len(lines)] for n in range(len(lines))]
    await beat(store, row, NOW + 5, logs=tuple(mixed[:6]))
    await beat(store, row, NOW + 6, logs=tuple(mixed[6:]))
    assert await store.read_logs("r") == lines
    assert await store.read_logs("s") == await store.read_logs("never there") == []


# Stale


async def test_a_run_marked_stale(store):
    row = await executing(store)
    await beat(store, row, NOW + 5, executed=4.5)
    [lease] = await store.leases()
    assert await store.mark_stale([lease], "heartbeat", NOW + 36) == ["r"]
    assert await get(store) == row._replace(
        status="STALE",
        claimable=1,
        generation=2,
        stale_reason="heartbeat",
        last_seen_at=NOW + 5,
        executed=4.5,
        seq=3,
        interrupted=1,
    )
    assert await store.leases() == []
    [event] = await store.read_events("r", 2, 10)
    assert (event.seq, event.at, event.type) == (3, NOW + 36, "run.stale")
    assert event.data == stale("heartbeat", "w", NOW + 5)
    assert await store.next_due() is None


async def test_a_beat_in_between_saves_the_run(store):
    row = await executing(store)
    seen = await store.leases()
    await beat(store, row, NOW + 5)
    before = await everything(store)
    assert await store.mark_stale(seen, "heartbeat", NOW + 40) == []
    assert await everything(store) == before


@pytest.mark.parametrize("drift", [-0.001, 0.001, -100.0])
async def test_the_heartbeat_must_be_exactly_the_one_seen(store, drift):
    row = await executing(store)
    await beat(store, row, NOW + 0.1 + 0.2)
    [lease] = await store.leases()
    before = await everything(store)
    assert (
        await store.mark_stale([lease._replace(heartbeat_at=lease.heartbeat_at + drift)], "x", NOW + 40) == []
    )
    assert await everything(store) == before
    assert await store.mark_stale([lease], "x", NOW + 40) == ["r"]


async def test_a_lease_of_another_generation_is_not_the_one_seen(store):
    """Claimed again at the very moment of the heartbeat that was seen."""
    await executing(store)
    old = await store.leases()
    await settle(store, "r", Status.PENDING)
    await claim(store)
    [new] = await store.leases()
    assert new == old[0]._replace(generation=3)
    before = await everything(store)
    for generation in (1, 2, 4):
        assert await store.mark_stale([new._replace(generation=generation)], "heartbeat", NOW + 40) == []
        assert await everything(store) == before


async def test_marking_again_does_nothing(store, other):
    """Two sweepers see the same lease; or one repeats itself."""
    await executing(store)
    seen = await store.leases()
    assert await store.mark_stale(seen, "heartbeat", NOW + 40) == ["r"]
    before = await everything(store)
    for handle in (store, other):
        assert await handle.mark_stale(seen, "worker gone", NOW + 41) == []
    assert await everything(store) == before


async def test_each_lease_is_judged_by_itself(store):
    for id in "abcde":
        await executing(store, id)
    seen = sorted(await store.leases())
    await beat(store, await get(store, "b"), NOW + 5)
    await store.cancel_run("c", NOW)
    await settle(store, "d", Status.COMPLETED)
    await store.delete_run("d")
    assert sorted(await store.mark_stale([*seen, seen[0]], "worker gone", NOW + 40)) == ["a", "e"]
    rows = {row.id: (row.status, row.stale_reason) for row in (await everything(store))["runs"]}
    assert rows == {
        "a": ("STALE", "worker gone"), "b": ("EXECUTING", None), "c": ("CANCELLED", None), "e": ("STALE",
        "worker gone"),
    }  # fmt: skip
    assert (await types(store, "a")).count("run.stale") == 1
    assert await store.mark_stale([], "heartbeat", NOW) == []


async def test_the_run_goes_on_where_it_was(store):
    """Stale, claimed, resumed; what had been stored is there."""
    await executing(store)
    await store.save_step("r", 1, step("a", 3))
    await mark_stale(store, now=NOW + 40)
    [found] = await claim(store, "v", now=NOW + 40)
    assert [each.path for each in await store.load_checkpoints("r")] == ["a"]
    assert await store.save_step("r", 1, step("b", 4)) == Refusal("EXECUTING", 3)
    assert await store.save_step("r", 3, step("b", found.run.seq + 1, generation=3)) is None
    assert (await types(store))[3:] == ["run.stale", "run.claimed", "run.resumed", "step.completed"]


# Recoveries


async def crash(store, reason="heartbeat"):
    """The worker disappears; another claims. Returns what `recoveries` is then."""
    await mark_stale(store, reason=reason)
    [found] = await claim(store)
    return found.run.recoveries


async def checkpoint(store, path):
    row = await get(store)
    seq = (await store.read_events("r", 0, 10_000))[-1].seq + 1
    assert await store.save_step("r", row.generation, step(path, seq, generation=row.generation)) is None


@pytest.mark.parametrize("reason", ["heartbeat", "worker gone"])
async def test_recoveries_count_workers_that_disappeared_in_a_row(store, reason):
    assert (await executing(store)).recoveries == 0
    assert [await crash(store, reason) for _ in range(6)] == [1, 2, 3, 4, 5, 6]


async def test_a_checkpoint_starts_the_count_again(store):
    await executing(store)
    assert [await crash(store), await crash(store)] == [1, 2]
    await checkpoint(store, "a")
    assert [await crash(store), await crash(store), await crash(store)] == [1, 2, 3]
    await checkpoint(store, "b")
    await checkpoint(store, "c")
    assert [await crash(store), await crash(store)] == [1, 2]


async def test_a_checkpoint_before_the_first_crash_counts_for_that_one(store):
    await executing(store)
    await checkpoint(store, "a")
    assert [await crash(store), await crash(store)] == [1, 2]


async def test_failures_and_open_waits_are_no_checkpoints(store):
    await executing(store)
    assert await crash(store) == 1
    row = await get(store)
    await store.save_step("r", row.generation, step("nap", None, kind="sleep", state="waiting"))
    assert await crash(store) == 2


@pytest.mark.parametrize("reason", ["suspended", "frozen", ""])
async def test_a_worker_that_woke_by_itself_is_not_counted(store, reason):
    await executing(store)
    assert await crash(store) == 1
    for _ in range(50):
        assert await crash(store, reason) == 1
    assert await crash(store) == 2


async def test_a_release_and_a_wait_are_not_counted(store):
    await executing(store)
    assert await crash(store) == 1
    for status in (Status.PENDING, Status.WAITING, Status.PENDING):
        await settle(store, "r", status, ready_at=NOW if status == Status.WAITING else None)
        [found] = await claim(store)
        assert found.run.recoveries == 1
    assert await crash(store) == 2


async def test_a_checkpoint_is_seen_through_claims_that_do_not_count(store):
    await executing(store)
    assert [await crash(store), await crash(store)] == [1, 2]
    await checkpoint(store, "a")
    assert await crash(store, "suspended") == 2
    await settle(store, "r", Status.PENDING)
    await claim(store)
    assert await crash(store) == 1


# Executing time


async def test_executed_seconds_are_carried_through_everything(store):
    row = await executing(store)
    await beat(store, row, NOW + 5, executed=4.25)
    assert (await mark_stale(store)).executed == 4.25  # a crash: what the last beat said

    async def held():
        [found] = await claim(store, now=NOW + 100)
        [lease] = await store.leases()
        assert lease.executed == found.run.executed
        return lease.executed

    assert await held() == 4.25
    assert (await mark_stale(store)).executed == 4.25  # no beat in between
    assert await held() == 4.25
    assert (await settle(store, "r", Status.WAITING, executed=7.5)).executed == 7.5
    assert await held() == 7.5
    assert (await settle(store, "r", Status.PENDING, executed=8.0)).executed == 8.0
    assert await held() == 8.0
    await beat(store, await get(store), NOW + 105, executed=9.5)
    cancelled = await store.cancel_run("r", NOW + 106)
    assert (cancelled.executed, cancelled.last_seen_at) == (9.5, NOW + 105)
