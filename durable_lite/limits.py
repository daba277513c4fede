"""The limits of a run's time: `max_duration` of awake executing time, `deadline` on the wall clock."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .engine import Engine
from .ports import Timer
from .records import RunRow

__all__ = ["TimeLimits"]


class TimeLimits:
    """Calls `on_over(code)` once a limit has passed while the run executes under one claim."""

    def __init__(
        self, engine: Engine, run: RunRow, max_duration: float | None, on_over: Callable[[str], None]
    ) -> None:
        self._engine, self._run, self._on_over = engine, run, on_over
        self._max_duration = run.max_duration if run.max_duration is not None else max_duration
        self._timers: list[Timer] = []

    def passed(self) -> str | None:
        """Which limit had passed before this claim, if one had."""
        if self._max_duration is not None and self._run.executed >= self._max_duration:
            return "max_duration"
        if self._run.deadline is not None and self._run.deadline <= self._engine.clock.now():
            return "deadline"
        return None

    def start(self) -> None:
        if self._max_duration is not None:
            left = max(0.0, self._max_duration - self._run.executed)
            self._timers.append(self._engine.awake.call_after(left, partial(self._on_over, "max_duration")))
        if self._run.deadline is not None:
            left = max(0.0, self._run.deadline - self._engine.clock.now())
            self._timers.append(self._engine.clock.call_later(left, partial(self._on_over, "deadline")))

    def stop(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
