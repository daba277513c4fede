"""Tokens: external promises that a run waits for, completed by their ids or by events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import codec
from .checks import MAX_PROBLEMS, Unsupported, check_for
from .errors import InvalidOption, InvalidPayload, NotSerializable, Problem, TokenFailed, TokenTimeout
from .failures import brief
from .inflight import Scope
from .records import StepRow, TokenRow
from .sending import send
from .shapes import shape_of
from .step import StepOptions
from .stepcall import Stored

if TYPE_CHECKING:
    from .execution import Execution

__all__ = ["Token", "Tokens"]

T = TypeVar("T")


class Token(Generic[T]):
    """A promise that somebody outside keeps: give `id` to whoever is to complete it, then `wait`."""

    __slots__ = ("_annotation", "_path", "_tokens", "deadline", "id")

    def __init__(self, tokens: Tokens, path: str, id: str, deadline: float, annotation: Any) -> None:
        self._tokens, self._path, self._annotation = tokens, path, annotation
        self.id, self.deadline = id, deadline

    async def wait(self) -> T:
        """The value that it was completed with; the run is suspended meanwhile.

        Raises `TokenTimeout` when nobody did so in time, `TokenFailed` if `fail_token` was called, and
        `InvalidPayload` for a value that isn't of the token's type.
        """
        value: T = await self._tokens.wait(self._path, self.id, self.deadline, self._annotation)
        return value

    def __repr__(self) -> str:
        return f"<Token {self._path!r} {self.id}>"


class Tokens:
    """The tokens of one execution."""

    def __init__(self, execution: Execution) -> None:
        self._execution, self._engine = execution, execution.engine

    async def create(
        self, scope: Scope, path: str, timeout: float, annotation: Any, options: StepOptions
    ) -> Token[Any]:
        """The token of this path. Its deadline is fixed when it is first created."""
        _check(annotation, path)  # before anything is stored
        made = await self._execution.calls.step(
            scope, path, self._make, (path, timeout), {}, options, "token", "token"
        )
        return Token(self, path, made[0], made[1], annotation)

    async def wait(self, path: str, token_id: str, deadline: float, annotation: Any) -> Any:
        scope = self._execution.context._scope("wait_for_token")
        where = f"{path}/wait"
        return await self._execution.calls.step(
            scope, where, self._await, (where, token_id, deadline, annotation), {}, StepOptions(), "wait",
            "token", shape_of(annotation),
        )  # fmt: skip

    async def event(
        self, scope: Scope, path: str, name: str, match: str, timeout: float, annotation: Any,
        options: StepOptions,
    ) -> Any:  # fmt: skip
        """The payload of the next event of this name that matches."""
        _check(annotation, path)
        return await self._execution.calls.step(
            scope, path, self._await_event, (path, name, match, timeout, annotation), {}, options, "event",
            name, shape_of(annotation),
        )  # fmt: skip

    async def _make(self, path: str, timeout: float) -> Stored:
        token = self._new(path, "token", timeout)
        self._execution.calls.active[path].ref = token.id
        return Stored(codec.encode([token.id, token.deadline], key=path), token=token)

    async def _await(self, path: str, token_id: str, deadline: float, annotation: Any) -> Stored:
        call = self._execution.calls.active[path]
        call.ref = token_id
        token = await self._execution.waits.token(call.own, path, token_id, deadline)
        if token is None or token.state == "expired":
            raise TokenTimeout(path, token_id)
        if token.state == "failed":
            raise TokenFailed(path, token_id, str(brief(token.error or "{}").get("message", "")))
        return Stored(_fitted(token.output or "null", annotation, path))

    async def _await_event(self, path: str, name: str, match: str, timeout: float, annotation: Any) -> Stored:
        execution = self._execution
        memo = execution.calls.memo.get(path)
        if memo is None or memo.state != "waiting" or memo.ref is None:
            token = self._new(path, "event", timeout)._replace(name=name, match=match)
            memo = StepRow(
                execution.run_id, path, None, "event", "waiting", name, None, None, None,
                execution.calls.failure_count(path), execution.attempt, execution.generation,
                token.created_at, None, token.deadline, None, token.id,
            )  # fmt: skip
            if not await execution.write(self._engine.store.create_token, memo, token):
                await execution.refuse_call()
            execution.calls.memo[path] = memo
        return await self._await(path, memo.ref or "", memo.wake_at or 0.0, annotation)

    async def send(self, path: str, name: str, payload: Any) -> Stored:
        """Send an event, whose id says that this step has sent it."""
        execution, engine = self._execution, self._engine
        text = codec.encode(payload, key=path, limit=engine.max_value_bytes)
        event_id = f"{execution.run_id}/{path}"
        now, environment = engine.clock.now(), execution.run.environment
        sent = await engine.persist(
            lambda: send(engine.store, event_id, name, text, now, engine.new_id, environment),
            lambda: execution.running,
        )
        if sent is None:
            await execution.refuse_call()
        return Stored("null")

    def _new(self, path: str, kind: str, timeout: float) -> TokenRow:
        now = self._engine.clock.now()
        id = f"tok_{self._engine.entropy.bits(128):032x}"
        return TokenRow(id, self._execution.run_id, path, kind, "pending", now, now + timeout)


def _check(annotation: Any, path: str) -> Any:
    try:
        return check_for(annotation)
    except Unsupported as error:
        raise InvalidOption(f"type of {path!r}", str(error)) from None


def _fitted(text: str, annotation: Any, path: str) -> str:
    """The text of a value that came from outside, as one of this type."""
    shape = shape_of(annotation)
    problems: list[Problem] = []
    try:
        value = _check(annotation, path).convert(codec.decode(text, shape, key=path), "$", problems)
        if not problems:
            return codec.encode(value, shape, key=path)
    except NotSerializable as error:
        problems.append(Problem(error.path, error.detail))
    raise InvalidPayload(path, problems[:MAX_PROBLEMS])
