"""The ports as the operating system, or the browser's Python, provides them."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from .ports import Clock, Entropy, Offload, Timer
from .ports_fetch import SystemFetch

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = [
    "InlineOffload",
    "SystemClock",
    "SystemEntropy",
    "SystemFetch",
    "ThreadOffload",
    "default_offload",
]

T = TypeVar("T")


class SystemClock(Clock):
    """The machine's clocks and the running event loop's timers."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, callback)


class SystemEntropy(Entropy):
    """The operating system's random numbers."""

    def uniform(self) -> float:
        return self.bits(53) / (1 << 53)

    def bits(self, count: int) -> int:
        size = (count + 7) // 8
        return int.from_bytes(os.urandom(size), "big") >> 8 * size - count


class ThreadOffload(Offload):
    """Sync functions in a pool of at most `width` threads."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._pool: ThreadPoolExecutor | None = None

    def submit(self, call: Callable[[], T]) -> asyncio.Future[T]:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(self._width, thread_name_prefix="durable-lite-step")
        context = contextvars.copy_context()
        return asyncio.get_running_loop().run_in_executor(self._pool, partial(context.run, _called, call))

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _called(call: Callable[[], T]) -> T:
    try:
        return call()
    except StopIteration as error:  # a future can't carry it
        raise RuntimeError(f"a step raised {error!r}") from error


class InlineOffload(Offload):
    """Sync functions on the event loop itself, where there are no threads."""

    def submit(self, call: Callable[[], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            future.set_result(_called(call))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        pass


def default_offload(width: int) -> Offload:
    """Threads where the platform has them."""
    return InlineOffload() if sys.platform == "emscripten" else ThreadOffload(width)
