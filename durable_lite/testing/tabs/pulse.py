"""Tells whether a page and its workers run: each is to deliver a message to itself.

Timers prove nothing: a hidden page has them once a second. `evaluate` proves nothing: a frozen page answers.
A message is delivered at once when hidden, and not at all when frozen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from playwright.async_api import Error, JSHandle, Page, Worker

from .errors import LeverFailed

__all__ = ["answer", "frozen", "running"]

T = TypeVar("T")
_SILENCE = 0.4  # seconds without a delivery, to be called silent; a hidden page on a busy machine takes 0.05
_LOOKS = 8  # at least that often in that time: each look is a task of the page that came after the message
_PATIENCE = 5.0  # seconds for an answer

_PULSE = """() => {
  const channel = new MessageChannel();
  const pulse = { delivered: false };
  channel.port1.onmessage = () => { pulse.delivered = true; channel.port1.close(); };
  channel.port2.postMessage(null);
  return pulse;
}"""


async def answer(asked: Awaitable[T], what: str, *, timeout: float | None = None) -> T:
    """What the browser answers.

    Raises:
        LeverFailed: It does not answer within `timeout` seconds, else 5.
    """
    timeout = timeout or _PATIENCE
    try:
        return await asyncio.wait_for(asked, timeout)
    except TimeoutError as error:
        raise LeverFailed(f"No answer in {timeout} s to: {what}") from error


async def frozen(page: Page) -> bool:
    """Whether neither `page` nor one of its dedicated workers runs: true or false in less than half a second.

    Workers that Playwright does not know of aren't asked: those of a page that came back from the bfcache.

    Raises:
        LeverFailed: The page does not answer. A stopped process is not a frozen page.
    """
    return not await running(page)


async def running(page: Page) -> list[str]:
    """Who runs in `page`: "page", and the addresses of its dedicated workers. Empty if it is frozen."""
    page_pulse = await answer(page.evaluate_handle(_PULSE), "does the page run?")
    pulses: dict[str, JSHandle] = {"page": page_pulse}
    for worker in page.workers:
        if pulse := await _pulse_of(worker):
            pulses[f"worker {worker.url}"] = pulse
    found: list[str] = []
    loop = asyncio.get_running_loop()
    end, looks = loop.time() + _SILENCE, 0
    while pulses and (loop.time() < end or looks < _LOOKS):
        looks += 1
        for name, pulse in list(pulses.items()):
            delivered = await _delivered(pulse, name)
            if delivered is not False:
                del pulses[name]
            if delivered:
                found.append(name)
        await asyncio.sleep(_SILENCE / _LOOKS / 2)
    return found


async def _pulse_of(worker: Worker) -> JSHandle | None:
    # One that computes without end doesn't answer, nor does it deliver; one that has just ended neither.
    with suppress(TimeoutError, Error):
        return await asyncio.wait_for(worker.evaluate_handle(_PULSE), 1.0)
    return None


async def _delivered(pulse: JSHandle, name: str) -> bool | None:
    """None: no answer, and there will be none from a worker that was stopped in mid-line meanwhile."""
    looked = pulse.evaluate("pulse => pulse.delivered")
    if name == "page":
        return bool(await answer(looked, "does the page run?"))
    with suppress(TimeoutError, Error):
        return bool(await asyncio.wait_for(looked, 1.0))
    return None
