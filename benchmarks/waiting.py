"""A hundred thousand waiting runs: memory and idle CPU of the worker."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import time
from pathlib import Path

from durable_lite import Durable

from . import jobs
from .floor import Table, folder

RUNS = 100_000


def _resident() -> float:
    """Megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _waiting(path: Path) -> int:
    connection = sqlite3.connect(path)
    count: int = connection.execute("SELECT count(*) FROM runs WHERE status = 'WAITING'").fetchone()[0]
    connection.close()
    return count


async def _measure(where: Path) -> tuple[float, float, float]:
    path = where / "a.db"
    async with Durable(f"sqlite:{path}", jobs, durability="relaxed", concurrency=500) as app:
        await (await app.trigger(jobs.short)).result()
        gc.collect()
        before = _resident()
        start = time.perf_counter()
        for _ in range(RUNS // 1000):
            await app.trigger_many(jobs.waiting, [None] * 1000)
            await asyncio.sleep(0)
        while _waiting(path) < RUNS:  # noqa: ASYNC110  another connection looks
            await asyncio.sleep(0.5)
        elapsed = time.perf_counter() - start
        gc.collect()
        grown = _resident() - before
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.sleep(5)
        idle = (time.process_time() - cpu) / (time.perf_counter() - wall) * 100
    print(f"       {RUNS:,} runs triggered, started and suspended in {elapsed:.0f} s")
    return grown, idle, elapsed


def run(table: Table, rounds: int) -> None:
    grown, idle = [], []
    for _ in range(min(rounds, 3)):
        with folder() as where:
            more, cpu, _ = asyncio.run(_measure(where))
        grown.append(more)
        idle.append(cpu)
    table.most("100,000 waiting runs: resident memory grows by", 20, grown, "MB", 1)
    table.most("100,000 waiting runs: idle CPU", 2, idle, "% of a core")
