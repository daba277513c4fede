"""Hides, shows, freezes and thaws a page, as the browser does to a tab in the background."""

from __future__ import annotations

import asyncio

from playwright.async_api import Error, Page

from .errors import LeverFailed
from .pulse import answer, frozen, running
from .waiting import until

__all__ = ["freeze", "hide", "show", "thaw"]

_PATIENCE = 5.0  # seconds for the browser to comply
_AFTER = 0.5  # seconds: a half of what Chromium's own policy leaves a hidden tab at least
_EMULATED = (
    "Playwright's focus emulation keeps each page visible in browsers that it launches and in contexts "
    "that it makes: use suspendable_browser() and its context"
)


async def hide(page: Page, behind: Page | None = None) -> None:
    """Bring another page to the front: `page` sees `visibilitychange`, and its timers go once a second.

    Args:
        page: The page to hide.
        behind: What comes to the front. Without it a blank page of the same context, opened if there is
            none: a frozen page would be thawed by this.

    Raises:
        LeverFailed: The page is still visible.
    """
    cover = behind or await _blank(page)
    await cover.bring_to_front()
    await _is("hidden", page)


async def show(page: Page) -> None:
    """Bring `page` to the front, which also thaws it.

    Raises:
        LeverFailed: It is not visible.
    """
    await page.bring_to_front()
    await _is("visible", page)


async def freeze(page: Page, behind: Page | None = None, *, after: float = _AFTER) -> None:
    """Hide `page` and freeze it with its dedicated workers: it sees `visibilitychange`, then `freeze`.

    From then on neither runs a line of code but what `evaluate` gives it. Shared workers go on.

    Args:
        page: The page to freeze.
        behind: As in `hide`.
        after: Seconds between the two. A browser, too, freezes no tab at the moment when it is hidden.

    Raises:
        LeverFailed: The page, or a worker of it, still runs.
    """
    await hide(page, behind)
    await asyncio.sleep(after)
    await _set(page, "frozen")
    left: list[str] = []

    async def stopped() -> bool:
        left[:] = await running(page)
        return not left

    try:
        await until(stopped, timeout=_PATIENCE)
    except TimeoutError as error:
        raise LeverFailed(f"Asked to freeze, but still running: {', '.join(left) or 'page'}") from error


async def thaw(page: Page, *, to_front: bool = True) -> None:
    """Let a frozen page run again: it sees `resume` and, if brought `to_front`, `visibilitychange`.

    Raises:
        LeverFailed: It still does not run.
    """
    await _set(page, "active")
    if to_front:
        await show(page)
    if await frozen(page):
        raise LeverFailed("Asked to thaw, but the page does not run")


async def _set(page: Page, state: str) -> None:
    session = await page.context.new_cdp_session(page)
    try:
        await answer(session.send("Page.setWebLifecycleState", {"state": state}), f"become {state}")
    except Error as error:
        raise LeverFailed(f"The browser does not let the page become {state}: {error}") from error
    finally:
        await session.detach()


async def _blank(page: Page) -> Page:
    for other in page.context.pages:
        if other is not page and other.url == "about:blank":
            return other
    try:
        return await page.context.new_page()
    except Error as error:  # a context made by browser.new_page()
        raise LeverFailed(f"{_EMULATED} ({error})") from error


async def _is(state: str, page: Page) -> None:
    async def arrived() -> bool:
        seen = await answer(page.evaluate("document.visibilityState"), "is the page visible?")
        return bool(seen == state)

    try:
        await until(arrived, timeout=_PATIENCE)
    except TimeoutError as error:
        why = _EMULATED if state == "hidden" else "another window may cover it"
        raise LeverFailed(f"The page did not become {state} in {_PATIENCE} s: {why}") from error
