"""The dashboard over a tab's own store, under a strict policy: lists, links, actions, hostile text, axe."""

import json
import re

import pytest
from playwright.async_api import expect

from durable_lite.testing import tabs
from e2e.dashboard import (
    CSP,
    DELETE_AMID_A_READ,
    DOWN,
    HOSTILE,
    LONG,
    LOOK,
    READ_ONLY,
    RUNS,
    SAVED,
    SCROLL,
    TELL,
    UP,
    VIEWS,
    act,
    coloured,
    filled,
    heading,
    known,
    line,
    quiet,
    row,
    scenes,
    serious,
    shown,
    traced,
    watched,
)

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def site(site):
    site.headers["Content-Security-Policy"] = CSP
    return site


async def test_a_list_is_filtered_and_searched(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        ids = await scenes(page, site)
        await shown(page, site)
        lines = page.locator(".body .row")
        await expect(lines).to_have_count(7)
        await expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "8")
        await expect(line(page, ids["executing"]).locator("progress")).to_have_attribute("aria-label", "31 %")
        await page.get_by_label("Status").select_option("broken")
        await expect(lines).to_have_count(1)
        assert page.url.endswith("#/runs?status=broken")
        await page.get_by_role("button", name="Clear").click()
        await page.get_by_label("Tags").fill("acme, refund")
        await expect(lines).to_have_count(1)
        await expect(line(page, ids["waiting"])).to_be_visible()
        await page.get_by_role("button", name="Clear").click()
        await page.get_by_label("Search").fill("GLOBEX")
        await expect(lines).to_have_count(1)
        await expect(page.locator(".count")).to_have_text("1 run with “GLOBEX”")
        await page.get_by_label("Search").fill("nothing like that")
        await page.get_by_role("button", name="Show all runs").click()
        await expect(lines).to_have_count(7)
        await page.reload()
        await expect(lines).to_have_count(7)


async def test_keys_open_and_go_back(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        ids = await scenes(page, site)
        await shown(page, site)
        await expect(page.locator(".body .row")).to_have_count(7)
        await page.keyboard.press("/")
        await expect(page.get_by_label("Search")).to_be_focused()
        await page.keyboard.type("pages")
        await expect(page.locator(".body .row")).to_have_count(2)
        await page.keyboard.press("Escape")
        grid = page.get_by_role("grid")
        await expect(grid).to_be_focused()
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("ArrowDown")
        await expect(grid).to_have_attribute("aria-activedescendant", f"row-{ids['done']}")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="export_invoices")).to_be_focused()
        assert page.url.endswith(f"#/runs/{ids['done']}")
        await page.keyboard.press("Escape")
        await expect(page.locator(".body .row")).to_have_count(2)
        await expect(page.get_by_role("grid")).to_be_focused()
        await page.go_back()
        await expect(page.get_by_role("heading", name="export_invoices")).to_be_visible()


