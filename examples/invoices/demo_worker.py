"""The worker that `demo.py` starts and kills: `python -m demo_worker sqlite:durable.db calls.txt`.

An ordinary worker, but that each step function writes a line to `calls.txt` when it is entered and
when it returns, so that the demo can count by itself what was executed how often.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import jobs

from durable_lite import Durable

STEPS = ("make_plan", "write_part", "join_parts", "mail_link", "remove_parts")


def counted(fn: Callable[..., Any], file: int) -> Callable[..., Any]:
    """`fn`, leaving lines of: start or end, the function, its page, this process, the time."""

    @functools.wraps(fn)
    def call(*args: Any) -> Any:
        page = next((arg.number for arg in args if isinstance(arg, jobs.Page)), 0)
        line = f"{fn.__name__} {page} {os.getpid()}"
        os.write(file, f"start {line} {time.time()}\n".encode())
        result = fn(*args)
        os.write(file, f"end {line} {time.time()}\n".encode())
        return result

    return call


async def work(store: str) -> None:
    """Execute runs until SIGTERM or SIGINT."""
    over, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(over.set))
    async with Durable(store, jobs=[jobs]):
        await over.wait()


def main() -> None:
    store, calls = sys.argv[1:]
    file = os.open(calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for name in STEPS:
        setattr(jobs, name, counted(getattr(jobs, name), file))
    asyncio.run(work(store))


if __name__ == "__main__":
    main()
