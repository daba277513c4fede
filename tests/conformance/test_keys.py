"""Concurrency keys: of the runs that have one, one goes on at a time, from its first claim to its end."""

import asyncio

import pytest

from durable_lite.records import Refusal
from durable_lite.status import FINAL, Status
from tests.conformance.build import (
    ENDS,
    NOW,
    Ear,
    claim,
    create,
    end,
    executing,
    get,
    ids,
    limit,
    look,
    mark_stale,
    new_run,
    settle,
    settlement,
    statuses,
)
from tests.conformance.state import everything

KEY = '["acme"]'


async def holder_and(store, *waiting, **fields):
    """ "a" executes and has the key; the others stand in line for it."""
    await executing(store, "a", concurrency_key=KEY, **fields)
    await store.create_runs([new_run(id, concurrency_key=KEY) for id in waiting])
    assert await statuses(store) == {"a": "EXECUTING"} | dict.fromkeys(waiting, "QUEUED")


# One at a time


async def test_one_of_a_key_executes_at_a_time(store, other):
    runs = [
        new_run("a", concurrency_key=KEY), new_run("b", concurrency_key=KEY, job="other"),
        new_run("c", concurrency_key=KEY, queue="another"),
    ]  # fmt: skip
    made = [found.run for found in await store.create_runs(runs)]
    assert [(row.status, row.claimable, row.blocked, row.key_held) for row in made] == [
        ("PENDING", 1, None, 1), *[("QUEUED", 0, "key", 0)] * 2,
    ]  # fmt: skip
    for handle, id in ((store, "a"), (other, "b"), (store, "c")):
        assert await ids(handle, jobs=("job", "other")) == [id]
        assert await ids(other, jobs=("job", "other")) == []
        await settle(handle, id, Status.COMPLETED)


async def test_different_keys_overlap(store):
    keys = ['["acme"]', '["Acme"]', '["acme",1]', '["acme "]', None, None]
    await store.create_runs([new_run(f"{n}", concurrency_key=key) for n, key in enumerate(keys)])
    assert len(await claim(store)) == len(keys)


@pytest.mark.parametrize("how", ENDS)
async def test_each_end_frees_the_key(store, how):
    await holder_and(store, "b", "c")
    before = await get(store, "b")
    await end(store, "a", how)
    assert await get(store, "b") == before._replace(status="PENDING", claimable=1, key_held=1, blocked=None)
    assert (await get(store, "a")).key_held == 0
    assert await ids(store) == ["b"]


@pytest.mark.parametrize("status", sorted(set(ENDS.values())))
async def test_delete_and_purge_free_nothing_that_another_has(store, status):
    await holder_and(store, "b", "c")
    await settle(store, "a", status)
    await claim(store)
    before = await get(store, "b")
    await store.delete_run("a")
    await settle(store, "b", status)
    await claim(store)
    assert await store.purge(NOW + 1, 10) == 1
    assert before.key_held == 1
    assert await statuses(store) == {"c": "EXECUTING"}


@pytest.mark.parametrize("how", ["wait", "back-off", "stale", "release", "due", "claimed again"])
async def test_the_key_is_held_until_the_end(store, how):
    await holder_and(store)
    await create(store, "b", concurrency_key=KEY, priority=9)
    if how in ("wait", "due"):
        await settle(store, "a", Status.WAITING, ready_at=NOW if how == "due" else None)
    if how == "due":
        await look(store)
    if how == "back-off":
        await settle(store, "a", Status.WAITING, error='{"type": "E"}')
    if how in ("stale", "claimed again"):
        await mark_stale(store, "a")
    if how == "release":
        await settle(store, "a", Status.PENDING)
    if how == "claimed again":
        await claim(store)
    assert (await get(store, "a")).key_held == 1
    assert (await get(store, "b")).status == "QUEUED"
    assert (await create(store, "0", concurrency_key=KEY, priority=99, created_at=NOW - 9)).status == "QUEUED"
    again = [] if how in ("wait", "claimed again") else ["a"]
    assert await ids(store, now=NOW + 60) == again


