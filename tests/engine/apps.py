"""`app(store, jobs)`: a `Durable` in virtual time that can be killed as by SIGKILL."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

from durable_lite import Durable, InvalidPayload, Run, RunEvent, RunFailed
from durable_lite.job import Jobs
from durable_lite.ports import Store
from durable_lite.ports_system import InlineOffload
from durable_lite.testing import FaultyStore, SeededEntropy, VirtualClock
from durable_lite.testing.faults import Dead

__all__ = ["App", "Tally", "app", "no_failed_asserts", "types_of"]

# `ALWAYS_REPLAY=1 pytest tests/engine`: every step of every test is followed by a replay from the top.
ALWAYS_REPLAY = os.environ.get("ALWAYS_REPLAY") == "1"

_ENOUGH_TURNS, _ENOUGH_CALLS = 1000, 20_000
_apps: WeakKeyDictionary[VirtualClock, int] = WeakKeyDictionary()  # how many live by a clock


class App(Durable):
    """A `Durable` as one process would hold it: its clock, what it told, and its sudden death.

    `store` is a `FaultyStore` around the real one, so a test can count, fail or hold back calls.
    """

    clock: VirtualClock
    store: FaultyStore

    def __init__(self, store: Store, jobs: Jobs, **options: Any) -> None:
        clock = options.setdefault("clock", VirtualClock())
        _apps[clock] = _apps.get(clock, 0) + 1  # two processes never draw the same ids
        options.setdefault("entropy", SeededEntropy(_apps[clock]))
        options.setdefault("offload", InlineOffload())
        options.setdefault("always_replay", ALWAYS_REPLAY)
        super().__init__(FaultyStore(store), jobs, **options)
        self.told: list[RunEvent] = []
        self.listen(self.told.append)
        self.died = asyncio.Event()
        self._before: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        self._before = asyncio.all_tasks()
        await super().start()

    async def outcome(self, job: Any, payload: Any = None, **options: Any) -> Any:
        """Trigger a run and return its result, letting virtual time pass as needed."""
        return await self.result(await self.trigger(job, payload, **options))

    async def result(self, run: Run[Any] | str) -> Any:
        """The result of a run, letting virtual time pass as needed."""
        handle = await self.get_run(run if isinstance(run, str) else run.id)
        return await self._in_time(handle.result())

    async def finished(self, run: Run[Any] | str) -> Run[Any]:
        """A run once it has ended, however it did."""
        handle = await self.get_run(run if isinstance(run, str) else run.id)
        with contextlib.suppress(RunFailed, InvalidPayload):
            await self._in_time(handle.result())
        return await handle.refresh()

    async def _in_time(self, awaitable: Coroutine[Any, Any, Any]) -> Any:
        """Await something, unless it goes round and round: virtual time alone would never end it."""
        task, most = asyncio.ensure_future(awaitable), self.store.calls + _ENOUGH_CALLS

        def look() -> None:
            nonlocal timer
            timer = self.clock.call_later(600, look)
            if self.store.calls > most:
                task.cancel()

        timer = self.clock.call_later(600, look)
        try:
            return await self.clock.run(task)
        except asyncio.CancelledError:
            raise AssertionError(f"not done after {_ENOUGH_CALLS} store calls") from None
        finally:
            timer.cancel()

    def heard(self, *types: str) -> list[RunEvent]:
        """The live events of these types."""
        return [event for event in self.told if event.type in types]

    # Death

    def die_at(self, verb: str, path: str | None = None, *, when: str = "after", nth: int = 1) -> None:
        """Kill the process before or after its n-th call of a store verb, for the step at `path`."""
        left = nth

        def hook(number: int, name: str, args: Any, *result: Any) -> None:
            nonlocal left
            if name == verb and (path is None or args[2].path == path):
                left -= 1
                if left == 0:
                    self.kill()
                    raise Dead

        setattr(self.store, when, hook)

    def kill(self) -> None:
        """The process dies here: nothing that it still does reaches the store."""
        self.store.die()
        self.died.set()

    async def buried(self) -> None:
        """`kill()`, and wait until none of the dead process' tasks is left.

        Every task that began since this app did is cancelled, whoever began it: start first what
        is to live on.
        """
        self.kill()
        keep = {asyncio.current_task(), *self._before}
        for _ in range(_ENOUGH_TURNS):
            left = asyncio.all_tasks() - keep
            if not left:
                return
            for task in left:
                task.cancel()
            await asyncio.sleep(0)
        raise AssertionError(f"the dead left tasks behind: {left}")


@asynccontextmanager
async def app(store: Store, jobs: Jobs, **options: Any) -> AsyncIterator[App]:
    """A started `App` on an open store; closed at the end, unless it was killed."""
    durable = App(store, jobs, **options)
    await durable.start()
    try:
        yield durable
        if not durable.store.dead:
            await no_failed_asserts(durable)
    finally:
        if durable.store.dead:
            await durable.buried()
        else:
            await durable.clock.run(durable.close())


async def no_failed_asserts(durable: Durable) -> None:
    """Raise what was asserted inside a job or a step; a retry may have hidden it."""
    for run in (await durable.list_runs(limit=1000)).runs:
        for event in await durable.store.read_events(run.id, 0, 10_000):
            error = event.data.get("error") or {}
            if error.get("type") in ("AssertionError", "Failed"):  # `assert`, `pytest.raises`
                raise AssertionError(f"in {run.job}: {error['message']}")


class Tally(Counter[str]):
    """Counts how often each step function was executed."""

    def step(self, name: str, result: Any = None) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A step function that counts itself and returns `result` (by default its name)."""

        async def counted(*args: Any) -> Any:
            self[name] += 1
            return name if result is None else result

        return counted


async def types_of(durable: Durable, run_id: str) -> list[str]:
    """The types of a run's stored events, in order."""
    return [event.type for event in await durable.store.read_events(run_id, 0, 10_000)]
