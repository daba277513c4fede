"""Jobs whose steps tell a server that they execute: what a page says of itself proves nothing."""

import asyncio
from pathlib import Path

from js import fetch
from pyodide.http import pyfetch

from durable_lite import Context, FetchFailed, Retry, TooLarge, job


async def tell(what: str) -> None:
    await fetch(f"/tell/{what}")


async def visit(run: str, i: int, seconds: float) -> int:
    await tell(f"{run}/begin/{i}")
    await asyncio.sleep(seconds)
    await tell(f"{run}/end/{i}")
    return i


@job
async def pages(ctx: Context, payload: dict) -> int:
    total = 0
    for i in range(payload["steps"]):
        total += await ctx.step(f"step-{i:03}", visit, payload["name"], i, payload.get("seconds", 0.05))
        ctx.progress(i + 1, payload["steps"], f"page {i + 1}")
    return total


@job
async def naps(ctx: Context, payload: dict) -> str:
    await ctx.step("before", visit, payload["name"], 0, 0)
    await ctx.sleep("nap", payload["seconds"])
    await ctx.step("after", visit, payload["name"], 1, 0)
    return "rested"


@job
async def hangs(ctx: Context, payload: dict) -> None:
    """Fetches what never ends, until it is cancelled."""
    await ctx.step("hang", fetch_for_ever, payload["name"])


async def fetch_for_ever(name: str) -> None:
    await pyfetch(f"/hang/{name}")  # given up when the step is cancelled


@job
async def gets(ctx: Context, payload: dict) -> list:
    """What the page's own fetch got."""
    found = await ctx.fetch("get", payload["url"], headers={"X-Mine": "me"}, redact=["cache-control"])
    try:
        await ctx.fetch("large", payload["url"], max_bytes=3)
    except TooLarge as error:
        large = error.limit
    try:
        retry = Retry(max_attempts=2, min_delay="10ms")
        await ctx.options(retry=retry).fetch("none", "http://127.0.0.1:9/x")
    except FetchFailed as error:
        nobody = str(error)
    return [found.status, found.body, found.headers.get("cache-control"), large, nobody]


@job
async def gets_for_ever(ctx: Context, payload: dict) -> None:
    await ctx.options(timeout="1h").fetch("hang", f"/hang/{payload['name']}")


@job(retry=Retry(max_attempts=2, min_delay="1s", jitter=False))
async def fails(ctx: Context, payload: dict) -> None:
    raise ValueError("<img src=x onerror=alert(1)>")


@job
async def writes(ctx: Context, payload: dict) -> str:
    """Each step adds a file; the last reads them all."""
    for i in range(payload["steps"]):
        await ctx.step(f"file-{i}", write, payload["name"], i, payload.get("seconds", 0.15))
    return await ctx.step("read", read, payload["name"])


async def write(name: str, i: int, seconds: float) -> None:
    folder = Path("/files") / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{i}.txt").write_text(f"{i};")
    await visit(name, i, seconds)


def read(name: str) -> str:
    return "".join(path.read_text() for path in sorted((Path("/files") / name).iterdir()))
