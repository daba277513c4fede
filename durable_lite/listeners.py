"""Who hears live events, and that none of them can break a run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from .events import RunEvent
from .store import logger

__all__ = ["Listener", "Listeners", "logger"]

Listener = Callable[[RunEvent], Any]


class Listeners:
    """Callbacks, sync or async, called on the event loop; what they raise is logged and dropped."""

    def __init__(self) -> None:
        self._all: dict[int, Listener] = {}
        self._next = 0
        self._tasks: set[asyncio.Future[Any]] = set()
        self.loop: asyncio.AbstractEventLoop | None = None

    def add(self, listener: Listener) -> Callable[[], None]:
        """Returns a function that removes it."""
        key = self._next
        self._next += 1
        self._all[key] = listener

        def remove() -> None:
            self._all.pop(key, None)

        return remove

    def __len__(self) -> int:
        return len(self._all)

    def publish(self, event: RunEvent) -> None:
        """Tell all. From a step's thread it is told on the event loop, soon."""
        if not self._all:
            return
        try:
            on_loop = asyncio.get_running_loop() is self.loop
        except RuntimeError:
            on_loop = False
        if on_loop:
            self._tell(event)
        elif self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._tell, event)

    def _tell(self, event: RunEvent) -> None:
        for listener in tuple(self._all.values()):
            try:
                answer = listener(event)
                if isinstance(answer, Awaitable):
                    task = asyncio.ensure_future(answer)
                    self._tasks.add(task)
                    task.add_done_callback(self._done)
            except Exception:
                logger.exception("a listener raised on %s", event.type)

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("an async listener raised", exc_info=error)

    async def close(self) -> None:
        """Wait for what async listeners still do."""
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
