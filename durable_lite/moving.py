"""Hand-over: a run with all it has, as JSON text that another store can go on from.

A document may come from anybody. Every field is checked before anything is stored; what is stored as
JSON text is text in the document too, so nobody on the way writes it anew. `web/moving.mjs` is the same
for pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .brief import described, field
from .errors import Conflict, InvalidDocument, RunNotFound, TooLarge
from .events import EventType, RunEvent
from .fields import KINDS, Wrong, parsed
from .ports import Store
from .records import LogRow, Moved, NewEvent, RunRow, StepRow, TokenFilter, TokenRow
from .status import Status

__all__ = ["EVENT", "FORMAT", "LOG", "RUN", "STEP", "TOKEN", "export_run", "gather", "read", "write"]

FORMAT = 1
_BATCH = 500

# The fields of each record, and of which kind (`fields.KINDS`) each is; with `?` it may be null.
# The same tables are in web/moving.mjs.
RUN = {
    "id": "id", "job": "name", "version": "name?", "status": "status", "queue": "name",
    "priority": "priority", "created_at": "moment", "ready_at": "moment?", "started_at": "moment?",
    "payload": "value", "error": "error?", "attempt": "ordinal", "first_attempt": "ordinal",
    "recoveries": "count", "recovery_seq": "count", "generation": "ordinal", "seq": "ordinal",
    "executed": "seconds", "last_seen_at": "moment?", "max_duration": "seconds?", "deadline": "moment?",
    "trigger": "object", "environment": "text?", "tags": "tags", "progress": "progress?",
    "metadata": "object", "idempotency_key": "key?", "idempotency_expires_at": "moment?",
}  # fmt: skip
STEP = {
    "path": "path", "seq": "ordinal?", "kind": "kind", "state": "state", "name": "text?",
    "arguments": "text?", "output": "value?", "error": "error?", "failures": "count",
    "attempt": "count", "generation": "count", "started_at": "moment", "finished_at": "moment?",
    "wake_at": "moment?", "title": "text?", "ref": "text?",
}  # fmt: skip
EVENT = {"seq": "ordinal", "at": "moment", "type": "type", "data": "object"}
LOG = {
    "attempt": "ordinal", "path": "place", "ordinal": "count", "at": "moment", "level": "level",
    "message": "text", "fields": "object",
}  # fmt: skip
TOKEN = {
    "id": "token", "path": "path", "kind": "token_kind", "state": "token_state", "created_at": "moment",
    "deadline": "moment", "finished_at": "moment?", "output": "value?", "error": "error?", "name": "text?",
    "match": "object?",
}  # fmt: skip
_DOCUMENT = ("format", "durable_lite", "run", "steps", "events", "logs", "tokens")
# What a run is while it is nowhere.
_NOWHERE: dict[str, Any] = {
    "claimable": 0, "finished_at": None, "output": None, "worker": None, "stale_reason": None, "key_live": 0,
    "parent_id": None, "awaited": 0, "remaining": None, "interrupted": 0, "concurrency_key": None, "gated": 0,
    "slot": 0, "key_held": 0, "blocked": None, "expires_at": None, "debounce_key": None,
    "debounce_until": None,
}  # fmt: skip


# Out of a store


async def export_run(store: Store, run_id: str, now: float) -> str:
    """Make a run MOVED, and return its document. Again returns the same."""
    return write(await gather(store, await store.move_run(run_id, now)))


async def gather(store: Store, row: RunRow) -> Moved:
    """All that a MOVED run has. Nobody writes to it any more, so it takes no transaction."""
    steps, logs = await store.load_steps(row.id), await store.read_logs(row.id)
    tokens: list[TokenRow] = []
    of_run = TokenFilter(run_id=row.id, limit=_BATCH)
    while page := await store.list_tokens(of_run):
        tokens += page
        of_run = of_run._replace(cursor=(page[-1].created_at, page[-1].id))
    events: list[RunEvent] = []
    while batch := await store.read_events(row.id, events[-1].seq or 0 if events else 0, _BATCH):
        events += batch
    if not events:
        raise RunNotFound(row.id)  # it was deleted meanwhile
    last = events[-1]
    if (last.seq, last.type) != (row.seq, EventType.MOVED):
        raise Conflict(f"run {row.id} can't be exported: it has come back meanwhile")
    status, ready_at = last.data["from"], last.data["ready_at"]
    if status not in (Status.PENDING, Status.WAITING):
        status, ready_at = Status.PENDING, None  # whoever held it holds it no more
    return Moved(
        row._replace(status=Status(status), ready_at=ready_at, **_NOWHERE),
        tuple(steps),
        tuple(
            NewEvent(event.seq or 0, event.at, event.type, json.dumps(event.data))
            for event in events
            if event.type != EventType.STEP_COMPLETED  # the step says it
        ),
        tuple(logs),
        tuple(tokens),
    )


def write(moved: Moved) -> str:
    """The document, in ASCII: no terminal, pipe or editor harms it."""
    from . import __version__

    document = {
        "format": FORMAT,
        "durable_lite": __version__,
        "run": _fields(moved.run, RUN),
        "steps": [_fields(step, STEP) for step in moved.steps],
        "events": [_fields(event, EVENT) for event in moved.events],
        "logs": [_fields(line, LOG) for line in moved.logs],
        "tokens": [_fields(token, TOKEN) for token in moved.tokens],
    }
    return json.dumps(document, allow_nan=False, separators=(",", ":"))


def _fields(row: Any, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


# Into a store


def read(document: str, max_value_bytes: int) -> Moved:
    """What a document says. `InvalidDocument` names the field that is wrong, `TooLarge` the value."""
    if not isinstance(document, str):
        raise InvalidDocument("document", f"expected JSON text, got {described(document)}")
    try:
        given = parsed(document)
    except Wrong as wrong:
        raise InvalidDocument("document", wrong.detail) from None
    if not isinstance(given, dict):
        raise InvalidDocument("document", f"expected an object, got {described(given)}")
    written = given.get("format", float(FORMAT))
    if type(written) is not float or written != FORMAT:
        raise InvalidDocument("format", f"this durable_lite reads format {FORMAT}, got {described(written)}")
    _has("", given, _DOCUMENT)
    if not isinstance(given["durable_lite"], str):
        raise InvalidDocument("durable_lite", f"expected a version, got {described(given['durable_lite'])}")
    reader = _Reader(max_value_bytes)
    run = reader.record("run", given["run"], RUN)
    moved = Moved(
        RunRow(**run, **_NOWHERE),
        tuple(StepRow(run["id"], **step) for step in reader.records(given, "steps", STEP)),
        tuple(NewEvent(**event) for event in reader.records(given, "events", EVENT)),
        tuple(LogRow(run["id"], **line) for line in reader.records(given, "logs", LOG)),
        tuple(TokenRow(run_id=run["id"], **token) for token in reader.records(given, "tokens", TOKEN)),
    )
    _check_run(moved)
    _check_steps(moved)
    _check_tokens(moved)
    _check_order(moved)
    return moved


class _Reader:
    """Reads the records of one document."""

    def __init__(self, max_value_bytes: int) -> None:
        self._limit = max_value_bytes

    def records(self, given: dict[str, Any], name: str, kinds: dict[str, str]) -> list[dict[str, Any]]:
        if not isinstance(given[name], list):
            raise InvalidDocument(name, f"expected a list, got {described(given[name])}")
        return [self.record(f"{name}[{index}]", one, kinds) for index, one in enumerate(given[name])]

    def record(self, where: str, given: Any, kinds: dict[str, str]) -> dict[str, Any]:
        if not isinstance(given, dict):
            raise InvalidDocument(where, f"expected an object, got {described(given)}")
        _has(where, given, kinds)
        found = {}
        for name, kind in kinds.items():
            value = given[name]
            if value is not None or not kind.endswith("?"):
                try:
                    value = KINDS[kind.rstrip("?")](value)
                except Wrong as wrong:
                    raise InvalidDocument(f"{where}.{name}", wrong.detail) from None
                if kind.startswith("value") and (size := len(value.encode())) > self._limit:
                    raise TooLarge(f"{where}.{name}", size, self._limit)
            found[name] = value
        return found


def _has(where: str, given: dict[str, Any], names: Iterable[str]) -> None:
    """Exactly these fields."""
    for name in given:
        if name not in names:
            raise InvalidDocument((where + field(name)).removeprefix("."), "there is no such field")
    for name in names:
        if name not in given:
            raise InvalidDocument(f"{where}.{name}".removeprefix("."), "is missing")


def _check_run(moved: Moved) -> None:
    run = moved.run
    if run.started_at is None and (run.status == Status.WAITING or moved.steps or moved.tokens):
        raise InvalidDocument("run.started_at", "the run has been executed")
    if run.first_attempt > run.attempt:
        raise InvalidDocument("run.first_attempt", "must be at most the run's attempt")
    if run.recovery_seq > run.seq:
        raise InvalidDocument("run.recovery_seq", "must be at most the run's seq")


# What a step or a token in each state has, and what it hasn't.
_Names = tuple[str, ...]
_STEPS: dict[str, tuple[_Names, _Names]] = {
    "completed": (("seq", "output"), ("error", "wake_at")),
    "waiting": (("wake_at",), ("seq", "output", "error")),
    "retrying": (("error", "wake_at"), ("seq", "output")),
    "failed": (("error",), ("seq", "output", "wake_at")),
}
_WAITS = ("sleep", "event")  # a call that waits has children, which don't come along
_REFS = {"completed": ("token", "wait", "event", "trigger"), "waiting": ("event",)}
_TOKENS: dict[str, tuple[_Names, _Names]] = {
    "pending": ((), ("finished_at", "output", "error")),
    "completed": (("finished_at", "output"), ("error",)),
    "failed": (("finished_at", "error"), ("output",)),
    "expired": (("finished_at",), ("output", "error")),
}
_KINDS_OF_TOKENS: dict[str, tuple[_Names, _Names]] = {
    "token": ((), ("name", "match")),
    "event": (("name",), ()),
}


def _check_steps(moved: Moved) -> None:
    paths, tokens = set(), {token.id for token in moved.tokens}
    for index, step in enumerate(moved.steps):
        where, what = f"steps[{index}]", f"a {step.state} {step.kind}"
        if step.state == "waiting" and step.kind not in _WAITS:
            raise InvalidDocument(f"{where}.state", f"{what} can't come along")
        _has_values(where, step, *_STEPS[step.state], what)
        if step.kind in _REFS.get(step.state, ()):
            _has_values(where, step, ("ref",), (), what)
        if step.state == "waiting" and step.kind == "event" and step.ref not in tokens:
            raise InvalidDocument(f"{where}.ref", "is none of the tokens")
        if step.path in paths:
            raise InvalidDocument(f"{where}.path", "another step has it")
        paths.add(step.path)


def _check_tokens(moved: Moved) -> None:
    ids = set()
    for index, token in enumerate(moved.tokens):
        where = f"tokens[{index}]"
        _has_values(where, token, *_TOKENS[token.state], f"a {token.state} token")
        _has_values(where, token, *_KINDS_OF_TOKENS[token.kind], f"a token of kind {token.kind}")
        if token.id in ids:
            raise InvalidDocument(f"{where}.id", "another token has it")
        ids.add(token.id)


def _has_values(where: str, row: StepRow | TokenRow, must: _Names, mustnt: _Names, what: str) -> None:
    for name in (*must, *mustnt):
        if (getattr(row, name) is None) == (name in must):
            has = "has one" if name in must else "has none"
            raise InvalidDocument(f"{where}.{name}", f"{what} {has}")


def _check_order(moved: Moved) -> None:
    found = [step.seq for step in moved.steps if step.seq is not None]
    found += [event.seq for event in moved.events]
    if len(found) != moved.run.seq or sorted(found) != list(range(1, len(found) + 1)):
        wanted = "events and completed steps must be numbered from 1 to it, each once"
        raise InvalidDocument("run.seq", wanted)
    last = moved.events[-1] if moved.events else None
    if last is None or (last.seq, last.type) != (moved.run.seq, EventType.MOVED):
        raise InvalidDocument("events", f"the last one must be {EventType.MOVED}")
    lines = set()
    for index, line in enumerate(moved.logs):
        if (line.attempt, line.path, line.ordinal) in lines:
            raise InvalidDocument(f"logs[{index}].ordinal", "another line has it")
        lines.add((line.attempt, line.path, line.ordinal))
