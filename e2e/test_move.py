"""The same job file, half done on CPython, goes on in a tab at its next step; and the other way round."""

import importlib
import json
from pathlib import Path

import pytest
from playwright.async_api import Page

from durable_lite import Durable, Run
from durable_lite.testing import tabs
from e2e.tab import NEVER, begun, ended, events, interrupted, opened, row, trigger, types

pytestmark = pytest.mark.timeout(120)
STEPS = 12
ON_TAB, ON_SERVER = "emscripten", "linux"


@pytest.fixture
def touring(monkeypatch):
    """The job file under the name that it has in a tab: steps are known by their functions' full names."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "jobs"))
    return importlib.import_module("touring")


@pytest.fixture
def server(touring, tmp_path) -> Durable:
    return Durable(f"sqlite:{tmp_path / 'server.db'}", jobs=[touring], strict=True)


async def taken_in(page: Page, document: str) -> str:
    return await page.evaluate("async text => (await tab.importRun(text)).id", document)


async def exported(page: Page, run: str) -> str:
    return await page.evaluate("id => tab.exportRun(id)", run)


async def in_back_off(run: Run) -> bool:
    return (await run.refresh()).attempt == 2


def payload(site, name, **fields):
    return {"base": site.base, "name": name, "steps": STEPS} | fields


async def test_half_done_on_cpython_it_goes_on_in_the_tab(suspendable_context, site, server):
    async with suspendable_context() as context, server as app:
        run = await app.trigger("tours", payload(site, "out"), tags=["a"], idempotency_key="k")
        await begun(site, "out", STEPS // 2)
        document = await app.export_run(run.id)
        done = sum(site.executed("out", "end"))
        assert STEPS // 2 <= done < STEPS
        assert (await run.refresh()).status == "MOVED"

        page = await opened(context, site, staleAfter=NEVER)
        assert await page.evaluate("tab.status.stage") == "idle"
        assert await taken_in(page, document) == run.id
        found = await ended(page, run.id)
        platform, total, began = json.loads(found["output"])
        assert (platform, total) == (ON_TAB, str(sum(range(STEPS))))
        first = next(step for step in json.loads(document)["steps"] if step["path"] == "facts")
        assert began in first["output"]
        interrupted(site, "out", STEPS)  # what was in flight here once more, and nothing else
        seen = await events(page, run.id)
        [resumed] = [event for event in seen if event["type"] == "run.resumed"]
        assert resumed["data"]["replayed"] == len(
            [step for step in json.loads(document)["steps"] if step["state"] == "completed"]
        )
        assert [type for type in await types(page, run.id) if type != "run.resumed"] == [
            "run.triggered", "run.claimed", "run.moved", "run.moved", "run.claimed", "run.completed",
        ]  # fmt: skip
        assert (found["tags"], found["attempt"]) == ('["a"]', 1)
        lines = await page.evaluate("id => tab.run(id).logs()", run.id)
        assert [line["message"] for line in lines] == ["begun"]
        assert await taken_in(page, document) == run.id  # once more: it is there


async def test_half_done_in_the_tab_it_goes_on_on_cpython(suspendable_context, site, server):
    async with suspendable_context() as context, server as app:
        page = await opened(context, site, staleAfter=NEVER)
        run = await trigger(page, "tours", **payload(site, "in"))
        await begun(site, "in", STEPS // 2)
        document = await exported(page, run)
        assert (await row(page, run))["status"] == "MOVED"
        assert await exported(page, run) == document
        moved = await app.import_run(document)
        platform, total, _ = await moved.result("30s")
        assert (platform, total) == (ON_SERVER, str(sum(range(STEPS))))
        interrupted(site, "in", STEPS)
        assert (await row(page, run))["status"] == "MOVED"
        assert [event.seq async for event in moved.events()] == list(range(1, STEPS + 9))
        await tabs.until(lambda: page.evaluate("!tab.leads"), why="the tab has let go of it")


async def test_asleep_and_in_back_off_it_goes_to_and_fro(suspendable_context, site, server):
    async with suspendable_context() as context, server as app:
        page = await opened(context, site, staleAfter=NEVER)
        run = await trigger(page, "rests", **payload(site, "rest", seconds=0))

        async def waits() -> bool:
            return (await row(page, run))["status"] == "WAITING"

        await tabs.until(waits, timeout=30, why="it sleeps")
        moved = await app.import_run(await exported(page, run))
        assert moved.status == "WAITING"
        await begun(site, "rest", 1)
        await tabs.until(lambda: in_back_off(moved), why="it has failed once")
        document = await app.export_run(run)
        assert await taken_in(page, document) == run
        found = await ended(page, run)
        assert json.loads(found["output"]) == [ON_TAB, "2"]
        assert site.executed("rest") == [1, 1]


async def test_what_is_no_document_is_refused_in_the_page(suspendable_context, site):
    async with suspendable_context() as context:
        page = await opened(context, site, worker=False)
        refused = "async text => { try { await tab.importRun(text) } catch (e) { return [e.name, e.path] } }"
        assert await page.evaluate(refused, "{}") == ["InvalidDocument", "format"]
        run = await trigger(page, "tours", base="", name="", steps=0)
        document = await exported(page, run)
        wrong = document.replace('"job":"tours"', '"job":""')
        assert await page.evaluate(refused, wrong) == ["InvalidDocument", "run.job"]
        assert (await row(page, run))["status"] == "MOVED"
        assert await taken_in(page, document) == run
        assert (await row(page, run))["status"] == "PENDING"
