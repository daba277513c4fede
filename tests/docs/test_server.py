"""The snippets of docs/server.md that need a server do what they say, asked as a reader asks.

In their order: blocks `sh NAME.sh` are commands, and what is shown below one is in what it prints; an `…`
stands for anything. The tenants of the example ask its application, which uvicorn serves.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable_lite import Durable
from durable_lite.client import RemoteDurable
from durable_lite.server import ServerOptions
from tests.cli.support import PATIENCE, Process
from tests.docs.test_snippets import BLOCK, ENVIRONMENT, ROOT

TEXT = (ROOT / "docs/server.md").read_text("utf-8")
BLOCKS = BLOCK.findall(TEXT)
EXAMPLE = "http://127.0.0.1:8000"
HOST = "jobs.example.org"
ENDED = 'event: end\ndata: {"status":"COMPLETED"}\n\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader has saved the files."""
    for _, name, text in BLOCKS:
        if name.endswith(".py"):
            (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


@contextmanager
def serve(folder: Path, *args: str, token: str | None = None) -> Iterator[str]:
    """`durable-lite serve`; gives its address."""
    env = {"DURABLE_LITE_TOKEN": token} if token else {}
    command = ["serve", "jobs.py", "--db", "durable.db", "--port", "0", *args]
    with Process(*command, folder=folder, env=env) as process:
        yield process.wait_for("dashboard at ").split("dashboard at ")[1].split()[0].rstrip("/")


@contextmanager
def uvicorn(folder: Path, name: str, **env: str) -> Iterator[str]:
    """The application of a snippet, served as the page says; gives its address. It ends by SIGTERM."""
    command = [sys.executable, "-m", "uvicorn", f"{name}:application", "--port", "0"]
    options = ["--timeout-graceful-shutdown", "5", "--no-access-log"]
    process = subprocess.Popen(
        [*command, *options], cwd=folder, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT | env
    )
    assert process.stderr is not None
    with process, process.stderr:
        try:
            for line in process.stderr:
                if found := re.search(r"running on (http\S+)", line):
                    yield found[1]
                    break
            else:
                raise AssertionError("it did not start")
        finally:
            process.terminate()
            rest = process.stderr.read()
            process.wait(PATIENCE)
    assert "Application shutdown complete" in rest
    assert "Traceback" not in rest


def is_shown(shown: Any, printed: Any) -> bool:
    """Whether what is shown of an object is in what was printed."""
    if isinstance(shown, dict):
        return isinstance(printed, dict) and all(is_shown(shown[name], printed.get(name)) for name in shown)
    return bool(shown == printed)


def check(language: str, shown: str, printed: str) -> None:
    if language == "json":
        assert is_shown(json.loads(shown), json.loads(printed)), printed
    elif language == "text":
        for line in shown.splitlines():
            pattern = ".*".join(re.escape(part) for part in line.split("…"))
            assert re.search(f"^{pattern}$", printed, re.MULTILINE), f"{line!r} isn't in\n{printed}"


def test_curl(folder):
    commands = [name for _, name, _ in BLOCKS if name.endswith(".sh")]
    assert commands == ["trigger.sh", "follow.sh", "go_on.sh", "look.sh", "list.sh", "wrong.sh"]
    printed: dict[str, str] = {}
    with serve(folder) as url:
        env = ENVIRONMENT | {"API": f"{url}/api"}
        for (_, name, text), (language, _, shown) in itertools.pairwise([*BLOCKS, ("", "", "")]):
            if name not in commands:
                continue
            done = subprocess.run(
                ["bash", "-euc", text], env=env, capture_output=True, text=True, timeout=20, check=True
            )
            printed[name] = done.stdout
            check(language, shown, done.stdout)
            if name == "trigger.sh":
                run = json.loads(done.stdout)
                assert run["disposition"] == "created"
                env["RUN"] = run["id"]
        again = httpx.post(
            f"{url}/api/runs",
            json={
                "job": "sum_of_squares",
                "payload": {"count": 2},
                "options": {"idempotency_key": "first"},
            },
        )
    assert (again.status_code, again.json()["id"]) == (200, env["RUN"])
    ids = {
        name: re.findall(r"^id: (\d+)$", printed[name], re.MULTILINE) for name in ("follow.sh", "go_on.sh")
    }
    assert ids == {"follow.sh": ["1", "2", "3", "4", "5"], "go_on.sh": ["5"]}
    assert [run["id"] for run in json.loads(printed["list.sh"])["runs"]] == [env["RUN"]]


@pytest.mark.parametrize("name", ["application", "fastapi_application"])
def test_mounted(folder, name):
    with uvicorn(folder, name) as url, httpx.Client(base_url=url) as client:
        answer = client.post("/start", params={"count": 10})
        assert answer.status_code == 201
        run_id = answer.text.strip('"')
        assert client.get(f"/durable/api/runs/{run_id}/stream").text.endswith(ENDED)
        assert client.get(f"/durable/api/runs/{run_id}").json()["output"] == 285
        page = client.get("/durable/", follow_redirects=True)
        assert "<main>" in page.text
        # Who follows keeps it no longer than it was told.
        with client.stream("GET", "/durable/api/stream") as stream:
            assert next(stream.iter_lines()) == "retry: 1000"


def test_the_client(folder):
    [program] = [text for _, name, text in BLOCKS if name == "client.py"]
    assert EXAMPLE in program
    with serve(folder) as url:
        (folder / "client.py").write_text(program.replace(EXAMPLE, url), "utf-8")
        done = subprocess.run(
            [sys.executable, "client.py"], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True,
            timeout=30, check=True,
        )  # fmt: skip
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-2:]) == ("1 run.triggered", ["13 run.completed", "285"])


