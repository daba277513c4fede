"""Claim and sweep with a million finished runs retained, against none: counted, not timed."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from durable_lite.records import NewRun
from durable_lite.stores.sqlite import SQLiteStore

from .floor import Table, folder

_FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO runs ({columns})
SELECT {values} FROM runs, n WHERE runs.id = 'model'
"""
_GRAIN = 10  # the counter is called after so many virtual-machine steps


def _fill(path: Path, count: int) -> None:
    connection = sqlite3.connect(path)
    columns_of = connection.execute("PRAGMA table_info(runs)")
    names = [row[1] for row in columns_of if row[1] != "number"]
    special = {
        "id": "printf('old-%09d', i)", "status": "'COMPLETED'", "finished_at": "created_at + i",
        "created_at": "created_at + i / 1000.0", "claimable": "0", "ready_at": "NULL",
    }  # fmt: skip
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(special.get(name, f'runs."{name}"') for name in names)
    with connection:
        connection.execute(_FILL.format(columns=columns, values=values), (count,))
        connection.execute("DELETE FROM runs WHERE id = 'model'")
        connection.execute("ANALYZE")
    connection.close()


def _new(id: str) -> NewRun:
    return NewRun(id, "job", None, "default", 0, 1000.0, 1000.0, "{}")


async def _steps(path: Path, retained: int) -> dict[str, int]:
    """Virtual-machine steps of each verb that a worker repeats."""
    store = SQLiteStore(str(path), durability="relaxed")
    await store.open()
    await store.create_runs([_new("model")])
    await store.close()
    _fill(path, retained)
    await store.open()
    await store.create_runs([_new(f"new-{i:02d}") for i in range(20)])
    counted = 0

    def tick() -> int:
        nonlocal counted
        counted += _GRAIN
        return 0

    for connection in store.connections:
        connection.set_progress_handler(tick, _GRAIN)
    steps = {}
    for name in ("claim", "idle claim", "next due", "leases", "mark stale", "claim again"):
        before = counted
        if name in ("claim", "claim again"):
            await store.claim_runs("w", ["job", "other"], 10, 2000.0, "lease")
        elif name == "idle claim":
            await store.claim_runs("w", ["other"], 10, 2000.0, "lease")
        elif name == "next due":
            await store.next_due()
        elif name == "leases":
            leases = await store.leases()
        else:
            await store.mark_stale(leases, "heartbeat", 3000.0)
        steps[name] = counted - before
    await store.close()
    return steps


def run(table: Table, rounds: int, retained: int = 1_000_000) -> None:
    with folder() as where:
        none = asyncio.run(_steps(where / "none.db", 0))
        many = asyncio.run(_steps(where / "many.db", retained))
    for name, count in none.items():
        print(f"       {name}: {count:,} steps with none, {many[name]:,} with {retained:,} retained")
    total = sum(many.values()) / sum(none.values())
    worst = max(many[name] / max(none[name], 200) for name in none)
    table.most(f"claim and sweep, {retained:,} retained over none", 1.2, [total, worst], "x")
