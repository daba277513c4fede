"""The dashboard over a server's HTTP API: a real `durable-lite serve`, its own policy, and another client."""

import json
import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.async_api import expect

from durable_lite import Durable, RunNotFound
from durable_lite.testing import tabs
from e2e import dashboard_jobs
from e2e.dashboard import HOSTILE, LOOK, SAVED, VIEWS, act, examined, heading, line, opened, quiet, watched
from e2e.served import RUNS, Servers, filled, half_done, mounted, pending, said

pytestmark = pytest.mark.timeout(200)

PICTURES = Path(__file__).parents[1] / ".cache" / "screenshots"
DENIED = r"401 \(Unauthorized\)"
BAD = r"422 \(Unprocessable Entity\)"
DOWN = "The source doesn't answer"
MISSING = r"404 \(Not Found\)"
GONE = r"net::ERR_"
FIRST = {"page-0", "page-0/fetch", "page-0/save"}


@pytest.fixture
def serve(tmp_path):
    with Servers(tmp_path) as serve:
        yield serve


async def test_a_list_is_filtered_and_its_address_keeps_that(suspendable_context, serve):
    server = serve()
    async with suspendable_context() as context, watched(context) as page, server.client() as app:
        ids = await filled(app)
        await opened(page, server.url)
        lines, (status, job) = page.locator(".body .row"), map(page.locator, ("[name=status]", "[name=job]"))
        await expect(lines).to_have_count(RUNS)
        assert "/web/dashboard/index.html?server=../.." in page.url
        await status.select_option("broken")
        await expect(lines).to_have_count(1)
        await expect(line(page, ids["failed"])).to_contain_text("the card of ada was declined")
        await page.reload()
        await expect(lines).to_have_count(1)
        await expect(status).to_have_value("broken")
        assert page.url.endswith("#/runs?status=broken")
        await page.get_by_role("button", name="Clear").click()
        await expect(lines).to_have_count(RUNS)
        await job.select_option("send_mail")
        await expect(lines).to_have_count(2)
        await page.get_by_role("button", name="Clear").click()
        await page.get_by_label("Tags").fill("globex, monthly")
        await expect(lines).to_have_count(1)
        await expect(line(page, ids["done"])).to_be_visible()
        await page.get_by_role("button", name="Clear").click()
        await page.get_by_label("Search").fill('"ADA')  # with a quote: no id has one
        await expect(lines).to_have_count(3)
        await job.select_option("charge_customer")
        await expect(page.locator(".count")).to_have_text('1 run with “"ADA”')
        await page.reload()
        await expect(page.locator(".count")).to_have_text('1 run with “"ADA”')
        await expect(page.get_by_label("Search")).to_have_value('"ADA')
        await expect(job).to_have_value("charge_customer")
        await line(page, ids["failed"]).click()
        await expect(page.locator("h2")).to_contain_text("charge_customer failed")
        await page.keyboard.press("Escape")
        await expect(lines).to_have_count(1)
        await page.get_by_label("Search").fill("nothing like that")
        await page.get_by_role("button", name="Show all runs").click()
        await expect(lines).to_have_count(RUNS)


async def test_a_list_is_live(suspendable_context, serve):
    server = serve()
    async with suspendable_context() as context, watched(context) as page, server.client() as app:
        await opened(page, server.url)
        await expect(page.get_by_text("No runs yet.")).to_be_visible()
        await page.evaluate("window.same = true")
        run = await app.trigger("reindex_documents", {"batches": 4})
        row = line(page, run.id)
        await expect(row).to_contain_text("executing")
        server.go(0, 1)
        await expect(row).to_contain_text("50 % 2 of 4 batches")
        server.go(2, 3)
        await expect(row).to_contain_text("completed")
        assert await run.result(timeout=30) == "reindexed"
        assert await page.evaluate("window.same")


