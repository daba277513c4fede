"""Queues with a `rate`: how many of their runs start in any stretch of time that is so long."""

import asyncio

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from durable_lite.records import Wakes
from durable_lite.status import Status
from tests.conformance.build import (
    NOW,
    claim,
    create,
    executing,
    family,
    get,
    ids,
    limit,
    look,
    mark_stale,
    new_run,
    settle,
    statuses,
)


async def two_in_ten_seconds(store, *runs):
    await limit(store, rate=2, period=10.0)
    await store.create_runs([new_run(id) for id in runs])


async def test_so_many_start_and_the_next_when_time_has_passed(store, other):
    await two_in_ten_seconds(store, *"abcde")
    assert await ids(store) == ["a", "b"]
    assert await statuses(store) == {
        "a": "EXECUTING", "b": "EXECUTING", "c": "QUEUED", "d": "QUEUED", "e": "QUEUED",
    }  # fmt: skip
    for handle in (store, other):
        assert await handle.next_due() == NOW + 10
        assert await ids(handle, now=NOW + 9.99) == []
    assert await ids(other, now=NOW + 10) == ["c", "d"]
    assert await store.next_due() == NOW + 20
    assert await ids(store, now=NOW + 20) == ["e"]
    assert await store.next_due() is None


async def test_the_window_slides(store, other):
    await two_in_ten_seconds(store, *"abcdef")
    assert await ids(store, limit=1) == ["a"]
    assert await ids(other, limit=1, now=NOW + 4) == ["b"]
    assert await store.next_due() == NOW + 10
    assert await ids(store, now=NOW + 11) == ["c"]
    assert await other.next_due() == NOW + 14
    assert await ids(store, now=NOW + 13.9) == []
    assert await ids(other, now=NOW + 14) == ["d"]
    assert await ids(store, now=NOW + 20.9) == []
    assert await ids(store, now=NOW + 50) == ["e", "f"]


@pytest.mark.parametrize("how", [Status.COMPLETED, Status.FAILED, Status.WAITING, Status.CANCELLED, "delete"])
async def test_who_has_started_counts_whatever_became_of_it(store, how):
    await two_in_ten_seconds(store, *"abc")
    await claim(store)
    await settle(store, "a", Status.COMPLETED if how == "delete" else how)
    if how == "delete":
        await store.delete_run("a")
    assert await ids(store, now=NOW + 9.9) == []
    assert await store.next_due() == NOW + 10
    assert await ids(store, now=NOW + 10) == ["c"]


@pytest.mark.parametrize("how", ["cancel", "move", "expire"])
async def test_who_ends_before_it_starts_leaves_its_chance_to_another(store, how):
    await limit(store, rate=1, period=10.0)
    await create(store, "a", expires_at=NOW + 1)
    await create(store, "b")
    assert await statuses(store) == {"a": "PENDING", "b": "QUEUED"}
    assert await store.next_due() == NOW + 1
    if how != "expire":
        await (store.cancel_run("a", NOW) if how == "cancel" else store.move_run("a", NOW))
        assert (await get(store, "b")).status == "PENDING"
    assert await ids(store, now=NOW + 1) == ["b"]


async def test_only_first_claims_count(store):
    """Who has started goes on, whatever the rate is; and nobody waits longer for that."""
    await limit(store, rate=1, period=10.0)
    await executing(store, "a")
    await create(store, "b")
    for n in range(1, 5):
        await (mark_stale(store, "a") if n % 2 else settle(store, "a", Status.PENDING))
        assert await ids(store, now=NOW + n) == ["a"]
    await settle(store, "a", Status.WAITING, ready_at=NOW + 6)
    assert await ids(store, now=NOW + 6) == ["a"]
    await settle(store, "a", Status.FAILED)
    assert (await store.resume_run("a", NOW + 7)).status == "PENDING"
    assert await ids(store, now=NOW + 7) == ["a"]
    assert await store.next_due() == NOW + 10
    assert await ids(store, now=NOW + 10) == ["b"]


async def test_a_rate_holds_up_nobody_who_has_started(store):
    """It stands in line for a place, behind one who waits for time to pass."""
    await limit(store, rate=2, period=10.0, concurrency=2)
    await executing(store, "a", created_at=NOW + 0.5)
    await executing(store, "b")
    await settle(store, "a", Status.WAITING, ready_at=NOW + 1)
    await create(store, "urgent", priority=9)
    await limit(store, rate=2, period=10.0, concurrency=1)
    await look(store, NOW + 1)
    assert await statuses(store) == {"a": "QUEUED", "b": "EXECUTING", "urgent": "QUEUED"}
    await settle(store, "b", Status.COMPLETED)
    assert await statuses(store) == {"a": "PENDING", "b": "COMPLETED", "urgent": "QUEUED"}
    assert await ids(store, now=NOW + 1) == ["a"]


