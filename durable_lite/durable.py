"""`Durable`: what an application holds. Opens a store, runs a worker, triggers and steers runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from .codec import MAX_VALUE_BYTES
from .connections import Connections
from .durations import count, flag, optional_seconds, seconds
from .engine import Options, logger
from .errors import DurableError, InvalidOption, InvalidPayload, KeyReused
from .ids import IdMaker
from .job import Job, Jobs, collect_connections, collect_jobs, collect_queues, find_job
from .listeners import Listener, Listeners
from .ports import Clock, Entropy, Offload, Store
from .ports_system import SystemClock, SystemEntropy, SystemFetch, default_offload
from .queues import Queue
from .records import Created, NewRun
from .run import Run
from .steering import Steering
from .step import Duration
from .trigger import TriggerOptions, new_run
from .worker import Worker

if TYPE_CHECKING:
    from .fetching import Fetch
    from .server.application import Server
    from .server.options import ServerOptions

__all__ = ["Durable"]

P = TypeVar("P")
R = TypeVar("R")


class Durable(Steering):
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
    * `retain`: remove runs that finished longer ago, say `"30d"`; by default they stay.
    * `versions`: `"known"`: take up runs of those versions only that the code here has of a job, or
      `accepts`; `"any"`: of all.
    * `schedules`: whether its worker starts runs by the schedules of its jobs.
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
        retain: Duration = None,
        versions: str = "any",
        schedules: bool = True,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        offload: Offload | None = None,
        fetch: Fetch | None = None,
    ) -> None:
        self.jobs: dict[str, Job[Any, Any]] = collect_jobs(jobs)
        self.queues: dict[str, Queue] = collect_queues(jobs)
        self.connections = Connections(self.look)
        self._worker: Worker | None = None
        for connection in collect_connections(jobs).values():
            self.connections[connection.name] = connection.client
        self.options = Options(
            heartbeat_interval=seconds(heartbeat_interval, "heartbeat_interval"),
            stale_after=seconds(stale_after, "stale_after"),
            stop_timeout=seconds(stop_timeout, "stop_timeout", allow_zero=True),
            suspend_grace=seconds(suspend_grace, "suspend_grace", allow_zero=True),
            warm_runs=0 if always_replay else count(warm_runs, "warm_runs", minimum=0),
            max_value_bytes=count(max_value_bytes, "max_value_bytes"),
            strict=flag(strict, "strict"),
            always_replay=flag(always_replay, "always_replay"),
            retain=optional_seconds(retain, "retain"),
            environment=environment,
            known_versions=versions == "known",
            schedules=flag(schedules, "schedules"),
        )
        if self.options.stale_after < 2 * self.options.heartbeat_interval:
            raise InvalidOption(
                "stale_after", "must be at least twice heartbeat_interval, so that a late beat does no harm"
            )
        if versions not in ("any", "known"):
            raise InvalidOption("versions", f"{versions!r:.80} is neither 'any' nor 'known'")
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
        self._offload, self._fetch = offload, fetch or SystemFetch()
        self._executes = flag(worker, "worker")
        self._new_id = IdMaker(self.clock, self._entropy)
        self._listeners = Listeners()
        self._open = self._paused = False

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
            await self._start_worker(self._paused)

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
        """Claim no more runs, until `pause(False)`; what executes goes on. Before `start` it counts, too."""
        self._paused = on
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
        await self.connections.close()
        if isinstance(self._fetch, SystemFetch):
            await self._fetch.close()
        if self._owns_store:
            await self.store.close()

    async def run_until_idle(self, budget: Duration = None) -> float | None:
        """Execute what is claimable, then stop: for serverless functions and tests.

        Returns when nothing is left to do now, or in time before `budget` has passed; what still
        executes then is released and goes on next time. Returns the moment when the next waiting
        run or schedule is due (seconds since the epoch), or None.
        """
        limit = optional_seconds(budget, "budget")
        if self._worker is not None:
            raise DurableError("run_until_idle is for a Durable(worker=False) or a stopped one")
        await self._open_store()
        worker = await self._start_worker(paused=False)  # what is asked for is to execute
        try:
            if limit is None:
                await worker.idle()
            else:
                await worker.idle_within(limit - min(1.0, limit / 10))
        finally:
            await self.stop(0)
        moments = (await self.store.next_due(), worker.ticker.next_at)
        return min((at for at in moments if at is not None), default=None)

    async def _open_store(self) -> None:
        if not self._open:
            import asyncio

            self._listeners.loop = asyncio.get_running_loop()
            if self._owns_store:
                await self.store.open()
            self._open = True

    async def _start_worker(self, paused: bool) -> Worker:
        if self._worker is None:
            worker = Worker(
                f"w{self._new_id()}", self.store, self.jobs, self.queues.values(), self._concurrency,
                self.options, self.clock, self._entropy,
                self._offload or default_offload(self._concurrency), self._listeners, self.connections,
                self._fetch,
            )  # fmt: skip
            before = self._paused
            await worker.start(paused)
            self._worker = worker
            if self._paused != before:  # meanwhile
                worker.pause(self._paused)
        return self._worker

    def asgi(self, **options: Unpack[ServerOptions]) -> Server:
        """An ASGI application over this: its HTTP API, live updates and the dashboard.

        Its options are those of `durable_lite.server.asgi`; it needs the extra `server`.
        """
        try:
            from .server import asgi
        except ImportError as error:
            lacking = (error.name or "starlette").partition(".")[0]
            raise DurableError(f'asgi needs {lacking}: pip install "durable-lite[server]"') from None
        return asgi(self, **options)

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
        * `ttl`: a run that hasn't started so long after it was due is `EXPIRED`.
        * `concurrency_key`: text or a list of parts; of all runs with this key one executes at a time,
          from its start to its end. `on_busy`: what if one has it: `"queue"` behind it, `"skip"` and
          return one of this job that hasn't started, if there is one, or `"reject"`: `Busy`.
        * `debounce_key`, `debounce_delay`: of triggers of this job in quick succession one run is made,
          `"coalesced"` for all others: the last payload, once there was silence for the delay, but not
          later than `debounce_max`; with `debounce_mode="leading"` the first payload, at once.

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
        return new_run(self._new_id(), self.clock.now(), job, text, options, self.options.environment)

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