def test_behind_a_proxy(folder):
    body = {"job": "sum_of_squares", "payload": {"count": 1}}
    through = {"authorization": "Bearer t", "host": HOST, "x-forwarded-proto": "https"}
    page = {**through, "origin": f"https://{HOST}"}
    with serve(folder, "--allow-host", HOST, token="t") as url, httpx.Client(base_url=url) as client:
        run = client.post("/api/runs", json=body, headers=page).json()
        for headers, code in (
            ({**page, "x-forwarded-proto": "http"}, "cross_origin"),
            ({**page, "host": "localhost"}, "host_not_allowed"),
        ):
            assert client.post("/api/runs", json=body, headers=headers).json()["code"] == code
        stream = client.get(f"/api/runs/{run['id']}/stream", headers=through)
    assert (stream.status_code, stream.headers["x-accel-buffering"]) == (200, "no")


class Tenants:
    """Each of them asks the application of the example with its token."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, tenant: str, method: str, path: str, **given: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer token of {tenant}"}
        return httpx.request(method, f"{self.url}/api{path}", headers=headers, timeout=20, **given)

    def trigger(self, tenant: str, **options: Any) -> httpx.Response:
        body = {"job": "sum_of_squares", "payload": {"count": 2}, "options": options}
        return self.ask(tenant, "POST", "/runs", json=body)


@pytest.fixture
def tenants(folder: Path) -> Iterator[Tenants]:
    tokens = {name: f"token of {name}" for name in ("acme", "globex")}
    with uvicorn(folder, "tenants", TENANTS=json.dumps(tokens)) as url:
        yield Tenants(url)


def test_tenants_with_the_same_keys_do_not_meet(tenants):
    held = {"delay": "1h", "on_busy": "reject"}
    for options, code in (
        ({"idempotency_key": "k"}, 200),
        ({"idempotency_key": ["k", 1]}, 200),
        ({"debounce_key": "k", "debounce_delay": "1h"}, 200),
        ({"concurrency_key": "k", **held}, 409),
    ):
        first, other, again = (tenants.trigger(who, **options) for who in ("acme", "globex", "acme"))
        assert (first.status_code, other.status_code, again.status_code) == (201, 201, code), options
        assert first.json()["id"] != other.json()["id"]
        told = again.json()
        assert first.json()["id"] == (told["id"] if code == 200 else told["fields"]["run_id"])


def test_a_tenant_sees_nothing_of_another(tenants):
    foreign = tenants.trigger("acme", tags=["shared"], concurrency_key="secret", delay="1h").json()
    mine = tenants.trigger("globex", tags=["shared"]).json()
    assert (foreign["tags"], mine["tags"]) == (["shared", "tenant:acme"], ["shared", "tenant:globex"])
    for path in ("", "/steps", "/events", "/timeline", "/stream"):
        told = [
            (answer.status_code, answer.text.replace(run_id, "…"))
            for run_id in (foreign["id"], "never-was")
            for answer in [tenants.ask("globex", "GET", f"/runs/{run_id}{path}")]
        ]
        assert told[0] == told[1]
        assert told[0][0] == 404
    for query in ({}, {"tag": "shared"}, {"tag": "tenant:acme"}, {"search": "secret"}, {"limit": 1},
                  {"search": foreign["id"]}, {"cursor": f"{foreign['created_at'] + 9}:{foreign['id']}"}):  # fmt: skip
        answer = tenants.ask("globex", "GET", "/runs", params=query)
        assert answer.status_code == 200
        assert {run["id"] for run in answer.json()["runs"]} <= {mine["id"]}
        assert foreign["id"] not in answer.text
    own = tenants.ask("globex", "GET", "/runs", params={"tag": "shared"}).json()["runs"]
    assert [run["id"] for run in own] == [mine["id"]]
    with httpx.stream(
        "GET", f"{tenants.url}/api/stream", headers={"authorization": "Bearer token of globex"}
    ) as stream:
        page = next(line for line in stream.iter_lines() if line.startswith("data: "))
    assert json.loads(page.removeprefix("data: "))["ids"] == [mine["id"]]


def test_what_a_tenant_may_not_do(tenants):
    for options in ({"tags": ["tenant:globex"]}, {"queue": "other"}, {"priority": 9}):
        assert tenants.trigger("acme", **options).json()["code"] == "forbidden", options
    for method, path, body in (
        ("POST", "/events", {"name": "paid"}), ("GET", "/queues", None), ("GET", "/schedules", None),
        ("POST", "/runs/purge", {"older_than": 0}), ("POST", "/runs/import", {"document": "{}"}),
    ):  # fmt: skip
        assert tenants.ask("acme", method, path, json=body).json()["code"] == "forbidden", path
    assert tenants.ask("acme", "GET", "/jobs").status_code == 200
    assert tenants.ask("initech", "GET", "/runs").json()["code"] == "unauthorized"


def test_what_a_tenant_makes_of_a_run_is_its_own(tenants):
    run = tenants.trigger("acme", concurrency_key="k").json()
    assert tenants.ask("acme", "GET", f"/runs/{run['id']}/stream").text.endswith(ENDED)
    for verb, body in (("replay", {}), ("fork", {"from_step": "square-1"})):
        made = tenants.ask("acme", "POST", f"/runs/{run['id']}/{verb}", json=body).json()
        assert (made["tags"], made["concurrency_key"]) == (["tenant:acme"], run["concurrency_key"])
        assert tenants.ask("acme", "GET", f"/runs/{made['id']}").status_code == 200
        assert tenants.ask("globex", "GET", f"/runs/{made['id']}").status_code == 404


def section(title: str) -> str:
    """What is below a heading, to the next one of its level."""
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_options_of_asgi_are_told():
    rows = re.findall(r"^\| `(\w+)` \|", section("In your own application"), re.MULTILINE)
    assert rows == list(ServerOptions.__annotations__)


def test_what_a_client_has_is_told():
    """Each verb of `Durable` is among those that are the same, or among those that aren't there."""
    rows = dict(re.findall(r"^\| (the same|not there) \| (.+) \|$", section("From Python"), re.MULTILINE))
    there, lacking = (set(re.findall(r"`(\w+)`", rows[name])) for name in ("the same", "not there"))
    verbs = {name for kind in Durable.__mro__ for name in vars(kind) if not name.startswith("_")}
    assert lacking == {name for name in verbs if not hasattr(RemoteDurable, name)}
    told = there - {"result"}
    groups = ("event", "token", "queue", "schedule")  # told of by their names
    rest = {name for name in verbs - lacking if not any(group in name for group in groups)}
    assert told - {"events"} == rest
