"""Schedules: each tick starts one run, whoever is there, and what nobody saw is caught up as asked."""

import datetime as dt
from contextlib import AsyncExitStack

import pytest

from durable_lite import Context, Durable, InvalidOption, Schedule, Status, Tick, job
from durable_lite.records import ScheduleRow
from durable_lite.stores.memory import MemoryStore
from durable_lite.testing import VirtualClock
from durable_lite.timetable import timetable
from tests.engine.apps import app as make
from tests.engine.support import Process

START = 1_750_000_000.0  # 2025-06-15T15:06:40Z
HOUR = 3600.0
NEXT = START - START % HOUR + HOUR


def scheduled(*schedules, name="works"):
    """A job that notes the ticks it was started for."""
    ticks = []

    @job(name, on=schedules)
    async def works(ctx, tick: Tick):
        ticks.append((tick.timestamp.timestamp(), tick.last_timestamp and tick.last_timestamp.timestamp()))

    works.ticks = ticks
    return works


async def test_each_tick_starts_a_run(make_store):
    works = scheduled(Schedule(every="1h"))
    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, works, environment="test") as process:
        [row] = await process.list_schedules()
        assert (row.next_at, row.last_at, row.name) == (NEXT, None, "every 1h")
        await clock.advance(NEXT - START - 0.01)
        assert works.ticks == []
        await clock.advance(0.02)
        assert works.ticks == [(NEXT, None)]
        await clock.advance("2h")
        assert works.ticks == [(NEXT, None), (NEXT + HOUR, NEXT), (NEXT + 2 * HOUR, NEXT + HOUR)]
        [row] = await process.list_schedules()
        assert (row.next_at, row.last_at) == (NEXT + 3 * HOUR, NEXT + 2 * HOUR)
        run = (await process.list_runs(limit=1)).runs[0]
        info = await store.get_run(run.id)
        assert info.environment == "test"
        assert info.trigger == f'{{"kind": "schedule", "name": "every 1h", "timestamp": {NEXT + 2 * HOUR}}}'


async def test_a_job_gets_the_times_of_its_zone_or_nothing(make_app):
    seen = []

    @job(on=Schedule("0 * * * *", tz="Europe/Rome"))
    async def typed(ctx: Context, tick: Tick):
        seen.append(tick.timestamp.isoformat())
        assert ctx.run.trigger["kind"] == "schedule"

    @job(on=Schedule("0 * * * *", tz="Europe/Rome"))
    async def plain(ctx, payload: dict):
        seen.append(payload["timestamp"])

    @job(on=[Schedule("0 * * * *"), Schedule(every="1h")])
    async def without(ctx):
        seen.append(None)

    @job(on=Schedule(every="1h"))
    async def other(ctx, pages: int):
        seen.append(pages)

    async with make_app([typed, plain, without, other]) as app:
        await app.clock.advance("1h")
        assert sorted(seen, key=str) == ["2025-06-15T18:00:00+02:00"] * 2 + [None] * 2
        [unfit] = (await app.list_runs(job=other)).runs
        assert unfit.status == Status.INVALID_PAYLOAD
        assert {str(run.status) for run in (await app.list_runs()).runs if run.id != unfit.id} == {
            "COMPLETED"
        }


@pytest.mark.parametrize(
    ("catch_up", "hours", "expected"),
    [
        ("one", [], [3]),
        ("all", [], [0, 1, 2, 3]),
        ("none", [], []),
        ("one", [1], [0, 3]),
        ("all", [1], [0, 1, 2, 3]),
        ("none", [1], [0]),
    ],
)
async def test_what_nobody_saw(make_store, catch_up, hours, expected):
    """Ticks by their number; after so many `hours` with a worker comes a time without."""
    works = scheduled(Schedule(every="1h", catch_up=catch_up))
    clock = VirtualClock()
    async with make_store() as store:
        async with Process(store, clock, works):
            for _ in hours:
                await clock.advance(NEXT - START + 1)
        await clock.jump(NEXT - START + 3 * HOUR + 60.5)
        async with Process(store, clock, works) as process:
            await clock.settle()
            assert [(at - NEXT) / HOUR for at, _ in works.ticks] == expected
            assert [last for _, last in works.ticks[1:]] == [at for at, _ in works.ticks[:-1]]
            works.ticks.clear()
            await clock.advance("1h")
            assert len(works.ticks) == 1
            assert {str(run.status) for run in (await process.list_runs()).runs} == {"COMPLETED"}


