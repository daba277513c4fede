"""Forks, which go on from a chosen step, and the age at which finished runs leave."""

import pytest

from durable_lite import InvalidOption, RunNotFound, job
from durable_lite.testing import VirtualClock
from tests.engine.apps import Tally
from tests.engine.support import Process


def stepping(tally):
    @job
    async def steps(ctx, payload: dict):
        async def outer():
            return [await ctx.step(f"inner-{i}", tally.step(f"inner-{i}")) for i in range(2)]

        found = [await ctx.step(f"s{i}", tally.step(f"s{i}")) for i in range(3)]
        found.append(await ctx.step("outer", outer))
        found.append(await ctx.step("last", tally.step("last")))
        return found

    return steps


@pytest.mark.parametrize(
    ("path", "again"),
    [
        ("s0", ["s0", "s1", "s2", "inner-0", "inner-1", "last"]),
        ("s2", ["s2", "inner-0", "inner-1", "last"]),
        ("outer", ["inner-0", "inner-1", "last"]),
        ("outer/inner-1", ["inner-1", "last"]),
        ("last", ["last"]),
    ],
)
async def test_a_fork_does_a_step_and_what_comes_after_it_anew(make_app, path, again):
    tally = Tally()
    async with make_app(stepping(tally)) as app:
        run = await app.trigger("steps", {"n": 1}, tags=["t"], queue="other", priority=3)
        output = await app.result(run)
        before = await app.steps(run.id)
        tally.clear()
        fork = await app.fork(run.id, from_step=path)
        assert fork.id != run.id
        assert (fork.tags, fork.payload, fork.priority) == (("t",), {"n": 1}, 3)
        assert await app.result(fork) == output
        assert sorted(tally) == sorted(again)
        assert set(tally.values()) == {1}
        assert await app.steps(run.id) == before
        seqs = [event.seq async for event in fork.events()]
        assert seqs == list(range(1, len(seqs) + 1))


async def test_a_fork_of_a_run_that_failed_or_still_waits(make_store):
    clock, tally = VirtualClock(), Tally()

    @job
    async def waits(ctx):
        await ctx.step("a", tally.step("a"))
        token = await ctx.create_token("ok", timeout="1h")
        await ctx.step("b", tally.step("b"))
        return await token.wait()

    async with make_store() as store, Process(store, clock, waits) as app:
        run = await app.trigger(waits)
        await clock.advance("1m")
        fork = await app.fork(run.id, from_step="b")
        await clock.advance("1m")
        assert tally == {"a": 1, "b": 2}
        tokens = {token.run_id: token for token in (await app.list_tokens()).tokens}
        await app.complete_token(tokens[fork.id].id, "forked")
        assert await app.result(fork) == "forked"
        assert (await run.refresh()).status == "WAITING"
        await app.complete_token(tokens[run.id].id, "first")
        assert await app.result(run) == "first"


async def test_what_can_not_be_forked(make_app):
    tally = Tally()
    async with make_app(stepping(tally)) as app:
        run = await app.trigger("steps", {})
        await app.result(run)
        for path in ("", "none", "outer/none", 7):
            with pytest.raises(InvalidOption, match="from_step"):
                await app.fork(run.id, from_step=path)
        with pytest.raises(RunNotFound):
            await app.fork("0" * 26, from_step="s0")
        assert len((await app.list_runs()).runs) == 1


async def test_runs_leave_by_age_a_few_at_a_time(make_store):
    clock = VirtualClock()

    @job
    async def quick(ctx):
        return None

    @job
    async def slow(ctx):
        await ctx.sleep("long", "2d")

    async with make_store() as store, Process(store, clock, quick, slow, retain="1d") as app:
        old = await app.trigger_many(quick, [None] * 250)
        for run in old:
            await app.result(run)
        lasting = await app.trigger(slow)
        await clock.advance("23h")
        new = await app.trigger(quick)
        await app.result(new)
        assert len((await app.list_runs(limit=1000)).runs) == 252
        app.verbs.clear()
        await clock.advance("4h")
        assert {run.id for run in (await app.list_runs(limit=1000)).runs} == {lasting.id, new.id}
        assert app.verbs.count("purge") >= 3  # 100 in each
        await app.result(lasting)


@pytest.mark.parametrize("retain", [0, "-1d", "soon", float("nan")])
def test_a_wrong_age_is_refused(retain):
    from durable_lite import Durable

    with pytest.raises(InvalidOption, match="retain"):
        Durable("memory:", retain=retain)
