"""The worker: what it claims, how much at once, how it starts and stops, and a store that fails under it."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from datetime import datetime, timedelta

import pytest

from durable_lite import Durable, DurableError, InvalidOption, Retry, Status, StoreUnavailable, job
from durable_lite.ports import VERBS
from durable_lite.stores.memory import MemoryStore
from durable_lite.testing import FaultyStore, VirtualClock
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
        assert process.verbs.count("claim_runs") == 0


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
        mine, other = (first, second) if first.verbs.count("load_checkpoints") else (first, second)
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
        with pytest.raises(LookupError, match="of the block"):
            async with Process(store, clock, works, stop_timeout="1s") as process:
                run = await process.trigger(works)
                await clock.settle()
                raise LookupError("of the block")
        assert await status(store, run) == Status.PENDING


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


# A store that fails


def failing(process, verb, times, when):
    """Fail so many calls of a verb from now on; returns what is counted."""
    counted = Counter()

    def hook(name, args):
        if name == verb:
            counted["calls"] += 1
            if counted["calls"] <= times:
                counted["failed"] += 1
                raise StoreUnavailable("the disk is on holiday")

    setattr(process, when, hook)
    return counted


WORKER_VERBS = [
    "claim_runs", "next_due", "beat", "leases", "mark_stale", "settle", "save_step", "save_failure",
    "load_checkpoints", "read_logs", "gone_workers",
]  # fmt: skip


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb", WORKER_VERBS)
async def test_a_store_that_fails_for_a_while(make_store, verb, when):
    """Whatever call it is, and whether it was carried out or not: nothing is lost or done twice."""
    tally, clock = Tally(), VirtualClock()

    async def flaky():
        tally["flaky"] += 1
        if tally["flaky"] == 1:
            raise OSError("once")
        return "flaky"

    @job
    async def works(ctx, number: int):
        first = await ctx.step("first", tally.step(f"first-{number}"), number)
        if number == 0:
            retry = Retry(max_attempts=2, min_delay="2s", max_delay="2s", jitter=False)
            await ctx.options(retry=retry).step("flaky", flaky)
        await ctx.sleep("nap", "20s")
        both = await asyncio.gather(
            ctx.step("second", tally.step(f"second-{number}")), ctx.step("third", clock.sleep, 12)
        )
        return [first, both[0]]

    async with (
        make_store() as store,
        Process(store, clock, works, concurrency=3, warm_runs=1) as process,
        Process(store, clock, worker=False),
    ):
        runs, counted = [], None
        if verb in ("mark_stale", "gone_workers"):  # somebody died
            async with Process(store, clock, works) as dead:
                await process.stop()
                await dead.trigger(works, 5)
                await clock.settle()
                await dead.buried()
            runs = (await process.list_runs()).runs
            await process.start()
            counted = failing(process, verb, 5, when)
        counted = counted or failing(process, verb, 5, when)
        runs = [*await process.trigger_many(works, range(5)), *runs]
        for number, run in enumerate(runs):
            assert await process.result(run) == [f"first-{number}", f"second-{number}"]
            types = await story(store, run)
            assert types.count("run.completed") == 1
        assert counted["failed"] >= 1
        assert all(count == 1 for name, count in tally.items() if name.startswith("second"))
        if counted["failed"]:
            downs, ups = process.heard("store.down"), process.heard("store.up")
            assert 1 <= len(downs) <= 5
            assert len(ups) == len(downs)
            assert "holiday" in downs[0].data["message"]
        assert process.store_error is None
        assert {str(run.status) for run in (await process.list_runs()).runs} <= {"COMPLETED"}


async def test_heartbeats_that_fail_for_a_while(make_store):
    clock = VirtualClock()

    @job
    async def works(ctx):
        ctx.log.info("before")
        await ctx.step("slow", clock.sleep, 60)
        return "well"

    async with make_store() as store, Process(store, clock, works) as process:
        run = await process.trigger(works)
        counted = failing(process, "beat", 3, "before")
        await clock.advance("12s")
        assert counted["failed"] == 2
        assert isinstance(process.store_error, StoreUnavailable)
        assert await process.logs(run.id) == []
        assert await process.result(run) == "well"
        assert len(process.heard("store.down")) == len(process.heard("store.up")) == 1
        assert [row.message for row in await process.logs(run.id)] == ["before"]
        assert "run.stale" not in await story(store, run)


@pytest.mark.parametrize("verb", ["claim_runs", "next_due", "save_step", "settle"])
async def test_a_store_that_is_down_for_an_hour(make_store, verb):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx):
        await ctx.step("slow", clock.sleep, 5.5)
        return await ctx.step("work", tally.step("work"))

    async with make_store() as store, Process(store, clock, works) as process:
        down = [True]

        def hook(name, args):
            if name == verb and down[0]:
                raise StoreUnavailable("gone")

        process.before = hook
        run = await process.trigger(works)
        await clock.advance("1m")
        calls = process.store.calls
        assert isinstance(process.store_error, StoreUnavailable)
        await clock.advance("1h")
        assert process.store.calls - calls < 3600  # 5 s of back-off, and what else there is to do
        assert len(process.heard("store.down")) == 1
        assert process.heard("store.up") == []
        down[0] = False
        assert await process.result(run) == "work"
        await clock.advance("10s")
        assert len(process.heard("store.up")) == 1
        assert process.store_error is None
        types = await story(store, run)
        assert types.count("run.completed") == 1
        assert tally["work"] <= 2


async def test_everything_down_for_an_hour_costs_no_more_than_the_back_off(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx, number: int):
        await ctx.step("slow", clock.sleep, 5.5)
        return await ctx.step("work", tally.step("work"))

    async with make_store() as store, Process(store, clock, works) as process:
        runs = await process.trigger_many(works, range(8))
        await clock.advance("1s")

        def hook(name, args):
            raise StoreUnavailable("gone")

        process.before = hook
        calls = process.store.calls
        await clock.advance("1h")
        assert process.store.calls - calls < 20 * 3600 / 2.5
        assert len(process.heard("store.down")) == 1
        process.before = lambda name, args: None
        for run in runs:
            assert await process.result(run) == "work"
            await story(store, run)
        assert len(process.heard("store.up")) == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_parallel_steps_leave_no_gap_in_the_sequence(make_store, when):
    tally, clock = Tally(), VirtualClock()

    async def quick(number: int) -> int:
        tally[f"step-{number}"] += 1
        await clock.sleep(1 + number % 3)
        if number == 7:
            raise OSError("no")
        return number

    @job
    async def works(ctx):
        results = await asyncio.gather(
            *(ctx.step(f"step-{number}", quick, number) for number in range(20)), return_exceptions=True
        )
        return [str(one) if isinstance(one, OSError) else one for one in results]

    async with make_store() as store, Process(store, clock, works) as process:
        failed = Counter()

        def hook(name, args):
            if name in ("save_step", "save_failure") and failed[args[2].path] < 1 + len(args[2].path) % 3:
                failed[args[2].path] += 1
                raise StoreUnavailable("hiccup")

        setattr(process, when, hook)
        run = await process.trigger(works)
        output = await process.result(run)
        assert output == [*range(7), "no", *range(8, 20)]
        assert set(tally.values()) == {1}
        types = await story(store, run)
        assert types.count("step.completed") == 19
        assert types.count("step.failed") == 1


@pytest.mark.parametrize("lost", [1, 3])
async def test_a_claim_whose_answer_was_lost_is_found_again(make_store, lost):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx):
        return await ctx.step("work", tally.step("work"))

    async with make_store() as store, Process(store, clock, works) as process:
        counted = failing(process, "claim_runs", lost, "after")
        began = clock.now()
        run = await process.trigger(works)
        await clock.settle()
        assert counted["failed"] == 1
        assert await process.result(run) == "work"
        assert clock.now() - began < 30
        assert tally == {"work": 1}
        row = await store.get_run(run.id)
        assert row.recoveries == 0


async def test_an_error_in_one_run_leaves_the_rest_of_its_batch_alone(make_store):
    tally, clock = Tally(), VirtualClock()

    @job(retry=Retry.NEVER)
    async def works(ctx, number: int):
        await ctx.step("work", tally.step(f"work-{number}"))
        await ctx.sleep("nap", "1m")
        return number

    async with make_store() as store, Process(store, clock, works, warm_runs=0) as process:
        runs = await process.trigger_many(works, range(6))
        await clock.advance("1s")

        def hook(name, args):
            if name == "load_checkpoints" and args[0] == runs[2].id:
                raise RuntimeError("a bug of the store's")

        process.before = hook
        for number, run in enumerate(runs):
            if number != 2:
                assert await process.result(run) == number
        process.before = lambda name, args: None
        assert await process.result(runs[2]) == 2
        assert set(tally.values()) == {1}


async def test_stopping_while_the_store_is_down_comes_to_an_end(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx):
        await ctx.step("first", tally.step("first"))
        await ctx.step("slow", clock.sleep, 3)
        return await ctx.step("last", tally.step("last"))

    async with make_store() as store:
        async with Process(store, clock, works, stop_timeout="10s") as process:
            run = await process.trigger(works)
            await clock.settle()

            def hook(name, args):
                raise StoreUnavailable("gone")

            process.before = hook
            began = clock.now()
        assert clock.now() - began <= 31
        assert await status(store, run) == Status.EXECUTING
        async with Process(store, clock, works) as second:
            assert await second.result(run) == "last"
            assert tally["first"] == 1


async def test_starting_on_a_store_that_is_down_says_so():
    clock = VirtualClock()
    process = Process(MemoryStore(), clock)

    def hook(name, args):
        raise StoreUnavailable("gone")

    process.before = hook
    with pytest.raises(StoreUnavailable, match="gone"):
        await process.start()
    process.before = lambda name, args: None
    async with process:
        assert process.store_error is None


async def test_a_direct_call_gets_the_stores_error():
    clock = VirtualClock()

    @job
    async def works(ctx):
        return 1

    async with Process(MemoryStore(), clock, works) as process:

        def hook(name, args):
            if name == "create_runs":
                raise StoreUnavailable("gone")

        process.before = hook
        with pytest.raises(StoreUnavailable, match="gone"):
            await process.trigger(works)
        assert (await process.list_runs()).runs == []


def test_every_verb_of_the_store_that_a_worker_calls_is_failed_here():
    from_outside = {
        "create_runs", "get_run", "list_runs", "load_steps", "cancel_run", "resume_run", "delete_run", "purge",
        "read_events", "get_meta",
    }  # fmt: skip
    at_start_or_stop = {"register_worker", "unregister_worker", "set_meta"}
    assert set(VERBS) == {*WORKER_VERBS} | from_outside | at_start_or_stop


# Options


DURATIONS = [
    -1, -0.5, math.nan, math.inf, -math.inf, 1e300, "", "5", "5 s", "5parsecs", "-5s", "s", "1.5.2s", "nan", None,
    True, [], {}, b"5s", timedelta(seconds=-1), datetime(2026, 1, 1), 1j, object(),
]  # fmt: skip
NO_COUNTS = [-1, 1.5, 2.0, math.nan, math.inf, "3", None, True, [], 1j]


def wrong(values, *also, allowing=()):
    return [value for value in [*values, *also] if not any(value is ok for ok in allowing)]


DURABLE = {
    "heartbeat_interval": wrong(DURATIONS, 0, "0s"),
    "stale_after": wrong(DURATIONS, 0, "0s", "9s"),
    "stop_timeout": wrong(DURATIONS),
    "suspend_grace": wrong(DURATIONS),
    "concurrency": wrong(NO_COUNTS, 0),
    "warm_runs": wrong(NO_COUNTS),
    "max_value_bytes": wrong(NO_COUNTS, 0),
    "environment": [1, b"prod", ["prod"]],
    "jobs": ["jobs", 1, [1], forever, [lambda ctx: None]],
}
JOB = {
    "retry": [3, "3", {"max_attempts": 3}, Retry],
    "queue": ["", None, 1, "a\nb", "x" * 201],
    "version": ["", 1, 1.0, "a\nb"],
    "max_duration": wrong(DURATIONS, 0, "0s", allowing=[None]),
    "max_recoveries": wrong(NO_COUNTS),
}
RETRY = {
    "max_attempts": wrong(NO_COUNTS, 0),
    "factor": [0, 0.99, -1, math.nan, math.inf, "2", None, True, []],
    "min_delay": wrong(DURATIONS, 0, "0s"),
    "max_delay": wrong(DURATIONS, 0, "0s"),
    "jitter": [0, 1, "yes", None, 0.5],
    "children": [0, 1, "yes", None],
}
MOMENTS = [math.nan, math.inf, -math.inf, 1e300, "tomorrow", "2026-01-01", datetime(2026, 1, 1), [], True, b""]
TRIGGER = {
    "delay": wrong(DURATIONS, allowing=[None]),
    "priority": [1.5, math.nan, math.inf, "high", None, True, 2**31, -(2**31), []],
    "queue": [1, "a\nb", "x" * 201],
    "tags": ["tag", [1], [""], [None], ["a\nb"], 5],
    "max_duration": wrong(DURATIONS, 0, "0s", allowing=[None]),
    "deadline": wrong(MOMENTS),
    "scope": ["run", "attempt", "everywhere", None, 1],
    "idempotency_ttl": wrong(DURATIONS, 0, "0s", allowing=[None]),
}


def cases(table):
    return [pytest.param(option, bad, id=f"{option}-{bad!r:.30}") for option, all in table.items() for bad in all]


def named(error: InvalidOption, option: str) -> None:
    assert option in error.option
    assert str(error).startswith(error.option)
    assert len(str(error)) < 400


@pytest.mark.parametrize(("option", "bad"), cases(DURABLE))
def test_options_of_durable(option, bad):
    with pytest.raises(InvalidOption) as caught:
        Durable(MemoryStore(), **{option: bad})
    named(caught.value, option)


@pytest.mark.parametrize("store", ["nowhere", "", "mysql:db", "://", 5, None, b"memory:", ["memory:"]])
def test_the_store_of_durable(store):
    with pytest.raises(InvalidOption) as caught:
        Durable(store)
    named(caught.value, "store")


@pytest.mark.parametrize("durability", ["", "STRICT", "none", None, True, 1])
def test_the_durability_of_durable(durability, tmp_path):
    with pytest.raises(InvalidOption) as caught:
        Durable(f"sqlite:{tmp_path}/durable.db", durability=durability)
    named(caught.value, "durability")


@pytest.mark.parametrize("option", ["worker", "strict", "always_replay"])
@pytest.mark.parametrize("bad", [0, 1, "no", None, []])
def test_the_flags_of_durable(option, bad):
    with pytest.raises(InvalidOption) as caught:
        Durable(MemoryStore(), **{option: bad})
    named(caught.value, option)


@pytest.mark.parametrize(("option", "bad"), cases(JOB))
def test_options_of_a_job(option, bad):
    with pytest.raises(InvalidOption) as caught:

        @job(**{option: bad})
        async def unfit(ctx):
            pass

    named(caught.value, option)
    assert "unfit" in str(caught.value)


def test_an_option_that_a_job_does_not_have():
    with pytest.raises((InvalidOption, TypeError), match="retries"):

        @job(retries=3)
        async def unfit(ctx):
            pass


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", 1, b"name"])
def test_the_name_of_a_job(name):
    with pytest.raises(InvalidOption) as caught:

        @job(name)
        async def unfit(ctx):
            pass

    named(caught.value, "name of a job")


@pytest.mark.parametrize(("option", "bad"), cases(RETRY))
def test_options_of_retry(option, bad):
    with pytest.raises(InvalidOption) as caught:
        Retry(**{option: bad})
    named(caught.value, option)


@pytest.mark.parametrize(("option", "bad"), cases(TRIGGER))
async def test_options_of_a_trigger(option, bad):
    @job
    async def works(ctx):
        return 1

    async with Process(MemoryStore(), VirtualClock(), works, worker=False) as process:
        key = {"idempotency_key": "key"} if option in ("idempotency_ttl", "scope") else {}
        for trigger in (process.trigger(works, **key, **{option: bad}), process.trigger_many(works, [None], **{option: bad})):
            with pytest.raises(InvalidOption) as caught:
                await trigger
            named(caught.value, option)
        assert (await process.list_runs()).runs == []
        assert "create_runs" not in process.verbs


async def test_an_option_that_a_trigger_does_not_have():
    @job
    async def works(ctx):
        return 1

    async with Process(MemoryStore(), VirtualClock(), works, worker=False) as process:
        with pytest.raises((InvalidOption, TypeError), match="prioriy"):
            await process.trigger(works, prioriy=3)
        assert "create_runs" not in process.verbs


CALLS = {
    "sleep": ("sleep 'k'", wrong(DURATIONS), lambda ctx, bad: ctx.sleep("k", bad)),
    "sleep_until": ("sleep_until 'k'", [*MOMENTS, None], lambda ctx, bad: ctx.sleep_until("k", bad)),
    "map limit": ("limit", wrong(NO_COUNTS, 0), lambda ctx, bad: ctx.map("k", forever, [1], limit=bad)),
    "map nothing": ("limit", wrong(NO_COUNTS, 0), lambda ctx, bad: ctx.map("k", forever, [], limit=bad)),
    "map by": ("by", [lambda item: "same"], lambda ctx, bad: ctx.map("k", forever, [1, 2], by=bad)),
    "timeout": ("timeout", wrong(DURATIONS, 0, "0s", allowing=[None]), lambda ctx, bad: ctx.options(timeout=bad)),
    "retry": ("retry", [3, "3", Retry, []], lambda ctx, bad: ctx.options(retry=bad)),
    "title": ("title", [3, b"", [], True], lambda ctx, bad: ctx.options(title=bad)),
    "step": ("step 'k'", [None, 3, "fn", []], lambda ctx, bad: ctx.step("k", bad)),
    "current": ("progress(current)", [-1, math.nan, math.inf, "5", None, True], lambda ctx, bad: ctx.progress(bad)),
    "total": ("progress(total)", [-1, math.nan, math.inf, "5", True], lambda ctx, bad: ctx.progress(1, bad)),
    "message": ("progress(message)", [5, b"", []], lambda ctx, bad: ctx.progress(1, 2, bad)),
    "metadata": ("metadata key", [5, b"", [], "", None], lambda ctx, bad: ctx.metadata.set(bad, 1)),
    "key of a step": ("key", ["", "a\nb", "x" * 513, 5, None, b"k"], lambda ctx, bad: ctx.step(bad, forever)),
    "key of a sleep": ("key", ["", "a\nb", "x" * 513, 5, None, b"k"], lambda ctx, bad: ctx.sleep(bad, 1)),
    "key of a map": ("key", ["", "a\nb", "x" * 513, 5, None, b"k"], lambda ctx, bad: ctx.map(bad, forever, [1])),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
async def test_options_of_the_calls_of_a_context(call):
    option, values, make = CALLS[call]
    seen = []

    @job(retry=Retry.NEVER)
    async def tries(ctx):
        for bad in values:
            try:
                waiting = make(ctx, bad)
                if waiting is not None:
                    await waiting
            except InvalidOption as error:
                seen.append((bad, error))
            else:
                seen.append((bad, None))

    async with Process(MemoryStore(), VirtualClock(), tries) as process:
        run = await process.trigger(tries)
        await process.finished(run)
        assert len(seen) == len(values)
        assert [bad for bad, error in seen if error is None] == []
        for _, error in seen:
            named(error, option)
        assert await process.steps(run.id) == []


@pytest.mark.parametrize(
    ("option", "values", "call"),
    [
        ("timeout", wrong(DURATIONS, 0, "0s", allowing=[None]), lambda app, run, bad: run.result(timeout=bad)),
        ("timeout", wrong(DURATIONS, allowing=[None]), lambda app, run, bad: app.stop(bad)),
        ("budget", wrong(DURATIONS, 0, "0s", allowing=[None]), lambda app, run, bad: app.run_until_idle(bad)),
        ("limit", wrong(NO_COUNTS, 0), lambda app, run, bad: app.list_runs(limit=bad)),
        ("status", ["DONE", "pending", ["COMPLETED", "x"], [1]], lambda app, run, bad: app.list_runs(status=bad)),
        ("cursor", ["x", ":", "a:b", "1750000000.0"], lambda app, run, bad: app.list_runs(cursor=bad)),
        ("created_after", wrong(MOMENTS), lambda app, run, bad: app.list_runs(created_after=bad)),
        ("created_before", wrong(MOMENTS), lambda app, run, bad: app.list_runs(created_before=bad)),
        ("older_than", wrong(DURATIONS), lambda app, run, bad: app.purge(older_than=bad)),
        ("limit", wrong(NO_COUNTS, 0), lambda app, run, bad: app.purge(older_than=1, limit=bad)),
        ("after", wrong(NO_COUNTS), lambda app, run, bad: anext(run.events(after=bad))),
    ],
    ids=[
        "result", "stop", "run_until_idle", "list-limit", "status", "cursor", "after", "before", "purge",
        "purge-limit", "events",
    ],
)  # fmt: skip
async def test_options_of_what_an_application_calls(option, values, call):
    @job
    async def works(ctx):
        return 1

    async with Process(MemoryStore(), VirtualClock(), works, worker=False) as process:
        run = await process.trigger(works)
        accepted = []
        for bad in values:
            try:
                await call(process, run, bad)
            except InvalidOption as error:
                named(error, option)
            else:
                accepted.append(bad)
        assert accepted == []


async def test_a_faulty_store_passes_everything_on():
    """The tests above prove nothing if the store between them and the real one invents failures."""
    store = FaultyStore(MemoryStore())
    await store.open()
    assert await store.leases() == []
    assert await store.next_due() is None
    assert store.calls == 2
    await store.close()
