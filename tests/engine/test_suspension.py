"""When a run suspends, what becomes of its coroutine, and when it wakes (the suspension rule)."""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import UTC, datetime

import pytest

from durable_lite import Retry, Status, job
from durable_lite.testing import VirtualClock
from tests.engine.apps import Tally
from tests.engine.support import Process, forever, status, story, warnings

WARM = pytest.mark.parametrize("warm_runs", [100, 0], ids=["warm", "cold"])


@pytest.mark.live
async def test_a_run_suspends_when_only_waits_have_been_in_flight_for_the_grace(make_store):
    tally = Tally()

    @job
    async def naps(ctx):
        await ctx.step("a", tally.step("a"))
        await ctx.sleep("nap", "1h")
        return await ctx.step("b", tally.step("b"))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, naps) as process:
        began = clock.now()
        run = await process.trigger(naps)
        await clock.advance("49ms")
        assert await status(store, run) == Status.EXECUTING
        await clock.advance("2ms")
        assert await status(store, run) == Status.WAITING
        assert (await run.refresh()).ready_at == began + 3600
        assert await store.leases() == []
        assert tally == {"a": 1}
        assert await process.result(run) == "b"
        assert tally == {"a": 1, "b": 1}
        assert clock.now() == pytest.approx(began + 3600, abs=0.1)
        assert await story(store, run) == [
            "run.triggered", "run.claimed", "step.completed", "run.waiting",
            "run.claimed", "step.completed", "run.completed",
        ]  # fmt: skip


@pytest.mark.live
async def test_a_call_within_the_grace_postpones_the_suspension(make_store):
    @job
    async def busy_with_pauses(ctx):
        async def pauses():
            for number in range(5):
                await clock.sleep(0.04)
                await ctx.step(f"step-{number}", Tally().step("x"))

        await asyncio.gather(ctx.sleep("nap", "1h"), pauses())

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, busy_with_pauses) as process:
        run = await process.trigger(busy_with_pauses)
        await clock.advance("245ms")
        assert await status(store, run) == Status.EXECUTING
        assert (await story(store, run)).count("step.completed") == 5
        await clock.advance("10ms")
        assert await status(store, run) == Status.WAITING
        assert process.verbs.count("load_checkpoints") == 0


@pytest.mark.live
async def test_a_call_that_memory_answers_postpones_it_too(make_store):
    tally = Tally()

    @job
    async def asks_again(ctx):
        async def asks():
            for _ in range(4):
                await ctx.step("a", tally.step("a"))
                await clock.sleep(0.04)
            await ctx.step("b", tally.step("b"))

        await asyncio.gather(ctx.sleep("nap", "1h"), asks())

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks_again) as process:
        run = await process.trigger(asks_again)
        await process.result(run)
        assert tally == {"a": 1, "b": 1}
        assert (await story(store, run)).count("run.waiting") == 1


@pytest.mark.parametrize(("grace", "early", "late"), [("0s", "0s", "0s"), ("2s", "1990ms", "20ms")])
async def test_the_grace_is_an_option(make_store, grace, early, late):
    @job
    async def naps(ctx):
        await ctx.sleep("nap", "1h")

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, naps, suspend_grace=grace) as process:
        run = await process.trigger(naps)
        await clock.advance(early)
        if early != late:
            assert await status(store, run) == Status.EXECUTING
        await clock.advance(late)
        assert await status(store, run) == Status.WAITING


async def both_gathered(ctx, *calls):
    return await asyncio.gather(*calls)


async def both_in_a_group(ctx, *calls):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call) for call in calls]
    return [task.result() for task in tasks]


async def both_in_a_step(ctx, *calls):
    async def inner():
        return list(await asyncio.gather(*(ctx.step(f"call-{n}", _awaiting, c) for n, c in enumerate(calls))))

    return await ctx.step("outer", inner)


async def _awaiting(call):
    return await call


@WARM
@pytest.mark.parametrize("together", [both_gathered, both_in_a_group])
async def test_a_step_in_flight_beside_a_wait_keeps_the_run(make_store, together, warm_runs):
    tally = Tally()

    @job
    async def sleeps_and_works(ctx):
        async def works():
            tally["work"] += 1
            await clock.sleep(10)
            return "worked"

        return await together(ctx, ctx.sleep("nap", "1h"), ctx.step("work", works))

    clock = VirtualClock()
    async with (
        make_store() as store,
        Process(store, clock, sleeps_and_works, warm_runs=warm_runs) as process,
    ):
        run = await process.trigger(sleeps_and_works)
        await clock.advance("9s")
        assert await status(store, run) == Status.EXECUTING
        await clock.advance("1050ms")
        assert await status(store, run) == Status.WAITING
        assert await process.result(run) == [None, "worked"]
        assert tally == {"work": 1}
        assert await warnings(process, run) == []


