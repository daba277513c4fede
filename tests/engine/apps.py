"""`app(store, jobs)`: a `Durable` in virtual time that can be killed as by SIGKILL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from durable_lite import Durable, Event
from durable_lite.job import Jobs
from durable_lite.ports import Store
from durable_lite.ports_system import InlineOffload
from durable_lite.testing import FaultyStore, SeededEntropy, VirtualClock

_ENOUGH_TURNS = 1000


class App(Durable):
    """A `Durable` as one process would hold it: its clock, what it told, and its sudden death.

    `store` is a `FaultyStore` around the real one, so a test can count, fail or hold back calls.
    """

    clock: VirtualClock
    store: FaultyStore

    def __init__(self, store: Store, jobs: Jobs, **options: Any) -> None:
        options.setdefault("clock", VirtualClock())
        options.setdefault("entropy", SeededEntropy(1))
        options.setdefault("offload", InlineOffload())
        super().__init__(FaultyStore(store), jobs, **options)
        self.told: list[Event] = []
        self.listen(self.told.append)
        self._before: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        self._before = asyncio.all_tasks()
        await super().start()

    async def outcome(self, job: Any, payload: Any = None, **options: Any) -> Any:
        """Trigger a run and return its result, letting virtual time pass as needed."""
        run = await self.trigger(job, payload, **options)
        return await self.clock.run(run.result())

    def kill(self) -> None:
        """The process dies here: nothing that it still does reaches the store.

        Every task that was started since this app was is cancelled, of whatever app: start the one
        that survives first.
        """
        self.store.die()

    async def buried(self) -> None:
        """`kill()`, and wait until none of the dead process' tasks is left."""
        self.kill()
        mine = {asyncio.current_task(), *self._before}
        for _ in range(_ENOUGH_TURNS):
            left = asyncio.all_tasks() - mine
            if not left:
                return
            for task in left:
                task.cancel()
            await asyncio.sleep(0)
        raise AssertionError(f"the dead left tasks behind: {left}")

    def heard(self, *types: str) -> list[Event]:
        """The live events of these types."""
        return [event for event in self.told if event.type in types]


@asynccontextmanager
async def app(store: Store, jobs: Jobs, **options: Any) -> AsyncIterator[App]:
    """A started `App` on an open store; closed at the end, unless it was killed."""
    durable = App(store, jobs, **options)
    await durable.start()
    try:
        yield durable
    finally:
        if durable.store.dead:
            await durable.buried()
        else:
            await durable.clock.run(durable.close())


async def types_of(durable: Durable, run_id: str) -> list[str]:
    """The types of a run's stored events, in order."""
    return [event.type for event in await durable.store.read_events(run_id, 0, 10_000)]