async def test_the_keys_of_the_page_around_it_are_its_own(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        await scenes(page, site)
        await page.evaluate(READ_ONLY)
        await page.evaluate("""() => {
            for (const edits of ["true", "false"]) {
                const place = { id: edits, contentEditable: edits, tabIndex: 0 };
                document.body.append(Object.assign(document.createElement("p"), place));
            }
        }""")
        search = page.get_by_label("Search")
        await expect(page.locator(".body .row")).to_have_count(7)
        for edits in ("true", "false"):
            await page.locator(f"#{edits}").focus()
            await page.keyboard.press("/")
            await expect(search).not_to_be_focused()
        await expect(page.locator("#true")).to_have_text("/")
        await page.get_by_role("grid").focus()
        await page.keyboard.press("/")
        await expect(search).to_be_focused()


async def test_the_keyboard_keeps_its_place_when_its_button_goes(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        ids = await scenes(page, site)
        await shown(page, site, f"#/runs/{ids['waiting']}")
        await page.get_by_role("button", name="Cancel", exact=True).focus()
        await page.keyboard.press("Enter")
        await page.locator("dialog").get_by_role("button", name="Cancel the run").focus()
        await page.keyboard.press("Enter")
        await expect(heading(page)).to_have_text("cancelled")
        await expect(page.get_by_role("button", name="Cancel", exact=True)).to_have_count(0)
        inside = "document.querySelector('durable-dashboard').shadowRoot.activeElement !== null"
        await tabs.until(lambda: page.evaluate(inside), why="the focus is still in the dashboard")


async def test_a_deep_link_shows_the_run(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        ids = await scenes(page, site)
        await shown(page, site, f"#/runs/{ids['done']}")
        await expect(page.locator("h2")).to_contain_text("export_invoices completed")
        await expect(page.get_by_role("listitem", name=re.compile(r"^Run: .*1 interruption"))).to_be_visible()
        await expect(page.locator(".picture .span[data-is=gap]")).to_have_count(1)
        await expect(page.locator(".picture .bar[data-kept]")).to_have_count(6)
        await expect(page.locator(".story")).to_contain_text("6 steps answered from checkpoints")
        await page.get_by_role("button", name="Plan the pages", exact=True).click()
        await expect(page.locator(".more")).to_contain_text("pages")
        await page.locator("select[name=level]").select_option("warning")
        await expect(page.get_by_role("list", name="Log").locator("li")).to_have_count(1)
        await shown(page, site, "#/runs/nobody")
        await expect(page.get_by_role("heading", name="There is no such run")).to_be_visible()
        await shown(page, site, f"#/runs/{ids['failed']}")
        await page.get_by_text("Traceback").first.click()
        await expect(page.locator("details pre").first).to_contain_text("raise_for_status")


async def test_what_can_be_done_with_a_run(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        ids = await scenes(page, site)
        await shown(page, site, f"#/runs/{ids['failed']}")
        await known(page)
        await act(page, "Resume", "Resume the run")
        await expect(page.locator("h2 .status")).to_have_text("pending")
        await act(page, "Cancel", "Keep as it is")
        await expect(page.locator("h2 .status")).to_have_text("pending")
        await act(page, "Cancel", "Cancel the run")
        await expect(page.locator("h2 .status")).to_have_text("cancelled")

        await act(page, "Replay", "Start a new run", "{no")
        await expect(page.get_by_role("alert")).to_contain_text("the payload isn't JSON")
        await page.locator("dialog textarea").fill('{"pages": 3}')
        await page.get_by_role("button", name="Start a new run").click()
        await expect(page.locator(".facts").first).to_contain_text("a replay")
        replay = page.url.rpartition("/")[2]
        assert json.loads((await row(page, replay))["payload"]) == {"pages": 3}

        await page.go_back()
        await page.get_by_role("button", name="Fork from page-3").click()
        await page.get_by_role("button", name="Start a fork").click()
        await expect(page.locator(".facts").first).to_contain_text("a fork (page-3)")
        await expect(page.locator("tbody th[scope=row]")).to_have_count(3)  # plan, page-1, page-2
        await page.evaluate(SAVED)
        await act(page, "Hand over", "Hand over as a file")
        await tabs.until(lambda: page.evaluate("Boolean(window.saved)"), why="a file is saved")
        document = json.loads(await page.evaluate("saved.text()"))
        assert document["run"]["job"] == "export_invoices"
        await expect(page.locator("h2 .status")).to_have_text("moved")
        await act(page, "Delete", "Delete the run")
        await expect(page.get_by_role("grid")).to_be_visible()
        assert await row(page, document["run"]["id"]) is None
        # Here it is taken over again, after what isn't a run was refused.
        await page.get_by_role("button", name="Take over …").click()
        take = page.locator("dialog").get_by_role("button", name="Take it over")
        bad = {"name": "bad.json", "mimeType": "application/json", "buffer": b'{"format": 3}'}
        await page.get_by_label("File").set_input_files(bad)
        await take.click()
        await expect(page.locator("dialog").get_by_role("alert")).not_to_be_empty()
        document["run"]["started_at"] = document["run"]["created_at"]  # the rows here have no such past
        good = {"name": "run.json", "mimeType": "application/json", "buffer": json.dumps(document).encode()}
        await page.get_by_label("File").set_input_files(good)
        await take.click()
        await expect(page.get_by_role("heading", name="export_invoices")).to_be_visible()
        assert (await row(page, document["run"]["id"]))["status"] == "PENDING"


async def test_a_token_is_failed(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        ids = await scenes(page, site)
        await shown(page, site, f"#/runs/{ids['waiting']}")
        await known(page)
        await act(page, "Fail tok-approve-4711", "Fail it", "no such refund")
        await expect(page.get_by_text("It waits for this token")).to_have_count(0)
        [token] = await page.evaluate("async () => (await dashboard().own).tokens({})")
        assert (token["state"], json.loads(token["error"])["message"]) == ("failed", "no such refund")


async def test_a_token_is_completed(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        ids = await scenes(page, site)
        await shown(page, site, "#/tokens")
        await known(page)
        await act(page, "Complete tok-approve-4711", "Complete it", "[")
        await expect(page.get_by_role("alert")).to_contain_text("the value isn't JSON")
        await page.locator("dialog textarea").fill('{"approved": true}')
        await page.get_by_role("button", name="Complete it").click()
        await expect(page.get_by_text("Nobody waits.")).to_be_visible()
        [token] = await page.evaluate("async () => (await dashboard().own).tokens({})")
        assert (token["state"], json.loads(token["output"])) == ("completed", {"approved": True})
        assert (await row(page, ids["waiting"]))["ready_at"] is not None


async def test_queues_and_schedules_are_paused(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        await scenes(page, site)
        await shown(page, site, "#/queues")
        await known(page)
        await page.get_by_role("button", name="Pause Queue mail").click()
        await expect(page.get_by_role("button", name="Resume Queue mail")).to_be_visible()
        queues = await page.evaluate("async () => (await dashboard().own).queues()")
        assert {one["queue"]["name"]: one["queue"]["paused"] for one in queues} == {"mail": 1, "llm": 0}
        await page.get_by_role("link", name="Schedules").click()
        await page.get_by_role("button", name="Resume reindex_documents nightly").click()
        await expect(page.get_by_role("button", name="Pause reindex_documents nightly")).to_be_visible()


async def test_it_is_live_and_says_when_the_source_is_down(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        await filled(page, site, "null")
        await shown(page, site)
        await known(page)
        await expect(page.get_by_text("No runs yet.")).to_be_visible()
        run = await page.evaluate("async () => (await (await dashboard().own).trigger('hello')).id")
        await expect(line(page, run)).to_contain_text("pending")
        await page.evaluate(DOWN)
        await page.evaluate("async (id) => (await dashboard().own).cancel(id)", run)
        await expect(page.get_by_role("alert")).to_contain_text("disk on fire")
        await page.evaluate(UP)
        await expect(line(page, run)).to_contain_text("cancelled")
        await expect(page.get_by_role("alert")).to_have_count(0)


async def test_a_source_of_the_page_that_may_only_be_read(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        ids = await scenes(page, site)
        await page.evaluate(READ_ONLY)
        await line(page, ids["executing"]).click()
        await expect(page.locator("h2")).to_contain_text("reindex_documents")
        assert page.url.endswith("plain.html")
        assert await page.get_by_role("button", name=re.compile("Cancel|Replay|Fork|Delete")).count() == 0
        await page.get_by_role("button", name="Runs").first.click()
        await expect(page.locator(".body .row")).to_have_count(7)


async def test_hostile_text_stays_text(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        ids = await scenes(page, site, HOSTILE)
        for hash in (*VIEWS.values(), *(f"#/runs/{ids[name]}" for name in RUNS)):
            await shown(page, site, hash)
            await page.locator(".row[id], tbody tr").first.wait_for()
            found = await page.evaluate(LOOK)
            assert (found["odd"], found["handlers"], found["links"]) == (0, 0, 0), hash
            if hash not in ("#/queues", "#/schedules"):
                assert "<img src=x" in found["text"], hash
        assert await page.evaluate("document.querySelectorAll('img, iframe').length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(suspendable_context, site, scheme):
    async with suspendable_context() as context, watched(context) as page:
        ids = await scenes(page, site)
        await coloured(page, scheme)
        views = (
            VIEWS
            | {name: f"#/runs/{ids[name]}" for name in RUNS}
            | {"none": "#/runs?job=x", "gone": "#/runs/x"}
        )
        found = {}
        for name, hash in views.items():
            await shown(page, site, hash)
            await page.locator(".row[id], tbody tr, .empty").first.wait_for()
            if name == "failed":
                await page.get_by_role("button", name="Replay").click()
            if wrong := await serious(page):
                found[name] = wrong
        assert not found, json.dumps(found, indent=1)


async def test_ten_thousand_rows_scroll_without_a_long_task(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        await filled(page, site, "rows.fill(store, 10_000)")
        await shown(page, site)
        await page.locator(".row[id]").first.wait_for()
        async with traced(page) as tasks:
            seen = await page.evaluate(SCROLL)
        assert seen["count"] == "10001"
        assert seen["rows"] < 80
        assert len(tasks) > 500
        assert max(tasks) < LONG


@pytest.mark.parametrize("width", [1280, 360])
async def test_no_view_is_wider_than_its_window(suspendable_context, site, width):
    async with suspendable_context() as context, watched(context) as page:
        ids = await scenes(page, site, "-" + "w" * 90)
        await page.set_viewport_size({"width": width, "height": 800})
        for hash in (*VIEWS.values(), *(f"#/runs/{ids[name]}" for name in RUNS)):
            await shown(page, site, hash)
            await page.locator(".row[id], tbody tr").first.wait_for()
            wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{hash} is wider by {wide}"
        assert await tabs.until(lambda: page.evaluate("innerWidth"), why="it has a width") == width


async def test_a_run_is_live(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        ids = await scenes(page, site)
        await shown(page, site, f"#/runs/{ids['executing']}")
        await known(page)
        await expect(page.locator(".going")).to_contain_text("15,000 of 48,210 documents")
        await page.evaluate(TELL, ids["executing"])
        await expect(page.locator(".going")).to_contain_text("15,500 of 48,210 documents")
        await expect(page.locator(".going")).to_contain_text("Now: batch-31")
        await page.evaluate("async (id) => (await dashboard().own).cancel(id)", ids["executing"])
        await expect(page.locator("h2 .status")).to_have_text("cancelled")
        await expect(page.locator(".going")).to_have_count(0)
        await page.evaluate(DELETE_AMID_A_READ, ids["executing"])
        await expect(page.get_by_role("heading", name="There is no such run")).to_be_visible()
        assert await page.evaluate("read")


async def test_what_a_run_waits_for_is_live(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page, watched(context) as other:
        ids = await scenes(page, site)
        await shown(page, site, f"#/runs/{ids['waiting']}")
        await expect(page.get_by_text("It waits for this token")).to_be_visible()
        await quiet(page)
        await shown(other, site)
        await known(other)
        await other.evaluate("async (id) => (await dashboard().own).completeToken(id)", "tok-approve-4711")
        await expect(page.get_by_text("It waits for this token")).to_have_count(0)


async def test_an_old_run_that_is_deleted_leaves_the_list(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        await filled(page, site, "rows.fill(store, 300)")
        await shown(page, site)
        await known(page)
        old = f"many{5:022}"
        await page.get_by_role("grid").focus()

        async def below() -> bool:
            await page.keyboard.press("End")
            return await line(page, old).is_visible()

        await tabs.until(below, timeout=30, why="the oldest runs are read")
        await page.evaluate("async id => { await (await dashboard().own).cancel(id) }", old)
        await expect(line(page, old)).to_contain_text("cancelled")
        await page.evaluate("async id => { await (await dashboard().own).delete(id) }", old)
        await expect(line(page, old)).to_have_count(0)
        await expect(line(page, f"many{6:022}")).to_be_visible()


async def test_of_a_run_with_thousands_of_waits_as_much_is_drawn_as_can_be_seen(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        run = await filled(page, site, "rows.waited(store, 3000)")
        await shown(page, site, f"#/runs/{run}")
        await expect(page.get_by_text("0 steps finished of 3,000 that have begun.")).to_be_visible()
        assert 100 < await page.locator(".picture .span").count() < 1100
        await expect(page.locator(".picture .span").nth(300)).to_have_attribute("title", re.compile("mostly"))
        await expect(page.get_by_role("button", name="more of 3,000 steps")).to_be_visible()


async def test_a_search_stops_at_ten_thousand_and_can_go_on(suspendable_context, site):
    async with suspendable_context() as context, watched(context) as page:
        await filled(page, site, "rows.fill(store, 10_001)")
        await shown(page, site, "#/runs?q=%22n%22%3A0%7D")  # only the oldest one
        await expect(page.locator(".count")).to_have_text(
            '0 runs so far with “"n":0}”; searched the newest 10,000', timeout=30_000
        )
        await page.get_by_role("button", name="Search further back").click()
        await expect(page.locator(".body .row")).to_have_count(1)
        await expect(page.get_by_role("button", name="Search further back")).to_have_count(0)
