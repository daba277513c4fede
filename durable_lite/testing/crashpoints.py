"""The crash-point runner: a scenario with K store calls, run 2K times, dying before and after each.

After the death a new process (as far as the store can tell) repeats the scenario on the same store.
It must come to the same outcome, and no step may execute again once its result was stored.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any, NamedTuple

from ..durable import Durable
from ..events import EventType, RunEvent
from ..job import Jobs
from ..ports import Store
from ..ports_system import InlineOffload
from ..records import StepRow
from ..stores.memory import MemoryStore
from .clock import VirtualClock
from .entropy import SeededEntropy
from .faults import Dead, FaultyStore

__all__ = ["CrashPointFailure", "CrashReport", "World", "crash_points"]

# Seconds. A loop of timers below 4 ms, which Pyodide doesn't wait for, leaves Chromium's IndexedDB no turn.
_LOOK = 0.005 if sys.platform == "emscripten" else 0.0005

Scenario = Callable[["World"], Awaitable[Any]]
Wrong = Callable[[], BaseException]


class CrashPointFailure(AssertionError):
    """The scenario came to another outcome, or did stored work again, after dying at a certain call."""


class CrashReport(NamedTuple):
    """What was run: store calls without a crash, crashes tried, and the outcome they all came to."""

    calls: int
    crashes: int
    outcome: Any


class World:
    """One life of one process: its clock, and `durable(…)` on the store that may die under it."""

    def __init__(
        self, store: Store, clock: VirtualClock, seed: int, ledger: Ledger, always_replay: bool
    ) -> None:
        self.clock = clock
        self._store = FaultyStore(store)  # type: ignore[abstract]  # its verbs are generated
        self._seed, self._ledger = seed, ledger
        self._always_replay = always_replay
        self._store.before, self._store.after = self._before, self._after
        self._die_at: tuple[int, str] | None = None
        self._life: asyncio.Future[Any] | None = None
        self.died: str | None = None

    def durable(self, jobs: Jobs, **options: Any) -> Durable:
        """A `Durable` of this life, to be used with `async with`."""
        options.setdefault("always_replay", self._always_replay)
        app = Durable(
            self._store, jobs, clock=self.clock, entropy=SeededEntropy(self._seed),
            offload=InlineOffload(), **options,
        )  # fmt: skip
        app.listen(self._ledger.hear)
        return app

    def _before(self, number: int, verb: str, args: Any) -> None:
        if self._die_at == (number, "before"):
            self._die(f"before call {number}, {verb}")

    def _after(self, number: int, verb: str, args: Any, result: Any) -> None:
        if verb == "save_step" and result is None:
            self._ledger.stored(args[2])
        if self._die_at == (number, "after"):
            self._die(f"after call {number}, {verb}")

    def _die(self, where: str) -> None:
        self.died = where
        self._store.die()
        if self._life is not None:
            self._life.cancel()  # or it would let time pass for a dead process
        raise Dead


class Ledger:
    """Which results the store has, and which steps were executed in spite of that."""

    def __init__(self) -> None:
        self._stored: set[tuple[str, str]] = set()
        self.executed: dict[tuple[str, str], int] = {}
        self.again: list[str] = []

    def stored(self, step: StepRow) -> None:
        if step.state == "completed":
            self._stored.add((step.run_id, step.path))

    def hear(self, event: RunEvent) -> None:
        if event.type == EventType.STEP_STARTED and event.run_id is not None:
            key = (event.run_id, event.data["path"])
            self.executed[key] = self.executed.get(key, 0) + 1
            if key in self._stored:
                self.again.append(event.data["path"])


async def crash_points(
    scenario: Scenario,
    *,
    store: Callable[[], Store] = MemoryStore,
    stale_after: str = "30s",
    always_replay: bool = False,
    seed: int = 0,
) -> CrashReport:
    """Run `scenario(world)` once, and then 2K times, dying before and after each of its K store calls.

    `store` makes an empty store. The scenario is repeated after a death, so it triggers with an
    idempotency key, and returns what must be the same in the end. Raises `CrashPointFailure`.
    """
    async with _opened(store()) as opened:
        world, ledger, outcome = await _live(scenario, opened, VirtualClock(), seed, always_replay, None)
        calls = world._store.calls
    crashes = 0
    for point in _points(calls):
        async with _opened(store()) as opened:
            clock = VirtualClock()
            world, ledger, result = await _live(scenario, opened, clock, seed, always_replay, point)
            if world.died is not None:
                crashes += 1
                await clock.jump(stale_after)
                _, ledger, result = await _live(
                    scenario, opened, clock, seed + 1, always_replay, None, ledger
                )
            where = world.died or "without a crash"
            if result != outcome:
                raise CrashPointFailure(f"died {where}: the outcome is {result!r}, not {outcome!r}")
            if ledger.again:
                raise CrashPointFailure(f"died {where}: executed again though stored: {ledger.again}")
    return CrashReport(calls, crashes, outcome)


def _points(calls: int) -> Iterator[tuple[int, str]]:
    for number in range(1, calls + 1):
        yield number, "before"
        yield number, "after"


async def _live(
    scenario: Scenario,
    store: Store,
    clock: VirtualClock,
    seed: int,
    always_replay: bool,
    die_at: tuple[int, str] | None,
    ledger: Ledger | None = None,
) -> tuple[World, Ledger, Any]:
    """One life, to its end or its death. A dead process leaves no task behind."""
    ledger = ledger or Ledger()
    world = World(store, clock, seed, ledger, always_replay)
    world._die_at = die_at
    before = asyncio.all_tasks()
    world._life = life = asyncio.ensure_future(scenario(world))
    while not life.done() and world.died is None:
        await asyncio.wait({life}, timeout=_LOOK)
    if world.died is None:
        return world, ledger, life.result()
    while left := asyncio.all_tasks() - before:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_LOOK)
    with suppress(BaseException):
        life.result()
    return world, ledger, None


class _opened(AsyncExitStack):
    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    async def __aenter__(self) -> Store:  # type: ignore[override]  # not itself
        await self._store.open()
        self.push_async_callback(self._store.close)
        return self._store
