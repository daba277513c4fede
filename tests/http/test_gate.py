"""What stands before every operation: hosts, origins, headers, tokens, rates."""

from __future__ import annotations

import time

import pytest

from durable_lite import Durable, InvalidOption
from durable_lite.server import asgi
from durable_lite.server.application import OPERATIONS
from durable_lite.server.rate import Rate
from tests.http.support import client_of, exchange, live, path_of

SITE = "https://app.example"


@pytest.fixture
def app():
    return Durable("memory:")


# Which servers there can be.


@pytest.mark.parametrize(
    ("option", "options"),
    [
        ("hosts", {"hosts": ["example.org"]}),
        ("hosts", {"hosts": "*"}),
        ("hosts", {"hosts": ["localhost", "0.0.0.0"]}),
        ("hosts", {"hosts": ["127.0.0.1.example.org"]}),
        ("hosts", {"hosts": ["a/b"], "token": "t"}),
        ("hosts", {"hosts": [""], "token": "t"}),
        ("hosts", {"hosts": [1], "token": "t"}),
        ("origins", {"origins": ["*"]}),
        ("origins", {"origins": ["null"]}),
        ("origins", {"origins": ["https://a.example/"]}),
        ("origins", {"origins": ["ftp://a.example"]}),
        ("token", {"token": ""}),
        ("token", {"token": " "}),
        ("token", {"token": b"bytes"}),
        ("token", {"token": "t", "authenticate": lambda connection: 1}),
        ("authenticate", {"authenticate": "who"}),
        ("authorize", {"authorize": "may"}),
        ("token_rate", {"token_rate": "often"}),
        ("max_body", {"max_body": 0}),
    ],
)
def test_options_that_cannot_be(app, option, options):
    with pytest.raises(InvalidOption) as caught:
        asgi(app, **options)
    assert caught.value.option == option


@pytest.mark.parametrize("hosts", ["localhost", ["127.0.0.2"], ["::1"], ["[::1]"], ["LOCALHOST:80"], []])
def test_a_server_for_this_machine_needs_no_token(app, hosts):
    assert asgi(app, hosts=hosts)


# Hosts and origins.


@pytest.mark.parametrize(
    ("given", "host", "status"),
    [
        ({}, "localhost", 200), ({}, "localhost:8000", 200), ({}, "LocalHost", 200), ({}, "127.0.0.1:1", 200),
        ({}, "[::1]:8000", 200), ({}, "evil.example", 421), ({}, "localhost.", 421), ({}, "", 421),
        ({}, "localhost@evil.example", 421), ({}, "localhost:evil", 421), ({}, "::1", 421), ({}, "[::1", 421),
        ({}, "127.0.0.1, evil.example", 421), ({"hosts": ["example.org"]}, "example.org:443", 200),
        ({"hosts": ["example.org"]}, "localhost", 421), ({"hosts": ["example.org"]}, "a.example.org", 421),
        ({"hosts": "*"}, "anything.example", 200), ({"hosts": []}, "localhost", 421),
    ],
)  # fmt: skip
async def test_hosts(in_memory, given, host, status):
    token = {"authorization": "Bearer t"}
    async with in_memory(token="t", **given) as asked:
        for path in ("/api/health", "/api/runs", "/api/openapi.json", "/", "/web/index.mjs", "/nothing"):
            response = await asked.client.get(path, headers={"host": host, **token})
            assert (response.status_code == 421) is (status == 421), path


