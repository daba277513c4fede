"""`ctx.patched`: a run in flight when its job is changed takes the old code where it has been, else the new."""

from __future__ import annotations

import asyncio

import pytest

from durable_lite import KeyReused, RunFailed, job
from durable_lite.testing import VirtualClock
from tests.engine.apps import Tally
from tests.engine.support import Process


def described(name):
    """A job function as version control has it: both are the job `bills`."""

    def give(function):
        return job("bills")(function)

    return give


async def changed(store, clock, old, new):
    """The result of a run that `old` began and `new` ends, after a night's sleep in between."""
    async with Process(store, clock, old) as process:
        run = await process.trigger(old)
        await clock.settle()
    async with Process(store, clock, new) as process:
        return await process.result(run.id)


async def test_a_new_run_takes_the_new_code_however_often_it_is_replayed(make_app):
    tally = Tally()

    @job
    async def bills(ctx):
        answers = [await ctx.patched("rules")]
        await ctx.step("tax", tally.step("tax"))
        await ctx.sleep("night", "8h")
        answers.append(await ctx.patched("rules"))
        return answers

    async with make_app([bills]) as app:
        assert await app.outcome(bills) == [True, True]
        assert tally == {"tax": 1}


async def test_where_a_run_has_been_the_old_code_stays_and_elsewhere_it_is_new(make_store):
    tally = Tally()

    @described("old")
    async def old(ctx):
        await ctx.step("tax", tally.step("old tax"))
        await ctx.sleep("night", "8h")
        await ctx.step("send", tally.step("old send"))

    @described("new")
    async def new(ctx):
        before = await ctx.patched("tax rules")
        await ctx.step("tax", tally.step("new tax" if before else "old tax"))
        await ctx.sleep("night", "8h")
        after = await ctx.patched("send by mail")
        await ctx.step("send", tally.step("new send" if after else "old send"))
        return [before, after]

    async with make_store() as store:
        assert await changed(store, VirtualClock(), old, new) == [False, True]
        assert tally == {"old tax": 1, "new send": 1}


async def test_the_answer_is_kept_whatever_comes_after(make_store):
    """A second interruption, by which the run has gone further."""
    clock, tally = VirtualClock(), Tally()

    @described("old")
    async def old(ctx):
        await ctx.sleep("night", "8h")

    @described("new")
    async def new(ctx):
        await ctx.sleep("night", "8h")
        answer = await ctx.patched("rules")
        await ctx.step("one", tally.step("one"))
        await ctx.sleep("day", "16h")
        return answer

    async with make_store() as store:
        async with Process(store, clock, old) as process:
            run = await process.trigger(old)
            await clock.settle()
        async with Process(store, clock, new) as process:
            await clock.advance("9h")
            assert tally == {"one": 1}
        async with Process(store, clock, new) as process:
            assert await process.result(run.id) is True
            steps = {step.path: step for step in await store.load_steps(run.id)}
        assert (steps["rules"].kind, steps["rules"].output, steps["rules"].name) == ("patch", "true", "rules")


@pytest.mark.parametrize("done", [True, False], ids=["done", "half"])
async def test_what_a_nested_step_holds_belongs_to_it(make_store, done):
    """Its own checkpoints are not ahead of what comes after it; but inside it they are."""
    tally = Tally()

    async def outer_old(ctx):
        await ctx.step("a", tally.step("a"))
        if not done:
            await ctx.sleep("nap", "8h")

    async def outer_new(ctx):
        inside.append(await ctx.patched("inside"))
        await ctx.step("a", tally.step("a"))
        if not done:
            await ctx.sleep("nap", "8h")

    inside = []

    @described("old")
    async def old(ctx):
        await ctx.step("outer", outer_old, ctx)
        await ctx.sleep("night", "8h")

    @described("new")
    async def new(ctx):
        await ctx.step("outer", outer_new, ctx)
        after = await ctx.patched("after")
        await ctx.sleep("night", "8h")
        return [await ctx.patched("end"), after]

    async with make_store() as store:
        assert await changed(store, VirtualClock(), old, new) == ([True, False] if done else [True, True])
        assert tally == {"a": 1}
        assert set(inside) == (set() if done else {False})


async def test_branches_side_by_side_come_to_their_checkpoints_first(make_store):
    async def branch(ctx, name, patched):
        await ctx.step(f"{name} one", asyncio.sleep, 0)
        answer = await ctx.patched(f"{name} rules") if patched else None
        await ctx.sleep(f"{name} nap", "8h" if name == "a" else "1h")
        return answer

    @described("old")
    async def old(ctx):
        await asyncio.gather(*(branch(ctx, name, False) for name in "ab"))

    @described("new")
    async def new(ctx):
        answers = await asyncio.gather(*(branch(ctx, name, True) for name in "ab"))
        return [*answers, await ctx.patched("end")]

    async with make_store() as store:
        assert await changed(store, VirtualClock(), old, new) == [False, False, True]


async def test_without_a_change_branches_are_new_also_when_they_are_replayed(make_app):
    async def branch(ctx, name):
        await ctx.step(f"{name} one", asyncio.sleep, 0)
        return await ctx.patched(f"{name} rules")

    @job
    async def bills(ctx):
        return await asyncio.gather(*(branch(ctx, name) for name in "abcd"))

    async with make_app([bills]) as app:
        assert await app.outcome(bills) == [True] * 4


async def test_a_key_is_one_thing(make_app):
    @job
    async def bills(ctx):
        await ctx.step("rules", asyncio.sleep, 0)
        await ctx.patched("rules")

    async with make_app([bills]) as app:
        with pytest.raises(
            RunFailed, match="'rules' is a step in this run and can't be a patch too"
        ) as caught:
            await app.outcome(bills)
        assert KeyReused.__name__ in str(caught.value)
