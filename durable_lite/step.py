"""What a step is told besides its function and arguments: `ctx.options(…)` and `@step(…)`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple, TypeVar

from . import codec
from .durations import seconds
from .errors import InvalidOption, NotSerializable, TooLarge
from .retry import Retry

__all__ = ["StepOptions", "digest", "function_name", "is_async", "options_of", "step"]

F = TypeVar("F", bound=Callable[..., Any])
_ATTRIBUTE = "__durable_step__"
Duration = Any  # seconds, a timedelta, or a string such as "90s"


class StepOptions(NamedTuple):
    """Options of one call; None is not given."""

    retry: Retry | None = None
    timeout: float | None = None
    title: str | None = None

    @classmethod
    def parse(cls, retry: Retry | None, timeout: Duration, title: str | None) -> StepOptions:
        """Check what a user gave. `InvalidOption` names what is wrong."""
        if retry is not None and not isinstance(retry, Retry):
            raise InvalidOption("retry", f"expected a Retry, got {type(retry).__name__}")
        if title is not None and not isinstance(title, str):
            raise InvalidOption("title", f"expected a str, got {type(title).__name__}")
        return cls(retry, None if timeout is None else seconds(timeout, "timeout"), title)

    def over(self, other: StepOptions) -> StepOptions:
        """These options, and `other` where they say nothing."""
        return StepOptions(
            self.retry if self.retry is not None else other.retry,
            self.timeout if self.timeout is not None else other.timeout,
            self.title if self.title is not None else other.title,
        )


NO_OPTIONS = StepOptions()


def step(
    *, retry: Retry | None = None, timeout: Duration = None, title: str | None = None
) -> Callable[[F], F]:
    """Give a step function its options once, for every `ctx.step` that calls it.

    `timeout` counts awake time of one attempt. `ctx.options(…)` at the call goes before these.
    """
    options = StepOptions.parse(retry, timeout, title)

    def mark(fn: F) -> F:
        setattr(fn, _ATTRIBUTE, options)
        return fn

    return mark


def options_of(fn: Callable[..., Any], given: StepOptions) -> StepOptions:
    """The options of a call: what was given there, then the function's own."""
    own: StepOptions | None = getattr(fn, _ATTRIBUTE, None)
    if own is None:
        return given
    return own if given is NO_OPTIONS else given.over(own)


def function_name(fn: Callable[..., Any]) -> str:
    """`module.function`, by which the reuse of a key is noticed."""
    if type(fn) is FunctionType:
        return f"{fn.__module__}.{fn.__qualname__}"
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    return f"{getattr(fn, '__module__', None) or '?'}.{name}"


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether calling `fn` makes a coroutine, so that it runs on the event loop."""
    if type(fn) is FunctionType and fn.__code__.co_flags & inspect.CO_COROUTINE:
        return True
    return inspect.iscoroutinefunction(fn) or (
        not inspect.isroutine(fn) and inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004  callable() says too little
    )


def digest(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """A short digest of a call's arguments; None when they can't be written down."""
    import hashlib  # under strict only

    try:
        text = codec.encode([list(args), kwargs], key="arguments")
    except (NotSerializable, TooLarge):
        return None
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
