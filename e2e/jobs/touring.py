"""A job for CPython and for a tab, whose steps tell a server that they execute."""

import asyncio
import datetime as dt
import sys
from dataclasses import dataclass
from urllib.request import urlopen

from durable_lite import Context, Retry, job


@dataclass
class Tour:
    base: str  # of the server
    name: str
    steps: int
    seconds: float = 0.2


@dataclass
class Facts:
    began: dt.datetime
    seen: set[tuple[int, bytes]]


async def tell(base: str, what: str) -> None:
    url = f"{base}/tell/{what}"
    if sys.platform == "emscripten":
        from js import fetch

        await fetch(url)
    else:
        await asyncio.to_thread(lambda: urlopen(url).close())


async def visit(tour: Tour, number: int) -> int:
    await tell(tour.base, f"{tour.name}/begin/{number}")
    await asyncio.sleep(tour.seconds)
    await tell(tour.base, f"{tour.name}/end/{number}")
    return number


async def facts() -> Facts:
    return Facts(dt.datetime.now(dt.UTC), {(1, b"\x00"), (2, b"\xff")})


@job
async def tours(ctx: Context, payload: Tour) -> list[str]:
    found = await ctx.step("facts", facts)
    ctx.log.info("begun", on=sys.platform)
    numbers = [await ctx.step(f"visit/{n}", visit, payload, n) for n in range(payload.steps)]
    again = await ctx.step("facts", facts)
    assert found == again
    assert found.seen == {(1, b"\x00"), (2, b"\xff")}
    return [sys.platform, str(sum(numbers)), found.began.isoformat()]


@job(retry=Retry(max_attempts=3, min_delay="3s", jitter=False))
async def rests(ctx: Context, payload: Tour) -> list[str]:
    """Sleeps, then fails once and is tried again."""
    await ctx.step("before", visit, payload, 0)
    await ctx.sleep("nap", "3s")
    await ctx.step("after", visit, payload, 1)
    if ctx.run.attempt == 1:
        raise ConnectionError("not yet")
    return [sys.platform, str(ctx.run.attempt)]
