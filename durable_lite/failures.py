"""Exceptions as stored errors and back: what a failure was, so that a replay raises the same.

An exception whose class is loaded and whose arguments the codec can rebuild is raised as itself;
any other is `StepFailed`, from the first time on. Nothing is imported by name.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from . import codec
from .errors import AbortRun, ChildFailed, FetchFailed, NotSerializable, RetryAfter, StepFailed, TooLarge
from .retry import never_retried

__all__ = ["brief", "describe", "event", "is_permanent", "rebuild", "retry_after"]

_MESSAGE_LIMIT = 2_000
_TRACEBACK_LIMIT = 16_000


def describe(error: BaseException, key: str = "") -> str:
    """The JSON text of an error: type, module, message, arguments where they can be kept, traceback."""
    cls = type(error)
    stored: dict[str, Any] = {
        "type": cls.__qualname__,
        "module": cls.__module__,
        "message": _message(error),
        "traceback": "".join(traceback.format_exception(error))[-_TRACEBACK_LIMIT:],
    }
    if key:
        stored["key"] = key
    if is_permanent(error):
        stored["permanent"] = True
    if isinstance(error, Exception) and "<locals>" not in cls.__qualname__:
        try:
            stored["args"] = codec.encode(_arguments(error), key=key or "error", limit=_TRACEBACK_LIMIT)
        except (NotSerializable, TooLarge):
            pass
        else:
            if _rebuilt(stored) is None or _message(_rebuilt(stored)) != stored["message"]:
                del stored["args"]
    # Text from anywhere may hold lone surrogates, which no database takes as UTF-8.
    return json.dumps(stored, ensure_ascii=True)


def event(text: str, count: int, wake_at: float | None) -> str:
    """The data of a `step.failed` event: the error without its traceback."""
    error = brief(text)
    path = error.pop("key", None)
    return json.dumps({"path": path, "error": error, "failures": count, "retry_at": wake_at})


def brief(text: str) -> dict[str, Any]:
    """A stored error without its traceback and arguments, for an event."""
    stored = json.loads(text)
    return {name: stored[name] for name in ("type", "message", "key") if name in stored}


def rebuild(text: str, key: str = "") -> Exception:
    """The exception to raise for a stored error."""
    stored = json.loads(text)
    error = _rebuilt(stored)
    if error is not None:
        return error
    key = stored.get("key", key)
    if stored.get("permanent"):
        return AbortRun(f"{key}: {stored['type']}: {stored['message']}")
    return StepFailed(key, stored["type"], stored["message"])


def is_permanent(error: BaseException, *, children: bool = False) -> bool:
    """Whether no retry can help: also for a group that holds such an error. With `children`, for theirs."""
    return any(never_retried(leaf) or (children and isinstance(leaf, ChildFailed)) for leaf in _leaves(error))


def retry_after(error: BaseException) -> float | None:
    """The delay that the error asks for, if it does."""
    asked = [leaf.delay for leaf in _leaves(error) if isinstance(leaf, RetryAfter | FetchFailed)]
    return max((delay for delay in asked if delay is not None), default=None)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _message(error: BaseException | None) -> str:
    try:
        return str(error)[:_MESSAGE_LIMIT]
    except Exception as broken:  # a __str__ of user code
        return f"<no message: {type(broken).__name__}>"


def _arguments(error: Exception) -> list[Any]:
    """What its class makes it again from: `args`, unless it says otherwise as `OSError` does."""
    try:
        made_by: Any = error.__reduce__()
        cls, arguments = made_by[:2]
    except Exception:  # of user code
        return list(error.args)
    return list(arguments if cls is type(error) and isinstance(arguments, tuple) else error.args)


def _rebuilt(stored: dict[str, Any]) -> Exception | None:
    if "args" not in stored:
        return None
    cls: Any = sys.modules.get(stored["module"])
    for name in stored["type"].split("."):
        cls = getattr(cls, name, None)
    if not (isinstance(cls, type) and issubclass(cls, Exception)):
        return None
    try:
        error = cls(*codec.decode(stored["args"]))
    except Exception:  # a constructor of user code
        return None
    return error if type(error) is cls else None