@pytest.mark.live
async def test_a_wait_that_is_due_before_the_step_beside_it_resolves_in_place(make_store):
    woke = []

    @job
    async def sleeps_less(ctx):
        async def naps():
            await ctx.sleep("nap", "5s")
            woke.append(clock.now())

        await asyncio.gather(naps(), ctx.step("work", clock.sleep, 10))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, sleeps_less) as process:
        began = clock.now()
        run = await process.trigger(sleeps_less)
        await process.result(run)
        assert woke == [pytest.approx(began + 5, abs=0.01)]
        assert "run.waiting" not in await story(store, run)


@pytest.mark.live
@WARM
async def test_a_step_that_waits_is_suspended_and_entered_again(make_store, warm_runs):
    tally = Tally()

    @job
    async def waits_inside(ctx):
        async def outer():
            tally["outer"] += 1
            first = await ctx.step("first", tally.step("first"))
            await ctx.sleep("nap", "1h")
            return [first, await ctx.step("second", tally.step("second"))]

        return await ctx.step("outer", outer)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, waits_inside, warm_runs=warm_runs) as process:
        run = await process.trigger(waits_inside)
        await clock.advance("1s")
        assert await status(store, run) == Status.WAITING
        assert await process.result(run) == ["first", "second"]
        assert tally == {"outer": 1 if warm_runs else 2, "first": 1, "second": 1}
        rows = {row.path: row for row in await process.steps(run.id)}
        assert set(rows) == {"outer", "outer/first", "outer/nap", "outer/second"}
        assert rows["outer"].failures == 0
        assert rows["outer"].attempt == 1


async def test_a_wait_deep_inside_beside_a_step_deep_inside(make_store):
    @job
    async def deep(ctx):
        async def naps():
            await ctx.sleep("nap", "1h")
            return "slept"

        async def works():
            return await ctx.step("inner", works_inside)

        async def works_inside():
            await clock.sleep(3)
            return "worked"

        async def outer():
            return list(await asyncio.gather(ctx.step("naps", naps), ctx.step("works", works)))

        return await ctx.step("outer", outer)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, deep) as process:
        run = await process.trigger(deep)
        await clock.advance("2990ms")
        assert await status(store, run) == Status.EXECUTING
        await clock.advance("100ms")
        assert await status(store, run) == Status.WAITING
        assert await process.result(run) == ["slept", "worked"]
        assert await warnings(process, run) == []


@pytest.mark.live
@WARM
async def test_the_back_off_of_a_step_is_a_wait(make_store, warm_runs):
    tally = Tally()

    @job
    async def fails_twice(ctx):
        async def flaky():
            tally["flaky"] += 1
            if tally["flaky"] < 3:
                raise OSError("not yet")
            return tally["flaky"]

        retry = Retry(max_attempts=3, min_delay="10m", max_delay="1h", factor=3, jitter=False)
        return await ctx.options(retry=retry).step("flaky", flaky)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, fails_twice, warm_runs=warm_runs) as process:
        began = clock.now()
        run = await process.trigger(fails_twice)
        await clock.advance("1s")
        assert await status(store, run) == Status.WAITING
        assert (await run.refresh()).ready_at == pytest.approx(began + 600)
        assert await process.result(run) == 3
        assert clock.now() == pytest.approx(began + 600 + 1800, abs=1)
        assert tally == {"flaky": 3}
        assert (await story(store, run)).count("run.waiting") == 2


async def test_what_a_failed_attempt_left_in_flight_keeps_the_run_from_suspending(make_store):
    tally = Tally()

    @job
    async def leaves_work_behind(ctx):
        left = []

        async def slow():
            await clock.sleep(10)
            return tally.update(["slow"])

        async def flaky():
            tally["flaky"] += 1
            if tally["flaky"] == 1:
                left.append(asyncio.ensure_future(ctx.step("slow", slow)))
                await asyncio.sleep(0)
                raise OSError("once")
            await ctx.step("slow", slow)
            return "done"

        retry = Retry(max_attempts=2, min_delay="1h", max_delay="1h", jitter=False)
        result = await ctx.options(retry=retry).step("flaky", flaky)
        await asyncio.gather(*left)
        return result

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, leaves_work_behind) as process:
        run = await process.trigger(leaves_work_behind)
        await clock.advance("9s")
        assert await status(store, run) == Status.EXECUTING
        await clock.advance("2s")
        assert await status(store, run) == Status.WAITING
        assert await process.result(run) == "done"
        assert tally == {"flaky": 2, "slow": 1}


