"""The same job in a tab that is suspended, crashed, closed or killed: nothing finished is done again."""

import asyncio
import json
from functools import partial

import pytest
from playwright.async_api import Error, Page

from durable_lite.testing import tabs
from e2e.tab import BUSY, NEVER, begun, ended, events, executes, interrupted, opened, row, trigger, types

pytestmark = pytest.mark.timeout(150)
STEPS = 15  # of a fifth of a second: the levers are pulled in the fifth, and take effect long before the last


async def test_a_run_in_a_tab(suspendable_context, site):
    async with suspendable_context() as context:
        page = await opened(context, site, staleAfter=NEVER)
        assert await page.evaluate("tab.status.stage") == "idle"
        run = await trigger(page, "pages", name="a", steps=5)
        found = await ended(page, run)
        assert json.loads(found["output"]) == 10
        assert site.executed("a") == [1] * 5
        assert await types(page, run) == ["run.triggered", "run.claimed", "run.completed"]
        stages = [status["stage"] for status in await page.evaluate("statuses")]
        assert list(dict.fromkeys(stages)) == ["download", "jobs", "ready"]
        assert await page.evaluate("id => tab.run(id).result()", run) == 10
        await tabs.until(lambda: page.evaluate("!tab.leads"), why="the lock is let go")


async def test_a_short_freeze_changes_nothing(suspendable_context, site):
    async with suspendable_context() as context:
        other = await opened(context, site, worker=False)
        page = await opened(context, site, staleAfter="20s")
        run = await trigger(page, "pages", name="short", steps=20, seconds=0.1)
        await begun(site, "short", 4)
        await tabs.freeze(page, behind=other)
        await asyncio.sleep(1)
        at = sum(site.executed("short"))
        await asyncio.sleep(0.5)
        assert sum(site.executed("short")) == at
        await tabs.thaw(page)
        await ended(other, run)
        assert site.executed("short") == [1] * 20
        assert "run.stale" not in await types(other, run)


async def test_a_long_freeze_and_nobody_else(suspendable_context, site):
    async with suspendable_context() as context:
        other = await opened(context, site, worker=False)
        page = await opened(context, site)
        run = await trigger(page, "pages", name="long", steps=STEPS, seconds=0.2)
        await begun(site, "long", 4)
        await tabs.freeze(page, behind=other)
        await asyncio.sleep(6)  # far beyond staleAfter: the worker may stand still some time after the page
        before = len(site.executed("long"))
        await tabs.thaw(page)
        found = await ended(other, run)
        interrupted(site, "long", STEPS)
        assert 4 < before < STEPS
        seen = await events(other, run)
        [stale] = [event for event in seen if event["type"] == "run.stale"]
        assert stale["data"]["reason"] == "suspended"
        [resumed] = [event for event in seen if event["type"] == "run.resumed"]
        assert resumed["data"]["replayed"] >= 4
        assert resumed["data"]["gap_ms"] > 2000
        assert found["recoveries"] == 0


async def test_a_second_tab_takes_over_from_a_frozen_one(suspendable_context, site):
    async with suspendable_context() as context:
        page = await opened(context, site, staleAfter=BUSY)
        run = await trigger(page, "pages", name="two", steps=STEPS, seconds=0.2)
        await begun(site, "two", 0)
        other = await opened(context, site, staleAfter=BUSY)
        await begun(site, "two", 4)
        await tabs.freeze(page, behind=other)
        await ended(other, run)
        await tabs.thaw(page)
        await asyncio.sleep(1)
        interrupted(site, "two", STEPS)
        seen = await events(other, run)
        [reason] = [event["data"]["reason"] for event in seen if event["type"] == "run.stale"]
        assert reason in ("worker gone", "heartbeat")  # the second: on a machine that is slow to start Python
        assert [event["type"] for event in seen].count("run.completed") == 1


async def test_a_tab_that_is_frozen_while_it_writes_blocks_nobody(suspendable_context, site):
    """A transaction that is open when its worker is stopped holds up every other tab for a minute."""
    async with suspendable_context() as context:
        pages = [await opened(context, site, staleAfter=BUSY) for _ in range(2)]
        for i in range(6):
            names = [f"{i}-{one}" for one in range(4)]
            runs = [await trigger(pages[0], "pages", name=name, steps=1000, seconds=0) for name in names]
            await begun(site, names[-1], 2)
            [leader] = [page for page in pages if await page.evaluate("tab.leads")]
            [other] = [page for page in pages if page is not leader]
            await tabs.freeze(leader, behind=other)
            for run in runs:
                await tabs.until(partial(taken_over, other, run), timeout=20, why="the other tab has it")
            await tabs.thaw(leader)
            for run in runs:
                await other.evaluate("id => tab.cancel(id)", run)
                await ended(other, run, "CANCELLED")


