"""The four ports, and nothing else touches the world: `Clock`, `Store`, `Entropy`, `Offload`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, TypeVar

from .store import EVENT_TTL, VERBS, Store, Versions

__all__ = ["EVENT_TTL", "TICK", "VERBS", "Clock", "Entropy", "Offload", "Store", "Timer", "Versions"]

T = TypeVar("T")

# A timer that fired a hair early is set again for at least so long: wall time is coarser than this.
TICK = 0.001


class Timer(Protocol):
    """What `Clock.call_later` returns."""

    def cancel(self) -> None: ...


class Clock(ABC):
    """Wall time, monotonic time, and waiting for it."""

    @abstractmethod
    def now(self) -> float:
        """Wall time, in seconds since the epoch. May jump either way."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds from some fixed moment; never goes back, need not tick while the machine sleeps."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""

    @abstractmethod
    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` once after `seconds`, unless the timer is cancelled first."""


class Entropy(ABC):
    """Ids, tokens and jitter."""

    @abstractmethod
    def uniform(self) -> float:
        """A number in [0, 1)."""

    @abstractmethod
    def bits(self, count: int) -> int:
        """`count` random bits that nobody can guess."""


class Offload(ABC):
    """Where sync functions run, so that they don't block the event loop."""

    @abstractmethod
    def submit(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Start `call`, with the caller's context variables. Cancelling the future stops nothing."""

    @abstractmethod
    def close(self) -> None:
        """Take no more calls. What is running runs on."""
