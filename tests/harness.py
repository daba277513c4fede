"""Runs coroutines in tests, on CPython as inside Pyodide, failing those that leave tasks; locks caches."""

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class LeakedTasks(AssertionError):
    """A test ended while tasks that it had started were still running."""


@contextmanager
def alone(cache: Path) -> Iterator[None]:
    """Several pytests share a folder of `.cache`: one at a time makes what is in it."""
    import fcntl

    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
        yield


def run(main: Coroutine[Any, Any, T], *, timeout: float | None = None) -> T:
    """Run `main` to its end. `timeout` matters inside Pyodide only, where pytest-timeout can't be."""
    if sys.platform == "emscripten":
        from pyodide.ffi import run_sync

        return run_sync(asyncio.wait_for(_owning_its_tasks(main), timeout))
    return asyncio.run(_owning_its_tasks(main))


async def _owning_its_tasks(main: Coroutine[Any, Any, T]) -> T:
    before = asyncio.all_tasks()
    try:
        result = await main
    finally:
        left = asyncio.all_tasks() - before
        names = sorted(_describe(task) for task in left)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    if names:
        raise LeakedTasks(f"{len(names)} left behind: {', '.join(names)}")
    return result


def _describe(task: asyncio.Task[Any]) -> str:
    return f"{task.get_name()} ({getattr(task.get_coro(), '__qualname__', '?')})"
