"""A worker to kill: `python -m tests.examples.worker MODULE STORE`.

It executes the runs of the module's jobs, with what connections the environment gives it, until its
stdin is closed. Whatever anybody logs goes to stderr.
"""

import asyncio
import importlib
import logging
import sys

from durable_lite import Durable


async def work(module: str, store: str) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), over.set)
    async with Durable(store, [importlib.import_module(module)]):
        await over.wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG)
    asyncio.run(work(*sys.argv[1:]))
