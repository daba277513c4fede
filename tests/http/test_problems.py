"""Each problem that the document tells of an operation: it is answered, and with its code."""

from __future__ import annotations

import json

import pytest

from durable_lite import StoreUnavailable
from durable_lite.server.application import OPERATIONS
from durable_lite.server.openapi import _codes
from durable_lite.server.operation import On
from tests.http.support import BODIES, BY_NAME, body_of, delivery, path_of

pytestmark = pytest.mark.usefixtures("no_time_passes")
JSON = {"content-type": "application/json"}

# What any operation may have.


async def _malformed(asked, operation):
    if not BY_NAME[operation].raw:
        for content in (b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000, b"[" * 250 + b"]" * 250, b"1" * 5000):
            given = {"content": content, "headers": JSON, **await asked.place_of(operation)}
            assert await asked.problem(operation, **given) == "malformed"
    answers = []  # a request that breaks off: nobody is there to read the answer

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        answers.append(message)

    path = path_of(operation, **await asked.place_of(operation))
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    await asked.server(scope, receive, send)
    assert answers[0]["status"] == 400


async def _wrong_host(asked, operation):
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.nip.io:8000", "localhost:80:80", ""):
        given = {"headers": {"host": host}, **body_of(operation)}
        assert await asked.problem(operation, **given) == "host_not_allowed"


async def _other_origin(asked, operation):
    for origin in ("https://evil.example", "null", "http://localhost:81", "https://localhost"):
        given = {"headers": {"origin": origin}, **body_of(operation)}
        assert await asked.problem(operation, **given) == "cross_origin"


async def _wrong_query(asked, operation):
    given = {**await asked.place_of(operation), **body_of(operation)}
    assert await asked.problem(operation, query={"nonsense": "1"}, **given) == "invalid_request"
    for name, schema in BY_NAME[operation].query.items():
        if schema.get("type") != "array":
            twice = await asked.ask(operation, query=[(name, "1"), (name, "1")], **given)
            assert (twice.json()["code"], twice.json()["path"]) == ("invalid_request", name)
    if operation in BODIES:
        for body in (None, [], "x", {"nonsense": 1, **BODIES[operation]}):
            content = json.dumps(body).encode()
            wrong = {**given, "body": ..., "content": content, "headers": JSON}
            assert await asked.problem(operation, **wrong) == "invalid_request"


async def _no_run(asked, operation):
    if operation == "tokens.list":
        assert await asked.problem(operation, query={"run": "none"}) == "run_not_found"
        return
    for run_id in ("none", "%00", "x" * 3000, "%F0%9F%8E%88", "%ff"):
        assert await asked.problem(operation, id=run_id, **body_of(operation)) == "run_not_found"


async def _no_token(asked, operation):
    assert await asked.problem(operation, id="none", **body_of(operation)) == "token_not_found"


async def _no_json(asked, operation):
    given = {"content": b'{"a":1}', **await asked.place_of(operation)}
    for kind in ("text/plain", "application/json2", "application/x-www-form-urlencoded"):
        assert await asked.problem(operation, headers={"content-type": kind}, **given) == "unsupported_type"


async def _too_large(asked, operation):
    size = asked.app.options.max_value_bytes + 100_000
    given = {"content": b"1" * size, **await asked.place_of(operation)}
    assert await asked.problem(operation, headers=JSON, **given) == "too_large"


async def _unknown_job(asked, operation):
    if operation == "runs.replay":
        run_id = await asked.run_of("done", {"org": "acme"})
        del asked.app.jobs["done"]
        assert await asked.problem(operation, id=run_id) == "unknown_job"
        return
    for name in ("none", "\ud800", "x" * 200):
        content = json.dumps({**BODIES[operation], "job": name}).encode()
        assert await asked.problem(operation, content=content, headers=JSON) == "unknown_job"


async def _invalid_payload(asked, operation):
    if operation == "runs.trigger_many":
        body = {"job": "done", "payloads": [{"org": "a"}, {"org": 1}]}
        response = await asked.ask(operation, body)
        assert (response.json()["code"], response.json()["fields"]["index"]) == ("invalid_payload", 1)
        assert (await asked.app.list_runs()).runs == []
        return
    given = {"body": {"job": "done", "payload": {"org": 1}}}
    if operation == "runs.replay":
        given = {"body": {"payload": {"org": 1}}, "id": await asked.run_of("done", {"org": "a"})}
    response = (await asked.ask(operation, **given)).json()
    assert response["code"] == "invalid_payload"
    assert response["fields"]["problems"][0]["path"] == "$.org"


