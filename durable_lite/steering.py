"""What an application does with runs from outside: find them, read them, end them, go on with them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, NamedTuple

from . import codec, keys, listing, moving
from .durations import count, name_of, seconds
from .engine import Options
from .errors import DurableError, InvalidOption
from .events import RunEvent
from .following import ended, existing, follow, stored_events
from .forks import forked
from .ids import IdMaker
from .job import Job, find_job
from .listing import cursor_after, parse_cursor, run_filter
from .ports import Clock, Store
from .records import (
    LogRow,
    NewRun,
    QueueState,
    RunRow,
    ScheduleRow,
    Sent,
    StepRow,
    TokenFilter,
    TokenRow,
)
from .run import Run, RunPage
from .runlog import ENGINE
from .sending import send
from .step import Duration
from .timeline import timeline
from .worker import Worker

__all__ = ["Steering", "TokenPage"]


class Steering:
    """The part of `Durable` that needs no job function."""

    jobs: dict[str, Job[Any, Any]]
    store: Store
    clock: Clock
    options: Options
    _executes: bool
    _new_id: IdMaker
    _worker: Worker | None
    _open: bool

    def _new_run(self, wanted: Any, payload: Any, options: Mapping[str, Any]) -> NewRun:
        raise NotImplementedError

    async def _create(self, new: list[NewRun]) -> list[Run[Any]]:
        raise NotImplementedError

    # Runs

    async def get_run(self, run_id: str) -> Run[Any]:
        """The handle on a run. `RunNotFound`."""
        return Run(self, await self._existing(run_id))

    async def list_runs(
        self,
        *,
        status: str | Iterable[str] | None = None,
        job: Any = None,
        tag: str | Iterable[str] | None = None,
        search: str | None = None,
        created_after: Any = None,
        created_before: Any = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RunPage:
        """A page of runs, newest first, that match all that is given; of several tags all.

        `search`: text in the run's id, its tags or its payload, whatever the case, looked for among the
        newest 10,000 runs that match the rest. `cursor`: that of the page before.
        """
        wanted = run_filter(
            status=status, job=job, tag=tag, created_after=created_after, created_before=created_before,
            limit=limit, cursor=cursor,
        )  # fmt: skip
        found = await listing.list_runs(self._opened, wanted, search)
        return RunPage([Run(self, row) for row in found.rows], found.cursor, found.searched)

    async def steps(self, run_id: str) -> list[StepRow]:
        """A run's steps and waits as stored: finished ones in order, then the others."""
        await self._existing(run_id)
        return await self.store.load_steps(run_id)

    async def logs(self, run_id: str) -> list[LogRow]:
        """A run's log by attempt and time; the engine's own lines have the path ""."""
        await self._existing(run_id)
        return [
            row._replace(path="") if row.path == ENGINE else row for row in await self.store.read_logs(run_id)
        ]

    async def timeline(self, run_id: str) -> dict[str, Any]:
        """What a run was and did until now: `{"from", "to", "spans", "steps", "marks"}`, plain JSON.

        Spans follow on one another: pending, queued, executing, waiting, and gaps, in which it was executed
        by nobody. Moments are seconds since the epoch. `RunNotFound`.
        """
        row = await existing(self._opened, run_id)
        steps, events = await self.store.load_steps(run_id), await stored_events(self.store, run_id)
        return timeline(row, steps, events, self.clock.now())

    async def cancel(self, run_id: str) -> Run[Any]:
        """Cancel a run that hasn't finished. `RunNotFound`; `Conflict` if it has."""
        return Run(self, await self._opened.cancel_run(run_id, self.clock.now()))

    async def resume(self, run_id: str) -> Run[Any]:
        """Go on with a FAILED, TIMED_OUT, CANCELLED or UNRESOLVED_AUTH run, its checkpoints kept.

        The budget of attempts starts anew. `RunNotFound`; `Conflict` in any other status, or when
        another run has its idempotency key by now.
        """
        return Run(self, await self._opened.resume_run(run_id, self.clock.now()))

    async def replay(self, run_id: str, payload: Any = None) -> Run[Any]:
        """A new run of the same job, with the same payload unless another is given; no checkpoints.

        A `Durable(worker=False)` needs not know the job.
        """
        row = await self._existing(run_id)
        if row.job in self.jobs or self._executes:
            job = find_job(self.jobs, row.job)
            given = job.payload.decode(row.payload) if payload is None else payload
            options = {"queue": row.queue, "priority": row.priority, "tags": json.loads(row.tags)}
            new = self._new_run(job, given, options)
        else:  # this only steers, and has no need to know the job: the claim checks the payload
            now = self.clock.now()
            text = row.payload if payload is None else codec.encode(payload, key="payload")
            new = NewRun(self._new_id(), row.job, row.version, row.queue, row.priority, now, now, text,
                         environment=self.options.environment, tags=row.tags)  # fmt: skip
        trigger = json.dumps({"kind": "replay", "of": run_id})
        new = new._replace(
            trigger=trigger, max_duration=row.max_duration, concurrency_key=row.concurrency_key
        )
        return (await self._create([new]))[0]

    async def fork(self, run_id: str, from_step: str) -> Run[Any]:
        """A new run with the same payload, and the checkpoints that were stored before this step's.

        `from_step` is the path of a step; it and what comes after it is done anew. `RunNotFound`;
        `InvalidOption` if the run has no such step.
        """
        row = await self._existing(run_id)
        new_id, now = self._new_id(), self.clock.now()
        if not isinstance(from_step, str):
            raise InvalidOption("from_step", f"expected the path of a step, got {from_step!r:.80}")
        steps = forked(await self.store.load_steps(run_id), from_step, new_id)
        trigger = json.dumps({"kind": "fork", "of": run_id, "step": from_step})
        new = NewRun(
            new_id, row.job, row.version, row.queue, row.priority, now, now, row.payload, row.max_duration,
            trigger=trigger, environment=self.options.environment, tags=row.tags,
            concurrency_key=row.concurrency_key,
        )  # fmt: skip
        created = await self._opened.fork_run(new, steps)
        return Run(self, created.run, created.disposition)

    async def export_run(self, run_id: str) -> str:
        """Make an unfinished run MOVED: from this document `import_run` goes on with it, in another store.

        Its concurrency key, `ttl` and debounce stay behind. `RunNotFound`; `Conflict` if it has finished,
        waits for children, or is a child that an unfinished run waits for.
        """
        return await moving.export_run(self._opened, run_id, self.clock.now())

    async def import_run(self, document: str) -> Run[Any]:
        """Go on here with a run from elsewhere. `InvalidDocument`, `TooLarge`; `Conflict` if it is here."""
        moved = moving.read(document, self.options.max_value_bytes)
        return Run(self, await self._opened.import_run(moved, self.clock.now()))

    async def delete(self, run_id: str) -> None:
        """Remove a finished run with all it has. `RunNotFound`; `Conflict` if it isn't finished."""
        await self._opened.delete_run(run_id)

    async def purge(self, *, older_than: Duration, limit: int = 1000) -> int:
        """Remove at most `limit` runs that finished longer ago than `older_than`; returns how many."""
        before = self.clock.now() - seconds(older_than, "older_than", allow_zero=True)
        return await self._opened.purge(before, count(limit, "limit"))

    # Events

    async def send_event(self, name: str, payload: Any = None, *, id: str | None = None) -> Sent:
        """Start the jobs that are `on` such an event, and wake the runs that wait for one.

        All at once, and once for an `id` (of 30 days): sent again with it, nothing happens, and
        `fresh` is False in the answer, which tells the runs that were started. The payload is plain data.
        """
        event_id, name = (
            self._new_id() if id is None else keys.event_id(id),
            name_of(name, "name of an event"),
        )
        text = codec.encode(payload, key=f"event {name}", limit=self.options.max_value_bytes)
        return await send(
            self._opened, event_id, name, text, self.clock.now(), self._new_id, self.options.environment
        )

    async def receive_webhook(self, name: str, headers: Mapping[str, str], body: bytes) -> Sent:
        """Take a delivery: start the jobs that are on this webhook, and wake runs that wait for the event
        `webhook.<name>` (its payload: id, webhook, headers, and `data`, the body read as JSON).

        Once for its id, as `send_event`. `body` is as it came, byte by byte. Raises `UnknownWebhook`,
        `InvalidSignature`, `InvalidDelivery`, `TooLarge`; nothing is stored then.
        """
        from .webhooks import receive

        return await receive(
            self._opened, self.jobs.values(), name, headers, body, self.clock.now(), self._new_id,
            self.options.environment, self.options.max_value_bytes,
        )  # fmt: skip

    # Queues

    async def list_queues(self) -> list[QueueState]:
        """The queues with limits, or that are or were paused: their limits, and how many runs are there."""
        return await self._opened.list_queues()

    async def pause_queue(self, name: str) -> None:
        """Let no run of this queue start, nor go on after a wait; what executes goes on."""
        await self._opened.pause_queue(name_of(name, "queue"), True, self.clock.now())

    async def resume_queue(self, name: str) -> None:
        """Let them go on."""
        await self._opened.pause_queue(name_of(name, "queue"), False, self.clock.now())

    # Schedules

    async def list_schedules(self) -> list[ScheduleRow]:
        """The schedules of all jobs that workers have told of, with when each ticks next."""
        from .timetable import first

        rows = await self._opened.list_schedules()
        return [row._replace(next_at=first(row.spec, row.next_at)) for row in rows]

    async def pause_schedule(self, job: str, name: str | None = None) -> list[ScheduleRow]:
        """Start no runs by a schedule of this job, or by any of its, until it is resumed.

        Raises `InvalidOption` if there is none.
        """
        return await self._pause_schedules(job, name, True)

    async def resume_schedule(self, job: str, name: str | None = None) -> list[ScheduleRow]:
        """Let it go on from now: what it would have started meanwhile isn't made up for."""
        return await self._pause_schedules(job, name, False)

    async def delete_schedules(self, job: str) -> None:
        """Forget the schedules of a job that isn't there any more.

        A worker that knows the job tells of them again when it starts.
        """
        await self._opened.set_schedules([name_of(job, "job")], [])

    async def _pause_schedules(self, job: str, name: str | None, paused: bool) -> list[ScheduleRow]:
        rows = await self._opened.list_schedules()
        found = [row for row in rows if row.job == job and name in (None, row.name)]
        if not found:
            known = ", ".join(f"{row.job}: {row.name}" for row in rows) or "none"
            raise InvalidOption("schedule", f"job {job!r:.80} has no such schedule (there are: {known:.500})")
        for row in found:
            await self._opened.pause_schedule(row.job, row.name, paused, self.clock.now())
        keys = [(row.job, row.name) for row in found]
        return [row for row in await self.list_schedules() if (row.job, row.name) in keys]

    # Tokens

    async def complete_token(self, token_id: str, value: Any = None) -> TokenRow:
        """Keep the promise of a token with plain data; again is a no-op, the first value counts.

        Raises `TokenNotFound`, and `Conflict` once it has expired or its run has ended.
        """
        text = codec.encode(value, key=f"token {token_id}", limit=self.options.max_value_bytes)
        return await self._opened.finish_token(token_id, "completed", text, None, self.clock.now())

    async def fail_token(self, token_id: str, message: str) -> TokenRow:
        """Let whoever waits for the token get `TokenFailed` with this message. Raises as `complete_token`."""
        if not isinstance(message, str):
            raise InvalidOption("message", f"expected a str, got {type(message).__name__}")
        error = json.dumps({"type": "TokenFailed", "message": message[:2000]})
        return await self._opened.finish_token(token_id, "failed", None, error, self.clock.now())

    async def list_tokens(
        self, *, state: str | None = None, run: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> TokenPage:
        """A page of tokens, newest first: "pending", "completed", "failed" or "expired" ones, or all."""
        if state not in (None, "pending", "completed", "failed", "expired"):
            raise InvalidOption("state", f"{state!r:.80} is none of pending, completed, failed, expired")
        rows = await self._opened.list_tokens(
            TokenFilter(state, run, parse_cursor(cursor, "list_tokens"), count(limit, "limit"))
        )
        return TokenPage(rows, cursor_after(rows, limit))

    @property
    def _opened(self) -> Store:
        if not self._open:
            raise DurableError(
                "this Durable isn't open: use `async with Durable(…) as app`, or `await app.start()`"
            )
        return self.store

    async def _existing(self, run_id: str) -> RunRow:
        return await existing(self._opened, run_id)

    async def _ended(self, run_id: str, timeout: float | None) -> RunRow:
        poll = self.options.heartbeat_interval
        return await ended(self._opened, self.clock, poll, run_id, timeout)

    def _follow(self, run_id: str, after: int) -> AsyncIterator[RunEvent]:
        return follow(self._opened, self.clock, self.options.heartbeat_interval, run_id, after)


class TokenPage(NamedTuple):
    """One page of a list of tokens, newest first; `cursor` asks for the next, None: there is none."""

    tokens: list[TokenRow]
    cursor: str | None
