"""What a run tells while it executes: its log, progress and metadata, buffered between beats."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable
from typing import Any

from . import codec
from .errors import TooLarge
from .events import EventType
from .inflight import Scope
from .ports import Clock
from .records import Beat, Checkpoint, LogRow, RunRow

__all__ = ["ENGINE", "LEVELS", "RunLog"]

LEVELS = ("debug", "info", "warning", "error")
_MESSAGE_LIMIT = 16_000  # characters
_FIELDS = 50  # of one line

# Lines of the engine itself are numbered apart from the job's. No key escapes to this path.
ENGINE = "%"


class RunLog:
    """Buffers what one execution says until a beat, a suspension or the end stores it.

    Lines are numbered within (attempt, step), so that a replay, which says them again, repeats none.
    What a step says when it is tried again after a failure is no replay: each try begins at `base`.
    `tell(type, data)` hears each one at once, on whatever thread it was said.
    """

    def __init__(
        self, run: RunRow, clock: Clock, tell: Callable[[str, dict[str, Any]], None], limit: int
    ) -> None:
        self._run_id, self._attempt, self._clock, self._tell = run.id, run.attempt, clock, tell
        self._lines: list[LogRow] = []
        self._told: dict[str, int] = {}
        self.base: dict[str, int] = {}  # the first number of a step's current try, where it isn't 0
        self._retrying: dict[str, float] = {}
        self._warned: set[str] = set()
        self._progress: str | None = None
        self._metadata: dict[str, Any] = json.loads(run.metadata)  # values as the codec tags them
        self._sizes = {key: len(json.dumps(value)) for key, value in self._metadata.items()}
        self._limit = limit  # of all metadata, in bytes
        self._metadata_changed = False

    def replays(self, stored: list[LogRow], checkpoints: Iterable[Checkpoint] = ()) -> None:
        """Lines that this attempt has stored already are not told again.

        Those from before the moment when a step, or one around it, was to be tried again are of a try
        that had failed.
        """
        for memo in checkpoints:
            if memo.state == "retrying" and memo.attempt == self._attempt:
                self._retrying[memo.path] = memo.wake_at or 0.0
        for row in stored:
            if row.path == ENGINE:
                self._warned.add(row.message)
            if row.attempt == self._attempt:
                self._told[row.path] = max(self._told.get(row.path, 0), row.ordinal + 1)
                for path, again_at in self._retrying.items():
                    if row.at < again_at and f"{row.path}/".startswith(f"{path}/"):
                        self.base[row.path] = max(self.base.get(row.path, 0), row.ordinal + 1)

    def failed(self, path: str) -> None:
        """A step failed and is to be tried again, with all that nests in it."""
        for told, ordinal in self._told.items():
            if f"{told}/".startswith(f"{path}/"):
                self.base[told] = ordinal

    def inherit(self, other: RunLog) -> None:
        """What a coroutine that is given up had to say and hasn't stored."""
        self.replays(other._lines)
        self._lines += other._lines

    def line(self, scope: Scope, level: str, message: object, fields: dict[str, Any]) -> None:
        ordinal = scope.ordinal
        scope.ordinal += 1
        if ordinal < self._told.get(scope.path, 0):
            return
        self._add(scope.path, ordinal, level, clean(str(message)[:_MESSAGE_LIMIT]), fields)

    def engine_line(self, message: str) -> None:
        """A warning of the engine's; each is said once in a run."""
        message = clean(message)
        if message not in self._warned:
            self._warned.add(message)
            self._add(ENGINE, self._told.get(ENGINE, 0), "warning", message, {})

    def _add(self, path: str, ordinal: int, level: str, message: str, fields: dict[str, Any]) -> None:
        self._told[path] = ordinal + 1
        few = itertools.islice(fields.items(), _FIELDS)
        shown = {clean(str(name)[:_MESSAGE_LIMIT]): _field(value) for name, value in few}
        at = self._clock.now()
        self._lines.append(
            LogRow(self._run_id, self._attempt, path, ordinal, at, level, message, json.dumps(shown))
        )
        shown_path = "" if path == ENGINE else path
        self._tell(EventType.LOG, {"level": level, "message": message, "fields": shown, "path": shown_path})

    def progress(self, current: float, total: float | None, message: str | None) -> None:
        message = None if message is None else clean(message[:_MESSAGE_LIMIT])
        data = {"current": current, "total": total, "message": message}
        self._progress = json.dumps(data)
        self._tell(EventType.PROGRESS, data)

    def set_metadata(self, key: str, value: Any) -> None:
        text = codec.encode(value, key=f"metadata {key!r}", limit=self._limit)
        sizes = self._sizes | {key: len(key.encode("utf-8", "replace")) + len(text.encode())}
        if (size := sum(sizes.values())) > self._limit:
            raise TooLarge("metadata", size, self._limit)
        self._metadata[key], self._sizes = json.loads(text), sizes
        self._metadata_changed = True
        self._tell(EventType.METADATA, {"key": key})

    def get_metadata(self, key: str, default: Any) -> Any:
        return codec.decode(json.dumps(self._metadata[key])) if key in self._metadata else default

    def beat(self, run_id: str, generation: int, executed: float) -> Beat:
        """A beat with all that was buffered; `put_back` it if the store didn't take it."""
        lines, self._lines = self._lines, []
        progress, self._progress = self._progress, None
        metadata = json.dumps(self._metadata) if self._metadata_changed else None
        self._metadata_changed = False
        return Beat(run_id, generation, executed, progress, metadata, tuple(lines))

    def put_back(self, beat: Beat) -> None:
        self._lines[:0] = beat.logs
        if self._progress is None:
            self._progress = beat.progress
        self._metadata_changed |= beat.metadata is not None


def clean(text: str) -> str:
    """Text that every store takes: lone surrogates replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _field(value: Any) -> Any:
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value  # JSON has no infinity
    return clean(str(value)[:_MESSAGE_LIMIT])
