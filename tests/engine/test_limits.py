"""Limits: of executing time, of the wall clock, of a step, and of claims that lead nowhere."""

import asyncio
import datetime as dt

import pytest

from durable_lite import InvalidOption, Retry, RunFailed, StepTimeout, StoreError, current, job
from durable_lite.testing import VirtualClock
from tests.engine.apps import Tally, app, types_of

# max_duration: awake executing time over all attempts.


async def test_a_run_is_timed_out_after_so_much_executing_time(make_app):
    tally = Tally()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            tally["cancelled"] += 1
            raise

    @job(max_duration="60s", retry=Retry(max_attempts=5))
    async def endless(ctx):
        ctx.on_cancel(lambda: tally.update(["on_cancel"]))
        await ctx.step("done", tally.step("done"))
        await ctx.step("forever", forever)

    async with make_app(endless) as durable:
        began = durable.clock.now()
        run = await durable.finished(await durable.trigger(endless))
        assert (run.status, run.error["code"], run.attempt) == ("TIMED_OUT", "max_duration", 1)
        assert run.finished_at == pytest.approx(began + 60, abs=0.1)
        assert (await types_of(durable, run.id))[-1] == "run.timed_out"
        with pytest.raises(RunFailed, match="TIMED_OUT.*max_duration"):
            await durable.result(run)
    assert tally == {"done": 1, "cancelled": 1, "on_cancel": 1}


async def test_waits_and_back_offs_do_not_count_and_attempts_add_up(make_app):
    clock = VirtualClock()

    async def work() -> None:
        await clock.sleep(40)

    @job(max_duration="100s", retry=Retry(max_attempts=5, min_delay="1h", max_delay="1h", jitter=False))
    async def tired(ctx):
        await ctx.sleep("nap", "1h")
        await ctx.options(retry=Retry(max_attempts=2, min_delay="1h", max_delay="1h", jitter=False)).step(
            "fails", fail
        )
        await ctx.step(f"work{ctx.run.attempt}", work)
        raise ValueError("again")

    async def fail() -> None:
        if not failed:
            failed.append(True)
            raise ValueError("once")

    failed = []
    async with make_app(tired, clock=clock) as durable:
        began = clock.now()
        run = await durable.finished(await durable.trigger(tired))
        assert (run.status, run.error["code"], run.attempt) == ("TIMED_OUT", "max_duration", 3)
        # two full attempts of 40 s and 20 s of the third, two naps or back-offs, two retries
        assert run.finished_at - began == pytest.approx(2 * 3600 + 2 * 3600 + 100, abs=2)
        executed = (await durable.store.get_run(run.id)).executed
        assert executed == pytest.approx(100, abs=1)


async def test_frozen_time_counts_up_to_two_heartbeats_only(make_store):
    clock, gate = VirtualClock(), asyncio.Event()

    @job(max_duration="100s")
    async def frozen(ctx):
        await ctx.step("gate", gate.wait)
        return "done"

    async with make_store() as store, app(store, frozen, clock=clock) as durable:
        run = await durable.trigger(frozen)
        for _ in range(9):
            await clock.jump("29s")  # just not stale; counts as 10 s
        assert (await run.refresh()).status == "EXECUTING"
        await clock.advance("9s")
        assert (await run.refresh()).status == "EXECUTING"
        await clock.advance("2s")
        assert (await run.refresh()).status == "TIMED_OUT"


async def test_executing_time_survives_a_crash(make_store, always_replay):
    clock = VirtualClock()

    @job(max_duration="60s")
    async def endless(ctx):
        await ctx.step("forever", asyncio.Event().wait)

    async with make_store() as store:
        async with app(store, endless, clock=clock, always_replay=always_replay) as first:
            run = await first.trigger(endless)
            await clock.advance("41s")
            first.kill()
        await clock.jump("1h")
        async with app(store, endless, clock=clock, always_replay=always_replay) as second:
            began = clock.now()
            run = await second.finished(run)
            assert (run.status, run.error["code"]) == ("TIMED_OUT", "max_duration")
            assert run.finished_at - began == pytest.approx(20, abs=1)  # 40 s were beaten


async def test_a_trigger_s_max_duration_goes_before_the_job_s(make_app):
    clock = VirtualClock()

    @job(max_duration="10s")
    async def slow(ctx):
        await ctx.step("work", clock.sleep, 30)
        return "done"

    async with make_app(slow, clock=clock) as durable:
        assert await durable.outcome(slow, max_duration="1m") == "done"
        run = await durable.finished(await durable.trigger(slow))
        assert run.status == "TIMED_OUT"


