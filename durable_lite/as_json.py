"""Rows as JSON: what every `--json` prints and the HTTP API answers.

Moments are seconds since the epoch, durations seconds.
"""

from __future__ import annotations

import json
from typing import Any

from .events import RunEvent
from .records import LogRow, QueueState, RunRow, ScheduleRow, StepRow, TokenRow
from .runlog import ENGINE

__all__ = [
    "event_json",
    "log_json",
    "queue_json",
    "run_json",
    "schedule_json",
    "step_json",
    "summary_json",
    "token_json",
    "value_json",
]


def summary_json(row: RunRow) -> dict[str, Any]:
    """A run in a list: without what may be large."""
    error = _parsed(row.error)
    return {
        "id": row.id,
        "job": row.job,
        "version": row.version,
        "status": row.status,
        "attempt": row.attempt,
        "queue": row.queue,
        "priority": row.priority,
        "tags": json.loads(row.tags),
        "environment": row.environment,
        "created_at": row.created_at,
        "ready_at": row.ready_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "executed": row.executed,
        "progress": _parsed(row.progress),
        "error": error
        and {name: error[name] for name in ("type", "message", "code", "key") if name in error},
    }


def run_json(row: RunRow, *, tagged: bool = False) -> dict[str, Any]:
    """A run with all it has; `tagged`: its values as they are stored, for who reads them back."""
    error, value = _parsed(row.error), _parsed if tagged else value_json
    return {
        **summary_json(row),
        "generation": row.generation,
        "recoveries": row.recoveries,
        "worker": row.worker,
        "stale_reason": row.stale_reason,
        "max_duration": row.max_duration,
        "deadline": row.deadline,
        "trigger": json.loads(row.trigger),
        "parent": row.parent_id,
        "concurrency_key": _parsed(row.concurrency_key),
        "blocked": row.blocked,
        "expires_at": row.expires_at,
        "idempotency_key": _parsed(row.idempotency_key),
        "payload": value(row.payload),
        "output": value(row.output),
        "error": error and {name: value for name, value in error.items() if name not in ("args", "module")},
        "metadata": value(row.metadata),
    }


def step_json(row: StepRow, *, tagged: bool = False) -> dict[str, Any]:
    value = _parsed if tagged else value_json
    return {
        "path": row.path,
        "kind": row.kind,
        "state": row.state,
        "name": row.name,
        "title": row.title,
        "seq": row.seq,
        "attempt": row.attempt,
        "failures": row.failures,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "wake_at": row.wake_at,
        "ref": row.ref,
        "output": value(row.output),
        "error": _parsed(row.error),
    }


def token_json(row: TokenRow, *, tagged: bool = False) -> dict[str, Any]:
    value = _parsed if tagged else value_json
    return {
        **row._asdict(),
        "match": _parsed(row.match),
        "output": value(row.output),
        "error": _parsed(row.error),
    }


def queue_json(state: QueueState) -> dict[str, Any]:
    row = state.queue
    return {**row._asdict(), "paused": bool(row.paused), "queued": state.queued, "taken": state.taken}


def schedule_json(row: ScheduleRow) -> dict[str, Any]:
    return {**row._asdict(), "spec": json.loads(row.spec), "paused": bool(row.paused)}


def event_json(event: RunEvent) -> dict[str, Any]:
    return {"seq": event.seq, "at": event.at, "type": str(event.type), "data": event.data}


def log_json(row: LogRow) -> dict[str, Any]:
    return {
        "attempt": row.attempt,
        "path": "" if row.path == ENGINE else row.path,
        "at": row.at,
        "level": row.level,
        "message": row.message,
        "fields": json.loads(row.fields),
    }


def value_json(text: str | None) -> Any:
    """A stored value as plain JSON: a dataclass as an object, a tuple as an array, a date as text."""
    return None if text is None else _without_tags(json.loads(text))


def _without_tags(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_without_tags(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "$" not in tree:
        return {name: _without_tags(item) for name, item in tree.items()}
    data = tree["v"]
    if tree["$"] == "dict" and isinstance(data, dict):  # its own keys may be "$"
        return {name: _without_tags(item) for name, item in data.items()}
    return _without_tags(data)


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)
