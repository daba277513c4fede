"""The worker: claims runs, beats for those it holds, sweeps for those that others lost."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any

from .connections import Connections
from .engine import Engine, Options, logger
from .errors import StoreError
from .execution import Execution, Stop
from .job import Job, manifest
from .listeners import Listeners
from .on import Event
from .ports import TICK, Clock, Entropy, Offload, Store
from .queues import Queue
from .records import Change, Claim, Lease, QueueRow, TriggerRow
from .retention import Retention
from .runlog import RunLog
from .status import Status
from .sweeps import LOOK, Sweeps
from .ticker import Ticker

if TYPE_CHECKING:
    from .fetching import Fetch

__all__ = ["Worker"]

# How often to look without being told, where the store tells.
_FALLBACK = 86_400.0


class Worker:
    """Executes runs of the jobs that it knows, at most `concurrency` at a time."""

    def __init__(
        self,
        id: str,
        store: Store,
        jobs: Mapping[str, Job[Any, Any]],
        queues: Iterable[Queue],
        concurrency: int,
        options: Options,
        clock: Clock,
        entropy: Entropy,
        offload: Offload,
        listeners: Listeners,
        connections: Connections,
        send: Fetch,
    ) -> None:
        self.id, self.store, self.jobs, self.concurrency = id, store, dict(jobs), concurrency
        self.options, self.clock, self._queues = options, clock, tuple(queues)
        self.engine = Engine(
            store, clock, entropy, offload, options, listeners, self._sweep, self.jobs, connections, send
        )
        self.executing: dict[str, Execution] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}  # one for each run that takes a slot
        self._warm: OrderedDict[str, Execution] = OrderedDict()
        self._unsaid: dict[str, RunLog] = {}  # what stale executions couldn't store, for their next claim
        self.sweeps, self.ticker = Sweeps(self), Ticker(self.engine, self.jobs)
        known = {job.name: [one or "" for one in job.accepts] for job in self.jobs.values()}
        self._versions = known if options.known_versions else None
        self._claim_now, self._beat_now, self._idle = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self.claiming = False
        self.doubts = False  # the answer to a claim was lost, which may have been carried out
        self.via = "lease"
        self._look = False  # somebody did something: see who holds leases
        self._beaten = -inf  # when, by the monotonic clock; told to look, it beats before its time
        self._stopping = self._releasing = self._paused = False
        self._unlisten: Callable[[], None] = lambda: None
        self.engine.slot_freed = self._claim_now.set

    # Life

    @property
    def started(self) -> bool:
        return bool(self._loops)

    async def start(self, paused: bool = False) -> None:
        """Register, sweep once, and take up work, unless `paused`. Raises what the store raises."""
        if self.started:
            return
        self._paused = paused
        self.engine.abandoned = self._stopping = self._releasing = False
        self._idle.clear()
        info = json.dumps({"jobs": sorted(self.jobs), "concurrency": self.concurrency})
        self.via = await self.store.register_worker(self.id, info, self.clock.now())
        await self.store.set_meta("manifest", manifest(self.jobs))
        triggers = [
            TriggerRow(job.name, "event", on.name, on.match, job.version, job.queue)
            for job in self.jobs.values()
            for on in job.on
            if isinstance(on, Event)
        ]
        await self.store.set_triggers(sorted(self.jobs), triggers)
        limits = [QueueRow(q.name, q.concurrency, q.rate, q.period, q.key_scope) for q in self._queues]
        await self.store.set_queues(limits, self.clock.now())
        await self.ticker.start()
        self._unlisten = self.store.listen(self._hear, steps=False)
        if not paused:
            await self.sweeps.others()
        self._loops = [self.spawn(self._claim_loop()), self.spawn(self._beat_loop())]
        if self.ticker.has_any:
            ticking = self.ticker.run(lambda: not self._paused and not self._stopping)
            self._loops.append(self.spawn(ticking))
        if self.options.retain is not None:
            retention = Retention(self.engine, self.options.retain, lambda: not self._idle.is_set())
            self._loops.append(self.spawn(retention.run()))

    async def stop(self, timeout: float | None = None) -> None:
        """Claim no more; let what executes finish for so long (default `stop_timeout`); release the rest."""
        if not self.started:
            return
        self._stopping = True
        self._unlisten()
        self._claim_now.set()  # a claim on its way is waited for, or its run would be nobody's
        if not await self.engine.settled(self._loops[:1], self.options.stop_timeout):
            self._loops[0].cancel()
        timeout = self.options.stop_timeout if timeout is None else timeout
        if timeout > 0:
            await self.engine.settled(self._tasks.values(), timeout)
        self._releasing = True
        for execution in list(self.executing.values()):
            execution.stop(Stop.RELEASED)
        if not await self.engine.settled(self._tasks.values(), self.options.stop_timeout):
            self._abandon()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        while self._warm:
            await self._warm.popitem()[1].discard()
        self._unsaid.clear()
        loops, self._loops = self._loops, []
        for loop in loops[1:]:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await self.sweeps.finished()
        await self.engine.tasks.close()
        try:
            await self.store.unregister_worker(self.id)
        except StoreError:
            logger.warning("worker %s couldn't sign off", self.id)

    def _abandon(self) -> None:
        """The store is down and time is up: leave the leases to expire."""
        self.engine.abandoned = True
        for task in self._tasks.values():
            task.cancel()

    def spawn(self, main: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(main)
        task.add_done_callback(_report)
        return task

    def _hear(self, change: Change) -> None:
        if change.run_id is None:
            self._look_at_waits()
            self.ticker.look()
        elif change.ended:
            self._stop_ended(change.run_id, change.ended)
        elif execution := self.executing.get(change.run_id):
            execution.waits.look()
        if change.claimable or change.run_id is None:
            self._claim_now.set()
        if (
            not self.sweeps.foreign
            and not (change.claimable and change.run_id)
            and change.run_id not in self._tasks
        ):
            self._look = True  # somebody may have claimed something: keep an eye on it
            self._beat_now.set()

    def _look_at_waits(self) -> None:
        for execution in self.executing.values():
            execution.waits.look()

    def _stop_ended(self, run_id: str, status: str) -> None:
        """Somebody ended a run that is ours: don't wait for the next beat to see it."""
        if execution := self.executing.get(run_id):
            execution.stop(Stop.CANCELLED if status == Status.CANCELLED else Stop.LOST)
        elif warm := self._warm.pop(run_id, None):
            self.spawn(warm.discard())

    def pause(self, on: bool) -> None:
        """Claim nothing more while on, and leave to others what others lost; what executes goes on. Off:
        look at once who has disappeared.
        """
        self._paused = on
        if not on:
            self.look()

    def look(self) -> None:
        """Time may have passed unnoticed, or may be about to: beat or sweep now, not at the next tick."""
        self._look, self._beaten = True, -inf
        self._beat_now.set()
        self._claim_now.set()
        self.ticker.look()

    async def idle(self) -> None:
        """Return once nothing executes and nothing is claimable."""
        await self._idle.wait()

    async def idle_within(self, seconds: float) -> None:
        """The same, or after `seconds`."""
        await self.engine.until(self._idle, seconds)

    # Claims

    def forgot(self, lease: Lease) -> bool:
        """Whether this is our lease on a run that we don't know of: a claim whose answer was lost."""
        return lease.worker == self.id and lease.run_id not in self._tasks

    @property
    def _free(self) -> int:
        return self.concurrency - len(self._tasks) - self.engine.orphans

    @property
    def _may_claim(self) -> bool:
        return self._free > 0 and not self._stopping and not self._paused

    async def _claim_loop(self) -> None:
        while not self._stopping:
            self._claim_now.clear()
            while self._may_claim and await self._claim_some():
                pass
            due = await self.engine.persist(self.store.next_due, lambda: not self._stopping)
            if not self._tasks and not self._claim_now.is_set() and not self.ticker.behind:
                self._idle.set()
            wait = _FALLBACK if self.store.announces_all else self.options.heartbeat_interval
            if due is not None:
                wait = min(wait, max(TICK, due - self.clock.now()))
            if self._free > 0 and not self._paused:
                await self.engine.until(self._claim_now, wait)
            else:
                await self._claim_now.wait()

    async def _claim_some(self) -> bool:
        """Claim what there is room for; whether there may be more."""
        has, room = self.engine.connections.has, self._free
        names = [job.name for job in self.jobs.values() if has(job.requires)]
        lacking = [name for name in self.jobs if name not in names]
        self.claiming, tries, claims = True, 0, None

        def ask() -> Awaitable[list[Claim]]:
            nonlocal tries
            tries += 1
            now = self.clock.now()
            return self.store.claim_runs(self.id, names, room, now, self.via, self._versions)

        try:
            claims = await self.engine.persist(ask, lambda: self._may_claim)
            if claims and not self._tasks:
                self._beat_now.set()
            for claim in claims or ():
                self._idle.clear()
                before = self._tasks.get(claim.run.id)
                self._tasks[claim.run.id] = self.spawn(self._execute(claim, before))
            if lacking:
                store = self.store
                await self.engine.persist(lambda: store.lack_connections(lacking), lambda: not self._stopping)
        finally:
            self.claiming = False
            self.doubts = self.doubts or tries > 1 or claims is None
            if self.doubts:
                self._look = True
                self._beat_now.set()
        return claims is not None and len(claims) == room

    async def _execute(self, claim: Claim, before: asyncio.Task[None] | None) -> None:
        """One claimed run. Whatever happens to it is its own affair."""
        run_id = claim.run.id
        try:
            if before is not None:  # our execution under its last claim is still letting go of it
                await asyncio.wait({before})
            warm = self._warm.pop(run_id, None)
            if warm is not None and warm.goes_on_under(claim.run):
                execution = self.executing[run_id] = warm
                stop = await warm.go_on(claim.run)
            else:
                if warm is not None:
                    await warm.discard()
                execution = await self._prepare(claim)
                if unsaid := self._unsaid.pop(run_id, None if warm is None else warm.log):
                    execution.log.inherit(unsaid)
                if self._releasing:  # it was being loaded when the others were released
                    execution.stop(Stop.RELEASED)
                stop = await execution.execute()
            if stop is Stop.SUSPENDED and execution.warm:
                self._keep_warm(execution)
            elif stop is Stop.STALE:
                self._unsaid[run_id] = execution.log
        except asyncio.CancelledError:
            pass  # abandoned
        except Exception:
            logger.exception("run %s: the worker failed", run_id)
        finally:
            self.executing.pop(run_id, None)
            if not self.executing:
                self.engine.failing.discard("beat")  # not tried again
            if self._tasks[run_id] is asyncio.current_task():
                del self._tasks[run_id]
            self._claim_now.set()

    async def _prepare(self, claim: Claim) -> Execution:
        run_id, job = claim.run.id, self.jobs[claim.run.job]
        checkpoints, logs = None, None
        if not claim.fresh:
            checkpoints = await self.engine.persist(lambda: self.store.load_checkpoints(run_id))
            logs = await self.engine.persist(lambda: self.store.read_logs(run_id))
        execution = Execution(self.engine, job, claim, checkpoints or [], logs or [])
        self.executing[run_id] = execution
        return execution

    def _keep_warm(self, execution: Execution) -> None:
        self._warm[execution.run_id] = execution
        while len(self._warm) > self.options.warm_runs:
            _, oldest = self._warm.popitem(last=False)
            self.spawn(oldest.discard())

    # Beats and sweeps

    async def _beat_loop(self) -> None:
        self._beaten = swept = self.clock.monotonic()
        interval = self.options.heartbeat_interval
        while True:
            now = self.clock.monotonic()
            late = now - self.engine.ticked_at - interval
            if late > interval and self.executing:
                self._report_block(late)
            self.engine.ticked_at = now
            self.engine.awake.read()
            if any(execution.must_sweep() for execution in self.executing.values()):
                await self.sweeps.own()
            elif self.executing and now - self._beaten >= interval - TICK:
                self._beaten = now
                await self.beat()
            if not self.executing:
                self._beaten = now
            since = now - swept
            watch = since >= min(interval, LOOK) or self.sweeps.stale_in(now) <= 0
            if not self._paused and (self._look or since >= _FALLBACK or (self.sweeps.foreign and watch)):
                self._look, swept = False, now
                try:
                    await self.sweeps.others()
                    self.engine.store_works("sweep")
                except StoreError as error:
                    self.engine.store_down(error, "sweep")
                    self.sweeps.foreign = True  # look again soon
            await self.engine.until(self._beat_now, self._next_look())
            self._beat_now.clear()

    def _next_look(self) -> float:
        interval, now = self.options.heartbeat_interval, self.clock.monotonic()
        wait = _FALLBACK if self.store.announces_all else interval
        if self.executing or self._tasks:
            wait = min(wait, max(TICK, self._beaten + interval - now))
        if self.sweeps.foreign and not self._paused:
            wait = min(wait, interval, LOOK, max(TICK, self.sweeps.stale_in(now)))
        return wait

    async def beat(self) -> None:
        """One write for all runs that are held, with what they had to tell."""
        held = [e for e in self.executing.values() if e.stop_reason is None and not e.warm]
        if not held:
            return
        beats = [e.log.beat(e.run_id, e.generation, e.executed()) for e in held]
        now = self.clock.now()
        try:
            lost = await self.store.beat(self.id, beats, now)
        except StoreError as error:
            for execution, beat in zip(held, beats, strict=True):
                execution.log.put_back(beat)
            self.engine.store_down(error, "beat")
            return
        self.engine.store_works("beat")
        for execution, beat in zip(held, beats, strict=True):
            refusal = lost.get(execution.run_id)
            if execution.generation != beat.generation or execution.warm:
                continue  # it was let go meanwhile
            if refusal is None:
                execution.beat_at = now
            else:
                execution.refused(refusal)

    async def _sweep(self) -> None:
        await self.sweeps.own()

    def _report_block(self, late: float) -> None:
        for execution in self.executing.values():
            if paths := list(execution.calls.active):
                self.engine.report_block(execution, paths, late)


def _report(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("a task of the worker failed", exc_info=error)
