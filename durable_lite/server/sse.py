"""Server-sent events as an ASGI response: frames, comments that keep it alive, and when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from ..errors import StoreError

__all__ = ["ASKED_AGAIN", "KEEP_ALIVE", "EventStream", "frame"]

ASKED_AGAIN = 30.0  # seconds after which who follows has to have the right to it still
KEEP_ALIVE = 15.0  # seconds of silence, after which proxies may think that nobody is there
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would keep it until it is worth while
]
_PATIENCE = 60.0  # seconds in which the other end has read nothing: it is gone, and didn't say so
_RETRY = b"retry: 1000\n\n"

Send = Callable[[bytes], Awaitable[None]]


def frame(data: str, event: str, id: str | None = None) -> bytes:
    """One event. `data` is a line: JSON has no line breaks of its own."""
    head = f"id: {id}\n" if id is not None else ""
    return f"{head}event: {event}\ndata: {data}\n\n".encode()


class EventStream:
    """Sends what `tell` sends, until it returns, the other end hangs up or `may_go_on` says no.

    `send` waits while the other end doesn't read: nothing is piled up for it.
    """

    def __init__(self, tell: Callable[[Send], Awaitable[None]]) -> None:
        self._tell = tell
        self.may_go_on: Callable[[], Awaitable[bool]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        loop = asyncio.get_running_loop()
        last = loop.time()
        turn = asyncio.Lock()  # one message at a time

        async def put(data: bytes) -> None:
            nonlocal last
            async with turn, asyncio.timeout(_PATIENCE):
                await send({"type": "http.response.body", "body": data, "more_body": True})
            last = loop.time()

        async def keep_alive() -> None:
            while True:
                await asyncio.sleep(max(0.1, last + KEEP_ALIVE - loop.time()))
                if loop.time() - last >= KEEP_ALIVE:
                    await put(b": still here\n\n")

        async def hung_up() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        async def tell() -> None:
            await put(_RETRY)
            await self._tell(put)

        async def lost_the_right(may_go_on: Callable[[], Awaitable[bool]]) -> None:
            while True:
                await asyncio.sleep(ASKED_AGAIN)
                if not await may_go_on():
                    return

        ends = [tell()] if self.may_go_on is None else [tell(), lost_the_right(self.may_go_on)]
        endings = {loop.create_task(one) for one in ends}
        breaks = {loop.create_task(one) for one in (keep_alive(), hung_up())}
        try:
            done, _ = await asyncio.wait(endings | breaks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in endings | breaks:
                task.cancel()
            await asyncio.gather(*endings, *breaks, return_exceptions=True)
        try:
            for task in done & endings:
                with suppress(StoreError):  # who follows comes again
                    task.result()
            if done & endings:
                async with asyncio.timeout(_PATIENCE):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:  # nobody reads
            pass
