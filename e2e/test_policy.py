"""Chromium freezes hidden tabs by a policy of its own; `keepAwake` exempts a tab while runs execute."""

import asyncio

import pytest
from playwright.async_api import Page

from durable_lite.testing import tabs
from e2e.tab import BUSY, NEVER, begun, ended, events, interrupted, opened, row, trigger, types

pytestmark = pytest.mark.timeout(150)
LONG = 8  # seconds; a hidden tab is frozen after one
AWAKE = 80  # steps, of which some are left when the policy has frozen another tab


async def settled(page: Page, behind: Page) -> None:
    """Chromium freezes no page that it takes to be loading; on a busy machine that lasts up to a minute."""
    await tabs.hide(page, behind=behind)
    await tabs.until(lambda: tabs.frozen(page), timeout=75, why="Chromium's own freeze of an idle tab")
    await tabs.show(page)


async def test_keep_awake_while_a_run_executes(suspendable_context, site):
    async with suspendable_context(policy_freeze=True) as context:
        observer = await opened(context, site, worker=False)
        page = await opened(context, site, keepAwake=True, staleAfter=NEVER)
        plain = await context.new_page()
        await plain.goto(site.url().replace("tab.html", "plain.html"))
        for one in (page, plain):
            await settled(one, observer)
        await tabs.show(page)
        run = await trigger(page, "pages", name="awake", steps=AWAKE, seconds=0.2)
        await begun(site, "awake", 2)
        await tabs.show(plain)
        await tabs.hide(page, behind=observer)
        await tabs.until(lambda: tabs.frozen(plain), why="the policy freezes another hidden tab")
        assert not await tabs.frozen(page)
        before = sum(site.executed("awake"))
        await tabs.until(lambda: sum(site.executed("awake")) >= before + 10, why="it goes on")
        assert not await tabs.frozen(page)
        await ended(observer, run)
        assert site.executed("awake") == [1] * AWAKE
        assert "run.stale" not in await types(observer, run)
        await tabs.until(lambda: tabs.frozen(page), why="without a run it is a tab like others")


async def test_without_it_the_tab_is_frozen_and_resumes_when_it_is_shown(suspendable_context, site):
    async with suspendable_context(policy_freeze=True) as context:
        observer = await opened(context, site, worker=False)
        page = await opened(context, site, keepAwake=False, staleAfter=BUSY)
        await settled(page, observer)
        run = await trigger(page, "pages", name="frozen", steps=100, seconds=0.2)
        await begun(site, "frozen", 2)
        await tabs.hide(page, behind=observer)
        await tabs.until(lambda: tabs.frozen(page), why="Chromium's own freeze")
        at = sum(site.executed("frozen"))
        await asyncio.sleep(LONG)
        assert sum(site.executed("frozen")) == at < 100
        assert (await row(observer, run))["status"] == "EXECUTING"  # nobody is there to see
        await tabs.show(page)
        await ended(page, run)  # a frozen page wouldn't answer
        interrupted(site, "frozen", 100)
        seen = await events(page, run)
        assert [one["data"]["reason"] for one in seen if one["type"] == "run.stale"] == ["suspended"]
        [resumed] = [one for one in seen if one["type"] == "run.resumed"]
        assert resumed["data"]["gap_ms"] > 5000


async def test_without_it_another_tab_takes_over_after_stale_after(suspendable_context, site):
    async with suspendable_context(policy_freeze=True) as context:
        late = {"keepAwake": False, "staleAfter": BUSY}  # both lead: a busy machine must not look dead
        page = await opened(context, site, **late)
        blank = await context.new_page()
        await settled(page, blank)
        run = await trigger(page, "pages", name="over", steps=50, seconds=0.2)
        await begun(site, "over", 2)
        other = await opened(context, site, **late)  # hides the first
        await tabs.until(lambda: tabs.frozen(page), why="Chromium's own freeze")
        await ended(other, run)
        assert await tabs.frozen(page)
        interrupted(site, "over", 50)
        seen = await events(other, run)
        assert [one["data"]["reason"] for one in seen if one["type"] == "run.stale"] == ["heartbeat"]
        claims = [one["data"]["worker"] for one in seen if one["type"] == "run.claimed"]
        assert len(set(claims)) == 2
        await tabs.show(page)
        await asyncio.sleep(1)
        interrupted(site, "over", 50)
        assert (await types(page, run)).count("run.completed") == 1


async def test_a_frozen_tab_in_the_queue_keeps_nobody_from_the_lock(suspendable_context, site):
    async with suspendable_context() as context:
        page = await opened(context, site, staleAfter="30s")
        run = await trigger(page, "pages", name="first", steps=15, seconds=0.2)
        await begun(site, "first", 1)
        waiting = await opened(context, site, staleAfter="30s")
        await tabs.until(lambda: waiting.evaluate("tab.executor.leader.asking"), why="it waits for the lock")
        await tabs.freeze(waiting, behind=page)
        await ended(page, run)
        run = await trigger(page, "pages", name="next", steps=3)
        await ended(page, run, timeout=10)
        assert await tabs.frozen(waiting)
