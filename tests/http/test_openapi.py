"""The OpenAPI document: valid, served, and of exactly the routes that there are."""

from __future__ import annotations

import json
import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from durable_lite import Durable, __version__
from durable_lite.server import asgi
from durable_lite.server.application import OPERATIONS
from durable_lite.server.openapi import openapi
from durable_lite.server.operation import On
from durable_lite.server.problems import CODES


@pytest.mark.parametrize("token", [True, False])
def test_it_is_valid(token):
    OpenAPIV31SpecValidator(openapi(OPERATIONS, token=token)).validate()


async def test_it_is_served_to_anybody(in_memory):
    for token in (None, "t"):
        async with in_memory(token=token) as asked:
            response = await asked.client.get("/api/openapi.json")
            assert response.headers["content-type"] == "application/json"
            served = response.json()
            assert served == {
                **json.loads(json.dumps(openapi(OPERATIONS, token=token is not None))),
                "servers": [{"url": "/"}],
            }
            assert served["info"]["version"] == __version__


def test_it_has_every_route_and_no_other():
    documented = set(openapi(OPERATIONS, token=False)["paths"])
    server = asgi(Durable("memory:"), dashboard=False)
    routes = {
        re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
        for route in server._inner.routes
        if isinstance(route, Route)
    }
    assert len(routes) == len(server._inner.routes)
    assert routes - documented == {"/api/openapi.json"}
    assert documented <= routes


async def test_every_method_of_it_is_answered_and_no_other(in_memory):
    paths = openapi(OPERATIONS, token=False)["paths"]
    async with in_memory() as asked:
        for path, methods in paths.items():
            place = re.sub(r"\{\w+\}", "none", path)
            response = await asked.client.request("TRACE", place)
            allowed = set(response.headers["allow"].lower().split(", "))
            assert allowed - {"head"} == set(methods)


def test_what_it_says_of_each_operation():
    paths = openapi(OPERATIONS, token=True)["paths"]
    for one in OPERATIONS:
        told = paths[f"/api{one.path}"][one.method.lower()]
        assert told["operationId"] == one.name
        assert (told.get("security") == []) is (one.on is On.NOTHING)
        assert ("401" in told["responses"]) is (
            one.on is not On.NOTHING or "invalid_signature" in one.problems
        )
        assert {found["name"] for found in told["parameters"] if found["in"] == "query"} == set(one.query)
        assert "500" in told["responses"]
        for status in told["responses"]:
            assert int(status) in {one.status, *one.also, *(code.status for code in CODES.values())}
    names = [one.name for one in OPERATIONS]
    assert len(names) == len(set(names))
