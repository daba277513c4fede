"""The terminal: consoles that interpret nothing, log lines with a time, moments and lengths for people."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from .. import durations
from ..brief import cut
from ..status import Status
from .safe import visible

__all__ = [
    "STYLES",
    "Screen",
    "ago",
    "diagnostics",
    "error_text",
    "length",
    "moment",
    "output_console",
    "plural",
    "status_text",
]

STYLES = {
    Status.COMPLETED: "green",
    Status.EXECUTING: "cyan",
    Status.WAITING: "blue",
    Status.STALE: "yellow",
    Status.FAILED: "red",
    Status.TIMED_OUT: "red",
    Status.INVALID_PAYLOAD: "red",
    Status.UNRESOLVED_AUTH: "red",
    Status.WAITING_ON_CONNECTIONS: "yellow",
    Status.CANCELLED: "magenta",
    Status.MOVED: "magenta",
}
_WIDE = 200  # of what isn't a terminal: columns are for people, but grep wants whole ids


class Screen:
    """Diagnostics on stderr, one line each; above the live display, if there is one."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal

    def say(self, message: str, style: str = "", *, to_copy: bool = False) -> None:
        """One line with the time of day. What came from a run may be part of it.

        A terminal wraps it between words; not one `to_copy`, which holds a command.
        """
        text = Text(f"{time.strftime('%H:%M:%S')} ", style="dim")
        text.append(visible(message), style=style)
        self.console.print(text, soft_wrap=to_copy or not self.live)


def output_console() -> Console:
    """For tables on stdout."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    return console


def status_text(status: str) -> Text:
    known = status in Status.__members__
    return Text(visible(status), style=STYLES.get(Status(status), "") if known else "")


def error_text(error: dict[str, object] | None) -> str:
    """A stored error on one line: `ValueError: no such page (step page-3)`."""
    if not error:
        return "no error was stored"
    kind, message = str(error.get("type") or "error"), cut(str(error.get("message") or ""), 500)
    code, key = error.get("code"), error.get("key")
    text = f"{kind} ({code})" if code else kind
    text += f": {message}" if message else ""
    return f"{text} (step {key})" if key else text


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def length(seconds: float) -> str:
    """`0.3s`, `42s`, `5m3s`: short, and never more exact than one can read."""
    seconds = max(0.0, seconds)
    if seconds < 0.1:
        return "0s" if seconds < 0.0005 else f"{seconds * 1000:.0f}ms"
    return f"{seconds:.1f}s" if seconds < 9.95 else durations.text(round(seconds))


def ago(seconds: float) -> str:
    """`5s ago`, `3h ago`: one unit."""
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit} ago"
    return f"{seconds:.0f}s ago"


def moment(at: float, now: float | None = None) -> str:
    """Local time; without the date where that is today's (`now` given)."""
    local = time.localtime(at)
    today = now is not None and time.localtime(now)[:3] == local[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", local)


class _Handler(logging.Handler):
    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.ERROR)  # the store's ups and downs come as events
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            message += f": {type(error).__name__}: {error}"
        self._screen.say(message, "red")


@contextmanager
def diagnostics(screen: Screen) -> Iterator[None]:
    """What the engine itself logs goes to the screen, a line each."""
    logger = logging.getLogger("durable_lite")
    handler, propagate = _Handler(screen), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
