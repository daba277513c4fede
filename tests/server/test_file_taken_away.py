"""Somebody deletes, moves or replaces the SQLite file that a worker has open."""

import asyncio
import os
import re

import pytest

from durable_lite import Durable, StoreUnavailable, job
from tests.server.counting import counting
from tests.unit.sqlite_files import new_path, rows

STEPS = 30
DURABILITY = pytest.mark.parametrize("durability", ["strict", "relaxed"])


async def down(app: Durable, on: bool = True) -> None:
    async with asyncio.timeout(20):
        while (app.store_error is not None) != on:
            await asyncio.sleep(0.01)


@DURABILITY
async def test_moved_away_and_put_back_nothing_is_lost_or_done_twice(durability):
    counts, executed = counting(STEPS)

    with new_path() as path:
        elsewhere = path.with_name("elsewhere")
        async with Durable(
            f"sqlite:{path}", [counts], durability=durability, heartbeat_interval="500ms"
        ) as app:
            run = await app.trigger(counts)
            while len(executed) < 5:
                await asyncio.sleep(0.01)
            path.rename(elsewhere)
            await down(app)
            assert str(path) in str(app.store_error)
            assert "deleted, moved or replaced" in str(app.store_error)
            at = len(executed)
            await asyncio.sleep(0.5)
            assert len(executed) <= at + 1 < STEPS, "it goes on only once what it did is stored"
            assert not path.exists(), "no new file in its place"
            elsewhere.rename(path)
            assert await run.result(timeout="30s") == sum(range(STEPS))
            await down(app, on=False)
            assert executed == list(range(STEPS))
        assert rows(path, "PRAGMA integrity_check") == [("ok",)]


@DURABILITY
@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_taken_away_for_good_every_call_says_so_and_it_can_be_closed(durability, how):
    @job
    async def naps(ctx) -> None:
        await ctx.sleep("nap", "1h")

    with new_path() as path:
        async with Durable(f"sqlite:{path}", [naps], durability=durability, stop_timeout="1s") as app:
            run = await app.trigger(naps)
            if how == "deleted":
                path.unlink()
            else:
                path.with_name("another").write_bytes(b"")
                os.replace(path.with_name("another"), path)

            async def tries() -> None:
                while True:
                    await app.trigger(naps)
                    await asyncio.sleep(0.02)

            with pytest.raises(StoreUnavailable, match=re.escape(str(path))):
                await asyncio.wait_for(tries(), 20)
            with pytest.raises(StoreUnavailable, match="put it back, or start this process again"):
                await run.refresh()
        if how == "deleted":
            assert not path.exists()
        else:
            assert path.read_bytes() == b""
