"""The stores and modes that the engine's tests run over.

`async with make_store() as store:` gives an open, empty store, `make_store(2)` two handles on one.
`async with make_app(jobs) as app:` gives a started app on a store of its own, once as usual and once
with `always_replay`. Tests that count events or calls use `apps.app(store, jobs)` instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from tests.conformance.stores import STORES, opened
from tests.engine.apps import ALWAYS_REPLAY, App, app

MakeStore = Callable[..., AbstractAsyncContextManager[Any]]
MakeApp = Callable[..., AbstractAsyncContextManager[App]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`ALWAYS_REPLAY=1` leaves out what tells a run that goes on from one that is replayed."""
    if ALWAYS_REPLAY:
        live = [item for item in items if item.get_closest_marker("live")]
        config.hook.pytest_deselected(items=live)
        items[:] = [item for item in items if item not in live]


@pytest.fixture(params=["memory", "sqlite-relaxed"], ids=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest) -> MakeStore:
    place = STORES[request.param]

    @asynccontextmanager
    async def make(handles: int = 1) -> AsyncIterator[Any]:
        async with opened(place, handles) as stores:
            yield stores[0] if handles == 1 else stores

    return make


@pytest.fixture
def make_app(make_store: MakeStore, always_replay: bool) -> MakeApp:
    @asynccontextmanager
    async def make(jobs: Any, **options: Any) -> AsyncIterator[App]:
        async with make_store() as store, app(store, jobs, always_replay=always_replay, **options) as durable:
            yield durable

    return make
