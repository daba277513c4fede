"""The jobs that the benchmarks run."""

from __future__ import annotations

import time
from typing import Any

from durable_lite import Context, job

from .floor import OUTPUT

marks: dict[str, float] = {}


async def work(i: int) -> dict[str, Any]:
    return OUTPUT


@job
async def sequential(ctx: Context, payload: dict[str, Any]) -> float:
    """Steps one after the other; returns the seconds that they took."""
    start = time.perf_counter()
    for i in range(payload["steps"]):
        await ctx.step(f"step-{i}", work, i)
    return time.perf_counter() - start


@job
async def short(ctx: Context) -> int:
    await ctx.step("only", work, 0)
    return 1


@job
async def mark(ctx: Context) -> None:
    """Notes when its first line ran."""
    marks[ctx.run.id] = time.perf_counter()


@job
async def replayed(ctx: Context, payload: dict[str, Any]) -> None:
    """Many steps, then one more that notes the moment."""
    for i in range(payload["steps"]):
        await ctx.step(f"step-{i}", work, i)
    await ctx.step("new", note, ctx.run.id)


async def note(run_id: str) -> None:
    marks[run_id] = time.perf_counter()


@job
async def waiting(ctx: Context) -> None:
    await ctx.sleep("long", "30d")


@job
async def waits(ctx: Context) -> None:
    await ctx.wait_for_token("token", timeout="1d")
    await ctx.step("new", note, ctx.run.id)


@job
async def parent(ctx: Context, payload: dict[str, Any]) -> None:
    await ctx.call_many("children", short, [None] * payload["children"])
