"""Callbacks that are ready share a turn of the browser's event loop.

Pyodide's loop spends a turn of the browser's on each: a step that is stored takes three, and hundreds of
steps at a time keep IndexedDB waiting. Here they run one after the other, as on any other Python.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

__all__ = ["Turns"]

_LONGEST = 0.004  # seconds: then the browser has its turn
_PATIENCE = 0.02  # seconds until others go on while a callback waits inside `run_sync`


class Turns:
    """Replaces `call_soon` of one loop, which has to call functions again (as Pyodide's does)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.monotonic) -> None:
        self._loop, self._clock = loop, clock
        self._soon, self._later = loop.call_soon, loop.call_later
        self._ready: deque[asyncio.Handle] = deque()
        self._asked = False  # for a turn that hasn't begun
        self._watched = False
        self._began, self._number = float("-inf"), 0
        loop.call_soon = self.call_soon  # type: ignore[assignment, method-assign]  # what we are for

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self._loop, context=context)
        self._ready.append(handle)
        self._ask()
        return handle

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            self._soon(self._turn)

    def _turn(self) -> None:
        """Run what is ready, and what that makes ready, for a while. Nothing asks for a turn meanwhile."""
        began = self._began = self._clock()
        number = self._number = self._number + 1
        if not self._watched:
            self._watched = True
            self._later(_PATIENCE, self._watch)
        try:
            while self._ready:
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
                if self._number != number:
                    return  # it has waited inside `run_sync`, and another turn took over
                if self._clock() - began > _LONGEST:
                    break
        finally:
            if self._number == number:
                self._asked = False
                if self._ready:
                    self._ask()

    def _watch(self) -> None:
        """A callback that waits inside `run_sync` keeps its turn: the others get one of their own."""
        self._watched = False
        if self._asked and self._ready and self._clock() - self._began >= _PATIENCE:
            self._soon(self._turn)
        elif self._asked:
            self._watched = True
            self._later(_PATIENCE, self._watch)
