"""Sync steps in real threads: what they may call, who waits for them, and what their end is worth."""

import asyncio
import threading

import pytest

from durable_lite import Retry, RunCancelled, StepTimeout, SyncStepError, current, job
from durable_lite.ports_system import ThreadOffload
from durable_lite.stores.memory import MemoryStore
from durable_lite.testing import VirtualClock
from tests.engine.apps import Tally, app, types_of

pytestmark = pytest.mark.timeout(20)


class Blocking:
    """A sync step that blocks its thread until it is let go."""

    def __init__(self, result: object = "done") -> None:
        self.result, self.begun, self.gate = result, asyncio.Event(), threading.Event()
        self.loop = asyncio.get_running_loop()
        self.cancelled: bool | None = None  # what ctx.cancelled said at the end
        self.count = 0

    def __call__(self) -> object:
        self.count += 1
        self.loop.call_soon_threadsafe(self.begun.set)
        assert self.gate.wait(5)
        self.cancelled = current().cancelled
        return self.result


def threaded(store, jobs, width: int = 4, **options):
    return app(store, jobs, offload=ThreadOffload(width), **options)


async def test_a_sync_step_runs_in_a_thread_and_the_loop_goes_on():
    tally, here = Tally(), threading.get_ident()

    def where() -> bool:
        return threading.get_ident() != here

    @job
    async def mixed(ctx):
        step = asyncio.ensure_future(ctx.step("blocking", blocking))
        await blocking.begun.wait()
        other = await ctx.step("meanwhile", tally.step("meanwhile"))
        blocking.gate.set()
        return [other, await step, await ctx.step("where", where)]

    blocking = Blocking()
    async with threaded(MemoryStore(), mixed) as durable:
        assert await durable.outcome(mixed) == ["meanwhile", "done", True]


async def test_a_step_that_blocks_longer_than_stale_after_keeps_its_run():
    clock, tally = VirtualClock(), Tally()

    @job
    async def long(ctx):
        tally["job"] += 1
        return await ctx.step("blocking", blocking)

    blocking, store = Blocking(), MemoryStore()
    async with threaded(store, long, clock=clock) as first, threaded(store, long, clock=clock) as second:
        run = await first.trigger(long)
        await blocking.begun.wait()
        await clock.advance("10m")  # second sweeps all the while
        assert (await run.refresh()).status == "EXECUTING"
        blocking.gate.set()
        assert await first.result(run) == "done"
        assert "run.stale" not in await types_of(second, run.id)
    assert (tally["job"], blocking.count) == (1, 1)


async def test_what_a_thread_may_call_and_what_not():
    told = []

    def work(number: int) -> int:
        ctx = current()
        ctx.log.info(f"in {number}")
        ctx.progress(number)
        ctx.metadata.set("last", number)
        assert not ctx.cancelled
        ctx.raise_if_cancelled()
        for call in (
            lambda: ctx.step("x", print),
            lambda: ctx.sleep("x", 1).send(None),
            lambda: ctx.map("x", print, []).send(None),
        ):
            with pytest.raises(SyncStepError):
                call()
        assert ctx.run.id
        return number

    @job
    async def many(ctx):
        return await ctx.map("m", work, range(50), limit=8)

    async with threaded(MemoryStore(), many, width=8) as durable:
        durable.listen(lambda event: told.append((event.type, threading.get_ident())))
        run = await durable.trigger(many)
        assert await durable.result(run) == list(range(50))
        logs = await durable.logs(run.id)
        assert sorted((line.path, line.message) for line in logs) == sorted(
            (f"m/{n}", f"in {n}") for n in range(50)
        )
        await run.refresh()
        assert run.progress["current"] in range(50)
        assert run.metadata["last"] in range(50)
    assert {thread for _, thread in told} == {threading.get_ident()}  # listeners stay on the loop
    assert [type for type, _ in told].count("run.log") == 50


async def test_a_cancel_is_seen_by_the_thread_and_its_result_is_not_wanted():
    @job
    async def cancelled(ctx):
        ctx.on_cancel(blocking.gate.set)
        await ctx.step("blocking", blocking)

    blocking, store = Blocking(), MemoryStore()
    async with threaded(store, cancelled) as durable:
        run = await durable.trigger(cancelled)
        await blocking.begun.wait()
        await durable.cancel(run.id)
        assert (await run.refresh()).status == "CANCELLED"
        await durable.clock.run(_gone(durable))
        assert await durable.steps(run.id) == []
        assert (await run.refresh()).status == "CANCELLED"
    assert blocking.cancelled is True


async def _gone(durable) -> None:
    """Until no thread is left that nobody waits for."""
    while durable._worker.engine.orphans:
        await asyncio.sleep(0)


async def test_raise_if_cancelled_ends_a_sync_step():
    raised = asyncio.Event()

    @job
    async def polling(ctx):
        await ctx.step("poll", poll)

    def poll() -> None:
        loop.call_soon_threadsafe(begun.set)
        while True:
            try:
                current().raise_if_cancelled()
            except RunCancelled:
                loop.call_soon_threadsafe(raised.set)
                raise

    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    async with threaded(MemoryStore(), polling) as durable:
        run = await durable.trigger(polling)
        await begun.wait()
        await durable.cancel(run.id)
        await raised.wait()
        assert (await run.refresh()).status == "CANCELLED"
        await _gone(durable)


