"""What the dashboard's tests say: rows in a store, a page of which nothing is wrong, and what to do there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext, Locator, Page

from durable_lite.testing import tabs
from e2e.durable_site import DurableSite

CSP = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'"
AXE = Path(__file__).parents[1] / "node_modules/axe-core/axe.min.js"
ICON = "/favicon.ico"
HOSTILE = """<img src=x onerror="alert(1)"><script>alert(2)</script>"'`${7*7}</span>&lt;b&gt;"""
WATCH = """
window.violations = [];
const report = ({ violatedDirective, blockedURI }) => violations.push(`${violatedDirective} ${blockedURI}`);
addEventListener("securitypolicyviolation", report);
"""
# Opens all that can be opened, then tells what isn't of the dashboard's own making.
LOOK = """async () => {
    const { shadowRoot } = document.querySelector("durable-dashboard");
    for (let i = 0; i < 3; i += 1) {
        shadowRoot.querySelectorAll("summary, .fold[aria-expanded=false]").forEach((one) => one.click());
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const all = [...shadowRoot.querySelectorAll("*")];
    const count = (fits) => all.filter(fits).length;
    const strange = "img, script, iframe, object, embed, svg, link, style, base, form[action], [style*=url]";
    return {
        odd: count((one) => one.matches(strange)),
        handlers: count((one) => [...one.attributes].some(({ name }) => name.startsWith("on"))),
        links: count((one) => one.matches("a[href]") && !one.getAttribute("href").startsWith("#/")),
        text: shadowRoot.textContent,
    };
}"""
SCROLL = """async () => {
    const grid = document.querySelector("durable-dashboard").shadowRoot.querySelector(".grid");
    for (let still = 0; still < 60; ) {
        const before = grid.scrollTop;
        grid.scrollTop += 700;
        await new Promise(requestAnimationFrame);
        still = grid.scrollTop === before ? still + 1 : 0;
    }
    return { count: grid.ariaRowCount, rows: grid.querySelectorAll(".body .row").length };
}"""
READ_ONLY = """async () => {
    const { openTab } = await import("/durable-lite.mjs");
    await import("/dashboard/durable-dashboard.mjs");
    const tab = await openTab({ store: "indexeddb:e2e", worker: false });
    tab.readOnly = true;
    const made = document.createElement("durable-dashboard");
    made.setAttribute("links", "none");
    made.source = tab;
    document.body.append(made);
}"""
DOWN = """async () => {
    const { store } = await dashboard().own;
    store.real = store.list_runs;
    store.list_runs = async () => { throw new Error("disk on fire") };
}"""
# Deletes a run while the page reads it: the row is read, its steps not yet.
DELETE_AMID_A_READ = """async (id) => {
    const tab = await dashboard().own;
    const { load_steps } = tab.store;
    await new Promise((began) => {
        tab.store.load_steps = async (...given) => {
            began();
            await new Promise((resolve) => dashboard().addEventListener("deleted", resolve, { once: true }));
            const steps = await load_steps.apply(tab.store, given);
            setTimeout(() => (window.read = true), 500);
            return steps;
        };
        tab.store.tell([{ run_id: id, claimable: false }]);
    });
    delete tab.store.load_steps;
    await tab.delete(id);
    const gone = dashboard().shadowRoot;
    while (!gone.textContent.includes("There is no such run")) await new Promise(requestAnimationFrame);
    dashboard().dispatchEvent(new Event("deleted"));
    while (!window.read) await new Promise(requestAnimationFrame);
}"""
COUNT_READS = """async () => {
    const { store } = await dashboard().own;
    const { get_run } = store;
    window.reads = 0;
    store.get_run = (id) => ((window.reads += 1), get_run.call(store, id));
}"""
QUIET = """async () => {
    const before = reads;
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return reads === before;
}"""
UP = "async () => { const { store } = await dashboard().own; store.list_runs = store.real }"
SAVED = """() => {
    const made = URL.createObjectURL;
    URL.createObjectURL = (file) => made.call(URL, (window.saved = file));
}"""
VIEWS = {"runs": "#/runs", "queues": "#/queues", "schedules": "#/schedules", "tokens": "#/tokens"}
RUNS = ("done", "failed", "waiting", "executing")


TELL = """async (id) => {
    const tell = async (type, data) => {
        const text = JSON.stringify([{ run_id: id, seq: null, at: Date.now() / 1000, type, data }]);
        (await dashboard().own).heard(text);
    };
    await tell("step.started", { path: "batch-31" });
    await tell("run.progress", { current: 15_500, total: 48_210, message: "15,500 of 48,210 documents" });
}"""


