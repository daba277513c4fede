"""Schedules: as workers declare them, as far as they have come, and each tick once."""

import asyncio

import pytest

from durable_lite.records import QueueRow, ScheduleRow
from durable_lite.status import Status
from tests.conformance.build import NOW, create, get, new_run
from tests.conformance.state import everything


def schedule(job="job", name="hourly", **fields):
    given = {"spec": '{"every": 3600.0}', "catch_up": "one", "next_at": NOW}
    return ScheduleRow(job, name, **(given | fields))


async def test_they_are_those_of_the_last_who_said(store, other):
    mine = [schedule("a"), schedule("a", "daily"), schedule("b", catch_up="all")]
    await store.set_schedules(["a", "b", "none"], mine)
    await other.set_schedules(["c"], [schedule("c")])
    assert await other.list_schedules() == [mine[1], mine[0], mine[2], schedule("c")]
    await other.set_schedules(["a"], [schedule("a", "weekly")])
    assert await store.list_schedules() == [schedule("a", "weekly"), mine[2], schedule("c")]
    await store.set_schedules(["a", "b"], [])
    assert await other.list_schedules() == [schedule("c")]


async def test_one_that_was_there_stays_as_far_as_it_has_come(store, other):
    await store.set_schedules(["job"], [schedule()])
    assert await store.tick(schedule(), NOW + 60, NOW, [])
    await store.pause_schedule("job", "hourly", True, NOW)
    come = schedule(next_at=NOW + 60, last_at=NOW, paused=1)
    assert await other.list_schedules() == [come]
    await other.set_schedules(["job"], [schedule(next_at=NOW + 9)])
    assert await store.list_schedules() == [come]
    await other.set_schedules(["job"], [schedule(next_at=NOW + 9, catch_up="none")])
    assert await store.list_schedules() == [come._replace(catch_up="none")]
    await other.set_schedules(["job"], [schedule(next_at=NOW + 9, spec='{"every": 60.0}')])
    assert await store.list_schedules() == [come._replace(next_at=NOW + 9, spec='{"every": 60.0}')]


async def test_a_tick_creates_its_runs_and_moves_on_at_once(store, other):
    await store.set_schedules(["job"], [schedule()])
    assert await other.tick(schedule(), NOW + 60, NOW, [new_run("r"), new_run("s", trigger='{"kind": "x"}')])
    assert await store.list_schedules() == [schedule(next_at=NOW + 60, last_at=NOW)]
    assert [(await get(store, id)).status for id in "rs"] == [Status.PENDING] * 2
    before = await everything(store)
    for seen in (
        schedule(),
        schedule(next_at=NOW + 60),
        schedule(next_at=NOW + 60, last_at=NOW, catch_up="all"),
        schedule(next_at=NOW + 60, last_at=NOW, spec="{}"),
        schedule(next_at=NOW + 60, last_at=NOW, paused=1),
        schedule(name="none", next_at=NOW + 60, last_at=NOW),
    ):
        assert not await other.tick(seen, NOW + 120, NOW + 60, [new_run("t")])
    assert await everything(store) == before
    assert await store.tick(schedule(next_at=NOW + 60, last_at=NOW), NOW + 90, NOW, [])
    assert await other.list_schedules() == [schedule(next_at=NOW + 90, last_at=NOW)]


async def test_of_many_who_tick_one_does(store, other):
    await store.set_schedules(["job"], [schedule()])
    tries = [(store, other)[n % 2].tick(schedule(), NOW + 60, NOW, [new_run(f"r{n}")]) for n in range(20)]
    assert sorted(await asyncio.gather(*tries)) == [False] * 19 + [True]
    assert len((await everything(store))["runs"]) == 1


async def test_a_paused_one_does_not_tick_and_goes_on_from_then(store, other):
    await store.set_schedules(["job"], [schedule(), schedule(name="other")])
    await other.pause_schedule("job", "hourly", True, NOW + 5)
    paused = schedule(paused=1)
    assert await store.list_schedules() == [paused, schedule(name="other")]
    assert not await store.tick(schedule(), NOW + 60, NOW, [new_run()])
    assert not await store.tick(paused, NOW + 60, NOW, [new_run()])
    await store.pause_schedule("job", "hourly", True, NOW + 6)
    await store.pause_schedule("job", "hourly", False, NOW + 50)
    assert (await store.list_schedules())[0] == schedule(next_at=NOW + 50)
    await store.pause_schedule("job", "hourly", False, NOW + 70)
    await store.pause_schedule("job", "none", True, NOW + 70)
    assert (await store.list_schedules())[0] == schedule(next_at=NOW + 50)
    await store.pause_schedule("job", "hourly", True, NOW + 80)
    await store.pause_schedule("job", "hourly", False, NOW + 40)
    assert (await store.list_schedules())[0] == schedule(next_at=NOW + 50)


async def test_its_runs_stand_in_line_like_others(store):
    await store.set_queues([QueueRow("default", concurrency=1)], NOW)
    await create(store, "before")
    await store.set_schedules(["job"], [schedule()])
    assert await store.tick(schedule(), NOW + 60, NOW, [new_run("r", created_at=NOW + 1)])
    assert (await get(store, "r")).status == Status.QUEUED


async def test_all_who_listen_hear_of_changes(store, other):
    ear = []
    other.listen(ear.append)

    async def heard():
        for _ in range(100):
            if ear:
                break
            await asyncio.sleep(0.01)
        told = [(change.run_id, change.claimable) for change in ear]
        ear.clear()
        return told

    await store.set_schedules(["job"], [schedule()])
    assert (None, True) in await heard()
    await store.pause_schedule("job", "hourly", True, NOW)
    assert (None, True) in await heard()


@pytest.mark.parametrize("seen", [schedule(last_at=5.5), schedule(next_at=NOW + 1 / 3)])
async def test_moments_are_compared_exactly(store, seen):
    await store.set_schedules(["job"], [schedule(next_at=seen.next_at - 1e-7)])
    assert not await store.tick(seen, NOW + 60, NOW, [new_run()])
    await store.set_schedules(["job"], [seen._replace(spec='{"every": 1.0}')])
    [row] = await store.list_schedules()
    assert await store.tick(row, NOW + 60, NOW, [new_run()])
