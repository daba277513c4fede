"""Replay of many checkpoints to the first new step, against reading and parsing the same rows."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from pathlib import Path

from durable_lite import Durable

from . import jobs
from .floor import Table, folder, spread

STEPS = 10_000


async def _prepare(path: Path) -> str:
    """A cancelled run with all its checkpoints but no last step: `resume` replays them."""
    async with Durable(f"sqlite:{path}", jobs, durability="relaxed") as app:
        run = await app.trigger(jobs.replayed, {"steps": STEPS})
        await run.result(timeout="5m")
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM steps WHERE path = 'new'")
        connection.execute("UPDATE runs SET status = 'CANCELLED', output = NULL")
    connection.close()
    return run.id


async def _replay(path: Path, run_id: str) -> float:
    async with Durable(f"sqlite:{path}", jobs, durability="relaxed") as app:
        jobs.marks.pop(run_id, None)
        start = time.perf_counter()
        await app.resume(run_id)
        await (await app.get_run(run_id)).result(timeout="5m")
        elapsed = jobs.marks[run_id] - start
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM steps WHERE path = 'new'")
        connection.execute("UPDATE runs SET status = 'CANCELLED', output = NULL")
    connection.close()
    return elapsed


def _floor(path: Path, run_id: str) -> float:
    connection = sqlite3.connect(path)
    start = time.perf_counter()
    rows = connection.execute("SELECT path, output FROM steps WHERE run_id = ?", (run_id,)).fetchall()
    parsed = {name: json.loads(output) for name, output in rows}
    elapsed = time.perf_counter() - start
    connection.close()
    assert len(parsed) == STEPS
    return elapsed


def run(table: Table, rounds: int) -> None:
    with folder() as where:
        path = where / "a.db"
        run_id = asyncio.run(_prepare(path))
        _floor(path, run_id)
        ratios, ours = [], []
        for _ in range(rounds):
            before = _floor(path, run_id)
            elapsed = asyncio.run(_replay(path, run_id))
            ours.append(elapsed * 1000)
            ratios.append(elapsed / ((before + _floor(path, run_id)) / 2))
        print(f"       replay of {STEPS:,} checkpoints, ms: {spread(ours)}")
        table.most("replay of 10,000 checkpoints over SELECT and json.loads", 3, ratios, "x")
