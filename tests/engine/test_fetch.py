"""`ctx.fetch`: what is sent, what is recorded, and when it is tried again. The server is a real one."""

import asyncio
import datetime as dt
import json
import sys
import threading
from collections import Counter
from contextlib import asynccontextmanager, suppress
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from durable_lite import Context, Durable, FetchFailed, Response, Retry, RunFailed, Status, job
from durable_lite.fetching import retry_after
from durable_lite.records import RunFilter
from tests.engine.support import story

pytestmark = pytest.mark.skipif(sys.platform == "emscripten", reason="the tab's fetch has its test in e2e")

SECRET = "s3cr3t"


class App(Durable):
    """In real time: the network knows no other."""

    async def outcome(self, job):
        return await self.result(await self.trigger(job))

    async def result(self, run):
        return await run.result(timeout=30)


@pytest.fixture(params=[False, True], ids=["once", "always_replay"])
def make_app(make_store, request):
    @asynccontextmanager
    async def make(job):
        async with make_store() as store, App(store, [job], always_replay=request.param) as app:
            yield app

    return make


class Site:
    """Answers what a test has put there, in order, the last again and again; notes what came."""

    def __init__(self):
        self.answers, self.came = {}, []
        self.hold, self.held = threading.Event(), threading.Event()

    def answer(self, path, *answers):
        """Each is (status, headers, body)."""
        self.answers[path] = list(answers)
        return f"{self.base}{path}"

    def count(self, path):
        return Counter(path for _, path, _, _ in self.came)[path]


@pytest.fixture
def site():
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            site.came.append((self.command, path, dict(self.headers), body))
            if path == "/hangs":
                site.held.set()
                site.hold.wait(20)
                return
            answers = site.answers[path]
            status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            if not any(name == "Content-Length" for name, _ in headers):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # it has read enough
                self.wfile.write(body)

        do_POST = do_PUT = do_DELETE = do_GET

        def handle(self):
            with suppress(ConnectionError):  # it is gone
                super().handle()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        site.base = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield site
        site.hold.set()
        server.shutdown()
        thread.join()


def fetching(url, retry=None, timeout=None, **options):
    """A job that fetches, and returns what it got."""

    @job(retry=Retry.NEVER)
    async def fetches(ctx: Context) -> Response:
        return await ctx.options(retry=retry, timeout=timeout).fetch("get", url, **options)

    return fetches


async def test_an_answer_is_recorded_and_not_asked_for_again(make_app, site):
    url = site.answer("/x", (200, [("X-Kind", "a"), ("X-Kind", "b"), ("Set-Cookie", SECRET)], b'{"n": 1}'))

    @job
    async def works(ctx: Context):
        answer = await ctx.fetch("get", f"{url}?key={SECRET}", headers={"X-Mine": "me"}, redact=["date"])
        await ctx.sleep("nap", "100ms")
        assert (answer.status, answer.ok, answer.json(), answer.text) == (200, True, {"n": 1}, '{"n": 1}')
        return answer.headers

    async with make_app(works) as app:
        headers = await app.outcome(works)
        assert (headers["x-kind"], headers["set-cookie"], headers["date"]) == ("a, b", *["[redacted]"] * 2)
        [(method, path, sent, body)] = site.came
        assert (method, path, sent["X-Mine"], body) == ("GET", "/x", "me", b"")
        [run] = (await app.list_runs()).runs
        [step] = [one for one in await app.steps(run.id) if one.kind == "step"]
        assert (step.title, step.name) == (f"GET {url}", "fetch")
        stored = [await app.store.list_runs(RunFilter()), await app.store.read_events(run.id, 0, 99)]
        assert SECRET not in repr([stored, step._replace(output=step.output.replace(f"?key={SECRET}", ""))])


async def test_what_is_sent(make_app, site):
    url = site.answer("/x", (201, [], b""))

    @job
    async def works(ctx: Context):
        await ctx.fetch("json", url, method="post", json={"ü": [1]}, idempotency_key=True)
        await ctx.fetch("text", url, method="PUT", content="ü", headers={"Content-Type": "text/plain"})
        await ctx.fetch("bytes", url, method="PUT", content=b"\xff")
        answer = await ctx.fetch("delete", url, method="DELETE")
        return answer.status, answer.body

    async with make_app(works) as app:
        run = await app.trigger(works)
        assert await app.result(run) == (201, "")
        assert [(method, body) for method, _, _, body in site.came] == [
            ("POST", '{"ü": [1]}'.encode()),
            ("PUT", "ü".encode()),
            ("PUT", b"\xff"),
            ("DELETE", b""),
        ]
        sent = [headers for _, _, headers, _ in site.came]
        assert sent[0]["Content-Type"] == "application/json"
        assert sent[0]["Idempotency-Key"] == f"{run.id}/json"
        assert sent[1]["Content-Type"] == "text/plain"
        assert "Idempotency-Key" not in sent[1]


