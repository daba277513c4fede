"""`durable-lite serve` as a process that can be killed and started again where it was, and runs for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount

from durable_lite import Durable, RunFailed
from durable_lite.client import RemoteDurable
from durable_lite.testing import tabs
from tests.cli.support import Process
from tests.http.served import Served

JOBS = Path(__file__).parent / "dashboard_jobs.py"
RUNS = 7  # that `filled` makes


class Serving:
    """A server over a SQLite file in `folder`, on a port that it keeps."""

    def __init__(self, folder: Path, token: str = "") -> None:
        self.folder, self.url = folder, ""
        self._process = self._started(0, token)

    def _started(self, port: int, token: str) -> Process:
        options = ("--port", port, "--db", "runs.db")
        process = Process("serve", JOBS, *options, folder=self.folder, env={"DURABLE_LITE_TOKEN": token})
        try:
            self.url = process.wait_for("dashboard at ").split("dashboard at ")[1].split()[0]
        except BaseException:
            process.__exit__()
            raise
        return process

    async def kill(self) -> None:
        """As the machine does that runs out of memory."""
        await asyncio.to_thread(self._process.kill)

    async def start(self, token: str = "") -> None:
        """Again, after `kill`."""
        port = int(self.url.rstrip("/").rpartition(":")[2])
        for left in reversed(range(20)):
            try:
                self._process = await asyncio.to_thread(self._started, port, token)
                return
            except AssertionError as error:  # somebody has the port, for a connection of its own
                if not left or "already in use" not in str(error):
                    raise
            await asyncio.sleep(0.5)

    def client(self, token: str | None = None) -> RemoteDurable:
        return RemoteDurable(self.url, token=token)

    def go(self, *numbers: int) -> None:
        """Let runs of reindex_documents end these batches."""
        for number in numbers:
            (self.folder / f"go-{number}").touch()

    def mend_card(self) -> None:
        """Let charge_customer succeed."""
        (self.folder / "card").touch()

    def end(self) -> None:
        self._process.__exit__()


@asynccontextmanager
async def mounted(app: Durable, path: str) -> AsyncIterator[str]:
    """Where the server of an open `Durable` is, below a path of another application."""
    inner = app.asgi()
    server = Served(Starlette(routes=[Mount(path, inner)]))
    await server.start()
    try:
        yield f"{server.url}{path}/"
    finally:
        inner.stop_streams()
        await server.stop()


class Servers:
    """Starts servers below a folder, each in its own, and ends them all at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Serving] = []

    def __call__(self, token: str = "") -> Serving:
        folder = self._folder / f"server-{len(self._started)}"
        folder.mkdir()
        self._started.append(Serving(folder, token))
        return self._started[-1]

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._started:
            one.end()


async def become(app: RemoteDurable, run: str, status: str) -> None:
    """Wait until a run has this status."""

    async def has() -> bool:
        return (await app.get_run(run)).status == status

    await tabs.until(has, why=f"{run} is {status}")


async def pending(app: RemoteDurable, run: str) -> str:
    """The token that a run waits for."""
    await become(app, run, "WAITING")
    [token] = (await app.list_tokens(run=run, state="pending")).tokens
    return token.id


async def half_done(server: Serving, app: RemoteDurable) -> str:
    """A run of two batches that is in the second one."""
    run = await app.trigger("reindex_documents", {"batches": 2})
    server.go(0)
    await tabs.until(lambda: app.steps(run.id), why="a batch is done")
    return run.id


async def said(app: RemoteDurable, text: str) -> list[str]:
    """Runs that say a text wherever a run can: one has completed, one has failed, one waits."""
    runs = []
    for end, status in (("give", "COMPLETED"), ("fail", "FAILED"), ("wait", "WAITING")):
        run = await app.trigger("says", {"text": text, "end": end}, tags=[text])
        await become(app, run.id, status)
        runs.append(run.id)
    return runs


async def filled(app: RemoteDurable) -> dict[str, str]:
    """Runs in all states that matter, by what they are; two more are children of `parent`."""
    payload = {"org": "globex", "pages": 3}
    done = await app.trigger("export_invoices", payload, tags=["globex", "monthly"])
    await done.result(timeout=30)
    failed = await app.trigger("charge_customer", {"customer": "ada"}, tags=["globex"])
    with suppress(RunFailed):
        await failed.result(timeout=30)
    parent = await app.trigger("send_all", ["ada@example.org", "eve@example.org"])
    await parent.result(timeout=30)
    waiting = await app.trigger("refund", {"order": 4711}, tags=["acme", "refund"])
    await become(app, waiting.id, "WAITING")
    executing = await app.trigger("reindex_documents", {"batches": 4}, tags=["search"])
    await become(app, executing.id, "EXECUTING")
    runs = {"done": done, "failed": failed, "parent": parent, "waiting": waiting, "executing": executing}
    return {name: run.id for name, run in runs.items()}
