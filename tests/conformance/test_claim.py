"""`claim_runs` and `next_due`: who gets which run, when, and what a claim changes."""

import asyncio

import pytest

from durable_lite.events import claimed, resumed
from durable_lite.records import Claim, Lease
from durable_lite.status import READY, Status
from tests.conformance.build import (
    NOW,
    beat,
    bring,
    claim,
    create,
    event,
    executing,
    get,
    ids,
    limit,
    mark_stale,
    new_run,
    settle,
    step,
    types,
)
from tests.conformance.state import everything


async def test_order_is_priority_then_age_then_id(store):
    runs = [
        new_run("d", priority=0, created_at=NOW - 1),
        new_run("c", priority=0, created_at=NOW - 2),
        new_run("b", priority=0, created_at=NOW - 2),
        new_run("a", priority=-5, created_at=NOW - 9),
        new_run("z", priority=7, created_at=NOW),
        new_run("y", priority=10, created_at=NOW),
    ]
    await store.create_runs(runs)
    assert await ids(store) == ["y", "z", "b", "c", "d", "a"]


async def test_the_first_in_order_are_taken_up_to_the_limit(store):
    await store.create_runs(
        [new_run(id, priority=n % 3, created_at=NOW - n) for n, id in enumerate("abcdefg")]
    )
    assert await ids(store, limit=2) == ["f", "c"]
    assert await ids(store, limit=1) == ["e"]
    assert await ids(store, limit=3) == ["b", "g", "d"]
    assert await ids(store, limit=3) == ["a"]
    assert await ids(store, limit=3) == []


async def test_a_stale_run_keeps_its_place(store):
    """A stale run is not preferred for being one."""
    await executing(store, "stale", created_at=NOW - 2)
    await mark_stale(store, "stale")
    await create(store, "pending", created_at=NOW - 3)
    await create(store, "late", created_at=NOW - 1)
    assert await ids(store) == ["pending", "stale", "late"]


async def test_a_run_that_waited_keeps_its_place(store):
    await bring(store, Status.WAITING, "waited", created_at=NOW - 5)  # until NOW + 60
    await create(store, "older", created_at=NOW - 6)
    await create(store, "newer", created_at=NOW - 4)
    assert await ids(store, now=NOW + 60) == ["older", "waited", "newer"]


async def test_only_known_jobs_are_claimed(store):
    await store.create_runs([new_run(job, job=job) for job in ("job", "Job", "job ", "other")])
    assert await ids(store, jobs=()) == []
    assert await ids(store, jobs=("nobody's", "other", "job")) == ["job", "other"]
    assert {row.id: row.status for row in (await everything(store))["runs"]} == {
        "job": "EXECUTING", "other": "EXECUTING", "Job": "PENDING", "job ": "PENDING",
    }  # fmt: skip


async def test_unknown_jobs_take_no_place_in_the_limit(store):
    await store.create_runs([new_run(f"u{n}", job="unknown", priority=9) for n in range(10)])
    await create(store, "known")
    assert await ids(store, limit=1) == ["known"]


@pytest.mark.parametrize("jobs", [("job",), ("job", "other")])
async def test_a_claim_finds_its_jobs_among_many(store, jobs):
    many = tuple(f"job-{n}" for n in range(300))
    await create(store, "mine", job="job-299")
    assert await ids(store, jobs=jobs) == []
    assert await ids(store, jobs=jobs + many) == ["mine"]


async def test_a_delayed_run_is_claimable_at_its_moment_and_never_early(store):
    await create(store, ready_at=NOW + 90.5)
    assert (await get(store)).claimable == 0
    assert await ids(store, now=NOW + 90.499) == []
    assert await ids(store, now=NOW + 90.5) == ["r"]


async def test_a_delay_does_not_change_the_order(store):
    await create(store, "delayed", created_at=NOW - 10, ready_at=NOW + 50)
    await create(store, "newer", created_at=NOW - 5)
    assert await ids(store, now=NOW + 50) == ["delayed", "newer"]


async def test_a_waiting_run_is_claimable_when_due_and_never_early(store):
    await executing(store)
    waiting = await settle(store, "r", Status.WAITING, ready_at=NOW + 7)
    assert (waiting.ready_at, waiting.claimable) == (NOW + 7, 0)
    assert await ids(store, now=NOW + 6.999) == []
    [found] = await claim(store, now=NOW + 7)
    assert (found.status, found.fresh) == ("WAITING", False)


async def test_a_due_run_may_have_been_made_claimable_by_a_worker_that_does_not_know_it(store):
    await create(store, ready_at=NOW + 5)
    assert await ids(store, jobs=("other",), now=NOW + 5) == []
    assert (await get(store)).claimable == 1
    assert await ids(store, now=NOW + 5) == ["r"]


