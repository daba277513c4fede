"""How long it takes from a trigger, or from the start of a process, to the job."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path

from durable_lite import Durable

from . import jobs
from .floor import Table, folder, percentile, spread

# A job file for the restart: every step but the last waits for ever in the first life.
_RESTART = """
import asyncio, sys, time
from durable_lite import Context, Durable, job

async def quick(i: int) -> int:
    return i

async def last(path: str) -> None:
    if sys.argv[2] == "first":
        print("killed here", flush=True)
        await asyncio.sleep(3600)
    print(time.time(), flush=True)

@job
async def restarted(ctx: Context) -> None:
    for i in range(10):
        await ctx.step(f"s{i}", quick, i)
    await ctx.step("last", last, sys.argv[1])

async def main() -> None:
    async with Durable("sqlite:" + sys.argv[1], [restarted]) as app:
        run = await app.trigger(restarted, idempotency_key="one")
        await run.result()

asyncio.run(main())
"""


async def _trigger_to_job(count: int) -> list[float]:
    delays = []
    with folder() as where:
        async with Durable(f"sqlite:{where / 'a.db'}", jobs, durability="relaxed") as app:
            for _ in range(count):
                start = time.perf_counter()
                run = await app.trigger(jobs.mark)
                await run.result()
                delays.append((jobs.marks[run.id] - start) * 1000)
    return delays[10:]


def _restart(where: Path) -> float:
    script = where / "restart.py"
    script.write_text(_RESTART)
    command = [sys.executable, str(script), str(where / "a.db")]
    first = subprocess.Popen([*command, "first"], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "killed here\n"
    first.kill()
    first.wait()
    first.stdout.close()
    start = time.time()
    second = subprocess.run([*command, "second"], stdout=subprocess.PIPE, text=True, check=True)
    return float(second.stdout) - start


def run(table: Table, rounds: int) -> None:
    rows = [asyncio.run(_trigger_to_job(500)) for _ in range(rounds)]
    table.most(
        "trigger to first line, same process, relaxed, p50", 3, [statistics.median(r) for r in rows], "ms"
    )
    table.most(
        "trigger to first line, same process, relaxed, p99", 15, [percentile(r, 0.99) for r in rows], "ms"
    )
    restarts = []
    for _ in range(max(rounds, 3)):
        with folder() as where:
            restarts.append(_restart(where))
    print(f"       restarts, s: {spread(restarts, 2)}")
    table.most("killed worker restarted: start to first new step", 1, restarts, "s")