async def test_a_request_without_a_host(in_memory):
    async with in_memory() as asked, live(asked.server) as url:
        status, headers, _ = await exchange(url, b"GET /api/health HTTP/1.0\r\n\r\n")
        assert b" 421 " in status
        assert headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("headers", "method", "allowed"),
    [
        ({}, "POST", True),
        ({"origin": "http://localhost"}, "POST", True),
        ({"origin": "HTTP://LOCALHOST"}, "POST", True),
        ({"origin": SITE}, "POST", True),
        ({"origin": SITE, "sec-fetch-site": "cross-site"}, "POST", True),
        ({"origin": "https://app.example.evil.example"}, "POST", False),
        ({"origin": "http://app.example"}, "GET", False),
        ({"origin": "null"}, "GET", False),
        ({"origin": ""}, "GET", False),
        ({"origin": "http://localhost:8000"}, "GET", False),
        ({"sec-fetch-site": "same-origin"}, "POST", True),
        ({"sec-fetch-site": "none"}, "POST", True),
        ({"sec-fetch-site": "cross-site"}, "POST", False),
        ({"sec-fetch-site": "same-site"}, "POST", False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, "POST", False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, "GET", False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, "GET", True),
    ],
)
async def test_origins(in_memory, headers, method, allowed):
    async with in_memory(origins=[SITE]) as asked:
        path = "/api/queues" if method == "GET" else "/api/queues/narrow/pause"
        response = await asked.client.request(method, path, headers=headers)
        assert response.status_code == (200 if allowed else 403), response.text
        [queue] = (await asked.app.list_queues()) if allowed else [None]
        assert queue is None or bool(queue.queue.paused) is (method == "POST")


async def test_preflights(in_memory):
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    async with in_memory(origins=[SITE], token="t") as asked:
        response = await asked.client.options("/api/runs", headers={"origin": SITE, **asks})
        assert (response.status_code, response.content) == (204, b"")
        assert response.headers["access-control-allow-origin"] == SITE
        assert "authorization" in response.headers["access-control-allow-headers"]
        assert "DELETE" in response.headers["access-control-allow-methods"]
        assert "access-control-allow-credentials" not in response.headers
        assert response.headers["vary"] == "Origin"
        assert (
            await asked.client.options("/api/runs", headers={"origin": "https://b.example", **asks})
        ).status_code == 403
        # Each answer to an allowed page says so, also a problem.
        for path, status in (("/api/runs", 401), ("/nothing", 404), ("/api/health", 200)):
            response = await asked.client.get(path, headers={"origin": SITE})
            assert response.status_code == status
            assert response.headers["access-control-allow-origin"] == SITE
        same = await asked.client.get("/api/health", headers={"origin": "http://localhost"})
        assert "access-control-allow-origin" not in same.headers
        assert same.headers["vary"] == "Origin"
    async with in_memory() as asked:
        response = await asked.client.options("/api/runs", headers={"origin": SITE, **asks})
        assert response.json()["code"] == "cross_origin"
        assert not [name for name in response.headers if name.startswith("access-control-allow-o")]


ANSWERS = [
    ("GET", "/api/health", {}, 200), ("GET", "/api/openapi.json", {}, 200), ("GET", "/", {}, 307),
    ("GET", "/web/durable-lite.mjs", {}, 200), ("GET", "/nothing", {}, 404), ("GET", "/web/none.mjs", {}, 404),
    ("GET", "/api/runs/none", {}, 404), ("PUT", "/api/runs", {}, 405), ("POST", "/api/openapi.json", {}, 405),
    ("POST", "/api/runs", {}, 415), ("GET", "/api/runs", {"host": "evil.example"}, 421),
    ("GET", "/api/runs", {"origin": "null"}, 403), ("HEAD", "/api/stream", {}, 200), ("HEAD", "/", {}, 307),
    ("DELETE", "/web/durable-lite.mjs", {}, 405), ("GET", "/api", {}, 404), ("GET", "/api/", {}, 404),
    ("POST", "/api/webhooks/none", {}, 404), ("OPTIONS", "/api/runs", {}, 405), ("TRACE", "/api/runs", {}, 405),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "headers", "status"), ANSWERS)
async def test_headers_of_every_kind_of_answer(in_memory, method, path, headers, status):
    async with in_memory() as asked:
        response = await asked.client.request(method, path, headers=headers)
    assert response.status_code == status
    policy = dict(
        part.strip().partition(" ")[::2] for part in response.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] in ("'self'", "'none'")
    assert "unsafe-inline" not in str(policy)
    assert "*" not in policy["script-src"].split()
    assert (policy["object-src"], policy["base-uri"], policy["frame-ancestors"]) == ("'none'",) * 3
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    if status >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        assert set(response.json()) >= {"type", "title", "status", "detail", "code"}
    if status == 405:
        assert response.headers["allow"]