@WARM
async def test_parallel_sleeps_wake_in_order_once_each_and_never_early(make_store, warm_runs):
    lengths = [7, 3, 3.02, 0.01, 90, 0.05, 45, 0.06, 3600, 7]
    woke = []

    @job
    async def sleeps(ctx):
        async def nap(number):
            await ctx.sleep(f"nap-{number}", lengths[number])
            await ctx.step(f"woke-{number}", record, number)

        async def record(number):
            woke.append((number, clock.now()))

        await asyncio.gather(*(nap(number) for number in range(len(lengths))))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, sleeps, warm_runs=warm_runs) as process:
        began = clock.now()
        await process.outcome(sleeps)
        assert [number for number, _ in woke] == sorted(range(len(lengths)), key=lengths.__getitem__)
        for number, at in woke:
            assert began + lengths[number] <= at < began + lengths[number] + 0.1


async def test_a_clock_that_is_set_back_makes_waits_longer_not_shorter(make_store):
    @job
    async def naps(ctx):
        await ctx.sleep("nap", "60s")
        return clock.now()

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, naps) as process:
        began = clock.now()
        run = await process.trigger(naps)
        await clock.advance("30s")
        clock.set_back("20s")
        assert began + 60 <= await process.result(run) < began + 60.1


@pytest.mark.live
async def test_nor_does_it_wake_a_wait_in_place_early(make_store):
    @job
    async def naps_beside_work(ctx):
        async def naps():
            await ctx.sleep("nap", "60s")
            return clock.now()

        return (await asyncio.gather(naps(), ctx.step("work", clock.sleep, 100)))[0]

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, naps_beside_work) as process:
        began = clock.now()
        run = await process.trigger(naps_beside_work)
        await clock.advance("30s")
        clock.set_back("20s")
        assert began + 60 <= await process.result(run) < began + 60.1


async def test_a_deadline_is_fixed_once_and_no_crash_extends_it(make_store):
    length = ["60s"]

    @job
    async def naps_beside_work(ctx):
        async def naps():
            await ctx.sleep("nap", length[0])
            return clock.now()

        return (await asyncio.gather(naps(), ctx.step("work", clock.sleep, 15)))[0]

    clock = VirtualClock()
    async with make_store() as store:
        began = clock.now()
        async with Process(store, clock, naps_beside_work) as first:
            run = await first.trigger(naps_beside_work)
            await clock.advance("10s")
            await first.buried()
        length[0] = "2h"  # the job was changed meanwhile
        async with Process(store, clock, naps_beside_work) as second:
            assert began + 60 <= await second.result(run) < began + 61
            assert "run.stale" in await story(store, run)


@WARM
async def test_a_deadline_is_fixed_once_and_no_replay_extends_it(make_store, warm_runs):
    @job
    async def naps_twice(ctx):
        await asyncio.gather(ctx.sleep("short", "10s"), ctx.sleep("long", "30s"))
        return clock.now()

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, naps_twice, warm_runs=warm_runs) as process:
        began = clock.now()
        assert began + 30 <= await process.outcome(naps_twice) < began + 30.1


@WARM
async def test_a_wait_for_nothing_or_for_the_past_is_over_at_once(make_store, warm_runs):
    @job
    async def hardly_waits(ctx):
        await ctx.sleep("none", 0)
        await ctx.sleep_until("long-ago", 0)
        await ctx.sleep_until("before", datetime(1999, 12, 31, tzinfo=UTC))
        await ctx.sleep_until("now", clock.now())
        await ctx.sleep("nap", 1)
        return "done"

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, hardly_waits, warm_runs=warm_runs) as process:
        run = await process.trigger(hardly_waits)
        await clock.settle()
        paths = {row.path for row in await process.steps(run.id)}
        assert paths == {"none", "long-ago", "before", "now", "nap"}
        assert await process.result(run) == "done"
        assert (await story(store, run)).count("run.waiting") == 1


