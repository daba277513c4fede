"""A process that dies before or after each of its store calls, over IndexedDB."""

import itertools

import pytest

from durable_lite import Context, job
from durable_lite.stores.indexeddb import IndexedDBStore
from durable_lite.testing.crashpoints import crash_points

_numbers = itertools.count()


class Flaky(Exception):
    pass


@job
async def report(ctx: Context, pages: list[int]) -> list[str]:
    ctx.metadata.set("pages", len(pages))
    found = await ctx.map("page", fetch, pages)
    ctx.log.info("fetched", pages=len(found))
    try:
        await ctx.step("check", refuse)
    except Flaky:
        found.append("refused")
    return await ctx.step("write", outer, ctx, found)


async def fetch(page: int) -> str:
    return f"page {page}"


async def outer(ctx: Context, found: list[str]) -> list[str]:
    return [await ctx.step(f"inner-{i}", fetch, i) for i in range(2)] + found


def refuse() -> None:
    raise Flaky("no")


async def scenario(world):
    async with world.durable([report]) as app:
        run = await app.trigger(report, [1, 2, 3], idempotency_key="one")
        return await run.result(), (await run.refresh()).status


@pytest.mark.timeout(60)
@pytest.mark.parametrize("always_replay", [False, True], ids=["once", "replay"])
async def test_it_comes_to_the_same_end(always_replay):
    def store():
        return IndexedDBStore(f"crashes-{next(_numbers)}", durability="relaxed")

    report = await crash_points(scenario, store=store, always_replay=always_replay)
    assert report.calls > 10
    assert report.crashes > 20
    assert report.outcome == (["page 0", "page 1", "page 1", "page 2", "page 3", "refused"], "COMPLETED")