async def test_what_may_be_done_at_a_path(in_memory):
    async with in_memory() as asked:
        for path, allowed in (
            ("/api/runs", "GET, HEAD, POST"), ("/api/runs/x", "DELETE, GET, HEAD"), ("/api/runs/x/cancel", "POST"),
        ):  # fmt: skip
            response = await asked.client.put(path)
            assert (response.json()["code"], response.headers["allow"]) == ("method_not_allowed", allowed)


# Tokens.


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.name not in ("health", "webhooks.receive")],
                         ids=lambda one: one.name)  # fmt: skip
async def test_every_operation_needs_the_token(in_memory, operation):
    async with in_memory(token="söcret") as asked:
        for given in (None, "Bearer", "Bearer ", "Bearer wrong", "Basic s\xf6cret", "s\xf6cret", "Bearer s\xf6cre",
                      "Bearer s\xf6cret x", "Bearer \xff\xfe", "Token s\xf6cret"):  # fmt: skip
            headers = [] if given is None else [(b"authorization", given.encode("latin-1"))]
            response = await asked.client.request(operation.method, path_of(operation.name), headers=headers)
            assert (response.status_code, response.json()["code"]) == (401, "unauthorized"), given
            assert response.headers["www-authenticate"] == "Bearer"


async def test_the_token_lets_in(in_memory):
    async with in_memory(token="s3cret") as asked:
        for given in ("Bearer s3cret", "bearer s3cret", "BEARER  s3cret "):
            assert (await asked.ask("runs.list", headers={"authorization": given})).status_code == 200
        # Not in the address, where logs have it.
        assert (await asked.client.get("/api/runs?token=s3cret")).status_code == 401
        assert (await asked.ask("health")).status_code == 200


async def test_authenticate_says_who_is_nobody(in_memory):
    async with in_memory(authenticate=lambda connection: connection.headers.get("x-who")) as asked:
        assert await asked.problem("runs.list") == "unauthorized"
        assert (await asked.ask("runs.list", headers={"x-who": "me"})).status_code == 200
    async with in_memory(authenticate=lambda connection: 1 / 0) as asked:
        assert await asked.problem("runs.list") == "internal"


# The rate of guesses.


class Time:
    """A clock for `Rate`."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_a_rate(monkeypatch):
    clock = Time(monkeypatch)
    rate = Rate("2/10s", "token_rate")
    assert [rate.take("me") for _ in range(3)] == [None, None, 5]
    assert rate.take("you") is None
    clock.now += 4.9
    assert rate.take("me") == 1
    clock.now += 0.2
    assert [rate.take("me"), rate.take("me")] == [None, 5]
    clock.now += 1000
    assert [rate.take("me") for _ in range(3)] == [None, None, 5]
    for number in range(20_000):
        rate.take(number)
    assert len(rate._buckets) <= 10_000


async def test_guesses_are_limited_for_each_who_guesses(in_memory, no_time_passes):
    def who(connection):
        return connection.headers["x-who"]

    async with in_memory(authenticate=who, token_rate="2/h") as asked:
        me, you = {"x-who": "me"}, {"x-who": "you"}
        asked_for = [("tokens.get", ...), ("tokens.complete", {}), ("tokens.fail", {"message": "m"})]
        codes = [await asked.problem(name, body, id=f"tok_{name}", headers=me) for name, body in asked_for]
        assert codes == ["token_not_found", "token_not_found", "rate_limited"]
        assert await asked.problem("tokens.get", id="none", headers=you) == "token_not_found"
        response = await asked.ask("tokens.get", id="none", headers=me)
        assert int(response.headers["retry-after"]) == 1800
        # One with another address.
        from_elsewhere = client_of(asked.server)
        from_elsewhere._transport.client = ("10.0.0.1", 1)
        async with from_elsewhere:
            assert (await from_elsewhere.get("/api/tokens/none", headers=me)).status_code == 404
        assert (await asked.ask("tokens.list", headers=me)).status_code == 200