async def test_none_is_missed_within_a_minute(make_store):
    works = scheduled(Schedule(every="1h", catch_up="none"))
    clock = VirtualClock()
    async with make_store() as store:
        async with Process(store, clock, works):
            await clock.advance(1)
        await clock.jump(NEXT - clock.now() + 59)
        async with Process(store, clock, works):
            await clock.settle()
            assert works.ticks == [(NEXT, None)]


async def test_more_than_a_batch_to_catch_up(make_store):
    works = scheduled(Schedule(every="10s", catch_up="all"))
    clock = VirtualClock()
    async with make_store() as store:
        async with Process(store, clock, works):
            pass
        await clock.jump(10 * 321)
        async with Process(store, clock, works) as process:
            for run in (await process.list_runs(limit=1000)).runs:
                await process.result(run)
            first = works.ticks[0][0]
            assert sorted(at for at, _ in works.ticks) == [first + 10 * n for n in range(322)]


@pytest.mark.parametrize("start", ["2026-03-28T20:00:30+00:00", "2026-10-24T20:00:30+00:00"])
async def test_one_run_for_each_tick_with_four_workers(make_store, start):
    """Over a change of clocks, of which both ways together make 1,000 ticks."""
    often = Schedule("* * * * *", tz="Europe/Rome", catch_up="all")
    nightly = Schedule("30 2 * * *", tz="Europe/Rome", catch_up="all")
    works = scheduled(often, nightly)
    clock = VirtualClock(dt.datetime.fromisoformat(start).timestamp())
    began = clock.now()
    async with make_store(4) as stores, AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(Process(one, clock, works)) for one in stores]
        for minute in range(500):
            await clock.advance(60)
            if minute in (100, 300):  # one dies
                await workers.pop().buried()
        await clock.settle()
        expected = [after(timetable(spec), began, clock.now()) for spec in (often.spec, nightly.spec)]
        assert [len(one) for one in expected] == [500, 1]
        assert sorted(at for at, _ in works.ticks) == sorted([*expected[0], *expected[1]])
        runs = (await workers[0].list_runs(limit=10_000)).runs
        assert len(runs) == 501


def after(times, moment, until):
    found = []
    while (moment := times.after(moment)) <= until:
        found.append(moment)
    return found


async def test_a_changed_schedule_begins_anew_and_one_that_is_gone_ends(make_store):
    before = scheduled(Schedule(every="1h", name="often"), Schedule(every="2h"))
    changed = scheduled(Schedule(every="10m", name="often"))
    without = scheduled()
    clock = VirtualClock()
    async with make_store() as store:
        async with Process(store, clock, before):
            await clock.advance("3h")
        assert len(before.ticks) == 3 + 2
        async with Process(store, clock, changed) as process:
            [row] = await process.list_schedules()
            assert (row.name, row.last_at) == ("often", NEXT + 2 * HOUR)
            await clock.advance("1h")
            assert len(changed.ticks) == 6
        async with Process(store, clock, without) as process:
            assert await process.list_schedules() == []
            await clock.advance("1d")
        assert not without.ticks


