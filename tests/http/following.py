"""Who follows a stream in the tests: jobs to follow, and server-sent events of a real socket, one by one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from durable_lite import Context, Durable, Run, job

__all__ = ["Event", "Follower", "counts", "follow", "opens", "says", "stored", "token_of", "waiting", "whole"]

PATIENCE = 20.0


@job
async def counts(ctx: Context, steps: int) -> int:
    for number in range(steps):
        await ctx.step(f"s{number}", str, number)
    return steps


@job
async def opens(ctx: Context, steps: int) -> int:
    """So many steps, then a token, then as many again."""
    for number in range(steps):
        await ctx.step(f"s{number}", str, "x" * 200)
    ctx.progress(1, 2, "half")
    await ctx.wait_for_token("go", timeout="1h")
    for number in range(steps):
        await ctx.step(f"t{number}", str, "x" * 200)
    return steps


@job
async def says(ctx: Context) -> None:
    """Each live event is heard where it executes."""
    ctx.log.info("</script>\u2028 line\nbreak", ratio=float("nan"))
    ctx.progress(1, 2)
    await ctx.wait_for_token("go", timeout="1h")


class Event(NamedTuple):
    """One event as it came; `comment` instead of it, where it is one."""

    event: str
    id: str | None
    data: Any
    comment: str | None = None


class Follower:
    """The events of one connection; `over` once the server has ended it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.status, self.headers = 0, ""

    async def start(self, target: str, headers: dict[str, str]) -> None:
        lines = [
            f"GET {target} HTTP/1.1",
            "Host: localhost",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self._writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await self._read(b"\r\n\r\n")).decode()
        self.status, self.headers = int(head.split()[1]), head.lower()
        self._left = b""

    async def _read(self, end: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self._reader.readuntil(end)

    async def _block(self) -> bytes | None:
        """What is between two empty lines; None: the stream is over."""
        while b"\n\n" not in self._left:
            try:
                size = int(await self._read(b"\r\n"), 16)
                async with asyncio.timeout(PATIENCE):
                    chunk = await self._reader.readexactly(size + 2)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            if size == 0:
                return None
            self._left += chunk[:-2]
        block, _, self._left = self._left.partition(b"\n\n")
        return block

    async def next(self, *, comments: bool = False) -> Event | None:
        """The next event; None: the server has ended the stream."""
        while (block := await self._block()) is not None:
            fields = dict(line.partition(": ")[::2] for line in block.decode().split("\n"))
            if "event" in fields:
                return Event(fields["event"], fields.get("id"), json.loads(fields["data"]))
            if comments and "" in fields:
                return Event("", None, None, fields[""])
        return None

    async def until(self, kind: str) -> list[Event]:
        """All events up to the first of a kind."""
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
            if event.event == kind:
                return found
        raise AssertionError(f"it ended without {kind}: {found[-3:]}")

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@asynccontextmanager
async def follow(url: str, target: str, last: str | None = None, **headers: str) -> AsyncIterator[Follower]:
    """Follow what is at `target`; `last`: the id after which to go on."""
    host, port = url.removeprefix("http://").split(":")
    # A small window of its own, so that what isn't read soon stays with the server.
    follower = Follower(*await asyncio.open_connection(host, int(port), limit=2**20))
    try:
        await follower.start(target, headers | ({} if last is None else {"Last-Event-ID": last}))
        yield follower
    finally:
        await follower.close()


async def whole(url: str, target: str, last: str | None = None, **headers: str) -> list[Event]:
    """All events of a stream that ends."""
    async with follow(url, target, last, **headers) as follower:
        found = []
        while (event := await follower.next()) is not None:
            found.append(event)
        return found


def stored(events: list[Event]) -> list[int]:
    """The numbers of the stored events, in the order in which they came."""
    return [int(event.id) for event in events if event.event == "event" and event.id is not None]


async def token_of(app: Durable, run: Run[Any]) -> str:
    """The token of a run, once it waits for it."""
    while not (tokens := (await app.list_tokens(run=run.id)).tokens):
        await asyncio.sleep(0.005)
    return tokens[0].id


async def waiting(app: Durable, run: Run[Any]) -> None:
    """Return once a run waits."""
    while (await run.refresh()).status != "WAITING":
        await asyncio.sleep(0.005)
