"""`Context`: what a job's author holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from . import keys
from .calls import current_scope, together
from .durations import count, flag, moment, name_of, number, seconds
from .errors import DurableError, InvalidOption, RunCancelled, SyncStepError
from .inflight import Scope
from .job import Job
from .matching import filter_text
from .retry import Retry
from .runinfo import Log, Metadata, RunInfo
from .step import NO_OPTIONS, Duration, StepOptions
from .tokens import Token
from .trigger import TriggerOptions

if TYPE_CHECKING:
    from datetime import datetime

    from .execution import Execution
    from .fetching import Response

__all__ = ["Context", "RunInfo", "current"]

P = ParamSpec("P")
T = TypeVar("T")
I = TypeVar("I")  # noqa: E741  an item


class Context:
    """One run, to its job. Keys come first; everything that waits is safe inside `gather`.

    A key names a step within its run: the same key executes once and returns its first output.
    """

    __slots__ = ("_execution", "_options")

    def __init__(self, execution: Execution, options: StepOptions = NO_OPTIONS) -> None:
        self._execution, self._options = execution, options

    # Steps

    @overload
    def step(
        self, key: str, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def step(
        self, key: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def step(
        self, key: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]: ...

    def step(self, key: str, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run `fn(*args, **kwargs)` once in this run, store its output, return the stored value.

        A sync `fn` runs in a thread (in the tab: inline). Its failure is stored as well and raised
        here, also on replay, until the run is tried again. Raises `NotSerializable` and `TooLarge`,
        with nothing stored, and `StepFailed` for an exception that can't be rebuilt.
        """
        scope = self._scope("step")
        if not callable(fn):
            raise InvalidOption(f"step {key!r}", f"expected a function, got {type(fn).__name__}")
        return self._execution.calls.step(
            scope, scope.prefix + keys.escape(key), fn, args, kwargs, self._options
        )

    def options(
        self, *, retry: Retry | None = None, timeout: Duration = None, title: str | None = None
    ) -> Context:
        """The same context, with options for the next call: `ctx.options(retry=…).step(…)`.

        Steps don't retry unless told. `timeout` counts awake time of one attempt.
        """
        return Context(self._execution, StepOptions.parse(retry, timeout, title).over(self._options))

    async def map(
        self,
        key: str,
        fn: Callable[[I], Awaitable[T]] | Callable[[I], T],
        items: Iterable[I],
        *,
        by: Callable[[I], object] | None = None,
        limit: int = 8,
    ) -> list[T]:
        """`fn(item)` as a step for each item, `limit` at a time; outputs in the order of the items.

        The steps nest under `key`, named by index, or by `by(item)`, which must differ for each
        item. The first failure cancels the others and is raised.
        """
        scope = self._scope("map")
        prefix = f"{scope.prefix}{keys.escape(key)}/"
        given = list(items)
        names = [str(index if by is None else by(item)) for index, item in enumerate(given)]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidOption("by", f"two items of map {key!r} have the key {twice!r}")
        paths = [prefix + keys.escape(name) for name in names]
        outputs: list[Any] = [None] * len(given)
        todo = iter(range(len(given)))

        async def work() -> None:
            for index in todo:
                outputs[index] = await self._execution.calls.step(
                    scope, paths[index], fn, (given[index],), {}, self._options
                )

        await together([work() for _ in range(min(count(limit, "limit"), len(given)))])
        return outputs

    # Waits

    async def sleep(self, key: str, duration: Duration) -> None:
        """Wait durably; the run is suspended meanwhile. The end is fixed when first executed."""
        scope = self._scope("sleep")
        length = seconds(duration, f"sleep {key!r}", allow_zero=True)
        await self._execution.calls.sleep(scope, scope.prefix + keys.escape(key), lambda now: now + length)

    async def sleep_until(self, key: str, when: datetime | float) -> None:
        """Wait durably until an aware `datetime` or seconds since the epoch; at once if it has passed."""
        scope = self._scope("sleep_until")
        wake_at = moment(when, f"sleep_until {key!r}")
        await self._execution.calls.sleep(scope, scope.prefix + keys.escape(key), lambda now: wake_at)

    # Tokens and events

    @overload
    async def create_token(self, key: str, *, timeout: Duration) -> Token[Any]: ...
    @overload
    async def create_token(self, key: str, *, timeout: Duration, type: type[T]) -> Token[T]: ...

    async def create_token(self, key: str, *, timeout: Duration, type: Any = Any) -> Token[Any]:
        """A promise for somebody outside to keep: hand out `token.id`, then `await token.wait()`.

        `app.complete_token(id, value)` keeps it. The deadline is fixed when it is first created. A value
        that isn't of `type` raises `InvalidPayload` where it is waited for.
        """
        scope, path = self._place("create_token", key)
        limit = seconds(timeout, f"token {key!r}: timeout")
        return await self._execution.tokens.create(scope, path, limit, type, self._options)

    @overload
    async def wait_for_token(self, key: str, *, timeout: Duration) -> Any: ...
    @overload
    async def wait_for_token(self, key: str, *, timeout: Duration, type: type[T]) -> T: ...

    async def wait_for_token(self, key: str, *, timeout: Duration, type: Any = Any) -> Any:
        """`create_token`, for somebody who finds its id in a list of tokens, and `wait`."""
        return await (await self.create_token(key, timeout=timeout, type=type)).wait()

    @overload
    async def wait_for_event(
        self, key: str, name: str, *, timeout: Duration, match: dict[str, Any] | None = None
    ) -> Any: ...
    @overload
    async def wait_for_event(
        self, key: str, name: str, *, timeout: Duration, match: dict[str, Any] | None = None, type: type[T]
    ) -> T: ...

    async def wait_for_event(
        self, key: str, name: str, *, timeout: Duration, match: dict[str, Any] | None = None, type: Any = Any
    ) -> Any:
        """The payload of the next event of this name that is sent from now on and matches.

        `match` and `type` are as for `Event` and `create_token`. Raises `TokenTimeout`.
        """
        scope, path = self._place("wait_for_event", key)
        limit, text = seconds(timeout, f"event {key!r}: timeout"), filter_text(match)
        name = name_of(name, "name of an event")
        return await self._execution.tokens.event(scope, path, name, text, limit, type, self._options)

    async def send_event(self, key: str, name: str, payload: Any = None) -> None:
        """Send an event, once. As a step it is stored, and may be tried again."""
        scope, path = self._place("send_event", key)
        name_of(name, "name of an event")
        tokens = self._execution.tokens
        await self._execution.calls.step(
            scope, path, partial(tokens.send, path, name), (payload,), {}, self._options, "send", name
        )

    # Other runs

    async def trigger(
        self, key: str, job: Job[I, Any] | str, payload: I | Mapping[str, Any] | None = None,
        **options: Unpack[TriggerOptions],
    ) -> str:  # fmt: skip
        """Start a run and go on; returns its id. Once per key, and cancelled when this run is cancelled.

        The options are those of `Durable.trigger`; an `idempotency_key` has the scope of this run
        unless `scope` says otherwise.
        """
        scope, path = self._place("trigger", key)
        children = self._execution.children
        found = children.job(job)
        run_id: str = await self._execution.calls.step(
            scope, path, partial(children.start, path, found, options), (payload,), {}, self._options,
            "trigger", found.name,
        )  # fmt: skip
        return run_id

    @overload
    async def call(
        self, key: str, job: Job[I, T], payload: I | Mapping[str, Any] | None = None,
        **options: Unpack[TriggerOptions],
    ) -> T: ...  # fmt: skip
    @overload
    async def call(
        self, key: str, job: str, payload: Any = None, **options: Unpack[TriggerOptions]
    ) -> Any: ...

    async def call(self, key: str, job: Any, payload: Any = None, **options: Unpack[TriggerOptions]) -> Any:
        """Start a run and wait for its output, holding no slot meanwhile. Raises `ChildFailed`."""
        scope, path = self._place("call", key)
        children = self._execution.children
        found = children.job_to_call(job, options)
        return await self._execution.calls.step(
            scope, path, partial(children.join, path, found, options, False), ([payload],), {}, self._options,
            "call", found.name, found.output,
        )  # fmt: skip

    @overload
    async def call_many(
        self, key: str, job: Job[I, T], payloads: Iterable[I | Mapping[str, Any]],
        **options: Unpack[TriggerOptions],
    ) -> list[T]: ...  # fmt: skip
    @overload
    async def call_many(
        self, key: str, job: str, payloads: Iterable[Any], **options: Unpack[TriggerOptions]
    ) -> list[Any]: ...

    async def call_many(
        self, key: str, job: Any, payloads: Iterable[Any], **options: Unpack[TriggerOptions]
    ) -> list[Any]:
        """One child run for each payload, started together; their outputs in order.

        Wakes once, when all have completed, or as soon as one has ended otherwise: `ChildFailed`. The
        others go on then; tried again, only children that had not completed are started anew.
        """
        scope, path = self._place("call_many", key)
        children, given = self._execution.children, list(payloads)
        found = children.job_to_call(job, options)
        outputs: list[Any] = await self._execution.calls.step(
            scope, path, partial(children.join, path, found, options, True), (given,), {}, self._options,
            "call", found.name, found.output,
        )  # fmt: skip
        return outputs

    # Changes of the code

    async def patched(self, name: str) -> bool:
        """Whether this run takes the changed code: `if await ctx.patched("new-tax-rules"): …`.

        True, unless the run had gone beyond this point when the change came: then it has checkpoints that
        this execution has not come to yet. Answered once, and stored. Where branches run side by side,
        those of another branch that is slow to come to them count, too.
        """
        scope, path = self._place("patched", name)
        calls = self._execution.calls
        answer: bool = await calls.step(
            scope, path, partial(calls.patch, scope), (), {}, self._options, "patch", name
        )
        return answer

    # Other services

    async def fetch(
        self,
        key: str,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        content: str | bytes | None = None,
        idempotency_key: bool = False,
        retry_on: Iterable[int | str] | None = None,
        redact: Iterable[str] = (),
        max_bytes: int | None = None,
    ) -> Response:
        """Send a request as a step, and record its answer: by httpx, in a tab by the page's `fetch`.

        Without an answer, and after a status of `retry_on` (408, 425, 429, "5xx" unless given), it is tried
        again as `ctx.options(retry=…)` says, by default as `Retry()`; a `Retry-After` is honoured, the last
        failure is raised as `FetchFailed`. Other statuses are returned. `ctx.options(timeout=…)` is for each
        try, 30 s by default.

        `idempotency_key` sends a header of this name, the same at each try. Headers named in `redact`, and
        cookies and credentials anyway, are recorded as "[redacted]"; the request isn't recorded. An answer of
        more than `max_bytes` (at most and by default the application's `max_value_bytes`) is `TooLarge`.
        Raises `InvalidOption` naming what is wrong.
        """
        from . import fetching

        scope, path = self._place("fetch", key)
        execution = self._execution
        same = keys.of_effect(execution.run_id, path) if flag(idempotency_key, "idempotency_key") else None
        request = fetching.request_of(method, url, headers, content, json, same)
        rule = fetching.rule_of(retry_on, redact, max_bytes, execution.engine.max_value_bytes)
        return await fetching.fetch(execution, scope, path, self._options, request, rule)

    def connection(self, name: str) -> Any:
        """The client of a connection that the job `requires`. `InvalidOption` if it doesn't."""
        return self._execution.holdings.client(name)

    @property
    def auth(self) -> Any:
        """The credentials that the job's `auth` resolver gave for this run; they are not to be stored."""
        return self._execution.holdings.auth(self._execution.job)

    # Telling

    def progress(self, current: float, total: float | None = None, message: str | None = None) -> None:
        """Show how far the run is. Seen at once in this process, stored with the next heartbeat."""
        number(current, "progress(current)")
        if total is not None:
            number(total, "progress(total)")
        if message is not None and not isinstance(message, str):
            raise InvalidOption("progress(message)", f"expected a str, got {type(message).__name__}")
        self._execution.check_running()
        self._execution.log.progress(current, total, message)

    @property
    def log(self) -> Log:
        """The run log: `ctx.log.info("sent", to=address)`."""
        return Log(self._execution)

    @property
    def metadata(self) -> Metadata:
        """Named values that show with the run: `ctx.metadata.set("rows", 500)`."""
        return Metadata(self._execution)

    @property
    def run(self) -> RunInfo:
        """Facts about this run."""
        return RunInfo.of(self._execution.run)

    @property
    def idempotency_key(self) -> str:
        """Names what the step does that this is asked in: the same at each try, another one in another run.

        For services that take such a key, to do once what they are asked twice.
        """
        execution = self._execution
        return keys.of_effect(execution.run_id, execution.scope().path)

    # Cooperative cancellation

    @property
    def cancelled(self) -> bool:
        """Whether the work of this step is not wanted any more; a sync step asks now and then."""
        execution = self._execution
        call = execution.calls.active.get(execution.scope().path)
        return execution.stop_reason is not None or (call is not None and (call.abandoned or call.timed_out))

    def raise_if_cancelled(self) -> None:
        """Raise `RunCancelled` if `cancelled`."""
        if self.cancelled:
            raise RunCancelled(f"run {self._execution.run_id} is not to go on")

    def on_cancel(self, callback: Callable[[], object]) -> None:
        """Call this when the run is cancelled or times out, to forward the cancel elsewhere."""
        self._execution.cancel_callbacks.append(callback)

    def _place(self, call: str, key: str) -> tuple[Scope, str]:
        scope = self._scope(call)
        return scope, scope.prefix + keys.escape(key)

    def _scope(self, call: str) -> Scope:
        scope = self._execution.scope()
        if scope.sync:
            raise SyncStepError(call)
        if scope.closed:
            raise DurableError(
                f"ctx.{call} was called by what step {scope.path!r} left behind; await it there"
            )
        return scope


def current() -> Context:
    """The context of the run that is executing here: for step functions that nest, log or report."""
    scope = current_scope.get(None)
    if scope is None:
        raise DurableError("current() is only for code that a run executes")
    owner: Any = scope.owner
    context: Context = owner.context
    return context
