"""The timeline of a run on a terminal: a bar for the run, and one for each step at its place in time."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import durations
from ..events import EventType, RunEvent
from ..records import RunRow
from ..status import FINAL
from .safe import visible
from .screen import length, moment, status_text

__all__ = ["show_timeline"]

_PIPED = 100  # columns of what isn't a terminal
_NARROWEST = 10  # columns of a bar
_NAMES = 0.36  # of the columns are for names, at most
_GAP = 2  # columns between two columns


class _Look(NamedTuple):
    """How something is drawn; without colour, too, and where there are but ASCII characters."""

    char: str
    ascii: str
    style: str
    words: str


_SPANS = {
    "pending": _Look("·", ".", "dim", "pending"),
    "queued": _Look("┄", "~", "yellow", "queued"),
    "waiting_on_connections": _Look("┄", "~", "yellow", "waits for a connection"),
    "executing": _Look("█", "#", "cyan", "executing"),
    "waiting": _Look("─", "-", "blue", "waiting"),
    "gap": _Look("░", "%", "yellow", "nobody was at it"),
    "moved": _Look("»", ">", "magenta", "moved away"),
    "completed": _Look("=", "=", "green", "completed"),
    "failed": _Look("×", "x", "red", "failed"),
    "timed_out": _Look("×", "x", "red", "timed out"),
    "cancelled": _Look("×", "x", "magenta", "cancelled"),
    "expired": _Look("×", "x", "red", "expired"),
}
_STEPS = {
    "completed": _Look("█", "#", "green", ""),
    "failed": _Look("█", "#", "red", ""),
    "retrying": _Look("█", "#", "yellow", ""),
    "waiting": _Look("─", "-", "blue", ""),
    "waited": _Look("─", "-", "blue", ""),
}
_THIN = _SPANS["waiting"]
_KEPT = _Look("◆", "*", "green", "from a checkpoint")
_FAILED = _Look("✗", "!", "red", "a failed try")
_OPEN = _Look("▸", ">", "blue", "not over yet")
_TICK = _Look("╷", "|", "dim", "")
_WAITS = ("sleep", "wait", "event", "call")  # kinds of which most of the time nothing is done
_NOTES = {"failed": "red", "retrying": "yellow", "waiting": "blue"}
_TICKS = [
    *(base * 10.0**power for power in range(-3, 1) for base in (1, 2, 5)),
    *(10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200),
    *(days * 86_400 for days in (1, 2, 7, 14, 30, 90, 365, 3650, 36_500)),
]


def show_timeline(
    console: Console, run: RunRow, found: dict[str, Any], events: Iterable[RunEvent], limit: int
) -> None:
    """Draw what `timeline` has found; of the steps the last `limit` ones."""
    failures = defaultdict(list)
    for event in events:
        if event.type == EventType.STEP_FAILED:
            failures[str(event.data.get("path"))].append(event.at)
    piped = not console.is_terminal and "COLUMNS" not in os.environ
    drawing = _Drawing(console, _PIPED if piped else console.width, found, failures, run.status in FINAL)
    begin, end = found["from"], found["to"]
    title = Text(visible(f"{run.job} {run.id} "), style="bold")
    console.print(title.append_text(status_text(run.status)), soft_wrap=True)
    took = f"{moment(begin)} to {moment(end, begin)}, {length(end - begin)}"
    console.print(Text(took, style="dim"), soft_wrap=True)
    console.print()
    steps = found["steps"]
    console.print(drawing.table(steps[-limit:]), width=drawing.width)
    if len(steps) > limit:
        console.print(Text(f"The last {limit:,} of {len(steps):,} steps (--limit)", style="dim"))
    console.print()
    for one in drawing.legend():
        console.print(one, width=drawing.width)


class _Drawing:
    """A scale, and what was drawn to it, which is what the legend explains."""

    def __init__(
        self,
        console: Console,
        width: int,
        found: dict[str, Any],
        failures: dict[str, list[float]],
        over: bool,
    ) -> None:
        self._ascii, self.width = console.options.ascii_only, width
        self._found, self._failures, self._over = found, failures, over
        self._begin, self._length = found["from"], found["to"] - found["from"]
        self._bar = 0  # columns
        self._used: dict[_Look, None] = {}

    def table(self, steps: Sequence[dict[str, Any]]) -> Table:
        names, notes = self._names(steps), [self._note(step) for step in steps]
        whole = Text(length(self._length))
        longest = max(cell_len(name.plain) for name in (Text("run"), *names))
        most = max(12, int(self.width * _NAMES))
        name_width, note_width = min(longest, most), max(note.cell_len for note in (whole, *notes))
        self._bar = max(_NARROWEST, self.width - name_width - note_width - 2 * _GAP)
        grid = Table.grid(padding=(0, _GAP))
        grid.add_column(width=name_width, no_wrap=True, overflow="ellipsis")
        grid.add_column(width=self._bar, no_wrap=True, overflow="crop")
        grid.add_column(width=note_width, no_wrap=True, justify="right")
        grid.add_row("", self._axis(), "")
        was = self._whole()
        grid.add_row(Text("run", style="bold"), self._painted([_SPANS.get(one) for one in was]), whole)
        for step, name, note in zip(steps, names, notes, strict=True):
            grid.add_row(name, self._step(step, was), note)
        return grid

    # Names and notes

    def _names(self, steps: Sequence[dict[str, Any]]) -> list[Text]:
        """Each below what it is a part of, without what that says already."""
        shown: set[str] = set()
        names, marked = [], any(step["kept"] for step in steps)
        for step in steps:
            path, parts = step["path"], step["path"].split("/")
            above = [one for one in ("/".join(parts[:n]) for n in range(1, len(parts))) if one in shown]
            shown.add(path)
            text = path[len(above[-1]) + 1 :] if above else path
            text += f" ({step['title']})" if step["title"] else ""
            name = Text("")
            if marked:
                name.append(f"{self._char(_KEPT) if step['kept'] else ' '} ", style=_KEPT.style)
            names.append(name.append("  " * len(above) + visible(text)))
        return names

    def _note(self, step: dict[str, Any]) -> Text:
        note = Text()
        if step["failures"] and (step["failures"] > 1 or step["is"] != "failed"):
            note.append(f"{self._char(_FAILED)}{step['failures']} ", style=_FAILED.style)
        if step["is"] in _NOTES:
            note.append(step["is"], style=_NOTES[step["is"]])
        if step["to"] is not None:
            note.append(f"{' ' if step['is'] in _NOTES else ''}{length(step['to'] - step['from'])}")
        return note

    # Bars

    def _cell(self, at: float) -> float:
        """Where a moment is on a bar, in columns."""
        return 0.0 if self._length <= 0 else (at - self._begin) / self._length * self._bar

    def _cells(self, begin: float, end: float) -> range:
        """The columns of a bar between two moments: at least one."""
        first = min(int(self._cell(begin)), self._bar - 1)
        return range(first, max(first + 1, min(math.ceil(self._cell(end) - 1e-9), self._bar)))

    def _whole(self) -> list[str]:
        """Each column is what the run was for most of its time; but what is shorter isn't lost."""
        shares: list[dict[str, float]] = [defaultdict(float) for _ in range(self._bar)]
        spans = self._found["spans"]
        for span in spans:
            first, last = self._cell(span["from"]), self._cell(span["to"])
            for column in self._cells(span["from"], span["to"]):
                shares[column][span["is"]] += max(0.0, min(last, column + 1) - max(first, column))
        cells = [max(share, key=lambda one: share[one], default="") for share in shares]
        for shown in ("executing", "gap"):
            for span in spans:
                if span["is"] == shown:
                    cells[self._cells((span["from"] + span["to"]) / 2, span["from"])[0]] = shown
        return cells

    def _step(self, step: dict[str, Any], whole: Sequence[str]) -> Text:
        end = self._found["to"] if step["to"] is None else step["to"]
        columns = self._cells(step["from"], end)
        look = _STEPS.get(step["is"], _STEPS["completed"])
        thin = look._replace(char=_THIN.char, ascii=_THIN.ascii)
        if step["kind"] in _WAITS:
            look = thin
        cells: list[_Look | None] = [None] * self._bar
        failed = [at for at in self._failures.get(step["path"], ()) if step["from"] <= at <= end]
        backs_off = max(failed, default=end) if step["is"] == "retrying" else end
        for column in columns:
            within = columns[0] < column < columns[-1]
            idle = whole[column] if within and look is not thin else ""
            works = idle in ("", "executing") and column <= self._cell(backs_off)
            cells[column] = _SPANS["gap"] if idle == "gap" else look if works else thin
        if step["to"] is None and not self._over:
            cells[columns[-1]] = _OPEN
        for at in failed:
            cells[min(int(self._cell(at)), columns[-1])] = _FAILED
        return self._painted(cells)

    def _painted(self, cells: Sequence[_Look | None]) -> Text:
        text = Text()
        for look, same in groupby(cells):
            char, style = (" ", "") if look is None else (self._char(look), look.style)
            text.append(char * len(list(same)), style=style)
        return text

    def _char(self, look: _Look) -> str:
        self._used[look] = None
        return look.ascii if self._ascii else look.char

    def _axis(self) -> Text:
        """`╷0s      ╷20s     ╷40s`: seconds since the run's creation."""
        longest = max(self._length, 1e-3)
        step = next(
            (one for one in _TICKS if self._bar * one / longest > len(_label(longest)) + 4), _TICKS[-1]
        )
        text = ""
        for number in range(int(longest / step) + 1):
            column, label = (
                int(self._cell(self._begin + number * step)),
                self._char(_TICK) + _label(number * step),
            )
            if column >= len(text) + bool(text) and column + len(label) <= self._bar:
                text = text.ljust(column) + label
        return Text(text, style=_TICK.style)

    # What it all means

    def legend(self) -> list[Text]:
        """Of what was drawn, with how long the run was each; as many on a line as fit."""
        total: dict[str, float] = defaultdict(float)
        whys: dict[str, dict[str, None]] = defaultdict(dict)
        for span in self._found["spans"]:
            total[span["is"]] += span["to"] - span["from"]
            if span["why"] and span["is"] == "gap":
                whys["gap"][span["why"]] = None
        items = []
        for name, look in _SPANS.items():
            if look in self._used or (name == "executing" and name in total):  # as steps are drawn, too
                why = f" ({', '.join(whys[name])})" if whys[name] else ""
                items.append((look, f"{look.words} {length(total[name])}{why}"))
        items += [(look, look.words) for look in (_KEPT, _FAILED, _OPEN) if look in self._used]
        lines: list[Text] = []
        for look, words in items:
            item = Text(self._char(look), style=look.style).append(f" {visible(words)}", style="dim")
            if lines and lines[-1].cell_len + 3 + item.cell_len <= self.width:
                lines[-1].append("   ").append_text(item)
            else:
                lines.append(item)
        return lines


def _label(seconds: float) -> str:
    return durations.text(round(seconds, 3))