async def test_a_stale_holder_goes_on_first(store):
    """And a second of the key after it: both finish, never at the same time."""
    await holder_and(store)
    await mark_stale(store, "a")
    await create(store, "b", concurrency_key=KEY, priority=9)
    for id in "ab":
        assert await ids(store) == [id]
        assert await ids(store) == []
        await settle(store, id, Status.COMPLETED)


async def test_the_line_is_in_the_order_of_claims(store):
    await executing(store, "first", concurrency_key=KEY)
    fields = [("d", 0, -1), ("c", 0, -2), ("b", 0, -2), ("a", -5, -9), ("z", 7, 0)]
    await store.create_runs(
        [new_run(id, concurrency_key=KEY, priority=p, created_at=NOW + at) for id, p, at in fields]
    )
    last, order = "first", []
    for _ in fields:
        await settle(store, last, Status.COMPLETED)
        [last] = await ids(store)
        order.append(last)
    assert order == ["z", "b", "c", "d", "a"]


@pytest.mark.parametrize("before", [{"priority": 1}, {"created_at": NOW - 1}, {"id": "a"}])
@pytest.mark.parametrize("place", ["has", "has not"])
async def test_a_new_run_goes_before_a_holder_that_was_never_claimed(store, before, place):
    """Whether that one has a place in its queue or stands in line for it."""
    if place == "has not":
        await store.pause_queue("paused", True, NOW)
    await create(store, "m", concurrency_key=KEY, queue="default" if place == "has" else "paused")
    assert (await get(store, "m")).key_held == 1
    made = await create(store, **({"id": "z", "concurrency_key": KEY} | before))
    assert (made.status, made.key_held) == ("PENDING", 1)
    old = await get(store, "m")
    assert (old.status, old.blocked, old.key_held, old.slot) == ("QUEUED", "key", 0, 0)
    assert await ids(store) == [made.id]
    assert (await create(store, "0", concurrency_key=KEY, priority=9)).status == "QUEUED"


@pytest.mark.parametrize("fields", [{}, {"priority": -1}, {"created_at": NOW + 1, "id": "a"}])
async def test_a_new_run_that_comes_later_in_order_goes_behind(store, fields):
    await create(store, "m", concurrency_key=KEY)
    assert (await create(store, **({"id": "z", "concurrency_key": KEY} | fields))).status == "QUEUED"
    assert await ids(store) == ["m"]


async def test_who_loses_the_key_gives_up_its_place_in_the_queue(store):
    await limit(store, "q", concurrency=1)
    await create(store, "m", concurrency_key=KEY, queue="q")
    await create(store, "next", queue="q")
    await create(store, "a", concurrency_key=KEY)
    assert await statuses(store) == {"a": "PENDING", "m": "QUEUED", "next": "PENDING"}
    assert await ids(store) == ["a", "next"]
    await settle(store, "a", Status.COMPLETED)
    assert (await get(store, "m")).blocked == "queue"
    await settle(store, "next", Status.COMPLETED)
    assert await ids(store) == ["m"]


@pytest.mark.parametrize("why", ["its queue is paused", "others of its queue come first"])
async def test_so_it_does_for_one_that_has_to_wait_for_its_own_queue(store, why):
    await limit(store, "q", concurrency=1)
    await limit(store, "slow", rate=1, period=10.0)
    await executing(store, "x", queue="slow")
    await create(store, "y", queue="slow", priority=9)
    if why == "its queue is paused":
        await store.pause_queue("slow", True, NOW)
    await create(store, "m", concurrency_key=KEY, queue="q")
    await create(store, "next", queue="q")
    row = await create(store, "a", concurrency_key=KEY, queue="slow", priority=1, created_at=NOW + 11)
    assert (row.blocked, row.key_held) == ("queue", 1)
    assert (await get(store, "m")).blocked == "key"
    assert (await get(store, "next")).status == "PENDING"
    assert (await get(store, "y")).status == ("QUEUED" if "paused" in why else "PENDING")


