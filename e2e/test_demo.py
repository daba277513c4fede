"""The demo's page, and the guide's: a real export in a real tab, interrupted, and nothing done twice."""

import asyncio
import csv
import hashlib
import io
import re
import threading
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page

from durable_lite.testing import tabs
from durable_lite.web.build import Plan, build
from durable_lite.web.serve import Server
from web.demo.serve import make

pytestmark = pytest.mark.timeout(180)
ROOT = Path(__file__).parents[1]
INVOICES = 3000
MANY = 50_000  # so that there is time enough to come between
ICON = "/favicon.ico"  # which the browser asks for by itself
# One that was in a pause has not been interrupted.
RESUMED = r"This tab (resumed the run after|went on with the run).*: \d+ steps answered from checkpoints\."


@pytest.fixture(scope="module")
def demo(tmp_path_factory, begin):
    out = begin(tmp_path_factory.mktemp("demo") / "site")
    make(out)
    return out


@contextmanager
def served(folder: Path):
    """Under the strictest policy that there is."""
    missing: list[str] = []
    with Server(folder, "127.0.0.1", 0, csp=True, told=missing.append) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()
    assert [one for one in missing if not one.endswith(ICON)] == []


@pytest.fixture
def site(demo):
    with served(demo) as url:
        yield f"{url}demo/"


