"""Values in messages: shown shortly, however large or odd they are."""

from __future__ import annotations

import reprlib
from typing import Any

__all__ = ["WIDTH", "brief", "cut", "described", "field"]

WIDTH = 60

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = WIDTH


def brief(value: Any) -> str:
    """The `repr` of a value, in at most 60 characters."""
    try:
        return cut(_repr.repr(value))
    except Exception:  # an integer of thousands of digits, a failing __repr__
        return f"({type(value).__name__})"


def described(value: Any) -> str:
    """A value with its type, as in `got str 'x'`."""
    return "None" if value is None else f"{type(value).__name__} {brief(value)}"


def field(name: Any) -> str:
    """A field, an item or a key as a step of a path: `.when`, `[3]`, `['a key']`."""
    plain = type(name) is str and name.isidentifier() and len(name) <= WIDTH
    return f".{name}" if plain else f"[{brief(name)}]"


def cut(text: str, width: int = WIDTH) -> str:
    """A text, cut to `width` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"
