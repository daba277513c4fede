"""What the executions of one worker share: the ports, the options, awake time, a patient store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .awake import AwakeClock
from .connections import Connections
from .eager import EagerTasks
from .errors import StoreError
from .events import EventType, RunEvent
from .ids import IdMaker
from .job import Job
from .listeners import Listeners, logger
from .ports import Clock, Entropy, Offload, Store

if TYPE_CHECKING:
    from .execution import Execution
    from .fetching import Fetch

__all__ = ["Engine", "Options", "logger", "resolve"]

T = TypeVar("T")
_BACKOFF_FIRST, _BACKOFF_LAST = 0.05, 5.0


def resolve(future: asyncio.Future[None]) -> None:
    """Let whoever awaits it go on."""
    if not future.done():
        future.set_result(None)


class Options(NamedTuple):
    """The engine's options, in seconds and bytes; `Durable` documents and checks them."""

    heartbeat_interval: float = 5.0
    stale_after: float = 30.0
    stop_timeout: float = 10.0
    suspend_grace: float = 0.05
    warm_runs: int = 100
    max_value_bytes: int = 4 * 1024 * 1024
    strict: bool = False
    always_replay: bool = False
    retain: float | None = None
    environment: str | None = None
    known_versions: bool = False
    schedules: bool = True


class Engine:
    """One per worker. Knows jobs, but no run; `listeners` hear live events."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        entropy: Entropy,
        offload: Offload,
        options: Options,
        listeners: Listeners,
        sweep: Callable[[], Awaitable[None]],
        jobs: dict[str, Job[Any, Any]],
        connections: Connections,
        send: Fetch,
    ) -> None:
        self.store, self.clock, self.entropy, self.offload = store, clock, entropy, offload
        self.options, self.listeners, self.sweep, self.jobs = options, listeners, sweep, jobs
        self.connections, self.send = connections, send
        self.new_id = IdMaker(clock, entropy)
        self.heard = listeners.__len__  # falsy: nobody listens, so nothing need be told
        self.strict, self.max_value_bytes = options.strict, options.max_value_bytes
        self.stale_after = options.stale_after
        self.tasks = EagerTasks()
        self.awake = AwakeClock(clock, 2 * options.heartbeat_interval)
        self.ticked_at = clock.monotonic()  # when the worker's beat last ran
        self.abandoned = False  # the worker is gone: nothing is written any more
        self.store_error: StoreError | None = None
        self.failing: set[object] = set()  # what is tried again and again: the store is down until it works
        self.slot_freed: Callable[[], None] = lambda: None
        self._orphans: dict[tuple[str, str], asyncio.Future[Any]] = {}

    # The store

    async def persist(
        self,
        call: Callable[[], Awaitable[T]],
        wanted: Callable[[], bool] = lambda: True,
        trying: object = None,
    ) -> T | None:
        """`call` a verb, with back-off while the store is down; None once it isn't `wanted` any more.

        `trying` is what has failed already, as `store_down` knows it.
        """
        delay, trying = _BACKOFF_FIRST, trying or object()
        try:
            while True:
                try:
                    result = await call()
                except StoreError as error:
                    self.store_down(error, trying)
                    if self.abandoned or not wanted():
                        return None
                    await self.clock.sleep(delay * (0.5 + self.entropy.uniform() / 2))
                    delay = min(_BACKOFF_LAST, 2 * delay)
                    if self.abandoned or not wanted():
                        return None
                else:
                    self.store_works(trying)
                    return result
        finally:
            self.failing.discard(trying)

    def store_down(self, error: StoreError, what: object = None) -> None:
        """Say so once, not at every try. `what` will be tried again."""
        if what is not None:
            self.failing.add(what)
        if self.store_error is None:
            self.publish_now(None, EventType.STORE_DOWN, {"message": str(error)})
            logger.warning("the store is down: %s", error)
        self.store_error = error

    def store_works(self, what: object) -> None:
        """`what` has gone through. The store is up again unless something else still doesn't."""
        self.failing.discard(what)
        if self.store_error is not None and not self.failing:
            self.store_error = None
            self.publish_now(None, EventType.STORE_UP, {})
            logger.warning("the store is up again")

    # Live events

    def publish_now(self, run_id: str | None, type: str, data: dict[str, Any]) -> None:
        if self.heard():
            self.listeners.publish(RunEvent(run_id, None, self.clock.now(), type, data))

    def notice_block(self, execution: Execution, path: str) -> None:
        """A step has finished: had it kept the event loop from running?"""
        gap = self.clock.monotonic() - self.ticked_at
        if gap > 2 * self.options.heartbeat_interval:
            self.report_block(execution, [path], gap)

    def report_block(self, execution: Execution, paths: list[str], gap: float) -> None:
        self.ticked_at = self.clock.monotonic()
        for path in paths:
            execution.tell(EventType.STEP_BLOCKED, {"path": path, "seconds": gap})
            execution.warn(
                f"step.blocked: the event loop didn't run for {gap:.1f} s while step {path!r} executed "
                "(a blocking call, or the machine was suspended)"
            )

    # Sync functions that nobody waits for any more

    @property
    def orphans(self) -> int:
        """Threads whose step was cancelled; each keeps its slot until it returns."""
        return len(self._orphans)

    def keep_orphan(self, key: tuple[str, str], future: asyncio.Future[Any]) -> None:
        def done(future: asyncio.Future[Any]) -> None:
            if self._orphans.get(key) is future:
                del self._orphans[key]
            if not future.cancelled():
                future.exception()  # seen, and of no interest
            self.slot_freed()

        self._orphans[key] = future
        future.add_done_callback(done)

    async def orphan_done(self, key: tuple[str, str]) -> None:
        """A step's next try waits for the thread of the last one."""
        while (future := self._orphans.get(key)) is not None:
            await asyncio.wait({future})

    async def until(self, event: asyncio.Event, seconds: float) -> None:
        """Until the event is set, at most so long."""
        if event.is_set():
            return
        timer = self.clock.call_later(seconds, event.set)
        try:
            await event.wait()
        finally:
            timer.cancel()

    async def settled(self, tasks: Iterable[asyncio.Future[Any]], seconds: float) -> bool:
        """Wait until all are done, at most so long; whether they are."""
        waiting = {task for task in tasks if not task.done()}
        if not waiting:
            return True
        over = asyncio.get_running_loop().create_future()
        timer = self.clock.call_later(seconds, partial(resolve, over))
        try:
            while waiting and not over.done():
                done, _ = await asyncio.wait({*waiting, over}, return_when=asyncio.FIRST_COMPLETED)
                waiting -= done
        finally:
            timer.cancel()
            over.cancel()
        return not waiting
