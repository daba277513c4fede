"""A Slack for tests: `chat.postMessage` and `conversations.history` over HTTP, as the reference has them.

It can refuse, keep a request or an answer to itself, break a connection, and show its history late.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

TOKEN = "xoxb-s3cr3t-of-acme"
CHANNEL = "C0123456789"
SCOPES = {"chat.postMessage": "chat:write", "conversations.history": "channels:history"}


class Slack:
    """`do(…)` says what becomes of the next posts, in order; all others are taken and answered.

    * `refuse`: it isn't taken, and this is the answer
    * `take`: it is taken, and this is the answer, whatever it says
    * `drop`: its connection is broken, before it is taken (which it then isn't) or after
    * `hold`: it waits for `release` once `held` is set, before it is taken (which it then isn't) or after
    """

    def __init__(self) -> None:
        self.url = ""
        self.channels: dict[str, list[dict[str, Any]]] = {CHANNEL: []}
        self.scopes = set(SCOPES.values())
        self.calls: list[tuple[str, float]] = []  # methods, and when they were called
        self.limited: list[str] = []  # the Retry-After of the next questions for the history
        self.late = False  # the history doesn't show what is new
        self.page = 2
        self.held, self.release, self.answered = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._next: list[tuple[str, Any]] = []
        self._ts = itertools.count(1)

    # For the test

    def do(self, what: str, how: Any = None, times: int = 1) -> None:
        self._next += [(what, how)] * times

    def count(self, method: str) -> int:
        return len(self.times(method))

    def times(self, method: str) -> list[float]:
        return [at for called, at in self.calls if called == method]

    @property
    def texts(self) -> list[str]:
        return [one["text"] for one in self.channels[CHANNEL]]

    def say(self, text: str, **more: Any) -> str:
        """Somebody's message; returns its `ts`."""
        ts = f"{int(time.time())}.{next(self._ts):06}"
        self.channels[CHANNEL].append({"type": "message", "text": text, "ts": ts, **more})
        return ts

    # For the client

    async def post(self, request: web.Request) -> web.StreamResponse:
        what, how = self._next.pop(0) if self._next else ("", None)
        if what == "refuse":
            return how()
        if (what, how) == ("drop", "before"):
            return self._broken(request)
        if (what, how) == ("hold", "before"):
            await self._wait()
            return self._broken(request)
        asked = await request.json()
        if asked.get("channel") not in self.channels:
            return no("channel_not_found")
        if not asked.get("text"):
            return no("no_text")
        if not {"event_type", "event_payload"} <= asked["metadata"].keys():
            return no("invalid_metadata_format")
        ts = self.say(asked["text"], metadata=asked["metadata"], bot_id="B0123456789")
        if what == "take":
            return how()
        if (what, how) == ("drop", "after"):
            return self._broken(request)
        if (what, how) == ("hold", "after"):
            await self._wait()
        [message] = [one for one in self.channels[CHANNEL] if one["ts"] == ts]
        answer = web.json_response({"ok": True, "channel": CHANNEL, "ts": ts, "message": message})
        with suppress(ConnectionError):  # nobody is there any more
            await answer.prepare(request)
            await answer.write_eof()
            self.answered.set()
        return answer

    async def history(self, request: web.Request) -> web.StreamResponse:
        if self.limited:
            return too_many(self.limited.pop(0))
        asked = request.query
        if asked["channel"] not in self.channels:
            return no("channel_not_found")
        oldest, limit = float(asked.get("oldest", 0)), min(int(asked.get("limit", 100)), self.page)
        found = [one for one in self.channels[asked["channel"]] if float(one["ts"]) > oldest]
        newest_first = [] if self.late else found[::-1]
        start = int(asked.get("cursor") or 0)
        page, more = newest_first[start : start + limit], len(newest_first) > start + limit
        if asked.get("include_all_metadata") not in (
            "1",
            "true",
        ):  # what a manifest doesn't declare is left out
            page = [
                one | {"metadata": {**one["metadata"], "event_payload": {}}} if "metadata" in one else one
                for one in page
            ]
        cursor = str(start + limit) if more else ""
        answer = {"ok": True, "messages": page, "has_more": more}
        return web.json_response(answer | {"response_metadata": {"next_cursor": cursor}})

    async def call(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        self.calls.append((method, time.time()))
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return no("invalid_auth" if "Authorization" in request.headers else "not_authed")
        if (needed := SCOPES[method]) not in self.scopes:
            return no("missing_scope", needed=needed, provided=",".join(sorted(self.scopes)))
        return await (self.post if method == "chat.postMessage" else self.history)(request)

    async def _wait(self) -> None:
        self.held.set()
        await self.release.wait()

    @staticmethod
    def _broken(request: web.Request) -> web.Response:
        if request.transport is not None:  # the client is still there
            request.transport.abort()
        return web.Response()


def no(error: str, **more: str) -> web.Response:
    """Slack says no with a 200."""
    return web.json_response({"ok": False, "error": error, **more})


def broken(status: int) -> web.Response:
    """What stands before Slack answers by itself, in HTML."""
    return web.Response(status=status, text="<html>sorry</html>", content_type="text/html")


def too_many(seconds: str) -> web.Response:
    answer = {"ok": False, "error": "ratelimited"}
    return web.json_response(answer, status=429, headers={"Retry-After": seconds})


@asynccontextmanager
async def slack() -> AsyncIterator[Slack]:
    """One that listens, at `url`."""
    server, app = Slack(), web.Application()
    app.router.add_route("*", "/api/{method}", server.call)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/"
        yield server
    finally:
        server.release.set()
        await runner.cleanup()
