"""Knows which asyncio tasks a simulated process has started, so that its death ends those and no others."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["TaskOwner"]

# Python 3.11 can't tell a task's context, and Pyodide's event loop can't use a task factory.
_KNOWS_CONTEXTS = sys.version_info >= (3, 12)

_owner: contextvars.ContextVar[TaskOwner | None] = contextvars.ContextVar("owner", default=None)


class TaskOwner:
    """What is started `with owner.owning():`, and what that starts in turn, is its own."""

    def __init__(self) -> None:
        self._started: list[asyncio.Task[Any]] = []

    @contextmanager
    def owning(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        if not _KNOWS_CONTEXTS and loop.get_task_factory() is not _make_task:
            loop.set_task_factory(_make_task)
        token = _owner.set(self)
        try:
            yield
        finally:
            _owner.reset(token)

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Those that haven't ended."""
        if sys.version_info >= (3, 12):
            return [task for task in asyncio.all_tasks() if task.get_context().get(_owner) is self]
        return [task for task in self._started if not task.done()]

    async def end(self) -> None:
        """Cancel its tasks until none is left."""
        while left := self.tasks():
            for task in left:
                task.cancel()
            await asyncio.wait(left)


def _make_task(loop: asyncio.AbstractEventLoop, main: Any, **options: Any) -> asyncio.Task[Any]:
    task = asyncio.Task(main, loop=loop, **options)
    if (owner := _owner.get()) is not None:
        owner._started.append(task)
    return task