async def test_a_run_is_live(suspendable_context, serve):
    server = serve()
    async with suspendable_context() as context, watched(context) as page, server.client() as app:
        run = await app.trigger("reindex_documents", {"batches": 4})
        await opened(page, f"{server.url}#/runs/{run.id}")
        going, log = page.locator(".going"), page.get_by_role("list", name="Log").locator("li")
        await expect(going).to_contain_text("0 of 4 batches")
        await expect(log).to_have_count(1)
        await page.evaluate("window.same = true")
        server.go(0)
        await expect(going).to_contain_text("1 of 4 batches")
        await expect(going).to_contain_text("Now: batch-1")
        await expect(log).to_have_count(2)
        server.go(1, 2, 3)
        await expect(heading(page)).to_have_text("completed")
        await expect(going).to_have_count(0)
        await expect(page.locator(".value")).to_contain_text(["batches", '"reindexed"'])
        await expect(page.locator("tbody th[scope=row]")).to_have_count(4)
        assert await page.evaluate("window.same")


async def test_a_page_tells_all_of_its_run(suspendable_context, serve):
    server = serve()
    async with suspendable_context() as context, watched(context, MISSING) as page, server.client() as app:
        ids = await filled(app)
        await opened(page, f"{server.url}#/runs/nobody")
        await expect(page.get_by_role("heading", name="There is no such run")).to_be_visible()
        await opened(page, f"{server.url}#/runs/{ids['done']}")
        lanes = page.locator(".picture .lane")
        await expect(lanes).to_have_count(11)
        inner = lanes.nth(3).locator(".label")
        await expect(inner).to_have_text("page-0/fetch")
        outer = lanes.nth(2).locator(".label")
        left = "(one) => parseFloat(getComputedStyle(one).paddingInlineStart)"
        assert await inner.evaluate(left) > await outer.evaluate(left)
        await expect(page.locator(".value")).to_contain_text(["globex", "globex-2.csv with 502 rows"])
        await page.get_by_role("button", name="page-1/save", exact=True).click()
        await expect(page.locator(".more")).to_contain_text("globex-1.csv with 501 rows")
        log = page.get_by_role("list", name="Log").locator("li")
        await expect(log).to_have_count(4)
        await page.locator("[name=level]").select_option("warning")
        await expect(log).to_have_text([re.compile("the last page is short")])
        assert [one.message for one in await app.logs(ids["done"])][-1] == "the last page is short"
        await opened(page, f"{server.url}#/runs/{ids['failed']}")
        await expect(page.locator(".picture .tries")).to_have_text("×2")
        await expect(page.get_by_role("listitem", name=re.compile("^charge: failed"))).to_be_visible()
        await expect(page.locator(".failure").first).to_contain_text("the card of ada was declined")
        await page.get_by_text("Traceback").first.click()
        await expect(page.locator("details pre").first).to_contain_text("dashboard_jobs.py")
        await opened(page, f"{server.url}#/runs/{ids['parent']}")
        children = page.locator(".card", has_text="Runs that it started").get_by_role("link")
        await expect(children).to_have_text([re.compile("send_mail")] * 2)
        await children.first.click()
        await expect(page.locator("h2")).to_contain_text("send_mail completed")
        child = await app.get_run(page.url.rpartition("/")[2])
        assert (child.parent_id, await child.result()) == (ids["parent"], f"to {child.payload}")
        await page.locator(".facts").first.get_by_role("link").click()
        await expect(page.locator("h2")).to_contain_text("send_all completed")


async def test_runs_are_steered(suspendable_context, serve):
    server = serve()
    async with suspendable_context() as context, watched(context, BAD) as page, server.client() as app:
        ids = await filled(app)
        await opened(page, f"{server.url}#/runs/{ids['executing']}")
        await act(page, "Cancel", "Cancel the run")
        await expect(heading(page)).to_have_text("cancelled")
        assert (await app.get_run(ids["executing"])).status == "CANCELLED"
        server.mend_card()
        await opened(page, f"{server.url}#/runs/{ids['failed']}")
        await act(page, "Resume", "Resume the run")
        await expect(heading(page)).to_have_text("completed")
        await expect(page.locator(".picture .bar[data-kept]")).to_have_count(1)
        assert await (await app.get_run(ids["failed"])).result(timeout=30) == "charged ada"
        await act(page, "Replay", "Start a new run", "{no")
        await expect(page.get_by_role("alert")).to_contain_text("the payload isn't JSON")
        await page.locator("dialog textarea").fill('{"customer": 1}')
        await page.get_by_role("button", name="Start a new run").click()
        await expect(page.locator("dialog")).to_be_visible()
        await page.locator("dialog textarea").fill('{"customer": "eve"}')
        await page.get_by_role("button", name="Start a new run").click()
        await expect(page.locator(".facts").first).to_contain_text("a replay")
        replay = await app.get_run(page.url.rpartition("/")[2])
        assert replay.payload == {"customer": "eve"}
        assert await replay.result(timeout=30) == "charged eve"
        await expect(heading(page)).to_have_text("completed")