async def _invalid_option(asked, operation):
    if operation in ("runs.trigger", "runs.trigger_many"):
        options = [{"delay": "soon"}, {"tags": ["\ud800"]}, {"on_busy": "skip"},
                   {"debounce_key": "k"}, {"queue": "\ud800"}, {"ttl": -1}]  # fmt: skip
        for one in options:
            given = {"content": json.dumps({**BODIES[operation], "options": one}).encode(), "headers": JSON}
            assert await asked.problem(operation, **given) == "invalid_option"
        assert (await asked.app.list_runs()).runs == []
    elif operation in ("runs.list", "tokens.list", "runs.stream"):
        # A list's cursor, a stream's moment.
        wrong = {"created_after": "1e300"} if operation == "runs.stream" else {"cursor": "nonsense"}
        assert await asked.problem(operation, query=wrong) == "invalid_option"
    elif operation in ("queues.pause", "queues.resume"):
        assert await asked.problem(operation, name="x" * 201) == "invalid_option"
    elif operation == "events.send":
        assert await asked.problem(operation, {"name": "a\nb"}) == "invalid_option"
    elif operation == "runs.purge":
        assert await asked.problem(operation, {"older_than": "soon"}) == "invalid_option"
    elif operation == "runs.fork":
        assert (
            await asked.problem(operation, {"from_step": "none"}, id=await asked.run_of("fails"))
            == "invalid_option"
        )
    elif operation == "schedules.delete":
        assert await asked.problem(operation, {"job": "a\nb"}) == "invalid_option"
    else:
        assert await asked.problem(operation, {"job": "none"}) == "invalid_option"


async def _not_serializable(asked, operation):
    bad = {"$": "no such kind", "v": 1}
    if operation == "webhooks.receive":
        body = b"[" * 200 + b"]" * 200
        headers = delivery(body, asked.app.clock.now())
        assert await asked.problem(operation, name="own", content=body, headers=headers) == "not_serializable"
        return
    given = {"body": {"name": "paid", "payload": bad}}
    if operation == "tokens.complete":
        given = {"body": {"value": bad}, "id": (await asked.waiting())[1]}
    assert await asked.problem(operation, **given) == "not_serializable"


async def _conflict(asked, operation):
    if operation in ("tokens.complete", "tokens.fail"):
        run_id, token_id = await asked.waiting()
        await asked.app.cancel(run_id)
        assert await asked.problem(operation, id=token_id, **body_of(operation)) == "conflict"
    elif operation == "runs.import":
        run_id = (await asked.app.trigger("waits", delay="1h")).id
        document = await asked.app.export_run(run_id)
        await asked.app.import_run(document)
        await asked.app.export_run(run_id)  # it has moved on since
        assert await asked.problem(operation, {"document": document}) == "conflict"
    elif operation in ("runs.delete", "runs.resume"):
        assert await asked.problem(operation, id=(await asked.waiting())[0]) == "conflict"
    else:
        ended = await asked.run_of("done", {"org": "acme"})
        assert await asked.problem(operation, id=ended, **body_of(operation)) == "conflict"


async def _rate_limited(asked, operation):
    first = await asked.ask(operation, id="none", **body_of(operation))
    again = await asked.ask(operation, id="none", **body_of(operation))
    assert (first.status_code, again.json()["code"]) == (404, "rate_limited")
    assert int(again.headers["retry-after"]) == 3600


async def _unknown_webhook(asked, operation):
    assert await asked.problem(operation, name="none", content=b"{}") == "unknown_webhook"


async def _invalid_signature(asked, operation):
    headers = delivery(b"{}", asked.app.clock.now())
    assert await asked.problem(operation, name="own", content=b"{} ", headers=headers) == "invalid_signature"


async def _invalid_delivery(asked, operation):
    headers = delivery(b"\xff", asked.app.clock.now())
    assert await asked.problem(operation, name="own", content=b"\xff", headers=headers) == "invalid_delivery"


async def _invalid_document(asked, operation):
    for document in ("", "{}", "[]", "nonsense", "\ud800", '{"format": 1}', "[" * 100_000):
        content = json.dumps({"document": document}).encode()
        given = {"content": content, "headers": JSON}
        assert await asked.problem(operation, **given) == "invalid_document"


async def _internal(asked, operation):
    def break_down(number, verb, args):
        raise RuntimeError("a secret")

    given = {**await asked.place_of(operation), **body_of(operation)}
    if operation == "webhooks.receive":
        body = b"{}"
        given |= {"content": body, "headers": delivery(body, asked.app.clock.now())}
    asked.app.store.before = break_down
    asked.broken.append(RuntimeError("a secret"))
    response = await asked.ask(operation, **given)
    asked.app.store.before = lambda number, verb, args: None
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert "secret" not in response.text


