"""Jobs for the benchmark of the HTTP API: one that tells something at a pace, one that does nothing."""

import asyncio
from dataclasses import dataclass

from durable_lite import Context, job


@dataclass
class Paced:
    steps: int
    pause: float


@job
async def paced(ctx: Context, payload: Paced) -> None:
    for number in range(payload.steps):
        await asyncio.sleep(payload.pause)
        await ctx.step(f"s{number}", str, number)


@job
async def nothing(ctx: Context, payload: dict) -> None:
    pass
