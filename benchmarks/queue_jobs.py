"""Jobs whose executions are measured from outside: each step writes when it began and ended to one file."""

import asyncio
import os
import time

from durable_lite import Context, Queue, job

CONCURRENCY, RATE, KEYS = 6, 100, 40

narrow = Queue("narrow", concurrency=CONCURRENCY)
rated = Queue("rated", rate=f"{RATE}/s")


def mark(*words: object) -> None:
    """A line that no other process tears apart; the clock is the machine's."""
    line = " ".join(map(str, (time.monotonic(), *words))) + "\n"
    file = os.open(os.environ["GAUGE"], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


async def work(what: str, run: str) -> None:
    mark("begin", what, run)
    await asyncio.sleep(0.002)
    mark("end", what, run)


@job(queue=narrow)
async def in_queue(ctx: Context, number: int) -> None:
    await ctx.step("work", work, "narrow", ctx.run.id)


@job
async def with_key(ctx: Context, number: int) -> None:
    await ctx.step("work", work, f"key{number % KEYS}", ctx.run.id)


@job(queue=rated)
async def at_a_rate(ctx: Context, number: int) -> None:
    await ctx.step("work", work, "rated", ctx.run.id)
