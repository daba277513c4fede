"""What the server of the dashboard's tests executes; a job that is to take long waits for a file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from durable_lite import Context, Queue, Retry, Schedule, job, step


@step(title="Plan the pages")
def plan(pages: int) -> list[int]:
    return list(range(pages))


def fetch(page: int) -> int:
    return 500 + page


def save(org: str, page: int, rows: int) -> str:
    return f"{org}-{page}.csv with {rows} rows"


async def write(ctx: Context, org: str, page: int) -> str:
    rows = await ctx.step("fetch", fetch, page)
    return await ctx.step("save", save, org, page, rows)


@job
async def export_invoices(ctx: Context, payload: dict[str, Any]) -> dict[str, Any]:
    files = []
    for page in await ctx.step("plan", plan, payload["pages"]):
        files.append(await ctx.step(f"page-{page}", write, ctx, payload["org"], page))
        ctx.progress(page + 1, payload["pages"], f"{page + 1} of {payload['pages']} pages")
        ctx.log.info("page written", number=page)
    ctx.log.warning("the last page is short")
    return {"org": payload["org"], "files": files}


@step(retry=Retry(max_attempts=2, min_delay="10ms"))
def charge(customer: str) -> str:
    """Fails until the card is mended."""
    if not Path("card").exists():
        raise ConnectionError(f"the card of {customer} was declined")
    return f"charged {customer}"


@job(retry=Retry.NEVER)
async def charge_customer(ctx: Context, payload: dict[str, str]) -> str:
    await ctx.step("look-up", str.upper, payload["customer"])
    return await ctx.step("charge", charge, payload["customer"])


@job
async def refund(ctx: Context, payload: dict[str, Any]) -> Any:
    return {"refund": payload["order"], "decision": await ctx.wait_for_token("approve", timeout="7d")}


def until_told(number: int) -> int:
    while not Path(f"go-{number}").exists():
        time.sleep(0.01)
    return number


@job
async def reindex_documents(ctx: Context, payload: dict[str, int]) -> str:
    for number in range(payload["batches"]):
        ctx.log.info("batch begins", number=number)
        ctx.progress(number, payload["batches"], f"{number} of {payload['batches']} batches")
        await ctx.step(f"batch-{number}", until_told, number)
    return "reindexed"


@job(queue=Queue("mail", concurrency=2))
async def send_mail(ctx: Context, payload: str) -> str:
    return await ctx.step("send", "to {}".format, payload)


@job
async def send_all(ctx: Context, payload: list[str]) -> list[str]:
    return await ctx.call_many("mails", send_mail, payload)


@job(on=Schedule(every="400d", name="rarely"))
async def close_books(ctx: Context) -> None:
    pass


def bad(text: str) -> None:
    raise ValueError(text)


@job(retry=Retry.NEVER)
async def says(ctx: Context, payload: dict[str, str]) -> str:
    """Says a text wherever a job can say one; then waits for a token, fails, or gives it."""
    text = payload["text"]
    ctx.progress(1, 2, text)
    ctx.log.warning(text, **{text: text})
    ctx.metadata.set(text, text)
    await ctx.step(text, str, text)
    await ctx.options(title=text).step("titled", str, text)
    if payload["end"] == "wait":
        await ctx.wait_for_token(f"token {text}", timeout="7d")
    if payload["end"] == "fail":
        await ctx.step(f"bad {text}", bad, text)
    return text
