"""Starts a coroutine at once, in a task of its own: one that never waits costs no turn of the loop.

Python 3.12 can do that by itself. For 3.11 the first part runs here, announced to asyncio through the
hooks that it documents for other task implementations ("Extending asyncio: task lifetime support").
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import types
import weakref
from collections.abc import Coroutine, Generator
from typing import Any

__all__ = ["EagerTasks", "coroutine_of"]


if sys.version_info >= (3, 12):

    class EagerTasks:
        """Starts tasks on the running event loop."""

        def start(self, coro: Coroutine[Any, Any, object]) -> asyncio.Task[Any] | None:
            """Run `coro` up to its first wait, in a context of its own. Returns the task that is to do
            the rest; None if it has ended, be it by a cancellation. Raises what `coro` raises till then.
            """
            task: asyncio.Task[Any] = asyncio.Task(coro, loop=asyncio.get_running_loop(), eager_start=True)
            if not task.done():
                return task
            if not task.cancelled():
                task.result()
            return None

        async def close(self) -> None:
            """Nothing is kept."""

    def coroutine_of(task: asyncio.Task[Any]) -> Any:
        """The coroutine that a task runs."""
        return task.get_coro()

else:
    # So many tasks are kept for the next coroutines: as deep as steps are commonly nested.
    _SPARES = 4

    class EagerTasks:
        """Starts tasks on the running event loop; `close` before there is another one.

        A coroutine needs a task to be current even if it never waits: whatever looks at the current
        task, a time-out say, may hold on to it. A task that nobody holds on to serves the next one.
        """

        def __init__(self) -> None:
            self._spares: list[_Rest] = []

        def start(self, coro: Coroutine[Any, Any, object]) -> asyncio.Task[Any] | None:
            """Run `coro` up to its first wait, in a context of its own. Returns the task that is to do
            the rest; None if it has ended, be it by a cancellation. Raises what `coro` raises till then.
            """
            loop = asyncio.get_running_loop()
            rest = self._spares.pop() if self._spares else _Rest(loop)
            if rest.task.cancelling() or rest.task.done():  # somebody cancelled all tasks
                rest = _Rest(loop)
            task, context = rest.task, contextvars.copy_context()
            held = _references(task)
            outer = asyncio.current_task(loop)
            if outer is not None:
                asyncio.tasks._leave_task(loop, outer)
            asyncio.tasks._enter_task(loop, task)
            try:
                rest.waits_for = context.run(coro.send, None)
                rest.coro, rest.context = coro, context
            except (StopIteration, asyncio.CancelledError):
                return None
            finally:
                asyncio.tasks._leave_task(loop, task)
                if outer is not None:
                    asyncio.tasks._enter_task(loop, outer)
                if rest.coro is None:
                    unused = not task.cancelling() and _references(task) == held
                    if unused and len(self._spares) < _SPARES:
                        self._spares.append(rest)
                    else:
                        rest.go.cancel()
            task._log_destroy_pending = True  # type: ignore[attr-defined]  # as of any task
            if not rest.go.done():
                rest.go.set_result(None)
            return task

        async def close(self) -> None:
            """Let go of the tasks that are kept."""
            spares, self._spares = self._spares, []
            for rest in spares:
                rest.go.cancel()
            await asyncio.gather(*(rest.task for rest in spares), return_exceptions=True)

    def _references(task: asyncio.Task[Any]) -> int:
        return sys.getrefcount(task) + weakref.getweakrefcount(task)

    def coroutine_of(task: asyncio.Task[Any]) -> Any:
        """The coroutine that a task runs."""
        driver: Any = task.get_coro()
        rest = driver.gi_frame.f_locals.get("rest") if getattr(driver, "gi_frame", None) else None
        return rest.coro if isinstance(rest, _Rest) else driver


class _Rest:
    """A task, and what is left for it of a coroutine after its first part."""

    __slots__ = ("context", "coro", "go", "task", "waits_for")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.coro: Coroutine[Any, Any, Any] | None = None
        self.context: contextvars.Context | None = None
        self.waits_for: Any = None
        self.go: asyncio.Future[None] = loop.create_future()
        driver = _drive(self)
        driver.send(None)  # up to its first yield, so that a cancellation finds it started
        self.task: asyncio.Task[Any] = loop.create_task(driver)
        self.task._log_destroy_pending = False  # type: ignore[attr-defined]  # it may never go


@types.coroutine
def _drive(rest: _Rest) -> Generator[Any, Any, Any]:
    """What the task runs: on from where the first part stands."""
    thrown: BaseException | None = None
    try:
        yield
        if rest.coro is None:
            yield from rest.go
    except BaseException as error:
        if rest.coro is None:
            raise
        thrown = error
    if rest.coro is None or rest.context is None:
        return None
    send, throw, run = rest.coro.send, rest.coro.throw, rest.context.run
    if isinstance(thrown, GeneratorExit):  # collected while it waits; the coroutine may have been, too
        rest.coro.close()
        raise thrown
    try:
        waits_for = rest.waits_for if thrown is None else run(throw, thrown)
        while True:
            try:
                sent = yield waits_for
            except GeneratorExit:
                rest.coro.close()
                raise
            except BaseException as error:
                waits_for = run(throw, error)
            else:
                waits_for = run(send, sent)
    except StopIteration as end:
        return end.value
