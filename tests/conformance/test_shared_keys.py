"""Concurrency keys in families: who is awaited shares the key of who waits for it, and nobody locks itself."""

import pytest

from durable_lite.records import Wakes
from durable_lite.status import Status
from tests.conformance.build import (
    ENDS,
    NOW,
    claim,
    create,
    end,
    executing,
    get,
    ids,
    limit,
    look,
    mark_stale,
    settle,
    spawn,
    statuses,
)

KEY = '["acme"]'


async def waits(store, id, *children, **fields):
    given = {"wakes": Wakes(children=children, all=True), "ready_at": None}
    return await settle(store, id, Status.WAITING, **(given | fields))


async def test_a_child_shares_the_key_of_who_waits_for_it(store):
    await executing(store, concurrency_key=KEY)
    [child] = await spawn(store, "a", concurrency_key=KEY)
    assert (child.status, child.claimable, child.key_held) == ("PENDING", 1, 2)
    await waits(store, "r", "a")
    assert await ids(store) == ["a"]
    await settle(store, "a", Status.COMPLETED, at=NOW + 5)
    assert await ids(store, now=NOW + 5) == ["r"]
    assert (await settle(store, "r", Status.COMPLETED)).key_held == 0


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("between", [None, '["another"]'])
async def test_so_does_one_that_an_ancestor_waits_for(store, depth, between):
    """Through runs that have no key, or another one."""
    await executing(store, "0", concurrency_key=KEY)
    for n in range(depth):
        await spawn(store, f"{n + 1}", parent=f"{n}", concurrency_key=between)
        await waits(store, f"{n}", f"{n + 1}")
        assert await ids(store) == [f"{n + 1}"]
    last = f"{depth}"
    [row] = await spawn(store, "last", parent=last, concurrency_key=KEY)
    assert (row.status, row.key_held) == ("PENDING", 2)
    await waits(store, last, "last")
    assert await ids(store) == ["last"]
    assert (await create(store, "stranger", concurrency_key=KEY, priority=9)).blocked == "key"
    for id in ("last", *(f"{n}" for n in range(depth, -1, -1))):
        await settle(store, id, Status.COMPLETED)
        assert len(await claim(store)) == 1
    assert (await get(store, "stranger")).status == "EXECUTING"


@pytest.mark.parametrize("who", ["not awaited", "awaited by one that is not", "parent of another key"])
async def test_nobody_else_shares_it(store, who):
    """Who isn't waited for may well wait."""
    if who == "parent of another key":
        await executing(store, "x", concurrency_key=KEY)
        await executing(store, concurrency_key='["another"]')
    else:
        await executing(store, concurrency_key=KEY)
    if who == "awaited by one that is not":
        await spawn(store, "between", awaited=0)
        await claim(store)
    parent = "between" if who == "awaited by one that is not" else "r"
    [row] = await spawn(store, "a", parent=parent, awaited=int(who != "not awaited"), concurrency_key=KEY)
    assert (row.status, row.blocked, row.key_held) == ("QUEUED", "key", 0)
    assert await ids(store) == []
    await settle(store, "x" if who == "parent of another key" else "r", Status.COMPLETED)
    assert await ids(store) == ["a"]


async def test_a_parent_that_is_not_there_shares_nothing(store):
    row = await create(store, parent_id="never there", awaited=1, concurrency_key=KEY)
    assert (row.status, row.key_held) == ("PENDING", 1)


async def test_children_of_one_parent_all_share(store):
    await executing(store, concurrency_key=KEY)
    await spawn(store, "a", "b", concurrency_key=KEY)
    await waits(store, "r", "a", "b")
    assert await ids(store) == ["a", "b"]


@pytest.mark.parametrize("how", sorted(set(ENDS) - {"cancel_run"}))
@pytest.mark.parametrize("claimed", [True, False])
async def test_a_key_is_free_when_the_last_who_shares_it_has_ended(store, how, claimed):
    await executing(store, concurrency_key=KEY)
    await spawn(store, "a", concurrency_key=KEY)
    if claimed:
        await claim(store)
    await end(store, "r", how)
    assert (await create(store, "x", concurrency_key=KEY, priority=9)).blocked == "key"
    if not claimed:
        assert await ids(store) == ["a"]
    await end(store, "a", how)
    assert await ids(store) == ["x"]


async def test_a_cancelled_family_frees_the_key(store):
    await executing(store, concurrency_key=KEY)
    await spawn(store, "a", "b", concurrency_key=KEY)
    await claim(store, limit=1)
    await create(store, "x", concurrency_key=KEY)
    await store.cancel_run("r", NOW)
    assert await ids(store) == ["x"]


async def test_a_child_of_a_stale_parent_shares(store):
    await executing(store, concurrency_key=KEY)
    [row] = await spawn(store, "a", concurrency_key=KEY)
    await create(store, "x", concurrency_key=KEY, priority=9)
    await mark_stale(store)
    assert await ids(store) == ["a", "r"]
    assert row.key_held == 2