@asynccontextmanager
async def watched(context):
    """A page of which nothing may be wrong: no error in its console, no uncaught one."""
    wrong: list[str] = []
    page = await context.new_page()

    def hear(said):
        if said.type in ("error", "warning") and not said.location["url"].endswith(ICON):
            wrong.append(said.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    try:
        yield page
    except TimeoutError:
        print(await story(page))
        raise
    assert not wrong, wrong


async def opened(page: Page, site: str) -> None:
    await page.goto(site)
    await ready(page)


async def ready(page: Page) -> None:
    await tabs.until(lambda: page.evaluate("document.documentElement.dataset.ready === ''"), why="it is open")


async def start(page: Page, pause: str = "20ms", invoices: int = INVOICES) -> None:
    await page.fill("#invoices", str(invoices))
    await page.select_option("#pause", pause)
    await page.click("#start")


async def cells(page: Page, least: int, what: str = ":is([data-is=done], [data-is=kept])") -> None:
    count = f"document.querySelectorAll('#pages {what}').length"
    await tabs.until(lambda: page.evaluate(f"{count} >= {least}"), timeout=60, why=f"{least} pages {what}")


async def state(page: Page, wanted: str) -> None:
    await tabs.until(
        lambda: page.evaluate(f"document.getElementById('state').textContent === '{wanted}'"),
        timeout=90,
        why=f"the state is {wanted}",
    )


async def story(page: Page) -> str:
    return await page.evaluate(
        "[...document.querySelectorAll('#log li span')].map(one => one.textContent).join('\\n')"
    )


async def downloaded(page: Page) -> bytes:
    """What the button saves, from the browser's own folder."""
    await page.evaluate(
        """() => {
            const made = URL.createObjectURL;
            URL.createObjectURL = file => made.call(URL, (window.saved = file));
        }"""
    )
    await page.click("#download")
    await tabs.until(lambda: page.evaluate("Boolean(window.saved)"), why="a file is saved")
    text = await page.evaluate("saved.text()")
    return text.encode()


async def exported(page: Page) -> dict:
    return await page.evaluate("tab.runs({job: 'export_invoices'}).then(runs => runs[0].output)")


async def test_a_reload_in_the_middle_goes_on_and_the_file_is_whole(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        await opened(page, site)
        await start(page, invoices=3 * INVOICES)  # some are left when it is loaded again
        await cells(page, 15)
        await page.reload()
        await ready(page)
        await cells(page, 15, "[data-is=kept]")
        await state(page, "Done")
        told = await story(page)
        assert "This page was loaded again." in told
        assert re.search(RESUMED, told)
        done = await exported(page)
        data = await downloaded(page)
        assert hashlib.sha256(data).hexdigest() == done["sha256"]
        rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
        assert len(rows) == 1 + 3 * INVOICES == 1 + done["rows"]
        assert "as the job reported" in await page.inner_text("#checked")
        runs = "document.querySelector('durable-runs').shadowRoot"
        kept = f"{runs}.querySelectorAll('li [data-is=kept]').length"
        await tabs.until(
            lambda: page.evaluate(f"{kept} >= 10"), why="the list of the newest ones shows them, too"
        )


async def test_a_freeze_is_told_in_plain_words_and_so_are_cancel_and_resume(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        await opened(page, site)
        await start(page, "0s", MANY)  # it executes all the time: in a pause it would have nothing to lose
        await cells(page, 5)
        other = await context.new_page()
        await tabs.freeze(page, behind=other)
        await asyncio.sleep(9)  # on a busy machine the worker stands still some time after the page
        await tabs.thaw(page)
        await cells(page, 5, "[data-is=kept]")
        told = await story(page)
        assert "This tab went to the background." in told
        assert re.search(r"This tab was frozen for \d[.\d]* s", told)
        assert re.search(r"Python had stood still: .* The run was marked stale\.", told)
        assert re.search(RESUMED, told)
        await page.click("#cancel")
        await state(page, "Cancelled")
        await page.click("#resume")
        await state(page, "Exporting")
        assert "Resume: the run goes on from its checkpoints." in await story(page)


async def test_another_tab_watches_and_takes_over(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as second:
        first = await context.new_page()
        await opened(first, site)
        await start(first, "0s", MANY)  # it executes all the time, and keeps the lock
        await cells(first, 5)
        await opened(second, site)
        await cells(second, 5)
        assert "Another tab executes." in await second.inner_text("#stage")
        await first.close()
        await cells(second, 5, "[data-is=kept]")
        assert re.search(RESUMED, await story(second))


HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script><b style='color:red'>"
# The kinds of elements of the page and of the list of runs, and the attributes whose names do something.
ELEMENTS = """() => {
  const all = [document, document.querySelector("durable-runs").shadowRoot].flatMap(
    root => [...root.querySelectorAll("*")]);
  const ours = ["tr", "td", "th", "li", "time", "span", "progress", "button", "i", "link"];
  const names = new Set(all.map(node => node.localName).filter(name => !ours.includes(name)));
  const doing = all.flatMap(node => node.getAttributeNames()).filter(name => /^on|^style$|^src/.test(name));
  return [[...names].sort(), doing.sort()];
}"""
# Says the same wherever a run can say something: its steps, one of them still executing, and their failures.
SAYS = """
import asyncio
from durable_lite import AbortRun, Context, Retry, job

def fail(text: str) -> None:
    raise ValueError(text)

@job
async def export_invoices(ctx: Context, text: str) -> None:
    ctx.progress(1, 2, text)
    ctx.log.info(text, field=text)
    ctx.log.error(f"{text}&amp;")
    await ctx.step(text, str, text)
    await ctx.options(title=f"title {text}").step("titled", str, text)
    try:
        await ctx.options(retry=Retry(max_attempts=2, min_delay="10ms")).step(f"fails {text}", fail, text)
    except ValueError:
        pass
    await ctx.step(f"lasts {text}", asyncio.sleep, 3600)

@job
async def make_database(ctx: Context, wanted: dict) -> None:
    raise AbortRun(wanted["text"])
"""


async def test_nothing_that_a_run_says_becomes_markup(suspendable_context, begin, tmp_path):
    jobs = tmp_path / "says.py"
    jobs.write_text(SAYS, "utf-8")
    folder = tmp_path / "site"
    make(begin(folder))
    build(Plan(folder, jobs=(jobs,), brotli=False))
    with served(folder) as url:
        async with suspendable_context() as context, watched(context) as page:
            await opened(page, f"{url}demo/")
            before = await page.evaluate(ELEMENTS)
            await page.evaluate("text => tab.trigger('export_invoices', text, { tags: [text] })", HOSTILE)
            await page.reload()  # shows the newest run
            await ready(page)
            shadow = "document.querySelector('durable-runs').shadowRoot"
            path = HOSTILE.replace("/", "%2F")
            said = [path, f"title {HOSTILE}", f"fails {path}", f"lasts {path}", f"{HOSTILE} field={HOSTILE}"]
            said.append(f"{HOSTILE}&amp;")
            shown = f"said => said.every(one => {shadow}.textContent.includes(one))"
            await tabs.until(lambda: page.evaluate(shown, said), timeout=60, why="all that it says is shown")
            assert HOSTILE in await page.evaluate(f"{shadow}.querySelector('[part=run]').textContent")
            told = [f"Step fails {path} failed: ValueError: {HOSTILE}", f"invoices, {HOSTILE}"]
            above = "said => said.every(one => document.body.textContent.includes(one))"
            await tabs.until(lambda: page.evaluate(above, told), why="the page above tells it")
            assert await page.evaluate(ELEMENTS) == before
            await page.click("#cancel")
            await state(page, "Cancelled")

            trigger = """async text => {
                const run = await tab.trigger("make_database", { invoices: 1, text });
                return run.result().catch(() => run.id);
            }"""
            run = await page.evaluate(trigger, HOSTILE)
            await page.reload()
            await state(page, "Failed")
            await page.evaluate(f"document.querySelector('durable-runs').selected = {run!r}")
            error = f"{shadow}.querySelector('[part=error]').textContent"
            await tabs.until(lambda: page.evaluate(error), why="the error is shown")
            assert await page.evaluate(error) == f"AbortRun: {HOSTILE}"
            assert HOSTILE in await page.inner_text("#count")
            assert await page.evaluate(ELEMENTS) == before


async def test_the_page_of_the_guide_does_what_it_says(suspendable_context, begin, tmp_path):
    guide = (ROOT / "docs" / "tab.md").read_text("utf-8")
    blocks = dict(re.findall(r"^```\w+ ([\w.]+)\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL))
    assert set(blocks) == {"jobs.py", "index.html", "app.mjs"}
    jobs = tmp_path / "jobs.py"
    jobs.write_text(blocks["jobs.py"], "utf-8")
    folder = tmp_path / "site"
    folder.mkdir()
    build(Plan(begin(folder / "durable"), jobs=(jobs,), brotli=False))
    for name in ("index.html", "app.mjs"):
        (folder / name).write_text(blocks[name], "utf-8")
    with served(folder) as url:
        async with suspendable_context() as context, watched(context) as page:
            await page.goto(url)
            await tabs.until(
                lambda: page.evaluate("document.querySelector('output').textContent"),
                timeout=60,
                why="a result",
            )
            assert await page.inner_text("output") == "285"
            runs = "document.querySelector('durable-runs').shadowRoot.querySelector('tbody').innerText"
            await tabs.until(
                lambda: page.evaluate(f"({runs}).includes('completed')"), why="the run is listed"
            )
