"""Waking up after a gap: what was in flight is kept or given up, and only one worker's writes count."""

from __future__ import annotations

import asyncio

import pytest

from durable_lite import Retry, Status, StoreUnavailable, job
from durable_lite.stores.memory import MemoryStore
from durable_lite.testing import VirtualClock
from tests.engine.apps import Tally
from tests.engine.support import Process, forever, pass_time, status, story, warnings


def three_steps(tally, middle):
    """A job of three steps, the second of which is `middle`."""

    @job
    async def three(ctx):
        first = await ctx.step("first", tally.step("first"))
        second = await ctx.step("second", middle)
        return [first, second, await ctx.step("third", tally.step("third"))]

    return three


def slow(tally, clock, seconds, *later):
    """A step that takes so long, and when it is done again, so long."""
    lengths = [seconds, *later]

    async def second():
        tally["second"] += 1
        await clock.sleep(lengths.pop(0) if len(lengths) > 1 else lengths[0])
        tally["second ended"] += 1
        return "second"

    return second


async def events_of(store, run, type):
    return [event for event in await store.read_events(run.id, 0, 10_000) if event.type == type]


async def everything(store, run):
    """All that a store knows of a run."""
    return (
        await store.get_run(run.id),
        await store.load_steps(run.id),
        await store.read_events(run.id, 0, 10_000),
        await store.read_logs(run.id),
        await store.leases(),
    )


# Frozen and thawed, alone


@pytest.mark.live
@pytest.mark.parametrize("gap", [1, 6, 11, 24])
@pytest.mark.parametrize("monotonic", [True, False], ids=["ticking", "stopped"])
async def test_after_a_short_gap_the_work_in_flight_is_kept(make_store, gap, monotonic):
    tally, clock = Tally(), VirtualClock()
    three = three_steps(tally, slow(tally, clock, 100))
    async with make_store() as store, Process(store, clock, three) as process:
        run = await process.trigger(three)
        await clock.settle()
        await clock.jump(gap, monotonic=monotonic)
        assert await status(store, run) == Status.EXECUTING
        await clock.advance("6s")
        [lease] = await store.leases()
        assert clock.now() - lease.heartbeat_at <= 5.01
        assert await process.result(run) == ["first", "second", "third"]
        assert tally == {"first": 1, "second": 1, "second ended": 1, "third": 1}
        assert "run.stale" not in await story(store, run)
        assert (await run.refresh()).generation == 1


@pytest.mark.live
@pytest.mark.parametrize("gap", [31, 3600, 86_400 * 30])
@pytest.mark.parametrize("monotonic", [True, False], ids=["ticking", "stopped"])
async def test_after_a_long_gap_the_run_resumes_from_its_last_checkpoint(make_store, gap, monotonic):
    tally, clock = Tally(), VirtualClock()
    three = three_steps(tally, slow(tally, clock, gap + 60, 60))
    async with make_store() as store, Process(store, clock, three) as process:
        began = clock.now()
        run = await process.trigger(three)
        await clock.settle()
        await clock.jump(gap, monotonic=monotonic)
        await clock.advance("6s")
        assert await status(store, run) == Status.EXECUTING
        assert (await run.refresh()).generation == 3  # claimed, marked stale, claimed
        [stale] = await events_of(store, run, "run.stale")
        assert stale.data["reason"] == "suspended"
        assert stale.data["heartbeat_at"] == began
        [resumed] = await events_of(store, run, "run.resumed")
        assert resumed.data["replayed"] == 1
        assert gap * 1000 <= resumed.data["gap_ms"] <= (gap + 6) * 1000
        assert tally == {"first": 1, "second": 2}
        assert await process.result(run) == ["first", "second", "third"]
        assert tally == {"first": 1, "second": 2, "second ended": 1, "third": 1}
        assert (await run.refresh()).started_at == began
        types = await story(store, run)
        assert types == [
            "run.triggered", "run.claimed", "step.completed", "run.stale", "run.claimed", "run.resumed",
            "step.completed", "step.completed", "run.completed",
        ]  # fmt: skip


