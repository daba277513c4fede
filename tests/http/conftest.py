"""Servers over a store in memory and over SQLite: `async with serving() as asked:`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from durable_lite import Durable
from durable_lite.server import asgi, rate, streams
from durable_lite.server.application import Server
from tests.conformance.stores import STORES, opened
from tests.http.following import counts, opens, says
from tests.http.support import JOBS, Asked, live, served

Serving = Callable[..., AbstractAsyncContextManager[Asked]]


def _over(place: Any) -> Serving:
    @asynccontextmanager
    async def serve(**options: Any) -> AsyncIterator[Asked]:
        async with opened(place) as [store], served(store, **options) as asked:
            yield asked

    return serve


@pytest.fixture(params=["memory", "sqlite-relaxed"], ids=["memory", "sqlite"])
def serving(request: pytest.FixtureRequest) -> Serving:
    return _over(STORES[request.param])


@pytest.fixture
def in_memory() -> Serving:
    return _over(STORES["memory"])


@pytest.fixture(params=["memory", "sqlite"])
def streaming(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server on a socket of its own, in real time; in the end nobody follows anything any more."""
    # Streams look when they are told that something happens, not after a while.
    monkeypatch.setattr(streams, "_POLL", 3600.0)
    monkeypatch.setattr(streams, "_PACE_LIST", 0.03)
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path}/runs.db"
    options = {"durability": "relaxed", "suspend_grace": 0, "concurrency": 4}

    @asynccontextmanager
    async def serve(worker: bool = True, **of_server: Any) -> AsyncIterator[tuple[Durable, Server, str]]:
        async with Durable(url, [*JOBS, counts, opens, says], worker=worker, **options) as app:
            server = asgi(app, **of_server)
            async with live(server) as where:
                yield app, server, where
            assert not server.hub._runs
            assert not server.hub._lists

    return serve


@pytest.fixture
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the limit on guesses, which then says exactly when to come again."""
    monkeypatch.setattr(rate, "time", SimpleNamespace(monotonic=lambda: 1000.0))
