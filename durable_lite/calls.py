"""The context calls of one execution: steps and waits, each done once and then answered from memory."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from . import codec, failures
from .children import create_child
from .errors import KeyReused, NotSerializable, StepTimeout, TooLarge
from .events import EventType
from .guarded import Verb
from .inflight import Scope
from .records import Checkpoint, NewEvent, StepRow
from .retry import Retry
from .shapes import Shape, return_shape
from .step import StepOptions, digest, function_name
from .stepcall import StepCall

if TYPE_CHECKING:
    from .execution import Execution

__all__ = ["Calls", "current_scope", "together"]

# Where the running code is: set in each step's own task, inherited by the tasks it starts.
current_scope: contextvars.ContextVar[Scope] = contextvars.ContextVar("durable_lite_scope")

ONCE = Retry(max_attempts=1)
# Steps that never wait share the event loop after so many seconds, or steps.
_BREATH, _STEPS = 0.002, 100
# Turns of the event loop in which the branches beside one come to their checkpoints.
_SIBLINGS = 3


def _value(kind: str, ref: str | None, output: str, shape: Shape | None) -> Any:
    """What a call returns for its stored output; a trigger returns the id of its run."""
    return ref if kind == "trigger" else codec.decode(output, shape)


def _same(error: BaseException) -> BaseException:
    return error


class Calls:
    """Answers the calls of one execution: from its checkpoints, or by executing and storing."""

    def __init__(self, execution: Execution, checkpoints: list[Checkpoint]) -> None:
        self._execution = execution
        self._engine = execution.engine
        self._store = execution.engine.store
        self._inflight = execution.inflight
        self.memo: dict[str, Checkpoint | StepRow] = {one.path: one for one in checkpoints}
        self._ahead = set(self.memo)  # checkpoints that this execution has not come to
        self.active: dict[str, StepCall] = {}
        self._breathed, self._unbroken = self._engine.clock.monotonic(), 0

    # Steps

    async def step(
        self, scope: Scope, path: str, fn: Callable[..., Any], args: Any, kwargs: Any, options: StepOptions,
        kind: str = "step", name: str | None = None, shape: Shape | None = None,
    ) -> Any:  # fmt: skip
        """Execute `fn` once for `path`; every call gets the stored value, or the stored failure.

        A wait of another `kind` says its `name`, and the `shape` of the text that `fn` returns.
        """
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
                self._ahead.discard(path)
                if memo.kind != kind:
                    raise KeyReused(f"{path!r} is a {memo.kind} in this run and can't be a {kind} too")
                self._notice_reuse(path, memo.name, memo.arguments, name or function_name(fn), args, kwargs)
                if memo.output is not None:
                    self._inflight.touch()
                    return _value(kind, memo.ref, memo.output, return_shape(fn) if kind == "step" else shape)
                if memo.state == "failed" and memo.attempt == execution.attempt and memo.error is not None:
                    self._inflight.touch()
                    raise failures.rebuild(memo.error, path)
            if execution.must_sweep():
                await execution.sweep()
            call = self.active.get(path) or self._start(
                StepCall(path, fn, args, kwargs, options, scope, kind, name, shape)
            )
            if call.output is not None or call.error is not None:
                if self._breathless():  # it ended without a turn of the event loop
                    await asyncio.sleep(0)
                    self._breathed, self._unbroken = self._engine.clock.monotonic(), 0
                return await self._answer(call)
        else:
            arguments = digest(call.args, call.kwargs) if self._engine.strict else None
            self._notice_reuse(path, call.name, arguments, name or function_name(fn), args, kwargs)
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
        return _value(call.kind, call.ref, call.output, call.shape)

    def _start(self, call: StepCall) -> StepCall:
        self.active[call.path] = call
        self._inflight.enter(call.parent)
        call.task = self._engine.tasks.start(self._run(call))
        if call.abandoned and call.task is not None:
            call.task.cancel()
        return call

    async def _run(self, call: StepCall) -> None:
        """One step's own task: its attempts, its back-off, its checkpoint."""
        execution, path = self._execution, call.path
        current_scope.set(call.own)
        count, memo = self.failure_count(path), self.memo.get(path)
        try:
            if count and memo is not None and memo.state == "retrying":
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
            self._tell_unstored(call, unstorable, count + 1)
        except Exception as bug:
            execution.fault(bug)
        finally:
            self._inflight.close(call.own)
            self._inflight.leave(call.parent)
            del self.active[path]
            call.drop()
            if call.abandoned:
                self._tell_unstored(call, asyncio.CancelledError("its job gave it up"), count)

    def _tell_unstored(self, call: StepCall, error: BaseException, count: int) -> None:
        """It is over, and no stored event will say so."""
        if self._execution.running and self._engine.heard():
            text = failures.event(failures.describe(error, call.path), count, None)
            self._execution.tell(EventType.STEP_FAILED, json.loads(text))

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
        limit = self._engine.max_value_bytes
        verb: Verb
        args: tuple[Any, ...] = ()
        if call.kind == "step":
            output, verb = codec.encode(value, call.shape, key=path, limit=limit), self._store.save_step
        else:
            (output, run, token), verb = value, self._store.save_step
            if (size := len(output) if output.isascii() else len(output.encode())) > limit:
                raise TooLarge(path, size, limit)
            if run is not None:
                verb, args = partial(create_child, self._store, call), (run,)
            elif token is not None:
                verb, args = self._store.create_token, (token,)
        arguments = digest(call.args, call.kwargs) if self._engine.strict else None
        call.saving = True
        row = StepRow(
            execution.run_id, path, execution.next_seq(), call.kind, "completed", call.name, arguments,
            output, None, count, execution.attempt, execution.generation, started, self._engine.clock.now(),
            None, call.options.title, call.ref,
        )  # fmt: skip
        if await execution.write(verb, row, *args):
            self.memo[path] = row if row.ref == call.ref else row._replace(ref=call.ref)
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
            execution.run_id, path, None, call.kind, state, call.name, None, None, text, count,
            execution.attempt, execution.generation, started, now, wake_at, call.options.title, call.ref,
        )  # fmt: skip
        event = NewEvent(
            execution.next_seq(), now, EventType.STEP_FAILED, failures.event(text, count, wake_at)
        )
        stored = await execution.write(self._store.save_failure, row, event)
        call.saving = False
        if not stored:
            return None
        inner = f"{path}/"
        for below, memo in list(self.memo.items()):  # as the store has done: a new try tries them again
            if memo.state in ("failed", "retrying") and below.startswith(inner):
                if memo.kind == "call":
                    self.memo[below] = memo._replace(attempt=0)
                else:
                    del self.memo[below]
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
        self._ahead.discard(path)
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

    # Changes of the code

    async def patch(self, scope: Scope) -> tuple[str, None, None]:
        """What `patched` stores: false if this scope has checkpoints that come after this point."""
        for _ in range(_SIBLINGS):
            await asyncio.sleep(0)
        prefix = scope.prefix
        for path in self._ahead & self.memo.keys():
            if path.startswith(prefix):
                # What a nested step holds belongs to that step, which has been come to or not.
                whole = prefix + path[len(prefix) :].partition("/")[0]
                if whole not in self.memo or whole in self._ahead:
                    return "false", None, None
        return "true", None, None

    def failure_count(self, path: str) -> int:
        """How often the step or wait at this path has failed in this attempt of the run."""
        memo = self.memo.get(path)
        return memo.failures if memo is not None and memo.attempt == self._execution.attempt else 0

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
        now: str,
        args: Any,
        kwargs: Any,
    ) -> None:
        """A key that is used again with another function, or under `strict` other arguments."""
        if name is not None and now != name:
            message = f"key {path!r} is used for {now}, but its output is that of {name}"
        elif self._engine.strict and arguments is not None and digest(args, kwargs) != arguments:
            message = f"key {path!r} is used again for {now} with other arguments"
        else:
            return
        if self._engine.strict:
            raise KeyReused(message)
        self._execution.warn(f"{message}; the first output is returned")


async def together(work: list[Coroutine[Any, Any, None]]) -> None:
    """Run all at once; the first error cancels the rest and is raised as itself."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
