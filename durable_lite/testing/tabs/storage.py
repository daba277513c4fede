"""Takes away what a page has stored, or the room to store more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from playwright.async_api import CDPSession, Error, Page

from .errors import LeverFailed
from .pulse import answer

__all__ = ["discard_storage", "limit_quota"]

_MARK = "durable_lite.testing"
_PART = 1 << 26  # bytes
_PATIENCE = 20.0  # seconds: IndexedDB waits for a disk that others may keep busy

_PLANT = """name => new Promise((done, failed) => {
  localStorage.setItem(name, "");
  const opening = indexedDB.open(name);
  opening.onerror = () => failed(opening.error);
  opening.onsuccess = () => { opening.result.close(); done(); };
})"""

_FOUND = """async name => {
  const found = [];
  if (localStorage.getItem(name) !== null) found.push("localStorage");
  if ((await indexedDB.databases()).some(database => database.name === name)) found.push("IndexedDB");
  return found;
}"""

_UPROOT = "name => { localStorage.removeItem(name); indexedDB.deleteDatabase(name); }"

# What the transaction ends with: an error's name, or "" if it was committed. The database is deleted.
_WRITE = """([name, bytes, parts]) => new Promise((done, failed) => {
  const opening = indexedDB.open(name);
  opening.onupgradeneeded = () => opening.result.createObjectStore("store");
  opening.onerror = () => failed(opening.error);
  opening.onsuccess = () => {
    const database = opening.result;
    const end = outcome => {
      database.close();
      const deleting = indexedDB.deleteDatabase(name);
      deleting.onsuccess = deleting.onerror = () => done(outcome);
    };
    const part = new Blob([new Uint8Array(bytes)]);
    const value = new Blob(Array(parts).fill(part));
    const transaction = database.transaction("store", "readwrite");
    transaction.oncomplete = () => end("");
    transaction.onabort = () => end(transaction.error?.name ?? "abort");
    try {
      transaction.objectStore("store").put(value, "key");
    } catch (error) {
      failed(error);
    }
  };
})"""


async def discard_storage(page: Page) -> None:
    """Clear all that the origin of `page` has stored, as a user can who clears the data of a site.

    IndexedDB, localStorage, caches, files, cookies and service workers are gone, and open IndexedDB
    connections close.

    Raises:
        LeverFailed: A mark that was put into IndexedDB and localStorage is still there.
    """
    origin = await _origin(page)
    await answer(page.evaluate(_PLANT, _MARK), "store a mark")
    session = await page.context.new_cdp_session(page)
    try:
        clear = {"origin": origin, "storageTypes": "all"}
        await answer(session.send("Storage.clearDataForOrigin", clear), "clear the origin's data")
    finally:
        await session.detach()
    if found := await answer(page.evaluate(_FOUND, _MARK), "is the mark still there?", timeout=_PATIENCE):
        await page.evaluate(_UPROOT, _MARK)
        raise LeverFailed(f"Asked to clear {origin}, but what was stored is still there: {', '.join(found)}")


@asynccontextmanager
async def limit_quota(page: Page, bytes: int) -> AsyncIterator[None]:
    """Let the origin of `page` store so many bytes, until the end.

    Then a large write to IndexedDB is aborted: the transaction's `abort` event comes with QuotaExceededError,
    and the request's `error` event does not. Chromium counts what is stored already, after compression. If it
    is more than `bytes`, each write fails, else some smaller ones may pass the limit.

    Raises:
        LeverFailed: A far too large write has no such end, or a small one has when the limit is lifted.
    """
    origin = await _origin(page)
    session = await page.context.new_cdp_session(page)  # the limit lasts as long as this
    try:
        room, _ = await _quota(session, origin)
        await session.send("Storage.overrideQuotaForOrigin", {"origin": origin, "quotaSize": max(bytes, 1)})
        _, overridden = await _quota(session, origin)
        if not overridden:
            raise LeverFailed(f"Chromium does not override the quota of {origin}")
        # For half a minute IndexedDB goes by what room there was. Only a write that would not have found room
        # then lets it ask anew; this one is made of references and fails before a byte is written.
        outcome = await _write(page, _PART, room // _PART + 1)
        if outcome != "QuotaExceededError":
            raise LeverFailed(
                f"{origin} may store {bytes} bytes, but a larger write had: {outcome or 'success'}"
            )
        yield
        await session.send("Storage.overrideQuotaForOrigin", {"origin": origin})
        if outcome := await _write(page, 1 << 20, 1):
            raise LeverFailed(f"The limit of {origin} was lifted, but a write still had: {outcome}")
    finally:
        with suppress(Error):  # the page may be gone
            await session.detach()


async def _quota(session: CDPSession, origin: str) -> tuple[int, bool]:
    """How many bytes the origin may store, and whether that is not Chromium's own choice."""
    told = await answer(session.send("Storage.getUsageAndQuota", {"origin": origin}), "what is the quota?")
    return int(told["quota"]), bool(told["overrideActive"])


async def _write(page: Page, size: int, parts: int) -> str:
    return str(await answer(page.evaluate(_WRITE, [_MARK, size, parts]), "try a write", timeout=_PATIENCE))


async def _origin(page: Page) -> str:
    origin = str(await answer(page.evaluate("origin"), "what is your origin?"))
    if origin == "null":
        raise LeverFailed(f"{page.url} has no origin that could store anything")
    return origin