async def taken_over(page: Page, run: str) -> bool:
    return (await row(page, run))["generation"] >= 3  # claimed, stale, claimed


@pytest.mark.parametrize("how", ["close", "crash", "kill", "navigate"])
async def test_a_second_tab_takes_over_from_one_that_is_gone(suspendable_context, site, how):
    async with suspendable_context() as context:
        page = await opened(context, site, staleAfter=BUSY)
        run = await trigger(page, "pages", name=how, steps=20, seconds=0.2)
        await begun(site, how, 0)
        other = await opened(context, site, staleAfter=BUSY)
        await begun(site, how, 4)
        if how == "close":
            await page.close()
        elif how == "crash":
            await tabs.crash(page)
        elif how == "kill":
            await tabs.kill_renderer(page)
        else:
            await tabs.leave(page)
        await ended(other, run)
        interrupted(site, how, 20)
        assert (await types(other, run)).count("run.completed") == 1


async def test_a_page_that_is_loaded_again_goes_on_at_once(suspendable_context, site):
    async with suspendable_context() as context:
        page = await opened(context, site, staleAfter="100s")
        run = await trigger(page, "pages", name="reload", steps=STEPS, seconds=0.2)
        await begun(site, "reload", 4)
        await page.reload()
        await tabs.until(lambda: page.evaluate("window.ready"), why="the tab is open again")
        await ended(page, run, timeout=60)
        interrupted(site, "reload", STEPS)


async def test_away_and_back_through_the_cache_of_pages(suspendable_context, site):
    async with suspendable_context() as context:
        other = await opened(context, site, worker=False)
        page = await opened(context, site)
        run = await trigger(page, "pages", name="back", steps=STEPS, seconds=0.2)
        await begun(site, "back", 4)
        await tabs.leave(page, site.url().replace("tab.html", "plain.html"))
        await asyncio.sleep(2.5)
        await tabs.come_back(page)
        await ended(other, run)
        interrupted(site, "back", STEPS)


async def test_a_browser_that_is_killed_and_started_again(suspendable_browser, site):
    async with suspendable_browser() as browser:
        page = await opened(browser.context, site, staleAfter="100s")
        run = await trigger(page, "pages", name="browser", steps=STEPS, seconds=0.2)
        await begun(site, "browser", 6)
        done = sum(site.executed("browser", "end"))
        await browser.kill()
        context = await browser.reopen()
        page = await opened(context, site, staleAfter="100s")
        await ended(page, run, timeout=60)
        assert (await row(page, run))["generation"] == 3  # claimed, stale, claimed
        interrupted(site, "browser", STEPS)
        assert done >= 6


@pytest.mark.parametrize("heir", ["watching", "with Python"])
async def test_a_machine_that_sleeps(suspendable_context, site, heir):
    """No event, and the lock stays held: only the heartbeat tells."""
    async with suspendable_context() as context:
        pages = [await opened(context, site, staleAfter=BUSY)]
        if heir == "with Python":
            pages.append(await opened(context, site, staleAfter=BUSY))
            await executes(pages[0], pages[1])
            await executes(pages[1], pages[0])
        run = await trigger(pages[0], "pages", name="sleep", steps=30, seconds=0.2)
        await begun(site, "sleep", 4)
        leads = [await page.evaluate("tab.leads") for page in pages]
        asleep = pages.pop(leads.index(True))
        other = pages[0] if pages else await opened(context, site, staleAfter=BUSY)
        async with tabs.machine_asleep(asleep):
            await tabs.until(lambda: other.evaluate("tab.leads"), timeout=20, why="the lock is stolen")
            await ended(other, run)
        await asyncio.sleep(1)
        interrupted(site, "sleep", 30)
        assert (await types(other, run)).count("run.completed") == 1


async def test_a_hidden_tab_goes_on(suspendable_context, site):
    async with suspendable_context() as context:
        page = await opened(context, site, staleAfter=NEVER)
        other = await opened(context, site, worker=False)
        await tabs.hide(page, behind=other)
        run = await trigger(page, "naps", name="hidden", seconds=2)
        await ended(other, run)
        assert site.executed("hidden") == [1, 1]
        assert "run.stale" not in await types(other, run)