@pytest.mark.parametrize("status", [400, 404, 409, 304])
async def test_other_statuses_are_answers(make_app, site, status):
    url = site.answer("/x", (status, [], b"" if status == 304 else b"no"))
    works = fetching(url)
    async with make_app(works) as app:
        answer = await app.outcome(works)
        assert (answer.status, answer.ok) == (status, False)
        assert site.count("/x") == 1


QUICK = Retry(max_attempts=3, min_delay="10ms", max_delay="10ms")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 599])
async def test_such_are_tried_again(make_app, site, status):
    url = site.answer("/x", (status, [], b"no"), (status, [], b"no"), (200, [], b"yes"))
    works = fetching(url, QUICK)
    async with make_app(works) as app:
        run = await app.trigger(works)
        assert (await app.result(run)).body == "yes"
        assert (await story(app.store, run)).count("step.failed") == 2


async def test_after_the_last_it_has_failed(make_app, site):
    url = site.answer("/x", (503, [], b"no"))
    works = fetching(f"{url}?key={SECRET}", QUICK)
    async with make_app(works) as app:
        run = await app.trigger(works)
        with pytest.raises(RunFailed, match=f"FetchFailed: GET {url}: answered 503") as caught:
            await app.result(run)
        assert SECRET not in str(caught.value.error)
        assert site.count("/x") == 3


async def test_the_failure_is_itself_for_the_job(make_app, site):
    url = site.answer("/x", (503, [("Retry-After", "7")], b"no"))
    seen = []

    @job
    async def works(ctx: Context):
        try:
            await ctx.options(retry=Retry.NEVER).fetch("get", url)
        except FetchFailed as error:
            seen.append((error.status, error.delay, error.request))
        await ctx.sleep("nap", "100ms")
        return len(seen)

    async with make_app(works) as app:
        await app.outcome(works)
        assert set(seen) == {(503, 7.0, f"GET {url}")}
        assert site.count("/x") == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_honoured(make_app, site, form):
    at = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=10)
    value = "600" if form == "seconds" else format_datetime(at, usegmt=True)
    works = fetching(site.answer("/x", (429, [("Retry-After", value)], b"slowly")), QUICK)
    async with make_app(works) as app:
        run = await app.trigger(works)
        while (await run.refresh()).status != Status.WAITING:
            await asyncio.sleep(0.01)
        [failed] = [
            event for event in await app.store.read_events(run.id, 0, 99) if event.type == "step.failed"
        ]
        assert failed.data["error"]["type"] == "FetchFailed"
        assert failed.data["retry_at"] == pytest.approx(at.timestamp(), abs=20)


async def test_a_status_of_ones_own(make_app, site):
    url = site.answer("/x", (404, [], b"not yet"), (500, [], b"broken"))
    works = fetching(url, QUICK, retry_on=["4xx"])
    async with make_app(works) as app:
        assert (await app.outcome(works)).status == 500
        assert site.count("/x") == 2


async def test_nobody_answers(make_app, site):
    works = fetching("http://127.0.0.1:9/x", QUICK)
    async with make_app(works) as app:
        run = await app.trigger(works)
        with pytest.raises(RunFailed, match=r"GET http://127.0.0.1:9/x: no answer \(ConnectError\)"):
            await app.result(run)


async def test_an_answer_that_breaks_off_is_none(make_app, site):
    url = site.answer("/x", (200, [("Content-Length", "10")], b"half"), (200, [], b"whole"))
    works = fetching(url, QUICK)
    site.answers["/x"][0] = (200, [("Content-Length", "10"), ("Connection", "close")], b"half")
    async with make_app(works) as app:
        assert (await app.outcome(works)).body == "whole"


@pytest.mark.parametrize("length", [True, False])
async def test_an_answer_that_is_too_large(make_app, site, length):
    body = b"x" * 300_000
    headers = [] if length else [("Connection", "close"), ("Content-Length", str(len(body)))]
    works = fetching(site.answer("/x", (200, headers, body)), max_bytes=1000)
    async with make_app(works) as app:
        run = await app.trigger(works)
        with pytest.raises(
            RunFailed, match=r"TooLarge: get: [\d,]+ bytes once encoded, over the limit of 1,000"
        ):
            await app.result(run)
        assert site.count("/x") == 1


async def test_bytes_stay_bytes(make_app, site):
    works = fetching(site.answer("/x", (200, [], b"\x89PNG\xff")))
    async with make_app(works) as app:
        answer = await app.outcome(works)
        assert (answer.body, answer.content) == (b"\x89PNG\xff", b"\x89PNG\xff")
        assert answer.text == "\ufffdPNG\ufffd"