async def test_a_step_that_had_just_finished_is_accepted_first(make_store):
    tally, clock = Tally(), VirtualClock()
    three = three_steps(tally, slow(tally, clock, 10))
    async with make_store() as store, Process(store, clock, three) as process:
        run = await process.trigger(three)
        await clock.settle()
        await clock.jump("1h")
        assert await process.result(run) == ["first", "second", "third"]
        assert tally == {"first": 1, "second": 1, "second ended": 1, "third": 1}
        types = await story(store, run)
        assert types.index("run.stale") == types.index("step.completed", 3) + 1
        [resumed] = await events_of(store, run, "run.resumed")
        assert resumed.data["replayed"] == 2


async def test_so_is_the_failure_of_one(make_store):
    tally, clock = Tally(), VirtualClock()

    async def second():
        tally["second"] += 1
        await clock.sleep(10)
        raise OSError("no")

    @job(retry=Retry.NEVER)
    async def catches(ctx):
        try:
            await ctx.step("second", second)
        except OSError:
            return await ctx.step("instead", tally.step("instead"))

    async with make_store() as store, Process(store, clock, catches) as process:
        run = await process.trigger(catches)
        await clock.settle()
        await clock.jump("1h")
        assert await process.result(run) == "instead"
        assert tally == {"second": 1, "instead": 1}


async def test_several_runs_wake_together(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx, number: int):
        await ctx.step("first", tally.step(f"first-{number}"))
        await ctx.step("second", slow(tally, clock, 600))
        return number

    async with make_store() as store, Process(store, clock, works) as process:
        runs = await process.trigger_many(works, range(5))
        await clock.advance("100s")
        await clock.jump("40s")
        assert process.verbs.count("mark_stale") == 1
        for number, run in enumerate(runs):
            assert await process.result(run) == number
            assert (await events_of(store, run, "run.stale"))[0].data["reason"] == "suspended"
        assert tally == {"second": 10, "second ended": 5} | {f"first-{n}": 1 for n in range(5)}


