"""What a request may hold: sizes, JSON, odd text, queries, HEAD, paths of files."""

from __future__ import annotations

import io
import json
import zipfile

import httpx
import pytest

import durable_lite
from durable_lite.server.application import OPERATIONS
from tests.http.support import BODIES, exchange, live, path_of

JSON = {"content-type": "application/json"}


# Bodies.


async def test_sizes(in_memory):
    async with in_memory(max_body=1000) as asked, live(asked.server) as url:
        start = b'{"name":"paid","payload":"'
        whole = start + b"x" * (1000 - len(start) - 2) + b'"}'
        head = b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        sized = head + b"Content-Length: %d\r\n\r\n"
        chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"

        def in_chunks(data):
            parts = [data[at : at + 99] for at in range(0, len(data), 99)]
            return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"

        for data, code in (
            (sized % 1000 + whole, b"200"), (chunked + in_chunks(whole), b"200"),
            (sized % 1001 + whole + b" ", b"413"), (chunked + in_chunks(whole + b" "), b"413"),
            (sized % 10**12, b"413"),  # not one byte of it has come
            (sized % 10**17, b"413"), (chunked + in_chunks(b"x" * 500_000), b"413"),
        ):  # fmt: skip
            status, headers, body = await exchange(url, data)
            assert status.split()[1] == code
            if code == b"413":
                assert headers["connection"] == "close"
        # As servers other than uvicorn might pass it on.
        for told in ("9" * 30, "9" * 5000):
            response = await asked.client.post(
                "/api/events", headers={**JSON, "content-length": told}, content=iter_of(b"")
            )
            assert response.json()["code"] == "too_large"


async def test_who_sends_too_much_hears_so(in_memory):
    async with in_memory(max_body=1000) as asked, live(asked.server) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            for _ in range(10):
                for content in (b"x" * (8 << 20), iter_of(b"x" * (8 << 20))):
                    answer = await client.post("/api/events", headers=JSON, content=content)
                    assert answer.json()["code"] == "too_large"


async def iter_of(data):
    yield data


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'{"name": "paid", "payload": "\\ud83d"}', None),
        (b'{"name": "paid", "payload": {"\\udc00": ["\\ud800\\udc00"]}}', None),
        (b'{"name": "pa\\ud83did"}', "invalid_option"),
        (b'{"name": "pa\\u0000id"}', "invalid_option"),
        (b'{"name": "paid", "id": "\\ud83d"}', "invalid_option"),
        (b'{"name": "paid", "payload": NaN}', "malformed"),
        (b'{"name": "paid", "payload": -Infinity}', "malformed"),
        (b'{"name": "paid", "payload": 1e999}', None),
        (b'{"name": "paid", "payload": 123456789012345678901234567890}', None),
        (b'{"name": "paid", "payload": ' + b"9" * 4000 + b"}", None),
        (b'{"name": "paid", "payload": ' + b"9" * 5000 + b"}", "malformed"),
        (b'{"name": "paid", "payload": ' + b"[" * 198 + b"]" * 198 + b"}", None),
        (b'{"name": "paid", "payload": ' + b"[" * 201 + b"]" * 201 + b"}", "malformed"),
        (b'{"name": "paid", "payload": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}", "malformed"),
        (b'{"name": "paid"} x', "malformed"),
        (b"\xef\xbb\xbf{}", "malformed"),
        ('{"name": "paid"}'.encode("utf-16"), "malformed"),
        (b"", "malformed"),
        (b'{"name": 5}', "invalid_request"),
        (b'{"name": ""}', "invalid_request"),
        (b'{"name": "paid", "more": 1}', "invalid_request"),
        (b'["name"]', "invalid_request"),
    ],
)
async def test_json(serving, content, code):
    async with serving() as asked:
        response = await asked.ask("events.send", content=content, headers=JSON)
        assert response.json().get("code") == code, response.text


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON"])
async def test_kinds_of_json(in_memory, kind):
    async with in_memory() as asked:
        content = json.dumps(BODIES["events.send"]).encode()
        assert (await asked.ask("events.send", content=content, headers={"content-type": kind})).is_success


@pytest.mark.parametrize(
    "text", ["\ud800", "\x00", "a\ud83d\ude00", "x" * 5000], ids=["half", "nul", "whole", "long"]
)
async def test_odd_text_everywhere(serving, text):
    """Whatever is text in a request: never more than a problem."""
    async with serving() as asked:
        run_id, token_id = await asked.waiting()
        for operation, body, params in (
            ("runs.trigger", {"job": "waits", "payload": {text: [text]}}, {}),
            ("runs.trigger", {"job": text}, {}),
            *(("runs.trigger", {"job": "waits", "options": {name: value}}, {})
              for name, value in (("idempotency_key", text), ("idempotency_key", [text, 1]), ("tags", [text]),
                                  ("queue", text), ("delay", text), ("concurrency_key", [text]))),
            ("runs.fork", {"from_step": text}, {"id": run_id}),
            ("runs.replay", {"payload": text}, {"id": run_id}),
            ("runs.import", {"document": text}, {}),
            ("runs.purge", {"older_than": text}, {}),
            ("events.send", {"name": text}, {}),
            ("events.send", {"name": "paid", "id": text}, {}),
            ("schedules.pause", {"job": text, "name": text}, {}),
            ("schedules.delete", {"job": text}, {}),
            ("tokens.fail", {"message": text}, {"id": token_id}),
        ):  # fmt: skip
            content = json.dumps(body).encode()
            response = await asked.ask(operation, content=content, headers=JSON, **params)
            assert response.status_code < 500, (operation, body)
        error = (await asked.ask("tokens.get", id=token_id)).json()["error"]
        assert error["type"] == "TokenFailed"
        assert (await asked.ask("runs.list")).is_success