async def _store_unavailable(asked, operation):
    def break_down(number, verb, args):
        raise StoreUnavailable("it is locked")

    given = {**await asked.place_of(operation), **body_of(operation)}
    if operation == "webhooks.receive":
        body = b"{}"
        given |= {"content": body, "headers": delivery(body, asked.app.clock.now())}
    if operation == "runs.import":
        run_id = (await asked.app.trigger("waits", delay="1h")).id
        given = {"body": {"document": await asked.app.export_run(run_id)}}
    asked.app.store.before = break_down
    if operation == "runs.stream":  # looks at the store once it is open
        asked.broken.append(StoreUnavailable("it is locked"))
    response = await asked.ask(operation, **given)
    asked.app.store.before = lambda number, verb, args: None
    assert (response.json()["code"], response.headers["retry-after"]) == ("store_unavailable", "1")


async def _unauthorized(asked, operation):
    for headers in ({}, {"authorization": "Bearer wrong"}):
        response = await asked.ask(operation, headers=headers, **body_of(operation))
        assert (response.json()["code"], response.headers["www-authenticate"]) == ("unauthorized", "Bearer")


async def _forbidden(asked, operation):
    asked.broken.append(False)
    assert await asked.problem(operation, name="narrow", **body_of(operation)) == "forbidden"


async def _busy(asked, operation):
    run_id, _ = await asked.waiting(concurrency_key="k")
    options = {"concurrency_key": "k", "on_busy": "reject"}
    response = await asked.ask(operation, {**BODIES[operation], "options": options})
    assert (response.json()["code"], response.json()["fields"]["run_id"]) == ("busy", run_id)


async def _key_reused(asked, operation):
    options = {"idempotency_key": "k"}
    await asked.app.trigger("done", {"org": "other"}, idempotency_key="k")
    assert await asked.problem(operation, {**BODIES[operation], "options": options}) == "key_reused"


async def _conflict_of_trigger(asked, operation):
    await asked.app.trigger("done", {"org": "acme"}, idempotency_key="k")
    asked.broken.append(lambda operation: operation != "runs.get")
    options = {"idempotency_key": "k"}
    assert await asked.problem(operation, {**BODIES[operation], "options": options}) == "conflict"


async def _not_found(asked, operation):
    if "{name}" in BY_NAME[operation].path:
        assert await asked.problem(operation, name="a%0Ab", **body_of(operation)) == "not_found"
    else:
        assert await asked.problem(operation, id="a%2Fb", **body_of(operation)) == "not_found"
        assert await asked.problem(operation, id="", **body_of(operation)) == "not_found"


PROBLEMS = {
    "not_found": _not_found,
    "malformed": _malformed, "host_not_allowed": _wrong_host, "cross_origin": _other_origin,
    "internal": _internal, "store_unavailable": _store_unavailable, "invalid_request": _wrong_query,
    "unauthorized": _unauthorized, "forbidden": _forbidden, "run_not_found": _no_run,
    "token_not_found": _no_token, "unknown_job": _unknown_job, "unknown_webhook": _unknown_webhook,
    "invalid_signature": _invalid_signature, "invalid_delivery": _invalid_delivery, "conflict": _conflict,
    "busy": _busy, "key_reused": _key_reused, "too_large": _too_large, "unsupported_type": _no_json,
    "invalid_option": _invalid_option, "invalid_payload": _invalid_payload,
    "invalid_document": _invalid_document, "not_serializable": _not_serializable,
    "rate_limited": _rate_limited,
}  # fmt: skip
OPTIONS = {
    "unauthorized": {"token": "t"},
    "rate_limited": {"token_rate": "1/h"},
    "key_reused": {"strict": True},
}
NO_WORKER = {"key_reused"}


@pytest.mark.parametrize(
    ("operation", "code"), [(one.name, code) for one in OPERATIONS for code in sorted(_codes(one))]
)
async def test_it_is_answered(in_memory, operation, code):
    broken = []

    def authorize(principal, asked_for, target):
        """As the last of `broken` says: it raises, it answers, it decides."""
        if not broken:
            return True
        if isinstance(broken[-1], Exception):
            raise broken[-1]
        return broken[-1](asked_for) if callable(broken[-1]) else broken[-1]

    provoke = PROBLEMS[code]
    if code == "conflict" and BY_NAME[operation].on is On.TRIGGER:
        provoke = _conflict_of_trigger
    async with in_memory(authorize=authorize, max_value_bytes=50_000, **OPTIONS.get(code, {})) as asked:
        asked.broken = broken
        await provoke(asked, operation)
