"""What `durable-lite run` shows of its run: lines for what happened, and a live bar on a terminal."""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from .. import durations
from ..events import EventType, RunEvent
from ..records import RunRow
from ..status import Status
from .safe import line, visible
from .screen import Screen, error_text, length, moment, plural

__all__ = ["Progress"]

_LEVELS = {"info": "", "warning": "yellow", "error": "red"}  # debug isn't shown
_STEPS_SHOWN = 3
_PROGRESS_EVERY = 1.0  # seconds between two plain lines of progress
_FEW = 5  # so many finished steps at once get a line each


class Progress:
    """Fed by live events (`hear`), stored ones (`told`) and the row (`looked`); `render` is one frame."""

    def __init__(self, screen: Screen, row: RunRow) -> None:
        self._screen, self._row = screen, row
        self.muted = True  # what happened before this command isn't told again
        self.worker: str | None = None  # ours
        self.done = self.done_before = 0
        self._progress: dict[str, Any] | None = json.loads(row.progress) if row.progress else None
        self._progress_of: str | None = None  # the worker whose progress was heard live
        self._executor: str | None = row.worker
        self._said_elsewhere: str | None = None
        self._active: dict[str, tuple[str, float, float]] = {}  # by path: function, begun, and by our clock
        self._waits: list[str] = []
        self._finished: list[str] = []
        self._finished_at = 0.0
        self._lines: list[tuple[float, str, str]] = []
        self._error: str | None = None  # of the failed attempt whose back-off it waits for
        self._store_error: str | None = None
        self._said_progress: tuple[float, object] = (0.0, None)
        self._started = time.monotonic()
        self._spinner = Spinner("dots")

    def display(self) -> AbstractContextManager[object]:
        """The live bar, for as long as it is entered; nothing where there is no terminal."""
        if not self._screen.live:
            return nullcontext()
        return Live(
            get_renderable=self.render, console=self._screen.console, refresh_per_second=8, transient=True
        )

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._started

    def say(self, message: str, style: str = "", *, to_copy: bool = False) -> None:
        """A line now."""
        self._say_all()
        if not self.muted:
            self._screen.say(message, style, to_copy=to_copy)

    def _later(self, at: float, message: str, style: str = "", *, plain: bool = False) -> None:
        """A line at the next look: stored events come later than live ones, and the order counts.

        `plain`: the live display shows it anyhow.
        """
        if not self.muted and not (plain and self._screen.live):
            self._lines.append((at, message, style))

    def _say_all(self) -> None:
        lines, self._lines = self._lines, []
        for _, message, style in sorted(lines, key=lambda line: line[0]):
            self._screen.say(message, style)

    # What is heard

    def hear(self, event: RunEvent) -> None:
        """A live event of this process's worker."""
        data = event.data
        if event.type == EventType.STORE_DOWN:
            self._store_error = str(data["message"])
            self.say(f"store.down: {self._store_error}; trying again", "red")
        elif event.type == EventType.STORE_UP:
            self._store_error = None
            self.say("store.up", "green")
        if event.run_id != self._row.id:
            return
        if event.type == EventType.STEP_STARTED:
            self._active[str(data["path"])] = (str(data["name"] or ""), event.at, time.monotonic())
        elif event.type == EventType.STEP_FAILED:  # which isn't stored
            self._over(event.at, str(data["path"]))
        elif event.type == EventType.PROGRESS:
            self._progress, self._progress_of = data, self.worker
            self._say_progress(event.at)
        elif event.type == EventType.LOG and data["level"] in _LEVELS:
            self._later(event.at, log_line(data), _LEVELS[data["level"]])

    def saved(self, path: str) -> None:
        """A step here has just finished: sooner than its event is read."""
        self._active.pop(path, None)

    def _over(self, at: float, path: str | None = None) -> None:
        """This step, or all, are in flight no more, unless begun since: what is stored comes late."""
        stays = {
            one: since for one, since in self._active.items() if since[1] > at or path not in (None, one)
        }
        self._active = stays

    def told(self, event: RunEvent) -> None:
        """A stored event, wherever the run executes."""
        data, at = event.data, event.at
        if event.type != EventType.STEP_COMPLETED:
            self._say_finished()
        match event.type:
            case EventType.STEP_COMPLETED:
                self.done += 1
                self._over(at, str(data["path"]))
                self._finished_at = at
                self._finished.append(f"step {data['path']} done in {length(at - data['started_at'])}")
            case EventType.STEP_FAILED:
                again = data["retry_at"]
                self._over(at, str(data["path"]))
                what = f"step {data['path']} failed: {error_text(data['error'])}"
                self._later(at, f"{what}; again at {moment(again, at)}" if again else what, "yellow")
            case EventType.CLAIMED:
                self._waits, self._error, self._executor = [], None, data["worker"]
                if data["from"] != Status.WAITING and data["worker"] == self.worker:
                    self._later(at, f"executing here, attempt {data['attempt']}")
            case EventType.RESUMED if "gap_ms" in data:  # not by `runs resume`
                steps = f"{plural(data['replayed'], 'finished step')} answered from checkpoints"
                self._later(at, f"resumed after {length(data['gap_ms'] / 1000)}: {steps}", "cyan")
            case EventType.STALE:
                self._over(at)
                frozen = data["reason"] == "suspended"
                why = "this process was frozen" if frozen else f"{data['reason']}"
                self._later(at, f"stale: {why}; the run goes on from its last checkpoint", "yellow")
            case EventType.WAITING:
                self._waits = [str(path) for path in data["waits"]]
                self._over(at)
                due, what = data["ready_at"], ", ".join(self._waits[:_STEPS_SHOWN])
                until = f" until {moment(due, at)} ({length(due - at)})" if due is not None else ""
                self._later(at, f"waiting: {what}{until}", plain=True)
            case EventType.RETRYING:
                self._error = error_text(data["error"])
                self._over(at)
                delay = length(data["ready_at"] - at)
                self._later(at, f"failed: {self._error}; attempt {data['attempt']} in {delay}", "yellow")
            case EventType.RELEASED:
                self._over(at)
                why = f" after a fault: {data['fault']}" if "fault" in data else ""
                self._later(at, f"released{why}", "yellow")

    def looked(self, row: RunRow) -> None:
        """The row, after its events."""
        self._row = row
        elsewhere = row.worker if row.status == Status.EXECUTING and row.worker != self.worker else None
        if elsewhere not in (None, self._said_elsewhere) and not self.muted:
            self._said_elsewhere = elsewhere
            self.say("another process executes it; following it here", "cyan")
        if row.progress and (self._progress_of is None or self._progress_of != self._executor):
            self._progress = json.loads(row.progress)
            self._say_progress(row.last_seen_at or 0.0)
        self._say_finished()
        self._say_all()

    def begin(self) -> None:
        """What follows is of this command's own doing."""
        self.done_before = self.done
        self._finished.clear()
        self._active.clear()
        self.muted = False

    # Lines

    def _say_finished(self) -> None:
        done, self._finished = self._finished, []
        for one in done if len(done) <= _FEW else [f"{plural(len(done), 'step')} done"]:
            self._later(self._finished_at, one, plain=True)

    def _say_progress(self, now: float) -> None:
        at, last = self._said_progress
        shown = self.counted()
        done = self._progress is not None and self._progress["current"] == self._progress["total"]
        if self.muted or shown == last or (time.monotonic() - at < _PROGRESS_EVERY and not done):
            return
        self._said_progress = time.monotonic(), shown
        message = (self._progress or {}).get("message")
        self._later(now, f"progress {shown}" + (f" {message}" if message else ""), plain=True)

    def counted(self) -> str:
        """`12/20`, `12`, or "" before any progress."""
        return counted(self._progress)

    # The live display

    def render(self) -> Table:
        """One frame: a line with the bar, a line with what it does now."""
        progress, now = self._progress or {}, time.time()
        total, current = progress.get("total"), progress.get("current") or 0.0
        # Room for the ^C that a terminal echoes: in the last column it would wrap, and tear the display.
        width = max(20, self._screen.console.width - 4)
        top = Table.grid(padding=(0, 1))
        top.width = width
        top.add_column(no_wrap=True)
        top.add_column(no_wrap=True)
        top.add_column(ratio=1)
        for _ in range(2):
            top.add_column(no_wrap=True, justify="right")
        waiting = self._row.status == Status.WAITING
        pulse = total is None and not waiting
        top.add_row(
            Text("·" if waiting else "") if waiting else self._spinner,
            Text(line(self._row.job, 30), style="bold"),
            ProgressBar(
                total=total or (None if pulse else 1.0), completed=current if total else 0.0, pulse=pulse
            ),
            Text(" ".join(filter(None, [self.counted(), f"{100 * current / total:.0f}%" if total else ""]))),
            Text(whole(self.elapsed), style="dim"),
        )
        frame = Table.grid()
        frame.add_column(no_wrap=True, overflow="ellipsis", max_width=width)
        frame.add_row(top)
        frame.add_row(Text(f"  {visible(self._doing(now))}", style="red" if self._store_error else "dim"))
        return frame

    def _doing(self, now: float) -> str:
        """What happens at this moment."""
        row, parts = self._row, []
        if self._store_error:
            return f"the store is down: {self._store_error}"
        if row.status == Status.WAITING and row.ready_at is not None:
            left = f"{length(max(0.0, row.ready_at - now))} left, until {moment(row.ready_at, now)}"
            if self._error:
                return f"failed, trying again: {left}: {self._error}"
            return f"waiting for {', '.join(self._waits[:_STEPS_SHOWN]) or 'its time'}: {left}"
        if row.status == Status.WAITING:
            return f"waiting for {', '.join(self._waits[:_STEPS_SHOWN]) or 'somebody'}"
        if row.status == Status.WAITING_ON_CONNECTIONS:
            return "waiting for a worker that has what its job requires"
        if row.status == Status.PENDING:
            due = row.ready_at or now
            return f"starts in {length(due - now)}" if due > now + 0.1 else "waiting for its turn"
        active = tuple(self._active.items())
        for path, (name, _, since) in active[-_STEPS_SHOWN:]:
            function = name.rpartition(".")[2]
            shown = f"{path} ({function})" if function.isidentifier() and function != path else path
            lasts = time.monotonic() - since
            parts.append(shown if lasts < 1 else f"{shown} {whole(lasts)}")
        if len(active) > _STEPS_SHOWN:
            parts.append(f"and {len(active) - _STEPS_SHOWN} more")
        message = (self._progress or {}).get("message")
        if message:
            parts.insert(0, str(message))
        where = "" if self._executor in (None, self.worker) else " by another worker"
        return ", ".join(parts) or f"executing{where}, {plural(self.done, 'step')} done"


def whole(seconds: float) -> str:
    return durations.text(int(seconds))


def counted(progress: dict[str, Any] | None) -> str:
    """Stored progress in few characters."""
    if not progress:
        return ""
    current, total = progress.get("current"), progress.get("total")
    shown = f"{current:,}" if isinstance(current, int) else f"{current:.4g}"
    if total is None:
        return shown
    return f"{shown}/{total:,}" if isinstance(total, int) else f"{shown}/{total:.4g}"


def log_line(data: dict[str, Any]) -> str:
    """A line of the run log: `page-3: sent to=ada@example.com`."""
    fields = "".join(f" {name}={value}" for name, value in data["fields"].items())
    place = f"{data['path']}: " if data["path"] else ""
    level = "" if data["level"] == "info" else f"{data['level']}: "
    return f"{level}{place}{data['message']}{fields}"
