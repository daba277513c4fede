"""`open`, `close`, workers, meta, and `listen`."""

import asyncio
import inspect

import pytest

from durable_lite.ports import VERBS, Store
from durable_lite.records import Change
from durable_lite.status import FINAL, Status
from tests.conformance.build import (
    NOW,
    STARTED,
    Ear,
    beat,
    bring,
    claim,
    create,
    executing,
    family,
    get,
    mark_stale,
    new_run,
    settle,
    step,
)
from tests.conformance.state import everything

# Life


async def test_a_new_store_is_empty(store):
    assert await everything(store) == {
        "runs": [], "tokens": [], "next_due": None, "leases": [], "queues": [], "schedules": [],
    }  # fmt: skip
    assert await claim(store) == []
    assert await store.purge(NOW, 10) == 0


async def test_the_store_is_one(store):
    assert isinstance(store, Store)
    assert store.url.partition(":")[1] == ":"
    assert isinstance(store.announces_all, bool)
    for verb in VERBS:
        assert inspect.iscoroutinefunction(getattr(store, verb)), verb


async def test_closing_twice_is_closing_once(store):
    await bring(store, Status.COMPLETED)
    await store.close()
    await store.close()


async def test_closing_one_handle_leaves_the_other_open(store, other):
    await executing(store)
    if other is store:
        return
    await store.close()
    assert await other.save_step("r", 1, step("a", 3)) is None
    assert (await settle(other, "r", Status.COMPLETED)).status == "COMPLETED"


async def test_what_was_stored_is_there_after_closing(store, other):
    await bring(store, Status.STALE)
    await store.set_meta("fact", "1")
    before = await everything(store)
    await store.close()
    assert await everything(other) == before
    assert await other.get_meta("fact") == "1"


async def test_closing_finishes_what_was_accepted(store, other):
    await executing(store)
    writes = [asyncio.ensure_future(store.save_step("r", 1, step(f"{seq}", seq))) for seq in range(3, 23)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*writes) == [None] * 20
    assert len(await other.load_steps("r")) == 20


async def test_a_write_whose_caller_was_cancelled_is_whole_or_not_there(store):
    await executing(store)
    for seq in range(3, 13):
        write = asyncio.ensure_future(store.save_step("r", 1, step("a", 3)))
        for _ in range(seq - 3):
            await asyncio.sleep(0)
        write.cancel()
        await asyncio.gather(write, return_exceptions=True)
    assert await store.save_step("r", 1, step("b", 4)) is None  # behind whatever was under way
    await store.save_step("r", 1, step("a", 3))
    assert await store.load_steps("r") == [step("a", 3), step("b", 4)]
    await everything(store)


# Workers


async def test_a_registered_worker_is_not_gone(store, other):
    held = await store.register_worker("v", '{"pid": 1}', NOW)
    assert held in ("lease", "lock")
    assert await other.register_worker("w", '{"pid": 1}', NOW) == held
    for handle in (store, other):
        assert await handle.gone_workers(["v", "w"]) == set()
        assert await handle.gone_workers([]) == set()


async def test_gone_workers_are_among_those_asked_for(store):
    await store.register_worker("v", "{}", NOW)
    assert await store.gone_workers(["v", "stranger"]) <= {"stranger"}


async def test_a_worker_comes_and_goes_and_comes_again(store):
    for _ in range(3):
        await store.register_worker("v", "{}", NOW)
        assert await store.gone_workers(["v"]) == set()
        await store.unregister_worker("v")
    await store.unregister_worker("never there")


async def test_workers_need_not_be_registered_to_claim(store):
    await executing(store, worker="stranger")
    await beat(store, await get(store), NOW + 5)


async def test_forgetting_a_worker_leaves_the_runs_alone(store):
    await store.register_worker("w", "{}", NOW)
    await executing(store)
    before = await everything(store)
    await store.unregister_worker("w")
    assert await everything(store) == before


# Meta


async def test_meta(store, other):
    assert await store.get_meta("fact") is None
    for value in ("1", "", '{"jobs": []}'):
        await store.set_meta("fact", value)
        assert await store.get_meta("fact") == await other.get_meta("fact") == value
    assert await store.get_meta("Fact") is None
    await store.set_meta("Fact", "other")
    assert (await store.get_meta("fact"), await store.get_meta("Fact")) == ('{"jobs": []}', "other")


# Listening


@pytest.fixture
def ears():
    return Ear(), Ear()


