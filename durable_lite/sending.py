"""Sending an event: once by its id, to the jobs that it starts and the runs that wait for it."""

from __future__ import annotations

import json
from collections.abc import Callable

from .matching import matches
from .ports import Store
from .records import Sent, SentEvent
from .trigger import run_started_by

__all__ = ["send"]


async def send(
    store: Store,
    event_id: str,
    name: str,
    payload: str,
    now: float,
    new_id: Callable[[], str],
    environment: str | None,
) -> Sent:
    """Store the event, with a run for each job that it starts, and wake those who wait for it."""
    plain = json.loads(payload)
    trigger = {"kind": "event", "name": name, "event": event_id, "timestamp": now}
    started = {
        row.job: row for row in await store.list_triggers("event", name) if matches(row.match, plain)
    }  # once for each job, however many of its filters match
    runs = [run_started_by(trigger, new_id(), row, payload, now, environment) for row in started.values()]
    return await store.send_event(SentEvent(event_id, name, payload, now), runs)
