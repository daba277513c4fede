"""The context calls of one execution: steps and waits, each done once and then answered from memory."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from . import codec, failures
from .errors import KeyReused, NotSerializable, StepTimeout, TooLarge
from .events import EventType
from .inflight import Scope
from .records import Checkpoint, NewEvent, StepRow
from .retry import Retry
from .shapes import return_shape
from .step import StepOptions, digest, function_name, is_async, options_of

if TYPE_CHECKING:
    from .execution import Execution

__all__ = ["Calls", "current_scope"]

# Where the running code is: set in each step's own task, inherited by the tasks it starts.
current_scope: contextvars.ContextVar[Scope] = contextvars.ContextVar("durable_lite_scope")

ONCE = Retry(max_attempts=1)
# Steps that never wait share the event loop after so many seconds, or steps.
_BREATH, _STEPS = 0.002, 100


def _same(error: BaseException) -> BaseException:
    return error


class StepCall:
    """A step in flight: what to do, its task, and the callers that wait for its output."""

    __slots__ = (
        "abandoned", "args", "cut_off", "error", "fn", "kwargs", "left", "name", "options", "output", "own",
        "parent", "path", "saving", "shape", "task", "timed_out", "waiters",
    )  # fmt: skip

    def __init__(
        self, path: str, fn: Callable[..., Any], args: Any, kwargs: Any, options: StepOptions, parent: Scope
    ) -> None:
        self.path, self.fn, self.args, self.kwargs = path, fn, args, kwargs
        self.name, self.options, self.shape = function_name(fn), options_of(fn, options), return_shape(fn)
        self.parent = parent
        self.own = Scope(path, parent.owner, sync=not is_async(fn))
        self.task: Any = None  # until its first part has run, and for good if that was all
        self.waiters: list[asyncio.Future[None]] = []
        self.output: str | None = None
        self.error: Callable[[], BaseException] | None = None
        self.left = False  # the last caller that waited went away
        self.saving = False  # its result is on its way to the store: too late to cancel
        self.timed_out = False
        self.abandoned = False  # a sync function runs on, but nobody wants its result
        self.cut_off = False  # abandoned amid calls of its own: what it still returns is made without them

    def cancel(self) -> None:
        if not self.saving:
            self.abandoned = True
            self.cut_off |= self.own.active > 0
            if self.task is not None:  # else its first part is running: `_start` cancels it
                self.task.cancel()

    def answer(self, output: str) -> None:
        self.output = output
        self._wake()

    def fail(self, make: Callable[[], BaseException]) -> None:
        self.error = make
        self._wake()

    def _wake(self) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)

    def drop(self) -> None:
        for waiter in self.waiters:
            waiter.cancel()


class Calls:
    """Answers the calls of one execution: from its checkpoints, or by executing and storing."""

    def __init__(self, execution: Execution, checkpoints: list[Checkpoint]) -> None:
        self._execution = execution
        self._engine = execution.engine
        self._store = execution.engine.store
        self._inflight = execution.inflight
        self.memo: dict[str, Checkpoint | StepRow] = {one.path: one for one in checkpoints}
        self.active: dict[str, StepCall] = {}
        self._breathed, self._unbroken = self._engine.clock.monotonic(), 0

    # Steps

    async def step(
        self, scope: Scope, path: str, fn: Callable[..., Any], args: Any, kwargs: Any, options: StepOptions
    ) -> Any:
        """Execute `fn` once for `path`; every call gets the stored value, or the stored failure."""
        execution = self._execution
        if not execution.running:
            await execution.refuse_call()
        while (call := self.active.get(path)) is not None and call.abandoned:
            await asyncio.wait({call.task})  # on its way out; what comes after it starts anew
            if not execution.running:
                await execution.refuse_call()
        if call is None:
            memo = self.memo.get(path)
            if memo is not None:
                if memo.kind != "step":
                    raise KeyReused(f"{path!r} is a {memo.kind} in this run and can't be a step too")
                self._notice_reuse(path, memo.name, memo.arguments, fn, args, kwargs)
                if memo.output is not None:
                    self._inflight.touch()
                    return codec.decode(memo.output, return_shape(fn))
                if memo.state == "failed" and memo.attempt == execution.attempt and memo.error is not None:
                    self._inflight.touch()
                    raise failures.rebuild(memo.error, path)
            if execution.must_sweep():
                await execution.sweep()
            call = self.active.get(path) or self._start(scope, path, fn, args, kwargs, options)
            if call.output is not None or call.error is not None:
                if self._breathless():  # it ended without a turn of the event loop
                    await asyncio.sleep(0)
                    self._breathed, self._unbroken = self._engine.clock.monotonic(), 0
                return await self._answer(call)
        else:
            arguments = digest(call.args, call.kwargs) if self._engine.strict else None
            self._notice_reuse(path, call.name, arguments, fn, args, kwargs)
        waiter: asyncio.Future[None] = asyncio.Future(loop=execution.loop)
        call.waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            call.waiters.remove(waiter)
            if not call.waiters:
                call.left = True
                call.cancel()
            raise
        return await self._answer(call)

    async def _answer(self, call: StepCall) -> Any:
        """What a call that has just ended gives to each that waited for it."""
        if call.output is None:
            assert call.error is not None
            raise call.error()
        if self._execution.replay_now():
            await self._execution.replay_from_here()
        return codec.decode(call.output, call.shape)

    def _start(
        self, scope: Scope, path: str, fn: Callable[..., Any], args: Any, kwargs: Any, options: StepOptions
    ) -> StepCall:
        call = self.active[path] = StepCall(path, fn, args, kwargs, options, scope)
        self._inflight.enter(scope)
        call.task = self._engine.tasks.start(self._run(call))
        if call.abandoned and call.task is not None:
            call.task.cancel()
        return call

    async def _run(self, call: StepCall) -> None:
        """One step's own task: its attempts, its back-off, its checkpoint."""
        execution, path = self._execution, call.path
        current_scope.set(call.own)
        try:
            count = 0
            memo = self.memo.get(path)
            if memo is not None and memo.state == "retrying" and memo.attempt == execution.attempt:
                count = memo.failures
                await self._inflight.park(path, memo.wake_at or 0.0)
            while True:
                call.own.ordinal = execution.log.base.get(path, 0)
                started = self._engine.clock.now()
                if self._engine.heard():
                    data = {"path": path, "name": call.name, "failures": count}
                    execution.tell(EventType.STEP_STARTED, data)
                try:
                    if call.own.sync or call.options.timeout is not None:
                        value = await self._invoke(call)
                    else:
                        value = await call.fn(*call.args, **call.kwargs)
                    self._engine.notice_block(execution, path)
                except asyncio.CancelledError as error:
                    cancelled = call.task is not None and call.task.cancelling()
                    if cancelled or not execution.running:
                        raise
                    failed: BaseException = error  # the function's own doing, nobody cancelled it
                except (KeyboardInterrupt, GeneratorExit):
                    raise
                except BaseException as error:
                    if call.abandoned:
                        return  # no failure of its own: it was cancelled, and this is how it took it
                    failed = error
                else:
                    if not call.cut_off:
                        await self._succeed(call, value, started, count)
                    return
                count += 1
                wake_at = await self._fail(call, failed, started, count)
                if wake_at is None:
                    return
                self._inflight.close(call.own)
                call.own = call.own.next_attempt()
                current_scope.set(call.own)
                await self._inflight.park(path, wake_at)
        except (NotSerializable, TooLarge) as unstorable:
            call.fail(partial(_same, unstorable))
        except Exception as bug:
            execution.fault(bug)
        finally:
            self._inflight.close(call.own)
            self._inflight.leave(call.parent)
            del self.active[path]
            call.drop()

    async def _invoke(self, call: StepCall) -> Any:
        timeout = call.options.timeout
        if call.own.sync:
            await self._engine.orphan_done((self._execution.run_id, call.path))
        if timeout is None:
            return await (self._offload(call) if call.own.sync else call.fn(*call.args, **call.kwargs))

        def time_out() -> None:
            call.timed_out = True
            call.task.cancel()

        call.timed_out = False
        timer = self._engine.awake.call_after(timeout, time_out)
        try:
            return await (self._offload(call) if call.own.sync else call.fn(*call.args, **call.kwargs))
        except asyncio.CancelledError:
            if call.timed_out and call.task.uncancel() == 0 and not call.abandoned:
                raise StepTimeout(call.path, timeout) from None
            raise
        finally:
            timer.cancel()

    async def _offload(self, call: StepCall) -> Any:
        future = self._engine.offload.submit(partial(call.fn, *call.args, **call.kwargs))
        try:
            result = await asyncio.shield(future)
        except asyncio.CancelledError:
            if not future.done():
                self._engine.keep_orphan((self._execution.run_id, call.path), future)
            raise
        if not inspect.isawaitable(result):
            return result
        call.own.sync = False  # a lambda that made a coroutine, which runs here
        return await result

    async def _succeed(self, call: StepCall, value: Any, started: float, count: int) -> None:
        execution, path = self._execution, call.path
        output = codec.encode(value, call.shape, key=path, limit=self._engine.max_value_bytes)
        arguments = digest(call.args, call.kwargs) if self._engine.strict else None
        call.saving = True
        row = StepRow(
            execution.run_id, path, execution.next_seq(), "step", "completed", call.name, arguments, output,
            None, count, execution.attempt, execution.generation, started, self._engine.clock.now(), None,
            call.options.title,
        )  # fmt: skip
        if await execution.write(self._store.save_step, row):
            self.memo[path] = row
            call.answer(output)

    async def _fail(self, call: StepCall, error: BaseException, started: float, count: int) -> float | None:
        """Store a failure. Returns when to try again, or None when this was the last attempt."""
        execution, path, now = self._execution, call.path, self._engine.clock.now()
        retry = call.options.retry or ONCE
        again = count < retry.max_attempts and not failures.is_permanent(error)
        wake_at = None
        if again:
            asked = failures.retry_after(error)
            wake_at = now + (retry.delay(count, self._engine.entropy.uniform()) if asked is None else asked)
        state, text = ("retrying" if again else "failed"), failures.describe(error, path)
        call.saving = True
        row = StepRow(
            execution.run_id, path, None, "step", state, call.name, None, None, text, count,
            execution.attempt, execution.generation, started, now, wake_at, call.options.title,
        )  # fmt: skip
        event = NewEvent(
            execution.next_seq(), now, EventType.STEP_FAILED, failures.event(text, count, wake_at)
        )
        stored = await execution.write(self._store.save_failure, row, event)
        call.saving = False
        if not stored:
            return None
        inner = f"{path}/"
        for below, memo in list(self.memo.items()):
            if memo.state in ("failed", "retrying") and below.startswith(inner):
                del self.memo[below]  # as the store has done: a new try of the outer step tries them again
        self.memo[path] = row
        if again:
            execution.log.failed(path)
            if call.left and not call.waiters:
                call.cancel()
        else:
            call.fail(lambda: failures.rebuild(text, path).with_traceback(error.__traceback__))
        return wake_at

    # Waits

    async def sleep(self, scope: Scope, path: str, wake_at: Callable[[float], float]) -> None:
        """Wait for the moment that `wake_at(now)` gave when this wait was first executed."""
        execution = self._execution
        if not execution.running:
            await execution.refuse_call()
        memo = self.memo.get(path)
        if memo is None:
            if execution.must_sweep():
                await execution.sweep()
            self._inflight.enter(scope)
            try:
                now = self._engine.clock.now()
                memo = Checkpoint(
                    path, "waiting", None, None, None, None, 0, execution.attempt, wake_at(now), "sleep"
                )
                row = StepRow(
                    execution.run_id, path, None, "sleep", "waiting", None, None, None, None, 0,
                    execution.attempt, execution.generation, now, None, memo.wake_at,
                )  # fmt: skip
                self.memo[path] = memo
                if not await execution.write(self._store.save_step, row):
                    await execution.refuse_call()
                if (memo.wake_at or 0.0) > self._engine.clock.now():
                    await self._inflight.park(path, memo.wake_at or 0.0)
            finally:
                self._inflight.leave(scope)
            return
        if memo.kind != "sleep":
            raise KeyReused(f"{path!r} is a {memo.kind} in this run and can't be a sleep too")
        if (memo.wake_at or 0.0) <= self._engine.clock.now():
            self._inflight.touch()
            return
        self._inflight.enter(scope)
        try:
            await self._inflight.park(path, memo.wake_at or 0.0)
        finally:
            self._inflight.leave(scope)

    # What the execution asks

    def waiters(self) -> list[asyncio.Future[None]]:
        return [waiter for call in self.active.values() for waiter in call.waiters]

    def cancel_all(self) -> None:
        for call in list(self.active.values()):
            call.cancel()

    def _breathless(self) -> bool:
        """Whether the event loop should have a turn, however quick the steps are."""
        self._unbroken += 1
        return self._unbroken > _STEPS or self._engine.clock.monotonic() - self._breathed > _BREATH

    def _notice_reuse(
        self,
        path: str,
        name: str | None,
        arguments: str | None,
        fn: Callable[..., Any],
        args: Any,
        kwargs: Any,
    ) -> None:
        """A key that is used again with another function, or under `strict` other arguments."""
        now = function_name(fn)
        if name is not None and now != name:
            message = f"key {path!r} is used for {now}, but its output is that of {name}"
        elif self._engine.strict and arguments is not None and digest(args, kwargs) != arguments:
            message = f"key {path!r} is used again for {now} with other arguments"
        else:
            return
        if self._engine.strict:
            raise KeyReused(message)
        self._execution.warn(f"{message}; the first output is returned")
