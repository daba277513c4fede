"""A clock that only moves when told: a job that sleeps for 30 days is tested in milliseconds."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from ..durations import seconds
from ..engine import resolve
from ..ports import Clock, Timer
from ..step import Duration

__all__ = ["VirtualClock"]

T = TypeVar("T")
_QUIET_TURNS = 25  # of an event loop whose queue can't be seen


class _Timer:
    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callable[[], object]) -> None:
        self.due = due
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock(Clock):
    """Time stands still until `advance`, `jump` or `run` moves it.

    Give it to `Durable(clock=…)`. Threads and other real input aren't seen by it: it moves on while
    they work, except in `run`, which waits for them.
    """

    def __init__(self, start: float = 1_750_000_000.0) -> None:
        self._now = start
        self._monotonic = 0.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = itertools.count()
        self._activity = 0

    # The port

    def now(self) -> float:
        self._activity += 1
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, partial(resolve, future))
        try:
            await future
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        self._activity += 1
        timer = _Timer(self._monotonic + max(0.0, seconds), callback)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    # The levers

    async def advance(self, duration: Duration) -> None:
        """Let so much time pass, timer by timer, as it does on a machine that is awake."""
        await self.settle()
        end = self._monotonic + seconds(duration, "advance", allow_zero=True)
        while (due := self._next_due()) is not None and due <= end:
            self._move(due - self._monotonic)
            self._fire()
            await self.settle()
        self._move(end - self._monotonic)
        await self.settle()

    async def jump(self, duration: Duration, *, monotonic: bool = True) -> None:
        """Wake up so much later: nothing ran meanwhile, as in a frozen tab or a sleeping laptop.

        `monotonic=False`: that clock stood still too, as some do while a machine sleeps.
        """
        await self.settle()
        length = seconds(duration, "jump", allow_zero=True)
        self._now += length
        if monotonic:
            self._monotonic += length
        self._fire()
        await self.settle()

    def set_back(self, duration: Duration) -> None:
        """Set the wall clock back; monotonic time doesn't notice."""
        self._now -= seconds(duration, "set_back", allow_zero=True)

    async def run(self, awaitable: Awaitable[T]) -> T:
        """Await something, moving on to the next timer whenever nothing else happens."""
        task = asyncio.ensure_future(awaitable)
        try:
            while True:
                await self.settle()
                if task.done():
                    return task.result()
                due = self._next_due()
                if due is None:  # threads, files: only real time can help
                    await asyncio.wait({task}, timeout=0.01)
                else:
                    self._move(due - self._monotonic)
                    self._fire()
        finally:
            task.cancel()

    async def settle(self) -> None:
        """Return once nothing more can happen without time passing."""
        ready: Any = getattr(asyncio.get_running_loop(), "_ready", None)
        if ready is not None:
            await asyncio.sleep(0)
            while ready:  # noqa: ASYNC110  nothing signals an idle loop
                await asyncio.sleep(0)
            return
        quiet = 0
        while quiet < _QUIET_TURNS:
            before = self._activity
            await asyncio.sleep(0)
            quiet = quiet + 1 if self._activity == before else 0

    def _next_due(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _move(self, length: float) -> None:
        self._now += length
        self._monotonic += length

    def _fire(self) -> None:
        """Call what is due now, each once: what a callback starts anew isn't due yet."""
        due = []
        while (first := self._next_due()) is not None and first <= self._monotonic:
            due.append(heapq.heappop(self._timers)[2])
        for timer in due:
            if (callback := timer.callback) is not None:
                timer.callback = None
                callback()
