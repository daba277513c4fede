"""SIGINT and SIGTERM: the first asks to stop, the second stops at once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["StopSignals"]

_SHOW_CURSOR = b"\x1b[?25h\n"


class StopSignals:
    """While entered, signals are heard here; `wait` returns the first.

    They are Python's own handlers, not the event loop's, so that the second one works even when
    the job blocks the loop.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            if os.isatty(2):
                os.write(2, _SHOW_CURSOR)
            os._exit(128 + number)
        self.received = number
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        await self._event.wait()

    @property
    def name(self) -> str:
        return signal.Signals(self.received).name if self.received is not None else ""

    @property
    def exit_code(self) -> int:
        return 128 + (self.received or 0)