async def test_listeners_are_told_of_commits(store, ears):
    ear, coarse = ears
    store.listen(ear.append)
    store.listen(coarse.append, steps=False)

    async def told(id, claims, step=False):
        assert await ear.heard(id, claims)
        assert step or await coarse.heard(id, claims)
        assert not any(change.step for change in coarse)
        coarse.clear()

    await create(store)
    await told("r", True)
    await claim(store)
    await told("r", False)
    await store.save_step("r", 1, step("a", 3))
    await told("r", False, step=True)
    await settle(store, "r", Status.PENDING)
    await told("r", True)
    await claim(store)
    await told("r", False)
    await mark_stale(store)
    await told("r", True)
    await claim(store)
    await settle(store, "r", Status.WAITING)
    await told("r", True)  # workers learn when it is due
    await store.cancel_run("r", NOW)
    await told("r", False)
    await store.resume_run("r", NOW)
    await told("r", True)
    await store.create_runs([new_run("b"), new_run("c", ready_at=NOW + 60)])
    for _ in range(20):
        await asyncio.sleep(0)
    assert {change.run_id for change in coarse} >= {"b", "c"} or Change(None, True) in coarse


@pytest.mark.parametrize("status", sorted(FINAL & STARTED))
async def test_the_end_of_a_run_is_told(store, ears, status):
    await executing(store)
    ear, coarse = ears
    store.listen(ear.append)
    store.listen(coarse.append, steps=False)
    await settle(store, "r", status)
    assert await ear.heard("r", False)
    assert await coarse.heard("r", False)


async def test_workers_are_told_of_each_that_another_ends(store, ears):
    """And of no other end: their own they know."""
    _, coarse = ears
    store.listen(coarse.append, steps=False)
    await family(store, "a", "b")
    await settle(store, "b", Status.COMPLETED)
    await create(store, "late", expires_at=NOW + 1)
    await executing(store, "moves", now=NOW + 1)
    await store.move_run("moves", NOW + 1)
    await store.cancel_run("r", NOW + 1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert sorted(change for change in coarse if change.ended) == [
        Change("a", claimable=False, ended="CANCELLED"), Change("late", claimable=False, ended="EXPIRED"),
        Change("moves", claimable=False, ended="MOVED"), Change("r", claimable=False, ended="CANCELLED"),
    ]  # fmt: skip


async def test_steps_are_told_to_those_who_asked(store, ears):
    ear, coarse = ears
    store.listen(ear.append)
    store.listen(coarse.append, steps=False)
    changes = [Change("a", False, step=True), Change("b", True), Change(None, False), Change(None, True)]
    for change in changes:
        store.announce(change)
    assert ear == changes
    assert coarse == changes[1:]


async def test_listening_ends(store, ears):
    ear, coarse = ears
    end, end_other = store.listen(ear.append), store.listen(coarse.append, steps=False)
    end()
    end()
    await create(store)
    assert await coarse.heard("r", True)
    end_other()
    await create(store, "s")
    assert not await coarse.heard("s", True)
    assert not ear


async def test_a_listener_may_end_while_it_is_told(store, ears):
    ear, _ = ears

    def once(change):
        ear.append(change)
        end()

    end = store.listen(once)
    await create(store, "a")
    await create(store, "b")
    assert await ear.heard("a", True)


async def test_a_listener_that_raises_harms_nobody(store, ears):
    """The verb has been committed: it returns, and the other listeners are told."""
    ear, _ = ears
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)  # where it may be reported

    def fail(change):
        raise LookupError("a listener's own")

    store.listen(fail)
    store.listen(ear.append)
    try:
        async with asyncio.timeout(5):
            assert (await create(store)).id == "r"
            assert await ear.heard("r", True)
            assert [found.run.id for found in await claim(store)] == ["r"]
            assert (
                await asyncio.gather(*(store.save_step("r", 1, step(f"{n}", n)) for n in (3, 4)))
                == [None] * 2
            )
            assert (await settle(store, "r", Status.COMPLETED)).status == "COMPLETED"
    finally:
        loop.set_exception_handler(None)


async def test_what_listeners_are_told_is_committed(store, other):
    """Told on the loop, where a listener may look at once, from wherever it likes."""
    loop = asyncio.get_running_loop()
    looks = []

    def look(change):
        assert asyncio.get_running_loop() is loop
        looks.append(loop.create_task(other.get_run("r")))

    store.listen(look)
    for status, verb in [
        ("PENDING", lambda: create(store)),
        ("EXECUTING", lambda: claim(store)),
        ("STALE", lambda: mark_stale(store)),
        ("CANCELLED", lambda: store.cancel_run("r", NOW)),
        ("PENDING", lambda: store.resume_run("r", NOW)),
    ]:
        await verb()
        for _ in range(20):
            await asyncio.sleep(0)
        assert {row and row.status for row in await asyncio.gather(*looks)} == {status}
        looks.clear()
