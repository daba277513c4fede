"""Server-sent events as an ASGI response: frames, comments that keep it alive, and who has hung up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import StoreError

__all__ = ["KEEP_ALIVE", "EventStream", "frame"]

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
    """Sends what `tell` sends, until it returns or the other end hangs up.

    `send` waits while the other end doesn't read: nothing is piled up for it.
    """

    def __init__(self, tell: Callable[[Send], Awaitable[None]]) -> None:
        self._tell = tell

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

        tasks = [loop.create_task(one()) for one in (tell, keep_alive, hung_up)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done():
                try:
                    tasks[0].result()
                except TimeoutError:  # nobody reads
                    return
                except StoreError:  # who follows comes again
                    pass
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
