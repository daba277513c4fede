"""Durations, moments, numbers and flags as users write them, read into plain values or refused by name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from .brief import brief, described
from .errors import InvalidOption

__all__ = [
    "MAX_NAME",
    "count",
    "flag",
    "listed",
    "moment",
    "name_of",
    "number",
    "optional_seconds",
    "seconds",
    "text",
]

_UNITS = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PATTERN = "".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in _UNITS)
_match = re.compile(_PATTERN, re.ASCII).fullmatch
MAX_NAME = 200
_LONGEST = 1_000 * 366 * 86_400.0
_EXAMPLES = 'use seconds, a timedelta, or text such as "90s", "5m", "24h", "3d", "1h30m", "250ms"'


def seconds(value: Any, option: str, *, allow_zero: bool = False) -> float:
    """The seconds of a duration: a number of seconds, a `timedelta`, or text such as `"1h30m"`.

    Raises `InvalidOption(option, …)` for anything else, for zero (unless allowed) and below, for
    nan, and for more than 1,000 years.
    """
    if isinstance(value, str):
        found = _match(value)
        if not value or found is None:
            raise InvalidOption(option, f"{brief(value)} is not a duration; {_EXAMPLES}")
        units = zip(found.groups(), _UNITS.values(), strict=True)
        result = math.fsum(float(amount) * unit for amount, unit in units if amount)
    elif _is_number(value):
        result = _float(value, option)
    else:
        from datetime import timedelta

        if not isinstance(value, timedelta):
            raise InvalidOption(option, f"{described(value)} is not a duration; {_EXAMPLES}")
        result = value.total_seconds()
    if math.isnan(result) or result < 0 or (result == 0 and not allow_zero):
        wanted = "zero or more" if allow_zero else "more than zero"
        raise InvalidOption(option, f"must be {wanted}, got {brief(value)}")
    if result > _LONGEST:
        raise InvalidOption(option, f"must be at most 1,000 years, got {brief(value)}")
    return result + 0.0  # -0.0 is 0.0


def optional_seconds(value: Any, option: str, *, allow_zero: bool = False) -> float | None:
    """`seconds`, or None for None."""
    return None if value is None else seconds(value, option, allow_zero=allow_zero)


def count(value: Any, option: str, *, minimum: int = 1) -> int:
    """An integer of at least `minimum`; raises `InvalidOption(option, …)` for anything else."""
    if type(value) is not int:
        raise InvalidOption(option, f"must be an integer, got {described(value)}")
    if value < minimum:
        raise InvalidOption(option, f"must be at least {minimum}, got {brief(value)}")
    return value


def listed(value: Any, option: str, what: str) -> tuple[Any, ...]:
    """What an iterable holds, unless it is text; raises `InvalidOption(option, …)` for anything else."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidOption(option, f"expected a list of {what}, got {brief(value)}")
    return tuple(value)


def flag(value: Any, option: str) -> bool:
    """True or False; raises `InvalidOption(option, …)` for anything else."""
    if type(value) is not bool:
        raise InvalidOption(option, f"must be True or False, got {described(value)}")
    return value


def name_of(value: Any, option: str) -> str:
    """A name of a job, a queue or a version; `InvalidOption(option, …)` for anything else."""
    if not isinstance(value, str) or not value or len(value) > MAX_NAME or not value.isprintable():
        raise InvalidOption(
            option, f"expected printable text of 1 to {MAX_NAME} characters, got {value!r:.80}"
        )
    return value


def number(value: Any, option: str, *, minimum: float = 0.0) -> float:
    """A finite number of at least `minimum`; raises `InvalidOption(option, …)` for anything else."""
    if not _is_number(value):
        raise InvalidOption(option, f"must be a number, got {described(value)}")
    result = _float(value, option)
    if not math.isfinite(result) or result < minimum:
        raise InvalidOption(option, f"must be a finite number of at least {minimum:g}, got {brief(value)}")
    return result


def moment(value: Any, option: str) -> float:
    """The epoch seconds of a moment: an aware `datetime`, or the seconds themselves.

    Raises `InvalidOption(option, …)` for anything else, and for a `datetime` without a timezone.
    """
    if _is_number(value):
        result = _float(value, option)
        if not abs(result) <= _LONGEST:
            raise InvalidOption(option, f"{brief(value)} is not a moment in epoch seconds")
        return result
    from datetime import datetime

    if not isinstance(value, datetime):
        wanted = "expected a datetime with a timezone, or epoch seconds"
        raise InvalidOption(option, f"{wanted}, got {described(value)}")
    if value.utcoffset() is None:
        raise InvalidOption(option, f"{value} has no timezone; add one, such as tzinfo=timezone.utc")
    return value.timestamp()


def text(seconds: float) -> str:
    """Seconds for people: `250ms`, `1.5s`, `1h30m`, `7d`."""
    if not math.isfinite(seconds):
        return f"{seconds}s"
    sign, rest = ("-", -seconds) if seconds < 0 else ("", float(seconds))
    if rest == 0:
        return "0s"
    if round(rest * 1000, 3) < 1000:
        return f"{sign}{round(rest * 1000, 3):g}ms"
    if round(rest, 3) < 60:
        return f"{sign}{round(rest, 3):g}s"
    whole = round(rest)
    parts = []
    for unit in ("d", "h", "m", "s"):
        amount, whole = divmod(whole, int(_UNITS[unit]))
        if amount:
            parts.append(f"{amount}{unit}")
    return sign + "".join(parts)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _float(value: Any, option: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise InvalidOption(option, "the number is too large") from None