@pytest.mark.parametrize("status", [Status.STALE, Status.PENDING, Status.WAITING])
async def test_a_child_keeps_its_share(store, status):
    await executing(store, concurrency_key=KEY)
    await spawn(store, "a", concurrency_key=KEY)
    await waits(store, "r", "a")
    await claim(store)
    if status == Status.STALE:
        await mark_stale(store, "a")
    else:
        await settle(store, "a", status, ready_at=NOW if status == Status.WAITING else None)
    assert (await get(store, "a")).key_held == 2
    assert await ids(store) == ["a"]


async def test_a_child_that_is_delayed_shares_when_it_is_due(store):
    await executing(store, concurrency_key=KEY)
    await spawn(store, "a", concurrency_key=KEY, ready_at=NOW + 5)
    await waits(store, "r", "a")
    await create(store, "x", concurrency_key=KEY, priority=9)
    assert await ids(store, now=NOW + 5) == ["a"]


async def test_a_child_shares_in_a_queue_of_one(store):
    """It holds the key while it stands in line for a place, and gets one as soon as its parent waits."""
    await limit(store, concurrency=1)
    await executing(store, concurrency_key=KEY)
    await create(store, "x", concurrency_key=KEY)
    [row] = await spawn(store, "a", concurrency_key=KEY)
    assert (row.status, row.blocked, row.key_held) == ("QUEUED", "queue", 2)
    await waits(store, "r", "a")
    assert await ids(store) == ["a"]
    await settle(store, "a", Status.COMPLETED)
    assert await ids(store) == ["r"]
    await settle(store, "r", Status.COMPLETED)
    assert await ids(store) == ["x"]


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
async def test_a_child_that_was_resumed_shares_again(store, status):
    """Its parent waits for it once more."""
    await executing(store, concurrency_key=KEY)
    await spawn(store, "a", concurrency_key=KEY)
    await waits(store, "r", "a")
    await claim(store)
    await settle(store, "a", status)
    assert await ids(store) == ["r"]
    await store.resume_run("a", NOW + 6)
    await waits(store, "r", "a", at=NOW + 7)
    assert await ids(store, now=NOW + 7) == ["a"]
    await settle(store, "a", Status.COMPLETED, at=NOW + 8)
    assert await ids(store, now=NOW + 8) == ["r"]


async def test_a_child_whose_own_waits_let_go_of_the_key_shares_again(store):
    """Its queue says so, that of its parent doesn't."""
    await limit(store, "loose", key_scope="execution")
    await executing(store, concurrency_key=KEY)
    await spawn(store, "a", concurrency_key=KEY, queue="loose")
    await waits(store, "r", "a")
    await claim(store)
    await settle(store, "a", Status.WAITING, ready_at=NOW + 5)
    await create(store, "x", concurrency_key=KEY, priority=9)
    assert await ids(store, now=NOW + 5) == ["a"]
    await settle(store, "a", Status.COMPLETED, at=NOW + 6)
    assert await ids(store, now=NOW + 6) == ["r"]


async def test_who_is_not_awaited_any_more_does_not_share_again(store):
    """The run between them has ended."""
    await limit(store, "loose", key_scope="execution")
    await executing(store, concurrency_key=KEY)
    await spawn(store, "between")
    await claim(store)
    await spawn(store, "a", parent="between", concurrency_key=KEY, queue="loose")
    await claim(store)
    await settle(store, "a", Status.WAITING, ready_at=NOW + 5)
    await settle(store, "between", Status.FAILED)
    await look(store, NOW + 5)
    row = await get(store, "a")
    assert (row.blocked, row.key_held) == ("key", 0)
    await settle(store, "r", Status.COMPLETED)
    assert await ids(store) == ["a"]


async def test_a_parent_whose_waits_let_go_of_the_key_gets_it_again(store):
    await limit(store, key_scope="execution")
    await executing(store, concurrency_key=KEY)
    await spawn(store, "a", concurrency_key=KEY)
    await waits(store, "r", "a", ready_at=NOW + 5)
    assert (await get(store)).key_held == 0
    await create(store, "x", concurrency_key=KEY)
    assert await ids(store) == ["a"]
    await look(store, NOW + 5)  # it has waited for long enough, and the child is still there
    assert await statuses(store) == {"a": "EXECUTING", "r": "QUEUED", "x": "QUEUED"}
    await settle(store, "a", Status.COMPLETED)
    assert await ids(store) == ["r"]
    await settle(store, "r", Status.COMPLETED)
    assert await ids(store) == ["x"]


async def test_a_parent_that_was_resumed_waits_for_the_child_that_has_the_key(store):
    await executing(store, concurrency_key=KEY)
    await spawn(store, "a", concurrency_key=KEY)
    await claim(store)
    await settle(store, "r", Status.FAILED)
    assert (await store.resume_run("r", NOW)).blocked == "key"
    await settle(store, "a", Status.COMPLETED)
    assert await ids(store) == ["r"]
