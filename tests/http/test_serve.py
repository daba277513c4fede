"""`durable-lite serve` as a process, and the same application inside another one."""

from __future__ import annotations

import asyncio
import inspect
import json
import signal
import socket
import typing
import urllib.error
import urllib.request

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from durable_lite import Durable, InvalidOption
from durable_lite.cli.serve import _bound
from durable_lite.server import ServerOptions, asgi
from durable_lite.server.application import Server
from tests.cli.support import Process, invoke, one_line, write_jobs
from tests.http.following import follow
from tests.http.support import JOBS, live


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in ("DURABLE_LITE_DB", "DURABLE_LITE_TOKEN", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def start(tmp_path):
    """A function that starts `durable-lite serve` and gives the process and its URL."""
    write_jobs(tmp_path)
    started = []

    def start(*args, **options):
        process = Process("serve", *args, "--port", "0", "--db", "runs.db", folder=tmp_path, **options)
        started.append(process)
        line = process.wait_for("dashboard at ")
        return process, line.split("dashboard at ")[1].split()[0]

    yield start
    for process in started:
        process.__exit__()


def ask(url, path, body=None, token=None, method=None):
    """The status, and the JSON of the answer."""
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def ended(url, run_id):
    """A run once it has ended, told by its stream."""
    with urllib.request.urlopen(f"{url}api/runs/{run_id}/stream", timeout=20) as response:
        assert response.read().rstrip().splitlines()[-2] == b"event: end"
    return ask(url, f"api/runs/{run_id}")[1]


class TestTheProcess:
    def test_it_executes_and_stops(self, start, tmp_path):
        process, url = start("jobs.py")
        assert url.startswith("http://127.0.0.1:")
        assert "executing" in "".join(process.lines)
        assert ask(url, "api/health") == (200, {"status": "ok"})
        status, run = ask(url, "api/runs", {"job": "export", "payload": {"org": "acme", "pages": 2}})
        assert status == 201
        assert ended(url, run["id"])["output"] == {"rows": 2, "name": "Müller"}
        with urllib.request.urlopen(url, timeout=20) as page:
            assert page.url == f"{url}web/dashboard/index.html?server=../.."
        _, held = ask(url, "api/runs", {"job": "with-a-hold", "payload": {}})
        process.wait_for("holding held")
        process.send(signal.SIGTERM)
        process.wait_for("SIGTERM: 1 run executing")
        process.send(signal.SIGTERM)  # at once: the run is released
        code, out, err = process.end()
        assert (code, out) == (143, "")
        assert "Traceback" not in err
        # Another one goes on with it.
        (tmp_path / "go").touch()
        process, url = start("jobs.py")
        assert ended(url, held["id"])["output"] == "last"
        process.send(signal.SIGINT)
        assert process.end()[0] == 130

    def test_without_files_it_executes_nothing(self, start):
        process, url = start()
        assert "executing nothing" in "".join(process.lines)
        assert ask(url, "api/runs")[1]["runs"] == []
        assert ask(url, "api/runs", {"job": "export"})[1]["code"] == "unknown_job"
        process.send(signal.SIGTERM)
        assert process.end()[0] == 143

    def test_open_streams_do_not_keep_it(self, start):
        process, url = start()
        with urllib.request.urlopen(f"{url}api/stream", timeout=20) as stream:
            assert stream.readline() == b"retry: 1000\n"
            process.send(signal.SIGTERM)
            stream.read()  # to its end
        code, _, err = process.end()
        assert (code, "Traceback" in err) == (143, False)

    def test_a_token(self, start):
        secret = "s3cret of the environment"
        process, url = start(env={"DURABLE_LITE_TOKEN": secret})
        assert ask(url, "api/runs")[0] == 401
        assert ask(url, "api/runs", token="wrong")[0] == 401
        assert ask(url, "api/runs", token=secret)[0] == 200
        process.send(signal.SIGTERM)
        _, _, err = process.end()
        assert secret not in err

    def test_names_and_origins(self, start):
        process, url = start(
            "--allow-origin", "https://app.example", "--token", "t", "--allow-host", "localhost"
        )
        assert ask(url, "api/health")[1]["code"] == "host_not_allowed"
        request = urllib.request.Request(
            f"{url}api/health", headers={"host": "localhost", "origin": "https://app.example"}
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            assert response.headers["access-control-allow-origin"] == "https://app.example"


async def test_answers_are_sent_at_once():
    """Or each but the first of a connection waits for 40 ms: for an acknowledgement that is delayed."""
    accepted = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda *both: accepted.set_result(both), sock=_bound("127.0.0.1", 0))
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        _, at_the_server = await accepted
        connection = at_the_server.get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        for one in (writer, at_the_server):
            one.close()
            await one.wait_closed()


class TestRefused:
    @pytest.fixture(autouse=True)
    def _folder(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
    def test_an_address_for_others_without_a_token(self, host, tmp_path):
        result = invoke("serve", "--host", host)
        assert (result.exit_code, one_line(result).count("--token")) == (2, 1)
        assert not list(tmp_path.iterdir())

    def test_a_port_that_is_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
            result = invoke("serve", "--port", port)
        assert result.exit_code == 1
        assert str(port) in one_line(result)

    @pytest.mark.parametrize(
        ("args", "named"),
        [
            (["--token", " "], "--token"), (["--allow-host", "example.org"], "--allow-host"),
            (["--allow-origin", "*"], "--allow-origin"),
        ],
    )  # fmt: skip
    def test_options(self, args, named):
        result = invoke("serve", "--port", 0, *args)
        assert result.exit_code == 2
        assert one_line(result).startswith(f"durable-lite: {named}") or named in one_line(result)


class TestMounted:
    async def test_below_a_path(self):
        async with Durable("memory:", JOBS) as app:
            server = asgi(app)
            outer = Starlette(
                routes=[Route("/", lambda request: PlainTextResponse("outer")), Mount("/durable", server)]
            )
            transport = httpx.ASGITransport(outer, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                assert (await client.get("/")).text == "outer"
                assert (await client.get("/durable/api/health")).json() == {"status": "ok"}
                told = (await client.get("/durable/api/openapi.json")).json()
                assert told["servers"] == [{"url": "/durable"}]
                response = await client.get("/durable/")
                assert response.headers["location"] == "/durable/web/dashboard/index.html?server=../.."
                assert (await client.get("/durable/web/durable-lite.mjs")).status_code == 200
                assert (await client.get("/durable/api/none")).json()["code"] == "not_found"
                run = (await client.post("/durable/api/runs", json={"job": "fails"})).json()
                text = (await client.get(f"/durable/api/runs/{run['id']}/stream")).text
                assert text.endswith('event: end\ndata: {"status":"FAILED"}\n\n')
                evil = await client.get("/durable/api/runs", headers={"host": "evil.example"})
                assert evil.json()["code"] == "host_not_allowed"

    async def test_as_a_whole_it_opens_and_closes_its_application_and_can_start_again(self):
        app = Durable("memory:", JOBS)
        server = asgi(app)
        for _ in range(2):
            async with live(server) as url, follow(url, "/api/stream") as follower:
                assert app._open
                assert (await follower.next()).event == "page"
            assert not app._open
            await asyncio.sleep(0)

    async def test_an_application_that_is_not_open(self):
        server = asgi(Durable("memory:", JOBS))
        transport = httpx.ASGITransport(server, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            response = await client.get("/api/queues")
            assert (response.status_code, response.json()["code"]) == (500, "internal")


def test_a_durable_makes_its_application_and_its_options_are_typed():
    given = {name: kind.default for name, kind in inspect.signature(asgi).parameters.items() if name != "app"}
    assert list(typing.get_type_hints(ServerOptions)) == list(given)
    server = Durable("memory:").asgi(**given)
    assert isinstance(server, Server)
    with pytest.raises(InvalidOption, match="token_rate"):
        Durable("memory:").asgi(token_rate="often")