async def test_a_resumed_run_has_its_max_duration_anew(make_app):
    clock = VirtualClock()

    @job(max_duration="10s")
    async def slow(ctx):
        await ctx.step("one", clock.sleep, 7)
        await ctx.step("two", clock.sleep, 7)
        return "done"

    async with make_app(slow, clock=clock) as durable:
        run = await durable.finished(await durable.trigger(slow))
        assert run.status == "TIMED_OUT"
        await durable.resume(run.id)
        assert await durable.result(run) == "done"


# deadline: a moment, whatever the run is doing.


@pytest.fixture
def obstinate():
    """A job that goes through every state when asked to, and counts."""
    tally = Tally()

    @job(retry=Retry(max_attempts=3, min_delay="1h", max_delay="1h"))
    async def run_on(ctx, how: str):
        tally["job"] += 1
        match how:
            case "executing":
                await ctx.step("forever", asyncio.Event().wait)
            case "plain await":
                await asyncio.Event().wait()
            case "waiting":
                await ctx.sleep("nap", "2h")
            case "waiting in a step":
                await ctx.step("outer", nap)
            case "step back-off":
                await ctx.options(retry=Retry(max_attempts=3, min_delay="1h", max_delay="1h")).step("k", fail)
            case "run back-off":
                await fail()
        return "done"

    async def nap() -> None:
        await current().sleep("nap", "2h")

    async def fail() -> None:
        raise ValueError("fails")

    return run_on, tally


@pytest.mark.parametrize(
    "how", ["executing", "plain await", "waiting", "waiting in a step", "step back-off", "run back-off"]
)
async def test_a_deadline_ends_a_run_whatever_it_is_doing(make_app, obstinate, how):
    run_on, tally = obstinate
    async with make_app(run_on) as durable:
        deadline = durable.clock.now() + 60
        run = await durable.finished(await durable.trigger(run_on, how, deadline=deadline))
        assert (run.status, run.error["code"]) == ("TIMED_OUT", "deadline")
        assert run.finished_at == pytest.approx(deadline, abs=0.2)
        assert await durable.store.leases() == []


async def test_a_deadline_ends_a_run_that_has_not_started(make_store, obstinate, always_replay):
    run_on, tally = obstinate
    async with make_store() as store:
        async with app(store, run_on, worker=False) as elsewhere:
            clock = elsewhere.clock
            waiting = await elsewhere.trigger(run_on, "nothing", deadline=clock.now() + 60)
        await clock.jump("2m")
        async with app(store, run_on, clock=clock, always_replay=always_replay) as durable:
            passed = await durable.trigger(run_on, "nothing", deadline=clock.now() - 60)
            delayed = await durable.trigger(run_on, "nothing", deadline=clock.now() + 60, delay="1h")
            deadline = clock.now() + 60
            for run in (waiting, passed, delayed):
                run = await durable.finished(run)
                assert (run.status, run.error["code"]) == ("TIMED_OUT", "deadline")
            assert run.finished_at == pytest.approx(deadline, abs=0.1)
    assert not tally


async def test_a_deadline_ends_a_stale_run(make_store, obstinate, always_replay):
    run_on, tally = obstinate
    clock = VirtualClock()
    async with make_store() as store:
        async with app(store, run_on, clock=clock) as first:
            run = await first.trigger(run_on, "executing", deadline=clock.now() + 60)
            await clock.settle()
            first.kill()
        await clock.jump("2m")
        async with app(store, run_on, clock=clock, always_replay=always_replay) as second:
            run = await second.finished(run)
            assert (run.status, run.error["code"]) == ("TIMED_OUT", "deadline")
            assert "run.stale" in await types_of(second, run.id)
    assert tally["job"] == 1


async def test_a_run_that_ends_before_its_deadline_is_none_the_worse(make_app, obstinate):
    run_on, tally = obstinate
    async with make_app(run_on) as durable:
        deadline = dt.datetime.fromtimestamp(durable.clock.now() + 10_000, dt.UTC)
        assert await durable.outcome(run_on, "waiting", deadline=deadline) == "done"
        await durable.clock.advance(10_000)


async def test_a_deadline_without_a_timezone_is_refused_and_nothing_is_written(make_app, obstinate):
    run_on, _ = obstinate
    async with make_app(run_on) as durable:
        for bad in (dt.datetime(2030, 1, 1), "tomorrow", float("nan")):
            with pytest.raises(InvalidOption) as caught:
                await durable.trigger(run_on, "nothing", deadline=bad)
            assert caught.value.option == "deadline"
        assert (await durable.list_runs()).runs == []


async def test_resuming_after_the_deadline_forgets_it(make_app):
    clock = VirtualClock()

    @job
    async def slow(ctx):
        await ctx.step("work", clock.sleep, 100)
        return ctx.run.deadline

    async with make_app(slow, clock=clock) as durable:
        run = await durable.finished(await durable.trigger(slow, deadline=clock.now() + 60))
        assert run.status == "TIMED_OUT"
        await durable.resume(run.id)
        assert await durable.result(run) is None


