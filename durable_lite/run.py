"""`Run`: the handle on one run, wherever it executes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from . import codec
from .durations import count, seconds
from .errors import InvalidPayload, RunFailed
from .events import RunEvent
from .records import RunRow
from .status import FINAL, Status
from .step import Duration

if TYPE_CHECKING:
    from .job import Job

__all__ = ["Run", "RunPage", "RunSource"]

R = TypeVar("R")


class RunSource(Protocol):
    """Where a handle finds its run: `Durable`, or `RemoteDurable`."""

    jobs: dict[str, Job[Any, Any]]

    async def _existing(self, run_id: str) -> RunRow:
        """`RunNotFound`."""

    async def _ended(self, run_id: str, timeout: float | None) -> RunRow:
        """Once it has ended. `TimeoutError`, `RunNotFound`."""

    def _follow(self, run_id: str, after: int) -> AsyncIterator[RunEvent]:
        """Its stored events with `seq` > `after`, until it has ended."""


class Run(Generic[R]):
    """A run as it was when last looked at (`refresh` looks again), and ways to wait for it."""

    def __init__(self, app: RunSource, row: RunRow, disposition: str | None = None) -> None:
        self._app, self._row = app, row
        self.disposition = disposition  # of a trigger: "created" or "idempotent"

    @property
    def id(self) -> str:
        return self._row.id

    @property
    def job(self) -> str:
        return self._row.job

    @property
    def version(self) -> str | None:
        return self._row.version

    @property
    def status(self) -> Status:
        return Status(self._row.status)

    @property
    def finished(self) -> bool:
        return self._row.status in FINAL

    @property
    def attempt(self) -> int:
        return self._row.attempt

    @property
    def generation(self) -> int:
        return self._row.generation

    @property
    def parent_id(self) -> str | None:
        """The run that has started it."""
        return self._row.parent_id

    @property
    def queue(self) -> str:
        return self._row.queue

    @property
    def priority(self) -> int:
        return self._row.priority

    @property
    def created_at(self) -> float:
        return self._row.created_at

    @property
    def started_at(self) -> float | None:
        return self._row.started_at

    @property
    def finished_at(self) -> float | None:
        return self._row.finished_at

    @property
    def ready_at(self) -> float | None:
        """PENDING with a delay, or WAITING: when it goes on, seconds since the epoch."""
        return self._row.ready_at

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(json.loads(self._row.tags))

    @property
    def payload(self) -> Any:
        """As plain values; the job gets its own type."""
        return codec.as_data(self._row.payload)

    @property
    def output(self) -> Any:
        """Of a completed run, as plain values; `result()` restores the job's own type."""
        return None if self._row.output is None else codec.as_data(self._row.output)

    @property
    def error(self) -> dict[str, Any] | None:
        return None if self._row.error is None else json.loads(self._row.error)

    @property
    def progress(self) -> dict[str, Any] | None:
        """{current, total, message} as stored last."""
        return None if self._row.progress is None else json.loads(self._row.progress)

    @property
    def metadata(self) -> dict[str, Any]:
        stored = json.loads(self._row.metadata)
        return {name: codec.decode(json.dumps(value)) for name, value in stored.items()}

    def __repr__(self) -> str:
        return f"<Run {self.id} {self.job} {self.status}>"

    async def refresh(self) -> Run[R]:
        """Look again; returns itself. `RunNotFound` when it was deleted."""
        self._row = await self._app._existing(self.id)
        return self

    async def result(self, timeout: Duration = None) -> R:
        """The job's output, once it has ended; at once if it has. As plain values where the job isn't known.

        Raises `TimeoutError` after `timeout` (the run goes on), `RunFailed` if it ended without a
        result, `InvalidPayload` if its payload didn't fit, `RunNotFound` if it was deleted.
        """
        self._row = await self._app._ended(self.id, None if timeout is None else seconds(timeout, "timeout"))
        if self.status is Status.COMPLETED:
            job = self._app.jobs.get(self.job)
            text = self._row.output or "null"
            output: R = codec.as_data(text) if job is None else codec.decode(text, job.output)
            return output
        error = self.error or {}
        if self.status is Status.INVALID_PAYLOAD:
            raise InvalidPayload(self.job, [("$", error.get("message", "doesn't fit"))])
        raise RunFailed(self.id, self.status, error)

    async def events(self, after: int = 0) -> AsyncIterator[RunEvent]:
        """The stored events with `seq` > `after`, and then those to come, until the run ends.

        Gapless and in order: a reader that starts again after the last `seq` that it saw misses
        nothing and sees nothing twice. A failed run that is resumed goes on: read on from there.
        """
        async for event in self._app._follow(self.id, count(after, "after", minimum=0)):
            yield event


class RunPage(NamedTuple):
    """One page of a list of runs, newest first; `cursor` asks for the next, None: there is none.

    `searched`: how many runs a search has looked at so far; it goes no further than 10,000.
    """

    runs: list[Run[Any]]
    cursor: str | None
    searched: int | None = None