async def test_sleep_until_wakes_at_that_moment(make_store):
    @job
    async def waits_until(ctx):
        await ctx.sleep_until("then", datetime.fromtimestamp(clock.now() + 5000, UTC))
        return clock.now()

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, waits_until) as process:
        began = clock.now()
        assert await process.outcome(waits_until) == pytest.approx(began + 5000, abs=0.1)


# Plain awaits


@pytest.mark.live
async def test_a_plain_await_is_cut_off_and_done_again_and_the_log_says_where(make_store):
    tally = Tally()
    lines = []

    @job
    async def awaits_plainly(ctx):
        async def plainly():
            tally["plain"] += 1
            try:
                lines.append(sys._getframe().f_lineno + 1)
                await clock.sleep(20)
            except asyncio.CancelledError:
                tally["cut off"] += 1
                raise
            return await ctx.step("after", tally.step("after"))

        return await asyncio.gather(ctx.sleep("nap", "60s"), plainly())

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, awaits_plainly) as process:
        began = clock.now()
        run = await process.trigger(awaits_plainly)
        await clock.advance("1s")
        assert await status(store, run) == Status.WAITING
        assert tally == {"plain": 1, "cut off": 1}
        [warning] = await warnings(process, run)
        assert "plain await" in warning
        assert f"{__file__}:{lines[0]} in plainly" in warning
        assert await process.result(run) == [None, "after"]
        assert tally == {"plain": 2, "cut off": 1, "after": 1}
        assert clock.now() == pytest.approx(began + 80, abs=0.2)
        assert len(await warnings(process, run)) == 1
        assert process.heard("run.swallowed_stop") == []


async def test_a_plain_await_in_a_task_group_or_a_step_is_found_as_well(make_store):
    @job
    async def awaits_everywhere(ctx):
        async def in_group():
            await clock.sleep(20)

        async def in_step():
            async def beside_a_wait():
                await clock.sleep(30)

            await asyncio.gather(ctx.sleep("nap", "60s"), beside_a_wait())

        async with asyncio.TaskGroup() as group:
            group.create_task(in_group())
            group.create_task(ctx.step("step", in_step))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, awaits_everywhere) as process:
        run = await process.trigger(awaits_everywhere)
        await clock.advance("1s")
        found = await warnings(process, run)
        assert len(found) == 2
        assert any("in in_group" in line for line in found)
        assert any("in beside_a_wait" in line for line in found)
        await process.result(run)


@pytest.mark.live
async def test_a_plain_await_that_goes_on_while_the_run_is_warm_ends_the_coroutine(make_store):
    tally, gate, seen = Tally(), asyncio.Event(), []

    @job
    async def goes_on_unseen(ctx):
        async def in_background():
            tally["background"] += 1
            await gate.wait()
            try:
                await ctx.step("late", tally.step("late"))
            except asyncio.CancelledError as stop:
                seen.append(type(stop).__name__)
                raise

        tally["job"] += 1
        background = asyncio.ensure_future(in_background())
        await ctx.sleep("nap", "60s")
        await background
        return "done"

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, goes_on_unseen) as process:
        run = await process.trigger(goes_on_unseen)
        await clock.advance("1s")
        assert await status(store, run) == Status.WAITING
        calls = process.store.calls
        gate.set()
        await clock.settle()
        assert seen == ["RunStopped"]
        assert process.store.calls == calls
        assert await process.result(run) == "done"
        assert tally == {"job": 2, "background": 2, "late": 1}
        assert await story(store, run) == [
            "run.triggered", "run.claimed", "run.waiting", "run.claimed", "step.completed", "run.completed",
        ]  # fmt: skip
        assert any("plain await went on" in line for line in await warnings(process, run))


@pytest.mark.live
async def test_a_wait_that_times_out_while_the_run_is_warm_is_done_again(make_store):
    """What the job did on its own while it was suspended is dropped: it is as if it had been replayed."""
    tally, over = Tally(), []

    @job
    async def impatient(ctx):
        tally["job"] += 1
        try:
            async with asyncio.timeout(None) as limit:
                over.append(limit)
                await ctx.sleep("nap", "60s")
        except TimeoutError:
            return "timed out"
        return "slept"

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, impatient) as process:
        run = await process.trigger(impatient)
        await clock.advance("1s")
        assert await status(store, run) == Status.WAITING
        over[0].reschedule(0)
        await clock.settle()
        assert await status(store, run) == Status.WAITING
        assert await process.result(run) == "slept"
        assert tally == {"job": 2}


# Waits that end early


