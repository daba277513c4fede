"""Step keys and their paths, and idempotency keys: how each is checked and written."""

from __future__ import annotations

import json
import re
from typing import Any

from .brief import brief, cut, described
from .errors import InvalidOption

__all__ = [
    "MAX_IDEMPOTENCY_BYTES",
    "MAX_KEY_BYTES",
    "canonical",
    "escape",
    "event_id",
    "is_under",
    "join",
    "of_effect",
    "split",
    "unescape",
]

MAX_KEY_BYTES = 512
MAX_IDEMPOTENCY_BYTES = 1024
"""With a job's name and a scope it still fits one row of a database index."""

_is_ordinary = re.compile(r"[A-Za-z0-9_.: =,@#+-]{1,512}").fullmatch
_bad_character = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]").search


def escape(key: str) -> str:
    """A user's key as one segment of a path: `%` and `/` become `%25` and `%2F`.

    Raises `InvalidOption("key", …)` unless the key is a string of 1 to 512 bytes in UTF-8 without
    control characters.
    """
    if type(key) is str and _is_ordinary(key):
        return key
    if not isinstance(key, str):
        raise InvalidOption("key", f"expected a string, got {described(key)}")
    key = str.__str__(key)  # a StrEnum, say
    if not key:
        raise InvalidOption("key", "must not be empty")
    bad = _bad_character(key)
    if bad:
        raise InvalidOption("key", f"{brief(key)} holds U+{ord(bad[0]):04X}; use printable characters")
    size = len(key.encode())
    if size > MAX_KEY_BYTES:
        raise InvalidOption("key", f"{brief(key)} has {size:,} bytes; at most {MAX_KEY_BYTES} are allowed")
    return key.replace("%", "%25").replace("/", "%2F")


def unescape(segment: str) -> str:
    """The user's key that `escape` gave this segment for."""
    return segment.replace("%2F", "/").replace("%25", "%") if "%" in segment else segment


def join(parent: str, key: str) -> str:
    """The path of the step `key` (as its user wrote it) inside the step `parent`; `""` is the run."""
    return f"{parent}/{escape(key)}" if parent else escape(key)


def split(path: str) -> list[str]:
    """The users' keys along a path, outermost first."""
    return [unescape(segment) for segment in path.split("/")] if path else []


def is_under(path: str, parent: str) -> bool:
    """Whether a path is inside `parent`, at any depth; a path is not inside itself."""
    return path.startswith(f"{parent}/") if parent else bool(path)


def canonical(parts: Any, option: str = "idempotency_key") -> str:
    """A trigger's key as JSON text: a string, or a list or tuple of strings, numbers, bools, None.

    Equal parts give equal text, in Python and in JavaScript: a whole float is written as an integer.
    Raises `InvalidOption(option, …)`.
    """
    if type(parts) is not str and not isinstance(parts, (list, tuple)):
        raise InvalidOption(option, f"expected a string or a list of parts, got {described(parts)}")
    if not parts:
        raise InvalidOption(option, "must not be empty")
    plain = parts if type(parts) is str else [_part(part, index, option) for index, part in enumerate(parts)]
    try:
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except ValueError as error:  # nan, inf, a lone surrogate, an integer of thousands of digits
        raise InvalidOption(option, f"{brief(parts)} has no canonical JSON: {cut(str(error))}") from None
    if size > MAX_IDEMPOTENCY_BYTES:
        limit = f"at most {MAX_IDEMPOTENCY_BYTES:,} are allowed; hash long parts"
        raise InvalidOption(option, f"has {size:,} bytes as JSON; {limit}")
    return text


def of_effect(run_id: str, path: str) -> str:
    """The key of what a step of a run does outside, in ASCII: it may become a header."""
    from urllib.parse import quote

    return f"{run_id}/{quote(path)}"


def event_id(given: Any) -> str:
    """An event's id: 1 to 1,024 bytes of text, by which it is known again. `InvalidOption("id", …)`."""
    try:
        if isinstance(given, str) and 0 < len(given.encode()) <= MAX_IDEMPOTENCY_BYTES:
            return given
    except UnicodeEncodeError:  # a lone surrogate
        pass
    raise InvalidOption("id", f"expected text of 1 to {MAX_IDEMPOTENCY_BYTES} bytes, got {described(given)}")


def _part(part: Any, index: int, option: str) -> Any:
    if type(part) is float and part.is_integer() and abs(part) < 2**53:
        return int(part)
    if part is None or type(part) in (str, int, float, bool):
        return part
    wanted = "expected a string, a number, a bool or None"
    raise InvalidOption(option, f"part {index}: {wanted}, got {described(part)}")