# A step's timeout.


async def test_a_step_that_takes_too_long_is_cancelled_and_fails(make_app):
    clock, tally = VirtualClock(), Tally()

    async def forever() -> None:
        tally["begun"] += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            tally["cancelled"] += 1
            raise

    @job
    async def impatient(ctx):
        began = ctx.run.started_at
        caught = []
        for _ in range(2):
            try:
                await ctx.options(timeout="5s").step("forever", forever)
            except StepTimeout as error:
                caught.append([error.key, error.seconds])
            await ctx.step("replay", asyncio.sleep, 0)
        return caught, round(clock.now() - began)

    async with make_app(impatient, clock=clock) as durable:
        run = await durable.trigger(impatient)
        assert await durable.result(run) == ([["forever", 5.0]] * 2, 5)
        states = {row.path: row.state for row in await durable.steps(run.id)}
        assert states == {"forever": "failed", "replay": "completed"}
    assert tally == {"begun": 1, "cancelled": 1}


async def test_each_try_of_a_step_has_its_timeout(make_app):
    clock, times = VirtualClock(), []

    async def slow_at_first() -> str:
        times.append(round(clock.now() - began))
        await clock.sleep(7 if len(times) < 3 else 4)
        return "done"

    @job
    async def impatient(ctx):
        retry = Retry(max_attempts=3, min_delay="10s", factor=1, jitter=False)
        return await ctx.options(timeout="5s", retry=retry).step("slow", slow_at_first)

    began = clock.now()
    async with make_app(impatient, clock=clock) as durable:
        assert await durable.outcome(impatient) == "done"
    assert times == [0, 15, 30]


async def test_a_step_s_timeout_counts_awake_time(make_store):
    clock, gate = VirtualClock(), asyncio.Event()

    @job(retry=Retry.NEVER)
    async def frozen(ctx):
        await ctx.options(timeout="60s").step("gate", gate.wait)

    async with make_store() as store, app(store, frozen, clock=clock) as durable:
        run = await durable.trigger(frozen)
        for _ in range(5):
            await clock.jump("29s")  # 10 s each
        await clock.advance("9s")
        assert (await run.refresh()).status == "EXECUTING"
        await clock.advance("2s")
        run = await run.refresh()
        assert (run.status, run.error["type"]) == ("FAILED", "StepTimeout")


async def test_a_wait_inside_a_step_does_not_count_for_its_timeout(make_app):
    clock = VirtualClock()

    async def outer() -> str:
        await clock.sleep(3)
        await current().sleep("nap", "1h")
        await clock.sleep(3)
        return "done"

    @job(retry=Retry.NEVER)
    async def patient(ctx):
        return await ctx.options(timeout="10s").step("outer", outer)

    async with make_app(patient, clock=clock) as durable:
        assert await durable.outcome(patient) == "done"


async def test_a_timeout_of_the_step_s_own_code_is_not_the_step_s(make_app):
    async def slow() -> None:
        raise TimeoutError("mine")

    @job
    async def impatient(ctx):
        try:
            await ctx.options(timeout="5s").step("slow", slow)
        except StepTimeout:
            return "the step's"
        except TimeoutError as error:
            return str(error)

    async with make_app(impatient) as durable:
        assert await durable.outcome(impatient) == "mine"


async def test_a_timeout_that_comes_with_a_cancel_is_a_cancel(make_store):
    clock = VirtualClock()

    @job
    async def slow(ctx):
        await ctx.options(timeout="5s").step("slow", asyncio.Event().wait)

    async with make_store() as store, app(store, slow, clock=clock) as durable:
        run = await durable.trigger(slow)
        await clock.advance(4)
        cancelling = asyncio.ensure_future(durable.cancel(run.id))
        await clock.advance(2)
        await cancelling
        assert (await run.refresh()).status == "CANCELLED"
        assert await durable.steps(run.id) == []


# Poison: claims in a row that lead nowhere.


@pytest.mark.parametrize("max_recoveries", [0, 1, 5])
async def test_a_run_that_kills_its_worker_each_time_is_given_up(make_store, max_recoveries):
    clock, tally = VirtualClock(), Tally()

    @job(max_recoveries=max_recoveries)
    async def poison(ctx):
        await ctx.step("fine", tally.step("fine"))
        tally["job"] += 1
        lives[-1].kill()
        await asyncio.Event().wait()

    lives = []
    async with make_store() as store:
        run = None
        for _ in range(max_recoveries + 1):
            async with app(store, poison, clock=clock) as durable:
                lives.append(durable)
                run = run or await durable.trigger(poison)
                await clock.run(durable.died.wait())
            await clock.jump("30s")
        async with app(store, poison, clock=clock) as durable:
            lives.append(durable)
            ended = await durable.finished(run)
            assert (ended.status, ended.error["code"]) == ("TIMED_OUT", "poison")
            assert tally == {"fine": 1, "job": max_recoveries + 1}
            assert (await types_of(durable, run.id)).count("run.stale") == max_recoveries + 1


