"""A request on its way to its operation: who asks, what they say, what it is about, whether they may."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jsonschema_rs
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..errors import Conflict, DurableError, KeyReused, RunNotFound, StoreError, TokenNotFound
from ..listing import run_filter
from ..records import RunFilter
from ..run import Run
from .access import Access, NewTrigger, Policy
from .operation import Call, On, Operation, Schema
from .problems import Refused, refused
from .rate import Rate
from .schemas import COMPONENTS
from .text import as_text

if TYPE_CHECKING:
    from .application import Server

__all__ = ["Dispatcher", "json_response"]

logger = logging.getLogger("durable_lite")

_PATIENCE = 30.0  # seconds for hooks that are asked again
_DEEP = 200  # levels of JSON
_DROPPED = 16 << 20  # bytes of a body: who still sends doesn't hear an answer
_run_ids = re.compile(r"\brun ([0-9a-z]{26})\b").findall
_is_integer = re.compile(r"-?(0|[1-9][0-9]{0,17})").fullmatch
_is_number = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?").fullmatch


def json_response(data: Any, status: int = 200) -> Response:
    return Response(as_text(data).encode(), status, {"cache-control": "no-store"}, "application/json")


class Dispatcher:
    """Makes endpoints of operations. Nothing else calls them."""

    def __init__(self, server: Server, policy: Policy, rate: Rate, max_body: int) -> None:
        self._server, self._policy, self._rate, self._max_body = server, policy, rate, max_body

    def endpoint(self, methods: Mapping[str, Operation]) -> Any:
        """What answers at one path."""
        checks = {method: _Checks(one) for method, one in methods.items()}
        allowed = sorted({*methods, *(["HEAD"] if "GET" in methods else [])})

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            request = Request(scope, receive, send)
            method = "GET" if request.method == "HEAD" else request.method
            if method not in methods:
                raise HTTPException(405, headers={"Allow": ", ".join(allowed)})
            response = await self._answer(request, methods[method], checks[method])
            await response(scope, receive, send)

        return _Endpoint(answer)

    async def _answer(self, request: Request, operation: Operation, checks: _Checks) -> Any:
        if operation.on is On.NOTHING:
            access = Access(None, None)
        else:
            access = await self._policy.access(request)
        if operation.limited:
            host = request.client.host if request.client else ""
            if (wait := self._rate.take((repr(access.principal), host))) is not None:
                detail = f"ask again after {wait} s"
                raise Refused("rate_limited", detail, {"Retry-After": str(wait)})
        query = checks.query(request)
        body: Any = None
        if operation.raw:
            body = await self._read(request)
        elif operation.body is not None:
            body = checks.body(request, await self._read(request))
        app, hub = self._server.app, self._server.hub
        call = Call(app, hub, request, access, request.path_params, query, body)
        await _authorise(operation, call)
        try:
            answer = await operation.handle(call)
        except (Conflict, KeyReused) as error:
            raise await _about_own_runs(call, error) from None
        if answer.stream is not None:
            if self._policy.has_hooks:
                answer.stream.may_go_on = lambda: self._may_go_on(operation, call)
            return answer.stream
        return (
            Response(status_code=204) if answer.status == 204 else json_response(answer.body, answer.status)
        )

    async def _may_go_on(self, operation: Operation, call: Call) -> bool:
        """Whether who follows may do so still, and sees the same as before."""
        try:
            async with asyncio.timeout(_PATIENCE):
                again = replace(call, access=await self._policy.access(call.request))
                await _authorise(operation, again)
        except (Refused, RunNotFound, StoreError):
            return False
        except Exception:
            logger.exception("a stream ends, as nobody can say whether it may go on")
            return False
        return operation.on is not On.RUNS or again.filter == call.filter

    async def _read(self, request: Request) -> bytes:
        """The body. What is too large is read to its end, and dropped, unless it is much too large."""
        told = request.headers.get("content-length", "")
        most = self._max_body + _DROPPED
        parts, size = [], int(told[:18]) if told.isdecimal() else 0
        if size <= most:
            size = 0
            try:
                async for part in request.stream():
                    size += len(part)
                    if size <= self._max_body:
                        parts.append(part)
                    elif size > most:
                        break
                    else:
                        parts.clear()
            except ClientDisconnect:
                raise Refused("malformed", "the request broke off") from None
        if size > self._max_body:
            raise Refused("too_large", f"a body of over {self._max_body:,} bytes", {"Connection": "close"})
        return b"".join(parts)


class _Endpoint:
    """Starlette takes an object as an ASGI application, with any method."""

    def __init__(self, answer: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._answer(scope, receive, send)


class _Checks:
    """Whether query and body are as the operation's schemas say."""

    def __init__(self, operation: Operation) -> None:
        self._query = operation.query
        schema = {"type": "object", "properties": dict(operation.query), "additionalProperties": False}
        self._of_query, self._of_body = _validator(schema), None
        if operation.body is not None:
            self._of_body = _validator(operation.body)
            self._needed = bool(operation.body.get("required"))

    def query(self, request: Request) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, text in request.query_params.multi_items():
            schema = self._query.get(name, {})
            if schema.get("type") == "array":
                found.setdefault(name, []).append(text)
            elif name in found:
                raise Refused("invalid_request", f"query: {name!r:.100} is there twice", path=name)
            else:
                found[name] = _read_as(schema.get("type"), text)
        _require(self._of_query, found, "query")
        return found

    def body(self, request: Request, content: bytes) -> Any:
        if not content and not self._needed:
            return None
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refused("unsupported_type", "Content-Type has to be application/json")
        try:
            given = json.loads(content.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise Refused("malformed", f"the body isn't JSON: {error!s:.200}") from None
        if _is_deep(given):
            raise Refused("malformed", f"the body is nested deeper than {_DEEP} levels")
        _require(self._of_body, given, "body")
        return given


async def _authorise(operation: Operation, call: Call) -> None:
    """Load what the call is about, and ask whether who calls may. What they may not see isn't there."""
    name, access, app = operation.name, call.access, call.app
    match operation.on:
        case On.RUN:
            call.run = await app.get_run(call.params["id"])
            if not await access.to_run(name, call.run):
                raise RunNotFound(call.run.id)
        case On.TOKEN:
            token_id = call.params["id"]
            found = await app.store.read_tokens([token_id], app.clock.now())
            row = await app.store.get_run(found[0].run_id) if found else None
            if row is None:
                raise TokenNotFound(token_id)
            call.token, call.run = found[0], Run(app, row)
            if not await access.to_run(name, call.run):
                raise TokenNotFound(token_id)
        case On.RUNS:
            fields = ("status", "job", "tag", "created_after", "created_before", "limit", "cursor")
            given = {one: call.query[one] for one in fields if one in call.query}
            call.filter = await access.to_runs(name, run_filter(**given))
        case On.TOKENS:
            call.filter = await access.to_runs(name, RunFilter())
            if "run" in call.query:
                run = await app.get_run(call.query["run"])
                if not await access.to_run(name, run):
                    raise RunNotFound(run.id)
        case On.TRIGGER:
            body = call.body
            payloads = body["payloads"] if "payloads" in body else [body.get("payload")]
            options = body.get("options", {})
            wanted_triggers = [NewTrigger(body["job"], payload, options) for payload in payloads]
            call.triggers = [await access.to_trigger(name, one) for one in wanted_triggers]
        case On.STORE:
            await access.to_store(name)
        case On.NOTHING:
            pass


async def _about_own_runs(call: Call, error: DurableError) -> Exception:
    """The error, but for one that names a run which who calls may not see."""
    for run_id in set(_run_ids(str(error))):
        row = await call.app.store.get_run(run_id)
        if row is not None and not await call.access.to_run("runs.get", Run(call.app, row)):
            return Refused(refused(error).code, "a run that isn't yours is in the way")
    return error


def _validator(schema: Schema) -> Any:
    whole = {**schema, "components": {"schemas": COMPONENTS}}
    return jsonschema_rs.Draft202012Validator(whole)


def _require(validator: Any, given: Any, where: str) -> None:
    try:
        error = next(validator.iter_errors(given), None)
    except ValueError as caught:  # what its JSON can't have, such as half of a character
        raise Refused("invalid_request", f"{where}: {caught!s:.200}") from None
    if error is not None:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
        raise Refused("invalid_request", f"{where}{place}: {error.message:.300}", path=f"{where}{place}")


def _read_as(kind: Any, text: str) -> Any:
    """A query's text as what its schema wants; as it is, if it isn't that."""
    if kind == "integer" and _is_integer(text):
        return int(text)
    if kind == "number" and _is_number(text):
        return float(text)
    return text


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _is_deep(given: Any) -> bool:
    level = [given]
    for _ in range(_DEEP):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True
