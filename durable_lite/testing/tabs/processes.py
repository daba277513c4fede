"""Stops and kills the process that renders a page: a laptop that sleeps, a renderer that crashes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import CDPSession, Error, Page

from .errors import LeverFailed
from .pulse import answer
from .waiting import until

__all__ = ["crash", "kill_renderer", "machine_asleep", "renderer_pid", "sleep_machine"]

_SPIN = 0.2  # seconds
_ROUNDS = 3
_SILENCE = 0.3  # seconds without an answer
_BUSY = 2.0  # seconds for a page that can answer, on a machine that does much else
_PATIENCE = 10.0  # seconds

_TRIES = 10

# Whether a transaction on all of each database of the origin gets its turn at once.
_WRITES = """async () => {
  const done = request => new Promise((resolve, reject) => {
    request.onsuccess = request.oncomplete = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const writes = async () => {
    for (const { name } of await indexedDB.databases()) {
      const database = await done(indexedDB.open(name));
      const stores = [...database.objectStoreNames];
      if (stores.length) await done(database.transaction(stores, "readwrite"));
      database.close();
    }
    return true;
  };
  return Promise.race([writes(), new Promise(resolve => setTimeout(resolve, 1000, false))]);
}"""
_COMPUTE = "seconds => { const end = performance.now() + 1000 * seconds; while (performance.now() < end); }"


async def sleep_machine(page: Page, seconds: float) -> None:
    """Stop the process of `page` for so many seconds, as `machine_asleep` does."""
    async with machine_asleep(page):
        await asyncio.sleep(seconds)


@asynccontextmanager
async def machine_asleep(page: Page) -> AsyncIterator[None]:
    """Stop the process of `page` (SIGSTOP) and let it continue (SIGCONT) at the end.

    As on a laptop whose lid was closed, nothing tells the page: no event, locks stay as they are, and the
    clock has moved on when it wakes up. Other pages of the same site can share the process and stop as
    well. Until it wakes up nothing that asks the page returns. Linux only.

    A machine that sleeps stops the browser, too, with all its timers. Here the browser goes on, and lets
    other pages wait for a minute for a transaction that the stopped page has open: so it is stopped at a
    moment when it keeps no other page of its origin from writing.

    Raises:
        LeverFailed: The process can't be told, does not stop, or does not continue.
    """
    pid = await renderer_pid(page)
    for _ in range(_TRIES):
        async with _asleep(page, pid):
            if free := not await _keeps_others_waiting(page):
                yield
        if free:
            return
        await asyncio.sleep(_SPIN)
    raise LeverFailed(f"Process {pid} has a transaction open whenever it is stopped")


@asynccontextmanager
async def _asleep(page: Page, pid: int) -> AsyncIterator[None]:
    with _stopped(pid):
        waiting = asyncio.ensure_future(page.evaluate("0"))
        try:
            await _stays_silent(waiting, pid)
            yield
        except BaseException:
            await _abandon(waiting)
            raise
    await asyncio.wait([waiting], timeout=_PATIENCE)
    if not waiting.done():
        await _abandon(waiting)
        raise LeverFailed(f"Process {pid} was continued, but its page does not answer")
    await _abandon(waiting)  # it may have failed, if the page was closed or killed in its sleep


async def _keeps_others_waiting(page: Page) -> bool:
    """Whether another page of this origin can't write to a database; if there is none, nobody waits."""
    origin = urlsplit(page.url)[:2]
    for other in page.context.pages:
        if other is not page and urlsplit(other.url)[:2] == origin:
            with suppress(LeverFailed, Error):  # it shares the process, or has crashed
                await answer(other.evaluate("0"), "answer", timeout=_BUSY)
                writes: bool = await answer(other.evaluate(_WRITES), "write to a database", timeout=_PATIENCE)
                return not writes
    return False


async def crash(page: Page) -> None:
    """Let the page's renderer crash by its own fault. Playwright can't use the page again: open another.

    Raises:
        LeverFailed: It did not crash.
    """
    crashed = asyncio.Event()
    page.once("crash", lambda _: crashed.set())
    session = await page.context.new_cdp_session(page)
    asked = asyncio.ensure_future(session.send("Page.crash"))  # never answered: there is nobody left
    try:
        await _seen(crashed, "crash")
    finally:
        await _abandon(asked)


async def kill_renderer(page: Page) -> None:
    """Kill the process of `page` (SIGKILL), as a system short of memory does. Linux only.

    Raises:
        LeverFailed: The process can't be told, or did not die.
    """
    pid = await renderer_pid(page)
    crashed = asyncio.Event()
    page.once("crash", lambda _: crashed.set())
    with _stopped(pid):
        waiting = asyncio.ensure_future(page.evaluate("0"))
        try:
            await _stays_silent(waiting, pid)  # that it is the right one must be known before
            os.kill(pid, signal.SIGKILL)
            await _seen(crashed, "kill")
        finally:
            await _abandon(waiting)


async def renderer_pid(page: Page) -> int:
    """The id of the process that renders `page`: the one without which the page does not answer.

    Those that compute while the page does are stopped first, each for a moment.

    Raises:
        LeverFailed: There is none, as the page does not answer anyway; or this is not Linux.
    """
    if sys.platform != "linux":
        raise LeverFailed(
            f"This lever needs Linux, where /proc tells what a process does, not {sys.platform}"
        )
    browser = page.context.browser
    if browser is None:
        raise LeverFailed("The page's context does not know its browser: use suspendable_browser()")
    session = await browser.new_browser_cdp_session()
    try:
        for _ in range(_ROUNDS):
            start = await _renderers(session)
            await answer(page.evaluate(_COMPUTE, _SPIN), "compute for a moment", timeout=_PATIENCE)
            spun = {pid: time - start.get(pid, 0.0) for pid, time in (await _renderers(session)).items()}
            for pid in sorted(spun, key=lambda pid: spun[pid], reverse=True):
                if await _needs(page, pid):
                    await asyncio.sleep(_SPIN)  # it has things to catch up on, transactions among them
                    return pid
    finally:
        await session.detach()
    raise LeverFailed(f"Can't tell which process renders the page: it answers without each of {sorted(spun)}")


async def _needs(page: Page, pid: int) -> bool:
    """Whether the page answers at once, but not while this process is stopped."""
    try:
        await answer(page.evaluate("0"), "answer", timeout=_SILENCE)
        with _stopped(pid):
            waiting = asyncio.ensure_future(page.evaluate("0"))
            try:
                await _stays_silent(waiting, pid)
            except LeverFailed:
                await _abandon(waiting)
                return False
        await asyncio.wait([waiting], timeout=_PATIENCE)
        await _abandon(waiting)
    except (LeverFailed, FileNotFoundError, ProcessLookupError):
        return False  # the page is busy, or the process has ended
    return True


async def _renderers(session: CDPSession) -> dict[int, float]:
    """Seconds of CPU time of each renderer."""
    told = await answer(session.send("SystemInfo.getProcessInfo"), "list your processes")
    return {
        process["id"]: process["cpuTime"] for process in told["processInfo"] if process["type"] == "renderer"
    }


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    if b"--type=renderer" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        raise LeverFailed(f"Process {pid} is no renderer: the browser must run on this machine")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def _stays_silent(waiting: asyncio.Future[Any], pid: int) -> None:
    try:
        await until(lambda: state(pid) == "T", timeout=_PATIENCE)
    except TimeoutError as error:
        raise LeverFailed(f"Process {pid} does not stop: its state is {state(pid)}") from error
    await asyncio.wait([waiting], timeout=_SILENCE)
    if waiting.done():
        raise LeverFailed(f"Process {pid} is stopped, but the page answers: it is not the page's")


async def _abandon(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not complain


async def _seen(crashed: asyncio.Event, lever: str) -> None:
    try:
        await asyncio.wait_for(crashed.wait(), _PATIENCE)
    except TimeoutError as error:
        raise LeverFailed(f"No sign of the renderer's end in {_PATIENCE} s after {lever}") from error


def state(pid: int) -> str | None:
    """The letter that Linux gives the process: T if stopped, Z if dead; None if there is none."""
    fields = _fields(pid)
    return fields[0] if fields else None


def alive_in_group(group: int) -> list[int]:
    """The processes of a process group that are not dead. Empty where there is no /proc."""
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [
        pid for pid in pids if (fields := _fields(pid)) and int(fields[2]) == group and fields[0] not in "ZX"
    ]


def _fields(pid: int) -> list[str]:
    """Of /proc/PID/stat: state, parent, group and what follows. The name before them may have spaces."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(") ")[2].split()
    return []
