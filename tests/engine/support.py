"""Several processes on one store, each of which can be killed, seen through their store calls."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from durable_lite import Run
from durable_lite.ports import Store
from durable_lite.testing import SeededEntropy, VirtualClock
from durable_lite.testing.owner import TaskOwner
from tests.engine.apps import App

__all__ = ["Process", "forever", "pass_time", "status", "story", "warnings"]

Hook = Callable[[str, Any], None]

_seeds = itertools.count(1000)


class Process(App):
    """`async with Process(store, clock, job, …) as process`: one of several on the same store.

    `verbs` lists the store calls that it made. `before(verb, args)` and `after(verb, args)` see each
    call and may raise. `buried()` ends the tasks of this process and no others.

    `freeze()` is for a process with a clock that others don't share: `thaw()` moves it.
    """

    def __init__(self, store: Store, clock: VirtualClock, *jobs: Any, **options: Any) -> None:
        options.setdefault("entropy", SeededEntropy(next(_seeds)))
        super().__init__(store, list(jobs), clock=clock, **options)
        self.verbs: list[str] = []
        self.before: Hook = lambda verb, args: None
        self.after: Hook = lambda verb, args: None
        self.store.before, self.store.after = self._call_begins, self._call_ends
        self._owner = TaskOwner()

    async def __aexit__(self, *_: object) -> None:
        if self.store.dead:
            await self.buried()
        else:
            await self.clock.run(self.close())

    async def start(self) -> None:
        with self._owner.owning():
            await super().start()

    def freeze(self) -> None:
        """Nothing of the world reaches this process; with a clock of its own, it stands still."""
        self.store._unlisten()

    async def thaw(self, seconds: float) -> None:
        """Wake up so much later."""
        self.store._unlisten = self.store.inner.listen(self.store._pass_on)
        await self.clock.jump(seconds)

    async def buried(self) -> None:
        """`kill()`, and wait until none of this process' tasks is left."""
        self.kill()
        await self._owner.end()

    def _call_begins(self, number: int, verb: str, args: Any) -> None:
        self.verbs.append(verb)
        self.before(verb, args)

    def _call_ends(self, number: int, verb: str, args: Any, result: Any) -> None:
        self.after(verb, args)


async def story(store: Store, run: Run[Any]) -> list[str]:
    """The types of a run's stored events, in order; their numbers have no gap."""
    events = await store.read_events(run.id, 0, 100_000)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return [str(event.type) for event in events]


async def status(store: Store, run: Run[Any]) -> str:
    """A run's status as stored."""
    row = await store.get_run(run.id)
    assert row is not None
    return str(row.status)


async def warnings(process: App, run: Run[Any]) -> list[str]:
    """The warnings in a run's log, as stored."""
    return [row.message for row in await process.logs(run.id) if row.level == "warning"]


def pass_time(clock: VirtualClock, seconds: float) -> None:
    """Keep the event loop from running for so long, as a call that blocks does; then timers are due."""
    clock._move(seconds)
    asyncio.get_running_loop().call_soon(clock._fire)


async def forever(*_: Any) -> None:
    """A step that ends only when it is cancelled."""
    await asyncio.get_running_loop().create_future()
