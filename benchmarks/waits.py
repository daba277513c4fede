"""Tokens and children: how soon a completed token's run goes on, and how many children a second."""

from __future__ import annotations

import asyncio
import statistics
import time

from durable_lite import Durable

from . import jobs
from .floor import Table, folder, percentile, spread
from .throughput import short_runs

PENDING, CHILDREN = 10_000, 1_000


async def _completed(durability: str, pending: int, count: int) -> list[float]:
    """Milliseconds from `complete_token` returning to the next step of its run, of so many pending ones."""
    delays = []
    with folder() as where:
        async with Durable(f"sqlite:{where / 'a.db'}", jobs, durability=durability, concurrency=64) as app:
            runs = await app.trigger_many(jobs.waits, [None] * pending)
            while (await app.list_runs(status="WAITING", limit=pending)).cursor is None:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
            tokens = {row.run_id: row.id for row in (await app.list_tokens(limit=pending)).tokens}
            for handle in runs[:: pending // count]:
                await app.complete_token(tokens[handle.id], 1)
                start = time.perf_counter()
                await handle.result()
                delays.append((jobs.marks[handle.id] - start) * 1000)
    return delays


async def _children(count: int) -> tuple[float, int]:
    """Children a second, and how often their parent was claimed."""
    with folder() as where:
        async with Durable(f"sqlite:{where / 'a.db'}", jobs, durability="relaxed", concurrency=64) as app:
            await (await app.trigger(jobs.short)).result()
            start = time.perf_counter()
            run = await app.trigger(jobs.parent, {"children": count})
            await run.result()
            took = time.perf_counter() - start
            return count / took, [event.type async for event in run.events()].count("run.claimed")


def run(table: Table, rounds: int) -> None:
    for durability in ("relaxed", "strict"):
        rows = [asyncio.run(_completed(durability, PENDING, 100)) for _ in range(rounds)]
        print(f"       {durability}, p99 {spread([percentile(row, 0.99) for row in rows], 1)} ms")
        table.most(
            f"one token of {PENDING:,} completed to its run's next step, {durability}, p50",
            5,
            [statistics.median(row) for row in rows],
            "ms",
        )
    ratios, rates, claims = [], [], []
    for _ in range(rounds):
        before = asyncio.run(short_runs("relaxed", CHILDREN))
        rate, claimed = asyncio.run(_children(CHILDREN))
        after = asyncio.run(short_runs("relaxed", CHILDREN))
        ratios.append(rate / ((before + after) / 2))
        rates.append(rate)
        claims.append(claimed)
    print(f"       children/s {spread(rates)}; their parent was claimed {spread(claims)} times")
    table.ratio(f"{CHILDREN:,} children called and joined, of the rate of short runs", 0.5, ratios)
    table.most("claims of their parent", 3, [float(one) for one in claims], "times")