async def test_paused_it_starts_nothing_and_makes_up_for_nothing(make_store):
    works = scheduled(Schedule(every="1h", catch_up="all"), Schedule(every="1h", name="other"))
    clock = VirtualClock()
    async with make_store(2) as (store, other), Process(store, clock, works) as process:
        async with Durable(other, worker=False, clock=clock) as outside:
            [paused] = await outside.pause_schedule("works", "every 1h")
            assert (paused.paused, paused.name) == (1, "every 1h")
            await clock.advance("3h")
            assert len(works.ticks) == 3
            await outside.pause_schedule("works")
            await clock.advance("3h")
            assert len(works.ticks) == 3
            rows = await outside.resume_schedule("works")
            assert [row.paused for row in rows] == [0, 0]
            await clock.settle()
            assert len(works.ticks) == 3
            await clock.advance("1h")
            assert len(works.ticks) == 5
            with pytest.raises(InvalidOption, match="job 'works' has no such schedule .*works: other"):
                await outside.pause_schedule("works", "none")
            await outside.delete_schedules("works")
            await clock.advance("3h")
            assert len(works.ticks) == 5
        assert await process.list_schedules() == []


async def test_a_paused_worker_leaves_it_to_others(make_store):
    works = scheduled(Schedule(every="1h"))
    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, works) as process:
        process.pause()
        await clock.advance("3h")
        assert works.ticks == []
        process.pause(False)
        await clock.settle()
        assert works.ticks == [(NEXT + 2 * HOUR, None)]


async def test_serverless(make_store):
    """`run_until_idle` starts what is due, executes it, and says when to be called again."""
    works = scheduled(Schedule(every="1h"))
    clock = VirtualClock()
    async with make_store() as store, make(store, works, clock=clock, worker=False) as app:
        assert await clock.run(app.run_until_idle()) == NEXT
        await clock.jump(NEXT - clock.now())
        assert await clock.run(app.run_until_idle()) == NEXT + HOUR
        assert works.ticks == [(NEXT, None)]


async def test_a_worker_that_is_told_not_to(make_store):
    works = scheduled(Schedule(every="1h"))
    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, works, schedules=False) as process:
        async with Process(store, clock, works) as other:
            assert len(await process.list_schedules()) == 1
            await other.stop()
            await clock.advance("3h")
            assert works.ticks == []
    async with make_store() as store, Process(store, clock, works, schedules=False) as process:
        assert await process.list_schedules() == []


async def test_the_clock_is_set(make_store):
    """Forward: the tick is seen within a minute. Back: no tick comes twice."""
    works = scheduled(Schedule(every="1h"))
    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, works):
        await clock.jump(NEXT - START, monotonic=False)
        await clock.advance(60)
        assert works.ticks == [(NEXT, None)]
        clock.set_back("30m")
        await clock.advance("88m")
        assert works.ticks == [(NEXT, None)]
        await clock.advance("2m")
        assert works.ticks == [(NEXT, None), (NEXT + HOUR, NEXT)]


async def test_what_cant_be_read_stops_nothing_else(make_store, caplog):
    """Written by another version of this job."""
    works = scheduled(Schedule(every="1h"))
    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, works):
        rows = [*await store.list_schedules(), ScheduleRow("works", "moon", '{"moon": "full"}', "one", 5.0)]
        await store.set_schedules(["works"], rows)
        await clock.advance("2h")
        assert len(works.ticks) == 2
        told = [record.message for record in caplog.records if "can't be read" in record.message]
        assert told == ["schedule moon of works can't be read: 'cron'"]


def test_mistakes_are_named():
    with pytest.raises(
        InvalidOption, match=r"job 'works': on: expected Event\(…\), Schedule\(…\) or Webhook\(…\), got '0 9"
    ):
        scheduled("0 9 * * 1")
    with pytest.raises(InvalidOption, match="job 'works': on: two schedules are named 'every 1h'"):
        scheduled(Schedule(every="1h"), Schedule(every="1h", catch_up="all"))
    with pytest.raises(InvalidOption, match="job 'works': on: expected Event"):

        @job(on="0 9 * * 1")
        async def works(ctx):
            pass


async def test_a_worker_with_many_schedules_looks_at_them_once_a_minute_at_most():
    works = [scheduled(Schedule(every="1d"), name=f"works-{n}") for n in range(50)]
    clock = VirtualClock()
    async with Process(MemoryStore(), clock, *works) as process:
        await clock.advance(1)
        before = process.verbs.count("list_schedules")
        await clock.advance("1h")
        assert process.verbs.count("list_schedules") - before <= 60
