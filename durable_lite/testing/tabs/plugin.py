"""A pytest plugin: fixtures that hand out the functions which start a browser whose tabs can be suspended.

`pytest_plugins = ["durable_lite.testing.tabs.plugin"]` in your `conftest.py`. They are functions and not
browsers, so that each lives in the event loop of the test that starts it, whoever runs that loop.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext

from .browser import SuspendableBrowser
from .browser import suspendable_browser as start

__all__ = ["suspendable_browser", "suspendable_context"]


@pytest.fixture
def suspendable_browser(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[SuspendableBrowser]]:
    """The function `durable_lite.testing.tabs.suspendable_browser`, with new profiles below `tmp_path`."""
    numbers = itertools.count()

    def open_browser(**options: Any) -> AbstractAsyncContextManager[SuspendableBrowser]:
        return start(**{"profile": tmp_path / f"chromium-{next(numbers)}"} | options)

    return open_browser


@pytest.fixture
def suspendable_context(
    suspendable_browser: Callable[..., AbstractAsyncContextManager[SuspendableBrowser]],
) -> Callable[..., AbstractAsyncContextManager[BrowserContext]]:
    """The same for tests that need no more than a context: `async with suspendable_context() as it`."""

    @asynccontextmanager
    async def open_context(**options: Any) -> AsyncIterator[BrowserContext]:
        async with suspendable_browser(**options) as browser:
            yield browser.context

    return open_context
