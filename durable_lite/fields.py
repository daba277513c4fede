"""Kinds of fields in documents from elsewhere: what each value must be, or `Wrong` says what it isn't."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from .brief import described
from .codec import is_too_deep
from .durations import MAX_NAME
from .events import LIVE, EventType
from .keys import MAX_KEY_BYTES, unescape
from .runlog import ENGINE, LEVELS
from .status import Status
from .trigger import MAX_TAGS

__all__ = ["KINDS", "Wrong", "parsed"]

_MOST = 2**31 - 1
_LONGEST = 1_000 * 366 * 86_400.0
_is_id = re.compile("[0-9a-hjkmnp-tv-z]{26}").fullmatch
_controls = re.compile("[\x00-\x1f\x7f-\x9f]").search
_halves = re.compile("[\ud800-\udfff]").search
_is_segment = re.compile("(?:[^/%\x00-\x1f\x7f-\x9f]|%25|%2F)+").fullmatch
_is_token = re.compile("tok_[0-9a-f]{32}").fullmatch


class Wrong(Exception):
    """What is wrong with a value."""

    def __init__(self, detail: str) -> None:
        self.detail = detail


def parsed(text: str) -> Any:
    """What JSON text says; every number is a float, as JavaScript has them."""
    if is_too_deep(text):
        raise Wrong("nested too deeply")
    try:
        return json.loads(text, parse_int=float, parse_constant=_no_constant)
    except ValueError as error:
        raise Wrong(f"not JSON: {error}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(f"expected text, got {described(value)}")
    if _halves(value):
        raise Wrong("holds half a character")
    return value


def _label(value: Any) -> str:
    text = _text(value)
    if not text or _controls(text):
        raise Wrong("must not be empty nor hold control characters")
    return text


def _name(value: Any) -> str:
    if len(text := _label(value)) > MAX_NAME:
        raise Wrong(f"expected at most {MAX_NAME} characters")
    return text


def _id(value: Any) -> str:
    if not _is_id(text := _text(value)):
        raise Wrong(f"{described(value)} is no id of a run")
    return text


def _token(value: Any) -> str:
    if not _is_token(text := _text(value)):
        raise Wrong(f"{described(value)} is no id of a token")
    return text


def _path(value: Any) -> str:
    for segment in (text := _text(value)).split("/"):
        if not _is_segment(segment) or len(unescape(segment).encode()) > MAX_KEY_BYTES:
            raise Wrong(f"{described(value)} is no path of a step")
    return text


def _place(value: Any) -> str:
    return value if value in ("", ENGINE) else _path(value)


def _number(low: float, high: float, *, whole: bool = False) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        fits = type(value) is float and low <= value <= high and (not whole or value.is_integer())
        if not fits:
            wanted = "a whole number" if whole else "a number"
            raise Wrong(f"expected {wanted} from {low:,g} to {high:,g}, got {described(value)}")
        return int(value) if whole else value + 0.0

    return check


def _one_of(*choices: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise Wrong(f"expected one of {', '.join(choices)}, got {described(value)}")
        return value

    return check


def _json(fits: Callable[[Any], bool], wanted: str) -> Callable[[Any], str]:
    """JSON text of a value that `fits`."""

    def check(value: Any) -> str:
        if not fits(parsed(text := _text(value))):
            raise Wrong(f"expected JSON text of {wanted}, got {described(value)}")
        return text

    return check


def _is_error(value: Any) -> bool:
    texts = ("type", "message", "module", "args", "key", "code", "traceback")
    return (
        isinstance(value, dict)
        and "type" in value
        and "message" in value
        and ("args" not in value or "module" in value)
        and all(isinstance(value[name], str) for name in texts if name in value)
    )


def _is_progress(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"current", "total", "message"}
        and type(value["current"]) is float
        and type(value["total"]) in (float, type(None))
        and type(value["message"]) in (str, type(None))
    )


def _is_tags(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    texts = [one for one in value if isinstance(one, str) and 0 < len(one) <= MAX_NAME]
    fit = [one for one in texts if not _controls(one) and not _halves(one)]
    return len(set(fit)) == len(value) <= MAX_TAGS


def _is_key(value: Any) -> bool:
    match value:
        case ["global", parts]:
            fits = True
        case ["run", str(id), parts]:
            fits = bool(_is_id(id))
        case ["attempt", str(id), float(attempt), parts]:
            fits = bool(_is_id(id)) and 1 <= attempt <= _MOST and attempt.is_integer()
        case _:
            return False
    return fits and isinstance(parts, (str, list)) and len(parts) > 0


KINDS: dict[str, Callable[[Any], Any]] = {
    "id": _id,
    "name": _name,
    "text": _text,
    "path": _path,
    "place": _place,
    "count": _number(0, _MOST, whole=True),
    "ordinal": _number(1, _MOST, whole=True),
    "priority": _number(-_MOST, _MOST, whole=True),
    "moment": _number(-_LONGEST, _LONGEST),
    "seconds": _number(0, _LONGEST),
    "status": _one_of(Status.PENDING, Status.WAITING),
    "kind": _one_of("step", "sleep", "token", "wait", "event", "send", "trigger", "call", "patch"),
    "state": _one_of("completed", "failed", "retrying", "waiting"),
    "token": _token,
    "token_kind": _one_of("token", "event"),
    "token_state": _one_of("pending", "completed", "failed", "expired"),
    "type": _one_of(*(type for type in EventType if type not in LIVE | {EventType.STEP_COMPLETED})),
    "level": _one_of(*LEVELS),
    "value": _json(lambda value: True, "any value"),
    "object": _json(lambda value: isinstance(value, dict), "an object"),
    "error": _json(_is_error, "an error with a type and a message"),
    "progress": _json(_is_progress, "an object with current, total and message"),
    "tags": _json(_is_tags, f"a list of at most {MAX_TAGS} different texts"),
    "key": _json(_is_key, "a scope and parts"),
}
