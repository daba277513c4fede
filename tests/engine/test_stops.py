"""Nothing that a job does can swallow a stop, and no work is left in flight behind one."""

from __future__ import annotations

import asyncio

import pytest

from durable_lite import Retry, RunStopped, Status, job
from durable_lite.testing import VirtualClock
from tests.engine.apps import Tally
from tests.engine.support import Process, forever, status, story, warnings

WRITES = ("save_step", "save_failure")


class Guest:
    """What the jobs below do: wait where the stop will come, and try to go on after it."""

    def __init__(self, waits_in: str) -> None:
        self.waits_in, self.tally = waits_in, Tally()
        self.refusals: list[str] = []
        self.goes_on = False  # the run was resumed: nothing is refused any more

    def wait(self, ctx, key="wait"):
        self.tally["waited"] += 1
        if self.waits_in == "sleep":
            return ctx.sleep(key, "1h")
        return ctx.step(key, forever)

    async def every_call(self, ctx):
        """Each of the calls that a context has, until the run goes on."""
        for call in self.calls(ctx):
            if self.goes_on:
                return
            try:
                await call()
            except BaseException as refusal:
                self.refusals.append(type(refusal).__name__)

    def calls(self, ctx):
        if self.refusals:  # more than a few are taken for a loop that never ends
            return [lambda: ctx.step("after", self.tally.step("after"))]
        return [
            lambda: ctx.step("after", self.tally.step("after")),
            lambda: ctx.step("after", self.tally.step("after")),
            lambda: ctx.map("after-map", self.tally.step("after"), [1, 2]),
            lambda: ctx.sleep("after-sleep", "1s"),
            lambda: ctx.sleep_until("after-until", 0),
            lambda: _soon(ctx.log.info, "after"),
            lambda: _soon(ctx.progress, 1),
        ]


async def _soon(call, *args):
    return call(*args)


# Each takes (ctx, guest), waits once, and does what it can to go on when the engine stops it there.


async def in_finally(ctx, guest):
    try:
        await guest.wait(ctx)
    finally:
        await guest.every_call(ctx)
    return "done"


class Connection:
    def __init__(self, ctx, guest):
        self.ctx, self.guest = ctx, guest

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.guest.every_call(self.ctx)


class Swallowing(Connection):
    async def __aexit__(self, *error):
        await super().__aexit__(*error)
        return True


async def in_async_with(ctx, guest):
    async with Connection(ctx, guest):
        await guest.wait(ctx)
    return "done"


async def in_async_with_that_swallows(ctx, guest):
    async with Swallowing(ctx, guest):
        await guest.wait(ctx)
    return "done"


async def in_task_group(ctx, guest):
    async def one(key):
        try:
            await guest.wait(ctx, key)
        finally:
            await guest.every_call(ctx)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(one("wait"))
            group.create_task(one("wait-2"))
    except ExceptionGroup:
        await guest.every_call(ctx)
    return "done"


async def in_gather(ctx, guest):
    results = await asyncio.gather(guest.wait(ctx), guest.wait(ctx, "wait-2"), return_exceptions=True)
    await guest.every_call(ctx)
    assert not any(isinstance(result, BaseException) for result in results)
    return "done"


async def in_gather_of_swallowers(ctx, guest):
    async def one(key):
        try:
            return await guest.wait(ctx, key)
        except BaseException:
            await guest.every_call(ctx)
            return "swallowed"

    await asyncio.gather(one("wait"), one("wait-2"), return_exceptions=True)
    return "done"


async def in_bare_except(ctx, guest):
    try:
        await guest.wait(ctx)
    except:
        await guest.every_call(ctx)
        raise
    return "done"


async def in_bare_except_that_returns(ctx, guest):
    try:
        await guest.wait(ctx)
    except:  # noqa: E722  as people write
        await guest.every_call(ctx)
        return "swallowed"
    return "done"


