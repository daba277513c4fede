"""All that a store lets one read, to compare before and after, or one store with another."""

from __future__ import annotations

from typing import Any

from durable_lite.ports import Store
from durable_lite.records import RunFilter, TokenFilter
from durable_lite.status import FINAL, Status

ALL = 10_000


async def everything(store: Store, *gone: str) -> dict[str, Any]:
    """By what it is; `gone` names runs to ask for that no list has. What has no order is sorted."""
    rows = await store.list_runs(RunFilter(limit=ALL))
    seen: dict[str, Any] = {
        "runs": rows,
        "tokens": await store.list_tokens(TokenFilter(limit=ALL)),
        "next_due": await store.next_due(),
        "leases": sorted(await store.leases()),
    }
    for id in sorted({*gone, *(row.id for row in rows)}):
        steps = await store.load_steps(id)
        seen[id] = {
            "run": await store.get_run(id),
            "completed": [step for step in steps if step.seq is not None],
            "open": sorted(step for step in steps if step.seq is None),
            "checkpoints": sorted(await store.load_checkpoints(id)),
            "events": await store.read_events(id, 0, ALL),
            "logs": await store.read_logs(id),
        }
        assert [step.seq is None for step in steps] == sorted(step.seq is None for step in steps)
    assert await store.get_runs([row.id for row in rows]) == rows
    holds(seen)
    return seen


def holds(seen: dict[str, Any]) -> None:
    """What is true of every store at every moment."""
    leases = {(lease.run_id, lease.generation, lease.worker) for lease in seen["leases"]}
    running = {(row.id, row.generation, row.worker) for row in seen["runs"] if row.status == Status.EXECUTING}
    assert leases == running
    keys = [(row.job, row.idempotency_key) for row in seen["runs"] if row.key_live]
    assert len(keys) == len(set(keys))
    assert None not in {key for _, key in keys}
    assert {token.run_id for token in seen["tokens"]} <= {row.id for row in seen["runs"]}
    for token in seen["tokens"]:
        assert (token.finished_at is None) == (token.state == "pending")
    for row in seen["runs"]:
        assert row.remaining is None or (row.status == Status.WAITING and row.remaining >= 0)
        of = seen[row.id]
        assert of["run"] == row
        assert [event.seq for event in of["events"]] == list(range(1, len(of["events"]) + 1)), row.id
        assert row.seq <= len(of["events"])
        assert (row.finished_at is not None) == (row.status in FINAL)
        assert not row.claimable or row.status in (Status.PENDING, Status.WAITING, Status.STALE)
        assert {step.path for step in of["completed"] + of["open"]} == {
            found.path for found in of["checkpoints"]
        }