@asynccontextmanager
async def watched(context: BrowserContext, *expected: str) -> AsyncIterator[Page]:
    """A page of which nothing may be wrong: no report of its policy, no error, no dialog.

    `expected`: what the browser itself says of requests that go wrong, as regular expressions; each has
    to be met.
    """
    wrong: list[str] = []
    met: set[str] = set()
    page = await context.new_page()
    await page.add_init_script(WATCH)

    def hear(said: Any) -> None:
        if said.type not in ("error", "warning") or said.location["url"].endswith(ICON):
            return
        fitting = [one for one in expected if re.search(one, said.text)]
        met.update(fitting)
        if not fitting:
            wrong.append(said.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
    yield page
    assert await page.evaluate("violations") == []
    assert not wrong, wrong
    assert met == set(expected)


async def filled(page: Page, site: DurableSite, script: str, *given: Any) -> Any:
    """What a page of this origin puts into the store `e2e`, with the verbs of the store."""
    await page.goto(f"{site.base}/plain.html")
    return await page.evaluate(
        f"""async (given) => {{
            const rows = await import("/dashboard-rows.mjs");
            const store = await rows.opened("e2e");
            const [text] = given;
            const made = await ({script});
            await store.close();
            return made ?? null;
        }}""",
        list(given) or [None],
    )


async def scenes(page: Page, site: DurableSite, text: str = "") -> dict[str, str]:
    return await filled(page, site, "rows.scenes(store, (plain) => plain + (text ?? ''))", text)


async def opened(page: Page, url: str) -> None:
    await page.goto(url)
    await page.locator("nav").wait_for()


async def shown(page: Page, site: DurableSite, hash: str = "") -> None:
    await opened(page, f"{site.base}/dashboard/?store=indexeddb:e2e{hash}")


async def row(page: Page, run: str) -> dict[str, Any]:
    return await page.evaluate("async (id) => (await dashboard().own).store.get_run(id)", run)


async def act(page: Page, name: str, yes: str, fill: str | None = None) -> None:
    await page.get_by_role("button", name=name, exact=True).click()
    if fill is not None:
        await page.locator("dialog textarea").fill(fill)
    await page.locator("dialog").get_by_role("button", name=yes).click()


def line(page: Page, run: str) -> Locator:
    return page.locator(f'.row[id="row-{run}"]')


async def coloured(page: Page, scheme: str) -> None:
    session = await page.context.new_cdp_session(page)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    await session.send("Emulation.setEmulatedMedia", {"features": [feature]})


async def serious(page: Page) -> list[tuple[str, list[str]]]:
    """What axe finds on a page and calls serious or critical, and where."""
    await page.evaluate(AXE.read_text("utf-8"))
    result = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    found = [one for one in result["violations"] if one["impact"] in ("serious", "critical")]
    return [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found]


async def known(page: Page) -> None:
    await page.evaluate("window.dashboard = () => document.querySelector('durable-dashboard')")


async def examined(page: Page, picture: Path, scheme: str, width: int) -> list[Any]:
    """What is wrong with a page as it is shown so; its picture is of all of it."""
    await coloured(page, scheme)
    await page.set_viewport_size({"width": width, "height": 900})
    wide, high = await page.evaluate("[document.body.scrollWidth, document.documentElement.scrollHeight]")
    await page.set_viewport_size({"width": width, "height": max(900, high)})  # without a scroll bar
    await page.screenshot(path=picture)
    return [*(["too wide"] if wide > width else []), *await serious(page)]


def heading(page: Page) -> Locator:
    """The status of the run whose page it is."""
    return page.locator("h2 .status")


async def quiet(page: Page) -> None:
    """Wait until the page of a run reads nothing any more: whatever it shows then, it has heard of."""
    await known(page)
    await page.evaluate(COUNT_READS)
    await tabs.until(lambda: page.evaluate(QUIET), why="nothing is read any more")


LONG = 50  # ms, as the browser has it


@asynccontextmanager
async def traced(page: Page) -> AsyncIterator[list[float]]:
    """How long each task of the page was at work itself, in ms: a busy machine only makes it wait."""
    session = await page.context.new_cdp_session(page)
    events: list[dict[str, Any]] = []
    over = asyncio.Event()
    session.on("Tracing.dataCollected", lambda data: events.extend(data["value"]))
    session.on("Tracing.tracingComplete", lambda _: over.set())
    chosen = {"includedCategories": ["toplevel"], "excludedCategories": ["*"]}
    await session.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": chosen})
    tasks: list[float] = []
    yield tasks
    await session.send("Tracing.end")
    await over.wait()
    names = [one for one in events if one["name"] == "thread_name"]
    mains = {(one["pid"], one["tid"]) for one in names if one["args"]["name"] == "CrRendererMain"}
    tasks += [one["tdur"] / 1000 for one in events if (one["pid"], one["tid"]) in mains and "tdur" in one]