async def in_bare_except_that_raises(ctx, guest):
    try:
        await guest.wait(ctx)
    except:  # noqa: E722  as people write
        await guest.every_call(ctx)
        raise LookupError("instead") from None
    return "done"


async def in_except_exception(ctx, guest):
    try:
        await guest.wait(ctx)
    except Exception:
        guest.tally["caught"] += 1
        await guest.every_call(ctx)
        return "swallowed"
    return "done"


async def in_shield(ctx, guest):
    try:
        await asyncio.shield(guest.wait(ctx))
    finally:
        await guest.every_call(ctx)
    return "done"


async def in_step(ctx, guest):
    async def outer():
        try:
            await guest.wait(ctx)
        finally:
            await guest.every_call(ctx)
        return "done"

    return await ctx.step("outer", outer)


async def in_step_that_swallows(ctx, guest):
    async def outer():
        try:
            await guest.wait(ctx)
        except BaseException:
            await guest.every_call(ctx)
            return "swallowed"
        return "done"

    return await ctx.step("outer", outer)


PLACES = [
    in_finally,
    in_async_with,
    in_async_with_that_swallows,
    in_task_group,
    in_gather,
    in_gather_of_swallowers,
    in_bare_except,
    in_bare_except_that_returns,
    in_bare_except_that_raises,
    in_except_exception,
    in_shield,
    in_step,
    in_step_that_swallows,
]
# The root task of these ends by something else than its cancellation.
SWALLOW = {
    in_async_with_that_swallows,
    in_bare_except_that_returns,
    in_bare_except_that_raises,
}
# These are cancelled before they can try anything.
NEVER_GO_ON = {in_except_exception, in_gather}
EVERYWHERE = pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__.removeprefix("in_"))


def checked(process, guest, place, calls_before):
    """What holds after every stop, whatever the job did."""
    assert set(guest.refusals) <= {"RunStopped", "CancelledError"}
    assert bool(guest.refusals) == (place not in NEVER_GO_ON)
    assert guest.tally["after"] == 0
    assert guest.tally["caught"] == 0
    late = process.verbs[calls_before:]
    assert not [verb for verb in late if verb in WRITES], late
    assert bool(process.heard("run.swallowed_stop")) == (place in SWALLOW)


@EVERYWHERE
async def test_suspension(make_store, place):
    guest = Guest("sleep")

    @job
    async def guarded(ctx):
        guest.tally["job"] += 1
        return await place(ctx, guest)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, guarded, warm_runs=0) as process:
        run = await process.trigger(guarded)
        await clock.settle()
        calls = len(process.verbs)
        await clock.advance("1s")
        assert await status(store, run) == Status.WAITING
        checked(process, guest, place, calls)
        guest.goes_on = True
        assert await process.result(run) == "done"
        assert (await story(store, run))[-1] == "run.completed"
        told = [line for line in await warnings(process, run) if "run.swallowed_stop" in line]
        assert len(told) == (place in SWALLOW)


@pytest.mark.live
@EVERYWHERE
async def test_a_warm_coroutine_that_is_let_go(make_store, place):
    guest = Guest("sleep")

    @job
    async def guarded(ctx):
        return await place(ctx, guest)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, guarded) as process:
        run = await process.trigger(guarded)
        await clock.settle()
        calls = len(process.verbs)
        await clock.advance("1s")
        assert bool(guest.refusals) == (place is in_shield)  # whose inside can't be seen: it isn't kept
        await clock.run(process.stop())
        checked(process, guest, place, calls)
        assert await status(store, run) == Status.WAITING


@EVERYWHERE
@pytest.mark.parametrize("waits_in", ["sleep", "step"])
async def test_cancel(make_store, place, waits_in):
    guest = Guest(waits_in)

    @job
    async def guarded(ctx):
        return await place(ctx, guest)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, guarded) as process:
        run = await process.trigger(guarded)
        await clock.settle()
        calls = len(process.verbs)
        await process.cancel(run.id)
        await clock.advance("20s")
        checked(process, guest, place, calls)
        assert await status(store, run) == Status.CANCELLED
        types = await story(store, run)
        assert types[-1] == "run.cancelled"
        assert process.verbs[calls:].count("settle") == 0


