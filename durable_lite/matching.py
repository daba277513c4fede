"""Which events match: a filter on the fields of a payload, as data and never as code.

`{"org": "acme", "amount": {"gte": 100}, "customer.country": {"in": ["IT", "DE"]}}`: all fields must match. A
field is named by its path, with dots. Its condition is a value that it must equal, or `{"in": [...]}`, or a
range of `gt`, `gte`, `lt`, `lte` for numbers and texts. Values of different types never match.
`web/matching.mjs` is the same for pages.
"""

from __future__ import annotations

import json
import math
import operator
from typing import Any

from .brief import described
from .errors import InvalidOption

__all__ = ["filter_text", "matches"]

_RANGES = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
_MISSING = object()
_MAX_BYTES = 4096


def filter_text(match: Any, option: str = "match") -> str:
    """The JSON text of a filter. `InvalidOption` names the field whose condition is none."""
    if match is None:
        return "{}"
    if not isinstance(match, dict):
        raise InvalidOption(option, f"expected a dict of fields, got {described(match)}")
    for field, condition in match.items():
        if not isinstance(field, str) or not all(field.split(".")):
            raise InvalidOption(option, f"{described(field)} is no name of a field")
        _check(condition, f"{option}[{field!r}]")
    text = json.dumps(match, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    if len(text.encode("utf-8", "surrogatepass")) > _MAX_BYTES:
        raise InvalidOption(option, f"takes more than {_MAX_BYTES:,} bytes as JSON")
    return text


def matches(text: str, payload: Any) -> bool:
    """Whether the payload (plain JSON data) matches the filter of this text."""
    return all(_fits(_field(payload, field), condition) for field, condition in json.loads(text).items())


def _check(condition: Any, where: str) -> None:
    if not isinstance(condition, dict):
        _check_value(condition, where)
    elif set(condition) == {"in"}:
        if not isinstance(condition["in"], list | tuple) or not condition["in"]:
            raise InvalidOption(where, "in: expected a list of values")
        for value in condition["in"]:
            _check_value(value, where)
    elif condition and set(condition) <= set(_RANGES):
        kinds = {_kind(value) for value in condition.values()}
        if kinds not in ({"number"}, {"text"}):
            raise InvalidOption(where, "a range is of numbers, or of texts")
        for value in condition.values():
            _check_value(value, where)
    else:
        names = ", ".join(["in", *_RANGES])
        raise InvalidOption(where, f"expected a value, or conditions of {names}, got {described(condition)}")


def _check_value(value: Any, where: str) -> None:
    if _kind(value) is None or (isinstance(value, float) and not math.isfinite(value)):
        raise InvalidOption(where, f"expected text, a number, a bool or None, got {described(value)}")


def _kind(value: Any) -> str | None:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else None


def _field(payload: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(payload, dict) or name not in payload:
            return _MISSING
        payload = payload[name]
    return payload


def _fits(value: Any, condition: Any) -> bool:
    if value is _MISSING:
        return False
    if not isinstance(condition, dict):
        return _equal(value, condition)
    if "in" in condition:
        return any(_equal(value, one) for one in condition["in"])
    return all(
        _kind(value) == _kind(limit) and _RANGES[name](_ordered(value), _ordered(limit))
        for name, limit in condition.items()
    )


def _equal(value: Any, wanted: Any) -> bool:
    return _kind(value) is not None and _kind(value) == _kind(wanted) and bool(value == wanted)


def _ordered(value: Any) -> Any:
    """Texts are ordered as JavaScript orders them: by units of UTF-16."""
    return value.encode("utf-16-be", "surrogatepass") if isinstance(value, str) else value