async def test_a_run_is_forked_handed_over_and_deleted(suspendable_context, serve):
    server = serve()
    async with suspendable_context() as context, watched(context) as page, server.client() as app:
        ids = await filled(app)
        await opened(page, f"{server.url}#/runs/{ids['done']}")
        await page.get_by_role("button", name="Fork from page-1", exact=True).click()
        await page.get_by_role("button", name="Start a fork").click()
        await expect(page.locator(".facts").first).to_contain_text("a fork (page-1)")
        await expect(heading(page)).to_have_text("completed")
        fork = await app.get_run(page.url.rpartition("/")[2])
        assert await fork.result(timeout=30) == await (await app.get_run(ids["done"])).result()
        ran = [{one.path: one.started_at for one in await app.steps(id)} for id in (ids["done"], fork.id)]
        assert {path for path in ran[0] if ran[0][path] == ran[1][path]} == {"plan", *FIRST}
        await opened(page, f"{server.url}#/runs/{ids['waiting']}")
        await page.evaluate(SAVED)
        await act(page, "Hand over", "Hand over as a file")
        await tabs.until(lambda: page.evaluate("Boolean(window.saved)"), why="a file is saved")
        document = await page.evaluate("saved.text()")
        assert json.loads(document)["run"]["job"] == "refund"
        await expect(heading(page)).to_have_text("moved")
        assert (await app.get_run(ids["waiting"])).status == "MOVED"
        await quiet(page)  # to read what is deleted meanwhile is a 404, which the browser tells of
        await act(page, "Delete", "Delete the run")
        await expect(page.get_by_role("grid")).to_be_visible()
        await expect(line(page, ids["waiting"])).to_have_count(0)
        with pytest.raises(RunNotFound):
            await app.get_run(ids["waiting"])
        await page.get_by_role("button", name="Take over …").click()
        file = {"name": "run.json", "mimeType": "application/json", "buffer": document.encode()}
        await page.get_by_label("File").set_input_files(file)
        await page.get_by_role("button", name="Take it over").click()
        await expect(heading(page)).to_have_text("waiting")
        await expect(page.locator(".steps .status")).to_have_text("waiting")  # for the token, which is there
        await app.complete_token(await pending(app, ids["waiting"]), "taken over")
        await expect(heading(page)).to_have_text("completed")
        assert (await app.get_run(ids["waiting"])).output == {"refund": 4711, "decision": "taken over"}


async def test_tokens_are_completed_and_failed(suspendable_context, serve):
    server = serve()
    async with suspendable_context() as context, watched(context) as page, server.client() as app:
        runs = [await app.trigger("refund", {"order": number}) for number in (1, 2)]
        first, second = [await pending(app, run.id) for run in runs]
        await opened(page, f"{server.url}#/tokens")
        await act(page, f"Complete {first}", "Complete it", "[")
        await expect(page.get_by_role("alert")).to_contain_text("the value isn't JSON")
        await page.locator("dialog textarea").fill('{"approved": true}')
        await page.get_by_role("button", name="Complete it").click()
        assert await runs[0].result(timeout=30) == {"refund": 1, "decision": {"approved": True}}
        await expect(page.get_by_text("1 token.")).to_be_visible()
        await page.locator("tbody").get_by_role("link").click()
        await act(page, f"Fail {second}", "Fail it", "no such order")
        await expect(page.get_by_text("It waits for this token")).to_have_count(0)
        [token] = (await app.list_tokens(state="failed")).tokens
        assert (token.id, json.loads(token.error)["message"]) == (second, "no such order")


