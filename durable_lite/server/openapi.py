"""The OpenAPI 3.1 document of the HTTP API, made of the table of operations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from .. import __version__
from .operation import On, Operation
from .problems import CODES
from .schemas import COMPONENTS, ref

__all__ = ["openapi"]

_ANY = ("host_not_allowed", "cross_origin", "internal", "store_unavailable", "invalid_request")
_OF_TARGET = {  # what isn't theirs isn't there
    On.RUN: ("run_not_found",),
    On.TOKEN: ("token_not_found",),
    On.RUNS: ("forbidden",),
    On.TRIGGER: ("forbidden", "unknown_job"),
    On.STORE: ("forbidden",),
}
_JSON, _PROBLEM, _EVENTS = "application/json", "application/problem+json", "text/event-stream"


def openapi(operations: Sequence[Operation], *, token: bool) -> dict[str, Any]:
    """The document; `token`: whether one is needed."""
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(f"/api{one.path}", {})[one.method.lower()] = _operation(one)
    schemes = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "durable_lite",
            "version": __version__,
            "description": "Runs of jobs that survive the death of their process. "
            "Moments are seconds since the epoch, durations seconds.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": COMPONENTS, "securitySchemes": schemes},
        "security": [{"token": []}] if token else [],
    }


def _operation(one: Operation) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status in (one.status, *one.also):
        answers[str(status)] = {"description": HTTPStatus(status).phrase}
        if one.answer is not None:
            kind = _EVENTS if one.streams else _JSON
            answers[str(status)]["content"] = {kind: {"schema": one.answer}}
    codes: dict[int, list[str]] = {}
    for code in sorted(_codes(one)):
        codes.setdefault(CODES[code].status, []).append(code)
    for status, named in sorted(codes.items()):
        answers[str(status)] = {
            "description": ", ".join(named),
            "content": {_PROBLEM: {"schema": ref("Problem")}},
        }
    document: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "tags": [one.name.partition(".")[0]],
        "parameters": [*_in_path(one), *_in_query(one)],
        "responses": answers,
    }
    if one.on is On.NOTHING:
        document["security"] = []
    if one.raw:
        document["requestBody"] = {"required": True, "content": {"*/*": {}}}
    elif one.body is not None:
        needed = bool(one.body.get("required"))
        document["requestBody"] = {"required": needed, "content": {_JSON: {"schema": one.body}}}
    return document


def _codes(one: Operation) -> set[str]:
    codes = {*_ANY, *one.problems, *_OF_TARGET.get(one.on, ())}
    if one.on is not On.NOTHING:
        codes.add("unauthorized")
    if "{" in one.path:  # what can't be a part of a path
        codes.add("not_found")
    if one.raw or one.body is not None:
        codes |= {"malformed", "too_large"}
    if one.body is not None:
        codes |= {"unsupported_type"}
    return codes


def _in_path(one: Operation) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1}
    found = re.findall(r"\{(\w+)\}", one.path)
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in found]


def _in_query(one: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in one.query.items()
    ]
