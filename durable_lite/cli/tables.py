"""Runs for people: the table of a list, and the screen of one run."""

from __future__ import annotations

import json
from typing import NamedTuple, TypeVar

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..events import EventType, RunEvent
from ..records import LogRow, RunRow, StepRow
from ..status import FINAL
from .progress import counted, log_line
from .safe import block, line, visible
from .screen import ago, error_text, length, moment, status_text

__all__ = ["Detail", "show_run", "show_runs", "table"]

T = TypeVar("T")
_FULL, _FULLER = 96, 116  # columns from which a list has more
_VALUE = 1_000  # characters of a payload or an output
_INDENT = 2
_LEVELS = {"warning": "yellow", "error": "red", "debug": "dim"}


class Detail(NamedTuple):
    """All there is about a run, and how much of it to show."""

    run: RunRow
    steps: list[StepRow]
    events: list[RunEvent]
    logs: list[LogRow]
    traceback: bool
    limit: int
    now: float


def show_runs(console: Console, rows: list[RunRow], now: float) -> None:
    """One line each. Ids are never cut: they are there to be copied."""
    wide = console.width >= _FULL
    wider = console.width >= _FULLER and any(row.tags != "[]" for row in rows)
    found = table()
    found.add_column("RUN", no_wrap=True, overflow="fold")
    found.add_column("JOB", no_wrap=True, overflow="ellipsis")
    found.add_column("STATUS", no_wrap=True, overflow="fold")
    found.add_column("PROGRESS", no_wrap=True, justify="right")
    found.add_column("CREATED", no_wrap=True, justify="right")
    if wide:
        found.add_column("TOOK", no_wrap=True, justify="right")
    if wider:
        found.add_column("TAGS", no_wrap=True, overflow="ellipsis")
    for row in rows:
        progress = counted(json.loads(row.progress) if row.progress else None)
        cells = [_text(row.id), _text(row.job), status_text(row.status), Text(progress)]
        cells.append(Text(ago(now - row.created_at), style="dim"))
        if wide:
            cells.append(Text(_took(row, now)))
        if wider:
            cells.append(_text(" ".join(json.loads(row.tags)), style="dim"))
        found.add_row(*cells)
    console.print(found)


def show_run(console: Console, detail: Detail) -> None:
    run = detail.run
    _facts(console, detail)
    _steps(console, detail)
    _events(console, detail)
    _logs(console, detail)
    if run.error is not None:
        error = json.loads(run.error)
        trying_again = run.status not in FINAL
        _section(console, "LAST ERROR, IT IS TRYING AGAIN" if trying_again else "ERROR")
        _indented(console, Text(visible(error_text(error)), style="yellow" if trying_again else "red"))
        if detail.traceback and error.get("traceback"):
            console.print(Text(block(str(error["traceback"])).rstrip()), soft_wrap=True)
        elif error.get("traceback"):
            _indented(console, Text("--traceback shows where", style="dim"))


def _facts(console: Console, detail: Detail) -> None:
    run, now = detail.run, detail.now
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("run", Text(visible(run.id), style="bold"))
    facts.add_row("job", _text(run.job + (f", version {run.version}" if run.version else "")))
    status = status_text(run.status)
    if run.status == "WAITING" and run.remaining and run.claimable == 0:
        until = f", until {moment(run.ready_at, now)} at the latest" if run.ready_at is not None else ""
        status.append(f" for a token, an event or a child run{until}", style="default")
    elif run.blocked is not None:
        what = f"a place in queue {visible(run.queue)}" if run.blocked == "queue" else "its concurrency key"
        status.append(f" for {what}", style="default")
    elif run.ready_at is not None and run.status not in FINAL and run.ready_at > now:
        status.append(
            f", goes on at {moment(run.ready_at, now)}, in {length(run.ready_at - now)}", style="default"
        )
    elif run.status == "WAITING_ON_CONNECTIONS":
        status.append(": no worker has what its job requires", style="default")
    elif run.status in ("PENDING", "WAITING"):
        status.append(", it is due: no worker has taken it yet", style="default")
    elif run.stale_reason and run.status == "STALE":
        status.append(f": {visible(run.stale_reason)}")
    facts.add_row("status", status)
    facts.add_row("attempt", _attempt(run))
    if progress := counted(json.loads(run.progress) if run.progress else None):
        message = json.loads(run.progress or "{}").get("message")
        facts.add_row("progress", _text(progress + (f" {message}" if message else "")))
    facts.add_row("created", f"{moment(run.created_at)} ({ago(now - run.created_at)})")
    if run.started_at is not None:
        facts.add_row("started", moment(run.started_at))
    if run.finished_at is not None:
        took = f" (took {_took(run, now)}, {length(run.executed)} of it executing)"
        facts.add_row("finished", moment(run.finished_at) + took)
    for name, text in (("tags", " ".join(json.loads(run.tags))), ("environment", run.environment or "")):
        if text:
            facts.add_row(name, _text(text))
    facts.add_row("payload", _text(_cut(run.payload)))
    if run.output is not None:
        facts.add_row("output", _text(_cut(run.output)))
    if run.metadata != "{}":
        facts.add_row("metadata", _text(_cut(run.metadata)))
    console.print(facts)


