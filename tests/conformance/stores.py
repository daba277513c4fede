"""The stores under test. To add one, name it here: `<module of durable_lite.stores>[-<variant>]`.

Each value makes, for one test, a place with nothing in it, and yields the function that connects to
it: called twice, it gives two handles on the same data.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from durable_lite.ports import Store

Connect = Callable[[], Store]
Place = Callable[[], AbstractAsyncContextManager[Connect]]

_numbers = itertools.count()  # a database's name is used once


@asynccontextmanager
async def memory() -> AsyncIterator[Connect]:
    from durable_lite.stores.memory import MemoryStore

    store = MemoryStore()
    yield lambda: store


@asynccontextmanager
async def sqlite(durability: str) -> AsyncIterator[Connect]:
    from durable_lite.stores.sqlite import SQLiteStore

    with tempfile.TemporaryDirectory(prefix="durable-lite-") as directory:
        yield lambda: SQLiteStore(str(Path(directory) / "durable.db"), durability=durability)


@asynccontextmanager
async def indexeddb(durability: str) -> AsyncIterator[Connect]:
    from durable_lite.stores.indexeddb import IndexedDBStore

    name = f"test-{next(_numbers)}"
    yield lambda: IndexedDBStore(name, durability=durability)


STORES: dict[str, Place] = {
    "memory": memory,
    "sqlite-strict": partial(sqlite, "strict"),
    "sqlite-relaxed": partial(sqlite, "relaxed"),
}
if sys.platform == "emscripten":
    # A browser knows both; on Node there is no disk, and so one is enough.
    del STORES["sqlite-strict"]
    for durability in os.environ.get("DURABILITIES", "relaxed").split():
        STORES[f"indexeddb-{durability}"] = partial(indexeddb, durability)


@asynccontextmanager
async def opened(place: Place, handles: int = 1) -> AsyncIterator[list[Store]]:
    """Open so many handles on one new place, and close them at the end."""
    async with AsyncExitStack() as stack:
        connect = await stack.enter_async_context(place())
        stores = []
        for _ in range(handles):
            store = connect()
            await store.open()
            stack.push_async_callback(store.close)
            stores.append(store)
        yield stores
