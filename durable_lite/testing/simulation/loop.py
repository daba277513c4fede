"""An event loop in which many processes take turns: by chance, but the same turns for the same seed.

Time is simulated: it moves a little with every turn, and jumps to the next timer when nobody has anything
to do. A process is a `Lane`; whatever its tasks start belongs to it. One lane can stand still or die.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import sys
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVarTuple

__all__ = ["Deadlock", "Lane", "Livelock", "SimulatedLoop", "current_lane"]

Ts = TypeVarTuple("Ts")

_MOST = 8  # callbacks in one turn
_TURN = 0.0002  # seconds that one may take
_RESTLESS = 100_000  # turns without a rest

_lane: ContextVar[Lane | None] = ContextVar("lane", default=None)


class Deadlock(AssertionError):
    """Nothing will ever happen any more: no callback is ready, and no timer is set."""


class Livelock(AssertionError):
    """Something is done again and again, and no time passes."""


class _Call:
    """A callback, now or at some time; a handle that is lighter than asyncio's."""

    __slots__ = ("_when", "args", "callback", "context", "over")

    def __init__(self, callback: Any, args: Any, context: Context, when: float) -> None:
        self.callback, self.args, self.context, self._when, self.over = callback, args, context, when, False

    def cancel(self) -> None:
        self.over, self.callback, self.args = True, None, ()

    def cancelled(self) -> bool:
        return self.over

    def when(self) -> float:
        return self._when


class Lane:
    """One process as the loop sees it: what it is to do next."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[_Call] = deque()
        self.frozen = False
        self.context = copy_context()
        self.context.run(_lane.set, self)

    def __repr__(self) -> str:
        return f"<{self.name}>"


def current_lane() -> Lane | None:
    """Whose callback this is; None outside all lanes."""
    return _lane.get()


class SimulatedLoop(asyncio.BaseEventLoop):
    """Turns by `random`; without files, sockets, threads and signals."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self._moment, self._restless = 0.0, 0
        self._outside = Lane("outside")
        self._lanes = [self._outside]
        self._timers: list[tuple[float, int, _Call]] = []
        self._order = itertools.count()
        self._owners: weakref.WeakKeyDictionary[asyncio.Task[Any], Lane] = weakref.WeakKeyDictionary()

    def lane(self, name: str) -> Lane:
        lane = Lane(name)
        self._lanes.append(lane)
        return lane

    def start(self, lane: Lane, main: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `main` in a lane."""
        return lane.context.copy().run(self.create_task, main)

    def tasks(self, lane: Lane) -> list[asyncio.Task[Any]]:
        """What a lane has not ended, in the order of their names, which tell their age."""
        found = [task for task in asyncio.all_tasks(self) if self._owner(task) is lane]
        return sorted(found, key=lambda task: (len(task.get_name()), task.get_name()))

    def remove(self, lane: Lane) -> None:
        """It is no more; nothing of it is called again."""
        lane.frozen = True
        lane.ready.clear()
        self._lanes.remove(lane)

    def _owner(self, task: asyncio.Task[Any]) -> Lane | None:
        if sys.version_info >= (3, 12):
            return task.get_context().get(_lane)
        return self._owners.get(task)

    # What asyncio asks of a loop

    def time(self) -> float:
        return self._moment

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        if sys.version_info < (3, 12) and (lane := _lane.get()) is not None:
            self._owners[task] = lane
        return task

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> Any:
        if context is None:
            context = copy_context()
        call = _Call(callback, args, context, self._moment)
        (context.get(_lane) or self._outside).ready.append(call)
        return call

    call_soon_threadsafe = call_soon

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> Any:
        call = _Call(callback, args, context or copy_context(), when)
        heapq.heappush(self._timers, (when, next(self._order), call))
        return call

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> Any:
        return self.call_at(self._moment + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        lanes = [lane for lane in self._lanes if lane.ready and not lane.frozen]
        if not lanes:
            self._restless = 0
            self._wait()
            return
        self._restless += 1
        if self._restless > _RESTLESS:
            self._restless = 0  # what is left can be cancelled
            raise Livelock(f"{_RESTLESS:,} turns, and no end")
        lane = lanes[0] if len(lanes) == 1 else lanes[int(self._random.random() * len(lanes))]
        turns = 1 + int(self._random.random() * _MOST)
        self._moment += self._random.random() * _TURN
        if self._timers and self._timers[0][0] <= self._moment:
            self._fire()
        ready = lane.ready
        while ready and turns and not lane.frozen:
            call = ready.popleft()
            turns -= 1
            if call.over:
                continue
            try:
                call.context.run(call.callback, *call.args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # as asyncio does
                self.call_exception_handler({"message": f"in {call.callback}", "exception": error})

    def _wait(self) -> None:
        """Nobody has anything to do: time passes up to the next timer."""
        while self._timers and self._timers[0][2].over:
            heapq.heappop(self._timers)
        if not self._timers:
            raise Deadlock("nothing will ever happen any more")
        self._moment = max(self._moment, self._timers[0][0])
        self._fire()

    def _fire(self) -> None:
        timers, moment = self._timers, self._moment
        while timers and timers[0][0] <= moment:
            call = heapq.heappop(timers)[2]
            if not call.over:
                (call.context.get(_lane) or self._outside).ready.append(call)

    def _process_events(self, event_list: Any) -> None:
        pass

    def _write_to_self(self) -> None:
        pass
