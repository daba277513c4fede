"""Finds what a run awaits besides context calls, to warn that a suspension cuts it off.

Best effort: it walks from a task to what that task awaits. What it can't see is caught later, when
such code calls the context of a suspended run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from .eager import coroutine_of

__all__ = ["plain_awaits"]

_PACKAGE = __name__.partition(".")[0]


def plain_awaits(root: asyncio.Task[Any], ours: Collection[asyncio.Future[Any]]) -> list[str]:
    """The places (`file:line in function`) where `root` awaits something that isn't one of `ours`.

    Each is the line of user code that is outermost in its task, not the library's inside of it.
    """
    known = {id(future) for future in ours}
    found: list[str] = []
    seen: set[int] = set()
    waiting: list[Any] = [root]
    while waiting:
        task = waiting.pop()
        if id(task) in seen or not isinstance(task, asyncio.Task) or task.done():
            continue
        seen.add(id(task))
        place, group = _stands(task)
        if group is not None:
            waiting.extend(group)
            continue
        future = getattr(task, "_fut_waiter", None)
        if id(future) in known:
            continue
        if isinstance(future, asyncio.Task):
            waiting.append(future)
        elif children := getattr(future, "_children", None):  # what gather awaits
            waiting.extend(child for child in children if id(child) not in known)
        else:
            found.append(place)
    return found


def _stands(task: asyncio.Task[Any]) -> tuple[str, Collection[asyncio.Task[Any]] | None]:
    """Where a task stands, and the children of the `TaskGroup` whose end it awaits."""
    coroutine = coroutine_of(task)
    where, ours = "?", True
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is None:
            break
        owner = frame.f_locals.get("self")
        if isinstance(owner, asyncio.TaskGroup):
            return where, list(getattr(owner, "_tasks", ()))
        if ours:
            where = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
            ours = frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE
        coroutine = coroutine.cr_await
    return where, None