@pytest.mark.parametrize("status", sorted(set(Status) - READY - {Status.STALE, Status.WAITING}))
async def test_a_run_that_is_not_claimable(store, status):
    await bring(store, status)
    before = await everything(store)
    assert await ids(store, now=NOW + 1e6) == []
    assert await everything(store) == before


async def test_a_cancelled_delay_never_starts(store):
    await create(store, ready_at=NOW + 5)
    await store.cancel_run("r", NOW)
    assert await store.next_due() is None
    assert await ids(store, now=NOW + 100) == []


# What a claim changes


async def test_a_first_claim(store):
    before = await create(store)
    [found] = await store.claim_runs("w", ["job"], 1, NOW + 3, "lock")
    after = before._replace(
        status="EXECUTING", worker="w", generation=1, started_at=NOW + 3, last_seen_at=NOW + 3, ready_at=None,
        claimable=0, seq=2,
    )  # fmt: skip
    assert found == Claim(after, "PENDING", True)
    assert await get(store) == after
    assert await store.leases() == [Lease("r", 1, "w", NOW + 3, "lock", 0.0)]
    events = await store.read_events("r", 0, 10)
    assert [(event.seq, event.at, event.type) for event in events] == [
        (1, NOW, "run.triggered"), (2, NOW + 3, "run.claimed"),
    ]  # fmt: skip
    assert events[1].data == claimed("w", 1, 1, "PENDING")


async def test_a_claim_after_a_crash(store):
    first = await executing(store)
    for seq in (3, 4):
        assert await store.save_step("r", 1, step(f"s{seq}", seq)) is None
    assert await store.save_step("r", 1, step("open")) is None
    await beat(store, first, NOW + 5, executed=4.5)
    await mark_stale(store, now=NOW + 40)
    [found] = await claim(store, "v", now=NOW + 41.5)
    assert (found.status, found.fresh) == ("STALE", False)
    row = found.run
    assert (row.generation, row.worker, row.attempt) == (3, "v", 1)
    assert (row.started_at, row.last_seen_at, row.executed) == (NOW, NOW + 41.5, 4.5)
    assert row.stale_reason is None
    assert await store.leases() == [Lease("r", 3, "v", NOW + 41.5, "lease", 4.5)]
    assert await types(store) == [
        "run.triggered", "run.claimed", "step.completed", "step.completed", "run.stale", "run.claimed",
        "run.resumed",
    ]  # fmt: skip
    events = await store.read_events("r", 5, 10)
    assert events[0].data == claimed("v", 3, 1, "STALE")
    assert events[1].data == resumed(2, NOW + 41.5, NOW + 5) == {"replayed": 2, "gap_ms": 36500}
    assert row.seq == events[1].seq == 7


async def test_a_claim_after_a_release(store):
    await executing(store)
    await store.save_step("r", 1, step("a", 3))
    await settle(store, "r", Status.PENDING, at=NOW + 2, executed=1.5)
    [found] = await claim(store, "v", now=NOW + 3)
    assert (found.status, found.fresh, found.run.started_at) == ("PENDING", False, NOW)
    [last] = await store.read_events("r", 5, 10)
    assert (last.type, last.data) == ("run.resumed", {"replayed": 1, "gap_ms": 1000})


async def test_a_claim_after_a_wait_is_no_interruption(store):
    await executing(store)
    await settle(store, "r", Status.WAITING, executed=1.5, attempt=2)
    [found] = await claim(store, now=NOW + 60)
    assert (found.run.started_at, found.run.attempt, found.run.executed) == (NOW, 2, 1.5)
    assert await types(store) == ["run.triggered", "run.claimed", "run.waiting", "run.claimed"]
    [event] = await store.read_events("r", 3, 10)
    assert event.data == claimed("w", 2, 2, "WAITING")


async def test_a_claim_counts_on_from_checkpoints_ahead_of_the_row(store):
    """The new owner counts from the last."""
    await executing(store)
    for seq in (3, 4, 5):
        await store.save_step("r", 1, step(f"s{seq}", seq))
    await mark_stale(store)
    [found] = await claim(store)
    assert found.run.seq == 8
    assert [found.seq for found in await store.read_events("r", 0, 100)] == list(range(1, 9))


async def test_a_claim_counts_on_from_failures_ahead_of_the_row(store):
    await executing(store)
    for seq in (3, 4, 5):
        await store.save_failure("r", 1, step(f"s{seq}"), event(seq))
    await mark_stale(store)
    [found] = await claim(store)
    assert found.run.seq == 8
    assert [found.seq for found in await store.read_events("r", 0, 100)] == list(range(1, 9))


# Many workers


