"""What the tests of the HTTP API share: jobs, an application to ask, and a look at each answer.

Whatever is answered is held to the OpenAPI document: its status, its content type, its schema.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import jsonschema_rs

from durable_lite import AbortRun, Context, Delivery, Queue, Retry, Schedule, Webhook, job
from durable_lite.cli.serve import _bound, _http
from durable_lite.server import asgi
from durable_lite.server.application import OPERATIONS
from durable_lite.server.openapi import openapi
from durable_lite.server.operation import On
from durable_lite.server.problems import CODES
from tests.engine.apps import App, app

__all__ = [
    "BODIES", "BY_NAME", "JOBS", "SECRET", "Asked", "body_of", "client_of", "delivery", "exchange", "live",
    "path_of", "served", "taken_in",
]  # fmt: skip

SECRET = "whsec_" + base64.b64encode(b"k3y of the test, long enough").decode()
BY_NAME = {one.name: one for one in OPERATIONS}

# What an operation needs to be asked well, where something is needed.
BODIES = {
    "runs.trigger": {"job": "done", "payload": {"org": "acme"}},
    "runs.trigger_many": {"job": "done", "payloads": [{"org": "acme"}]},
    "runs.import": {"document": "{}"},
    "runs.purge": {"older_than": "1d"},
    "runs.fork": {"from_step": "fine"},
    "runs.replay": {},
    "tokens.complete": {"value": 1},
    "tokens.fail": {"message": "no"},
    "events.send": {"name": "paid"},
    "schedules.pause": {"job": "ticks"},
    "schedules.resume": {"job": "ticks"},
    "schedules.delete": {"job": "ticks"},
}


@dataclass
class Order:
    org: str
    pages: int = 1


@job
async def done(ctx: Context, order: Order) -> dict:
    """Ends well, and tells all that a run can tell."""
    for page in range(order.pages):
        await ctx.step(f"page-{page}", str, page)
    ctx.log.info("all pages", rows=order.pages, ratio=float("inf"))
    ctx.progress(order.pages, order.pages, "pages")
    ctx.metadata.set("span", (1, 2))
    return {"org": order.org, "when": (order.pages,)}


def fail() -> None:
    raise AbortRun("no such <b>page</b>")


@job(retry=Retry.NEVER)
async def fails(ctx: Context) -> None:
    await ctx.step("fine", str, 1)
    await ctx.step("bad", fail)


@job
async def waits(ctx: Context, given: Any = None) -> Any:
    return await ctx.wait_for_token("approval", timeout="1h")


@job
async def parent(ctx: Context, tags: list[list[str]]) -> str:
    """Starts a run for each list of tags, and then waits."""
    for number, mine in enumerate(tags):
        await ctx.trigger(f"child-{number}", done, {"org": "acme"}, tags=mine)
    await ctx.wait_for_token("approval", timeout="1h")
    return "ended"


@job(on=[Webhook("own", secret=SECRET)])
async def hooked(ctx: Context, delivery: Delivery) -> Any:
    return delivery.json()


@job(on=[Schedule(every="1h", name="hourly")])
async def ticks(ctx: Context) -> None:
    pass


@job(queue="narrow")
async def queued(ctx: Context) -> None:
    pass


JOBS = [done, fails, waits, parent, hooked, ticks, queued, Queue("narrow", concurrency=1)]


def delivery(body: bytes, at: float, id: str = "msg_1") -> dict[str, str]:
    """The headers of a delivery that is signed well."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    mac = hmac.new(key, f"{id}.{at:.0f}.".encode() + body, hashlib.sha256)
    signature = base64.b64encode(mac.digest()).decode()
    return {"Webhook-Id": id, "Webhook-Timestamp": f"{at:.0f}", "Webhook-Signature": f"v1,{signature}"}


def path_of(operation: str, **params: str) -> str:
    """Where an operation is; what isn't given is called "none"."""
    quoted = re.sub(r"\{(\w+)\}", lambda found: params.get(found[1], "none"), BY_NAME[operation].path)
    return f"/api{quoted}"


def body_of(operation: str) -> dict[str, Any]:
    """The body for `ask`, if it needs one."""
    return {"body": BODIES[operation]} if operation in BODIES else {}


_DOCUMENT = openapi(OPERATIONS, token=True)


def documented(operation: str) -> dict[str, Any]:
    one = BY_NAME[operation]
    found: dict[str, Any] = _DOCUMENT["paths"][f"/api{one.path}"][one.method.lower()]["responses"]
    return found


