"""The HTTP API: 300 who follow a run, pages of a million runs, triggers; against the same without HTTP."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from durable_lite import Durable

from . import http_jobs
from .floor import Table, folder, percentile, spread

_READERS, _STEPS, _PAUSE = 300, 60, 0.05
_RUNS = 1_000_000
_ASKED = 100  # requests for each route and round
_TRIGGERS, _AT_ONCE = 1000, 16

_FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO runs ({columns}) SELECT {values} FROM runs, n WHERE runs.id = ?
"""
_VALUES = {
    "id": "printf('0old%022d', i)",
    "job": "printf('job-%d', i % 10)",
    "status": "CASE WHEN i % 50 = 0 THEN 'FAILED' ELSE 'COMPLETED' END",
    "created_at": "created_at - 1000000 + i",
    "finished_at": "created_at - 999990 + i",
    "tags": "printf('[\"customer-%d\"]', i % 1000)",
    "claimable": "0",
    "ready_at": "NULL",
}
_TAGS = """
INSERT INTO tags (tag, created_at, run_id)
SELECT json_extract(tags, '$[0]'), created_at, id FROM runs WHERE id LIKE '0old%'
"""


class Connection:
    """One connection that is kept open, with as little of its own as can be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, method: str, target: str, body: Any = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
        self.writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + data)

    async def ask(self, method: str, target: str, body: Any = None) -> bytes:
        self.send(method, target, body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answer = await self.reader.readexactly(size)
        if not head.startswith(b"http/1.1 20"):
            raise RuntimeError(f"{method} {target}: {head.decode()}{answer.decode()}")
        return answer


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


@contextmanager
def _served(path: Path, *options: str) -> Iterator[tuple[int, int]]:
    """`durable-lite serve` in a process of its own: its port and its id."""
    code = "from durable_lite.cli import main; main()"
    jobs = str(Path(http_jobs.__file__))
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", jobs, "--db", str(path), "--port", "0", *options],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "dashboard at " in line:
                port = int(line.split("dashboard at ")[1].split("/")[2].split(":")[1])
                yield port, process.pid
                break
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _memory(pid: int) -> int:
    """Bytes of a process that are its own and in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel doesn't tell")


# Who follows


async def _hear(connection: Connection, target: str, ready: asyncio.Event, delays: list[float]) -> None:
    """Follow a run to its end; how long after they happened its steps were heard."""
    connection.send("GET", target)
    left = b""
    while b"event: end" not in left:
        data = await connection.reader.read(65_536)
        now = time.time()
        if not data:
            raise RuntimeError("it ended early")
        left += data
        ready.set()
        *events, left = left.split(b"\n\n")
        for event in events:
            if b'"step.completed"' in event:
                told = event[event.index(b"data: ") + 6 :].partition(b"\n")[0]
                delays.append(now - json.loads(told)["at"])
            if b"event: end" in event:
                return


async def _followed(path: Path) -> tuple[list[float], float]:
    """The delays of all events, and bytes for each who follows."""
    with _served(path, "--durability", "relaxed") as (port, pid):
        async with _connected(port) as asks:
            await asks.ask("GET", "/api/runs")
            payload = {"steps": _STEPS, "pause": _PAUSE}
            # The first one warms up what is loaded when it is first needed.
            for options in ({"delay": 0}, {"delay": 6}):
                count = 1 if options["delay"] == 0 else _READERS
                body = {"job": "paced", "payload": payload if count > 1 else {"steps": 2, "pause": 0}}
                run = json.loads(await asks.ask("POST", "/api/runs", {**body, "options": options}))
                before, delays, tasks, opened = _memory(pid), [], [], []
                for _ in range(count):
                    context = _connected(port)
                    opened.append(context)
                    connection, ready = await context.__aenter__(), asyncio.Event()
                    hear = _hear(connection, f"/api/runs/{run['id']}/stream", ready, delays)
                    tasks.append(asyncio.create_task(hear))
                    await asyncio.wait(
                        [asyncio.create_task(ready.wait()), tasks[-1]], return_when="FIRST_COMPLETED"
                    )
                each = (_memory(pid) - before) / count
                await asyncio.gather(*tasks)
                for context in opened:
                    await context.__aexit__(None, None, None)
            assert len(delays) == _READERS * _STEPS, f"{len(delays):,} of {_READERS * _STEPS:,}"
            return delays, each


def _streams(table: Table, rounds: int) -> None:
    late, memory = [], []
    for _ in range(rounds):
        with folder() as where:
            delays, each = asyncio.run(_followed(where / "a.db"))
        late.append(percentile(delays, 0.95) * 1000)
        memory.append(each / 1000)
    table.most(f"{_READERS} who follow one run: event to reader, p95", 250, late, "ms", 0)
    table.most("memory for each of them", 100, memory, "KB", 0)


# Lists


