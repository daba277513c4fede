"""Leaves a page and comes back to it through the back/forward cache."""

from __future__ import annotations

from playwright.async_api import Error, Page

from .errors import LeverFailed
from .waiting import until

__all__ = ["come_back", "leave"]

_PATIENCE = 10.0  # seconds

_MARK = """() => {
  const mark = { persisted: null };
  window[Symbol.for("durable_lite.left")] = mark;
  addEventListener("pageshow", event => { mark.persisted = event.persisted; }, { once: true });
}"""

_FOUND = """() => {
  const mark = window[Symbol.for("durable_lite.left")];
  if (mark) return mark.persisted ? "restored" : "";
  const [navigation] = performance.getEntriesByType("navigation");
  return JSON.stringify(navigation?.notRestoredReasons ?? null);
}"""


async def leave(page: Page, url: str = "about:blank") -> None:
    """Navigate away: the page sees `pagehide` with `persisted`, then `freeze`, and waits in the bfcache.

    Raises:
        playwright.async_api.Error: `url` can't be reached.
    """
    await page.evaluate(_MARK)
    await page.goto(url)


async def come_back(page: Page) -> None:
    """Go back to the page that was left: it sees `resume`, then `pageshow` with `persisted`.

    Playwright no longer knows the workers of such a page, but they run.

    Raises:
        LeverFailed: It was loaded anew; the message has the browser's reasons.
    """
    # "load" has long happened to a page out of the cache: the default would wait for ever.
    await page.go_back(wait_until="commit", timeout=1000 * _PATIENCE)

    async def arrived() -> str:
        try:
            return str(await page.evaluate(_FOUND))
        except Error:  # between two documents
            return ""

    try:
        found = await until(arrived, timeout=_PATIENCE, why="the page that was left")
    except TimeoutError as error:
        raise LeverFailed(f"Went back to {page.url}, but saw no pageshow there") from error
    if found != "restored":
        raise LeverFailed(f"{page.url} did not come out of the bfcache but was loaded anew: {found}")
