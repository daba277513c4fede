"""The jobs and the worker of the SIGKILL tests: `python -m tests.server.sigkill_jobs --help`.

Each step says in a file, shared by all workers, when it starts and when it ends; see `Line` in
`tests.server.sigkill`. The worker ends at SIGTERM, or when whoever started it is gone.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

from durable_lite import Context, Durable, Retry, current, job

SEQUENTIAL, PARALLEL, MAPPED = 4, 4, 5
# The leaves of `mixed`: a stage begins when all of the one before are stored.
STAGES = (
    *([f"row-{number}"] for number in range(SEQUENTIAL)),
    [f"side-{number}" for number in range(PARALLEL)],
    ["outer/a"],
    ["outer/inner/b", "outer/inner/c"],
    [f"each/{number}" for number in range(MAPPED)],
    ["flaky"],
    ["last"],
)
FLAKY = Retry(max_attempts=40, min_delay="1ms", max_delay="8ms")

log = -1


def say(what: str, path: str) -> None:
    tell(what, path, current().run.id)


def tell(what: str, path: str, run_id: str = "-") -> None:
    """One line, written at once: lines of several processes don't mix."""
    os.write(log, f"{what} {run_id} {path} {os.getpid()} {time.time()}\n".encode())


def moment() -> float:
    return random.uniform(0, 0.004)


@dataclass
class Work:
    seed: int


def expected(work: Work) -> int:
    """What `mixed` returns."""
    return work.seed * sum(map(len, STAGES))


@job(retry=Retry(max_attempts=3, min_delay="1ms", max_delay="5ms"))
async def mixed(ctx: Context, work: Work) -> int:
    """Steps in a row with waits, in parallel, nested, mapped, tried again; and a run tried again."""
    chance = random.Random(work.seed)
    total = 0
    for number in range(SEQUENTIAL):
        total += await ctx.step(
            f"row-{number}", leaf_sync if number % 2 else leaf, f"row-{number}", work.seed
        )
        # Every third is long enough to suspend the run.
        await ctx.sleep(f"nap-{number}", chance.choice([0.002, 0.01, 0.07]))
    sides = STAGES[SEQUENTIAL]
    total += sum(await asyncio.gather(*(ctx.step(name, leaf, name, work.seed) for name in sides)))
    total += await ctx.step("outer", outer, work.seed, chance.choice([0.002, 0.07]))
    each = [(f"each/{number}", work.seed) for number in range(MAPPED)]
    total += sum(await ctx.map("each", item, each, limit=3))
    total += await ctx.options(retry=FLAKY).step("flaky", flaky, "flaky", work.seed)
    if work.seed % 3 == 0 and ctx.run.attempt == 1:
        raise RuntimeError("once more")
    return total + await ctx.step("last", leaf, "last", work.seed)


async def leaf(path: str, value: int) -> int:
    say("start", path)
    try:
        await asyncio.sleep(moment())
    except BaseException:
        say("stop", path)
        raise
    say("end", path)
    return value


def leaf_sync(path: str, value: int) -> int:
    say("start", path)
    time.sleep(moment())
    say("end", path)
    return value


async def flaky(path: str, value: int) -> int:
    say("start", path)
    await asyncio.sleep(moment())
    if random.random() < 0.4:
        say("fail", path)
        raise OSError("out of order")
    say("end", path)
    return value


async def outer(value: int, nap: float) -> int:
    say("enter", "outer")
    ctx = current()
    total: int = await ctx.step("a", leaf, "outer/a", value)
    await ctx.sleep("nap", nap)
    return total + await ctx.step("inner", inner, value)


async def inner(value: int) -> int:
    say("enter", "outer/inner")
    ctx = current()
    both = ctx.step("b", leaf_sync, "outer/inner/b", value), ctx.step("c", leaf, "outer/inner/c", value)
    return sum(await asyncio.gather(*both))


async def item(one: tuple[str, int]) -> int:
    return await leaf(*one)


@dataclass
class Gates:
    """Files that two steps wait for."""

    first: str
    second: str


@job
async def gated(ctx: Context, gates: Gates) -> str:
    await ctx.step("first", wait_for, "first", gates.first)
    await ctx.step("second", wait_for, "second", gates.second)
    return "through"


@job
async def napping(ctx: Context, seconds: float) -> str:
    await ctx.step("before", leaf, "before", 0)
    await ctx.sleep("nap", seconds)
    await ctx.step("after", leaf, "after", 0)
    return "rested"


async def wait_for(path: str, file: str) -> None:
    say("start", path)
    while not os.path.exists(file):  # noqa: ASYNC240  another process writes it
        await asyncio.sleep(0.005)
    say("end", path)


@job
async def single(ctx: Context, work: Work) -> int:
    return await ctx.step("only", leaf, "only", work.seed)


JOBS = (mixed, gated, napping, single)


async def work(store: str, **options: Any) -> None:
    over, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_reader(sys.stdin.fileno(), over.set)  # closed when the supervisor dies
    async with Durable(store, JOBS, concurrency=4, **options) as app:
        assert app._worker is not None
        tell("worker", app._worker.id)
        await over.wait()
        tell("stopping", app._worker.id)  # no more claims from this turn of the loop on


def main() -> None:
    global log
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("log")
    parser.add_argument("options", type=json.loads, help="of Durable, as JSON")
    given = parser.parse_args()
    log = os.open(given.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    asyncio.run(work(given.store, **given.options))


if __name__ == "__main__":
    # Under its own name, so that all processes name the step functions alike.
    from tests.server import sigkill_jobs

    sigkill_jobs.main()
