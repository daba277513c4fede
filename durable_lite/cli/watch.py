"""`durable-lite runs watch`: the newest runs as they change, in a live table or a line for each change."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ..as_json import summary_json
from ..errors import StoreError
from ..ports import Store
from ..records import RunFilter, RunRow
from ..status import FINAL, Status
from .options import Database, opened
from .progress import counted, whole
from .safe import json_text, line, visible
from .screen import Screen, ago, error_text, length, output_console, status_text
from .signals import StopSignals
from .tables import table

__all__ = ["watch"]

_PACE = 0.1  # seconds between two looks, however much happens
_TEXT = 200  # characters of an error or a message
_BAR = 10  # columns
_JOB = 24  # columns, at most
_FLEXIBLE = {"PROGRESS": _BAR + 8, "ERROR": 24}  # columns that take what there is, and at least this
# What a narrow terminal does without first; an error is then shown as the progress.
_DISPENSABLE = ("ERROR", "TOOK", "AGE", "RUN", "PROGRESS")
_BELOW = 2  # lines below the table


class View(Protocol):
    """Shows what was found."""

    def entered(self) -> AbstractContextManager[object]: ...

    def show(self, rows: list[RunRow]) -> None:
        """The newest runs."""

    def left(self, rows: list[RunRow]) -> None:
        """Runs that were among them before."""

    def down(self, message: str) -> None:
        """The store can't be read for the moment."""


async def watch(db: Database, wanted: RunFilter, interval: float, as_json: bool) -> int:
    """Until a signal comes; returns the exit code."""
    with StopSignals() as signals:
        async with opened(db) as store:
            console = output_console()
            live = console.is_terminal and not console.is_dumb_terminal and not as_json
            view: View = _Table(console, store.url) if live else _Lines(as_json)
            with view.entered():
                await _follow(store, wanted, interval, view, signals)
    return signals.exit_code


async def _follow(store: Store, wanted: RunFilter, interval: float, view: View, signals: StopSignals) -> None:
    changed, known = asyncio.Event(), set[str]()
    stopping = asyncio.ensure_future(signals.wait())
    stopping.add_done_callback(lambda _: changed.set())
    unlisten = store.listen(lambda _: changed.set())

    async def look() -> None:
        nonlocal known
        rows = await store.list_runs(wanted)
        gone = known - {row.id for row in rows}
        left = await store.get_runs(sorted(gone)) if gone else []
        known = {row.id for row in rows}
        view.left(left)
        view.show(rows)

    try:
        while not stopping.done():
            changed.clear()
            looking = asyncio.ensure_future(look())
            await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not looking.done():
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
                break
            try:
                looking.result()
            except StoreError as error:
                view.down(str(error))
            timer = asyncio.get_running_loop().call_later(interval, changed.set)
            await changed.wait()
            timer.cancel()
            await asyncio.wait({stopping}, timeout=_PACE)
    finally:
        unlisten()
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)


def _error(row: RunRow) -> str:
    return error_text(json.loads(row.error)) if row.error else ""


def _progress(row: RunRow) -> dict[str, Any]:
    return json.loads(row.progress) if row.progress else {}


# Where there is no terminal


class _Lines:
    """A line for each run at first, oldest first, and then for each change of one."""

    def __init__(self, as_json: bool) -> None:
        self._as_json, self._screen = as_json, Screen()
        self._told: dict[str, tuple[object, ...]] = {}
        self._is_down = False

    def entered(self) -> AbstractContextManager[object]:
        return nullcontext()

    def show(self, rows: list[RunRow]) -> None:
        if self._is_down:
            self._is_down = False
            self._screen.say("store.up", "green")
        for row in reversed(rows):
            self._tell(row)

    def left(self, rows: list[RunRow]) -> None:
        for row in reversed(rows):
            self._tell(row)
            self._told.pop(row.id, None)

    def down(self, message: str) -> None:
        if not self._is_down:
            self._is_down = True
            self._screen.say(f"store.down: {message}; trying again", "red")

    def _tell(self, row: RunRow) -> None:
        state = (row.status, row.attempt, row.progress, row.error)
        if self._told.get(row.id) == state:
            return
        self._told[row.id] = state
        if self._as_json:
            click.echo("".join(part.strip() for part in json_text(summary_json(row)).split("\n")))
            return
        progress = _progress(row)
        parts = [time.strftime("%H:%M:%S"), f"{row.status:<9}", row.id, row.job, counted(progress)]
        parts.append(str(progress.get("message") or "") if row.status not in FINAL else "")
        if row.finished_at is not None and row.started_at is not None:
            parts.append(f"in {length(row.finished_at - row.started_at)}")
        click.echo(visible(" ".join(part for part in (*parts, _error(row)) if part)))


