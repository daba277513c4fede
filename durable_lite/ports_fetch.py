"""The real ways to send a request: httpx on a server, the page's own `fetch` in a browser."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from .errors import AbortRun, FetchFailed, InvalidOption

if TYPE_CHECKING:
    from .fetching import Answer, Request

__all__ = ["SystemFetch"]


class SystemFetch:
    """Sends requests; on a server over connections that it keeps until it is closed."""

    def __init__(self) -> None:
        self._client: Any = None

    async def __call__(self, request: Request, limit: int) -> Answer:
        if sys.platform == "emscripten":
            return await _in_page(request, limit)
        return await self._with_httpx(request, limit)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _with_httpx(self, request: Request, limit: int) -> Answer:
        try:
            import httpx
        except ImportError:
            raise InvalidOption("fetch", 'needs httpx: pip install "durable-lite[fetch]"') from None
        from http.cookiejar import CookieJar, DefaultCookiePolicy

        from .fetching import Answer

        if request.url.startswith("/"):
            raise InvalidOption(
                "url", f"{request.url!r:.80} is an address in a tab only, where the page has a host"
            )
        if self._client is None:
            # A step has its own time-out, which counts awake time.
            # What one run gets as a cookie is no business of the others.
            no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
            self._client = httpx.AsyncClient(follow_redirects=True, timeout=None, cookies=no_cookies)
        try:
            async with self._client.stream(
                request.method, request.url, headers=list(request.headers), content=request.content
            ) as response:
                parts, size = [], 0
                async with aclosing(response.aiter_bytes()) as body:
                    async for part in body:
                        parts.append(part)
                        size += len(part)
                        if size > limit:
                            break
                headers = tuple(response.headers.multi_items())
                return Answer(response.status_code, str(response.url), headers, b"".join(parts))
        except httpx.TooManyRedirects:
            raise AbortRun(f"{request.shown}: redirects without end") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _failed(request, error) from None
        finally:
            await asyncio.sleep(0)  # iterators inside those of httpx that were left early end in a task


def _failed(request: Request, error: Exception) -> FetchFailed:
    """Its message may have the address in it, with what is secret there."""
    return FetchFailed(request.shown, None, f"no answer ({type(error).__name__})")


async def _in_page(request: Request, limit: int) -> Answer:
    from js import AbortController, Object
    from js import fetch as send
    from pyodide.ffi import JsException, to_js

    from .fetching import Answer

    ended = AbortController.new()
    given: dict[str, Any] = {"method": request.method, "headers": [list(one) for one in request.headers]}
    if request.content is not None:
        given["body"] = request.content
    options = to_js(given | {"signal": ended.signal}, dict_converter=Object.fromEntries)
    try:
        response = await send(request.url, options)
        reader = response.body and response.body.getReader()
        parts, size = [], 0
        while reader:
            part = await reader.read()
            if part.done:
                break
            parts.append(part.value.to_bytes())
            size += len(parts[-1])
            if size > limit:
                break
        headers = tuple((str(name), str(value)) for name, value in response.headers.entries())
        return Answer(int(response.status), str(response.url), headers, b"".join(parts))
    except (JsException, OSError) as error:
        raise _failed(request, error) from None
    finally:
        ended.abort()  # whatever is still under way
