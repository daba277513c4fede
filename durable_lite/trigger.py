"""What a trigger may say about its run besides the payload, and the row that it makes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from . import keys
from .durations import moment, name_of, optional_seconds, seconds
from .errors import InvalidOption
from .job import Job
from .records import NewRun
from .step import Duration

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["TriggerOptions", "new_run"]

_SCOPES = ("run", "global", "attempt")


class TriggerOptions(TypedDict, total=False):
    """The options of `Durable.trigger`, which explains them."""

    idempotency_key: str | Sequence[Any] | None
    idempotency_ttl: Duration
    scope: str
    delay: Duration
    deadline: datetime | float | None
    priority: int
    queue: str | None
    max_duration: Duration
    tags: Iterable[str]


def new_run(
    id: str,
    now: float,
    job: Job[Any, Any],
    payload: str,
    options: Mapping[str, Any],
    environment: str | None,
    parent: tuple[str, int] | None = None,
) -> NewRun:
    """A row for a checked payload. `InvalidOption` names the option that is wrong.

    `parent`: the run that starts it, and which attempt of it.
    """
    given = dict(options)
    priority = given.pop("priority", 0)
    if not isinstance(priority, int) or isinstance(priority, bool) or abs(priority) >= 2**31:
        raise InvalidOption("priority", f"expected an integer, got {priority!r:.80}")
    key, ttl = given.pop("idempotency_key", None), given.pop("idempotency_ttl", "30d")
    scope = given.pop("scope", "global" if parent is None else "run")
    prefix = _prefix(scope, parent)
    deadline = given.pop("deadline", None)
    deadline = None if deadline is None else moment(deadline, "deadline")
    ready_at = now + seconds(given.pop("delay", 0), "delay", allow_zero=True)
    queue = given.pop("queue", None)
    expires = now + seconds(ttl, "idempotency_ttl")
    row = NewRun(
        id=id,
        job=job.name,
        version=job.version,
        queue=job.queue if queue is None else name_of(queue, "queue"),
        priority=priority,
        created_at=now,
        ready_at=ready_at if deadline is None else min(ready_at, deadline),  # then it ends
        payload=payload,
        max_duration=optional_seconds(given.pop("max_duration", None), "max_duration"),
        deadline=deadline,
        trigger='{"kind": "api"}',
        environment=environment,
        tags=_tags(given.pop("tags", ())),
        idempotency_key=None if key is None else f"[{prefix},{keys.canonical(key)}]",
        idempotency_expires_at=None if key is None else expires,
    )
    if given:
        raise InvalidOption(next(iter(given)), "trigger has no such option")
    return row


def _prefix(scope: Any, parent: tuple[str, int] | None) -> str:
    """What an idempotency key of this scope begins with."""
    if scope not in _SCOPES:
        raise InvalidOption("scope", f"expected one of {', '.join(_SCOPES)}, got {scope!r:.80}")
    if scope == "global":
        return '"global"'
    if parent is None:
        raise InvalidOption("scope", f'{scope!r} is for triggers inside a run; outside it is "global"')
    run_id, attempt = parent
    return f'"run","{run_id}"' if scope == "run" else f'"attempt","{run_id}",{attempt}'


def _tags(tags: Any) -> str:
    if isinstance(tags, Iterable) and not isinstance(tags, str):
        names = set(tags)
        if all(isinstance(name, str) and name and name.isprintable() for name in names):
            return json.dumps(sorted(names))
    raise InvalidOption("tags", f"expected a list of printable texts, got {tags!r:.80}")
