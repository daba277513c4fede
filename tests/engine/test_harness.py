"""The harness that users' tests have, and its fixtures."""

from __future__ import annotations

import sys

import pytest

from durable_lite import Context, Retry, RunFailed, TokenFailed, TokenNotFound, job
from durable_lite.stores.memory import MemoryStore
from durable_lite.testing import Harness, Snapshot

pytest_plugins = ["pytester"]

done: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_done():
    done.clear()


async def act(what: str) -> str:
    done.append(what)
    return what.upper()


@job
async def orders(ctx: Context, item: str) -> list[str]:
    packed = await ctx.step("pack", act, f"pack {item}")
    approved = await ctx.wait_for_token("approve", timeout="7d")
    await ctx.sleep("a month", "30d")
    return [packed, approved, await ctx.step("bill", act, "bill")]


@job(retry=Retry.NEVER)
async def broken(ctx: Context) -> None:
    await ctx.step("work", act, "work")
    raise ValueError("broken")


async def test_from_wait_to_wait(durable):
    async with durable([orders]) as harness:
        run = await harness.trigger(orders, "tea")
        assert await harness.to_next_wait(run) == "WAITING"
        assert done == ["pack tea"]
        steps = await harness.steps(run)
        assert steps["pack"] == Snapshot("completed", "PACK TEA")
        assert list(steps) == ["pack", "approve"]  # and the wait has come to nothing yet
        await harness.complete_token(run, "approve", "yes")
        began = harness.clock.now()
        assert await harness.to_next_wait(run) == "WAITING"
        assert harness.clock.now() - began < 1
        await harness.advance("29d")
        assert (await run.refresh()).status == "WAITING"
        assert await harness.result(run) == ["PACK TEA", "yes", "BILL"]
        assert harness.clock.now() == pytest.approx(began + 30 * 86_400, abs=1)
        assert done == ["pack tea", "bill"]
        assert await harness.to_next_wait(run) == "COMPLETED"


async def test_a_crash_loses_what_was_not_stored(durable):
    @job
    async def slow(ctx: Context) -> list[str]:
        first = await ctx.step("first", act, "first")
        return [first, await ctx.step("second", hang)]

    async def hang() -> str:
        done.append("second")
        if done.count("second") == 1:
            await harness.clock.sleep(3600)
        return "SECOND"

    async with durable([slow]) as harness:
        run = await harness.trigger(slow)
        await harness.advance("10s")
        await harness.crash()
        assert (await run.refresh()).status == "EXECUTING"  # nobody has noticed yet
        assert done == ["first", "second"]
        began = harness.clock.now()
        assert await harness.result(run) == ["FIRST", "SECOND"]
        assert harness.clock.now() - began < 31
        assert done == ["first", "second", "second"]


@pytest.mark.parametrize("seconds", [20, 40])
async def test_a_freeze_is_noticed_if_it_is_long(seconds):
    @job
    async def slow(ctx: Context) -> str:
        return await ctx.step("work", work)

    async def work() -> str:
        done.append("work")
        await harness.clock.sleep(60)
        return "done"

    async with Harness([slow]) as harness:
        run = await harness.trigger(slow)
        await harness.advance("5s")
        await harness.freeze(seconds)
        assert await harness.result(run) == "done"
        assert done == ["work"] * (1 if seconds < 30 else 2)
        stale = [event.data["reason"] async for event in run.events() if event.type == "run.stale"]
        assert stale == ([] if seconds < 30 else ["suspended"])


async def test_how_a_run_ended(durable):
    async with durable([broken]) as harness:
        run = await harness.trigger(broken)
        with pytest.raises(RunFailed):
            await harness.result(run)
        assert (await harness.ended(run)).error["message"] == "broken"
        assert await harness.steps(run) == {"work": Snapshot("completed", "WORK")}


async def test_a_token_that_fails_and_one_that_is_not_there():
    @job
    async def asks(ctx: Context) -> str:
        try:
            return await ctx.wait_for_token("approve", timeout="1h")
        except TokenFailed as error:
            return error.message

    async with Harness([asks]) as harness:
        run = await harness.trigger(asks)
        await harness.to_next_wait(run)
        with pytest.raises(TokenNotFound, match="nothing"):
            await harness.complete_token(run, "nothing")
        await harness.fail_token(run, "approve", "not today")
        assert await harness.result(run) == "not today"


async def test_it_takes_options_and_a_store():
    store = MemoryStore()
    async with Harness([orders], store=store, stale_after="2m", heartbeat_interval="10s") as harness:
        run = await harness.trigger(orders, "tea")
        assert await store.get_run(run.id) is not None
        assert harness.app.options.stale_after == 120


@pytest.mark.skipif(sys.platform == "emscripten", reason="it starts a process")
def test_the_plugin(pytester):
    pytester.makeconftest('pytest_plugins = ["durable_lite.testing.plugin"]')
    pytester.makepyfile(
        """
        import asyncio

        from durable_lite import Context, job

        @job
        async def adds(ctx: Context, numbers: list) -> int:
            return await ctx.step("sum", sum, numbers)

        def test_a_job(durable, always_replay):
            async def main():
                async with durable([adds]) as harness:
                    assert harness.app.options.always_replay is always_replay
                    assert await harness.result(await harness.trigger(adds, [1, 2])) == 3

            asyncio.run(main())
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-q").assert_outcomes(passed=2)
