"""Notices what others do to a SQLite file: that they commit, by `PRAGMA data_version`, or take it away."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable

from ..records import Change
from . import sqlite_statements as sql
from .sqlite_writer import Writer

__all__ = ["File", "Watch"]

# How often to look, in seconds of the event loop's own time: it is input, not a timer of the engine.
_INTERVAL = 0.025
# In how many of these looks one is for the file itself.
_EACH = 20


class File:
    """The file that a path named when the store was opened.

    SQLite goes on with a file that was deleted or replaced, and nobody will ever find what it writes there.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._known = self._found()
        self.is_there = True

    def look(self) -> bool:
        self.is_there = self._found() == self._known
        return self.is_there

    def _found(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return None
        except OSError:  # of a network's disk, for a moment
            return self._known
        return found.st_dev, found.st_ino


def _version(cursor: sqlite3.Cursor) -> int:
    version: int = cursor.execute(sql.DATA_VERSION).fetchone()[0]
    return version


class Watch:
    """Announces `Change(None, True)` after commits of others, while `wanted()`, and looks at the file.

    A connection's data version changes with the commits of all other connections. So the writing
    connection's tells others' commits from our own; but while a thread has that one, look at
    the reading connection's first, and ask the thread only if it changed.
    """

    def __init__(
        self,
        reader: sqlite3.Connection,
        writing: sqlite3.Connection,
        writer: Writer,
        announce: Callable[[Change], None],
        wanted: Callable[[], bool],
        file: File,
    ) -> None:
        self._threaded = writer.threaded
        self._cursor = (reader if self._threaded else writing).cursor()
        self._writer, self._announce, self._wanted = writer, announce, wanted
        self._seen = _version(self._cursor)
        self._written = _version(writing.cursor())
        self._file, self._looks = file, 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Look from now on; ends by itself when nobody wants it any more."""
        if self._timer is None and self._wanted():
            self._timer = self._loop.call_later(_INTERVAL, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if not self._wanted():
            return
        self.start()
        self._looks += 1
        if self._looks % _EACH == 0:
            self._file.look()
        try:
            version = _version(self._cursor)
        except sqlite3.Error:
            return  # locked for the moment
        if version == self._seen:
            return
        self._seen = version
        if self._threaded:
            question = self._writer.submit(lambda cursor: (_version(cursor), ()), single=True)
            question.add_done_callback(self._answered)
        else:
            self._announce(Change(None, claimable=True))

    def _answered(self, question: asyncio.Future[int]) -> None:
        if question.cancelled() or question.exception() is not None:
            return
        if question.result() != self._written:
            self._written = question.result()
            self._announce(Change(None, claimable=True))
