"""Hand-over: a run with all it has, as JSON text that another store can go on from.

A document may come from anybody. Every field is checked before anything is stored; what is stored as
JSON text is text in the document too, so nobody on the way writes it anew. `web/moving.mjs` is the same
for pages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .brief import described, field
from .codec import is_too_deep
from .errors import Conflict, InvalidDocument, RunNotFound, TooLarge
from .events import LIVE, Event, EventType
from .keys import MAX_KEY_BYTES, unescape
from .ports import Store
from .records import LogRow, Moved, NewEvent, RunRow, StepRow
from .runlog import ENGINE, LEVELS
from .status import Status
from .stop import Stop

if TYPE_CHECKING:
    from .worker import Worker

__all__ = ["EVENT", "FORMAT", "LOG", "RUN", "STEP", "export_run", "gather", "read", "write"]

FORMAT = 1
_BATCH = 500

# The fields of each record, and which of the kinds below each is; with `?` it may be null.
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
    "attempt": "ordinal", "generation": "count", "started_at": "moment", "finished_at": "moment?",
    "wake_at": "moment?", "title": "text?",
}  # fmt: skip
EVENT = {"seq": "ordinal", "at": "moment", "type": "type", "data": "object"}
LOG = {
    "attempt": "ordinal", "path": "place", "ordinal": "count", "at": "moment", "level": "level",
    "message": "text", "fields": "object",
}  # fmt: skip
_DOCUMENT = ("format", "durable_lite", "run", "steps", "events", "logs")
# What a run is while it is nowhere.
_NOWHERE: dict[str, Any] = {
    "claimable": 0, "finished_at": None, "output": None, "worker": None, "stale_reason": None, "key_live": 0,
    "parent_id": None, "awaited": 0, "remaining": None, "interrupted": 0, "concurrency_key": None, "gated": 0,
    "slot": 0, "key_held": 0, "blocked": None, "expires_at": None, "debounce_key": None,
    "debounce_until": None,
}  # fmt: skip


# Out of a store


async def export_run(store: Store, run_id: str, now: float, worker: Worker | None) -> str:
    """Make a run MOVED, and return its document. Again returns the same."""
    row = await store.move_run(run_id, now)
    if worker is not None and (execution := worker.executing.get(run_id)):
        execution.stop(Stop.LOST)  # it would find out with its next write
    return write(await gather(store, row))


async def gather(store: Store, row: RunRow) -> Moved:
    """All that a MOVED run has. Nobody writes to it any more, so it takes no transaction."""
    steps, logs = await store.load_steps(row.id), await store.read_logs(row.id)
    events: list[Event] = []
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
        given = _parsed(document)
    except _Wrong as wrong:
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
    )
    _check_run(moved)
    _check_steps(moved)
    _check_order(moved)
    return moved


class _Wrong(Exception):
    def __init__(self, detail: str) -> None:
        self.detail = detail


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
                    value = _KINDS[kind.rstrip("?")](value)
                except _Wrong as wrong:
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
    if run.status == Status.WAITING and run.ready_at is None:
        raise InvalidDocument("run.ready_at", "a WAITING run has one")
    if run.started_at is None and (run.status == Status.WAITING or moved.steps):
        raise InvalidDocument("run.started_at", "the run has been executed")
    if run.first_attempt > run.attempt:
        raise InvalidDocument("run.first_attempt", "must be at most the run's attempt")
    if run.recovery_seq > run.seq:
        raise InvalidDocument("run.recovery_seq", "must be at most the run's seq")


def _check_steps(moved: Moved) -> None:
    paths = set()
    for index, step in enumerate(moved.steps):
        # What a step in this state has, and what it hasn't.
        must, mustnt = {
            "completed": (("seq", "output"), ("error", "wake_at")),
            "waiting": (("wake_at",), ("seq", "output", "error")),
            "retrying": (("error", "wake_at"), ("seq", "output")),
            "failed": (("error",), ("seq", "output", "wake_at")),
        }[step.state]
        for name in (*must, *mustnt):
            if (getattr(step, name) is None) == (name in must):
                has = "has one" if name in must else "has none"
                raise InvalidDocument(f"steps[{index}].{name}", f"a {step.state} step {has}")
        if step.path in paths:
            raise InvalidDocument(f"steps[{index}].path", "another step has it")
        paths.add(step.path)


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


# Kinds of fields: what a value must be. Every number was read as a float, as JavaScript has them.

_MOST = 2**31 - 1
_LONGEST = 1_000 * 366 * 86_400.0
_NAME_LIMIT = 200
_is_id = re.compile("[0-9a-hjkmnp-tv-z]{26}").fullmatch
_controls = re.compile("[\x00-\x1f\x7f-\x9f]").search
_halves = re.compile("[\ud800-\udfff]").search
_is_segment = re.compile("(?:[^/%\x00-\x1f\x7f-\x9f]|%25|%2F)+").fullmatch


def _parsed(text: str) -> Any:
    if is_too_deep(text):
        raise _Wrong("nested too deeply")
    try:
        return json.loads(text, parse_int=float, parse_constant=_no_constant)
    except ValueError as error:
        raise _Wrong(f"not JSON: {error}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong(f"expected text, got {described(value)}")
    if _halves(value):
        raise _Wrong("holds half a character")
    return value


def _label(value: Any) -> str:
    text = _text(value)
    if not text or _controls(text):
        raise _Wrong("must not be empty nor hold control characters")
    return text


def _name(value: Any) -> str:
    if len(text := _label(value)) > _NAME_LIMIT:
        raise _Wrong(f"expected at most {_NAME_LIMIT} characters")
    return text


def _id(value: Any) -> str:
    if not _is_id(text := _text(value)):
        raise _Wrong(f"{described(value)} is no id of a run")
    return text


def _path(value: Any) -> str:
    for segment in (text := _text(value)).split("/"):
        if not _is_segment(segment) or len(unescape(segment).encode()) > MAX_KEY_BYTES:
            raise _Wrong(f"{described(value)} is no path of a step")
    return text


def _place(value: Any) -> str:
    return value if value in ("", ENGINE) else _path(value)


def _number(low: float, high: float, *, whole: bool = False) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        fits = type(value) is float and low <= value <= high and (not whole or value.is_integer())
        if not fits:
            wanted = "a whole number" if whole else "a number"
            raise _Wrong(f"expected {wanted} from {low:,g} to {high:,g}, got {described(value)}")
        return int(value) if whole else value + 0.0

    return check


def _one_of(*choices: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise _Wrong(f"expected one of {', '.join(choices)}, got {described(value)}")
        return value

    return check


def _json(fits: Callable[[Any], bool], wanted: str) -> Callable[[Any], str]:
    """JSON text of a value that `fits`."""

    def check(value: Any) -> str:
        if not fits(_parsed(text := _text(value))):
            raise _Wrong(f"expected JSON text of {wanted}, got {described(value)}")
        return text

    return check


def _is_error(value: Any) -> bool:
    texts = ("type", "message", "module", "args", "key", "code", "traceback")
    return (
        isinstance(value, dict)
        and "type" in value
        and "message" in value
        and ("args" not in value or "module" in value)
        and all(isinstance(value[name], str) for name in texts if name in value)
    )


def _is_progress(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"current", "total", "message"}
        and type(value["current"]) is float
        and type(value["total"]) in (float, type(None))
        and type(value["message"]) in (str, type(None))
    )


def _is_tags(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    texts = [one for one in value if isinstance(one, str) and one and not _controls(one) and not _halves(one)]
    return len(set(texts)) == len(value)


_object = _json(lambda value: isinstance(value, dict), "an object")
_KINDS: dict[str, Callable[[Any], Any]] = {
    "id": _id,
    "name": _name,
    "text": _text,
    "path": _path,
    "place": _place,
    "count": _number(0, _MOST, whole=True),
    "ordinal": _number(1, _MOST, whole=True),
    "priority": _number(-_MOST, _MOST, whole=True),
    "moment": _number(-_LONGEST, _LONGEST),
    "seconds": _number(0, _LONGEST),
    "status": _one_of(Status.PENDING, Status.WAITING),
    "kind": _one_of("step", "sleep"),
    "state": _one_of("completed", "failed", "retrying", "waiting"),
    "type": _one_of(*(type for type in EventType if type not in LIVE | {EventType.STEP_COMPLETED})),
    "level": _one_of(*LEVELS),
    "value": _json(lambda value: True, "any value"),
    "object": _object,
    "error": _json(_is_error, "an error with a type and a message"),
    "progress": _json(_is_progress, "an object with current, total and message"),
    "tags": _json(_is_tags, "a list of different texts"),
    "key": _json(lambda value: isinstance(value, list) and len(value) == 2, "a scope and parts"),
}
