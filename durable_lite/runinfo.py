"""What a job learns of its own run, and tells of it: facts, lines of the log, metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import InvalidOption

if TYPE_CHECKING:
    from .execution import Execution
    from .records import RunRow

__all__ = ["Log", "Metadata", "RunInfo"]


class RunInfo(NamedTuple):
    """Facts about the run, as `ctx.run`."""

    id: str
    job: str
    version: str | None
    attempt: int
    queue: str
    trigger: dict[str, Any]
    environment: str | None
    tags: tuple[str, ...]
    created_at: float
    started_at: float
    deadline: float | None
    parent: str | None  # the run that started this one

    @classmethod
    def of(cls, row: RunRow) -> RunInfo:
        return cls(
            row.id, row.job, row.version, row.attempt, row.queue, json.loads(row.trigger), row.environment,
            tuple(json.loads(row.tags)), row.created_at, row.started_at or row.created_at, row.deadline,
            row.parent_id,
        )  # fmt: skip


class Log:
    """The run log, as `ctx.log`: lines belong to the step that they are written in."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def debug(self, message: object, **fields: Any) -> None:
        self._line("debug", message, fields)

    def info(self, message: object, **fields: Any) -> None:
        self._line("info", message, fields)

    def warning(self, message: object, **fields: Any) -> None:
        self._line("warning", message, fields)

    def error(self, message: object, **fields: Any) -> None:
        self._line("error", message, fields)

    def _line(self, level: str, message: object, fields: dict[str, Any]) -> None:
        self._execution.check_running()
        self._execution.log.line(self._execution.scope(), level, message, fields)


class Metadata:
    """Small named values that show with the run, as `ctx.metadata`; the last write counts."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def set(self, key: str, value: Any) -> None:
        """Set one value. Raises `NotSerializable` as a step's output does, `TooLarge` for all together."""
        if not isinstance(key, str) or not key:
            raise InvalidOption("metadata key", f"expected a non-empty str, got {key!r:.80}")
        self._execution.check_running()
        self._execution.log.set_metadata(key, value)

    def get(self, key: str, default: Any = None) -> Any:
        return self._execution.log.get_metadata(key, default)