async def test_queues_and_schedules_are_paused(suspendable_context, serve):
    server = serve()
    async with suspendable_context() as context, watched(context) as page, server.client() as app:
        await opened(page, f"{server.url}#/queues")
        await page.get_by_role("button", name="Pause Queue mail").click()
        await expect(page.get_by_role("button", name="Resume Queue mail")).to_be_visible()
        assert [one.queue.paused for one in await app.list_queues()] == [1]
        held = await app.trigger("send_mail", "ada")
        assert held.status == "QUEUED"
        await page.get_by_role("button", name="Resume Queue mail").click()
        assert await held.result(timeout=30) == "to ada"
        assert [one.queue.paused for one in await app.list_queues()] == [0]
        await page.get_by_role("link", name="Schedules").click()
        for verb, other, paused in (("Pause", "Resume", 1), ("Resume", "Pause", 0)):
            await page.get_by_role("button", name=f"{verb} close_books rarely").click()
            await expect(page.get_by_role("button", name=f"{other} close_books rarely")).to_be_visible()
            assert [one.paused for one in await app.list_schedules()] == [paused]


async def test_a_token_is_asked_for(suspendable_context, serve):
    server = serve(token="first-token")
    async with suspendable_context() as context, watched(context, DENIED, GONE) as page:
        form = page.get_by_role("heading", name=re.compile("wants a token$"))
        await page.goto(f"{server.url}#/queues")
        await expect(form).to_be_visible()
        await page.keyboard.type("schlüssel")  # it has the focus
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("ASCII")
        await page.keyboard.type("wrong-token")  # instead of what is selected
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_have_text("The server doesn't take this token.")
        await page.get_by_label("Token").fill("first-token")
        await page.get_by_role("button", name="Open").click()
        await expect(page.get_by_role("heading", name="Queues")).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("heading", name="Queues")).to_be_visible()
        await expect(form).to_have_count(0)
        other = await context.browser.new_context()
        async with watched(other, DENIED) as stranger:
            await stranger.goto(server.url)
            await expect(stranger.get_by_role("button", name="Open")).to_be_visible()
        await other.close()
        await server.kill()
        await expect(page.get_by_text(DOWN)).to_be_visible()
        await server.start("second-token")
        await expect(form).to_be_visible()
        await expect(page.get_by_role("alert")).to_have_text("The server doesn't take the token any more.")
        await page.get_by_label("Token").fill("second-token")
        await page.get_by_role("button", name="Open").click()
        await expect(page.get_by_role("heading", name="Queues")).to_be_visible()
        async with server.client("second-token") as app:
            run = await app.trigger("send_mail", "ada")
        await page.get_by_role("link", name="Runs").click()
        await expect(line(page, run.id)).to_contain_text("completed")


async def test_the_server_goes_away_and_comes_back(suspendable_context, serve):
    server = serve()
    async with suspendable_context() as context, watched(context, GONE) as page, server.client() as app:
        run = await half_done(server, app)
        await opened(page, server.url)
        await expect(line(page, run)).to_contain_text("executing")
        await page.evaluate("window.same = true")
        await server.kill()
        await expect(page.get_by_text(DOWN)).to_be_visible()
        await expect(line(page, run)).to_contain_text("executing")  # what was known stays
        await server.start()
        other = await app.trigger("send_mail", "ada")
        await expect(line(page, other.id)).to_contain_text("completed")
        await expect(page.get_by_text(DOWN)).to_have_count(0)
        server.go(1)
        await expect(line(page, run)).to_contain_text("completed")
        assert await (await app.get_run(run)).result(timeout=30) == "reindexed"
        assert await page.evaluate("window.same")
        await line(page, run).click()
        await expect(page.get_by_role("listitem", name=re.compile(r"^Run: .*1 interruption"))).to_be_visible()
        await expect(page.locator(".picture .bar[data-kept]")).to_have_count(1)
        await expect(page.locator(".story")).to_contain_text("1 step answered from checkpoints")


async def test_a_run_is_resumed_while_its_page_is_open(suspendable_context, serve):
    server = serve()
    async with suspendable_context() as context, watched(context, GONE) as page, server.client() as app:
        await opened(page, f"{server.url}#/runs/{await half_done(server, app)}")
        await expect(page.locator(".going")).to_contain_text("1 of 2 batches")
        await quiet(page)
        await page.evaluate("window.same = true")
        await server.kill()
        await expect(page.get_by_text(DOWN)).to_be_visible()
        await server.start()
        await expect(page.locator(".story")).to_contain_text("1 step answered from checkpoints")
        await expect(page.get_by_text(DOWN)).to_have_count(0)
        server.go(1)
        await expect(heading(page)).to_have_text("completed")
        await expect(page.locator(".picture .span[data-is=gap]")).to_have_count(1)
        assert await page.evaluate("window.same")


