"""Python in another's page, which registers nothing: the modules come out of the package."""

import importlib
import sys

import pytest

from durable_lite import Context, Durable, job
from durable_lite.browser import javascript
from durable_lite.errors import StoreError

REGISTERED = "durable_lite_indexeddb"


@pytest.fixture
def guest():
    """As if the page had never registered the module."""
    import pyodide_js

    module = importlib.import_module(REGISTERED)
    pyodide_js.unregisterJsModule(REGISTERED)
    sys.modules.pop(REGISTERED, None)
    yield
    pyodide_js.registerJsModule(REGISTERED, module)


@job
async def adds(ctx: Context, numbers: list[int]) -> int:
    total = 0
    for i, number in enumerate(numbers):
        total = await ctx.step(f"add-{i}", add, total, number)
    return total


def add(a: int, b: int) -> int:
    return a + b


async def test_a_run(guest):
    async with Durable("indexeddb:guest", jobs=[adds], durability="relaxed") as app:
        run = await app.trigger(adds, [1, 2, 3])
        assert await run.result() == 6
    async with Durable("indexeddb:guest", worker=False) as again:
        found = await again.get_run(run.id)
        assert (found.status, await found.result()) == ("COMPLETED", 6)


async def test_each_module_is_loaded_once(guest, monkeypatch):
    first = await javascript.load_module("indexeddb")
    other = await javascript.load_module("indexeddb")
    assert first.IndexedDBStore.js_id == other.IndexedDBStore.js_id
    read = []
    monkeypatch.setattr(javascript, "_read", lambda name: read.append(name) or "export {};")
    await javascript.load_module("indexeddb")
    assert read == ["indexeddb.mjs"]


async def test_a_page_that_forbids_it_is_told_what_to_do(guest, monkeypatch):
    monkeypatch.setattr(
        javascript, "_as_url", lambda name, seen: "data:text/javascript,throw new Error('forbidden')"
    )
    with pytest.raises(
        StoreError, match=r'forbidden.*registerJsModule\("durable_lite_indexeddb", await import'
    ):
        async with Durable("indexeddb:guest"):
            pass


async def test_an_incomplete_installation_says_so(guest):
    with pytest.raises(StoreError, match="has no nothing.mjs"):
        await javascript.load_module("nothing")


async def test_a_registered_module_is_taken():
    module = await javascript.load_module("indexeddb")
    assert module.__name__ == REGISTERED
