"""One simulation from its plan: processes come and go, and in the end every run must have ended well."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

from ...errors import DurableError
from ...job import Jobs
from ...queues import Queue
from ...records import RunFilter, TokenFilter
from ...status import FINAL, Status
from ...stores.memory import MemoryStore
from .endings import check_the_end
from .loop import Lane, SimulatedLoop, current_lane
from .oracle import Oracle
from .plan import CHAOS, Deed, Plan
from .process import Process
from .programs import NAMES, OUTSIDE, Stage, make_jobs
from .weather import Weather

__all__ = ["Report", "simulate"]

UNFINISHED = tuple(str(status) for status in Status if status not in FINAL)
NARROW = Queue("narrow", concurrency=1)
QUEUES = (NARROW, Queue("steady", rate="1/3s"))
_PATIENCE = 600.0  # seconds after which a run that hasn't ended is stuck
_STEP = 1.0  # seconds that a step takes at most, most take none


class Report(NamedTuple):
    """What was simulated: events, and who ended how."""

    events: int
    runs: int
    seconds: float


def simulate(plan: Plan, trace: list[str] | None = None) -> Report:
    """Play it to its end. Raises `Violation`, or what a process raised that it must not.

    `trace` gets a line for each event.
    """
    loop = SimulatedLoop(Random(plan.seed))
    world = World(plan, loop)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(world.play())
    except Exception:
        world.oracle.check()  # what comes of a violation isn't told instead
        raise
    finally:
        if trace is not None:
            trace += world.oracle.lines()


class World:
    """Everybody in it, and what is outside."""

    def __init__(self, plan: Plan, loop: SimulatedLoop) -> None:
        self.plan, self.loop = plan, loop
        self.random = Random(plan.seed + 1)
        self.oracle = Oracle()
        self.oracle.limits = {queue.name: queue for queue in QUEUES}
        self.store = MemoryStore()
        self.store.listen(self.oracle.hear)
        self.weather = Weather.random(Random(plan.seed + 2))
        if not plan.bad_weather:
            self.weather.clear()
        self.stages: dict[Lane, _Stage] = {}
        self.lives = 0
        self.workers: list[Process | None] = []
        self.runs: list[str] = []
        self.jobs = make_jobs(self._stage, plan.schedules, plan.connections)
        self.client = self._process("client", Weather.fine(), {}, worker=False)
        self.restarts: set[asyncio.Task[None]] = set()

    def _stage(self) -> Stage:
        lane = current_lane()
        assert lane is not None
        return self.stages[lane]

    def _process(self, name: str, weather: Weather, options: dict[str, Any], **more: Any) -> Process:
        def jobs(process: Process) -> Jobs:
            self.stages[process.lane] = _Stage(self, process)
            return [*self.jobs, *QUEUES]

        given = {"skew": 0.0} | options | more
        return Process(
            name, self.loop, self.store, weather, self.random, self.oracle.carried_out, jobs,
            heartbeat_interval=1, stale_after=4, stop_timeout=2, strict=True, **given,
        )  # fmt: skip

    async def play(self) -> Report:
        await self.store.open()
        await self.client.do(self.client.app.start())
        for number in range(len(self.plan.workers)):
            self.workers.append(None)
            await self._start(number)
        for deed in self.plan.deeds:
            await self._until(deed.at)
            await getattr(self, f"do_{deed.kind}")(deed)
        await self._until(CHAOS)
        self.weather.clear()
        for worker in self.workers:
            if worker is not None:
                worker.freeze(False)
        await asyncio.gather(*self.restarts)
        for worker in self.workers:
            if worker is not None:
                worker.app.connections[OUTSIDE] = worker
        await self.client.do(self.client.app.resume_queue(NARROW.name))
        if self.plan.schedules:
            await self._ticked()
        await self._ended()
        runs = await check_the_end(self.store, self.oracle)
        for worker in self.workers:
            if worker is not None:
                await worker.do(worker.app.close())
        await self.client.do(self.client.app.close())
        self.oracle.check()
        return Report(self.oracle.events, runs, self.loop.time())

    async def _until(self, moment: float) -> None:
        await asyncio.sleep(max(0.0, moment - self.loop.time()))
        self.oracle.check()

    async def _ticked(self) -> None:
        """Let the schedules come as far as time has; then no more."""
        come = self.client.clock.now()
        over = self.loop.time() + _PATIENCE
        while any(row.next_at <= come for row in await self.store.list_schedules()):
            if self.loop.time() >= over:
                self.oracle.wrong("a schedule stands still")
            await asyncio.sleep(1)
            self.oracle.check()
        await self.client.do(self.client.app.pause_schedule("ticks"))

    async def _ended(self) -> None:
        over = self.loop.time() + _PATIENCE
        unfinished = RunFilter(statuses=UNFINISHED, limit=1)
        while await self.store.list_runs(unfinished) and self.loop.time() < over:
            await asyncio.sleep(5)
            self.oracle.check()

    async def _start(self, number: int) -> None:
        self.lives += 1
        process = self._process(f"w{number}.{self.lives}", self.weather, self.plan.workers[number])
        self.workers[number] = process
        await self._up(process)

    async def _up(self, process: Process) -> None:
        while not process.dead:
            try:
                return await process.do(process.app.start())
            except DurableError:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                if not process.dead:
                    raise

    # Deeds

    def _worker(self, deed: Deed) -> tuple[int, Process | None]:
        number = deed.who % len(self.workers)
        return number, self.workers[number]

    async def do_kill(self, deed: Deed) -> None:
        number, worker = self._worker(deed)
        if worker is not None:
            self.workers[number] = None
            await worker.kill()
            restart = asyncio.ensure_future(self._restart(number, deed.value))
            self.restarts.add(restart)
            restart.add_done_callback(self.restarts.discard)

    async def _restart(self, number: int, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._start(number)

    async def do_freeze(self, deed: Deed) -> None:
        _, worker = self._worker(deed)
        if worker is not None:
            worker.freeze(True)
            self.loop.call_later(deed.value, worker.freeze, False)

    async def do_release(self, deed: Deed) -> None:
        _, worker = self._worker(deed)
        if worker is not None and not worker.lane.frozen:
            await worker.do(worker.app.stop(deed.value))
            await self._up(worker)

    async def do_connect(self, deed: Deed) -> None:
        _, worker = self._worker(deed)
        if worker is not None and deed.value:
            worker.app.connections[OUTSIDE] = worker
        elif worker is not None:
            worker.app.connections.pop(OUTSIDE, None)

    async def do_skew(self, deed: Deed) -> None:
        _, worker = self._worker(deed)
        if worker is not None:
            worker.clock.skew += deed.value

    async def do_trigger(self, deed: Deed) -> None:
        run = await self.client.do(
            self.client.app.trigger("program", deed.value["program"], **deed.value["options"])
        )
        self.runs.append(run.id)

    async def _try(self, call: Any) -> None:
        with suppress(DurableError):  # a Conflict: it came too late
            await self.client.do(call)

    def _run(self, deed: Deed) -> str | None:
        return self.runs[deed.who % len(self.runs)] if self.runs else None

    async def do_cancel(self, deed: Deed) -> None:
        if run_id := self._run(deed):
            await self._try(self.client.app.cancel(run_id))

    async def do_resume(self, deed: Deed) -> None:
        if run_id := self._run(deed):
            await self._try(self.client.app.resume(run_id))

    async def do_fork(self, deed: Deed) -> None:
        if run_id := self._run(deed):
            steps = [step.path for step in await self.store.load_steps(run_id)]
            if steps:
                await self._try(self.client.app.fork(run_id, steps[deed.value % len(steps)]))

    async def do_send(self, deed: Deed) -> None:
        for _ in range(1 + deed.value % 2):
            await self._try(
                self.client.app.send_event(NAMES[deed.who % 2], {"n": deed.value}, id=f"event {deed.at}")
            )

    async def do_complete(self, deed: Deed) -> None:
        tokens = [one for one in await self.store.list_tokens(TokenFilter("pending")) if one.kind == "token"]
        if tokens:
            token = tokens[deed.who % len(tokens)]
            for _ in range(1 + deed.value % 2):
                await self._try(self.client.app.complete_token(token.id, f"value of {token.id}"))

    async def do_pause(self, deed: Deed) -> None:
        call = self.client.app.pause_queue if deed.value % 2 else self.client.app.resume_queue
        await self._try(call(NARROW.name))


class _Stage:
    """The world outside, as one process reaches it."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process

    async def perform(self, run_id: str, generation: int, path: str) -> int:
        number = self._world.oracle.begins(self._process, run_id, generation, path)
        if (chance := self._world.random.random()) > 0.6:
            await asyncio.sleep((chance - 0.6) * _STEP)
        return number

    def returned(self, run_id: str, path: str, value: Any) -> None:
        if not self._process.dead and value is not None:
            self._world.oracle.returned(self._process, run_id, path, value)

    def woke(self, run_id: str, path: str) -> None:
        if not self._process.dead:
            self._world.oracle.woke(self._process, run_id, path)
