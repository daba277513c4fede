"""A worker that is paused claims nothing, and one that is told to look doesn't wait for its next tick."""

from __future__ import annotations

import asyncio

import pytest

from durable_lite import Durable, Status, job
from durable_lite.stores.memory import MemoryStore
from durable_lite.testing import VirtualClock
from tests.engine.apps import Tally
from tests.engine.support import Process, forever, status, story


@job
async def seven(ctx):
    return 7


@pytest.mark.live
async def test_a_paused_worker_claims_nothing_and_what_executes_goes_on(make_store):
    tally, clock, go = Tally(), VirtualClock(), asyncio.Event()

    @job
    async def works(ctx, number: int):
        await ctx.step("wait", go.wait)
        return await ctx.step("work", tally.step(f"work-{number}"))

    async with make_store() as store, Process(store, clock, works) as process:
        first = await process.trigger(works, 1)
        await clock.settle()
        process.pause()
        second = await process.trigger(works, 2)
        go.set()
        await clock.advance("1h")
        assert await status(store, first) == Status.COMPLETED
        assert await status(store, second) == Status.PENDING
        process.pause(False)
        await clock.settle()
        assert await status(store, second) == Status.COMPLETED
        assert tally == {"work-1": 1, "work-2": 1}


async def test_a_paused_worker_does_not_take_up_what_becomes_due(make_store):
    clock = VirtualClock()

    @job
    async def naps(ctx):
        await ctx.sleep("nap", "10m")

    async with make_store() as store, Process(store, clock, naps) as process:
        run = await process.trigger(naps)
        await clock.advance("1m")
        process.pause()
        await clock.advance("1h")
        assert await status(store, run) == Status.WAITING
        process.pause(False)
        await clock.settle()
        assert await status(store, run) == Status.COMPLETED


async def test_a_paused_worker_leaves_to_others_what_others_lost(make_store):
    """Else a tab that has no lock would take away the lease by which it knows who has the lock."""
    clock = VirtualClock()

    @job
    async def works(ctx):
        await ctx.step("wait", forever)

    async with make_store() as store, Process(store, clock, works) as first:
        run = await first.trigger(works)
        await clock.settle()
        async with Process(store, clock, works) as second:
            second.pause()
            await first.buried()
            await clock.advance("1h")
            second.look()
            await clock.settle()
            assert await status(store, run) == Status.EXECUTING
            second.pause(False)
            await clock.settle()
            assert await story(store, run) == [
                "run.triggered",
                "run.claimed",
                "run.stale",
                "run.claimed",
                "run.resumed",
            ]


async def test_one_that_was_paused_before_it_started_waits_and_sweeps_nothing(make_store):
    """A tab whose Python starts doesn't know yet whether it still has the lock."""
    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, seven) as first:
        await clock.settle()
        second = Process(store, clock, seven)
        second.pause()
        async with second:
            assert "leases" not in second.verbs
            first.pause()
            run = await second.trigger(seven)
            await clock.advance("1h")
            assert await status(store, run) == Status.PENDING
            second.pause(False)
            await clock.settle()
            assert await status(store, run) == Status.COMPLETED
            assert "leases" in second.verbs


async def test_a_start_after_a_stop_is_paused_as_it_was(make_store):
    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, seven) as process:
        process.pause()
        await process.stop()
        await process.start()
        run = await process.trigger(seven)
        await clock.advance("1h")
        assert await status(store, run) == Status.PENDING
        process.pause(False)
        await clock.settle()
        assert await status(store, run) == Status.COMPLETED


async def test_what_is_asked_for_is_executed_whoever_paused_before():
    async with Durable(MemoryStore(), [seven], worker=False) as app:
        app.pause()
        run = await app.trigger(seven)
        await app.run_until_idle()
        assert await run.result() == 7


async def test_told_to_look_it_beats_at_once_and_then_at_its_pace(make_store):
    clock, beats = VirtualClock(), []

    @job
    async def works(ctx):
        await ctx.step("wait", forever)

    async with make_store() as store, Process(store, clock, works) as process:
        await process.trigger(works)
        await clock.advance("7s")
        process.before = lambda verb, args: verb == "beat" and beats.append(clock.now())
        now = clock.now()
        process.look()
        await clock.settle()
        assert beats == [now]
        await clock.advance("12s")
        assert beats == [now, now + 5, now + 10]


async def test_told_to_look_it_asks_at_once_who_has_disappeared(make_store):
    clock, asked = VirtualClock(), []

    @job
    async def works(ctx):
        pass

    async with make_store() as store, Process(store, clock, works) as process:
        await clock.settle()
        process.before = lambda name, args: asked.append(name)
        await clock.settle()
        assert asked == []
        process.look()
        await clock.settle()
        assert "leases" in asked
        assert "claim_runs" in asked