async def test_a_new_checkpoint_begins_the_count_anew(make_store):
    clock, tally = VirtualClock(), Tally()

    @job(max_recoveries=2)
    async def slow_progress(ctx):
        for index in range(8):
            await ctx.step(f"s{index}", tally.step(f"s{index}"))
            if index > len(lives) // 2:
                lives[-1].kill()
                await asyncio.Event().wait()
        return "done"

    lives = []
    async with make_store() as store:
        run = None
        for _ in range(12):
            async with app(store, slow_progress, clock=clock) as durable:
                lives.append(durable)
                run = run or await durable.trigger(slow_progress)
                await clock.run(durable.died.wait())
            await clock.jump("30s")
        lives.extend([None] * 4)
        async with app(store, slow_progress, clock=clock) as durable:
            assert await durable.result(run) == "done"
    assert set(tally.values()) == {1}


async def test_resuming_a_poison_run_begins_the_count_anew(make_store):
    clock, tally = VirtualClock(), Tally()

    @job(max_recoveries=0)
    async def poison(ctx):
        tally["job"] += 1
        if tally["job"] == 1:
            lives[-1].kill()
            await asyncio.Event().wait()
        return "cured"

    lives = []
    async with make_store() as store:
        async with app(store, poison, clock=clock) as durable:
            lives.append(durable)
            run = await durable.trigger(poison)
            await clock.run(durable.died.wait())
        await clock.jump("30s")
        async with app(store, poison, clock=clock) as durable:
            assert (await durable.finished(run)).status == "TIMED_OUT"
            await durable.resume(run.id)
            assert await durable.result(run) == "cured"


async def test_freezing_and_thawing_fifty_times_is_not_poison(make_store, always_replay):
    clock, tally, gate = VirtualClock(), Tally(), asyncio.Event()

    async def slow() -> str:
        tally["begun"] += 1
        await gate.wait()
        return "thawed"

    @job(max_recoveries=3, retry=Retry.NEVER)
    async def frozen(ctx):
        await ctx.step("fine", tally.step("fine"))
        return await ctx.step("slow", slow)

    async with make_store() as store, app(store, frozen, clock=clock, always_replay=always_replay) as durable:
        run = await durable.trigger(frozen)
        await clock.settle()
        for _ in range(50):
            await clock.jump("1h")
        assert (await run.refresh()).status == "EXECUTING"
        gate.set()
        assert await durable.result(run) == "thawed"
        assert tally == {"fine": 1, "begun": 51}
        assert (await store.get_run(run.id)).recoveries == 0
        assert (await types_of(durable, run.id)).count("run.stale") == 50


async def test_stopping_and_starting_twenty_times_is_not_poison(make_store, always_replay):
    clock, gate = VirtualClock(), asyncio.Event()

    @job(max_recoveries=3, retry=Retry.NEVER)
    async def slow(ctx):
        await ctx.step("gate", gate.wait)
        return ctx.run.attempt

    async with make_store() as store, app(store, slow, clock=clock, always_replay=always_replay) as durable:
        run = await durable.trigger(slow)
        for _ in range(20):
            await clock.settle()
            await clock.run(durable.stop(0))
            assert (await run.refresh()).status == "PENDING"
            await durable.start()
        gate.set()
        assert await durable.result(run) == 1
        assert (await types_of(durable, run.id)).count("run.released") == 20


# A store that will never take a write.


@pytest.mark.parametrize("verb", ["save_step", "save_failure", "settle"])
async def test_a_store_that_refuses_for_good_is_not_asked_in_a_hot_loop(make_store, verb):
    clock, tally = VirtualClock(), Tally()

    async def fail() -> None:
        raise ValueError("fails")

    @job
    async def unlucky(ctx):
        await (ctx.step("k", fail) if verb == "save_failure" else ctx.step("k", tally.step("k")))

    def refuse(number, name, args):
        tally[name] += 1
        if tally[name] > 500:
            durable.kill()  # or this test would never end
        if name == verb:
            raise StoreError("never")

    async with make_store() as store, app(store, unlucky, clock=clock) as durable:
        durable.store.before = refuse
        run = await durable.trigger(unlucky)
        await clock.advance("1m")
        assert not durable.store.dead
        assert tally["claim_runs"] < 100
        durable.store.before = lambda number, name, args: None
        run = await durable.finished(run)
        assert run.status in ("COMPLETED", "FAILED")