async def test_a_cancelled_step_s_slot_is_taken_until_its_thread_returns():
    @job
    async def stuck(ctx):
        await ctx.step("blocking", blocking)

    @job
    async def quick(ctx):
        return "quick"

    blocking = Blocking()
    async with threaded(MemoryStore(), [stuck, quick], width=1, concurrency=1) as durable:
        run = await durable.trigger(stuck)
        await blocking.begun.wait()
        await durable.cancel(run.id)
        other = await durable.trigger(quick)
        await durable.clock.advance("1m")
        assert (await run.refresh()).status == "CANCELLED"
        assert (await other.refresh()).status == "PENDING"
        blocking.gate.set()
        assert await durable.result(other) == "quick"


async def test_a_thread_that_takes_too_long_times_out_and_the_next_try_waits_for_it():
    clock, tally = VirtualClock(), Tally()
    active, most = [], []

    class Slow(Blocking):
        def __call__(self) -> object:
            active.append(1)
            most.append(len(active))
            try:
                return super().__call__() if not self.count else "second"
            finally:
                active.pop()

    @job
    async def impatient(ctx):
        retry = Retry(max_attempts=2, min_delay="1s", jitter=False)
        return await ctx.options(timeout="5s", retry=retry).step("slow", slow)

    slow = Slow()
    async with threaded(MemoryStore(), impatient, clock=clock, suspend_grace="1h") as durable:
        run = await durable.trigger(impatient)
        await slow.begun.wait()
        await clock.advance(5)
        events = await durable.store.read_events(run.id, 0, 100)
        [failed] = [event.data for event in events if event.type == "step.failed"]
        assert failed["error"]["type"] == "StepTimeout"
        await clock.advance(2)  # the back-off is over, but the thread is not
        assert most == [1]
        slow.gate.set()
        assert await run.result() == "second"  # while the clock stands still
    assert most == [1, 1]
    assert slow.cancelled is True
    assert not tally


async def test_a_thread_s_timeout_is_raised_to_the_job():
    clock = VirtualClock()

    @job
    async def impatient(ctx):
        try:
            await ctx.options(timeout="5s").step("slow", blocking)
        except StepTimeout as error:
            return error.key

    blocking = Blocking()
    async with threaded(MemoryStore(), impatient, clock=clock) as durable:
        run = await durable.trigger(impatient)
        await blocking.begun.wait()
        await clock.advance(6)
        assert await durable.result(run) == "slow"
        blocking.gate.set()
        await _gone(durable)
        assert [(row.path, row.state) for row in await durable.steps(run.id)] == [("slow", "failed")]


async def test_a_thread_of_a_lost_run_stores_nothing():
    clock = VirtualClock()

    @job
    async def frozen(ctx):
        return await ctx.step("blocking", blockings.pop(0))

    first, second = Blocking("old"), Blocking("new")
    blockings, store = [first, second], MemoryStore()
    async with threaded(store, frozen, clock=clock) as durable:
        run = await durable.trigger(frozen)
        await first.begun.wait()
        await clock.jump("1h")  # frozen: stale, and claimed again by the same worker
        first.gate.set()
        await second.begun.wait()
        second.gate.set()
        assert await durable.result(run) == "new"
        assert (await types_of(durable, run.id)).count("run.stale") == 1
    assert first.cancelled is True
    assert second.cancelled is False


@pytest.mark.parametrize(
    "error",
    [ValueError("v"), SystemExit(3), asyncio.CancelledError(), StopIteration(1), KeyError("k")],
    ids=repr,
)
async def test_what_a_thread_raises_is_a_failure_of_its_step(error):
    tally = Tally()

    def fail() -> str:
        tally["fail"] += 1
        if tally["fail"] == 1:
            raise error
        return "well"

    @job
    async def failing(ctx):
        return await ctx.options(retry=Retry(max_attempts=2, min_delay="1s")).step("fail", fail)

    async with threaded(MemoryStore(), failing) as durable:
        run = await durable.trigger(failing)
        assert await durable.result(run) == "well"
        [row] = await durable.steps(run.id)
        assert row.failures == 1
    assert tally["fail"] == 2


async def test_stopping_releases_a_run_whose_thread_does_not_return():
    @job
    async def stuck(ctx):
        return await ctx.step("blocking", blocking)

    blocking, store = Blocking(), MemoryStore()
    async with threaded(store, stuck) as durable:
        run = await durable.trigger(stuck)
        await blocking.begun.wait()
        await durable.clock.run(durable.stop("1s"))
        assert (await run.refresh()).status == "PENDING"
        blocking.gate.set()
    async with threaded(store, stuck) as durable:
        assert await durable.result(run) == "done"
    assert blocking.count == 2


async def test_threads_are_as_many_as_the_pool_is_wide():
    lock, active, most = threading.Lock(), 0, 0
    full = threading.Barrier(3)

    def work(number: int) -> int:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        full.wait(10)
        with lock:
            active -= 1
        return number

    @job
    async def many(ctx):
        return await ctx.map("m", work, range(9), limit=9)

    async with threaded(MemoryStore(), many, width=3) as durable:
        assert await durable.outcome(many) == list(range(9))
    assert most == 3
