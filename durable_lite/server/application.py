"""The ASGI application: from a request to its operation and back, with what may go wrong on the way."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, MutableMapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from ..durations import count
from ..errors import DurableError, InvalidOption
from .access import Authenticate, Authorize, Policy
from .assets import assets
from .gate import LOOPBACK, Gate
from .openapi import openapi
from .operation import Operation
from .problems import Refused, document, refused
from .rate import Rate
from .requests import Dispatcher, json_response
from .routes_rest import REST
from .routes_runs import RUNS
from .streams import Hub

if TYPE_CHECKING:
    from ..durable import Durable

__all__ = ["OPERATIONS", "Server", "asgi"]

OPERATIONS: tuple[Operation, ...] = (*RUNS, *REST)
_OVERHEAD = 64_000  # bytes of a body besides its value

logger = logging.getLogger("durable_lite")


def asgi(
    app: Durable,
    *,
    token: str | None = None,
    authenticate: Authenticate | None = None,
    authorize: Authorize | None = None,
    hosts: Iterable[str] = LOOPBACK,
    origins: Iterable[str] = (),
    token_rate: str = "10/s",
    max_body: int | None = None,
    dashboard: bool = True,
) -> Server:
    """An ASGI application over `app`: its HTTP API below `/api`, live updates, the dashboard at `/`.

    * `token`: who asks has to say `Authorization: Bearer …`. `authenticate`: a function of the connection
      instead, which gives who it is, or None.
    * `authorize(principal, operation, target)`: whether they may; see `Authorize`.
    * `hosts`: the names that the server is asked by; others than this machine's own need `token` or
      `authenticate`. `"*"` is any.
    * `origins`: of other sites whose pages may ask.
    * `token_rate`: how often one may ask for a run's tokens, so that nobody guesses them.
    * `max_body`: bytes of a request's body, by default what one value may take.
    * `dashboard`: whether pages and modules are served, too.

    As a whole application it opens `app` and closes it again; mounted in another one it expects it open.
    Raises `InvalidOption`.
    """
    policy = Policy(token, authenticate, authorize)
    gate = Gate(*((given,) if isinstance(given, str) else given for given in (hosts, origins)))
    if policy.is_open and not gate.is_local:
        raise InvalidOption("hosts", "a server that others can reach needs a token or authenticate")
    limit = app.options.max_value_bytes + _OVERHEAD if max_body is None else count(max_body, "max_body")
    return Server(app, policy, gate, Rate(token_rate, "token_rate"), limit, dashboard)


class Server:
    """See `asgi`. `stop_streams` ends what is followed, before the process does."""

    def __init__(
        self, app: Durable, policy: Policy, gate: Gate, rate: Rate, max_body: int, dashboard: bool
    ) -> None:
        self.app, self._gate = app, gate
        self._hub: Hub | None = None
        api = openapi(OPERATIONS, token=not policy.is_open)

        async def documented(request: Request) -> Response:
            return json_response({**api, "servers": [{"url": request.scope.get("root_path", "") or "/"}]})

        dispatcher = Dispatcher(self, policy, rate, max_body)
        routes: list[Route | Mount] = [Route("/api/openapi.json", documented)]
        by_path: dict[str, dict[str, Operation]] = {}
        for operation in OPERATIONS:
            by_path.setdefault(operation.path, {})[operation.method] = operation
        for path, methods in by_path.items():
            # A name may have slashes; an id hasn't.
            place = f"/api{path}".replace("{name}", "{name:path}")
            routes.append(Route(place, dispatcher.endpoint(methods)))
        if dashboard:
            routes += assets()
        self._inner = Starlette(routes=routes, exception_handlers=_HANDLERS, lifespan=self._life)
        self._inner.router.redirect_slashes = False  # "/runs/" isn't "/runs": it is a run without an id

    @property
    def hub(self) -> Hub:
        if self._hub is None:
            self._hub = Hub(self.app)
        return self._hub

    def stop_streams(self) -> None:
        """End all live updates; those who follow come again, and miss nothing."""
        self.hub.close()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return

        async def out(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", [])
                message["headers"] = list(message["headers"])
                self._gate.headers(scope, MutableHeaders(raw=message["headers"]))
            await send(message)

        try:
            self._gate.check(scope)
        except Refused as problem:
            await problem_response(problem)(scope, receive, out)
            return
        if (answer := self._gate.preflight(scope)) is not None:
            await Response(status_code=204, headers=answer)(scope, receive, out)
            return
        await self._inner(scope, receive, out)

    @asynccontextmanager
    async def _life(self, _: Starlette) -> Any:
        mine, self._hub = not self.app._open, None
        if mine:
            await self.app.start()
        try:
            yield
        finally:
            self.stop_streams()
            if mine:
                await self.app.close()


def problem_response(problem: Refused) -> Response:
    body = json.dumps(document(problem), default=str).encode()
    return Response(body, problem.status, problem.headers, "application/problem+json")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return problem_response(error)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, DurableError)
    problem = refused(error)
    if problem.code == "internal":
        logger.error("%s %s", request.method, request.url.path, exc_info=error)
    return problem_response(problem)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = "method_not_allowed" if error.status_code == 405 else "not_found"
    return problem_response(Refused(code, f"{request.method} {request.url.path:.200}", error.headers))


async def _broken(request: Request, error: Exception) -> Response:
    """Starlette raises it again for the log, once this was sent."""
    return problem_response(Refused("internal", "the server's log says more"))


_HANDLERS: Any = {
    HTTPException: _not_routed,
    Refused: _refused,
    DurableError: _failed,
    Exception: _broken,
}
