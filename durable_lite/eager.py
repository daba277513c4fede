"""Starts a coroutine at once, in a task of its own: one that never waits costs no turn of the loop.

Python 3.12 can do that by itself. For 3.11 the first part runs here, announced to asyncio through the
hooks that it documents for other task implementations ("Extending asyncio: task lifetime support").
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

__all__ = ["start"]

T = TypeVar("T")


if sys.version_info >= (3, 12):

    def start(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that has run `coro` up to its first wait, or to its end, in a context of its own."""
        return asyncio.Task(coro, loop=loop, eager_start=True)

else:

    def start(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that has run `coro` up to its first wait, or to its end, in a context of its own."""
        context = contextvars.copy_context()
        rest = _Rest(coro)
        driver = _drive(rest)
        driver.send(None)  # up to its first yield, so that a cancellation finds it started
        task: asyncio.Task[T] = asyncio.Task(driver, loop=loop, context=context)
        outer = asyncio.current_task(loop)
        if outer is not None:
            asyncio.tasks._leave_task(loop, outer)
        asyncio.tasks._enter_task(loop, task)
        try:
            rest.waits_for = context.run(coro.send, None)
        except StopIteration as end:
            rest.done, rest.result = True, end.value
        except (Exception, asyncio.CancelledError) as error:
            rest.done, rest.error = True, error
        finally:
            asyncio.tasks._leave_task(loop, task)
            if outer is not None:
                asyncio.tasks._enter_task(loop, outer)
        return task


class _Rest:
    """What is left of a coroutine after its first part."""

    __slots__ = ("coro", "done", "error", "result", "waits_for")

    def __init__(self, coro: Coroutine[Any, Any, Any]) -> None:
        self.coro = coro
        self.done = False
        self.error: BaseException | None = None
        self.result: Any = None
        self.waits_for: Any = None


@types.coroutine
def _drive(rest: _Rest) -> Generator[Any, Any, Any]:
    """What the task runs: on from where the first part stands."""
    coro, thrown = rest.coro, None
    try:
        yield
    except GeneratorExit:  # collected while it waits; the coroutine may have been, too
        coro.close()
        raise
    except BaseException as error:
        thrown = error
    if rest.done:
        if rest.error is not None:
            raise rest.error
        return rest.result
    try:
        waits_for = rest.waits_for if thrown is None else coro.throw(thrown)
        while True:
            try:
                sent = yield waits_for
            except GeneratorExit:
                coro.close()
                raise
            except BaseException as error:
                waits_for = coro.throw(error)
            else:
                waits_for = coro.send(sent)
    except StopIteration as end:
        return end.value
