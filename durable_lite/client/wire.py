"""Requests to a server and their answers, and its streams, which are taken up again when they break."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx
import httpx_sse

from ..errors import InvalidOption
from .errors import RemoteError, error_of

__all__ = ["Told", "Wire", "place"]

logger = logging.getLogger("durable_lite")

_TIMEOUT = httpx.Timeout(30.0)
_SILENCE = httpx.Timeout(30.0, read=60.0)  # the server says something every 15 s
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before a stream is asked for again; the last one on and on
_PATIENCE = 60  # times
_AWAY = (429, 502, 503, 504)  # statuses of a server, or a proxy of it, that will be there again


class Told(NamedTuple):
    """One event of a stream."""

    event: str
    data: Any


def place(path: str, *parts: str) -> str:
    """A path with these texts in it, whatever they have in them."""
    return path.format(*(quote(part, safe="") for part in parts))


class Wire:
    """One server, and what to show it."""

    def __init__(self, url: str, token: str | None, transport: httpx.AsyncBaseTransport | None) -> None:
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.netloc:
            raise InvalidOption("url", f"expected http://… or https://…, got {url!r:.80}")
        if token is not None and (not isinstance(token, str) or not token.strip() or not token.isascii()):
            raise InvalidOption("token", "must be ASCII text, and not empty")
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self.url = url.rstrip("/")
        self._client = httpx.AsyncClient(
            base_url=f"{self.url}/api", headers=headers, timeout=_TIMEOUT, transport=transport
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> Any:
        """The JSON of the answer. Raises the server's error, or `RemoteError`."""
        params: list[tuple[str, str | int | float | bool | None]] = [
            (name, str(one))
            for name, value in (query or {}).items()
            if value is not None
            for one in (value if isinstance(value, list | tuple) else [value])
        ]
        content = None if body is None else _bytes(body)
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            answer = await self._client.request(method, path, params=params, content=content, headers=headers)
            return _taken(answer)
        except httpx.HTTPError as error:
            raise RemoteError(f"{self.url}: {type(error).__name__}: {error}") from error

    async def stream(self, path: str, after: int) -> AsyncGenerator[Told, None]:
        """Events until `end`, which is the last; after a break from the last seq that came on.

        The first try raises; later ones are made again, some minutes long.
        """
        seen, tries, was_there = after, 0, False
        while True:
            try:
                async with httpx_sse.aconnect_sse(
                    self._client, "GET", path, params={"after": seen, "values": "tagged"}, timeout=_SILENCE
                ) as source:
                    status = source.response.status_code
                    if status != 200:
                        await source.response.aread()
                        if was_there and status in _AWAY:
                            raise httpx.HTTPError(f"the server answered {status}")
                        _taken(source.response)
                    was_there, tries = True, 0
                    async with aclosing(source.aiter_sse()) as events:
                        async for one in events:
                            if not one.data:  # how long to wait before asking again
                                continue
                            told = Told(one.event, json.loads(one.data))
                            if told.event == "event" and (seq := told.data["seq"]) is not None:
                                if seq <= seen:
                                    continue
                                seen = seq
                            yield told
                            if told.event in ("end", "gone"):
                                return
            except (httpx.HTTPError, httpx_sse.SSEError, ValueError) as error:
                tries += 1
                if not was_there or tries > _PATIENCE:
                    raise RemoteError(f"{self.url}: {type(error).__name__}: {error}") from error
                logger.warning("%s broke off (%s); asking again", self.url, type(error).__name__)
            await asyncio.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])


def _bytes(body: Any) -> bytes:
    text = json.dumps(body, allow_nan=False, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a character: the server says what is wrong with it
        return json.dumps(body, allow_nan=False).encode()


def _taken(answer: httpx.Response) -> Any:
    try:
        told = answer.json() if answer.content else None
    except ValueError:
        told = None
    if answer.is_success and (told is not None or answer.status_code == 204):
        return told
    raise error_of(answer.status_code, told)