async def test_a_cancel_reaches_a_fetch_in_flight(suspendable_context, site):
    async with suspendable_context() as context:
        page = await opened(context, site, heartbeatInterval="10s", staleAfter="60s")
        other = await opened(context, site, worker=False)
        run = await trigger(page, "hangs", name="hang")
        await begun(site, "hang", 0)
        await other.evaluate("id => tab.cancel(id)", run)
        await tabs.until(lambda: site.told["hang/gone"], timeout=5, why="the request is given up")
        await ended(other, run, "CANCELLED")


async def test_what_comes_when_a_tab_is_about_to_let_go_is_executed_once(suspendable_context, site):
    """Its page sees no more work, while its worker has just claimed some."""
    async with suspendable_context() as context:
        pages = [await opened(context, site, staleAfter=NEVER) for _ in range(2)]
        await executes(pages[0], pages[1])
        await executes(pages[1], pages[0])
        for i in range(30):
            run = await pages[i % 2].evaluate(ONE_STEP, [f"r{i}", i % 4])
            assert (await row(pages[0], run))["generation"] == 1
            assert site.executed(f"r{i}") == [1]


ONE_STEP = """async ([name, pause]) => {
  const run = await tab.trigger("pages", {name, steps: 1, seconds: 0.05});
  await run.result();
  await new Promise((resolve) => setTimeout(resolve, pause));
  return run.id;
}"""


async def test_one_of_two_tabs_executes_each_run(suspendable_context, site):
    async with suspendable_context() as context:
        # Nobody is stale on a machine however busy.
        first, second = [await opened(context, site, staleAfter="30s") for _ in range(2)]
        runs = [
            await trigger(page, "pages", name=f"r{i}", steps=5) for i, page in enumerate([first, second] * 5)
        ]
        for i, run in enumerate(runs):
            await ended(second, run)
            assert site.executed(f"r{i}") == [1] * 5


CSP = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'"


async def test_a_strict_content_security_policy(suspendable_context, site):
    site.headers["Content-Security-Policy"] = CSP
    async with suspendable_context() as context:
        page = await opened(context, site)
        assert not await page.evaluate("crossOriginIsolated")
        run = await trigger(page, "pages", name="csp", steps=3)
        await ended(page, run)


async def failure(page: Page) -> dict:
    await tabs.until(lambda: page.evaluate("tab.status.stage === 'failed'"), timeout=30, why="it fails")
    return await page.evaluate("tab.status")


async def test_a_policy_without_webassembly_is_named(suspendable_context, site):
    site.headers["Content-Security-Policy"] = CSP.replace(" 'wasm-unsafe-eval'", "")
    async with suspendable_context() as context:
        page = await opened(context, site)
        await trigger(page, "pages", name="none", steps=3)
        assert "'wasm-unsafe-eval'" in (await failure(page))["message"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def oops(:\n    pass\n", "bad.py, line 1: SyntaxError"),
        ("import nothing_there\n", "bad.py, line 1: ModuleNotFoundError: No module named 'nothing_there'"),
        ("x = 1\n1 / 0\n", "bad.py, line 2: ZeroDivisionError"),
    ],
)
async def test_a_bad_job_file_is_named(suspendable_context, site, source, message):
    site.files["/bad.py"] = source.encode()
    async with suspendable_context() as context:
        page = await opened(context, site, jobs=f"{site.base}/bad.py")
        await trigger(page, "pages", name="none", steps=3)
        found = await failure(page)
        assert found["kind"] == "jobs"
        assert message in found["message"]


async def test_a_job_file_that_is_not_there(suspendable_context, site):
    async with suspendable_context() as context:
        page = await opened(context, site, jobs=f"{site.base}/missing.py")
        await trigger(page, "pages", name="none", steps=3)
        assert "missing.py can't be fetched (404)" in (await failure(page))["message"]


SQUARES = """
from durable_lite import job

@job
async def {name}(ctx, payload: dict[str, int]) -> int:
    return payload["number"]**2
"""


async def test_a_file_that_is_there_in_the_end(suspendable_context, site):
    async with suspendable_context() as context:
        page = await opened(context, site, jobs=f"{site.base}/late.py")
        other = await opened(context, site, worker=False)
        run = await trigger(page, "square", number=3)
        assert (await failure(page))["again"] == 30
        await tabs.until(lambda: page.evaluate("!tab.leads"), why="another tab may try")
        site.files["/late.py"] = SQUARES.format(name="square").encode()
        await page.evaluate("dispatchEvent(new Event('online'))")
        assert (await ended(other, run))["output"] == "9"


