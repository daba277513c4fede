"""Limits that change, and queues that are paused."""

import pytest

from durable_lite.records import QueueRow, Wakes
from durable_lite.status import Status
from tests.conformance.build import (
    NOW,
    beat,
    counts,
    create,
    executing,
    family,
    get,
    ids,
    limit,
    look,
    mark_stale,
    new_run,
    promise,
    settle,
    statuses,
    step,
)
from tests.conformance.state import everything

# Limits that change


async def test_a_lower_limit_holds_at_once(store, other):
    await limit(store, concurrency=4)
    await store.create_runs([new_run(id) for id in "abcd"])
    assert await ids(store, limit=2) == ["a", "b"]
    await limit(other, concurrency=1)
    assert await statuses(store) == {"a": "EXECUTING", "b": "EXECUTING", "c": "QUEUED", "d": "QUEUED"}
    await settle(store, "a", Status.COMPLETED)
    assert await ids(store) == []
    await settle(store, "b", Status.COMPLETED)
    assert await ids(store) == ["c"]


@pytest.mark.parametrize("limits", [{"concurrency": 3}, {}], ids=["more", "none"])
async def test_a_higher_limit_holds_at_once(store, other, limits):
    await limit(store, concurrency=1)
    await executing(store, "a")
    await store.create_runs([new_run(id) for id in "bcd"])
    await limit(other, **limits)
    free = "bc" if limits else "bcd"
    assert await statuses(store) == {
        "a": "EXECUTING", **{id: "PENDING" if id in free else "QUEUED" for id in "bcd"},
    }  # fmt: skip
    assert await ids(store) == list(free)


async def test_a_first_limit_counts_those_that_are_there(store):
    await executing(store, "a")
    await executing(store, "stale")
    await mark_stale(store, "stale")
    await create(store, "b")
    await create(store, "late", ready_at=NOW + 5)
    await limit(store, concurrency=3)
    assert await counts(store) == (0, 3)
    await limit(store, concurrency=2)
    assert await statuses(store) == {"a": "EXECUTING", "b": "QUEUED", "late": "PENDING", "stale": "STALE"}
    assert await ids(store, now=NOW + 5) == ["stale"]
    assert (await get(store, "late")).status == "QUEUED"


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_who_is_due_may_lose_its_place_to_a_limit(store, concurrency):
    """A claim, of somebody who can't take it, has made it claimable."""
    for id in "ab":
        await executing(store, id)
    await settle(store, "a", Status.WAITING, ready_at=NOW)
    await look(store)
    assert (await get(store, "a")).claimable == 1
    await limit(store, concurrency=concurrency)
    assert (await get(store, "a")).claimable == int(concurrency > 1)
    await settle(store, "b", Status.COMPLETED)
    assert await ids(store) == ["a"]


@pytest.mark.parametrize("status", [Status.EXECUTING, Status.STALE, Status.PENDING])
async def test_who_is_inside_goes_on_whatever_the_limits_become(store, status):
    for id in "abc":
        await executing(store, id)
    if status == Status.STALE:
        await mark_stale(store, "b")
    if status == Status.PENDING:
        await settle(store, "b", status)
    await limit(store, concurrency=1)
    await store.pause_queue("default", True, NOW)
    assert await counts(store) == (0, 3)
    assert await statuses(store) == {"a": "EXECUTING", "b": status, "c": "EXECUTING"}
    assert await ids(store) == ([] if status == Status.EXECUTING else ["b"])


async def test_limits_of_one_queue_change_no_other(store):
    await limit(store, "one", concurrency=1)
    await store.create_runs([new_run(f"{queue} {n}", queue=queue) for queue in ("one", "two") for n in "ab"])
    before = await everything(store)
    await limit(store, "two", concurrency=5)
    after = await everything(store)
    assert [after[id] for id in ("one a", "one b")] == [before[id] for id in ("one a", "one b")]
    assert await ids(store) == ["one a", "two a", "two b"]


# Pause


async def test_nothing_of_a_paused_queue_starts(store, other):
    await create(store, "a")
    await store.pause_queue("default", True, NOW)
    await create(store, "b", priority=9)
    await create(store, "late", ready_at=NOW + 5)
    assert await ids(other, now=NOW + 5) == []
    assert await statuses(store) == dict.fromkeys(("a", "b", "late"), "QUEUED")
    assert await counts(store) == (3, 0)
    await other.pause_queue("default", False, NOW + 6)
    assert await statuses(store) == dict.fromkeys(("a", "b", "late"), "PENDING")
    assert await ids(store) == ["b", "a", "late"]


@pytest.mark.parametrize("by", ["time", "token", "child"])
async def test_nothing_of_a_paused_queue_goes_on_after_a_wait(store, by):
    await family(store, "a")
    await promise(store)
    wakes = Wakes(tokens=("t",), children=("a",))
    await settle(store, "r", Status.WAITING, wakes=wakes, ready_at=NOW + (5 if by == "time" else 500))
    await store.pause_queue("default", True, NOW)
    if by == "token":
        await store.finish_token("t", "completed", "1", None, NOW + 5)
    if by == "child":
        await settle(store, "a", Status.COMPLETED, at=NOW + 5)
    assert await ids(store, now=NOW + 5) == []
    assert (await get(store)).status == "QUEUED"
    await store.pause_queue("default", False, NOW + 6)
    assert await ids(store) == ["r"]


async def test_what_executes_in_a_paused_queue_goes_on(store):
    row = await executing(store)
    await store.pause_queue("default", True, NOW)
    await beat(store, row, NOW + 5)
    assert await store.save_step("r", 1, step("a", 3)) is None
    await mark_stale(store)
    assert await ids(store) == ["r"]
    await settle(store, "r", Status.PENDING)
    assert await ids(store) == ["r"]
    assert (await settle(store, "r", Status.COMPLETED)).status == "COMPLETED"
    assert await counts(store) == (0, 0)


async def test_who_was_due_but_not_claimed_is_paused(store):
    await executing(store)
    await settle(store, "r", Status.WAITING, ready_at=NOW)
    await look(store)
    assert (await get(store)).claimable == 1
    await store.pause_queue("default", True, NOW)
    assert await statuses(store) == {"r": "QUEUED"}
    assert await ids(store, now=NOW + 1e6) == []


async def test_a_queue_goes_on_in_order_and_within_its_limits(store):
    await limit(store, concurrency=2)
    await executing(store, "executes")
    await store.pause_queue("default", True, NOW)
    runs = [new_run(f"{n}", priority=n % 3, created_at=NOW + n) for n in range(6)]
    await store.create_runs(runs)
    await store.pause_queue("default", False, NOW)
    assert await counts(store) == (5, 2)
    order = await ids(store)
    for last in ("executes", "2", "5", "1", "4", "0"):
        await settle(store, last, Status.COMPLETED)
        order += await ids(store)
    assert order == ["2", "5", "1", "4", "0", "3"]


async def test_limits_leave_it_paused(store):
    await store.pause_queue("default", True, NOW)
    await create(store)
    for limits in ({"concurrency": 5}, {"paused": 0}, {"rate": 1, "period": 1.0}):
        await limit(store, **limits)
        [state] = await store.list_queues()
        assert state.queue == QueueRow("default", **limits | {"paused": 1})
        assert await ids(store) == []
    await limit(store, "other", paused=1)
    assert [state.queue.paused for state in await store.list_queues()] == [1, 0]
    await store.pause_queue("default", False, NOW)
    assert await ids(store) == ["r"]
