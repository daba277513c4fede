"""A simulated process: a `Durable` in a lane of its own, with its own clocks. It can stand still or die."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, NamedTuple, TypeVar

from ...durable import Durable
from ...job import Jobs
from ...ports import Clock, Store, Timer
from ...ports_system import InlineOffload
from ...records import Change
from ...store import VERBS
from ..entropy import SeededEntropy
from ..faults import Dead
from .loop import SimulatedLoop
from .weather import Weather

__all__ = ["EPOCH", "Process", "SimulatedClock"]

T = TypeVar("T")
EPOCH = 1_750_000_000.0


class SimulatedClock(Clock):
    """The loop's time; what the wall shows is ahead of it by `skew` seconds, or behind."""

    def __init__(self, loop: SimulatedLoop, skew: float) -> None:
        self._loop, self.skew = loop, skew

    def now(self) -> float:
        return EPOCH + self._loop.time() + self.skew

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        timer: Timer = self._loop.call_later(seconds, callback)
        return timer


class Called(NamedTuple):
    """A verb that the store has carried out."""

    process: Process
    verb: str
    arguments: tuple[Any, ...]
    result: Any


class Process:
    """One life of one worker, or of a client that executes nothing."""

    def __init__(
        self, name: str, loop: SimulatedLoop, store: Store, weather: Weather, random: Random,
        carried_out: Callable[[Called], None], jobs: Callable[[Process], Jobs], skew: float, **options: Any,
    ) -> None:  # fmt: skip
        self.name, self.loop, self.lane = name, loop, loop.lane(name)
        self.clock = SimulatedClock(loop, skew)
        self.dead = False
        self.store = _Line(self, store, weather, random, carried_out)  # type: ignore[abstract]  # generated
        self.app = Durable(
            self.store, jobs(self), clock=self.clock, entropy=SeededEntropy(random.getrandbits(32)),
            offload=InlineOffload(), **options,
        )  # fmt: skip

    def __repr__(self) -> str:
        return self.name

    async def do(self, main: Coroutine[Any, Any, T]) -> T:
        """Run something in this process."""
        result: T = await self.loop.start(self.lane, main)
        return result

    def freeze(self, on: bool) -> None:
        self.lane.frozen = on

    async def kill(self) -> None:
        """Nothing that it does any more is seen by anybody."""
        self.dead = True
        self.store.hang_up()
        self.lane.frozen = False
        while left := self.loop.tasks(self.lane):
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=0.1)
        self.loop.remove(self.lane)


class _Line(Store):
    """A process's way to the store: it takes time, is busy now and then, and loses an answer."""

    def __init__(
        self, process: Process, inner: Store, weather: Weather, random: Random,
        carried_out: Callable[[Called], None],
    ) -> None:  # fmt: skip
        super().__init__()
        self._process, self._inner, self._weather, self._random = process, inner, weather, random
        self._carried_out, self._turn = carried_out, asyncio.Lock()
        self.url, self.announces_all = "simulated:", weather.announces_all
        self._unlisten = inner.listen(self._told)

    def hang_up(self) -> None:
        self._unlisten()

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def _told(self, change: Change) -> None:
        loop, context = self._process.loop, self._process.lane.context
        for delay in self._weather.hints(self._random):
            if delay:
                loop.call_later(delay, self._hear, change, context=context)
            else:
                loop.call_soon(self._hear, change, context=context)

    def _hear(self, change: Change) -> None:
        if not self._process.dead:
            self.announce(change)

    async def _call(self, verb: str, arguments: tuple[Any, ...]) -> Any:
        process, weather, random = self._process, self._weather, self._random
        async with self._turn:  # the writes of a run are applied in the order of their calls
            if wait := weather.way(random):
                await asyncio.sleep(wait)
            if process.dead:
                raise Dead
            weather.refuse(random, verb)
            result = await getattr(self._inner, verb)(*arguments)
            self._carried_out(Called(process, verb, arguments, result))
        if wait := weather.way(random):
            await asyncio.sleep(wait)
        if process.dead:
            raise Dead
        weather.lose(random, verb)
        return result


def _verb(name: str) -> Any:
    async def call(self: _Line, *arguments: Any) -> Any:
        return await self._call(name, arguments)

    call.__name__ = name
    return call


for _name in VERBS:
    setattr(_Line, _name, _verb(_name))
_Line.__abstractmethods__ = frozenset()