# Queries.


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "query.limit"), ("limit=1001", "query.limit"), ("limit=x", "query.limit"),
        ("limit=1_0", "query.limit"), ("limit=%201", "query.limit"), ("limit=1.0", "query.limit"),
        ("limit=%D9%A1", "query.limit"), ("limit=" + "9" * 5000, "query.limit"), ("limit=", "query.limit"),
        ("limit=1&limit=2", "limit"), ("job=a&job=a", "job"), ("nonsense=1", "query"),
        ("status=NONE", "query.status[0]"), ("status=", "query.status[0]"),
        ("created_after=nan", "query.created_after"), ("created_after=inf", "query.created_after"),
        ("created_after=1e999", "query.created_after"), ("created_after=1_0", "query.created_after"),
        ("created_before=yesterday", "query.created_before"), ("search=", "query.search"),
        ("search=" + "x" * 1001, "query.search"), ("cursor=" + "x" * 301, "query.cursor"),
        ("&".join(["tag=x"] * 51), "query.tag"), ("values=raw", "query.values"),
    ],
)  # fmt: skip
async def test_queries_that_do_not_fit(serving, query, path):
    async with serving() as asked:
        response = await asked.client.get(f"/api/runs?{query}")
        assert (response.status_code, response.json()["path"]) == (422, path)


@pytest.mark.parametrize(
    "query",
    [
        "limit=1", "limit=1000", "created_after=-1", "created_after=1.5e3", "search=%00", "search=%ff", "job=%00",
        "tag=%F0%9F%8E%88", "&".join(f"tag={number}" for number in range(50)), "cursor=1:x", "job=",
        "status=FAILED&" * 200, "created_before=9999999999", "search=%27%22%5C", "cursor=-5:%00",
    ],
)  # fmt: skip
async def test_queries_that_fit(serving, query):
    async with serving() as asked:
        response = await asked.client.get(f"/api/runs?{query}")
        assert response.json()["runs"] == [], response.text


@pytest.mark.parametrize("after", ["9007199254740993", "9" * 18, "9" * 19, "9" * 5000, "-1", "1e3"])
async def test_numbers_beyond(serving, after):
    async with serving() as asked:
        run_id = await asked.run_of("fails")
        assert await asked.problem("runs.events", query={"after": after}, id=run_id) == "invalid_request"
        headers = {"last-event-id": after}
        assert (await asked.ask("runs.follow", id=run_id, headers=headers)).text.endswith("\n\n")


# HEAD, and paths of files.


async def test_heads_have_no_body(in_memory):
    async with in_memory() as asked, live(asked.server) as url:
        run_id = await asked.run_of("fails")
        paths = [
            path_of(one.name, id=run_id)
            for one in OPERATIONS
            if one.method == "GET" and one.name != "tokens.get"
        ]
        for path in [*paths, "/", "/web/durable-lite.mjs", "/nothing", "/api/openapi.json"]:
            head = f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            status, headers, body = await exchange(url, head.encode())
            assert body == b""
            assert int(status.split()[1]) == (404 if path == "/nothing" else 307 if path == "/" else 200)


TRICKS = [
    "..", "../durable_lite/__init__.py", "%2e%2e/durable_lite/__init__.py", "..%2fdurable_lite%2f__init__.py",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/etc/passwd", "%2fetc%2fpasswd", "..%5c..%5cetc", "", ".", "./", "%00",
    "durable-lite.mjs%00", "durable-lite.mjs/", "durable-lite.mjs/..", "DURABLE-LITE.MJS", "x" * 3000,
    "dashboard/../durable-lite.mjs", "dashboard//index.html", ".cache", "demo/index.html", "%252e%252e/x",
    "node_modules/x.mjs", "types/index.d.ts", "package-lock.json", "pyodide.mjs/../pyodide.mjs", "%ff",
]  # fmt: skip


@pytest.mark.parametrize("folder", ["web", "pyodide"])
async def test_paths_lead_nowhere_else(in_memory, folder):
    async with in_memory() as asked, live(asked.server) as url:
        for trick in TRICKS:
            request = f"GET /{folder}/{trick} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            status, headers, body = await exchange(url, request.encode())
            assert b" 404 " in status, trick
            assert headers["content-type"] == "application/problem+json"


PATHS = [
    f"/web/{name}" for name in ("remote.mjs", "react.mjs", "worker.mjs", "dashboard/durable-dashboard.mjs")
]


async def test_files_are_asked_for_again(in_memory):
    async with in_memory() as asked:
        first = await asked.client.get("/web/durable-lite.mjs")
        assert first.headers["content-type"].startswith("text/javascript")
        again = {"if-none-match": f'"other", W/{first.headers["etag"]}'}
        second = await asked.client.get("/web/durable-lite.mjs", headers=again)
        assert (second.status_code, second.content) == (304, b"")
        wheel = await asked.client.get(
            f"/web/wheels/durable_lite-{durable_lite.__version__}-py3-none-any.whl"
        )
        with zipfile.ZipFile(io.BytesIO(wheel.content)) as opened:
            assert "durable_lite/browser/tab.py" in opened.namelist()
        assert not [path for path in PATHS if (await asked.client.get(path)).status_code != 200]
    async with in_memory(dashboard=False) as asked:
        for path in ("/", "/web/durable-lite.mjs"):
            assert (await asked.client.get(path)).status_code == 404
