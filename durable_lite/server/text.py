"""JSON text of what is answered."""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["as_text"]

_write = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def as_text(data: Any) -> str:
    """A line of ASCII: halves of characters, which a payload may have, are escaped too.

    JSON has no nan and no infinity: they are null.
    """
    try:
        return _write(data)
    except ValueError:
        return _write(_finite(data))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _finite(item) for name, item in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(item) for item in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
