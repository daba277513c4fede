"""One claimed run, from claim to halt.

The engine stops a run only by cancelling its root task; how it ended is read from the execution's
own state, never from the exception that comes out.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any, NoReturn

from . import codec, failures
from .calls import Calls, current_scope
from .children import Children
from .context import Context
from .engine import Engine, logger
from .errors import InvalidPayload, RunStopped, StoreError
from .events import EventType
from .guarded import GuardedWrites, Verb
from .holdings import Holdings
from .inflight import InFlight, Scope
from .job import Job
from .limits import TimeLimits
from .plain import plain_awaits
from .records import Checkpoint, Claim, LogRow, Refusal, RunRow, Settlement, Wakes
from .runlog import RunLog
from .status import Status
from .stop import Stop
from .tokens import Tokens
from .waits import Waits

__all__ = ["Execution", "Stop"]

# A job that catches its own cancellation is cancelled again, this often, and then left behind.
_CANCEL_AGAIN, _CANCEL_TRIES = 1.0, 5
_SWALLOWED_CALLS = 10


class Execution:
    """Executes a run under one claim; a warm one goes on under the next."""

    def __init__(
        self,
        engine: Engine,
        job: Job[Any, Any],
        claim: Claim,
        checkpoints: list[Checkpoint],
        logs: list[LogRow],
    ) -> None:
        self.engine, self.job, self.run = engine, job, claim.run
        self.run_id = claim.run.id
        self.loop = asyncio.get_running_loop()
        self.running = True  # context calls are taken
        self.warm = False  # suspended, with its coroutine kept
        self.stop_reason: Stop | None = None
        self.inflight = InFlight(engine.clock, engine.options.suspend_grace, self, self._poke)
        self.calls = Calls(self, checkpoints)
        self.waits, self.tokens, self.children = Waits(self), Tokens(self), Children(self)
        self.log = RunLog(claim.run, engine.clock, self.tell, engine.max_value_bytes)
        self.log.replays(logs, checkpoints)
        self.context, self.holdings = Context(self), Holdings()
        self.cancel_callbacks: list[Callable[[], object]] = []
        self._guarded = GuardedWrites(engine, lambda: self.stop_reason not in (Stop.LOST, Stop.CANCELLED))
        self._signal: asyncio.Future[None] | None = None
        self._root: asyncio.Task[str] | None = None
        self._timed_out = ""
        self._replays: list[asyncio.Future[None]] = []  # who asked to start from the top
        self._refused_calls = 0
        self._interrupted = False  # a stop came before the job had ended
        self._fault: Exception | None = None
        self._unfit: InvalidPayload | None = None  # the payload is not what the job takes
        self._take(claim.run)

    def _take(self, run: RunRow) -> None:
        """The facts of a claim."""
        self.run = run
        self.generation, self.seq, self.attempt = run.generation, run.seq, run.attempt
        self.beat_at = run.last_seen_at or self.engine.clock.now()  # the heartbeat that the store has
        self._awake_from = self.engine.awake.read()
        self._limits = TimeLimits(self.engine, run, self.job.max_duration, self._time_out)

    # From claim to halt

    async def execute(self) -> Stop | None:
        """Run the job from the top. None: it has ended and the run is settled."""
        if self.stop_reason is Stop.RELEASED:  # before it had begun
            await self._settle(Status.PENDING, EventType.RELEASED, {})
            return self.stop_reason
        limit = self.job.max_recoveries
        if self.run.recoveries > limit:
            await self._end_timed_out("poison", f"claimed {limit} times without a new checkpoint")
            return None
        if code := self._limits.passed():
            await self._end_timed_out(code, f"{code} has passed")
            return None
        self._root = self.loop.create_task(self._main())
        self._root.add_done_callback(lambda _: self._poke())
        return await self._drive()

    def goes_on_under(self, run: RunRow) -> bool:
        """Whether a warm coroutine stands where the run stands, which was claimed again."""
        root = self._root
        moved = self.stop_reason is not None or self.inflight.disturbed or root is None or root.done()
        return self.warm and not moved and self.generation + 1 == run.generation

    async def go_on(self, run: RunRow) -> Stop | None:
        """Go on in place, claimed again after a suspension that kept the coroutine."""
        self._take(run)
        self.warm, self.running = False, True
        if code := self._limits.passed():
            self._time_out(code)
        else:
            self.inflight.release()
            self.waits.look(now=True)
        return await self._drive()

    async def discard(self) -> None:
        """Let go of a warm coroutine; the store has all that matters."""
        self.stop(Stop.SUSPENDED)
        await self._unwind()
        self.waits.close()

    async def _main(self) -> str:
        try:
            payload = self.job.payload.decode(self.run.payload)
        except InvalidPayload as error:
            self._unfit = error
            raise
        await self.holdings.take(self.job, self.run, self.engine.connections)
        current_scope.set(self.inflight.root)
        try:
            output = await self.job.call(self.context, payload)
        except SystemExit as error:
            raise RuntimeError(f"the job called sys.exit({error.code!r})") from error
        return codec.encode(output, self.job.output, key="output", limit=self.engine.max_value_bytes)

    async def _drive(self) -> Stop | None:
        self._limits.start()
        try:
            while True:
                assert self._root is not None
                if self.stop_reason is not None:
                    return await self._stopped(self.stop_reason)
                if self._root.done():
                    return await self._ended()
                if self.inflight.idle or self._replays:
                    stop = await self._suspend()
                    if stop is not None:
                        return stop
                if self.stop_reason is None and not self._root.done():
                    self._signal = self.loop.create_future()
                    await self._signal
        finally:
            self._limits.stop()
            if not self.warm:
                self.waits.close()

    def _poke(self) -> None:
        if self._signal is not None and not self._signal.done():
            self._signal.set_result(None)

    def stop(self, reason: Stop) -> None:
        """Cancel the root task; the first reason counts."""
        if self.stop_reason is not None:
            return
        self.stop_reason, self.running = reason, False
        self._interrupted = self._root is not None and not self._root.done()
        self.inflight.stop()
        if reason in (Stop.CANCELLED, Stop.TIMED_OUT):
            for callback in self.cancel_callbacks:
                try:
                    callback()
                except Exception:
                    logger.exception("run %s: an on_cancel callback raised", self.run_id)
        if self._root is not None:
            self._root.cancel()
        self.calls.cancel_all()
        self._poke()

    def _drop_parked(self) -> None:
        """Tasks of the job that nobody awaits any more are not left waiting for the engine."""
        self.inflight.drop()
        for future in self._replays:
            future.cancel()

    async def _unwind(self) -> None:
        """Wait for the job to let go. Results that arrive meanwhile are offered to the store."""
        assert self._root is not None
        for _ in range(_CANCEL_TRIES):
            tasks = [self._root, *(call.task for call in self.calls.active.values())]
            if await self.engine.settled(tasks, _CANCEL_AGAIN):
                break
            self._root.cancel()
            self.calls.cancel_all()
        self._drop_parked()
        if self._interrupted and not (self._root.done() and self._root.cancelled()):
            if self._root.done():
                self._root.exception()  # seen, and dropped
            self.tell(EventType.SWALLOWED_STOP, {})
            self.warn(
                "run.swallowed_stop: the job caught the engine's stop; what it did after that is dropped"
            )

    # The ways to halt

    async def _stopped(self, reason: Stop) -> Stop:
        await self._unwind()
        if reason is Stop.TIMED_OUT:
            await self._end_timed_out(self._timed_out, f"{self._timed_out} has passed")
        elif reason is Stop.RELEASED:
            await self._settle(Status.PENDING, EventType.RELEASED, {})
        elif reason is Stop.FAULT:
            logger.error("run %s: the engine failed", self.run_id, exc_info=self._fault)
            await self._failed(self._fault or RuntimeError("the engine failed"))
        return reason

    async def _suspend(self) -> Stop | None:
        """Park the run in the store. None: it has gone on meanwhile."""
        engine = self.engine
        if self.must_sweep():
            await engine.sweep()
            return None
        ready_at = engine.clock.now() if self._replays else self.inflight.earliest()
        wakes = None if self._replays else self.waits.wakes()
        self.running = False
        self.inflight.hold()
        waits = [wait.path for wait in self.inflight.parked]
        plain = [] if self._replays else self._plain_awaits()
        for place in plain:
            self.warn(f"suspended at a plain await, which is cut off and done again on replay: {place}")
        keep = engine.options.warm_runs > 0 and not plain and not self._replays and self.job.auth is None
        if not keep:
            self.stop(Stop.SUSPENDED)
            await self._unwind()
        if self.run.deadline is not None:
            ready_at = min(ready_at, self.run.deadline)
        due = None if ready_at == math.inf else ready_at
        data = {"ready_at": due, "waits": waits[:20]}
        if not await self._settle(Status.WAITING, EventType.WAITING, data, ready_at=due, wakes=wakes):
            if self.stop_reason is Stop.SUSPENDED:
                return Stop.LOST
            return None  # the refusal has stopped the run
        if self.stop_reason is None:
            self.warm = True
        elif keep:
            await self._unwind()
        return Stop.SUSPENDED

    async def _ended(self) -> Stop | None:
        """The job returned or raised by itself."""
        assert self._root is not None
        while self.must_sweep():
            await self.engine.sweep()
            if self.stop_reason is not None:
                return await self._stopped(self.stop_reason)
        self.running = False
        self._drop_parked()
        if self.calls.active:
            paths = ", ".join(repr(path) for path in list(self.calls.active)[:5])
            self.warn(f"the job ended with steps in flight, which are cancelled: {paths}")
            self.calls.cancel_all()
            await self.engine.settled([call.task for call in self.calls.active.values()], _CANCEL_AGAIN)
        if self.stop_reason is not None:
            return await self._stopped(self.stop_reason)
        try:
            output = self._root.result()
        except BaseException as error:  # whatever the job raised; the task only holds it
            if error is self._unfit:
                text, status = failures.describe(error), Status.INVALID_PAYLOAD
                await self._settle(status, EventType.FAILED, {"error": failures.brief(text)}, error=text)
            else:
                await self._failed(error)
        else:
            await self._settle(Status.COMPLETED, EventType.COMPLETED, {}, output=output)
        return self.stop_reason

    async def _failed(self, error: BaseException) -> None:
        text = failures.describe(error)
        retry, run = self.job.retry, self.run
        tries = self.attempt - run.first_attempt + 1
        if tries >= retry.max_attempts or failures.is_permanent(error, children=not retry.children):
            status = Status.UNRESOLVED_AUTH if self.holdings.unresolved else Status.FAILED
            await self._settle(status, EventType.FAILED, {"error": failures.brief(text)}, error=text)
            return
        asked = failures.retry_after(error)
        delay = retry.delay(tries, self.engine.entropy.uniform()) if asked is None else asked
        ready_at = self.engine.clock.now() + delay
        if run.deadline is not None:
            ready_at = min(ready_at, run.deadline)
        data = {"error": failures.brief(text), "attempt": self.attempt + 1, "ready_at": ready_at}
        self.attempt += 1
        await self._settle(Status.WAITING, EventType.RETRYING, data, error=text, ready_at=ready_at)

    async def _end_timed_out(self, code: str, message: str) -> None:
        text = json.dumps({"type": "TimedOut", "code": code, "message": message})
        await self._settle(Status.TIMED_OUT, EventType.TIMED_OUT, {"code": code}, error=text)

    async def _settle(
        self, status: Status, type: EventType, data: dict[str, Any], *,
        ready_at: float | None = None, output: str | None = None, error: str | None = None,
        wakes: Wakes | None = None,
    ) -> bool:  # fmt: skip
        """Let go of the run in the store; False when it isn't ours any more."""
        now = self.engine.clock.now()
        beat = self.log.beat(self.run_id, self.generation, self.executed())
        settlement = Settlement(
            status, now, type, json.dumps(data), self.attempt, beat.executed, ready_at, output, error,
            beat.progress, beat.metadata, beat.logs, wakes,
        )  # fmt: skip
        return await self.write(self.engine.store.settle, settlement)

    # What the calls of the job ask

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    async def write(self, verb: Verb, *args: Any) -> bool:
        """A guarded write of this generation. False: refused, and the run is stopped."""
        try:
            refusal = await self._guarded.write(verb, self.run_id, self.generation, *args)
        except StoreError as error:
            self.fault(error)
            return False
        if refusal is None:
            return True
        self.refused(refusal)
        return False

    def refused(self, refusal: Refusal) -> None:
        """The store doesn't take this generation's writes any more."""
        self.stop(Stop.CANCELLED if refusal.status == Status.CANCELLED else Stop.LOST)

    def fault(self, error: Exception) -> None:
        """The engine or the store failed for good: the run is let go, its checkpoints are safe."""
        self._fault = error
        self.stop(Stop.FAULT)

    async def refuse_call(self) -> NoReturn:
        """A context call after a stop."""
        self._refused_calls += 1
        if self._refused_calls > _SWALLOWED_CALLS:
            await self.loop.create_future()  # the job catches every stop: keep it from a hot loop
        self.check_running()
        raise AssertionError("unreachable")

    def check_running(self) -> None:
        """Raise `RunStopped` after a stop. A call from a suspended run ends its coroutine."""
        if self.running:
            return
        if self.stop_reason is None:
            self.warn("a plain await went on while the run was suspended; it is done again on replay")
            self.stop(Stop.SUSPENDED)
        raise RunStopped(f"run {self.run_id} has stopped ({(self.stop_reason or Stop.SUSPENDED).value})")

    def must_sweep(self) -> bool:
        """Whether so much time has passed since the last beat that the store must be asked first."""
        late = self.engine.clock.now() - self.beat_at > self.engine.stale_after
        return late and self.stop_reason is None

    async def sweep(self) -> None:
        await self.engine.sweep()
        self.check_running()

    def replay_now(self) -> bool:
        """Always-replay mode: nothing else is in flight, so stop here and start from the top."""
        return self.engine.options.always_replay and self.inflight.busy == 0 and self.running

    async def replay_from_here(self) -> None:
        self._replays.append(self.loop.create_future())
        self._poke()
        await self._replays[-1]

    def executed(self) -> float:
        """Seconds of executing time over all attempts."""
        return self.run.executed + self.engine.awake.read() - self._awake_from

    def tell(self, type: str, data: dict[str, Any]) -> None:
        self.engine.publish_now(self.run_id, type, data)

    def warn(self, message: str) -> None:
        self.log.engine_line(message)

    def scope(self) -> Scope:
        scope = current_scope.get(None)
        return scope if scope is not None and scope.owner is self else self.inflight.root

    def _time_out(self, code: str) -> None:
        self._timed_out = code
        self.stop(Stop.TIMED_OUT)

    def _plain_awaits(self) -> list[str]:
        assert self._root is not None
        ours: list[asyncio.Future[Any]] = [wait.future for wait in self.inflight.parked]
        ours += self.calls.waiters()
        roots = [self._root, *(call.task for call in self.calls.active.values())]
        return [place for root in roots for place in plain_awaits(root, ours)]