def _attempt(run: RunRow) -> str:
    resumed = f", {run.attempt - run.first_attempt + 1} since it was resumed" if run.first_attempt > 1 else ""
    recovered = f", taken over {run.recoveries}× without a new checkpoint" if run.recoveries else ""
    return f"{run.attempt}{resumed}{recovered}"


def _steps(console: Console, detail: Detail) -> None:
    shown = _last(console, "STEPS", detail.steps, detail.limit)
    if not shown:
        return
    found = table(indent=_INDENT)
    found.add_column("STEP", overflow="fold", ratio=2)
    found.add_column("STATE", no_wrap=True)
    found.add_column("TOOK", no_wrap=True, justify="right")
    found.add_column("OUTPUT, ERROR, WAIT", no_wrap=True, overflow="ellipsis", ratio=3)
    found.expand = console.is_terminal
    for step in shown:
        state, what = _step_state(step, detail)
        took = length(step.finished_at - step.started_at) if step.finished_at is not None else ""
        name = step.path + (f" ({step.title})" if step.title else "")
        found.add_row(_text(name), state, took, what)
    console.print(found)
    if detail.traceback:
        for step in shown:
            error = json.loads(step.error) if step.error and step.state != "completed" else {}
            if error.get("traceback") and step.error != detail.run.error:
                _section(console, f"TRACEBACK OF {visible(step.path)}")
                console.print(Text(block(str(error["traceback"])).rstrip()), soft_wrap=True)


def _step_state(step: StepRow, detail: Detail) -> tuple[Text, Text]:
    failures = f", failed {step.failures}×" if step.failures and step.state != "failed" else ""
    if step.kind == "sleep":
        over = step.wake_at is None or step.wake_at <= detail.now
        until = "" if step.wake_at is None else f"until {moment(step.wake_at, detail.now)}"
        return Text("over" if over else "waiting", style="dim" if over else "blue"), Text(until, style="dim")
    if step.state == "waiting":
        what = "run" if step.kind == "call" else step.kind
        waits = f"{what} {line(' '.join((step.ref or '').split()), 200)}"
        return Text("waiting", style="blue"), Text(waits, style="dim")
    if step.state == "completed" and step.kind in ("token", "trigger"):
        return Text(f"{step.kind}", style="green"), Text(line(step.ref or "", 200), style="dim")
    if step.state == "completed":
        return Text(f"done{failures}", style="green"), Text(line(step.output or "", 200), style="dim")
    error = line(error_text({**json.loads(step.error or "{}"), "key": None}), 300)
    if step.state == "retrying" and step.wake_at is not None:
        again = f"again at {moment(step.wake_at, detail.now)}: "
        return Text(f"retrying{failures}", style="yellow"), Text(again + error, style="yellow")
    times = f" {step.failures}×" if step.failures > 1 else ""
    return Text(f"{step.state}{times}", style="red"), Text(error, style="red")


def _events(console: Console, detail: Detail) -> None:
    told = [event for event in detail.events if event.type != EventType.STEP_COMPLETED]
    for event in _last(console, "EVENTS", told, detail.limit):
        text = Text(f"{moment(event.at, detail.now)} ", style="dim")
        text.append(f"{visible(event.type):<14} ", style="default")
        text.append(visible(_said(event, detail.now)), style="dim")
        _indented(console, text)


def _said(event: RunEvent, now: float) -> str:
    """An event's data in words."""
    parts = []
    for name, value in event.data.items():
        if name == "error" and isinstance(value, dict):
            value = error_text({**value, "key": None})
        elif name.endswith("_at") and isinstance(value, int | float):
            value = moment(value, now)
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        if value is not None:
            parts.append(f"{name}={value}")
    return " ".join(parts)


def _logs(console: Console, detail: Detail) -> None:
    for row in _last(console, "LOG", detail.logs, detail.limit):
        text = Text(f"{moment(row.at, detail.now)} ", style="dim")
        data = {
            "level": row.level,
            "path": row.path,
            "message": row.message,
            "fields": json.loads(row.fields),
        }
        text.append(visible(log_line(data)), style=_LEVELS.get(row.level, "default"))
        _indented(console, text)


def _last(console: Console, title: str, rows: list[T], limit: int) -> list[T]:
    """The last rows, under a title that says how many there are."""
    if rows:
        more = f", the last {limit:,} (--limit)" if len(rows) > limit else ""
        _section(console, f"{title}: {len(rows):,}{more}")
    return rows[-limit:]


def _section(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, style="bold"))


def _indented(console: Console, text: Text) -> None:
    """A line that wraps under itself."""
    console.print(Padding(text, (0, 0, 0, _INDENT), expand=False), overflow="fold")


def table(indent: int = 0) -> Table:
    return Table(
        box=None, padding=(0, 2, 0, indent), collapse_padding=True, header_style="dim", pad_edge=True
    )


def _text(value: str, style: str = "") -> Text:
    return Text(visible(value), style=style)


def _cut(value: str) -> str:
    return value if len(value) <= _VALUE else f"{value[:_VALUE]}… ({len(value):,} characters; --json has all)"


def _took(run: RunRow, now: float) -> str:
    if run.started_at is None:
        return ""
    return length((run.finished_at if run.finished_at is not None else now) - run.started_at)
