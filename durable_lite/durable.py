"""`Durable`: what an application holds. Opens a store, runs a worker, triggers and steers runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, Unpack, overload

from . import codec, moving
from .codec import MAX_VALUE_BYTES
from .durations import count, flag, moment, optional_seconds, seconds
from .engine import Options, logger
from .errors import DurableError, InvalidOption, InvalidPayload, KeyReused, RunNotFound
from .ids import IdMaker
from .job import Job, Jobs, collect_jobs, find_job
from .listeners import Listener, Listeners
from .ports import Clock, Entropy, Offload, Store
from .ports_system import SystemClock, SystemEntropy, default_offload
from .records import Created, LogRow, NewRun, RunFilter, RunRow, StepRow
from .run import Run, RunPage
from .runlog import ENGINE
from .status import Status
from .step import Duration
from .trigger import TriggerOptions, new_run
from .worker import Worker

__all__ = ["Durable"]

P = TypeVar("P")
R = TypeVar("R")


class Durable:
    """Jobs on a store: `async with Durable("sqlite:durable.db", jobs=[jobs]) as app`.

    * `store`: `sqlite:durable.db`, `sqlite:///durable.db`, `memory:`, or a `Store`.
    * `jobs`: modules, `@job` functions, or lists of them.
    * `worker`: whether this process executes runs, at most `concurrency` at a time.
    * `durability`: `"strict"` (a checkpoint that returned survives power loss) or `"relaxed"` (it
      survives a killed process).
    * `strict`: the reuse of a key for something else raises `KeyReused` instead of a warning.
    * `environment`: text that every run triggered here carries, as `ctx.run.environment`.
    * `heartbeat_interval`, `stale_after`: how often a worker says that it is alive, and when a run
      whose worker doesn't is taken over.
    * `stop_timeout`: how long leaving `async with` waits for runs before it releases them.
    * `suspend_grace`: how long only waits must be in flight before a run is suspended.
    * `warm_runs`: how many suspended runs keep their coroutine, so that they go on without replay.
    * `max_value_bytes`: the most that one output or payload may take.
    * `always_replay`: for tests: every step is followed by a replay from the top.

    Every option is checked: `InvalidOption` names the wrong one.
    """

    def __init__(
        self,
        store: str | Store,
        jobs: Jobs = (),
        *,
        worker: bool = True,
        concurrency: int = 10,
        durability: str = "strict",
        strict: bool = False,
        environment: str | None = None,
        heartbeat_interval: Duration = "5s",
        stale_after: Duration = "30s",
        stop_timeout: Duration = "10s",
        suspend_grace: Duration = "50ms",
        warm_runs: int = 100,
        max_value_bytes: int = MAX_VALUE_BYTES,
        always_replay: bool = False,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        offload: Offload | None = None,
    ) -> None:
        self.jobs: dict[str, Job[Any, Any]] = collect_jobs(jobs)
        self.options = Options(
            heartbeat_interval=seconds(heartbeat_interval, "heartbeat_interval"),
            stale_after=seconds(stale_after, "stale_after"),
            stop_timeout=seconds(stop_timeout, "stop_timeout", allow_zero=True),
            suspend_grace=seconds(suspend_grace, "suspend_grace", allow_zero=True),
            warm_runs=0 if always_replay else count(warm_runs, "warm_runs", minimum=0),
            max_value_bytes=count(max_value_bytes, "max_value_bytes"),
            strict=flag(strict, "strict"),
            always_replay=flag(always_replay, "always_replay"),
        )
        if self.options.stale_after < 2 * self.options.heartbeat_interval:
            raise InvalidOption(
                "stale_after", "must be at least twice heartbeat_interval, so that a late beat does no harm"
            )
        if environment is not None and not isinstance(environment, str):
            raise InvalidOption("environment", f"expected a str, got {type(environment).__name__}")
        self.clock = clock or SystemClock()
        if isinstance(store, str):
            from .stores import open_url  # the core knows no store but this one function

            self.store = open_url(store, durability)
        elif isinstance(store, Store):
            self.store = store
        else:
            raise InvalidOption("store", f"expected a URL or a Store, got {store!r:.80}")
        self._owns_store = isinstance(store, str)
        self._entropy = entropy or SystemEntropy()
        self._concurrency = count(concurrency, "concurrency")
        self._offload = offload
        self._environment, self._executes = environment, flag(worker, "worker")
        self._new_id = IdMaker(self.clock, self._entropy)
        self._listeners = Listeners()
        self._worker: Worker | None = None
        self._open = False

    # Life

    async def __aenter__(self) -> Durable:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Open the store, and start the worker if there is to be one. Again is a no-op."""
        await self._open_store()
        if self._executes:
            await self._start_worker()

    async def stop(self, timeout: Duration = None) -> None:
        """Stop the worker: drain for `timeout` (default `stop_timeout`), then release the rest.

        `start` after it works.
        """
        limit = optional_seconds(timeout, "timeout", allow_zero=True)
        if self._worker is not None:
            worker, self._worker = self._worker, None
            await worker.stop(limit)
            if self._offload is None:
                worker.engine.offload.close()

    def pause(self, on: bool = True) -> None:
        """Claim no more runs, until `pause(False)`; what executes goes on. Off when a worker starts."""
        if self._worker is not None:
            self._worker.pause(on)

    def look(self) -> None:
        """Time may have passed unnoticed, say while a tab was frozen: beat and sweep now."""
        if self._worker is not None:
            self._worker.look()

    async def close(self) -> None:
        """`stop`, and let go of the store if this opened it."""
        if not self._open:
            return
        self._open = False
        await self.stop()
        await self._listeners.close()
        if self._owns_store:
            await self.store.close()

    async def run_until_idle(self, budget: Duration = None) -> float | None:
        """Execute what is claimable, then stop: for serverless functions and tests.

        Returns when nothing is left to do now, or in time before `budget` has passed; what still
        executes then is released and goes on next time. Returns the moment when the next waiting
        run is due (seconds since the epoch), or None.
        """
        limit = optional_seconds(budget, "budget")
        if self._worker is not None:
            raise DurableError("run_until_idle is for a Durable(worker=False) or a stopped one")
        await self._open_store()
        worker = await self._start_worker()
        try:
            if limit is None:
                await worker.idle()
            else:
                await worker.idle_within(limit - min(1.0, limit / 10))
        finally:
            await self.stop(0)
        return await self.store.next_due()

    async def _open_store(self) -> None:
        if not self._open:
            import asyncio

            self._listeners.loop = asyncio.get_running_loop()
            if self._owns_store:
                await self.store.open()
            self._open = True

    async def _start_worker(self) -> Worker:
        if self._worker is None:
            worker = Worker(
                f"w{self._new_id()}", self.store, self.jobs, self._concurrency, self.options, self.clock,
                self._entropy, self._offload or default_offload(self._concurrency), self._listeners,
            )  # fmt: skip
            await worker.start()
            self._worker = worker
        return self._worker

    @property
    def store_error(self) -> DurableError | None:
        """What is wrong with the store right now, as its worker sees it; None: nothing."""
        return None if self._worker is None else self._worker.engine.store_error

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Hear the live events of runs that execute here; returns a function that ends it.

        What a listener raises is logged and does no harm.
        """
        return self._listeners.add(listener)

    # Triggering

    @overload
    async def trigger(
        self, job: Job[P, R], payload: P | Mapping[str, Any] | None = None, **options: Unpack[TriggerOptions]
    ) -> Run[R]: ...
    @overload
    async def trigger(self, job: str, payload: Any = None, **options: Unpack[TriggerOptions]) -> Run[Any]: ...

    async def trigger(self, job: Any, payload: Any = None, **options: Unpack[TriggerOptions]) -> Run[Any]:
        """Store a new run of `job`, and return its handle; `run.disposition` says what happened.

        Options, all by name:

        * `idempotency_key`: text or a list of parts; while a run of this job with this key lives or
          has completed, that run is returned instead. `idempotency_ttl` (default `"30d"`) limits it.
        * `scope`: of the key; `"global"` is the only one outside a run.
        * `delay`: don't start before so long; `priority`: higher goes first (default 0).
        * `queue`, `max_duration`: instead of the job's. `deadline`: an aware `datetime` or seconds
          since the epoch; then the run is `TIMED_OUT`, whatever it was doing.
        * `tags`: a list of texts to find it by.

        Raises `InvalidPayload`, `InvalidOption`, `UnknownJob`, `NotSerializable`, `TooLarge`;
        nothing is stored then.
        """
        return (await self._create([self._new_run(job, payload, options)]))[0]

    async def trigger_many(
        self, job: Any, payloads: Iterable[Any], **options: Unpack[TriggerOptions]
    ) -> list[Run[Any]]:
        """One run for each payload, all or none. `InvalidPayload.index` says which one was bad."""
        new = []
        for index, payload in enumerate(payloads):
            try:
                new.append(self._new_run(job, payload, options))
            except InvalidPayload as error:
                raise InvalidPayload(error.job, error.problems, index) from None
        return await self._create(new)

    def _new_run(self, wanted: Any, payload: Any, options: Mapping[str, Any]) -> NewRun:
        job = find_job(self.jobs, wanted)
        text = job.payload.encode(job.payload.validate(payload), limit=self.options.max_value_bytes)
        return new_run(self._new_id(), self.clock.now(), job, text, options, self._environment)

    async def _create(self, new: list[NewRun]) -> list[Run[Any]]:
        created = await self._opened.create_runs(new)
        for wanted, outcome in zip(new, created, strict=True):
            self._notice_other_payload(wanted, outcome)
        return [Run(self, outcome.run, outcome.disposition) for outcome in created]

    def _notice_other_payload(self, wanted: NewRun, outcome: Created) -> None:
        if outcome.disposition == "idempotent" and outcome.run.payload != wanted.payload:
            message = f"run {outcome.run.id} has this idempotency key with another payload"
            if self.options.strict:
                raise KeyReused(message)
            logger.warning("%s; it is returned", message)

    # Runs

    async def get_run(self, run_id: str) -> Run[Any]:
        """The handle on a run. `RunNotFound`."""
        return Run(self, await self._existing(run_id))

    async def list_runs(
        self,
        *,
        status: str | Iterable[str] | None = None,
        job: Any = None,
        tag: str | None = None,
        created_after: Any = None,
        created_before: Any = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RunPage:
        """A page of runs, newest first, that match all that is given."""
        statuses = None
        if status is not None:
            wanted = [status] if isinstance(status, str) else list(status)
            if bad := [one for one in wanted if one not in Status.__members__]:
                raise InvalidOption("status", f"{bad[0]!r:.80} is none of {', '.join(Status)}")
            statuses = tuple(wanted)
        rows = await self._opened.list_runs(
            RunFilter(
                statuses,
                job.name if isinstance(job, Job) else job,
                tag,
                None if created_after is None else moment(created_after, "created_after"),
                None if created_before is None else moment(created_before, "created_before"),
                _parse_cursor(cursor),
                count(limit, "limit"),
            )
        )
        more = len(rows) == limit
        return RunPage(
            [Run(self, row) for row in rows], f"{rows[-1].created_at!r}:{rows[-1].id}" if more else None
        )

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

    async def cancel(self, run_id: str) -> Run[Any]:
        """Cancel a run that hasn't finished. `RunNotFound`; `Conflict` if it has."""
        row = await self._opened.cancel_run(run_id, self.clock.now())
        self.cancelled(run_id)
        return Run(self, row)

    def cancelled(self, run_id: str) -> None:
        """Somebody else cancelled this run in the store: stop it here now, not at the next heartbeat."""
        if self._worker is not None:
            self._worker.cancelled(run_id)

    async def resume(self, run_id: str) -> Run[Any]:
        """Go on with a FAILED, TIMED_OUT or CANCELLED run from its failed step, checkpoints kept.

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
                         environment=self._environment, tags=row.tags)  # fmt: skip
        trigger = json.dumps({"kind": "replay", "of": run_id})
        return (await self._create([new._replace(trigger=trigger, max_duration=row.max_duration)]))[0]

    async def export_run(self, run_id: str) -> str:
        """Make an unfinished run MOVED: from this document `import_run` goes on with it, in another store."""
        return await moving.export_run(self._opened, run_id, self.clock.now(), self._worker)

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

    @property
    def _opened(self) -> Store:
        if not self._open:
            raise DurableError(
                "this Durable isn't open: use `async with Durable(…) as app`, or `await app.start()`"
            )
        return self.store

    async def _existing(self, run_id: str) -> RunRow:
        row = await self._opened.get_run(run_id)
        if row is None:
            raise RunNotFound(run_id)
        return row


def _parse_cursor(cursor: str | None) -> tuple[float, str] | None:
    if cursor is None:
        return None
    created_at, _, run_id = cursor.partition(":") if isinstance(cursor, str) else ("", "", "")
    try:
        at = float(created_at)
    except ValueError:
        at, run_id = 0.0, ""
    if not run_id:
        raise InvalidOption("cursor", f"{cursor!r:.80} didn't come from list_runs")
    return at, run_id
