"""All that a store lets one read, to compare before and after, or one store with another."""

from __future__ import annotations

from typing import Any

from durable_lite.ports import Store
from durable_lite.records import QueueRow, RunFilter, RunRow, TokenFilter
from durable_lite.status import FINAL, READY, Status

ALL = 10_000


async def everything(store: Store, *gone: str) -> dict[str, Any]:
    """By what it is; `gone` names runs to ask for that no list has. What has no order is sorted."""
    rows = await store.list_runs(RunFilter(limit=ALL))
    seen: dict[str, Any] = {
        "runs": rows,
        "tokens": await store.list_tokens(TokenFilter(limit=ALL)),
        "next_due": await store.next_due(),
        "leases": sorted(await store.leases()),
        "queues": await store.list_queues(),
        "schedules": await store.list_schedules(),
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
        assert row.remaining is None or (row.status == Status.WAITING and row.remaining >= 0), row
        of = seen[row.id]
        assert of["run"] == row
        assert [event.seq for event in of["events"]] == list(range(1, len(of["events"]) + 1)), row.id
        assert row.seq <= len(of["events"])
        assert (row.finished_at is not None) == (row.status in FINAL)
        assert not row.claimable or row.status in (*READY, Status.WAITING, Status.STALE)
        assert {step.path for step in of["completed"] + of["open"]} == {
            found.path for found in of["checkpoints"]
        }
    queues = [state.queue for state in seen["queues"]]
    assert [queue.name for queue in queues] == sorted({queue.name for queue in queues})
    for state in seen["queues"]:
        rows = [row for row in seen["runs"] if row.queue == state.queue.name]
        assert state.taken == sum(row.slot for row in rows), state
        assert state.queued == sum(row.blocked == "queue" for row in rows), state
    places_hold(seen["runs"], {queue.name: queue for queue in queues})


def places_hold(rows: list[RunRow], queues: dict[str, QueueRow]) -> None:
    """Who has a place, who stands in line for one, and that nobody does so in vain."""
    for row in rows:
        assert (row.blocked is not None) == (row.status == Status.QUEUED), row
        limited = is_limited(queues.get(row.queue))
        if row.claimable or row.status == Status.EXECUTING:
            assert row.blocked is None, row
            assert row.slot == int(limited), row
            assert (row.key_held > 0) == (row.concurrency_key is not None), row
        else:
            assert row.slot == 0, row
        assert row.gated or not (limited or row.concurrency_key) or row.status in FINAL, row
        assert not row.key_held or (row.concurrency_key is not None and row.status not in FINAL), row
        assert row.status != Status.QUEUED or row.ready_at == row.deadline, row
        assert row.expires_at is None or row.started_at is None, row
        assert row.status != Status.EXPIRED or (row.expires_at is not None and not row.key_live), row
    for queue in queues.values():
        _queue_holds(queue, [row for row in rows if row.queue == queue.name])
    for key in {row.concurrency_key for row in rows}:
        _key_holds([row for row in rows if row.concurrency_key == key])


def _queue_holds(queue: QueueRow, rows: list[RunRow]) -> None:
    line = [row for row in rows if row.blocked == "queue"]
    taken = [row for row in rows if row.slot]
    # What was there before the limit may go on: it executes, or was interrupted in that.
    free = [row for row in taken if row.claimable and not row.interrupted]
    full = queue.concurrency is not None and len(taken) >= queue.concurrency
    assert not free or queue.concurrency is None or len(taken) <= queue.concurrency, queue
    assert not free or not queue.paused, queue
    if line and not queue.paused and not full:  # a rate holds up those that haven't started, and no others
        assert queue.rate is not None, line
        assert all(row.started_at is None for row in line), line
    unstarted = [row for row in free if row.started_at is None]
    assert not unstarted or not line or max(map(order, unstarted)) < min(map(order, line)), (unstarted, line)


def _key_holds(rows: list[RunRow]) -> None:
    line = [row for row in rows if row.blocked == "key"]
    holders = [row for row in rows if row.key_held]
    assert not line or holders, line
    own = [row for row in holders if row.key_held == 1]
    assert len(own) <= 1, own
    if own and own[0].started_at is None and own[0].status in (*READY, Status.QUEUED):
        assert all(order(own[0]) < order(row) for row in line), (own, line)


def is_limited(queue: QueueRow | None) -> bool:
    return queue is not None and (
        queue.concurrency is not None or queue.rate is not None or bool(queue.paused)
    )


def order(row: RunRow) -> tuple[int, float, str]:
    """Who goes first."""
    return -row.priority, row.created_at, row.id