@pytest.mark.live
async def test_a_run_at_a_wait_is_not_stale_after_a_gap(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def naps(ctx):
        tally["job"] += 1
        await ctx.sleep("nap", "1h")
        return clock.now()

    async with make_store() as store, Process(store, clock, naps) as process:
        began = clock.now()
        run = await process.trigger(naps)
        await clock.advance("1s")
        await clock.jump("2d")
        assert await process.result(run) == pytest.approx(began + 1 + 2 * 86_400, abs=0.1)
        assert tally == {"job": 1}
        assert "run.stale" not in await story(store, run)


async def test_a_run_frozen_before_it_could_suspend_is_stale_and_goes_on(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def naps(ctx):
        await ctx.step("first", tally.step("first"))
        await ctx.sleep("nap", "1h")
        return await ctx.step("second", tally.step("second"))

    async with make_store() as store, Process(store, clock, naps) as process:
        run = await process.trigger(naps)
        await clock.settle()
        await clock.jump("10m")
        await clock.advance("1s")
        assert await status(store, run) == Status.WAITING
        assert await process.result(run) == "second"
        assert tally == {"first": 1, "second": 1}
        await story(store, run)


async def test_no_job_goes_on_before_the_sweep(make_store):
    """Whatever wakes first: a plain await's end, a wait's or a step's, nothing new is written before."""
    tally, clock, order = Tally(), VirtualClock(), []

    @job
    async def many(ctx):
        async def plain():
            await clock.sleep(10)
            await ctx.step("after-plain", tally.step("after-plain"))

        async def naps():
            await ctx.sleep("nap", "11s")
            await ctx.sleep("nap-2", "1h")

        async def returns():
            await clock.sleep(12)

        await asyncio.gather(plain(), naps(), ctx.step("long", forever), returns())

    async with make_store() as store, Process(store, clock, many, stop_timeout=0) as process:
        run = await process.trigger(many)
        await clock.settle()
        process.before = lambda verb, args: order.append(verb)
        await clock.jump("40s")
        assert order[0] == "mark_stale"
        assert tally["after-plain"] == 0
        assert await status(store, run) == Status.EXECUTING
        assert (await run.refresh()).generation == 3


async def test_a_job_that_returns_after_a_long_gap_is_not_settled_before_the_sweep(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def returns(ctx):
        tally["job"] += 1
        if tally["job"] == 1:
            await clock.sleep(10)
        return tally["job"]

    async with make_store() as store, Process(store, clock, returns) as process:
        run = await process.trigger(returns)
        await clock.settle()
        await clock.jump("40s")
        assert await process.result(run) == 2
        assert "run.stale" in await story(store, run)


@pytest.mark.parametrize(("gap", "stale"), [(29.9, False), (30.1, True)])
async def test_the_border_is_stale_after_since_the_last_beat(make_store, gap, stale):
    tally, clock = Tally(), VirtualClock()
    three = three_steps(tally, slow(tally, clock, 300))
    async with make_store() as store, Process(store, clock, three) as process:
        run = await process.trigger(three)
        await clock.advance("20s")
        await clock.jump(gap)
        await clock.settle()
        assert ("run.stale" in await story(store, run)) == stale


# Blocked


@pytest.mark.parametrize("seconds", [12, 29, 31, 3600])
async def test_a_step_that_blocks_counts_and_is_told(make_store, seconds):
    tally, clock = Tally(), VirtualClock()

    async def blocks(number: int) -> int:
        tally["blocked"] += 1
        pass_time(clock, seconds)
        return number

    @job
    async def blocking(ctx):
        return [await ctx.step(f"step-{number}", blocks, number) for number in range(4)]

    async with make_store() as store, Process(store, clock, blocking) as process:
        run = await process.trigger(blocking)
        assert await process.result(run) == [0, 1, 2, 3]
        assert tally == {"blocked": 4}
        told = process.heard("step.blocked")
        assert {event.data["path"] for event in told} == {f"step-{number}" for number in range(4)}
        assert all(event.data["seconds"] >= seconds for event in told)
        assert any("step.blocked" in line and "'step-3'" in line for line in await warnings(process, run))
        if seconds > 30:
            assert (await story(store, run)).count("run.stale") >= 3
        if seconds < 15:
            assert "run.stale" not in await story(store, run)
        assert (await run.refresh()).status == Status.COMPLETED


async def test_a_sync_step_that_blocks_inline_counts_as_well(make_store):
    tally, clock = Tally(), VirtualClock()

    def blocks() -> str:
        tally["blocked"] += 1
        pass_time(clock, 45)
        return "blocked"

    three = three_steps(tally, blocks)
    async with make_store() as store, Process(store, clock, three) as process:
        assert await process.outcome(three) == ["first", "blocked", "third"]
        assert tally == {"first": 1, "blocked": 1, "third": 1}
        assert [event.data["path"] for event in process.heard("step.blocked")] == ["second"]


async def test_a_step_that_blocks_while_another_run_works(make_store):
    tally, clock = Tally(), VirtualClock()

    async def blocks():
        tally["blocked"] += 1
        pass_time(clock, 40)

    @job
    async def blocking(ctx):
        await ctx.step("pause", clock.sleep, 7)
        await ctx.step("block", blocks)
        return "blocking"

    @job
    async def working(ctx):
        await ctx.step("first", tally.step("first"))
        await ctx.step("second", slow(tally, clock, 60))
        return "working"

    async with make_store() as store, Process(store, clock, blocking, working) as process:
        work = await process.trigger(working)
        block = await process.trigger(blocking)
        assert await process.result(block) == "blocking"
        assert await process.result(work) == "working"
        assert tally == {"first": 1, "second": 2, "second ended": 1, "blocked": 1}


# Kept alive


@pytest.mark.live
async def test_heartbeats_keep_a_long_step_alive(make_store):
    tally, clock = Tally(), VirtualClock()
    three = three_steps(tally, slow(tally, clock, 600))
    async with (
        make_store() as store,
        Process(store, clock, three) as first,
        Process(store, clock, three) as second,
    ):
        run = await first.trigger(three)
        await clock.settle()
        owner = (await store.get_run(run.id)).worker
        assert await second.result(run) == ["first", "second", "third"]
        assert tally == {"first": 1, "second": 1, "second ended": 1, "third": 1}
        row = await store.get_run(run.id)
        assert (row.worker, row.generation) == (owner, 1)
        beats = first.verbs.count("beat") + second.verbs.count("beat")
        assert 115 <= beats <= 125


async def test_one_beat_is_one_write_for_all_runs(make_store):
    clock = VirtualClock()

    @job
    async def works(ctx):
        await ctx.step("work", clock.sleep, 60)

    async with make_store() as store, Process(store, clock, works, concurrency=50) as process:
        await process.trigger_many(works, [None] * 50)
        await clock.advance("31s")
        assert process.verbs.count("beat") == 6
        assert {lease.heartbeat_at for lease in await store.leases()} == {clock.now() - 1}


# Taken over


@pytest.mark.live
@pytest.mark.parametrize(
    "verb", ["step", "failure", "sleep", "return", "raise", "suspend", "release", "beat"]
)
async def test_the_first_worker_is_fenced_off_when_it_wakes(make_store, verb):
    """Frozen with a second worker there: whatever the first still tries to write changes nothing."""
    tally, slept = Tally(), asyncio.Event()
    clock, other_clock = VirtualClock(), VirtualClock()
    who = []

    @job(retry=Retry.NEVER)
    async def works(ctx):
        mine = "second" if who else "first"
        who.append(mine)
        tally[mine] += 1
        await ctx.step("before", tally.step("before"))
        if mine == "first":
            ctx.log.info("of the first")
            ctx.progress(1, 2)
            ctx.metadata.set("of", "the first")
            if verb in ("step", "failure", "beat"):
                await ctx.step("work", awakens, verb)
            elif verb == "suspend":
                await ctx.sleep("nap", "1h")
            else:
                await slept.wait()
            if verb == "raise":
                raise LookupError("the first fails")
            if verb == "sleep":
                await ctx.sleep("work", "1h")
            return "the first returns"
        await ctx.step("work", tally.step("work"))
        return "the second's"

    async def awakens(verb):
        await (forever() if verb == "beat" else slept.wait())
        if verb == "failure":
            raise LookupError("the first fails")
        return "the first's"

    async with (
        make_store() as store,
        Process(store, clock, works, suspend_grace="20s", stop_timeout="100ms") as first,
    ):
        run = await first.trigger(works)
        await clock.settle()
        first.freeze()
        async with Process(store, other_clock, works) as second:
            await other_clock.advance("31s")
            assert await second.result(run) == "the second's"
            before = await everything(store, run)
            # The first doesn't know yet how late it is: here the store alone protects the run.
            slept.set()
            if verb == "beat":
                await clock.advance("6s")
            elif verb == "release":
                await clock.run(first.stop())
            elif verb == "suspend":
                await clock.advance("25s")
            await clock.settle()
            await first.thaw(40)
            await clock.advance("10s")
            after = await everything(store, run)
        assert after == before
        assert (await story(store, run)).count("run.completed") == 1
        assert await store.read_logs(run.id) == []
        assert tally == {"first": 1, "second": 1, "before": 1, "work": 1}
        assert first._worker is None or not first._worker.executing


async def test_a_step_that_had_finished_when_another_took_over_is_lost(make_store):
    tally = Tally()
    clock, other_clock = VirtualClock(), VirtualClock()
    third = asyncio.Event()

    async def second_step():
        tally["second"] += 1
        if tally["second"] == 1:
            await clock.sleep(10)
            return "by the first"
        return "by the second"

    async def third_step():
        tally["third"] += 1
        await third.wait()

    @job
    async def three(ctx):
        await ctx.step("first", tally.step("first"))
        second = await ctx.step("second", second_step)
        await ctx.step("third", third_step)
        return second

    async with make_store() as store, Process(store, clock, three) as first:
        run = await first.trigger(three)
        await clock.settle()
        first.freeze()
        async with Process(store, other_clock, three) as second:
            await other_clock.advance("31s")
            assert tally == {"first": 1, "second": 2, "third": 1}
            await first.thaw(32)
            await clock.advance("10s")
            assert tally == {"first": 1, "second": 2, "third": 1}
            third.set()
            assert await second.result(run) == "by the second"
            types = await story(store, run)
            assert types.count("run.completed") == 1
            assert types.count("step.completed") == 3
            assert tally == {"first": 1, "second": 2, "third": 1}


async def test_the_same_worker_with_a_new_generation_is_another_owner(make_store):
    """The old execution of a run, beside the new one in the same process."""
    tally, clock, hanging = Tally(), VirtualClock(), asyncio.Event()

    async def stubborn():
        tally["work"] += 1
        number = tally["work"]
        if number == 1:
            try:
                await forever()
            except asyncio.CancelledError:
                await hanging.wait()
        return number

    @job
    async def works(ctx):
        result = await ctx.step("work", stubborn)
        await ctx.step("hold", clock.sleep, 60)
        return result

    async with make_store() as store, Process(store, clock, works) as process:
        run = await process.trigger(works)
        await clock.settle()
        await clock.jump("40s")
        await clock.advance("10s")
        assert tally == {"work": 2}
        hanging.set()
        assert await process.result(run) == 2
        [row] = [row for row in await process.steps(run.id) if row.path == "work"]
        assert (row.output, row.generation) == ("2", 3)
        await story(store, run)


async def test_two_workers_frozen_together_leave_one_completion(make_store):
    tally, clock = Tally(), VirtualClock()
    three = three_steps(tally, slow(tally, clock, 7200, 60))
    async with (
        make_store() as store,
        Process(store, clock, three) as first,
        Process(store, clock, three) as second,
    ):
        run = await first.trigger(three)
        await clock.settle()
        await clock.jump("1h")
        assert await second.result(run) == ["first", "second", "third"]
        assert tally == {"first": 1, "second": 2, "second ended": 1, "third": 1}
        types = await story(store, run)
        assert types.count("run.completed") == types.count("run.stale") == 1


# Whose clock


async def test_a_dead_workers_run_is_stale_at_exactly_stale_after(make_store):
    tally, clock = Tally(), VirtualClock()
    three = three_steps(tally, slow(tally, clock, 600))
    async with make_store() as store, Process(store, clock, three) as second:
        async with Process(store, clock, three) as first:
            await second.stop()
            run = await first.trigger(three)
            await clock.settle()
            await first.buried()
        await second.start()
        await clock.advance("29.999s")
        assert await status(store, run) == Status.EXECUTING
        assert tally["second"] == 1
        await clock.advance("1ms")
        assert tally["second"] == 2
        [stale] = await events_of(store, run, "run.stale")
        assert stale.data["reason"] == "heartbeat"
        assert await second.result(run) == ["first", "second", "third"]


@pytest.mark.parametrize("ahead", [0.0, 1e-7, 0.0004, 0.25, 0.999])
async def test_a_run_that_is_stale_soon_is_found_then_without_a_hot_loop(make_store, ahead):
    tally, clock = Tally(), VirtualClock()
    three = three_steps(tally, slow(tally, clock, 600, 1))
    async with make_store() as store:
        async with Process(store, clock, three) as first:
            run = await first.trigger(three)
            await clock.settle()
            await first.buried()
        await clock.jump(30 - ahead)
        async with Process(store, clock, three) as second:
            verbs, timer = len(second.verbs), next(clock._order)
            await clock.advance(ahead + 0.002)
            assert tally["second"] == 2
            assert len(second.verbs) - verbs < 20
            assert next(clock._order) - timer < 50
            await second.result(run)


async def test_a_job_that_hangs_after_a_long_gap_is_no_hot_loop(make_store):
    tally, clock, over = Tally(), VirtualClock(), asyncio.Event()

    @job
    async def hangs(ctx):
        tally["job"] += 1
        if tally["job"] == 1:
            while not over.is_set():
                try:
                    await over.wait()
                except asyncio.CancelledError:
                    tally["cancelled"] += 1
        return tally["job"]

    async with make_store() as store, Process(store, clock, hangs) as process:
        run = await process.trigger(hangs)
        await clock.settle()
        verbs = len(process.verbs)
        await clock.jump("10m")
        await clock.advance("10s")
        assert len(process.verbs) - verbs < 30
        assert process.verbs.count("mark_stale") == 1
        assert await process.result(run) == 2
        assert 2 <= tally["cancelled"] <= 6
        over.set()
        await clock.settle()


async def test_a_heartbeat_from_the_future_is_stale(make_store):
    tally, clock, ahead = Tally(), VirtualClock(), VirtualClock(1_750_000_000.0 + 7200)
    three = three_steps(tally, slow(tally, ahead, 600))
    async with make_store() as store:
        async with Process(store, ahead, three) as first:
            run = await first.trigger(three)
            await ahead.settle()
            await first.buried()
        finished = three_steps(tally, tally.step("second"))
        async with Process(store, clock, finished) as second:
            await clock.advance("1s")
            assert await second.result(run) == ["first", "second", "third"]
            assert clock.now() < 1_750_000_000.0 + 2
            assert "run.stale" in await story(store, run)


async def test_a_clock_that_was_set_back_does_not_keep_a_dead_run_fresh(make_store):
    tally, clock = Tally(), VirtualClock()
    three = three_steps(tally, slow(tally, clock, 600))
    async with make_store() as store:
        async with Process(store, clock, three) as first:
            run = await first.trigger(three)
            await clock.settle()
            await first.buried()
        clock.set_back("25s")  # not enough to look like the future
        finished = three_steps(tally, tally.step("second"))
        async with Process(store, clock, finished) as second:
            await clock.advance("29s")
            assert await status(store, run) == Status.EXECUTING
            await clock.advance("2s")
            assert await status(store, run) == Status.COMPLETED
            assert await second.result(run) == ["first", "second", "third"]


async def test_a_clock_set_back_under_a_live_worker_does_not_cost_it_its_run(make_store):
    tally, clock = Tally(), VirtualClock()
    three = three_steps(tally, slow(tally, clock, 600))
    async with (
        make_store() as store,
        Process(store, clock, three) as first,
        Process(store, clock, three) as second,
    ):
        run = await first.trigger(three)
        await clock.advance("10s")
        clock.set_back("20s")
        assert await second.result(run) == ["first", "second", "third"]
        assert tally["second"] == 1


# Poison


async def test_a_worker_frozen_fifty_times_is_no_poison(make_store):
    tally, clock = Tally(), VirtualClock()
    three = three_steps(tally, slow(tally, clock, 100))
    async with make_store() as store, Process(store, clock, three) as process:
        run = await process.trigger(three)
        for _ in range(50):
            await clock.advance("10s")
            await clock.jump("31s")
        row = await store.get_run(run.id)
        assert row.recoveries == 0
        assert row.status == "EXECUTING"
        assert tally["second"] == 51
        assert await process.result(run) == ["first", "second", "third"]
        assert tally["first"] == 1


async def test_a_run_that_kills_its_workers_is_poison(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def kills(ctx):
        await ctx.step("first", tally.step("first"))
        tally["second"] += 1
        await ctx.step("second", forever)

    async with make_store() as store:
        for life in range(6):
            async with Process(store, clock, kills) as process:
                if life == 0:
                    run = await process.trigger(kills)
                await clock.advance("1s")
                assert tally["second"] == life + 1
                row = await store.get_run(run.id)
                assert (row.status, row.recoveries) == ("EXECUTING", life)
                await process.buried()
            await clock.advance("30s")
        async with Process(store, clock, kills) as process:
            await clock.advance("1s")
            row = await store.get_run(run.id)
            assert row.status == "TIMED_OUT"
            assert '"code": "poison"' in row.error
            assert tally == {"first": 1, "second": 6}
            assert (await story(store, run))[-1] == "run.timed_out"
            await process.resume(run.id)
            await clock.advance("1s")
            assert await status(store, run) == Status.EXECUTING
            assert tally == {"first": 1, "second": 7}
            await process.cancel(run.id)


async def test_a_new_checkpoint_clears_the_count(make_store):
    tally, clock = Tally(), VirtualClock()

    @job(max_recoveries=1)
    async def kills(ctx):
        for number in range(6):
            await ctx.step(f"step-{number}", tally.step(f"step-{number}"))
            if tally["lives"] == number + 1:
                await ctx.step(f"block-{number}", forever)
        return "done"

    async with make_store() as store:
        for life in range(5):
            tally["lives"] += 1
            async with Process(store, clock, kills) as process:
                if life == 0:
                    run = await process.trigger(kills)
                await clock.advance("1s")
                assert (await store.get_run(run.id)).recoveries == min(life, 1)
                await process.buried()
            await clock.advance("30s")
        tally["lives"] += 2
        async with Process(store, clock, kills) as process:
            assert await process.result(run) == "done"
            assert all(tally[f"step-{number}"] == 1 for number in range(6))


async def test_a_release_is_no_recovery(make_store):
    tally, clock = Tally(), VirtualClock()
    three = three_steps(tally, slow(tally, clock, 100))
    async with make_store() as store:
        for life in range(10):
            async with Process(store, clock, three, stop_timeout="100ms") as process:
                if life == 0:
                    run = await process.trigger(three)
                await clock.advance("1s")
            row = await store.get_run(run.id)
            assert (row.status, row.recoveries, row.attempt) == ("PENDING", 0, 1)
        async with Process(store, clock, three) as process:
            assert await process.result(run) == ["first", "second", "third"]
        types = await story(store, run)
        assert types.count("run.released") == 10
        assert types.count("run.resumed") == 10
        assert "run.stale" not in types
        assert tally["first"] == 1


async def test_started_at_survives_and_the_generation_grows(make_store):
    tally, clock = Tally(), VirtualClock()
    three = three_steps(tally, slow(tally, clock, 50))
    async with make_store() as store:
        began = clock.now()
        generations = []
        for life in range(3):
            async with Process(store, clock, three) as process:
                if life == 0:
                    run = await process.trigger(three)
                await clock.advance("1s")
                row = await store.get_run(run.id)
                assert row.started_at == began
                generations.append(row.generation)
                await process.buried()
            await clock.advance("30s")
        assert generations == sorted(set(generations))


async def test_awake_time_leaves_gaps_out(make_store):
    """`max_duration` and a step's `timeout` count what the machine was awake for."""
    tally, clock = Tally(), VirtualClock()

    async def second():
        tally["second"] += 1
        await clock.sleep(60)
        return "second"

    @job(max_duration="3m", retry=Retry.NEVER)
    async def limited(ctx):
        return await ctx.options(timeout="100s").step("second", second)

    async with make_store() as store, Process(store, clock, limited) as process:
        run = await process.trigger(limited)
        for _ in range(4):
            await clock.advance("10s")
            await clock.jump("20s")
        assert await process.result(run) == "second"
        assert tally == {"second": 1}
        row = await store.get_run(run.id)
        assert row.executed <= 60 + 4 * 10


class HearsItsBeatLate(MemoryStore):
    """The answer to a beat is still on its way, or lost, when the worker is frozen."""

    held: asyncio.Event | None = None
    lost = False

    async def beat(self, worker, beats, now):
        answer = await super().beat(worker, beats, now)
        if self.held is not None:
            await self.held.wait()
        if self.lost:
            raise StoreUnavailable("the connection is closing")
        return answer


@pytest.mark.parametrize("lost", [False, True], ids=["late", "lost"])
async def test_a_beat_whose_answer_is_late_leaves_no_run_behind_that_nobody_executes(lost):
    """The store's heartbeat is another than the worker knows of. Found by freezing a tab."""
    tally, clock = Tally(), VirtualClock()
    three = three_steps(tally, slow(tally, clock, 3600, 60))
    store = HearsItsBeatLate()
    async with Process(store, clock, three) as process:
        run = await process.trigger(three)
        await clock.advance(4)
        store.held, store.lost = asyncio.Event(), lost
        await clock.advance(2)  # the beat is in the store
        await clock.jump("1h")
        await asyncio.sleep(0)
        store.held.set()
        store.held = None
        await clock.settle()
        store.lost = False
        woken = clock.now()
        assert await process.result(run) == ["first", "second", "third"]
        [stale] = await events_of(store, run, "run.stale")
        assert (stale.data["reason"], stale.at) == ("suspended", woken)
        assert await store.leases() == []
