"""A real Chromium whose tabs can be suspended, killed and opened again on the same profile."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Error, Playwright, async_playwright

from . import chromium
from .errors import LeverFailed
from .processes import alive_in_group
from .waiting import until

__all__ = ["SuspendableBrowser", "suspendable_browser"]

_PATIENCE = 30.0  # seconds to start, on a busy machine
_FAREWELL = 10.0  # seconds to end


class SuspendableBrowser:
    """Made by `suspendable_browser`. After `reopen` its context and pages are new ones."""

    def __init__(self, command: list[str], profile: Path) -> None:
        self.profile = profile
        self._playwright: Playwright | None = None
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._browser: Browser | None = None

    @property
    def context(self) -> BrowserContext:
        """Its default context, the only one without focus emulation: pages of others can't be hidden."""
        if self._browser is None or not self._browser.is_connected():
            raise RuntimeError("The browser is not running: reopen() starts it again")
        return self._browser.contexts[0]

    @property
    def pid(self) -> int:
        """The id of its main process and of its process group."""
        if self._process is None:
            raise RuntimeError("The browser is not running: reopen() starts it again")
        return self._process.pid

    async def kill(self) -> None:
        """Kill all of its processes (SIGKILL), as a system does that runs out of memory.

        The profile stays as it is: with what IndexedDB has committed, but Chromium writes localStorage
        seconds later than the page does.

        Raises:
            LeverFailed: One is still alive, or Playwright is still connected.
        """
        browser = self._browser
        await self._end(after=0)
        try:
            await until(lambda: not (browser and browser.is_connected()), timeout=_FAREWELL)
        except TimeoutError as error:
            raise LeverFailed("The browser was killed, but is still connected") from error

    async def reopen(self) -> BrowserContext:
        """Start it again on the same profile, without the pages it had; it is closed first if it runs.

        An origin includes the port: let the server of your pages keep it, else their storage is not found.

        Raises:
            RuntimeError: It did not start.
        """
        await self._close()
        return await self._connect(await self._start())

    async def _start(self) -> int:
        """Its debugging port."""
        self._process, port = await chromium.start(self._command, self.profile, timeout=_PATIENCE)
        return port

    async def _connect(self, port: int) -> BrowserContext:
        assert self._playwright
        self._browser = await self._playwright.chromium.connect_over_cdp(
            f"http://127.0.0.1:{port}", no_defaults=True, timeout=1000 * _PATIENCE
        )
        return self.context

    async def _close(self) -> None:
        """End it as a user does who quits: pages unload, and what was to be stored is stored."""
        browser, self._browser = self._browser, None
        if browser is not None:
            with suppress(Error, TimeoutError):  # it may have been killed, or be stopped
                async with asyncio.timeout(_FAREWELL):
                    session = await browser.new_browser_cdp_session()
                    await session.send("Browser.close")
            await browser.close()  # of itself it only disconnects
        await self._end(after=_FAREWELL)

    async def _end(self, *, after: float) -> None:
        """Wait so many seconds for its processes to end, and kill those that have not."""
        process, self._process = self._process, None
        if process is None:
            return
        # The last ones still write, and hold the locks of the profile's databases.
        with suppress(TimeoutError):
            await until(lambda: process.returncode is not None, timeout=after)
            await until(lambda: not alive_in_group(process.pid), timeout=after)
        with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of the dead
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        try:
            await until(lambda: not alive_in_group(process.pid), timeout=_FAREWELL)
        except TimeoutError as error:
            raise LeverFailed(f"Killed, but alive: {alive_in_group(process.pid)}") from error


@asynccontextmanager
async def suspendable_browser(
    profile: str | os.PathLike[str] | None = None,
    *,
    headless: bool = True,
    args: Sequence[str] = (),
    policy_freeze: bool = False,
) -> AsyncIterator[SuspendableBrowser]:
    """Start a Chromium without what makes Playwright's own deaf to suspension, and end it at the end.

    Which one: what DURABLE_LITE_CHROMIUM names, else `chromium`, `chromium-browser` or `google-chrome` on the
    PATH, else Playwright's own. On Linux it dies with the process that started it, however that dies.

    Args:
        profile: A folder that keeps what pages store. Without it a temporary one.
        headless: Without a window.
        args: More arguments for Chromium; several `--enable-features` are made one.
        policy_freeze: Let Chromium freeze each hidden tab by itself about a second later (its feature
            InfiniteTabsFreezing) unless it has a reason not to, such as a Web Lock held by the page's
            main thread: `hide`, then `until(lambda: frozen(page))`.

    Raises:
        FileNotFoundError: There is no Chromium.
        RuntimeError: It did not start.
    """
    with tempfile.TemporaryDirectory(prefix="durable-lite-", ignore_cleanup_errors=True) as temporary:
        folder = _made(profile or temporary)
        async with AsyncExitStack() as opened:
            playwright: Playwright | None = None
            try:
                binary = chromium.find()
            except FileNotFoundError:  # perhaps Playwright has one
                playwright = await opened.enter_async_context(async_playwright())
                binary = chromium.find(playwright.chromium.executable_path)
            command = chromium.command(
                binary, folder, headless=headless, args=args, policy_freeze=policy_freeze
            )
            browser = SuspendableBrowser(command, folder)
            starting = asyncio.ensure_future(browser._start())  # beside Playwright: each takes half a second
            try:
                browser._playwright = playwright or await opened.enter_async_context(async_playwright())
                await browser._connect(await starting)
                yield browser
            finally:
                starting.cancel()
                await asyncio.wait([starting])
                await browser._close()


def _made(folder: str | os.PathLike[str]) -> Path:
    path = Path(folder).resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path