def held_to_the_document(operation: str, response: httpx.Response) -> httpx.Response:
    """The answer, once it is what the document says of it."""
    answers = documented(operation)
    status = str(response.status_code)
    assert status in answers, f"{operation}: {status} isn't documented: {response.text:.300}"
    assert response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    kind = response.headers.get("content-type", "").partition(";")[0]
    content = answers[status].get("content", {})
    if not content:
        assert (response.content, kind) == (b"", "")
        return response
    assert kind in content, f"{operation}: {status} {kind}"
    if kind == "text/event-stream":
        return response
    schema = {**content[kind]["schema"], "components": _DOCUMENT["components"]}
    body = json.loads(response.content, parse_constant=lambda name: 1 / 0)
    jsonschema_rs.Draft202012Validator(schema).validate(body)
    if kind == "application/problem+json":
        code = body["code"]
        assert (response.status_code, body["status"]) == (CODES[code].status,) * 2
        assert code in answers[status]["description"].split(", "), f"{operation}: {code} isn't documented"
        assert body["type"] == f"urn:durable-lite:problem:{code}"
    return response


class Asked:
    """An application behind a server, and who asks it."""

    def __init__(self, durable: App, server: Any, client: httpx.AsyncClient) -> None:
        self.app, self.server, self.client = durable, server, client

    async def ask(
        self,
        operation: str,
        body: Any = ...,
        *,
        query: Any = None,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
        **params: str,
    ) -> httpx.Response:
        """Ask for an operation; `params` are those of its path."""
        given: dict[str, Any] = {} if body is ... else {"json": body}
        if content is not None:
            given = {"content": content}
        response = await self.client.request(
            BY_NAME[operation].method, path_of(operation, **params), params=query, headers=headers, **given
        )
        return held_to_the_document(operation, response)

    async def problem(self, *args: Any, **kwargs: Any) -> str:
        """The code of what is answered, which is a problem."""
        response = await self.ask(*args, **kwargs)
        assert response.status_code >= 400, response.text
        return str(response.json()["code"])

    async def run_of(self, job: str, payload: Any = None, **options: Any) -> str:
        """The id of a run that has come as far as it does by itself."""
        run = await self.app.trigger(job, payload, **options)
        await taken_in(self.app)
        return run.id

    async def place_of(self, operation: str, **options: Any) -> dict[str, str]:
        """A path of this operation at which something is."""
        on = BY_NAME[operation].on
        if on is On.TOKEN:
            return {"id": (await self.waiting(**options))[1]}
        if on is On.RUN:
            return {"id": await self.run_of("fails", **options)}
        if "{name}" not in BY_NAME[operation].path:
            return {}
        return {"name": "own" if operation == "webhooks.receive" else "narrow"}

    async def waiting(self, **options: Any) -> tuple[str, str]:
        """The ids of a run that waits, and of its token."""
        run_id = await self.run_of("waits", **options)
        [token] = (await self.app.list_tokens(run=run_id)).tokens
        return run_id, token.id


async def taken_in(durable: App) -> None:
    """All runs have come as far as they do within a second."""
    busy = {"PENDING", "EXECUTING"}
    for _ in range(200):
        await durable.clock.run(durable.clock.sleep(0.2))
        runs = (await durable.list_runs(limit=1000, status=sorted(busy))).runs
        now = durable.clock.now()
        if not any(run.status == "EXECUTING" or (run.ready_at or 0) <= now for run in runs):
            return
    raise AssertionError(f"still: {runs}")


def client_of(server: Any, **options: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(server, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", **options)


@asynccontextmanager
async def served(
    store: Any, headers: dict[str, str] | None = None, jobs: Any = JOBS, worker: bool = True, **options: Any
) -> AsyncIterator[Asked]:
    """A server over an application in virtual time."""
    of_app = {name: options.pop(name) for name in ("max_value_bytes", "strict") if name in options}
    async with app(store, jobs, worker=worker, **of_app) as durable:
        server = asgi(durable, **{"token_rate": "1000/s", **options})
        async with client_of(server, headers=headers) as client:
            yield Asked(durable, server, client)


@asynccontextmanager
async def live(server: Any) -> AsyncIterator[str]:
    """The server on a socket of its own, as `durable-lite serve` has it; its URL."""
    with _bound("127.0.0.1", 0) as sock:
        http = _http(server)
        task = asyncio.create_task(http.serve([sock]))
        while not http.started:
            assert not task.done(), "it did not start"
            await asyncio.sleep(0.001)
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.stop_streams()
            http.should_exit = True
            await task


async def exchange(url: str, data: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """Send these bytes on a socket of their own, and read all: the status line, the headers, the body."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        pairs = (line.decode("latin-1").split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in pairs}
        with contextlib.suppress(ConnectionError):
            return first, headers, await reader.read()
        return first, headers, b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
