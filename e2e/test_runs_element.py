"""`<durable-runs>` in a page of somebody's own: its colours, and what it does to the list of steps."""

import pytest
from playwright.async_api import Page

from durable_lite.testing import tabs
from e2e.dashboard import coloured, serious
from e2e.tab import NEVER, ended, opened, trigger

pytestmark = pytest.mark.timeout(120)
LINES = 200  # of the steps, as it shows them

SHOW = """async run => {
  await import("./durable-runs.mjs");
  window.list = document.createElement("durable-runs");
  document.body.append(Object.assign(list, { tab, selected: run }));
}"""
WATCH = """() => {
  window.added = 0;
  const seen = new MutationObserver(all => all.forEach(one => (added += one.addedNodes.length)));
  seen.observe(list.steps, { childList: true });
}"""
# What the page has: a scheme of its own, or none, which is light. The background is there for axe.
SCHEME = """scheme => {
  Object.assign(document.documentElement.style, { colorScheme: scheme, background: "Canvas" });
  const dark = scheme !== "normal" && matchMedia("(prefers-color-scheme: dark)").matches;
  return [dark ? "dark" : "light", getComputedStyle(list.heading).color];
}"""
INK = {"light": "rgb(0, 0, 0)", "dark": "rgb(255, 255, 255)"}


async def shows(page: Page, steps: int) -> None:
    there = f"list.steps.lastElementChild?.textContent.startsWith('step-{steps - 1:03}completed')"
    await tabs.until(lambda: page.evaluate(there), timeout=30, why="its last step is shown")


@pytest.mark.parametrize("system", ["light", "dark"])
async def test_it_has_the_pages_own_colours(suspendable_context, site, system):
    async with suspendable_context() as context:
        page = await opened(context, site, staleAfter=NEVER)
        await page.evaluate("() => { document.title = 'Runs'; document.documentElement.lang = 'en'; }")
        run = await trigger(page, "pages", name="colours", steps=3)
        await ended(page, run)
        await page.evaluate(SHOW, run)
        await shows(page, 3)
        await coloured(page, system)
        for scheme in ("normal", "light dark"):
            looks, ink = await page.evaluate(SCHEME, scheme)
            assert (looks, ink) == (system if scheme == "light dark" else "light", INK[looks])
            assert not await serious(page), scheme


async def test_a_step_is_added_and_no_other_is_moved(suspendable_context, site):
    steps = LINES + 60
    async with suspendable_context() as context:
        page = await opened(context, site, staleAfter=NEVER)
        run = await trigger(page, "pages", name="many", steps=steps, seconds=0)
        await page.evaluate(SHOW, run)
        await page.evaluate(WATCH)
        await ended(page, run)
        await shows(page, steps)
        assert await page.evaluate("list.steps.children.length") == LINES
        assert await page.evaluate("added") <= steps
        below = "list.steps.scrollHeight - list.steps.clientHeight - list.steps.scrollTop"
        assert await page.evaluate(below) < 5, "the newest is in view"
