"""Somebody sets the machine's clock, back or forward, while its workers execute: real ones on one SQLite file."""

import asyncio
import time
from itertools import pairwise

import pytest

from durable_lite import Durable
from durable_lite.ports_system import SystemClock
from tests.server.counting import counting
from tests.unit.sqlite_files import new_path

STEPS = 40


class Changed(SystemClock):
    """The machine's clock, set by so many seconds."""

    by = 0.0

    def now(self) -> float:  # type: ignore[override]  # static elsewhere
        return time.time() + self.by


@pytest.mark.parametrize("durability", ["strict", "relaxed"])
@pytest.mark.parametrize("by", [-3600.0, 3600.0])
async def test_what_is_done_stays_done_and_the_run_ends(durability, by):
    """To a worker it looks as if the machine had slept: at most the step in flight is executed again."""
    counts, executed = counting(STEPS)

    with new_path() as path:
        url, options = f"sqlite:{path}", {"heartbeat_interval": "200ms", "stale_after": "10s"}
        clock = Changed()  # of the machine, and so of both
        async with (
            Durable(url, [counts], durability=durability, clock=clock, **options) as app,
            Durable(url, [counts], durability=durability, clock=clock, **options),
        ):
            run = await app.trigger(counts)
            over = asyncio.ensure_future(run.result(timeout="40s"))
            while len(executed) < 10:
                await asyncio.sleep(0.01)
            clock.by = by
            while len(executed) < 30:
                await asyncio.sleep(0.01)
            clock.by = 0.0
            assert await over == sum(range(STEPS))
            types = [event.type async for event in run.events()]
        assert sorted(set(executed)) == list(range(STEPS))
        assert len(executed) - STEPS <= types.count("run.stale") <= 2, (executed, types)
        assert all(after - before in (0, 1) for before, after in pairwise(executed)), executed
