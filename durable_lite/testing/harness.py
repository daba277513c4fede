"""A harness for tests of jobs: runs go on as far as a test lets them, their worker freezes or dies on cue."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Self, TypeVar, Unpack

from .. import codec
from ..durable import Durable
from ..errors import InvalidPayload, RunFailed, TokenNotFound
from ..job import Job, Jobs
from ..ports import Store
from ..ports_system import InlineOffload
from ..records import TokenRow
from ..run import Run
from ..status import FINAL, Status
from ..step import Duration
from ..stores.memory import MemoryStore
from ..trigger import TriggerOptions
from .clock import VirtualClock
from .entropy import SeededEntropy
from .faults import FaultyStore
from .owner import TaskOwner

__all__ = ["Harness", "Snapshot"]

I = TypeVar("I")  # noqa: E741  an item
R = TypeVar("R")
_STILL = (*FINAL, Status.WAITING)


class Snapshot(NamedTuple):
    """One step of a run: completed with a value, or failed, retrying or waiting."""

    state: str
    value: Any = None


class Harness:
    """`async with Harness([job]) as harness`: a worker in virtual time, on a store in memory.

    Time stands still but for `advance`, `freeze` and what `result` waits for; steps, sync ones too, run on
    the event loop of the test. `harness.app` is a `Durable` without a worker, for all that isn't here.
    `options` are those of `Durable`; `store` is an open one to use instead.
    """

    def __init__(self, jobs: Jobs, *, store: Store | None = None, **options: Any) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore() if store is None else store
        self._jobs, self._options, self._seeds = jobs, options, itertools.count()
        self.app = self._durable(self.store, worker=False)
        self._live()

    def _durable(self, store: Store, **more: Any) -> Durable:
        return Durable(
            store, self._jobs, clock=self.clock, entropy=SeededEntropy(next(self._seeds)),
            offload=InlineOffload(), **(self._options | more),
        )  # fmt: skip

    def _live(self) -> None:
        """The next life of the worker's process."""
        self._line = FaultyStore(self.store)  # type: ignore[abstract]  # its verbs are generated
        self._owner, self._worker = TaskOwner(), self._durable(self._line)
        self._worker.connections = self.app.connections
        self.app.connections.changed = self._worker.look  # nobody works in `app`

    async def __aenter__(self) -> Self:
        await self.app.start()
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.clock.run(self._worker.close())
        await self.app.close()

    async def _start(self) -> None:
        with self._owner.owning():
            await self._worker.start()

    # Runs

    async def trigger(
        self, job: Job[I, R], payload: I | Mapping[str, Any] | None = None, **options: Unpack[TriggerOptions]
    ) -> Run[R]:
        """As `Durable.trigger`."""
        return await self.app.trigger(job, payload, **options)

    async def to_next_wait(self, run: Run[Any]) -> Status:
        """Let a run go on until it is suspended, or has ended; returns its status.

        As little time passes as that takes.
        """
        await self.clock.run(self._still(run))
        return run.status

    async def _still(self, run: Run[Any]) -> None:
        while (await run.refresh()).status not in _STILL:
            await self.clock.sleep(0.01)

    async def result(self, run: Run[R]) -> R:
        """What a run returns, letting time pass as needed. Raises what `Run.result` raises."""
        return await self.clock.run(run.result())

    async def ended(self, run: Run[Any]) -> Run[Any]:
        """A run once it has ended, however it did."""
        with suppress(RunFailed, InvalidPayload):
            await self.result(run)
        return await run.refresh()

    async def steps(self, run: Run[Any]) -> dict[str, Snapshot]:
        """A run's steps and waits by their paths, in the order in which they were stored."""
        return {
            row.path: Snapshot(row.state, None if row.output is None else codec.as_data(row.output))
            for row in await self.app.steps(run.id)
        }

    # Tokens

    async def token(self, run: Run[Any], key: str) -> TokenRow:
        """A run's token, by the path at which it was made. `TokenNotFound`."""
        for token in (await self.app.list_tokens(run=run.id, limit=1000)).tokens:
            if token.path == key:
                return token
        raise TokenNotFound(key)

    async def complete_token(self, run: Run[Any], key: str, value: Any = None) -> None:
        """Complete the token that a run has made at this path."""
        await self.app.complete_token((await self.token(run, key)).id, value)

    async def fail_token(self, run: Run[Any], key: str, message: str) -> None:
        """Let the run get `TokenFailed` with this message."""
        await self.app.fail_token((await self.token(run, key)).id, message)

    # Time, and what befalls a worker

    async def advance(self, duration: Duration) -> None:
        """Let so much time pass, timer by timer, as on a machine that is awake."""
        await self.clock.advance(duration)

    async def freeze(self, duration: Duration) -> None:
        """The worker stands still for so long, as a frozen tab or a sleeping laptop does, and goes on.

        After less than `stale_after` nothing has happened; after more, its runs are `STALE`, and go on
        from their last checkpoints.
        """
        await self.clock.jump(duration)

    async def crash(self) -> None:
        """The worker dies as by SIGKILL, and another starts on the same store.

        It takes over what the dead one held once `stale_after` has passed.
        """
        self._line.die()
        await self._owner.end()
        self._live()
        await self._start()
