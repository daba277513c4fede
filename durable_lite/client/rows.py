"""The rows of a store, from the JSON that a server tells of them with `values=tagged`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..records import LogRow, QueueRow, QueueState, RunRow, ScheduleRow, StepRow, TokenRow

__all__ = ["log_row", "queue_state", "run_row", "schedule_row", "step_row", "token_row"]

_NUMBERS = (
    "claimable", "first_attempt", "recovery_seq", "seq", "key_live", "awaited", "interrupted", "gated",
    "slot", "key_held",
)  # fmt: skip
_NOTHING: dict[str, Any] = dict.fromkeys(RunRow._fields) | dict.fromkeys(_NUMBERS, 0)
_TEXTS = (
    "payload", "output", "error", "trigger", "tags", "progress", "metadata", "concurrency_key",
    "idempotency_key",
)  # fmt: skip


def run_row(told: Mapping[str, Any]) -> RunRow:
    """What the server doesn't tell is as if it weren't there: nobody but its store needs it."""
    known = {name: value for name, value in told.items() if name in RunRow._fields}
    known |= {name: _text(told.get(name)) for name in _TEXTS if name in told}
    return RunRow(**{**_NOTHING, **known, "parent_id": told["parent"]})


def step_row(run_id: str, told: Mapping[str, Any]) -> StepRow:
    values = {"output": _text(told["output"]), "error": _text(told["error"])}
    return StepRow(**{**told, **values, "run_id": run_id, "arguments": None, "generation": 0})


def log_row(run_id: str, ordinal: int, told: Mapping[str, Any]) -> LogRow:
    return LogRow(**{**told, "run_id": run_id, "ordinal": ordinal, "fields": json.dumps(told["fields"])})


def token_row(told: Mapping[str, Any]) -> TokenRow:
    texts = {name: _text(told[name]) for name in ("output", "error", "match")}
    return TokenRow(**{**told, **texts})


def queue_state(told: Mapping[str, Any]) -> QueueState:
    row = QueueRow(**{name: told[name] for name in QueueRow._fields})
    return QueueState(row._replace(paused=int(row.paused)), told["queued"], told["taken"])


def schedule_row(told: Mapping[str, Any]) -> ScheduleRow:
    return ScheduleRow(**{**told, "spec": json.dumps(told["spec"]), "paused": int(told["paused"])})


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
