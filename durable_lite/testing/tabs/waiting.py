"""Waits for what a test expects: `until` asks again and again, `watch` is told by a page.

Watch from a page that isn't suspended: a frozen page answers `evaluate` as if it lived, a stopped one doesn't
answer. Helpers that follow runs belong here, built on `watch`.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal, TypeVar, overload

from playwright.async_api import Error, Page

__all__ = ["Watch", "until", "watch"]

T = TypeVar("T")
_INTERVAL = 0.02  # seconds
_LONGEST = 0.2  # seconds between questions to a page: each keeps four processes busy
_numbers = itertools.count()


@overload
async def until(
    condition: Callable[[], Awaitable[T | Literal[False] | None]], *, timeout: float = 30.0, why: str = ""
) -> T: ...
@overload
async def until(
    condition: Callable[[], T | Literal[False] | None], *, timeout: float = 30.0, why: str = ""
) -> T: ...
async def until(condition: Callable[[], Any], *, timeout: float = 30.0, why: str = "") -> Any:
    """Ask `condition`, a function or coroutine function, until it says something truthy, and return that.

    Playwright's `page.wait_for_function` uses the page's own timers, which a hidden page has once a second
    and a suspended one not at all; this uses the test's.

    Raises:
        TimeoutError: Nothing truthy within `timeout` seconds. The message has `why` and the last answer.
    """
    answer: Any = None
    interval = _INTERVAL
    try:
        async with asyncio.timeout(timeout):
            while True:
                answer = condition()
                if inspect.isawaitable(answer):
                    awaited, answer = answer, "no answer yet"
                    answer = await awaited
                    interval = min(interval * 1.3, _LONGEST)
                if answer:
                    return answer
                await asyncio.sleep(interval)
    except TimeoutError as error:
        raise TimeoutError(f"{why or condition}: not within {timeout} s, last was {answer!r}") from error


class Watch:
    """What a page has told so far."""

    def __init__(self) -> None:
        self.values: list[Any] = []  # all of them, oldest first
        self._read = 0
        self._told = asyncio.Event()

    async def next(
        self, matching: Callable[[Any], object] | None = None, *, timeout: float = 30.0, why: str = ""
    ) -> Any:
        """The first value that `next` has not yet passed and that is `matching`; others are passed over.

        Raises:
            TimeoutError: None came within `timeout` seconds. The message has `why` and what came instead.
        """
        start = self._read
        try:
            async with asyncio.timeout(timeout):
                while True:
                    while self._read < len(self.values):
                        value = self.values[self._read]
                        self._read += 1
                        if matching is None or matching(value):
                            return value
                    self._told.clear()
                    await self._told.wait()
        except TimeoutError as error:
            seen = self.values[start:]
            raise TimeoutError(f"{why or 'the next value'}: not within {timeout} s, seen {seen!r}") from error

    def _push(self, source: object, value: Any) -> None:
        self.values.append(value)
        self._told.set()


@asynccontextmanager
async def watch(page: Page, source: str, argument: object = None) -> AsyncIterator[Watch]:
    """Let `page` tell what it sees, as it sees it.

    Args:
        page: The page that looks, usually not the one that is suspended.
        source: A JavaScript function `(push, argument) => stop`: it calls `push(value)`, and may return a
            function that ends it.
        argument: Its second argument, anything that Playwright can pass.
    """
    seen = Watch()
    name = f"__durable_lite_watch_{next(_numbers)}"
    async with await page.expose_binding(name, seen._push):
        stop = await page.evaluate_handle(
            f"([name, argument]) => ({source})(window[name], argument)", [name, argument]
        )
        try:
            yield seen
        finally:
            with suppress(Error):  # the page may be gone
                await stop.evaluate("stop => { if (typeof stop === 'function') stop(); }")