@EVERYWHERE
@pytest.mark.parametrize("waits_in", ["sleep", "step"])
async def test_cancel_from_elsewhere_is_seen_by_the_next_beat(make_store, place, waits_in):
    guest = Guest(waits_in)

    @job
    async def guarded(ctx):
        return await place(ctx, guest)

    clock = VirtualClock()
    async with (
        make_store() as store,
        Process(store, clock, guarded, suspend_grace="1m") as process,
        Process(store, clock, guarded, worker=False) as elsewhere,
    ):
        run = await process.trigger(guarded)
        await clock.settle()
        calls = len(process.verbs)
        await elsewhere.cancel(run.id)
        await clock.advance("5s")
        checked(process, guest, place, calls)
        assert await status(store, run) == Status.CANCELLED


@EVERYWHERE
@pytest.mark.parametrize("waits_in", ["sleep", "step"])
async def test_lease_loss(make_store, place, waits_in):
    guest = Guest(waits_in)

    @job
    async def guarded(ctx):
        return await place(ctx, guest)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, guarded, suspend_grace="1m") as process:
        run = await process.trigger(guarded)
        await clock.settle()
        calls = len(process.verbs)
        now = clock.now()
        process.freeze()
        await store.mark_stale(await store.leases(), "heartbeat", now)
        [claim] = await store.claim_runs("another", ["guarded"], 1, now, "lease")
        await clock.advance("5s")
        checked(process, guest, place, calls)
        row = await store.get_run(run.id)
        assert (row.status, row.worker, row.generation) == ("EXECUTING", "another", claim.run.generation)
        assert "run.completed" not in await story(store, run)


@EVERYWHERE
async def test_deadline(make_store, place):
    guest = Guest("step")

    @job
    async def guarded(ctx):
        return await place(ctx, guest)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, guarded) as process:
        run = await process.trigger(guarded, deadline=clock.now() + 60)
        await clock.advance("59s")
        calls = len(process.verbs)
        await clock.advance("20s")
        checked(process, guest, place, calls)
        assert await status(store, run) == Status.TIMED_OUT
        assert (await story(store, run))[-1] == "run.timed_out"


# Jobs that can't be brought to an end


async def test_a_job_that_swallows_the_stop_and_hangs_gives_its_slot_back(make_store):
    over = asyncio.Event()

    @job
    async def hangs(ctx):
        try:
            await ctx.step("wait", forever)
        except BaseException:
            while not over.is_set():
                try:
                    await over.wait()
                except asyncio.CancelledError:
                    continue
        return "swallowed"

    @job
    async def other(ctx):
        return "well"

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, hangs, other, concurrency=1) as process:
        run = await process.trigger(hangs)
        await clock.settle()
        await process.cancel(run.id)
        await clock.advance("1s")
        assert await process.outcome(other) == "well"
        assert len(process.heard("run.swallowed_stop")) == 1
        assert await status(store, run) == Status.CANCELLED
        over.set()


@pytest.mark.parametrize("reason", ["suspended", "cancelled"])
async def test_a_job_that_swallows_every_call_in_a_loop_leaves_the_event_loop_alive(make_store, reason):
    over, tally = [], Tally()

    @job
    async def loops(ctx):
        while not over:
            try:
                await (ctx.sleep("nap", "1h") if reason == "suspended" else ctx.step("wait", forever))
            except BaseException:
                tally["refused"] += 1
        return "swallowed"

    @job
    async def other(ctx):
        await ctx.sleep("nap", "10s")
        return "well"

    clock = VirtualClock()
    async with (
        make_store() as store,
        Process(store, clock, loops, other, concurrency=1, warm_runs=0) as process,
    ):
        run = await process.trigger(loops)
        await clock.settle()
        if reason == "cancelled":
            await process.cancel(run.id)
        assert await process.outcome(other) == "well"
        assert 1 < tally["refused"] < 100
        assert await status(store, run) == ("WAITING" if reason == "suspended" else "CANCELLED")
        assert len(process.heard("run.swallowed_stop")) == 1
        over.append(True)
        await process.buried()


