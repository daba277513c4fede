"""Steps and runs a second on SQLite, against raw INSERTs in the same process."""

from __future__ import annotations

import asyncio
import sqlite3
import time

from durable_lite import Durable

from . import jobs
from .floor import Table, folder, pragmas, raw_inserts, spread


async def _sequential(durability: str, steps: int) -> float:
    with folder() as where:
        async with Durable(f"sqlite:{where / 'a.db'}", jobs, durability=durability) as app:
            await (await app.trigger(jobs.sequential, {"steps": 100})).result()
            run = await app.trigger(jobs.sequential, {"steps": steps})
            return steps / await run.result()


async def _concurrent(durability: str, runs: int, steps: int) -> float:
    with folder() as where:
        async with Durable(f"sqlite:{where / 'a.db'}", jobs, durability=durability, concurrency=runs) as app:
            await (await app.trigger(jobs.sequential, {"steps": 100})).result()
            start = time.perf_counter()
            handles = await app.trigger_many(jobs.sequential, [{"steps": steps}] * runs)
            await asyncio.gather(*(run.result() for run in handles))
            return runs * steps / (time.perf_counter() - start)


async def short_runs(durability: str, runs: int) -> float:
    """Trigger, claim, one step, complete: all triggered at once, 64 executing at a time."""
    with folder() as where:
        async with Durable(f"sqlite:{where / 'a.db'}", jobs, durability=durability, concurrency=64) as app:
            await (await app.trigger(jobs.short)).result()
            start = time.perf_counter()
            handles = await asyncio.gather(*(app.trigger(jobs.short) for _ in range(runs)))
            for handle in handles:
                await handle.result()
            return runs / (time.perf_counter() - start)


async def _pragmas(durability: str) -> str:
    with folder() as where:
        async with Durable(f"sqlite:{where / 'a.db'}", jobs, worker=False, durability=durability):
            return pragmas(where / "a.db")


def run(table: Table, rounds: int) -> None:
    print(f"SQLite {sqlite3.sqlite_version}")
    for durability, least in (("relaxed", 0.50), ("strict", 0.45)):
        print(f"{durability}: {asyncio.run(_pragmas(durability))}")
        ratios, ours, raws = [], [], []
        count = 5000 if durability == "relaxed" else 2000
        for _ in range(rounds):
            before = raw_inserts(durability, count)
            figure = asyncio.run(_sequential(durability, count))
            raw = (before + raw_inserts(durability, count)) / 2
            ours.append(figure)
            raws.append(raw)
            ratios.append(figure / raw)
        print(f"       {durability} steps/s {spread(ours)}, raw INSERT/s {spread(raws)}")
        table.ratio(f"sequential steps, {durability}, of raw INSERTs", least, ratios)
    _group_commit(table, rounds)
    ratios, ours = [], []
    for _ in range(rounds):
        before = raw_inserts("relaxed", 5000)
        figure = asyncio.run(short_runs("relaxed", 2000))
        ours.append(figure)
        ratios.append(figure / ((before + raw_inserts("relaxed", 5000)) / 2))
    print(f"       short runs/s {spread(ours)}")
    table.ratio("short runs, relaxed, of raw INSERTs", 0.075, ratios)


def _group_commit(table: Table, rounds: int) -> None:
    single, batched, ours = [], [], []
    for _ in range(rounds):
        one, sixteen = raw_inserts("strict", 2000), raw_inserts("strict", 16_000, 16)
        figure = asyncio.run(_concurrent("strict", 64, 150))
        ours.append(figure)
        single.append(figure / one)
        batched.append(figure / sixteen)
    print(f"       64 runs, strict, steps/s {spread(ours)}")
    table.ratio("64 concurrent runs, strict, of raw single INSERTs", 2.5, single)
    table.ratio("64 concurrent runs, strict, of raw INSERTs in batches of 16", 0.25, batched)
