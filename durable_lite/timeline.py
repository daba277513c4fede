"""What a run was and did from its creation on, in order of time: for whoever draws it.

It is reckoned from the run's row, its steps and its stored events, and is plain JSON. `web/timeline.mjs`
is the same for pages; `tests/timelines.json` holds both to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from .brief import cut
from .events import EventType, RunEvent
from .records import RunRow, StepRow
from .status import Status

__all__ = ["timeline"]

Span = dict[str, Any]

_SHOWN = 3  # of the waits that a run is suspended in
_LONGEST = 100  # characters of a mark's text
_SAFE = 2**53 - 1  # what a page can count to
_FINITE = 1e300
_LATE = 1.0  # seconds after the end of a wait until it is worth a word that nobody takes the run

_T = EventType
# What a run is after an event that says no more than that.
_AFTER: dict[str, str] = {
    _T.WAITING: "waiting",
    _T.RETRYING: "waiting",
    _T.COMPLETED: "completed",
    _T.FAILED: "failed",
    _T.CANCELLED: "cancelled",
    _T.TIMED_OUT: "timed_out",
    _T.EXPIRED: "expired",
    _T.MOVED: "moved",
}
# For what a run that is due has to wait; no event says it.
_HELD: dict[str, str] = {
    Status.QUEUED: "queued",
    Status.WAITING_ON_CONNECTIONS: "waiting_on_connections",
}
_WORDS: dict[str, str] = {
    _T.TRIGGERED: "triggered",
    _T.COMPLETED: "completed",
    _T.EXPIRED: "expired",
    _T.RELEASED: "released",
}


def timeline(run: RunRow, steps: Sequence[StepRow], events: Iterable[RunEvent], now: float) -> dict[str, Any]:
    """`{"from", "to", "spans", "steps", "marks"}` of a run with all its steps and stored events.

    A clock that was set back puts nothing out of order: what would be before its turn takes no time.
    """
    told = sorted((event for event in events if event.seq is not None), key=lambda event: event.seq or 0)
    begin = run.created_at
    known = [event.at for event in told] + [step.started_at for step in steps]
    known += [step.finished_at for step in steps if step.finished_at is not None]
    end = max(begin, now if run.finished_at is None else run.finished_at, *known)
    return {
        "from": begin,
        "to": end,
        "spans": _spans(run, told, begin, end),
        "steps": _steps(steps, told, begin, end),
        "marks": [
            {
                "at": _within(event.at, begin, end),
                "type": str(event.type),
                "seq": event.seq,
                "text": said(event),
            }
            for event in told
            if event.type != _T.STEP_COMPLETED
        ],
    }


# What the run was


def _spans(run: RunRow, events: Sequence[RunEvent], begin: float, end: float) -> list[Span]:
    spans = [_span("pending", begin)]
    signs: list[float] = []  # of life, since the last claim
    before = waits = ""  # what it was when it was moved away, and what it waited for last
    due = _FINITE  # when that wait was to end
    for event in events:
        data, last = event.data, spans[-1]
        at = _within(event.at, last["from"], end)
        match event.type:
            case _T.STEP_COMPLETED | _T.STEP_FAILED:
                signs.append(at)
            case _T.CLAIMED:
                if last["is"] == "pending":
                    last["is"] = _HELD.get(_text(data, "from"), "pending")
                elif last["is"] == "waiting":  # one that was QUEUED then is PENDING when it is claimed
                    _overdue(spans, due, at, _text(data, "from") == Status.PENDING, None)
                who = (_text(data, "worker") or None, _count(data, "generation"), _count(data, "attempt"))
                spans.append(_span("executing", at, *who))
                signs = []
            case _T.STALE:
                signs = [_within(_number(data, "heartbeat_at", at), last["from"], at), *signs, at]
                _leave(spans, _silence(signs), _text(data, "reason") or None)
            case _T.RELEASED:
                _leave(spans, at, "released")
            case _T.RESUMED if "gap_ms" in data:
                # Who let go of it has said so, unless that is not among the events.
                if len(spans) > 1 and spans[-2]["is"] == "executing":
                    silent = last["from"] - _number(data, "gap_ms", 0) / 1000
                    ended = spans.pop()
                    _leave(spans, _within(silent, spans[-1]["from"], ended["from"]), None)
                    spans.append(ended)
            case _T.RESUMED:
                spans.append(_span("pending", at))
            case _T.MOVED if data.get("direction") == "in":
                waited = before == Status.WAITING
                spans.append(_span("waiting" if waited else "pending", at, why=waits if waited else None))
            case type if type in _AFTER:
                due = _number(data, "ready_at", _FINITE) if _AFTER[type] == "waiting" else due
                if type == _T.WAITING:
                    waits = _waits(data)
                elif type == _T.MOVED:
                    before = _text(data, "from")
                why = waits if type == _T.WAITING else _text(data, "code")
                if type == _T.RETRYING:
                    why = f"retry: {_text(data.get('error'), 'type') or 'error'}"
                spans.append(_span(_AFTER[type], at, why=why or None))
    if spans[-1]["is"] == "pending" and run.status in _HELD:
        spans[-1] |= {"is": _HELD[run.status], "why": run.blocked}
    elif spans[-1]["is"] == "waiting" and run.status in (Status.WAITING, Status.QUEUED):
        queued = run.status == Status.QUEUED
        woken = due if queued or run.ready_at is None else run.ready_at
        _overdue(spans, woken, end, queued, run.blocked)
    for span, following in pairwise(spans):
        span["to"] = following["from"]
    spans[-1]["to"] = end
    # An execution is a fact, also one that took no time.
    shown = [span for span in spans if span["to"] > span["from"] or span["is"] == "executing"]
    return shown or spans[-1:]


def _span(
    is_: str, at: float, worker: str | None = None, generation: int | None = None, attempt: int | None = None,
    why: str | None = None,
) -> Span:  # fmt: skip
    return {
        "is": is_, "from": at, "to": at, "worker": worker, "generation": generation, "attempt": attempt,
        "why": why,
    }  # fmt: skip


def _leave(spans: list[Span], at: float, why: str | None) -> None:
    """From now on nobody is at it."""
    last = spans[-1]
    who = (last["worker"], last["generation"], last["attempt"])
    spans.append(_span("gap", at, *who, why=why))


def _overdue(spans: list[Span], due: float, at: float, queued: bool, blocked: str | None) -> None:
    """The wait was over at `due`, but the run had to queue, or there was no worker to take it."""
    if at - due > _LATE:
        begin = max(due, spans[-1]["from"])
        spans.append(_span("queued", begin, why=blocked) if queued else _span("gap", begin, why="no worker"))


def _silence(signs: Sequence[float]) -> float:
    """Where the longest silence begins between the last heartbeat and when it was noticed.

    A dead worker may have stored steps after its last heartbeat; one that froze may have stored the step
    in which it froze when it woke up.
    """
    return max(pairwise(sorted(sign for sign in signs if sign >= signs[0])), key=lambda two: two[1] - two[0])[
        0
    ]


# What it did


def _steps(
    steps: Sequence[StepRow], events: Sequence[RunEvent], begin: float, end: float
) -> list[dict[str, Any]]:
    paths = {step.path for step in steps}
    above = {path: [one for one in _ancestors(path) if one in paths] for path in paths}
    kept, failed = _kept_until(events), _first_failures(events)
    begun = {}
    for step in steps:
        first = min(step.started_at, failed.get((step.path, step.attempt), step.started_at))
        begun[step.path] = _within(first, begin, end)
    for path, moment in list(begun.items()):  # what was done in it, it had begun before
        for one in above[path]:
            begun[one] = min(begun[one], moment)
    found = []
    for step in steps:
        over, is_ = step.finished_at, step.state
        if is_ == "waiting" and step.wake_at is not None and step.wake_at <= end:
            is_, over = "waited", step.wake_at
        elif is_ in ("waiting", "retrying"):
            over = None
        found.append(
            {
                "path": step.path,
                "depth": len(above[step.path]),
                "title": step.title,
                "kind": step.kind,
                "is": is_,
                "from": begun[step.path],
                "to": None if over is None else _within(over, begun[step.path], end),
                "attempt": step.attempt,
                "failures": step.failures,
                "kept": step.seq is not None and step.seq < kept,
                "seq": step.seq,
                "ref": step.ref,
            }
        )
    return sorted(found, key=lambda step: (step["from"], step["path"]))


def _ancestors(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts))]


def _kept_until(events: Sequence[RunEvent]) -> int:
    """Steps before this seq were answered from their checkpoints: they were done before the run was
    interrupted, or by another worker, or by the run that this one was forked from.
    """
    seq, worker = 0, ""
    for event in events:
        other = event.type == _T.CLAIMED and _text(event.data, "worker") != worker
        if other or (event.type == _T.RESUMED and "replayed" in event.data):
            seq = event.seq or 0
        if event.type == _T.CLAIMED:
            worker = _text(event.data, "worker")
    return seq


def _first_failures(events: Sequence[RunEvent]) -> dict[tuple[str, int], float]:
    """When a step failed first in an attempt of the run: a row says when its last try began."""
    found: dict[tuple[str, int], float] = {}
    attempt = 1
    for event in events:
        if event.type == _T.CLAIMED:
            attempt = _count(event.data, "attempt") or attempt
        elif event.type == _T.STEP_FAILED:
            found.setdefault((_text(event.data, "path"), attempt), event.at)
    return found


# What happened, in words


def said(event: RunEvent) -> str:
    """A stored event in few words."""
    data, type = event.data, event.type
    error = _error(data.get("error"))
    again = data.get("retry_at") is not None
    match type:
        case _T.CLAIMED:
            text = f"attempt {_count(data, 'attempt') or '?'} by {_text(data, 'worker')}"
        case _T.STALE:
            text = f"stale: {_text(data, 'reason')}"
        case _T.RESUMED if "replayed" in data:
            count = _count(data, "replayed") or 0
            text = f"resumed, {count} {'step' if count == 1 else 'steps'} from checkpoints"
        case _T.RESUMED:
            text = "resumed by request"
        case _T.WAITING:
            text = f"waiting for {_waits(data) or 'its time'}"
        case _T.RETRYING:
            text = f"failed, tries again: {error}"
        case _T.FAILED:
            text = f"failed: {error}"
        case _T.TIMED_OUT:
            text = f"timed out: {_text(data, 'code')}"
        case _T.CANCELLED:
            text = "cancelled with its parent" if "parent" in data else "cancelled"
        case _T.MOVED:
            text = f"moved {_text(data, 'direction')}"
        case _T.STEP_FAILED:
            text = f"step {_text(data, 'path')} failed{', tries again' if again else ''}: {error}"
        case _:
            text = _WORDS.get(type, type)
    return cut(text, _LONGEST)


def _error(error: Any) -> str:
    message = _text(error, "message")
    return (_text(error, "type") or "error") + (f": {message}" if message else "")


def _waits(data: dict[str, Any]) -> str:
    given = data.get("waits")
    paths = [path for path in given if isinstance(path, str)] if isinstance(given, list) else []
    more = [f"{len(paths) - _SHOWN} more"] if len(paths) > _SHOWN else []
    return ", ".join(paths[:_SHOWN] + more)


# An event's data may come from a document: it is what it says it is, or nothing.


def _text(data: Any, name: str) -> str:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""


def _number(data: dict[str, Any], name: str, default: float) -> float:
    value = data.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and -_FINITE < value < _FINITE:
        return value
    return default


def _count(data: dict[str, Any], name: str) -> int | None:
    value = _number(data, name, 0.5)
    return int(value) if value == int(value) and abs(value) <= _SAFE else None


def _within(at: float, first: float, last: float) -> float:
    return max(first, min(at, last))