async def test_a_deployment_while_somebody_was_away(suspendable_context, site):
    """What the last visit knew of the jobs isn't what there is now."""
    site.files["/deployed.py"] = SQUARES.format(name="square").encode()
    async with suspendable_context() as context:
        page = await opened(context, site, jobs=f"{site.base}/deployed.py")
        assert (await ended(page, await trigger(page, "square", number=3)))["output"] == "9"
        with pytest.raises(Error, match="among those that a worker has published"):
            await trigger(page, "area", number=4)
        await page.close()
        page = await opened(context, site, jobs=f"{site.base}/deployed.py")
        with pytest.raises(Error, match="among those that a worker has published"):
            await trigger(page, "area", number=4)
        await page.close()
        site.files["/deployed.py"] = SQUARES.format(name="area").encode()
        page = await opened(context, site, jobs=f"{site.base}/deployed.py")
        assert (await ended(page, await trigger(page, "area", number=4)))["output"] == "16"


async def test_a_step_that_fetches(suspendable_context, site):
    site.files["/data.json"] = "{'ü'}".encode()
    async with suspendable_context() as context:
        page = await opened(context, site)
        url = f"{site.base}/data.json"
        found = await ended(page, await trigger(page, "gets", url=url))
        nobody = "GET http://127.0.0.1:9/x: no answer (JsException)"
        assert json.loads(found["output"]) == [200, "{'ü'}", "[redacted]", 3, nobody]
        found = await ended(page, await trigger(page, "gets", url="/data.json"))
        run = await trigger(page, "gets_for_ever", name="cut")
        await begun(site, "cut", 0)
        await page.evaluate("id => tab.cancel(id)", run)
        await tabs.until(lambda: site.told["cut/gone"], timeout=5, why="the request is given up")


TICKING = """
from js import fetch
from durable_lite import Schedule, Tick, job

async def tell(at: float) -> None:
    await fetch(f"/tell/ticks/{at:.0f}")

@job(on=Schedule(every="2s", catch_up="all"))
async def ticks(ctx, tick: Tick) -> None:
    await ctx.step("tell", tell, tick.timestamp.timestamp())
"""


def ticks(site):
    return sorted(int(name.removeprefix("ticks/")) for name in site.told if name.startswith("ticks/"))


async def test_schedules_tick_once_in_all_tabs_and_start_python_when_they_are_due(suspendable_context, site):
    site.files["/ticking.py"] = TICKING.encode()
    options = {"jobs": f"{site.base}/ticking.py", "staleAfter": "30s"}
    async with suspendable_context() as context:
        pages = [await opened(context, site, schedules=True, **options) for _ in range(2)]
        await tabs.until(lambda: len(ticks(site)) >= 2, timeout=30, why="two ticks have come")
        for page in pages:
            await page.close()
        before = len(ticks(site))
        page = await opened(context, site, **options)  # which nobody asks to start Python
        await tabs.until(lambda: len(ticks(site)) >= before + 2, timeout=30, why="two more have come")
        await page.evaluate("tab.store.pause_schedule('ticks', 'every 2s', true, Date.now() / 1000)")
        runs = await page.evaluate("tab.store.list_runs({limit: 100})")
        for run in runs:
            await ended(page, run["id"])
        found = sorted(json.loads(run["trigger"])["timestamp"] for run in runs)
        assert found == list(range(int(found[0]), int(found[-1]) + 2, 2))  # one run for each tick
        assert ticks(site) == found  # though what a closing page had in flight is done again


@pytest.mark.parametrize("how", ["reload", "another tab"])
async def test_files_that_steps_wrote_survive_with_their_checkpoints(suspendable_context, site, how):
    async with suspendable_context() as context:
        page = await opened(context, site, files="/files")
        run = await trigger(page, "writes", name="files", steps=8)
        await begun(site, "files", 4)
        if how == "reload":
            await page.reload()
            await tabs.until(lambda: page.evaluate("window.ready"), why="the tab is open again")
        else:
            old, page = page, await opened(context, site, files="/files")
            await old.close()
        found = await ended(page, run)
        assert json.loads(found["output"]) == "".join(f"{i};" for i in range(8))
        interrupted(site, "files", 8)


async def test_a_short_freeze_leaves_what_a_step_has_written_and_not_yet_saved(suspendable_context, site):
    async with suspendable_context() as context:
        other = await opened(context, site, worker=False)
        page = await opened(context, site, files="/files", staleAfter="20s")
        run = await trigger(page, "writes", name="short", steps=5, seconds=0.8)
        for step in (1, 3):
            await begun(site, "short", step)
            await tabs.freeze(page, behind=other)
            await asyncio.sleep(0.3)
            await tabs.thaw(page)
        found = await ended(page, run)
        assert json.loads(found["output"]) == "".join(f"{i};" for i in range(5))
        assert site.executed("short") == [1] * 5
        assert "run.stale" not in await types(other, run)