async def test_a_new_run_goes_before_one_that_was_never_claimed(store):
    await two_in_ten_seconds(store, *"nop")
    assert (await create(store, "a")).status == "PENDING"
    assert await statuses(store) == {"a": "PENDING", "n": "PENDING", "o": "QUEUED", "p": "QUEUED"}
    assert await ids(store) == ["a", "n"]
    assert (await create(store, "b", priority=9)).status == "QUEUED"
    assert await ids(store, now=NOW + 10) == ["b", "o"]


@pytest.mark.parametrize("fields", [{"created_at": NOW + 11}, {"priority": -1}], ids=["new", "unimportant"])
async def test_a_new_run_does_not_pass_those_whose_time_has_come(store, fields):
    """Nobody has looked since it came."""
    await two_in_ten_seconds(store, *"abcd")
    await claim(store)
    await create(store, "z", **({"created_at": NOW + 11} | fields))
    assert await ids(store, now=NOW + 11) == ["c", "d"]
    assert (await get(store, "z")).status == "QUEUED"


@pytest.mark.parametrize("urgent", [True, False])
async def test_who_is_due_with_the_rate_takes_its_turn(store, urgent):
    await limit(store, rate=1, period=10.0)
    await executing(store, "a")
    await create(store, "b")
    await create(store, "late", ready_at=NOW + 10, priority=9 if urgent else -9)
    assert await ids(store, now=NOW + 10) == ["late" if urgent else "b"]
    assert await ids(store, now=NOW + 20) == ["b" if urgent else "late"]


async def test_a_rate_and_a_concurrency(store):
    await limit(store, rate=2, period=10.0, concurrency=1)
    await store.create_runs([new_run(id) for id in "abcd"])
    assert await ids(store) == ["a"]
    assert await ids(store, now=NOW + 100) == []
    await settle(store, "a", Status.COMPLETED, at=NOW + 101)
    assert await ids(store, now=NOW + 101) == ["b"]
    await settle(store, "b", Status.COMPLETED, at=NOW + 102)
    assert await ids(store, now=NOW + 102) == ["c"]
    await settle(store, "c", Status.COMPLETED, at=NOW + 103)
    assert await ids(store, now=NOW + 110.9) == []
    assert await store.next_due() == NOW + 111
    assert await ids(store, now=NOW + 111) == ["d"]


async def test_children_count(store):
    await limit(store, rate=2, period=10.0)
    await family(store, "a")
    await create(store, "b")
    await settle(store, "r", Status.WAITING, wakes=Wakes(children=("a",)), ready_at=None)
    await settle(store, "a", Status.COMPLETED, at=NOW + 1)
    assert await ids(store, now=NOW + 1) == ["r"]
    assert await ids(store, now=NOW + 10) == ["b"]


async def test_a_rate_of_one_queue_is_its_own(store):
    for queue in ("one", "two"):
        await limit(store, queue, rate=1, period=10.0)
    runs = [new_run(f"{queue} {n}", queue=queue) for queue in ("one", "two", "free") for n in range(2)]
    await store.create_runs(runs)
    assert await ids(store) == ["free 0", "free 1", "one 0", "two 0"]


async def test_a_rate_that_changes_holds_at_once(store):
    await two_in_ten_seconds(store, *"abcdef")
    await claim(store)
    await limit(store, rate=3, period=10.0)
    assert await ids(store) == ["c"]
    await limit(store, rate=1, period=10.0, now=NOW + 5)
    assert await ids(store, now=NOW + 5) == []
    assert await ids(store, now=NOW + 10) == ["d"]
    await limit(store, rate=1, period=3.0, now=NOW + 10)
    assert await ids(store, now=NOW + 13) == ["e"]
    await limit(store, now=NOW + 13)
    assert await ids(store, now=NOW + 13) == ["f"]


async def test_a_paused_queue_lets_nobody_start_whose_time_has_come(store):
    await two_in_ten_seconds(store, *"abc")
    await claim(store)
    await store.pause_queue("default", True, NOW)
    assert await ids(store, now=NOW + 10) == []
    await store.pause_queue("default", False, NOW + 11)
    assert await ids(store, now=NOW + 11) == ["c"]


