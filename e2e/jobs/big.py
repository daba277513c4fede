"""A job whose steps return more than compresses."""

import asyncio
import base64
import random

from js import fetch

from durable_lite import Context, job


@job
async def grows(ctx: Context, payload: dict) -> int:
    """Steps of so many random bytes each; the sum of what they have returned."""
    total = 0
    for i in range(payload["steps"]):
        total += len(await ctx.step(f"part-{i:03}", part, payload["name"], i, payload["bytes"]))
    return total


async def part(run: str, i: int, size: int) -> str:
    await fetch(f"/tell/{run}/begin/{i}")
    await asyncio.sleep(0.1)
    value = base64.b64encode(random.randbytes(size)).decode()
    await fetch(f"/tell/{run}/end/{i}")
    return value
