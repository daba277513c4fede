"""The worker: what it claims, how much at once, how it starts and stops."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from durable_lite import DurableError, Status, job
from durable_lite.testing import VirtualClock
from tests.engine.apps import Tally
from tests.engine.support import Process, forever, status, story


class Gate:
    """Counts who is inside; each enters with a step and leaves when it is let out."""

    def __init__(self):
        self.inside, self.most, self.order = {}, 0, []

    async def enter(self, name):
        self.order.append(name)
        self.inside[name] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self.inside))
        try:
            await self.inside[name]
        finally:
            del self.inside[name]

    def let_out(self, name):
        self.inside[name].set_result(None)


# Width and order


async def test_the_width_is_never_exceeded_and_a_free_slot_is_filled_at_once(make_store):
    gate, clock = Gate(), VirtualClock()

    @job
    async def waits(ctx, name: int):
        await ctx.step("gate", gate.enter, name)

    async with make_store() as store, Process(store, clock, waits, concurrency=3) as process:
        began = clock.now()
        await process.trigger_many(waits, range(10))
        await clock.settle()
        assert sorted(gate.inside) == [0, 1, 2]
        for count in range(10):
            gate.let_out(gate.order[count])
            await clock.settle()
            assert len(gate.inside) == min(3, 9 - count)
        assert gate.most == 3
        assert clock.now() == began  # nobody had to look at a clock
        assert {str(run.status) for run in (await process.list_runs()).runs} == {"COMPLETED"}


async def test_a_run_that_waits_gives_its_slot_to_the_next(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def naps(ctx):
        await ctx.sleep("nap", "1h")

    @job
    async def other(ctx):
        await ctx.step("work", tally.step("work"))

    async with make_store() as store, Process(store, clock, naps, other, concurrency=1) as process:
        await process.trigger(naps)
        await process.trigger(other)
        await clock.advance("1s")
        assert tally == {"work": 1}


async def test_runs_start_by_priority_then_age_then_id(make_store):
    gate, clock = Gate(), VirtualClock()

    @job
    async def waits(ctx, name: str):
        await ctx.step("gate", gate.enter, name)

    async with make_store() as store, Process(store, clock, waits, concurrency=1, worker=False) as process:
        await process.trigger(waits, "old")
        await clock.advance(1)
        await process.trigger_many(waits, ["young-1", "young-2"])
        await process.trigger(waits, "low", priority=-1)
        await process.trigger(waits, "high", priority=10)
        await clock.advance(1)
        await process.trigger(waits, "high-young", priority=10)
        async with Process(store, clock, waits, concurrency=1) as worker:
            for _ in range(6):
                await clock.settle()
                [inside] = gate.inside
                gate.let_out(inside)
            await clock.settle()
            assert gate.order == ["high", "high-young", "old", "young-1", "young-2", "low"]
            assert worker.verbs.count("claim_runs") < 20


async def test_a_delayed_run_starts_when_it_is_due_and_not_before(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx):
        await ctx.step("work", tally.step("work"))
        return clock.now()

    async with make_store() as store, Process(store, clock, works) as process:
        began = clock.now()
        run = await process.trigger(works, delay="90s")
        await clock.advance("89s")
        assert await status(store, run) == Status.PENDING
        assert await process.result(run) == pytest.approx(began + 90, abs=0.01)


@pytest.mark.live
async def test_four_workers_share_a_backlog_and_each_run_has_one_winner(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx, number: int):
        await ctx.step("work", tally.step(str(number)))
        await ctx.sleep("nap", 1 + number % 7)
        await ctx.step("more", tally.step(f"{number} more"))

    async with (
        make_store() as store,
        Process(store, clock, works, concurrency=2) as a,
        Process(store, clock, works, concurrency=2) as b,
        Process(store, clock, works, concurrency=2) as c,
        Process(store, clock, works, concurrency=2) as d,
    ):
        runs = await a.trigger_many(works, range(100))
        for run in runs:
            await b.result(run)
        assert set(tally.values()) == {1}
        assert len(tally) == 200
        workers = Counter()
        for run in runs:
            types = await story(store, run)
            assert types.count("run.completed") == 1
            assert "run.stale" not in types
            workers[(await store.get_run(run.id)).worker] += 1
        assert len(workers) == 4
        assert all(process.verbs.count("save_step") for process in (a, b, c, d))


async def test_a_hundred_rounds_for_one_run_have_one_winner_each(make_store):
    clock = VirtualClock()
    claimed = []

    @job
    async def works(ctx, number: int):
        claimed.append(number)

    async with (
        make_store() as store,
        Process(store, clock, works) as a,
        Process(store, clock, works),
        Process(store, clock, works),
        Process(store, clock, works),
    ):
        for number in range(100):
            run = await a.trigger(works, number)
            await a.result(run)
            assert (await store.get_run(run.id)).generation == 1
        assert claimed == list(range(100))


async def test_a_worker_never_claims_a_job_that_it_does_not_know(make_store):
    tally, clock = Tally(), VirtualClock()

    @job("known")
    async def known(ctx):
        await ctx.step("known", tally.step("known"))

    @job("new")
    async def new(ctx):
        await ctx.step("new", tally.step("new"))

    async with make_store() as store, Process(store, clock, known) as old_worker:
        async with Process(store, clock, known, new, worker=False) as page:
            run = await page.trigger(new)
            await page.trigger(known)
        await clock.advance("1h")
        assert tally == {"known": 1}
        assert await status(store, run) == Status.PENDING
        assert (await store.get_run(run.id)).generation == 0
        calls = old_worker.store.calls
        await clock.advance("1h")
        assert old_worker.store.calls - calls < 20
        async with Process(store, clock, known, new) as new_worker:
            await new_worker.result(run)
        assert tally == {"known": 1, "new": 1}


async def test_a_worker_without_jobs_does_nothing(make_store):
    clock = VirtualClock()
    async with make_store() as store, Process(store, clock) as process:
        await clock.advance("1h")
        assert process.verbs.count("claim_runs") == 1  # which is how it sees what time brings to others' runs


@pytest.mark.parametrize("between", [0, 1])
async def test_from_trigger_to_first_step_no_time_passes(make_store, between):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx):
        await ctx.step("first", tally.step("first"))
        await ctx.step("second", forever)

    async with make_store() as store, Process(store, clock, works, stop_timeout=0) as process:
        await clock.advance(between)
        began = clock.now()
        await process.trigger(works)
        await clock.settle()
        assert tally == {"first": 1}
        assert clock.now() == began


async def test_nor_if_another_worker_of_the_store_is_told(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx):
        await ctx.step("first", tally.step("first"))

    async with (
        make_store() as store,
        Process(store, clock, works),
        Process(store, clock, works, worker=False) as page,
    ):
        await clock.advance("1m")
        began = clock.now()
        run = await page.trigger(works)
        await clock.settle()
        assert tally == {"first": 1}
        assert clock.now() == began
        assert await status(store, run) == Status.COMPLETED


async def test_an_idle_worker_is_quiet(make_store):
    clock = VirtualClock()

    @job
    async def works(ctx):
        return 1

    async with make_store() as store, Process(store, clock, works) as process:
        await process.outcome(works)
        await clock.settle()
        calls = process.store.calls
        await clock.advance("23h")
        assert process.store.calls - calls <= 3


async def test_the_manifest_is_published(make_store):
    clock = VirtualClock()

    @job(queue="exports", version="7")
    async def export(ctx, pages: int):
        return pages

    async with make_store() as store, Process(store, clock, export):
        manifest = json.loads(await store.get_meta("manifest"))
        assert manifest["export"]["queue"] == "exports"
        assert manifest["export"]["version"] == "7"
        assert manifest["export"]["payload"]["type"] == "integer"


# Start and stop


@pytest.mark.live
async def test_stop_drains(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx):
        await ctx.step("slow", clock.sleep, 8)
        return await ctx.step("last", tally.step("last"))

    async with make_store() as store, Process(store, clock, works) as process:
        run = await process.trigger(works)
        await clock.settle()
        late = None

        async def stop():
            nonlocal late
            stopping = asyncio.ensure_future(process.stop())
            await clock.sleep(1)
            late = await process.trigger(works)
            await stopping

        await clock.run(stop())
        assert await status(store, run) == Status.COMPLETED
        assert tally == {"last": 1}
        assert await status(store, late) == Status.PENDING
        assert await store.leases() == []


@pytest.mark.live
async def test_what_is_not_done_in_time_is_released_and_goes_on_elsewhere(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx):
        tally["job"] += 1
        await ctx.step("first", tally.step("first"))
        await ctx.step("slow", clock.sleep, 60)
        return await ctx.step("last", tally.step("last"))

    async with make_store() as store, Process(store, clock, works, stop_timeout="10s") as first:
        began = clock.now()
        run = await first.trigger(works)
        await clock.settle()
        await clock.run(first.stop())
        assert clock.now() == pytest.approx(began + 10, abs=0.1)
        row = await store.get_run(run.id)
        assert (row.status, row.generation, row.attempt, row.recoveries) == ("PENDING", 2, 1, 0)
        assert await store.leases() == []
        async with Process(store, clock, works) as second:
            await clock.settle()
            assert tally["job"] == 2  # at once
            await second.result(run)
        assert tally == {"job": 2, "first": 1, "last": 1}
        assert await story(store, run) == [
            "run.triggered", "run.claimed", "step.completed", "run.released", "run.claimed", "run.resumed",
            "step.completed", "step.completed", "run.completed",
        ]  # fmt: skip
        assert (await store.get_run(run.id)).recoveries == 0


async def test_a_release_wakes_another_worker_at_once(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx):
        tally["job"] += 1
        await ctx.step("slow", clock.sleep, 60)

    async with (
        make_store() as store,
        Process(store, clock, works) as first,
        Process(store, clock, works, concurrency=1) as second,
    ):
        run = await first.trigger(works)
        await clock.settle()
        mine, other = first, second
        if (await store.get_run(run.id)).worker != mine._worker.id:
            mine, other = other, mine
        began = clock.now()
        await mine.stop(0)
        await clock.settle()
        assert tally == {"job": 2}
        assert clock.now() == began
        assert (await store.get_run(run.id)).worker == other._worker.id


async def test_stopping_at_once_by_timeout_zero(make_store):
    clock = VirtualClock()

    @job
    async def works(ctx):
        await ctx.step("slow", clock.sleep, 1)

    async with make_store() as store, Process(store, clock, works) as process:
        run = await process.trigger(works)
        await clock.settle()
        began = clock.now()
        await process.stop(0)
        assert clock.now() == began
        assert await status(store, run) == Status.PENDING


async def test_start_after_stop_works_and_twice_is_a_no_op(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx):
        await ctx.step("work", tally.step("work"))

    async with make_store() as store, Process(store, clock, works) as process:
        await process.start()
        assert process.verbs.count("register_worker") == 1
        await process.outcome(works)
        for _ in range(3):
            await process.stop()
            await process.stop()
            run = await process.trigger(works)
            await clock.advance("1m")
            assert await status(store, run) == Status.PENDING
            await process.start()
            await process.start()
            await clock.settle()
            assert await status(store, run) == Status.COMPLETED
        assert tally == {"work": 4}
        assert process.verbs.count("register_worker") == 4
        assert process.verbs.count("unregister_worker") == 3


async def test_a_closed_durable_opens_again_and_says_so_before(make_store):
    clock = VirtualClock()

    @job
    async def works(ctx):
        return 1

    async with make_store() as store:
        process = Process(store, clock, works)
        with pytest.raises(DurableError, match="isn't open"):
            await process.trigger(works)
        async with process:
            assert await process.outcome(works) == 1
        with pytest.raises(DurableError, match="isn't open"):
            await process.trigger(works)
        await process.close()
        async with process:
            assert await process.outcome(works) == 1


async def test_leaving_stops_even_when_the_block_raises(make_store):
    clock = VirtualClock()

    @job
    async def works(ctx):
        await ctx.step("work", forever)

    async with make_store() as store:
        runs = []

        async def block():
            async with Process(store, clock, works, stop_timeout="1s") as process:
                runs.append(await process.trigger(works))
                await clock.settle()
                raise LookupError("of the block")

        with pytest.raises(LookupError, match="of the block"):
            await block()
        assert await status(store, runs[0]) == Status.PENDING


# run_until_idle


async def test_run_until_idle_executes_all_there_is_and_says_when_more_is_due(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx, number: int):
        await ctx.step("work", tally.step("work"))
        if number == 3:
            await ctx.sleep("nap", "1h")
            await ctx.step("more", tally.step("more"))

    async with make_store() as store, Process(store, clock, works, worker=False, concurrency=2) as process:
        began = clock.now()
        await process.trigger_many(works, range(10))
        due = await clock.run(process.run_until_idle())
        assert due == pytest.approx(began + 3600, abs=0.01)
        assert tally == {"work": 10}
        assert {row.worker for row in await store.leases()} == set()
        assert await clock.run(process.run_until_idle()) == due
        await clock.advance("1h")
        assert await clock.run(process.run_until_idle()) is None
        assert tally == {"work": 10, "more": 1}
        assert clock.now() < began + 3700


async def test_run_until_idle_with_nothing_to_do(make_store):
    clock = VirtualClock()

    @job
    async def works(ctx):
        return 1

    async with make_store() as store, Process(store, clock, works, worker=False) as process:
        began = clock.now()
        assert await clock.run(process.run_until_idle()) is None
        assert clock.now() == began


async def test_run_until_idle_keeps_its_budget_and_the_rest_goes_on_next_time(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx, number: int):
        await ctx.step("first", tally.step("first"))
        await ctx.step("slow", clock.sleep, 10)
        await ctx.step("last", tally.step("last"))

    async with make_store() as store, Process(store, clock, works, worker=False, concurrency=1) as process:
        runs = await process.trigger_many(works, range(5))
        began = clock.now()
        await clock.run(process.run_until_idle("25s"))
        assert 20 <= clock.now() - began <= 25
        assert tally == {"first": 3, "last": 2}
        assert [await status(store, run) for run in runs] == ["COMPLETED", "COMPLETED", *["PENDING"] * 3]
        assert await store.leases() == []
        for _ in range(3):
            await clock.run(process.run_until_idle("25s"))
        assert {await status(store, run) for run in runs} == {"COMPLETED"}
        assert tally == {"first": 5, "last": 5}
        assert (await store.get_run(runs[2].id)).recoveries == 0


async def test_run_until_idle_is_not_for_a_durable_whose_worker_runs(make_store):
    clock = VirtualClock()
    async with make_store() as store, Process(store, clock) as process:
        with pytest.raises(DurableError, match="worker=False"):
            await process.run_until_idle()
