"""What tests say about a tab with a worker: open it, trigger, and look at what became of the run."""

from __future__ import annotations

import json
from typing import Any

from playwright.async_api import BrowserContext, Page

from durable_lite.testing import tabs
from e2e.durable_site import DurableSite

QUICK = {"heartbeatInterval": "500ms", "staleAfter": "2s", "durability": "relaxed"}
# For tabs that execute while others lead, and all the time: a busy machine may stand still for a second.
BUSY, NEVER = "5s", "60s"


async def opened(context: BrowserContext, site: DurableSite, **options: Any) -> Page:
    page = await context.new_page()
    await page.goto(site.url(**(QUICK | options)))
    await tabs.until(lambda: page.evaluate("window.ready"), why="the tab is open")
    return page


async def trigger(page: Page, job: str, **payload: Any) -> str:
    return await page.evaluate(
        "async ([job, payload]) => (await tab.trigger(job, payload)).id", [job, payload]
    )


async def row(page: Page, run: str) -> dict[str, Any]:
    return await page.evaluate("id => tab.store.get_run(id)", run)


async def events(page: Page, run: str) -> list[dict[str, Any]]:
    found = await page.evaluate("id => tab.store.read_events(id, 0, 10000)", run)
    assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
    return [event | {"data": json.loads(event["data"])} for event in found]


async def types(page: Page, run: str) -> list[str]:
    return [event["type"] for event in await events(page, run) if event["type"] != "step.completed"]


async def ended(page: Page, run: str, status: str = "COMPLETED", timeout: float = 60) -> dict[str, Any]:
    async def over() -> dict[str, Any] | None:
        found = await row(page, run)
        return found if found and found["finished_at"] else None

    found = await tabs.until(over, timeout=timeout, why="the run ends")
    assert found["status"] == status, found
    return found


async def executes(page: Page, *others: Page) -> None:
    """A run comes that this tab executes, since the others don't ask for the lock: its Python is there."""
    for other in others:
        await other.evaluate("tab.executor.leader.rest(true)")
    await ended(page, await trigger(page, "pages", name="warm", steps=1))
    assert await page.evaluate("tab.status.stage") == "ready"
    for other in others:
        await other.evaluate("tab.executor.leader.rest(false)")


async def begun(site: DurableSite, name: str, step: int, timeout: float = 60) -> None:
    await tabs.until(lambda: site.told[f"{name}/begin/{step}"], timeout=timeout, why=f"step {step} of {name}")


def interrupted(site: DurableSite, name: str, steps: int, times: int = 1) -> None:
    """Every step was executed, and only what was in flight at an interruption once more."""
    begun, over = site.executed(name), site.executed(name, "end")
    assert len(begun) == len(over) == steps
    assert all(begun), begun
    assert sum(begun) <= steps + times, begun
    assert all(1 <= ends <= begins for begins, ends in zip(begun, over, strict=True)), (begun, over)
