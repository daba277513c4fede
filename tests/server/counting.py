"""A job of many short steps, and what of it has been executed."""

from __future__ import annotations

import asyncio

from durable_lite import Context, Job, job

__all__ = ["counting"]


def counting(steps: int) -> tuple[Job[None, int], list[int]]:
    """Steps of a twentieth of a second, which are known by their numbers; the job returns their sum."""
    executed: list[int] = []

    async def note(number: int) -> int:
        executed.append(number)
        await asyncio.sleep(0.05)
        return number

    @job
    async def counts(ctx: Context) -> int:
        return sum([await ctx.step(f"step-{number}", note, number) for number in range(steps)])

    return counts, executed