async def test_a_delayed_run_takes_the_key_when_it_is_due(store):
    late = await create(store, "late", concurrency_key=KEY, ready_at=NOW + 5)
    assert (late.status, late.key_held, late.claimable) == ("PENDING", 0, 0)
    await executing(store, "now", concurrency_key=KEY)
    await look(store, NOW + 5)
    assert await statuses(store) == {"late": "QUEUED", "now": "EXECUTING"}
    await settle(store, "now", Status.COMPLETED)
    assert await ids(store, now=NOW + 5) == ["late"]


async def test_a_resumed_run_takes_the_key_again(store):
    await holder_and(store, "b")
    await settle(store, "a", Status.FAILED)
    await claim(store)
    assert (await store.resume_run("a", NOW)).blocked == "key"
    await settle(store, "b", Status.FAILED)
    assert (await get(store, "a")).key_held == 1
    assert (await store.resume_run("b", NOW)).blocked == "key"
    assert await ids(store) == ["a"]


async def test_a_moved_run_leaves_without_its_key(store, other):
    from durable_lite.moving import gather

    await holder_and(store, "b")
    moved = await gather(store, await store.move_run("a", NOW))
    assert await ids(store) == ["b"]
    row = await other.import_run(moved, NOW + 1)
    assert (row.status, row.concurrency_key, row.key_held) == ("PENDING", None, 0)
    assert await ids(store, now=NOW + 1) == ["a"]


# Keys and queues


@pytest.mark.parametrize("how", ["cancel", "move", "expire", "pass the deadline"])
async def test_a_holder_that_stands_in_line_for_its_queue_frees_the_key(store, how):
    await store.pause_queue("paused", True, NOW)
    when = {"expire": {"expires_at": NOW + 5}, "pass the deadline": {"deadline": NOW + 5}}.get(how, {})
    await create(store, "a", concurrency_key=KEY, queue="paused", **when)
    await create(store, "b", concurrency_key=KEY)
    assert [(row.blocked, row.key_held) for row in await store.get_runs(["a", "b"])] == [
        ("queue", 1),
        ("key", 0),
    ]
    if how in ("cancel", "move"):
        await (store.cancel_run("a", NOW) if how == "cancel" else store.move_run("a", NOW))
    assert await ids(store, now=NOW + 5) == ["b"]
    assert (await get(store, "a")).status in FINAL


@pytest.mark.parametrize("how", ["cancel", "move"])
async def test_who_leaves_the_line_leaves_it(store, how):
    await holder_and(store, "b", "c")
    await (store.cancel_run("b", NOW) if how == "cancel" else store.move_run("b", NOW))
    assert (await get(store, "a")).key_held == 1
    assert await ids(store) == []
    await settle(store, "a", Status.COMPLETED)
    assert await ids(store) == ["c"]


async def test_who_waits_for_the_key_holds_no_place_in_its_queue(store):
    await limit(store, concurrency=1)
    await executing(store, "a", concurrency_key=KEY, queue="other")
    await create(store, "b", concurrency_key=KEY, priority=9)
    await create(store, "c")
    assert await ids(store) == ["c"]
    await settle(store, "a", Status.COMPLETED)
    assert (await get(store, "b")).blocked == "queue"
    await settle(store, "c", Status.COMPLETED)
    assert await ids(store) == ["b"]