@pytest.mark.parametrize("reason", ["cancelled", "lease lost", "released", "timed out", "stale"])
async def test_a_stop_is_told_by_a_cancelled_error_that_says_what_it_is(make_store, reason):
    seen = []

    @job
    async def looks(ctx):
        try:
            await ctx.step("wait", forever)
        except BaseException as stop:
            seen.append(stop)
            try:
                await ctx.step("again", forever)
            except BaseException as refusal:
                seen.append(refusal)
            raise

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, looks) as process:
        run = await process.trigger(looks, deadline=clock.now() + 3600)
        await clock.settle()
        if reason == "cancelled":
            await process.cancel(run.id)
        elif reason == "released":
            await process.stop(0)
        elif reason == "timed out":
            await clock.advance("1h")
        elif reason == "stale":
            await clock.jump("10m")
        else:
            process.freeze()
            await store.mark_stale(await store.leases(), "heartbeat", clock.now())
            await store.claim_runs("another", ["looks"], 1, clock.now(), "lease")
            await clock.advance("5s")
        await clock.settle()
        assert isinstance(seen[0], asyncio.CancelledError)
        assert isinstance(seen[1], RunStopped)
        assert isinstance(seen[1], asyncio.CancelledError)
        assert not isinstance(seen[1], Exception)
        assert run.id in str(seen[1])
        assert reason in str(seen[1])


async def test_a_child_that_fails_while_it_is_stopped_changes_nothing(make_store):
    @job(retry=Retry.NEVER)
    async def fails_late(ctx):
        async def fails():
            try:
                await ctx.sleep("nap", "1h")
            except BaseException:
                raise ValueError("on the way out") from None

        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            group.create_task(ctx.sleep("nap-2", "2h"))
        return "done"

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, fails_late, warm_runs=0) as process:
        run = await process.trigger(fails_late)
        await clock.advance("1s")
        assert await status(store, run) == Status.WAITING
        assert len(process.heard("run.swallowed_stop")) == 1
        assert await process.result(run) == "done"


# What is left in flight


@pytest.mark.live
@pytest.mark.parametrize("ends", ["returns", "raises", "waits for a retry"])
async def test_steps_left_in_flight_are_cancelled_when_the_job_ends(make_store, ends):
    tally = Tally()

    @job(retry=Retry(max_attempts=2 if ends == "waits for a retry" else 1, min_delay="10s", jitter=False))
    async def leaves(ctx):
        async def slow():
            tally["started"] += 1
            try:
                await forever()
            finally:
                tally["cancelled"] += 1

        left = asyncio.ensure_future(ctx.step("left", slow))
        left.add_done_callback(lambda task: task.cancelled() or task.exception())
        await ctx.step("first", tally.step("first"))
        if ends != "returns":
            raise LookupError("no")
        return "done"

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, leaves) as process:
        run = await process.trigger(leaves)
        await clock.advance("1s")
        assert tally == {"started": 1, "first": 1, "cancelled": 1}
        expected = {"returns": "COMPLETED", "raises": "FAILED", "waits for a retry": "WAITING"}
        assert await status(store, run) == expected[ends]
        assert {row.path for row in await process.steps(run.id)} == {"first"}
        assert any("'left'" in line and "in flight" in line for line in await warnings(process, run))
        await process.finished(run)
        await story(store, run)


async def test_a_result_that_still_arrives_is_stored(make_store):
    tally = Tally()

    @job
    async def leaves(ctx):
        async def finishes():
            tally["left"] += 1
            try:
                await forever()
            except asyncio.CancelledError:
                return "arrived"

        left = asyncio.ensure_future(ctx.step("left", finishes))
        left.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.sleep(0)
        return "done"

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, leaves) as process:
        run = await process.trigger(leaves)
        assert await process.result(run) == "done"
        assert [(row.path, row.output) for row in await process.steps(run.id)] == [("left", '"arrived"')]
        assert (await story(store, run))[-2:] == ["step.completed", "run.completed"]


