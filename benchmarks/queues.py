"""Queues: whether limits hold over four worker processes, and what they cost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from durable_lite import Durable

from . import queue_jobs as jobs
from .floor import Table, folder, spread

RUNS, WORKERS = 10_000, 4
UNENDED = ["PENDING", "QUEUED", "EXECUTING", "STALE", "WAITING"]


def _worker(db: Path, gauge: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from durable_lite.cli import main; main()", "worker"]
    options = ["--db", str(db), "--concurrency", "16", "--durability", "relaxed"]
    environment = os.environ | {"GAUGE": str(gauge)}
    return subprocess.Popen([*command, jobs.__file__, *options], stderr=subprocess.DEVNULL, env=environment)


async def _trigger(db: Path, runs: int) -> list[str]:
    async with Durable(f"sqlite:{db}", jobs=[jobs], durability="relaxed", worker=False) as app:
        made = []
        for number in range(runs):  # a tenth at a rate, a third with keys, the rest in a narrow queue
            kind, key = (jobs.in_queue, None)
            if number % 10 == 0:
                kind = jobs.at_a_rate
            elif number % 3 == 0:
                kind, key = jobs.with_key, f"key{number % jobs.KEYS}"
            made.append((await app.trigger(kind, number, concurrency_key=key)).id)
        return made


async def _ended(db: Path) -> list[float]:
    """When the runs at a rate were first claimed, once no run is unfinished."""
    async with Durable(f"sqlite:{db}", jobs=[jobs], worker=False) as app:
        while (await app.list_runs(status=UNENDED, limit=1)).runs:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        page = await app.list_runs(job="at_a_rate", limit=RUNS)
        assert all(row.status == "COMPLETED" for row in page.runs)
        return sorted(row.started_at or 0.0 for row in page.runs)


def _beyond(lines: list[str], started: list[float]) -> tuple[Counter[str], Counter[str]]:
    """How often a limit was exceeded, and the most at a time of each thing."""
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    beyond: Counter[str] = Counter()
    for _, verb, what, _ in sorted((line.split() for line in lines), key=lambda words: float(words[0])):
        now[what] += 1 if verb == "begin" else -1
        most[what] = max(most[what], now[what])
        limit = {"narrow": jobs.CONCURRENCY, "rated": len(lines)}.get(what, 1)
        if verb == "begin" and now[what] > limit:
            beyond["at a time"] += 1
    for first, last in zip(started, started[jobs.RATE :], strict=False):
        if last - first < 1:
            beyond["in a second"] += 1
    return beyond, most


def _round(runs: int) -> tuple[Counter[str], float, Counter[str]]:
    with folder() as where:
        db, gauge = where / "queues.db", where / "gauge.txt"
        gauge.touch()
        workers = [_worker(db, gauge) for _ in range(WORKERS)]
        try:
            start = time.perf_counter()
            made = asyncio.run(_trigger(db, runs))
            started = asyncio.run(_ended(db))
            took = time.perf_counter() - start
        finally:
            for worker in workers:
                worker.send_signal(signal.SIGINT)
            for worker in workers:
                worker.wait(30)
        lines = gauge.read_text().splitlines()
        assert Counter(line.split()[3] for line in lines) == Counter(dict.fromkeys(made, 2))
        beyond, most = _beyond(lines, started)
        return beyond, runs / took, most


def run(table: Table, rounds: int) -> None:
    found = [_round(RUNS) for _ in range(rounds)]
    print(f"       runs/s over {WORKERS} processes {spread([rate for _, rate, _ in found])}")
    narrow = spread([float(most["narrow"]) for _, _, most in found])
    print(f"       at most {narrow} of {jobs.CONCURRENCY} at a time in the narrow queue")
    for kind in ("at a time", "in a second"):
        times = [float(beyond[kind]) for beyond, _, _ in found]
        table.most(
            f"more {kind} than a limit allows, in {RUNS:,} runs over {WORKERS} processes", 0, times, "times"
        )