async def test_redirects_are_followed(make_app, site):
    site.answer("/x", (200, [], b"there"))
    works = fetching(site.answer("/old", (302, [("Location", f"/x?key={SECRET}")], b"")))
    async with make_app(works) as app:
        answer = await app.outcome(works)
        assert (answer.status, answer.body, answer.url) == (200, "there", f"{site.base}/x?key={SECRET}")


async def test_a_time_out_gives_it_up(make_app, site):
    works = fetching(f"{site.base}/hangs", Retry.NEVER, timeout="300ms")
    async with make_app(works) as app:
        run = await app.trigger(works)
        with pytest.raises(RunFailed, match="StepTimeout"):
            await app.result(run)


async def test_a_cancel_gives_it_up(make_app, site):
    works = fetching(f"{site.base}/hangs", Retry.NEVER)
    async with make_app(works) as app:
        run = await app.trigger(works)
        while not site.held.is_set():
            await asyncio.sleep(0.01)
        await app.cancel(run.id)
        with pytest.raises(RunFailed, match="CANCELLED"):
            await app.result(run)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "ftp://x"}, "url: expected the text of an http or https address"),
        ({"url": f"x?key={SECRET}"}, "url: expected"),
        ({"url": None}, "url: expected"),
        ({"url": "//host/x"}, "url: expected"),
        ({"url": "/x"}, "url: '/x' is an address in a tab only"),
        ({"url": "http://[x"}, "url: expected"),
        ({"method": "GET /"}, "method: 'GET /' is no HTTP method"),
        ({"headers": "a: b"}, "headers: expected a dict, got str"),
        ({"headers": {"a b": "c"}}, "headers: 'a b' is no name of a header"),
        ({"headers": {"a": "b\r\nX-Evil: yes"}}, r"headers\['a'\]: expected printable text"),
        ({"headers": {"a": 5}}, r"headers\['a'\]: expected printable text"),
        ({"json": {1, 2}}, "json: Object of type set is not JSON"),
        ({"json": float("nan")}, "json: Out of range"),
        ({"json": 1, "content": "x"}, "content: takes either content or json"),
        ({"content": 5}, "content: expected text or bytes, got int"),
        ({"retry_on": "5xx"}, "retry_on: expected a list"),
        ({"retry_on": [200]}, "retry_on: 200 is no status"),
        ({"retry_on": ["6xx"]}, "retry_on: '6xx' is no status"),
        ({"redact": "cookie"}, "redact: expected a list"),
        ({"redact": [1]}, "redact: 1 is no name of a header"),
        ({"max_bytes": 0}, "max_bytes: must be at least 1"),
        ({"idempotency_key": "mine"}, "idempotency_key"),
    ],
)
async def test_mistakes_are_named_and_nothing_is_sent(make_app, site, options, message):
    works = fetching(**{"url": site.answer("/x", (200, [], b""))} | options)
    async with make_app(works) as app:
        run = await app.trigger(works)
        with pytest.raises(RunFailed, match=message) as caught:
            await app.result(run)
        assert SECRET not in str(caught.value.error)
        assert site.came == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None), ("0", None), ("120", 120.0), ("9" * 50, 7 * 86_400), ("-5", None), ("1.5", None),
        ("soon", None), ("Fri, 31 Dec 1999 23:59:59 GMT", None), ("٣", None), ("", None),
    ],
)  # fmt: skip
def test_the_header_retry_after(value, expected):
    assert retry_after(value, 1_750_000_000.0) == expected


def test_a_response_is_what_it_says():
    answer = Response(200, "http://x", {}, "[1]")
    assert json.dumps(answer.json()) == "[1]"
    with pytest.raises(ValueError, match="Expecting value"):
        Response(200, "http://x", {}, "x").json()


async def test_a_cookie_of_one_run_is_not_sent_by_another(make_app, site):
    works = fetching(site.answer("/x", (200, [("Set-Cookie", f"session={SECRET}; Path=/")], b"")))
    async with make_app(works) as app:
        for _ in range(2):
            await app.outcome(works)
        assert [headers.get("Cookie") for _, _, headers, _ in site.came] == [None, None]


async def test_redirects_without_end(make_app, site):
    works = fetching(site.answer("/x", (302, [("Location", "/x")], b"")), QUICK)
    async with make_app(works) as app:
        run = await app.trigger(works)
        with pytest.raises(RunFailed, match="AbortRun: GET .*/x: redirects without end"):
            await app.result(run)
        assert site.count("/x") <= 25


async def test_a_key_that_is_no_ascii(make_app, site):
    url = site.answer("/x", (200, [], b""))

    @job
    async def works(ctx: Context):
        await ctx.fetch("größe 1", url, idempotency_key=True)
        return await ctx.step("größe 2", lambda: ctx.idempotency_key.partition("/")[2])

    async with make_app(works) as app:
        assert await app.outcome(works) == "gr%C3%B6%C3%9Fe%202"
        assert site.came[0][2]["Idempotency-Key"].endswith("/gr%C3%B6%C3%9Fe%201")
