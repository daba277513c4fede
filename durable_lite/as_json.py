"""Rows as JSON: what every `--json` prints and the HTTP API answers.

Moments are seconds since the epoch, durations seconds.
"""

from __future__ import annotations

import json
from typing import Any

from .events import RunEvent
from .records import LogRow, RunRow, StepRow, TokenRow
from .runlog import ENGINE

__all__ = ["event_json", "log_json", "run_json", "step_json", "summary_json", "token_json", "value_json"]

_ERROR = ("type", "message", "code", "key")


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


def run_json(row: RunRow) -> dict[str, Any]:
    """A run with all it has."""
    error = _parsed(row.error)
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
        "payload": value_json(row.payload),
        "output": value_json(row.output),
        "error": error and {name: value for name, value in error.items() if name not in ("args", "module")},
        "metadata": value_json(row.metadata),
    }


def step_json(row: StepRow) -> dict[str, Any]:
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
        "output": value_json(row.output),
        "error": _parsed(row.error),
    }


def token_json(row: TokenRow) -> dict[str, Any]:
    return {
        **row._asdict(),
        "match": _parsed(row.match),
        "output": value_json(row.output),
        "error": _parsed(row.error),
    }


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
