"""A wait that ends in the very moment in which its run is suspended. Found by killing processes."""

from durable_lite import Context, Durable, job
from durable_lite.testing import VirtualClock


async def double(value: int) -> int:
    return 2 * value


@job
async def nap(ctx: Context, seconds: float) -> int:
    value = await ctx.step("one", double, 1)
    await ctx.sleep("nap", seconds)
    return await ctx.step("two", double, value)


async def test_the_grace_period_and_the_wait_are_over_in_one_turn_of_the_loop():
    clock = VirtualClock()
    async with Durable("memory:", [nap], clock=clock, suspend_grace="50ms") as app:
        run = await app.trigger(nap, 0.051)
        await clock.settle()
        await clock.jump(0.5)  # the timers of both fire, one right after the other
        assert await run.result() == 4
        assert [event.type async for event in run.events()].count("run.claimed") == 1
