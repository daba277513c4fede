"""Why the engine stops an execution: read from its own state, never from an exception."""

from __future__ import annotations

from enum import Enum

__all__ = ["Stop"]


class Stop(Enum):
    """Why the engine stopped an execution before its job had ended."""

    SUSPENDED = "suspended"
    CANCELLED = "cancelled"
    LOST = "lease lost"
    STALE = "stale"
    RELEASED = "released"
    TIMED_OUT = "timed out"
    FAULT = "fault"
