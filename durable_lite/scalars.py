"""Values without parts: how each is read from JSON, and what JSON Schema calls it."""

from __future__ import annotations

import binascii
import functools
import math
from collections.abc import Callable
from typing import Any

__all__ = ["scalar_for"]

Convert = Callable[[Any], Any]


def scalar_for(annotation: Any) -> tuple[str, Convert, dict[str, Any]]:
    """What to call it, how to read it (raises `TypeError`, `ValueError`, `ArithmeticError`), its schema.

    Raises `KeyError` for any other annotation.
    """
    return _scalars()[annotation]


def _exact(*types: type) -> Convert:
    def convert(value: Any) -> Any:
        if type(value) not in types:
            raise TypeError
        return value

    return convert


def _float(value: Any) -> float:
    return float(_exact(float, int)(value))


def _from_text(cls: type, read: Callable[[str], Any]) -> Convert:
    return lambda value: value if type(value) is cls else read(_exact(str)(value))


@functools.cache
def _scalars() -> dict[Any, tuple[str, Convert, dict[str, Any]]]:
    """Made on first need: these modules are slow to import."""
    from datetime import date, datetime, timedelta
    from decimal import Decimal
    from uuid import UUID

    def read_timedelta(value: Any) -> Any:
        return value if type(value) is timedelta else timedelta(seconds=_exact(int, float)(value))

    def read_decimal(value: Any) -> Any:
        if type(value) is float and not math.isfinite(value):
            raise ValueError
        return value if type(value) is Decimal else Decimal(str(_exact(str, int, float)(value)))

    def text(**more: str) -> dict[str, Any]:
        return {"type": "string", **more}

    return {
        str: ("str", _exact(str), text()),
        int: ("int", _exact(int), {"type": "integer"}),
        float: ("float", _float, {"type": "number"}),
        bool: ("bool", _exact(bool), {"type": "boolean"}),
        type(None): ("None", _exact(type(None)), {"type": "null"}),
        None: ("None", _exact(type(None)), {"type": "null"}),
        bytes: (
            "bytes (as base64 text)",
            _from_text(bytes, lambda value: binascii.a2b_base64(value, strict_mode=True)),
            text(contentEncoding="base64"),
        ),
        datetime: (
            "datetime (as ISO 8601 text)",
            _from_text(datetime, datetime.fromisoformat),
            text(format="date-time"),
        ),
        date: ("date (as ISO 8601 text)", _from_text(date, date.fromisoformat), text(format="date")),
        timedelta: ("timedelta (as seconds)", read_timedelta, {"type": "number"}),
        Decimal: ("Decimal (as text or a number)", read_decimal, {"type": ["string", "number"]}),
        UUID: ("UUID (as text)", _from_text(UUID, UUID), text(format="uuid")),
    }
