"""What the server of the tests executes."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

from durable_lite import Context, Event, Queue, Retry, Schedule, job, step


def square(number: int) -> int:
    return number * number


@step(retry=Retry.NEVER)
def failed(flag: str) -> str:
    """Fails until there is such a file."""
    return Path(flag).read_text()


@job
async def sum_of_squares(ctx: Context, payload: dict[str, Any]) -> int:
    total = 0
    for number in range(payload["count"]):
        total += await ctx.step(f"square-{number}", square, number)
        ctx.progress(number + 1, payload["count"], "squaring")
        ctx.log.info("squared", number=number)
        if payload.get("pause"):
            await ctx.sleep(f"pause-{number}", payload["pause"])
    return total


@job
async def echo(ctx: Context, payload: Any) -> Any:
    return payload


@job
async def shapes(ctx: Context) -> dict[str, Any]:
    return {
        "when": dt.datetime(2026, 3, 1, 12, 30, tzinfo=dt.UTC),
        "bytes": b"\x00\xff",
        "set": {1, 2},
        "large": 2**70 + 1,
        "inf": float("inf"),
        "cost": Decimal("9.90"),
        "pair": (1, "two"),
        "$": "its own",
    }


@job
async def nothing(ctx: Context) -> None:
    await ctx.step("nothing", lambda: None)


@job(retry=Retry.NEVER)
async def needs_file(ctx: Context, payload: dict[str, str]) -> str:
    await ctx.step("before", square, 2)
    return await ctx.step("read", failed, payload["flag"])


@job
async def approval(ctx: Context, payload: Any) -> Any:
    before = await ctx.step("before", square, 3)
    decision = await ctx.wait_for_token("approve", timeout="1d")
    return [before, decision, payload]


@job
async def paid(ctx: Context, payload: dict[str, Any]) -> Any:
    return await ctx.wait_for_event("paid", "invoice.paid", match={"org": payload["org"]}, timeout="1d")


@job(on=Event("order.placed"))
async def ship(ctx: Context, payload: dict[str, Any]) -> str:
    return f"shipped {payload['order']}"


@job
async def parent(ctx: Context, payload: int) -> list[Any]:
    return await ctx.call_many("children", echo, list(range(payload)))


@job(queue=Queue("slow/lane", concurrency=1))
async def slow(ctx: Context) -> str:
    return "through"


@job(on=Schedule(every="400d", name="rarely"))
async def rarely(ctx: Context) -> None:
    pass