async def test_a_run_that_has_ended_is_resumed_and_deleted_by_somebody_else(suspendable_context, serve):
    server = serve()
    async with suspendable_context() as context, watched(context, MISSING) as page, server.client() as app:
        run = (await filled(app))["failed"]
        await opened(page, f"{server.url}#/runs/{run}")
        await expect(heading(page)).to_have_text("failed")
        await quiet(page)  # its stream is over, too
        server.mend_card()
        await app.resume(run)
        await expect(heading(page)).to_have_text("completed", timeout=30_000)
        await expect(page.locator(".picture .bar[data-kept]")).to_have_count(1)
        await app.delete(run)
        await expect(page.get_by_text("There is no such run")).to_be_visible(timeout=30_000)


async def test_hostile_text_stays_text(suspendable_context, serve):
    server = serve()
    async with suspendable_context() as context, watched(context) as page, server.client() as app:
        pages = [f"#/runs/{run}" for run in await said(app, HOSTILE)]
        asked = [f"#/runs?{urlencode({'tag': HOSTILE})}", f"#/runs?{urlencode({'q': '<img src=x'})}"]
        for hash in ("#/runs", "#/tokens", *asked, *pages):
            await opened(page, f"{server.url}{hash}")
            await page.locator(".row[id], tbody tr").first.wait_for()
            found = await page.evaluate(LOOK)
            assert (found["odd"], found["handlers"], found["links"]) == (0, 0, 0), hash
            assert "<img src=x" in found["text"], hash
        assert await page.evaluate("document.querySelectorAll('img, iframe').length") == 0


async def test_the_server_of_somebody_else_is_refused(suspendable_context, serve):
    server = serve()
    async with suspendable_context() as context, watched(context) as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        for other in ("https://elsewhere.example/", "//elsewhere.example/", "javascript:alert(1)", "data:,x"):
            await page.goto(f"{server.url}web/dashboard/index.html?server={other}")
            await expect(page.locator("main")).to_contain_text("shows no other server than its own")
            assert await page.locator("form, durable-dashboard").count() == 0
        assert asked
        assert all(url.startswith(f"{server.url}web/") for url in asked), asked


async def test_it_works_below_a_path(suspendable_context, tmp_path):
    async with (
        Durable(f"sqlite:{tmp_path}/runs.db", jobs=[dashboard_jobs]) as app,
        mounted(app, "/ops") as url,
        suspendable_context() as context,
        watched(context) as page,
    ):
        await opened(page, url)
        assert page.url.startswith(f"{url}web/dashboard/")
        await expect(page.get_by_text("No runs yet.")).to_be_visible()
        run = await app.trigger("send_mail", "ada")
        await expect(line(page, run.id)).to_contain_text("completed")
        await page.get_by_role("button", name="New run …").click()
        await page.locator("dialog select").select_option("send_mail")
        await page.locator("dialog textarea").fill('"eve"')
        await page.get_by_role("button", name="Start it").click()
        await expect(page.locator(".value").last).to_contain_text("to eve")
        assert (await app.get_run(page.url.rpartition("/")[2])).payload == "eve"
        await page.reload()
        await expect(page.locator("h2")).to_contain_text("send_mail completed")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(suspendable_context, serve, scheme):
    server, closed = serve(), serve(token="secret")
    PICTURES.mkdir(parents=True, exist_ok=True)
    async with suspendable_context() as context, watched(context, DENIED) as page, server.client() as app:
        runs = {name: f"#/runs/{id}" for name, id in (await filled(app)).items()}
        urls = {name: f"{server.url}{hash}" for name, hash in (VIEWS | runs).items()}
        found = {}
        for name, url in (urls | {"sign-in": closed.url}).items():
            await page.goto(url)
            await page.locator(".row[id], .lane, tbody tr, form.sign-in").first.wait_for()
            for width in (1280, 390):
                picture = PICTURES / f"server-{name}-{scheme}-{width}.png"
                if wrong := await examined(page, picture, scheme, width):
                    found[f"{name} at {width}"] = wrong
        assert not found, json.dumps(found, indent=1)