@pytest.mark.live
async def test_a_wait_that_is_timed_out_is_given_up_and_records_nothing(make_store):
    tally = Tally()

    @job
    async def impatient(ctx):
        try:
            async with asyncio.timeout(0):
                await ctx.sleep("nap", "1h")
        except TimeoutError:
            return await ctx.step("instead", tally.step("instead"))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, impatient) as process:
        began = clock.now()
        run = await process.trigger(impatient)
        assert await process.result(run) == "instead"
        assert clock.now() == pytest.approx(began, abs=0.01)
        assert await story(store, run) == ["run.triggered", "run.claimed", "step.completed", "run.completed"]
        nap = next(row for row in await process.steps(run.id) if row.path == "nap")
        assert (nap.state, nap.seq, nap.finished_at) == ("waiting", None, None)


@pytest.mark.live
async def test_a_wait_that_a_failing_sibling_cancels_is_given_up(make_store):
    @job
    async def one_fails(ctx):
        async def fails():
            raise OSError("no")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.sleep("nap", "1h"))
                group.create_task(ctx.step("fails", fails))
        except* OSError:
            pass
        await ctx.step("slow", clock.sleep, 5)
        return "went on"

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, one_fails) as process:
        began = clock.now()
        run = await process.trigger(one_fails)
        assert await process.result(run) == "went on"
        assert clock.now() == pytest.approx(began + 5, abs=0.1)
        assert "run.waiting" not in await story(store, run)


@pytest.mark.live
async def test_of_two_waits_on_one_key_each_can_be_given_up(make_store):
    @job
    async def twice(ctx):
        async def impatient():
            try:
                async with asyncio.timeout(0):
                    await ctx.sleep("nap", "1h")
            except TimeoutError:
                return "gave up"

        return await asyncio.gather(impatient(), ctx.sleep("nap", "2h"), ctx.sleep("nap", "3h"))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, twice) as process:
        began = clock.now()
        assert await process.outcome(twice) == ["gave up", None, None]
        assert clock.now() == pytest.approx(began + 3600, abs=0.1)


@pytest.mark.live
async def test_a_wait_that_is_due_at_the_moment_of_suspension_goes_on_in_place(make_store):
    """A machine that slept for a moment: the grace and the wait are over at once."""
    tally = Tally()

    @job
    async def naps(ctx):
        tally["job"] += 1
        await ctx.sleep("nap", "10s")
        return await ctx.step("after", tally.step("after"))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, naps) as process:
        run = await process.trigger(naps)
        await clock.settle()
        await clock.jump("20s")
        assert await process.result(run) == "after"
        assert tally == {"job": 1, "after": 1}
        assert await warnings(process, run) == []


# Warm runs


@pytest.mark.live
async def test_a_warm_run_goes_on_in_place(make_store):
    tally = Tally()

    @job
    async def many_naps(ctx):
        tally["job"] += 1
        for number in range(20):
            tally["between"] += 1
            await ctx.sleep(f"nap-{number}", "10s")
            await ctx.step(f"step-{number}", tally.step("step"))
        return tally["between"]

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, many_naps) as process:
        run = await process.trigger(many_naps)
        assert await process.result(run) == 20
        assert tally == {"job": 1, "between": 20, "step": 20}
        assert process.verbs.count("load_checkpoints") == 0
        assert (await run.refresh()).generation == 21
        assert (await story(store, run)).count("run.resumed") == 0


@pytest.mark.live
async def test_a_cold_run_replays(make_store):
    tally = Tally()

    @job
    async def many_naps(ctx):
        tally["job"] += 1
        for number in range(5):
            tally["between"] += 1
            await ctx.sleep(f"nap-{number}", "10s")
            await ctx.step(f"step-{number}", tally.step("step"))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, many_naps, warm_runs=0) as process:
        await process.outcome(many_naps)
        assert tally == {"job": 6, "between": 1 + 2 + 3 + 4 + 5 + 5, "step": 5}


@pytest.mark.live
async def test_the_least_recently_suspended_loses_its_coroutine(make_store):
    tally, ended = Tally(), []

    @job
    async def naps(ctx, number: int):
        tally[f"job-{number}"] += 1
        try:
            await ctx.sleep("nap", 10 + number)
        except asyncio.CancelledError:
            ended.append(number)
            raise

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, naps, warm_runs=2) as process:
        runs = []
        for number in range(4):
            runs.append(await process.trigger(naps, number))
            await clock.advance("100ms")
        assert ended == [0, 1]
        for run in runs:
            await process.result(run)
        assert tally == {"job-0": 2, "job-1": 2, "job-2": 1, "job-3": 1}
        assert process.heard("run.swallowed_stop") == []


