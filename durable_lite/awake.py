"""Awake time: what `max_duration` and a step's `timeout` count, sleep and freezes left out."""

from __future__ import annotations

from collections.abc import Callable

from .ports import TICK, Clock, Timer

__all__ = ["AwakeClock"]


class AwakeClock:
    """Adds up monotonic time between readings, each gap cut at `cap` seconds.

    A worker that holds runs reads it at every beat, so only a suspension makes a longer gap.
    """

    def __init__(self, clock: Clock, cap: float) -> None:
        self._clock, self._cap = clock, cap
        self._last = clock.monotonic()
        self._total = 0.0

    def read(self) -> float:
        """Seconds awake since this clock was made."""
        now = self._clock.monotonic()
        self._total += min(max(0.0, now - self._last), self._cap)
        self._last = now
        return self._total

    def call_after(self, seconds: float, callback: Callable[[], object]) -> AwakeTimer:
        """Call `callback` once `seconds` of awake time have passed."""
        return AwakeTimer(self, self._clock, seconds, callback)


class AwakeTimer:
    """A timer that goes back to sleep when it fires before enough awake time has passed."""

    def __init__(
        self, awake: AwakeClock, clock: Clock, seconds: float, callback: Callable[[], object]
    ) -> None:
        self._awake, self._clock, self._callback = awake, clock, callback
        self._due = awake.read() + seconds
        self._timer: Timer = clock.call_later(seconds, self._fire)

    def _fire(self) -> None:
        remaining = self._due - self._awake.read()
        if remaining > 1e-6:
            self._timer = self._clock.call_later(max(remaining, TICK), self._fire)
        else:
            self._callback()

    def cancel(self) -> None:
        self._timer.cancel()
