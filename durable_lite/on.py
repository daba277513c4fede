"""What starts a job besides a trigger, as `@job(on=…)`."""

from __future__ import annotations

from typing import Any

from .durations import name_of
from .matching import filter_text

__all__ = ["Event"]


class Event:
    """Events of this name, sent by `send_event`, start the job with their payload.

    `match` is a filter on fields of the payload: `{"org": "acme", "amount": {"gte": 100},
    "country": {"in": ["IT", "DE"]}}`; all must match. A payload that doesn't fit the job leaves a run
    INVALID_PAYLOAD. Raises `InvalidOption`.
    """

    __slots__ = ("match", "name")

    def __init__(self, name: str, *, match: dict[str, Any] | None = None) -> None:
        self.name = name_of(name, "name of an event")
        self.match = filter_text(match, f"Event({name!r}): match")

    def __repr__(self) -> str:
        return f"Event({self.name!r})"
