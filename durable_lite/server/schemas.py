"""JSON Schemas (draft 2020-12) of what the HTTP API takes and answers."""

from __future__ import annotations

from typing import Any

from ..durations import MAX_NAME
from ..events import EventType
from ..listing import SEARCHED
from ..status import Status
from ..trigger import MAX_TAGS
from .problems import CODES

__all__ = ["COMPONENTS", "listed", "ref", "told"]

Schema = dict[str, Any]

MAX_BATCH = 1000
MAX_PAGE = 1000

TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_NAME}
ANYTHING: Schema = {"description": "Any JSON."}
MOMENT: Schema = {"type": "number", "description": "Seconds since the epoch."}
DURATION: Schema = {
    "type": ["number", "string"],
    "description": "Seconds, or text such as 90s, 5m, 24h, 3d, 1h30m.",
}
ID: Schema = {"type": "string", "minLength": 1, "maxLength": 200}
KEY: Schema = {
    "type": ["string", "array"],
    "description": "Text, or a list of parts.",
    "items": {"type": ["string", "number", "boolean", "null"]},
}
STATUSES: Schema = {"type": "string", "enum": list(Status)}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def told(properties: Schema, *optional: str) -> Schema:
    """An object with these fields, all but the `optional` ones always there."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def listed(name: str) -> Schema:
    return {"type": "array", "items": ref(name)}


def maybe(schema: Schema) -> Schema:
    if "$ref" in schema or "enum" in schema or "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*kinds, "null"]}


_SUMMARY: Schema = {
    "id": ID,
    "job": TEXT,
    "version": maybe(TEXT),
    "status": ref("Status"),
    "attempt": INTEGER,
    "queue": TEXT,
    "priority": INTEGER,
    "tags": {"type": "array", "items": TEXT},
    "environment": maybe(TEXT),
    "created_at": MOMENT,
    "ready_at": maybe(MOMENT),
    "started_at": maybe(MOMENT),
    "finished_at": maybe(MOMENT),
    "executed": {"type": "number", "description": "Seconds of executing time over all attempts."},
    "progress": maybe(
        told({"current": maybe(NUMBER), "total": maybe(NUMBER), "message": maybe(TEXT)}, "total", "message")
    ),
    "error": maybe(ref("Error")),
}
_RUN: Schema = {
    **_SUMMARY,
    "generation": INTEGER,
    "recoveries": COUNT,
    "worker": maybe(TEXT),
    "stale_reason": maybe(TEXT),
    "max_duration": maybe(NUMBER),
    "deadline": maybe(MOMENT),
    "trigger": {"type": "object"},
    "parent": maybe(TEXT),
    "concurrency_key": ANYTHING,
    "blocked": maybe(TEXT),
    "expires_at": maybe(MOMENT),
    "idempotency_key": ANYTHING,
    "payload": ANYTHING,
    "output": ANYTHING,
    "metadata": {"type": "object"},
}
_SCHEDULE: Schema = {
    "job": TEXT,
    "name": TEXT,
    "spec": {"type": "object"},
    "catch_up": {"type": "string", "enum": ["one", "all", "none"]},
    "next_at": MOMENT,
    "last_at": maybe(MOMENT),
    "paused": BOOLEAN,
}
_TOKEN: Schema = {
    "id": TEXT,
    "run_id": TEXT,
    "path": TEXT,
    "kind": {"type": "string", "enum": ["token", "event"]},
    "state": {"type": "string", "enum": ["pending", "completed", "failed", "expired"]},
    "created_at": MOMENT,
    "deadline": MOMENT,
    "finished_at": maybe(MOMENT),
    "output": ANYTHING,
    "error": maybe({"type": "object"}),
    "name": maybe(TEXT),
    "match": maybe({"type": "object"}),
}
_SPAN: Schema = {
    "is": {"type": "string", "description": "A status in small letters, or gap: nobody executed it."},
    "from": MOMENT,
    "to": MOMENT,
    "worker": maybe(TEXT),
    "generation": maybe(INTEGER),
    "attempt": maybe(INTEGER),
    "why": maybe(TEXT),
}
_LINE: Schema = {
    "path": TEXT,
    "depth": COUNT,
    "title": maybe(TEXT),
    "kind": TEXT,
    "is": {"type": "string", "enum": ["completed", "failed", "retrying", "waiting", "waited"]},
    "from": MOMENT,
    "to": maybe(MOMENT),
    "attempt": INTEGER,
    "failures": COUNT,
    "kept": {"type": "boolean", "description": "Its checkpoint answered since, after an interruption."},
    "seq": maybe(INTEGER),
    "ref": maybe(TEXT),
}
_EVENT_TYPE: Schema = {"type": "string", "enum": list(EventType)}
_MARK: Schema = {"at": MOMENT, "type": _EVENT_TYPE, "seq": INTEGER, "text": TEXT}

COMPONENTS: dict[str, Schema] = {
    "Status": STATUSES,
    "Error": {
        "type": "object",
        "properties": {"type": maybe(TEXT), "message": maybe(TEXT), "code": maybe(TEXT), "key": maybe(TEXT)},
        "description": "Why a run or a step has failed; of a run shown by itself also its traceback.",
    },
    "RunSummary": told(_SUMMARY),
    "Run": told(_RUN),
    "CreatedRun": told(
        {**_RUN, "disposition": {"type": "string", "enum": ["created", "idempotent", "coalesced"]}}
    ),
    "RunPage": told(
        {
            "runs": {"type": "array", "items": {"anyOf": [ref("Run"), ref("RunSummary")]}},
            "cursor": maybe(TEXT),
            "searched": maybe({**COUNT, "description": f"How many runs a search looked at, of {SEARCHED}."}),
        }
    ),
    "Step": told(
        {
            "path": TEXT,
            "kind": TEXT,
            "state": {"type": "string", "enum": ["completed", "failed", "retrying", "waiting"]},
            "name": maybe(TEXT),
            "title": maybe(TEXT),
            "seq": maybe(INTEGER),
            "attempt": INTEGER,
            "failures": COUNT,
            "started_at": MOMENT,
            "finished_at": maybe(MOMENT),
            "wake_at": maybe(MOMENT),
            "ref": maybe(TEXT),
            "output": ANYTHING,
            "error": maybe(ref("Error")),
        }
    ),
    "Event": told(
        {
            "seq": maybe(INTEGER),
            "at": MOMENT,
            "type": _EVENT_TYPE,
            "data": {"type": "object"},
        }
    ),
    "LogLine": told(
        {
            "attempt": INTEGER,
            "path": TEXT,
            "at": MOMENT,
            "level": {"type": "string", "enum": ["debug", "info", "warning", "error"]},
            "message": TEXT,
            "fields": {"type": "object"},
        }
    ),
    "Timeline": told(
        {
            "from": MOMENT,
            "to": MOMENT,
            "spans": {"type": "array", "items": told(_SPAN), "description": "One after the other."},
            "steps": {"type": "array", "items": told(_LINE), "description": "By when each began."},
            "marks": {"type": "array", "items": told(_MARK), "description": "Events, but for steps' ends."},
        }
    ),
    "Token": told(_TOKEN),
    "Queue": told(
        {
            "name": TEXT,
            "concurrency": maybe(INTEGER),
            "rate": maybe(INTEGER),
            "period": maybe(NUMBER),
            "key_scope": {"type": "string", "enum": ["run", "execution"]},
            "paused": BOOLEAN,
            "queued": COUNT,
            "taken": COUNT,
        }
    ),
    "Schedule": told(_SCHEDULE),
    "Job": told(
        {
            "name": TEXT,
            "version": maybe(TEXT),
            "queue": TEXT,
            "payload": {"type": "object", "description": "JSON Schema of its payload."},
        }
    ),
    "Sent": told({"fresh": BOOLEAN, "runs": {"type": "array", "items": TEXT}, "waits": COUNT}),
    "TriggerOptions": {
        "type": "object",
        "description": "As those of Durable.trigger.",
        "properties": {
            "idempotency_key": KEY,
            "idempotency_ttl": DURATION,
            "delay": DURATION,
            "deadline": MOMENT,
            "priority": {"type": "integer", "minimum": -(2**31) + 1, "maximum": 2**31 - 1},
            "queue": NAME,
            "max_duration": DURATION,
            "tags": {"type": "array", "items": NAME, "maxItems": MAX_TAGS},
            "concurrency_key": KEY,
            "on_busy": {"type": "string", "enum": ["queue", "skip", "reject"]},
            "ttl": DURATION,
            "debounce_key": KEY,
            "debounce_delay": DURATION,
            "debounce_mode": {"type": "string", "enum": ["trailing", "leading"]},
            "debounce_max": DURATION,
        },
        "additionalProperties": False,
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457; `code` stays the same.",
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": TEXT,
            "status": INTEGER,
            "detail": TEXT,
            "code": {"type": "string", "enum": list(CODES)},
            "fields": {"type": "object", "description": "What the error is made of; by its code."},
            "path": {"type": "string", "description": "The part of the request that doesn't fit."},
        },
        "required": ["type", "title", "status", "detail", "code"],
    },
}