@pytest.mark.live
async def test_a_warm_run_that_another_worker_had_meanwhile_is_replayed(make_store):
    tally, gate = Tally(), asyncio.Event()

    @job
    async def naps(ctx):
        tally["job"] += 1
        await ctx.sleep("nap", "60s")
        tally["between"] += 1
        await ctx.step("x", tally.step("x"))
        await ctx.sleep("nap-2", "60s")
        return await ctx.step("y", tally.step("y"))

    @job
    async def blocker(ctx):
        await ctx.step("wait", gate.wait)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, naps, blocker, concurrency=1) as first:
        run = await first.trigger(naps)
        await clock.advance("1s")
        assert await status(store, run) == Status.WAITING
        blocking = await first.trigger(blocker)
        await clock.advance("1s")
        async with Process(store, clock, naps, blocker) as second:
            await clock.advance("60s")
            assert await status(store, run) == Status.WAITING
            assert tally == {"job": 2, "between": 1, "x": 1}
            assert second.verbs.count("save_step") > 0
        gate.set()
        await first.result(blocking)
        assert await first.result(run) == "y"
        assert tally == {"job": 3, "between": 2, "x": 1, "y": 1}
        assert (await run.refresh()).generation == 3
        await story(store, run)


@pytest.mark.live
async def test_a_warm_run_that_is_cancelled_lets_go_of_its_coroutine(make_store):
    tally = Tally()

    @job
    async def naps(ctx):
        try:
            await ctx.sleep("nap", "1h")
        finally:
            tally["released"] += 1

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, naps) as process:
        run = await process.trigger(naps)
        await clock.advance("1s")
        assert tally == {}
        await process.cancel(run.id)
        await clock.settle()
        assert tally == {"released": 1}
        await clock.advance("2h")
        assert await status(store, run) == Status.CANCELLED


async def test_stopping_the_worker_lets_go_of_warm_coroutines(make_store):
    tally = Tally()

    @job
    async def naps(ctx):
        tally["job"] += 1
        try:
            await ctx.sleep("nap", "1h")
        finally:
            tally["released"] += 1
        return "done"

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, naps) as process:
        run = await process.trigger(naps)
        await clock.advance("1s")
        await clock.run(process.stop())
        assert tally == {"job": 1, "released": 1}
        assert await status(store, run) == Status.WAITING
        await process.start()
        assert await process.result(run) == "done"
        assert tally["job"] == 2


# Long and many


@WARM
async def test_a_sleep_of_thirty_days_costs_nothing_meanwhile(make_store, warm_runs):
    @job
    async def sleeps_long(ctx):
        await ctx.sleep("month", "30d")
        return clock.now()

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, sleeps_long, warm_runs=warm_runs) as process:
        began = clock.now()
        run = await process.trigger(sleeps_long)
        await clock.advance("1s")
        assert await status(store, run) == Status.WAITING
        calls = process.store.calls
        await clock.advance("29d")
        assert process.store.calls - calls < 100 + 2 * 29
        assert await process.result(run) == pytest.approx(began + 30 * 86_400, abs=0.1)


@pytest.mark.timeout(120)
async def test_a_thousand_waiting_runs_wake_on_time(make_store):
    woke = {}

    @job
    async def naps(ctx, number: int):
        await ctx.sleep_until("nap", due[number])
        woke[number] = clock.now()

    clock = VirtualClock()
    draw = random.Random(7)
    due = [clock.now() + 60 + draw.random() * 600 for _ in range(1000)]
    async with make_store() as store, Process(store, clock, naps, concurrency=20) as process:
        runs = await process.trigger_many(naps, range(1000))
        await clock.advance("55s")
        assert {str(run.status) for run in (await process.list_runs(limit=1000)).runs} == {"WAITING"}
        assert woke == {}
        await clock.advance("610s")
        assert len(woke) == 1000
        assert all(0 <= woke[number] - due[number] < 0.2 for number in range(1000))
        assert await status(store, runs[999]) == Status.COMPLETED


async def test_a_step_that_never_ends_never_suspends(make_store):
    @job
    async def works_on(ctx):
        await asyncio.gather(ctx.sleep("nap", "10s"), ctx.step("work", forever))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, works_on, stop_timeout=0) as process:
        run = await process.trigger(works_on)
        await clock.advance("10m")
        assert await status(store, run) == Status.EXECUTING
