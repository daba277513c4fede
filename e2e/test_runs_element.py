"""`<durable-runs>` in a page of somebody's own: its colours, and what it does to the list of steps."""

import pytest
from playwright.async_api import BrowserContext, Page

from durable_lite.testing import tabs
from e2e.dashboard import coloured, filled, serious
from e2e.durable_site import DurableSite
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


async def showing(context: BrowserContext, site: DurableSite, name: str) -> Page:
    """A page with a run of three steps that has ended, and is shown."""
    page = await opened(context, site, staleAfter=NEVER)
    run = await trigger(page, "pages", name=name, steps=3)
    await ended(page, run)
    await page.evaluate(SHOW, run)
    await shows(page, 3)
    return page


@pytest.mark.parametrize("system", ["light", "dark"])
async def test_it_has_the_pages_own_colours(suspendable_context, site, system):
    async with suspendable_context() as context:
        page = await showing(context, site, "colours")
        await page.evaluate("() => { document.title = 'Runs'; document.documentElement.lang = 'en'; }")
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


async def test_of_a_long_log_the_newest_lines_are_in_view(suspendable_context, site):
    async with suspendable_context() as context:
        page = await context.new_page()
        run = await filled(page, site, "rows.waited(store, 1000)")
        await page.evaluate("""async () => {
            const { openTab } = await import("/durable-lite.mjs");
            window.tab = await openTab({ store: "indexeddb:e2e", worker: false });
        }""")
        await page.evaluate(SHOW.replace("./durable", "/durable"), run)
        there = "list.log.lastElementChild?.textContent.startsWith('has waited 999 times')"
        await tabs.until(lambda: page.evaluate(there), why="its last line is shown")
        for part in ("log", "steps"):
            assert await page.evaluate(f"list.{part}.children.length") == LINES
            below = f"list.{part}.scrollHeight - list.{part}.clientHeight - list.{part}.scrollTop"
            assert await page.evaluate(below) < 5


SLOW = """async () => {
  const { store } = list.open;
  const { read_logs } = store;
  list.lookNow();
  window.reads = { now: 0, most: 0, all: 0 };
  store.read_logs = async (...given) => {
    reads.all += 1;
    reads.most = Math.max(reads.most, (reads.now += 1));
    await new Promise(resolve => setTimeout(resolve, 400));
    reads.now -= 1;
    return read_logs.apply(store, given);
  };
  for (const end = performance.now() + 4000; performance.now() < end; ) {
    list.look();
    await new Promise(resolve => setTimeout(resolve, 20));
  }
  delete store.read_logs;
  return reads;
}"""


async def test_where_a_look_takes_long_there_are_few(suspendable_context, site):
    async with suspendable_context() as context:
        page = await showing(context, site, "slow")
        reads = await page.evaluate(SLOW)
        assert reads["most"] == 1
        assert 1 <= reads["all"] <= 3  # each 400 ms, and four times as long between


ASKED = """async () => {
  const { store } = list.open;
  const { read_logs } = store;
  const [began, ended] = [[], []];
  store.read_logs = async (...given) => {
    began.push(performance.now());
    await new Promise(resolve => setTimeout(resolve, 1000));
    ended.push(performance.now());
    return read_logs.apply(store, given);
  };
  const reads = async (n) => { while (began.length < n) await new Promise(requestAnimationFrame); };
  list.lookNow();
  await reads(1);
  list.lookNow();
  await reads(2);
  delete store.read_logs;
  return began[1] - ended[0];
}"""


async def test_who_asks_while_a_look_takes_long_does_not_wait_for_the_pause(suspendable_context, site):
    async with suspendable_context() as context:
        page = await showing(context, site, "asked")
        assert await page.evaluate(ASKED) < 4000  # ms, which is the pause after a read of one second


LOOKED = """() => (window.looked = () => new Promise((resolve) => {
  const { show } = list;
  list.show = (...given) => { list.show = show; show.apply(list, given); resolve(); };
  list.look();
}))"""


async def test_what_cannot_be_done_is_said_until_something_else_is(suspendable_context, site):
    async with suspendable_context() as context:
        page = await showing(context, site, "done")
        assert await page.evaluate("list.wrong.textContent") == ""
        await page.evaluate(LOOKED)
        await page.evaluate("list.steer('resume')")
        said = "list.wrong.textContent.includes('COMPLETED')"
        await tabs.until(lambda: page.evaluate(said), why="what is wrong is said")
        await page.evaluate("looked()")
        assert await page.evaluate("getComputedStyle(list.wrong).display") != "none"
        await page.evaluate("list.selected = null")
        assert await page.evaluate("list.wrong.textContent") == ""


async def test_a_store_that_cannot_be_opened_shows_nothing_of_the_one_before(suspendable_context, site):
    async with suspendable_context() as context:
        page = await opened(context, site, staleAfter=NEVER)
        await ended(page, await trigger(page, "pages", name="before", steps=1))
        await page.evaluate(SHOW, None)
        await tabs.until(lambda: page.evaluate("list.list.children.length > 0"), why="its runs are shown")
        await page.evaluate("list.tab = null, list.setAttribute('store', 'no such kind')")
        said = "!list.none.hidden && list.none.textContent.includes('store')"
        await tabs.until(lambda: page.evaluate(said), why="why there is nothing")
        assert await page.evaluate("list.list.children.length") == 0