# On a terminal


class _Table:
    """Takes the whole screen, and overwrites what is there: nothing flickers. The last frame stays."""

    def __init__(self, console: Console, url: str) -> None:
        self._console, self._url = console, url
        self._live = Live(console=console, screen=True, auto_refresh=False, transient=True)
        self._rows: list[RunRow] = []
        self._looked = False

    def entered(self) -> AbstractContextManager[object]:
        return self

    def __enter__(self) -> _Table:
        self._live.__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        self._live.__exit__(*reason)
        if self._looked:
            self._console.print(self.frame(time.time(), len(self._rows) + _BELOW + 1, ""))

    def show(self, rows: list[RunRow]) -> None:
        self._rows, self._looked = rows, True
        self._paint("")

    def left(self, rows: list[RunRow]) -> None:
        """They aren't in the table any more."""

    def down(self, message: str) -> None:
        self._paint(message)

    def _paint(self, problem: str) -> None:
        self._live.update(self.frame(time.time(), self._console.height, problem), refresh=True)

    def frame(self, now: float, height: int, problem: str) -> Group:
        """All of it in so many lines."""
        rows = self._rows[: max(1, height - _BELOW - 1)]
        cells = {
            "RUN": [Text(visible(row.id)) for row in rows],
            "JOB": [Text(line(row.job, _JOB)) for row in rows],
            "STATUS": [status_text(row.status) for row in rows],
            "PROGRESS": [self._bar(row) for row in rows],
            "AGE": [Text(ago(now - row.created_at).removesuffix(" ago"), style="dim") for row in rows],
            "TOOK": [Text(_took(row, now)) for row in rows],
            "ERROR": [self._failure(row) for row in rows],
        }
        widths = {name: max([len(name), *(cell.cell_len for cell in found)]) for name, found in cells.items()}
        widths |= _FLEXIBLE
        for name in _DISPENSABLE:
            if sum(widths.values()) + 2 * len(widths) > self._console.width:
                del widths[name]
        if "ERROR" not in widths:
            for index, row in enumerate(rows):
                if row.error:
                    cells["PROGRESS"][index] = self._failure(row)
        found = table()
        for name, width in widths.items():
            if name in _FLEXIBLE:
                found.add_column(name, no_wrap=True, overflow="ellipsis", ratio=width)
            else:
                found.add_column(
                    name, width=width, no_wrap=True, overflow="ellipsis",
                    justify="right" if name in ("AGE", "TOOK") else "left",
                )  # fmt: skip
        found.expand = True
        for index in range(len(rows)):
            found.add_row(*(cells[name][index] for name in widths))
        return Group(found, Text(""), self._footer(rows, problem))

    def _footer(self, rows: Sequence[RunRow], problem: str) -> Text:
        footer = Text(no_wrap=True, overflow="ellipsis").append(time.strftime("%H:%M:%S "), style="dim")
        if problem:
            return footer.append(f"the store is down: {line(problem, _TEXT)}; trying again", style="red")
        if not self._rows:
            return footer.append(f"no such runs in {visible(self._url)}")
        counts = Counter(row.status for row in self._rows)
        for status in Status:
            if counts[status]:
                footer.append(f" {counts[status]} ").append_text(status_text(status)).append(" ")
        if hidden := len(self._rows) - len(rows):
            footer.append(f" {hidden} more don't fit")
        return footer

    def _bar(self, row: RunRow) -> Text:
        progress = _progress(row)
        total, shown = progress.get("total"), Text()
        if total:
            full = round(_BAR * min(1.0, max(0.0, (progress.get("current") or 0) / total)))
            done, rest = ("#", "-") if self._console.options.ascii_only else ("━", "─")
            shown.append(done * full, style="green" if row.status == Status.COMPLETED else "cyan")
            shown.append(rest * (_BAR - full) + " ", style="dim")
        shown.append(counted(progress))
        if (message := progress.get("message")) and row.status not in FINAL:
            shown.append(f" {line(str(message), _TEXT)}", style="dim")
        return shown

    def _failure(self, row: RunRow) -> Text:
        return Text(line(_error(row), _TEXT), style="red" if row.status in FINAL else "yellow")


def _took(row: RunRow, now: float) -> str:
    if row.started_at is None:
        return ""
    return (
        whole(max(0.0, now - row.started_at))
        if row.finished_at is None
        else length(row.finished_at - row.started_at)
    )