async def test_queues_of_one_and_keys_that_cross_do_not_lock_each_other(store):
    for queue in ("one", "two"):
        await limit(store, queue, concurrency=1)
    runs = [
        new_run(f"{queue} {key} {n}", queue=queue, concurrency_key=key)
        for n in range(3)
        for queue, key in (("one", "k"), ("two", "l"), ("one", "l"), ("two", "k"))
    ]
    await store.create_runs(runs)
    done = []
    for n in range(50):
        for id in await ids(store, now=NOW + n):
            waits = n % 3 == 0 and len(done) < 8
            await settle(
                store, id, Status.WAITING if waits else Status.COMPLETED, ready_at=NOW if waits else None
            )
            done += [] if waits else [id]
    assert sorted(done) == sorted(run.id for run in runs)


# Scope


async def test_a_key_of_executions_is_free_in_waits(store):
    await limit(store, key_scope="execution")
    await holder_and(store, "b")
    await settle(store, "a", Status.WAITING, ready_at=NOW + 5)
    assert ((await get(store, "a")).key_held, (await get(store, "b")).key_held) == (0, 1)
    assert await ids(store) == ["b"]
    await look(store, NOW + 5)
    assert (await get(store, "a")).blocked == "key"
    await settle(store, "b", Status.WAITING, ready_at=NOW + 6)
    assert await ids(store, now=NOW + 5) == ["a"]
    assert await ids(store, now=NOW + 6) == []
    await settle(store, "a", Status.COMPLETED)
    assert await ids(store, now=NOW + 6) == ["b"]


@pytest.mark.parametrize("status", [Status.STALE, Status.PENDING])
async def test_a_key_of_executions_is_held_by_who_was_interrupted(store, status):
    await limit(store, key_scope="execution")
    await holder_and(store, "b")
    await (mark_stale(store, "a") if status == Status.STALE else settle(store, "a", status))
    assert await ids(store) == ["a"]


# Several at once, hints, repeated calls


async def test_two_workers_never_execute_two_of_a_key(store, other):
    keys = [f'["{n % 3}"]' for n in range(30)]
    await store.create_runs([new_run(f"{n:02}", concurrency_key=key) for n, key in enumerate(keys)])
    executing, done, most = set(), [], 0

    async def worker(handle, name):
        nonlocal most
        for n in range(400):
            found = await claim(handle, name, limit=2)
            for each in found:
                assert each.run.concurrency_key not in executing
                executing.add(each.run.concurrency_key)
            most = max(most, len(executing))
            await asyncio.sleep(0)
            for each in found:
                waits = n % 4 == 0
                after = settlement(
                    Status.WAITING if waits else Status.COMPLETED,
                    ready_at=NOW if waits else None,
                )
                executing.discard(each.run.concurrency_key)
                assert await handle.settle(each.run.id, each.run.generation, after) is None
                done.extend([] if waits else [each.run.id])
            if len(done) == len(keys):
                return

    await asyncio.gather(worker(store, "a"), worker(other, "b"))
    assert sorted(done) == [f"{n:02}" for n in range(30)]
    assert most > 1  # different keys do overlap


async def test_listeners_are_told_who_has_the_key_now(store):
    await holder_and(store, "b")
    ears = [Ear(), Ear()]
    for ear, steps in zip(ears, (True, False), strict=True):
        store.listen(ear.append, steps=steps)
    await settle(store, "a", Status.COMPLETED)
    for ear in ears:
        assert await ear.heard("b", True)


async def test_verbs_that_are_repeated_free_the_key_once(store):
    await limit(store, key_scope="execution")
    await holder_and(store, "b", "c")
    waits = settlement(Status.WAITING, ready_at=NOW + 60)
    assert await store.settle("a", 1, waits) is None
    before = await everything(store)
    assert await store.settle("a", 1, waits) is None
    assert await everything(store) == before
    await claim(store)
    row = await store.move_run("b", NOW)
    before = await everything(store)
    assert await store.move_run("b", NOW) == row
    assert await everything(store) == before
    assert await statuses(store) == {"a": "WAITING", "b": "MOVED", "c": "PENDING"}
    assert await store.settle("b", 1, settlement(Status.COMPLETED)) == Refusal("MOVED", 2)
    assert await ids(store) == ["c"]
