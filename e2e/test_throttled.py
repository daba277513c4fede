"""A tab so long in the background that Chromium runs its page's timers once a minute."""

import pytest
from playwright.async_api import Page

from durable_lite.testing import tabs
from e2e.tab import begun, ended, events, opened, trigger

pytestmark = pytest.mark.timeout(150)
# Chromium begins with it after five minutes in the background; by this after some seconds.
SOON = "--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/1"
TICK = "() => { window.ticks = []; setInterval(() => ticks.push(Date.now()), 100); }"
TICKED = "since => [ticks.filter(at => at > since).length, (Date.now() - since) / 60_000]"
STEPS, SECONDS, STALE = 60, 0.5, 3


async def throttled(page: Page) -> int:
    """When it was seen that no timer of the page runs, which before goes once a second; in ms."""
    seen = "Date.now() - ticks.at(-1) > 4000 && Date.now()"
    return await tabs.until(lambda: page.evaluate(seen), timeout=30, why="the page's timers stand still")


async def test_a_run_outlives_its_pages_timers(suspendable_context, site):
    async with suspendable_context(args=[SOON]) as context:
        other = await opened(context, site, worker=False)
        page = await opened(context, site, staleAfter=f"{STALE}s")
        await page.evaluate(TICK)
        run = await trigger(page, "pages", name="slow", steps=STEPS, seconds=SECONDS)
        await begun(site, "slow", 1)
        await tabs.hide(page, behind=other)
        since = await throttled(page)
        assert (STEPS - len(site.executed("slow"))) * SECONDS > 4 * STALE, "long enough to look stale"
        await ended(other, run, timeout=90)
        assert site.executed("slow") == site.executed("slow", "end") == [1] * STEPS
        seen = [event["type"] for event in await events(other, run)]
        assert seen == ["run.triggered", "run.claimed", *["step.completed"] * STEPS, "run.completed"]

        # A pause ends by a timer of the page, for nothing executes meanwhile.
        run = await trigger(page, "naps", name="nap", seconds=2)
        await ended(other, run, timeout=20)
        assert site.executed("nap") == [1, 1]

        ticks, minutes = await page.evaluate(TICKED, since)
        assert ticks <= 1 + minutes, "the timers were throttled all the time"