@settings(max_examples=settings.default.max_examples // 2)
@example(at=1024.0, period=0.1, rate=1, looks=False)  # (at + period) - period < at
@given(
    at=st.floats(NOW, NOW * 1e6),
    period=st.sampled_from([0.1, 0.3, 1.0, 1 / 3, 60.0, 3600.0, 86400.0]),
    rate=st.integers(1, 3),
    looks=st.booleans(),
)
async def test_the_next_starts_exactly_when_next_due_says(store, at, period, rate, looks):
    """A worker that looks at that very moment must not find that it is too early."""
    await limit(store, rate=rate, period=period, now=at)
    await store.create_runs([new_run(f"{n}", created_at=at) for n in range(rate + 1)])
    assert len(await claim(store, now=at)) == rate
    due = await store.next_due()
    assert due == at + period
    if looks:
        assert await ids(store, now=due) == [f"{rate}"]
    else:  # one that comes at that moment finds the same
        await store.cancel_run(f"{rate}", at)
        assert (await create(store, "new", created_at=due)).status == "PENDING"


@settings(max_examples=settings.default.max_examples // 3)
@given(
    rate=st.integers(1, 3),
    waits=st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]), min_size=5, max_size=25),
    limits=st.lists(st.integers(1, 3), min_size=25, max_size=25),
    lags=st.lists(st.sampled_from([0.0, 0.0, 0.5, 5.0]), min_size=25, max_size=25),
)
@example(3, [0.0, 2.0, 3.5, 0.0, 2.0, 0.5], [1, 1, 1, 1, 2, 1], [0.0, 0.5, 0.0, 0.0, 0.0, 5.0])
async def test_any_sequence_of_claims_keeps_to_the_rate(store, other, rate, waits, limits, lags):
    """In any window as long as the period, by two workers, among runs that also wait and fail.

    Some claims have waited for the store while others came and went: they start at an earlier moment.
    """
    await limit(store, rate=rate, period=4.0)
    now, started = NOW, []
    for n, (wait, most, lag) in enumerate(zip(waits, limits, lags, strict=False)):
        await create(store, f"{n:02}", created_at=now, ready_at=now + wait % 2, priority=n % 3)
        now += wait
        for found in await claim((store, other)[n % 2], limit=most, now=now - lag):
            if found.fresh:
                assert now - lag <= found.run.started_at <= now
                started.append(found.run.started_at)
                assert all(sum(at - 4.0 < each <= at for each in started) <= rate for at in started)
            done = [Status.COMPLETED, Status.WAITING, Status.PENDING][n % 3]
            await settle(store, found.run.id, done, at=now, ready_at=now if done == Status.WAITING else None)
    await look(store, now)
    while len(started) < min(len(waits), len(limits)):
        now = max(now, await store.next_due() or now)
        found = await claim(other, now=now)
        started += [now] * sum(each.fresh for each in found)
        assert found
        assert sum(at > now - 4.0 for at in started) <= rate


async def test_who_waited_for_the_store_starts_when_its_place_was_free(store, other):
    """Another has seen by then that the time of `a` and `b` is over, and has given their places away."""
    await two_in_ten_seconds(store, *"abcdef")
    await claim(store)
    await look(store, NOW + 10)
    assert await ids(other, now=NOW + 9) == ["c", "d"]
    for id in "cd":
        assert (await get(store, id)).started_at == NOW + 10
    assert await ids(store, now=NOW + 19.5) == []
    assert await store.next_due() == NOW + 20
    assert await ids(store, now=NOW + 20) == ["e", "f"]


async def test_a_clock_that_is_far_ahead_holds_nobody_up_for_longer_than_its_starts(store, other):
    await two_in_ten_seconds(store, *"abcd")
    assert await ids(store, limit=1, now=NOW + 3600) == ["a"]
    assert await ids(other, limit=1) == ["b"]
    assert (await get(store, "b")).started_at == NOW
    assert await ids(other, limit=1, now=NOW + 10) == ["c"]


async def test_two_workers_at_once_keep_to_the_rate(store, other):
    await limit(store, rate=5, period=10.0)
    await store.create_runs([new_run(f"{n:02}") for n in range(30)])
    for n in range(6):
        found = await asyncio.gather(
            *(
                ids(handle, worker=name, limit=4, now=NOW + 10 * n)
                for handle, name in zip((store, other) * 2, "abcd", strict=True)
            )
        )
        assert sorted(id for each in found for id in each) == [f"{k:02}" for k in range(5 * n, 5 * n + 5)]
