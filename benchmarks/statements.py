"""Statements and commits per step, counted by SQLite's own trace."""

from __future__ import annotations

import asyncio

from durable_lite import Durable
from durable_lite.stores.sqlite import SQLiteStore

from . import jobs
from .floor import Table, folder

STEPS = 500


async def _count(durability: str) -> tuple[float, float, float]:
    with folder() as where:
        store = SQLiteStore(str(where / "a.db"), durability=durability)
        await store.open()
        async with Durable(store, jobs) as app:
            await (await app.trigger(jobs.sequential, {"steps": 10})).result()
            seen: list[str] = []
            # The reading connection is polled for other processes' commits: that is no read of a step.
            for connection in store.connections:
                connection.set_trace_callback(seen.append)
            run = await app.trigger(jobs.sequential, {"steps": STEPS})
            await run.result()
            for connection in store.connections:
                connection.set_trace_callback(None)
        await store.close()
    words = [statement.split()[0].upper() for statement in seen]
    inserts = sum("INTO steps" in statement for statement in seen)
    # All that isn't a step is the trigger, the claim, the settle and the wait for the result.
    others = [statement for statement in seen if "PRAGMA data_version" not in statement]
    reads = sum(statement.lstrip().upper().startswith("SELECT") for statement in others)
    begins = words.count("BEGIN")
    return (
        inserts / STEPS,
        max(0, begins - 20) / STEPS if durability == "relaxed" else begins / STEPS,
        reads / STEPS,
    )


def run(table: Table, rounds: int) -> None:
    for durability in ("relaxed", "strict"):
        inserts, transactions, reads = asyncio.run(_count(durability))
        figure = f"{inserts:.2f} write statements, {reads:.2f} reads per step"
        table.add(
            f"statements per step, {durability}", "1 write, 1 commit, 0 reads", figure,
            inserts == 1.0 and reads < 0.05 and transactions <= 1.1,
        )  # fmt: skip