@pytest.mark.parametrize("how", ["suspends", "is released"])
async def test_a_result_that_arrives_during_a_stop_is_not_computed_again(make_store, how):
    tally = Tally()

    @job
    async def works(ctx):
        async def finishes():
            tally["work"] += 1
            if tally["work"] > 1:
                return "again"
            try:
                await forever()
            except asyncio.CancelledError:
                return "arrived"

        return await ctx.step("work", finishes)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, works) as process:
        run = await process.trigger(works)
        await clock.settle()
        await clock.run(process.stop())
        await process.start()
        assert await process.result(run) == "arrived"
        assert tally == {"work": 1}
        await story(store, run)


# Steps with several callers


@pytest.mark.live
async def test_a_shared_step_is_cancelled_only_with_its_last_waiter(make_store):
    tally = Tally()

    @job
    async def shares(ctx):
        async def slow():
            tally["started"] += 1
            try:
                await clock.sleep(10)
            except asyncio.CancelledError:
                tally["cancelled"] += 1
                raise
            return "worked"

        async def impatient():
            try:
                async with asyncio.timeout(0):
                    return await ctx.step("shared", slow)
            except TimeoutError:
                return "gave up"

        return await asyncio.gather(impatient(), ctx.step("shared", slow), impatient())

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, shares) as process:
        assert await process.outcome(shares) == ["gave up", "worked", "gave up"]
        assert tally == {"started": 1}


@pytest.mark.live
async def test_a_step_that_all_its_waiters_gave_up_is_cancelled_and_can_be_done_again(make_store):
    tally = Tally()

    @job
    async def gives_up(ctx):
        async def slow():
            tally["started"] += 1
            try:
                await clock.sleep(10)
            except asyncio.CancelledError:
                tally["cancelled"] += 1
                raise
            return "worked"

        async def impatient():
            try:
                async with asyncio.timeout(0):
                    await ctx.step("shared", slow)
            except TimeoutError:
                return "gave up"

        given_up = await asyncio.gather(impatient(), impatient())
        return [*given_up, await ctx.step("shared", slow)]

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, gives_up) as process:
        run = await process.trigger(gives_up)
        assert await process.result(run) == ["gave up", "gave up", "worked"]
        assert tally == {"started": 2, "cancelled": 1}
        assert (await story(store, run)).count("step.completed") == 1
        assert [row.failures for row in await process.steps(run.id)] == [0]


async def test_a_failing_sibling_cancels_the_other_step(make_store):
    tally = Tally()

    @job(retry=Retry.NEVER)
    async def one_fails(ctx):
        async def slow():
            try:
                await forever()
            finally:
                tally["cancelled"] += 1

        async def fails():
            await clock.sleep(1)
            raise OSError("no")

        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step("slow", slow))
            group.create_task(ctx.step("fails", fails))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, one_fails) as process:
        run = await process.finished(await process.trigger(one_fails))
        assert run.status == Status.FAILED
        assert tally == {"cancelled": 1}
        assert [row.path for row in await process.steps(run.id)] == ["fails"]


async def test_after_a_stop_no_call_touches_the_store_even_if_the_job_kept_its_context(make_store):
    kept = []

    @job
    async def leaks(ctx):
        kept.append(ctx)
        return "done"

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, leaks) as process:
        await process.outcome(leaks)
        calls = process.store.calls
        for _ in range(3):
            with pytest.raises(RunStopped):
                await kept[0].step("late", forever)
            with pytest.raises(RunStopped):
                await kept[0].sleep("late-2", 1)
            with pytest.raises(RunStopped):
                kept[0].log.info("late")
        await clock.settle()
        assert process.store.calls == calls
