"""Versions of a job: which of its runs a worker takes up when it is told to know them."""

import pytest

from durable_lite import Context, Durable, InvalidOption, Status, job
from durable_lite.testing import VirtualClock
from tests.engine.support import Process, status


def version(number, **options):
    @job("works", version=number, **options)
    async def works(ctx: Context):
        return ctx.run.version, number

    return works


async def test_by_default_a_worker_takes_up_all(make_store):
    clock = VirtualClock()
    async with make_store() as store:
        async with Durable(store, version("1"), worker=False, clock=clock) as old:
            run = await old.trigger("works")
        async with Process(store, clock, version("2")) as process:
            assert await process.result(run) == ("1", "2")


async def test_one_that_is_told_to_know_them_leaves_the_others(make_store):
    clock = VirtualClock()
    async with make_store() as store:
        runs = {}
        for one in ("1", "2", "3", None):
            async with Durable(store, version(one), worker=False, clock=clock) as app:
                runs[one] = await app.trigger("works")
        async with Process(store, clock, version("2", accepts=["1"]), versions="known") as process:
            assert await process.result(runs["2"]) == ("2", "2")
            assert await process.result(runs["1"]) == ("1", "2")
            await clock.advance("1h")
            assert [await status(store, runs[one]) for one in ("3", None)] == [Status.PENDING] * 2
        async with Process(store, clock, version("3", accepts=[None]), versions="known") as process:
            assert await process.result(runs["3"]) == ("3", "3")
            assert await process.result(runs[None]) == (None, "3")


def test_mistakes_are_named():
    with pytest.raises(InvalidOption, match="job 'works': accepts: expected a list of versions, got '1'"):
        version("2", accepts="1")
    with pytest.raises(InvalidOption, match="job 'works': accepts"):
        version("2", accepts=[5])
    with pytest.raises(InvalidOption, match="versions: 'all' is neither 'any' nor 'known'"):
        Durable("memory:", versions="all")
