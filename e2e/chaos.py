"""Two tabs on one store, and what happens to them at random: frozen, crashed, closed, killed, asleep."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

from playwright.async_api import BrowserContext, Page

from durable_lite.testing import tabs

from .durable_site import DurableSite

QUICK = {"heartbeatInterval": "500ms", "staleAfter": "2s", "durability": "relaxed"}
STEPS = 12
HOWS = ("freeze", "close", "crash", "kill", "reload", "sleep")


class Chaos:
    """One store, a page that only watches, and two that execute."""

    def __init__(self, context: BrowserContext, site: DurableSite, random: Random) -> None:
        self.context, self.site, self.random = context, site, random
        self.pages: list[Page] = []
        self.watcher: Page
        self.did: list[str] = []

    async def open(self) -> None:
        self.watcher = await self._opened(worker=False)
        self.pages = [await self._opened(), await self._opened()]

    async def round(self, number: int) -> None:
        """One run, disturbed once or twice; raises unless it ends as it should."""
        name = f"round{number}"
        payload = {"name": name, "steps": STEPS, "seconds": 0.1}
        run = await self.watcher.evaluate("async (p) => (await tab.trigger('pages', p)).id", payload)
        disturbed = 0
        for _ in range(self.random.choice((1, 1, 2))):
            at = self.random.randrange(1, STEPS - 2)
            await tabs.until(
                lambda at=at: self.site.told[f"{name}/begin/{at}"], timeout=40, why=f"step {at} of {name}"
            )
            await asyncio.sleep(self.random.random() * 0.2)
            disturbed += await self._disturb(self.random.choice(HOWS), self.random.randrange(2))
        row = await tabs.until(lambda: self._ended(run), timeout=60, why=f"{name} ends after {self.did[-3:]}")
        await self._check(run, row, name, disturbed)

    async def _disturb(self, how: str, which: int) -> int:
        page = self.pages[which]
        self.did.append(f"{how} {which}")
        if how == "freeze":
            await tabs.freeze(page, behind=self.watcher)
            await asyncio.sleep(self.random.random() * 3)
            await tabs.thaw(page)
        elif how == "sleep":
            await tabs.sleep_machine(page, self.random.random() * 4)
        elif how == "reload":
            await page.reload()
            await _ready(page)
        else:
            if how == "close":
                await page.close()
            elif how == "crash":
                await tabs.crash(page)
            else:
                await tabs.kill_renderer(page)
            if how != "close":
                await page.close()
            self.pages[which] = await self._opened()
        return 1

    async def _check(self, run: str, row: dict[str, Any], name: str, disturbed: int) -> None:
        assert row["status"] == "COMPLETED", (name, row, self.did)
        events = await self.watcher.evaluate("id => tab.store.read_events(id, 0, 10000)", run)
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), (name, events)
        done = [json.loads(one["data"])["path"] for one in events if one["type"] == "step.completed"]
        assert sorted(done) == [f"step-{i:03}" for i in range(STEPS)], (name, done)
        # Each interruption costs the step in flight, and no other is executed again.
        begun = self.site.executed(name)
        stale = sum(event["type"] == "run.stale" for event in events)
        assert sum(begun) <= STEPS + max(stale, disturbed), (name, begun, self.did)

    async def _ended(self, run: str) -> dict[str, Any] | None:
        row = await self.watcher.evaluate("id => tab.store.get_run(id)", run)
        return row if row["finished_at"] else None

    async def _opened(self, **options: Any) -> Page:
        page = await self.context.new_page()
        await page.goto(self.site.url(**(QUICK | options)))
        await _ready(page)
        return page


async def _ready(page: Page) -> None:
    await tabs.until(lambda: page.evaluate("window.ready"), timeout=20, why="the tab is open")
