"""Rows as JSON: what every `--json` prints. Moments are seconds since the epoch, durations seconds."""

from __future__ import annotations

import json
from typing import Any

from ..events import Event
from ..records import LogRow, RunRow, StepRow
from ..runlog import ENGINE

__all__ = ["event_json", "log_json", "run_json", "step_json", "summary_json"]

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
    """A run with all it has. Payload, output and metadata are in the stored, tagged form."""
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
        "idempotency_key": _parsed(row.idempotency_key),
        "payload": json.loads(row.payload),
        "output": _parsed(row.output),
        "error": error and {name: value for name, value in error.items() if name not in ("args", "module")},
        "metadata": json.loads(row.metadata),
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
        "output": _parsed(row.output),
        "error": _parsed(row.error),
    }


def event_json(event: Event) -> dict[str, Any]:
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


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)
