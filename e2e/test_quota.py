"""A site that may store no more, or whose data somebody clears, while a run executes."""

import asyncio
import json

import pytest

from durable_lite.testing import tabs
from e2e.tab import begun, ended, events, opened, row, trigger, types

pytestmark = pytest.mark.timeout(120)
STEPS, BYTES = 12, 300_000  # 4.8 MB as they are stored: as text, and random

COUNT = """() => {
  const { store } = tab, own = store.transact;
  window.asked = 0;
  store.transact = (...given) => (asked++, own.apply(store, given));
}"""

AWAIT = """id => {
  window.outcome = null;
  tab.run(id).result().then(() => "a result", error => error.name).then(name => { outcome = name; });
}"""


async def told(page, type: str) -> list[dict]:
    """The live events of a type that the page has heard."""
    heard = await page.evaluate("told.filter(([, what]) => what === 'event').map(([, , event]) => event)")
    return [event for event in heard if event["type"] == type]


async def saved(page, run: str) -> list[int]:
    """How long the outputs of the completed steps are, and nothing else is there."""
    steps = await page.evaluate("id => tab.store.load_steps(id)", run)
    assert all(step["seq"] is not None and step["state"] == "completed" for step in steps)
    assert [step["path"] for step in steps] == [f"part-{i:03}" for i in range(len(steps))]
    return [len(json.loads(step["output"])) for step in steps]


@pytest.mark.parametrize("stale_after", ["30s", "2s"])
async def test_a_run_waits_for_room(suspendable_context, site, stale_after):
    async with suspendable_context() as context:
        page = await opened(context, site, staleAfter=stale_after)
        async with tabs.limit_quota(page, 2_500_000):
            run = await trigger(page, "grows", name="full", steps=STEPS, bytes=BYTES)
            await tabs.until(
                lambda: told(page, "store.down"), timeout=30, why="the store says that it is down"
            )
            [down] = await told(page, "store.down")
            assert "no more storage (QuotaExceededError)" in down["data"]["message"]
            at = site.executed("full", "end")
            await asyncio.sleep(3)
            assert site.executed("full", "end") == at, "it doesn't go on"
            assert (await row(page, run))["finished_at"] is None
            if stale_after == "30s":
                assert (await row(page, run))["status"] == "EXECUTING"
            lengths = await saved(page, run)
            assert set(lengths) == {BYTES * 4 // 3}
            assert len(lengths) == len(at) - 1, "all but the one that found no room"
            await events(page, run)  # have no gap
            assert len(await told(page, "store.down")) == 1
            assert not await told(page, "store.up")
        found = await ended(page, run)
        assert json.loads(found["output"]) == STEPS * BYTES * 4 // 3
        assert site.executed("full") == site.executed("full", "end") == [1] * STEPS
        assert len(await saved(page, run)) == STEPS
        await tabs.until(lambda: told(page, "store.up"), why="the store says that it is up")


async def test_a_trigger_without_room_says_so(suspendable_context, site):
    async with suspendable_context() as context:
        page = await opened(context, site, worker=False)
        async with tabs.limit_quota(page, 0):
            caught = "tab.trigger('grows', {}).catch(error => [error.name, error.message])"
            name, message = await page.evaluate(caught)
            assert name == "StoreUnavailable"
            assert "QuotaExceededError" in message
            assert await page.evaluate("tab.runs()") == []
        await trigger(page, "grows")


async def test_a_run_whose_data_is_cleared_is_lost_and_the_next_one_works(suspendable_context, site):
    async with suspendable_context() as context:
        page = await opened(context, site)
        other = await opened(context, site)
        lost = await trigger(page, "pages", name="lost", steps=100, seconds=0.1)
        await begun(site, "lost", 5)
        for one in (page, other):
            await one.evaluate(AWAIT, lost)
        await tabs.discard_storage(page)
        for one in (page, other):
            name = await tabs.until(lambda one=one: one.evaluate("outcome"), why="nobody waits any more")
            assert name == "RunNotFound"
        at = len(site.executed("lost"))
        assert await row(page, lost) is None
        await tabs.until(lambda: page.evaluate("!tab.leads"), why="there is nothing left to do")
        await asyncio.sleep(1)
        assert len(site.executed("lost")) <= at + 1, "its execution has ended"
        await page.evaluate(COUNT)
        await asyncio.sleep(2)
        assert await page.evaluate("asked") < 10, "nothing is asked again and again"

        run = await trigger(other, "pages", name="next", steps=5)
        await ended(page, run)
        assert site.executed("next") == [1] * 5
        assert await types(page, run) == ["run.triggered", "run.claimed", "run.completed"]
        assert await row(other, lost) is None
        stages = [await one.evaluate("tab.status.stage") for one in (page, other)]
        assert set(stages) <= {"idle", "ready"}