async def test_four_workers_have_one_winner_in_each_of_100_rounds(store, other):
    for n in range(100):
        await create(store, f"{n:03}")
        found = await asyncio.gather(*(claim(h, w) for w, h in zip("abcd", (store, other) * 2, strict=True)))
        [(winner, run)] = [
            (worker, each.run) for worker, won in zip("abcd", found, strict=True) for each in won
        ]
        assert (run.id, run.worker, run.generation) == (f"{n:03}", winner, 1)
    leases = {lease.run_id: lease.worker for lease in await store.leases()}
    assert leases == {row.id: row.worker for row in (await everything(store))["runs"]}
    assert len(leases) == 100


async def test_two_workers_split_a_backlog(store, other):
    await store.create_runs([new_run(f"{n:03}") for n in range(150)])
    won = []

    async def worker(handle, name):
        while found := await claim(handle, name, limit=7):
            assert all(each.run.worker == name for each in found)
            won.extend(each.run.id for each in found)
            assert len(won) <= 150

    await asyncio.gather(worker(store, "a"), worker(other, "b"))
    assert sorted(won) == [f"{n:03}" for n in range(150)]


async def test_a_claim_is_seen_by_others_once_it_returned(store, other):
    await create(store)
    [found] = await claim(store)
    assert await get(other) == found.run
    assert await claim(other) == []
    assert await other.leases() == await store.leases()


# When to look again


async def test_next_due_is_the_earliest_that_is_not_claimable_yet(store):
    assert await store.next_due() is None
    await create(store, "now")
    assert await store.next_due() is None
    await create(store, "late", ready_at=NOW + 90)
    assert await store.next_due() == NOW + 90
    await claim(store)
    await settle(store, "now", Status.WAITING, ready_at=NOW + 30.5)
    assert await store.next_due() == NOW + 30.5
    await claim(store, now=NOW + 30.5)
    assert await store.next_due() == NOW + 90
    await store.cancel_run("late", NOW)
    assert await store.next_due() is None


async def test_next_due_counts_what_is_due_until_a_claim_has_looked(store):
    await create(store, ready_at=NOW + 5, job="unknown")
    assert await store.next_due() == NOW + 5
    await claim(store, now=NOW + 5)
    assert await store.next_due() is None


async def test_runs_whose_job_lacks_connections(store, other):
    """All can see why they don't start, and whoever has the connections can claim them."""
    released = await executing(store, "c", priority=2)
    await settle(store, "c", Status.PENDING)
    await create(store, "late", ready_at=NOW + 5)
    await create(store, "other", job="other")
    for id, priority in (("a", 0), ("b", 1)):
        await create(store, id, priority=priority)
    before = {id: await get(store, id) for id in ("late", "other", "a", "b", "c")}
    await store.lack_connections(["none", "job"])
    for id, row in before.items():
        waits = Status.PENDING if id in ("late", "other") else Status.WAITING_ON_CONNECTIONS
        assert await get(other, id) == row._replace(status=waits)
    again = await everything(store)
    await other.lack_connections(["job"])
    await other.lack_connections([])
    assert await everything(store) == again
    claims = await claim(other, limit=2)
    assert [(one.run.id, one.status) for one in claims] == [
        ("c", "WAITING_ON_CONNECTIONS"),
        ("b", "WAITING_ON_CONNECTIONS"),
    ]
    assert claims[0].run.generation == released.generation + 2
    assert (await get(store, "b")).status == Status.EXECUTING
    await store.lack_connections(["job"])
    assert (await get(store, "b")).status == Status.EXECUTING
    await store.cancel_run("a", NOW)
    assert (await get(store, "a")).status == Status.CANCELLED


async def test_one_that_waits_for_connections_makes_way_for_whoever_goes_before(store):
    await limit(store, concurrency=1)
    await create(store, "a")
    await store.lack_connections(["job"])
    await create(store, "b", priority=1)
    assert [(await get(store, id)).status for id in "ab"] == ["QUEUED", "PENDING"]
    assert await ids(store) == ["b"]


async def test_only_some_versions_of_a_job(store, other):
    for id, version, priority in (("a", None, 0), ("b", "1", 0), ("c", "2", 1), ("d", "1", 2), ("e", "3", 3)):
        await create(store, id, version=version, priority=priority)
    await create(store, "x", job="other", version="9")

    async def take(limit, versions):
        found = await other.claim_runs("w", ["job", "other"], limit, NOW, "lease", versions)
        return [one.run.id for one in found]

    assert await take(9, {"job": [], "other": [""]}) == []
    assert await take(1, {"job": ["1", "2"], "other": []}) == ["d"]
    assert await take(9, {"job": ["1", "2"], "none": []}) == ["c", "b", "x"]
    assert await take(9, {"job": ["", "7"]}) == ["a"]
    assert await take(9, {}) == ["e"]
