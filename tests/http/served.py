"""`served(app)`: a real HTTP server in the test's own event loop, on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from durable_lite.server import asgi


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):
        yield


class Served:
    """Where it is, and how it can be stopped and started again at the same place."""

    def __init__(self, application: Any, port: int = 0) -> None:
        self.application = application
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        config = uvicorn.Config(
            self.application, log_config=None, lifespan="off", timeout_graceful_shutdown=2
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve([self._socket]))
        while not self._server.started:
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        if hasattr(self.application, "stop_streams"):
            self.application.stop_streams()
        self._server.should_exit = True
        await self._task
        self._socket.close()


@asynccontextmanager
async def served(app: Any, **options: Any) -> AsyncIterator[Served]:
    """A server over an open `Durable`."""
    server = Served(asgi(app, **options))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
