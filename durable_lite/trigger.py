"""What a trigger may say about its run besides the payload, and the row that it makes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from . import keys
from .durations import MAX_NAME, moment, name_of, optional_seconds, seconds
from .errors import InvalidOption
from .job import Job
from .records import NewRun, TriggerRow
from .step import Duration

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["MAX_TAGS", "TriggerOptions", "new_run", "run_started_by"]

MAX_TAGS = 50

_SCOPES = ("run", "global", "attempt")
_ON_BUSY = ("queue", "skip", "reject")
_MODES = ("trailing", "leading")


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
    concurrency_key: str | Sequence[Any] | None
    on_busy: str
    ttl: Duration
    debounce_key: str | Sequence[Any] | None
    debounce_delay: Duration
    debounce_mode: str
    debounce_max: Duration


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
    key_of_concurrency, on_busy = _concurrency(given)
    ready_at, debounce = _debounce(given, now, ready_at)
    ttl = optional_seconds(given.pop("ttl", None), "ttl")
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
        concurrency_key=key_of_concurrency,
        on_busy=on_busy,
        expires_at=None if ttl is None else ready_at + ttl,
        debounce_key=debounce.key,
        debounce_mode=debounce.mode,
        debounce_until=debounce.until,
    )
    if given:
        raise InvalidOption(next(iter(given)), "trigger has no such option")
    return row


def run_started_by(
    trigger: Mapping[str, Any], id: str, job: Job[Any, Any] | TriggerRow, payload: str, now: float,
    environment: str | None,
) -> NewRun:  # fmt: skip
    """A row for what isn't triggered by hand: due at once, and without options."""
    name = job.name if isinstance(job, Job) else job.job
    return NewRun(
        id, name, job.version, job.queue, 0, now, now, payload, trigger=json.dumps(trigger),
        environment=environment,
    )  # fmt: skip


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


def _concurrency(given: dict[str, Any]) -> tuple[str | None, str]:
    key, on_busy = given.pop("concurrency_key", None), given.pop("on_busy", "queue")
    if on_busy not in _ON_BUSY:
        raise InvalidOption("on_busy", f"expected one of {', '.join(_ON_BUSY)}, got {on_busy!r:.80}")
    if on_busy != "queue" and key is None:
        raise InvalidOption("on_busy", f"{on_busy!r} needs a concurrency_key")
    return None if key is None else keys.canonical(key, "concurrency_key"), on_busy


class _Debounce(NamedTuple):
    key: str | None = None
    mode: str = "trailing"
    until: float | None = None


def _debounce(given: dict[str, Any], now: float, ready_at: float) -> tuple[float, _Debounce]:
    """When the run is to start, and how it is debounced."""
    key, mode = given.pop("debounce_key", None), given.pop("debounce_mode", "trailing")
    delay, most = given.pop("debounce_delay", None), given.pop("debounce_max", None)
    if mode not in _MODES:
        raise InvalidOption("debounce_mode", f"expected one of {', '.join(_MODES)}, got {mode!r:.80}")
    if key is None:
        for name, value in (("debounce_delay", delay), ("debounce_max", most)):
            if value is not None:
                raise InvalidOption(name, "it needs a debounce_key")
        return ready_at, _Debounce()
    text = keys.canonical(key, "debounce_key")
    if delay is None:
        raise InvalidOption("debounce_delay", "a debounce_key needs it")
    if ready_at > now:
        raise InvalidOption("delay", "debounce_delay says when a debounced run starts")
    length = seconds(delay, "debounce_delay")
    longest = optional_seconds(most, "debounce_max")
    if longest is not None and longest < length:
        raise InvalidOption("debounce_max", "must be at least debounce_delay")
    if mode == "leading":
        if longest is not None:
            raise InvalidOption("debounce_max", 'it is for debounce_mode="trailing"')
        return now, _Debounce(text, mode, now + length)
    return now + length, _Debounce(text, mode, None if longest is None else now + longest)


def _tags(tags: Any) -> str:
    if isinstance(tags, Iterable) and not isinstance(tags, str):
        given = list(tags)
        fits = (isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable() for name in given)
        if all(fits) and len(names := set(given)) <= MAX_TAGS:
            return json.dumps(sorted(names))
    wanted = f"at most {MAX_TAGS} printable texts of 1 to {MAX_NAME} characters"
    raise InvalidOption("tags", f"expected a list of {wanted}, got {tags!r:.80}")