async def _model(path: Path) -> str:
    async with Durable(f"sqlite:{path}", http_jobs, durability="relaxed") as app:
        run = await app.trigger("nothing", {"name": "x" * 100})
        await run.result()
        return run.id


def _fill(path: Path, count: int) -> None:
    model = asyncio.run(_model(path))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous=OFF")
    names = [row[1] for row in connection.execute("PRAGMA table_info(runs)") if row[1] != "number"]
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(_VALUES.get(name, f'runs."{name}"') for name in names)
    with connection:
        connection.execute(_FILL.format(columns=columns, values=values), (count, model))
        connection.execute(_TAGS)
        connection.execute("DELETE FROM runs WHERE id = ?", (model,))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _routes(path: Path) -> dict[str, str]:
    connection = sqlite3.connect(path)
    middle = f"0old{_RUNS // 2:022d}"
    row = connection.execute("SELECT created_at, id FROM runs WHERE id = ?", (middle,)).fetchone()
    connection.close()
    return {
        "all": "/api/runs",
        "status": "/api/runs?status=FAILED",
        "two statuses": "/api/runs?status=FAILED&status=EXECUTING",
        "job": "/api/runs?job=job-3",
        "job and status": "/api/runs?job=job-0&status=FAILED",
        "tag": "/api/runs?tag=customer-7",
        "time": f"/api/runs?created_after={row[0] - 5000}&created_before={row[0]}",
        "cursor": f"/api/runs?cursor={row[0]!r}:{row[1]}",
        "id": f"/api/runs/{middle}",
        "id, events": f"/api/runs/{middle}/events",
    }


async def _asked(port: int, target: str) -> list[float]:
    async with _connected(port) as connection:
        await connection.ask("GET", target)
        times = []
        for _ in range(_ASKED):
            begun = time.perf_counter()
            await connection.ask("GET", target)
            times.append(time.perf_counter() - begun)
        return times


def _raw(path: Path) -> list[float]:
    """Fifty newest rows, read by plain sqlite3 and written as JSON."""
    connection = sqlite3.connect(path)
    times = []
    for _ in range(_ASKED):
        begun = time.perf_counter()
        rows = connection.execute("SELECT * FROM runs ORDER BY created_at DESC, id DESC LIMIT 50").fetchall()
        json.dumps(rows)
        times.append(time.perf_counter() - begun)
    connection.close()
    return times


def _lists(table: Table, rounds: int) -> None:
    with folder() as where:
        path = where / "many.db"
        begun = time.perf_counter()
        _fill(path, _RUNS)
        print(f"       {_RUNS:,} runs put in, {time.perf_counter() - begun:.0f} s")
        raw = [percentile(_raw(path), 0.95) * 1000 for _ in range(rounds)]
        print(f"       50 rows by sqlite3, and as JSON: p95 {spread(raw, 2)} ms")
        with _served(path, "--concurrency", "0") as (port, _):
            floor = [percentile(asyncio.run(_asked(port, "/api/health")), 0.95) * 1000 for _ in range(rounds)]
            print(f"       GET /api/health: p95 {spread(floor, 2)} ms")
            for name, target in _routes(path).items():
                found = [percentile(asyncio.run(_asked(port, target)), 0.95) * 1000 for _ in range(rounds)]
                table.most(f"GET {_RUNS:,} runs, by {name}: p95", 20, found, "ms")


# Triggers


async def _in_process(path: Path) -> float:
    async with Durable(f"sqlite:{path}", http_jobs, worker=False) as app:

        async def some() -> None:
            for _ in range(_TRIGGERS // _AT_ONCE):
                await app.trigger("nothing", {"a": 1})

        begun = time.perf_counter()
        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
        return _TRIGGERS // _AT_ONCE * _AT_ONCE / (time.perf_counter() - begun)


async def _over_http(path: Path) -> float:
    with _served(path, "--concurrency", "0") as (port, _):

        async def some() -> None:
            async with _connected(port) as connection:
                for _ in range(_TRIGGERS // _AT_ONCE):
                    await connection.ask("POST", "/api/runs", {"job": "nothing", "payload": {"a": 1}})

        await some()
        begun = time.perf_counter()
        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
        return _TRIGGERS // _AT_ONCE * _AT_ONCE / (time.perf_counter() - begun)


def _triggers(table: Table, rounds: int) -> None:
    ratios, rates, floors = [], [], []
    for _ in range(rounds):
        with folder() as where:
            before = asyncio.run(_in_process(where / "a.db"))
            rate = asyncio.run(_over_http(where / "b.db"))
            floor = (before + asyncio.run(_in_process(where / "c.db"))) / 2
        rates.append(rate)
        floors.append(floor)
        ratios.append(rate / floor)
    print(f"       {_AT_ONCE} at a time, strict: {spread(rates)} a second, in process {spread(floors)}")
    table.ratio("triggers over HTTP, of those in process", 0.25, ratios)


def run(table: Table, rounds: int) -> None:
    _streams(table, rounds)
    _triggers(table, rounds)
    _lists(table, rounds)
