"""Rows, short to write, and the ways to get a run where a test wants it.

The moment is 1000.0 unless a test says another one; the run is "r" and its job "job".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from durable_lite.events import EventType
from durable_lite.ports import Store
from durable_lite.records import (
    Beat,
    Change,
    Claim,
    Created,
    LogRow,
    NewEvent,
    NewRun,
    QueueRow,
    Refusal,
    RunRow,
    Settlement,
    StepRow,
    TokenRow,
)
from durable_lite.status import FINAL, OTHERS, Status
from tests.conformance.state import everything

NOW = 1000.0

# In this order `bring` can bring a run to each status: a claim takes whatever is claimable.
_LATE = (Status.STALE, Status.WAITING_ON_CONNECTIONS, Status.PENDING)
CLAIMABLE_LAST = [*sorted(set(Status) - {*_LATE}), *_LATE]

# The final statuses that the holder of a run gives it.
SETTLED = FINAL - OTHERS

# What a run can be that was claimed once.
STARTED = frozenset(Status) - {Status.EXPIRED}

# `bring` makes runs QUEUED in this queue, which is paused.
HELD = "held"

EVENT_OF = {
    Status.COMPLETED: EventType.COMPLETED,
    Status.FAILED: EventType.FAILED,
    Status.CANCELLED: EventType.CANCELLED,
    Status.TIMED_OUT: EventType.TIMED_OUT,
    Status.INVALID_PAYLOAD: EventType.FAILED,
    Status.UNRESOLVED_AUTH: EventType.FAILED,
    Status.MOVED: EventType.MOVED,
    Status.WAITING: EventType.WAITING,
    Status.PENDING: EventType.RELEASED,
}

# Each way in which a run ends that its parent awaits, and what it is then.
ENDS = {f"settle {status}": status for status in sorted(SETTLED)} | {"cancel_run": Status.CANCELLED}


def new_run(id: str = "r", **fields: Any) -> NewRun:
    at = fields.get("created_at", NOW)
    given = {
        "job": "job", "version": None, "queue": "default", "priority": 0, "created_at": at, "ready_at": at,
        "payload": "{}",
    }  # fmt: skip
    return NewRun(id=id, **(given | fields))


def step(path: str = "a", seq: int | None = None, run_id: str = "r", **fields: Any) -> StepRow:
    """A completed step if it has a `seq`, else one that waits for its next try."""
    done = seq is not None
    given = {
        "kind": "step", "state": "completed" if done else "retrying", "name": "work", "arguments": None,
        "output": '"done"' if done else None, "error": None if done else '{"type": "ValueError"}',
        "failures": 0 if done else 1, "attempt": 1, "generation": 1, "started_at": NOW,
        "finished_at": NOW + 0.5 if done else None, "wake_at": None if done else NOW + 60,
    }  # fmt: skip
    return StepRow(run_id=run_id, path=path, seq=seq, **(given | fields))


def wait(path: str = "t", run_id: str = "r", **fields: Any) -> StepRow:
    """A wait for the token that is called as its path is, until `token`'s deadline."""
    given = {
        "kind": "token", "state": "waiting", "name": None, "error": None, "failures": 0, "wake_at": NOW + 100,
        "ref": path,
    }  # fmt: skip
    return step(path, None, run_id, **(given | fields))


def token(id: str = "t", run_id: str = "r", **fields: Any) -> TokenRow:
    given = {"path": id, "kind": "token", "state": "pending", "created_at": NOW, "deadline": NOW + 100}
    return TokenRow(id=id, run_id=run_id, **(given | fields))


def event(seq: int, type: str = EventType.STEP_FAILED, data: str = '{"n": 1}', at: float = NOW) -> NewEvent:
    return NewEvent(seq, at, type, data)


def log(ordinal: int = 0, run_id: str = "r", **fields: Any) -> LogRow:
    given = {
        "attempt": 1,
        "path": "",
        "at": NOW,
        "level": "info",
        "message": f"line {ordinal}",
        "fields": "{}",
    }
    return LogRow(run_id=run_id, ordinal=ordinal, **(given | fields))


def settlement(status: Status, **fields: Any) -> Settlement:
    """Let go of a run."""
    at = fields.get("at", NOW)
    given = {
        "at": at, "type": EVENT_OF.get(status, EventType.WAITING), "data": '{"n": 1}', "attempt": 1,
        "executed": 0.0, "ready_at": at + 60 if status == Status.WAITING else None,
        "output": '"out"' if status == Status.COMPLETED else None,
        "error": '{"type": "E"}' if status in FINAL - {Status.COMPLETED, Status.CANCELLED} else None,
    }  # fmt: skip
    return Settlement(status=status, **(given | fields))


async def create(store: Store, id: str = "r", **fields: Any) -> RunRow:
    [created] = await store.create_runs([new_run(id, **fields)])
    return created.run


async def claim(
    store: Store, worker: str = "w", *, limit: int = 100, now: float = NOW, jobs: tuple[str, ...] = ("job",)
) -> list[Claim]:
    return await store.claim_runs(worker, jobs, limit, now, "lease")


async def ids(store: Store, **options: Any) -> list[str]:
    """Of those that a claim takes, in its order."""
    return [found.run.id for found in await claim(store, **options)]


async def executing(
    store: Store, id: str = "r", *, worker: str = "w", now: float = NOW, **fields: Any
) -> RunRow:
    """Create a run and claim it; there must be nothing else to claim."""
    await create(store, id, **({"created_at": now} | fields))
    [claimed] = await claim(store, worker, now=now)
    assert claimed.run.id == id
    return claimed.run


async def promise(store: Store, id: str = "t", run_id: str = "r", **fields: Any) -> TokenRow:
    """A token that an executing run creates."""
    row, made = await get(store, run_id), token(id, run_id, **fields)
    assert await store.create_token(run_id, row.generation, wait(id, run_id), made) is None
    return made


async def spawn(
    store: Store, *ids: str, parent: str = "r", path: str = "call", **fields: Any
) -> list[RunRow]:
    """Children that an executing run calls and will wait for, unless `fields` say `awaited=0`."""
    runs = [new_run(id, **({"parent_id": parent, "awaited": 1} | fields)) for id in ids]
    return [found.run for found in await call(store, runs, wait(path, parent, kind="call", ref=None))]


async def call(store: Store, runs: Sequence[NewRun], step: StepRow) -> list[Created]:
    row = await get(store, step.run_id)
    created = await store.create_children(row.id, row.generation, step, runs)
    assert not isinstance(created, Refusal)
    return created


async def family(store: Store, *ids: str, **fields: Any) -> None:
    """A parent that executes, as do its children; there must be nothing else to claim."""
    await executing(store)
    await spawn(store, *ids, **fields)
    assert [found.run.id for found in await claim(store)] == sorted(ids)


async def limit(store: Store, name: str = "default", now: float = NOW, **limits: Any) -> None:
    await store.set_queues([QueueRow(name, **limits)], now)


async def counts(store: Store, name: str = "default") -> tuple[int, int]:
    """How many runs stand in the queue's line, and how many have a place."""
    [state] = [state for state in await store.list_queues() if state.queue.name == name]
    return state.queued, state.taken


async def statuses(store: Store) -> dict[str, str]:
    """Of all runs, by their ids, once it is seen that everything holds."""
    return {row.id: str(row.status) for row in (await everything(store))["runs"]}


async def get(store: Store, id: str = "r") -> RunRow:
    row = await store.get_run(id)
    assert row is not None
    return row


async def settle(store: Store, id: str, status: Status, **fields: Any) -> RunRow:
    """End an executing run, or let go of it."""
    if status == Status.MOVED:
        return await store.move_run(id, fields.get("at", NOW))
    row = await get(store, id)
    done = settlement(status, **({"attempt": row.attempt} | fields))
    assert await store.settle(id, row.generation, done) is None
    return await get(store, id)


async def end(store: Store, id: str, how: str = "settle COMPLETED", at: float = NOW + 5) -> RunRow:
    """End an executing run in one of the ways that `ENDS` names."""
    return await (store.cancel_run(id, at) if how == "cancel_run" else settle(store, id, ENDS[how], at=at))


async def mark_stale(store: Store, id: str = "r", reason: str = "heartbeat", now: float = NOW) -> RunRow:
    found = [lease for lease in await store.leases() if lease.run_id == id]
    assert await store.mark_stale(found, reason, now) == [id]
    return await get(store, id)


async def beat(store: Store, row: RunRow, now: float, **fields: Any) -> None:
    """A heartbeat that must be accepted."""
    assert await store.beat("w", [Beat(row.id, row.generation, **({"executed": 0.0} | fields))], now) == {}


async def last_seq(store: Store, id: str) -> int:
    return (await store.read_events(id, 0, 10_000))[-1].seq or 0


async def types(store: Store, id: str = "r") -> list[str]:
    return [str(event.type) for event in await store.read_events(id, 0, 10_000)]


async def look(store: Store, now: float = NOW) -> None:
    """What time brings, without a claim: by a worker that knows none of the jobs."""
    assert await claim(store, now=now, jobs=("nobody's",)) == []


async def bring(store: Store, status: Status, id: str = "r", **fields: Any) -> RunRow:
    """Create a run and bring it to `status`; there must be nothing else to claim."""
    if status == Status.PENDING:
        return await create(store, id, **fields)
    if status == Status.WAITING_ON_CONNECTIONS:
        row = await create(store, id, **fields)
        await store.lack_connections([row.job])
        return await get(store, id)
    if status == Status.QUEUED:
        fields = {"queue": HELD} | fields
        await store.pause_queue(fields["queue"], True, NOW)
        return await create(store, id, **fields)
    if status == Status.EXPIRED:
        row = await create(store, id, **({"expires_at": NOW} | fields))
        await look(store, row.expires_at or NOW)
        return await get(store, id)
    await executing(store, id, **fields)
    return await lead(store, status, id)


async def lead(store: Store, status: Status, id: str = "r") -> RunRow:
    """Bring an executing run to a status of those in `STARTED`; its queue is paused then if it is QUEUED."""
    if status == Status.EXECUTING:
        return await get(store, id)
    if status == Status.STALE:
        return await mark_stale(store, id)
    if status == Status.CANCELLED:
        return await store.cancel_run(id, NOW)
    if status == Status.QUEUED:
        row = await settle(store, id, Status.WAITING, ready_at=NOW)
        await store.pause_queue(row.queue, True, NOW)
        await look(store)
        return await get(store, id)
    if status == Status.WAITING_ON_CONNECTIONS:  # released, and then nobody has them
        row = await settle(store, id, Status.PENDING)
        await store.lack_connections([row.job])
        return await get(store, id)
    return await settle(store, id, status)


class Ear(list[Change]):
    """Hears changes, and knows whether it was told of one."""

    async def heard(self, id: str, claimable: bool) -> bool:
        for _ in range(20):  # a hint may take a few turns of the loop
            await asyncio.sleep(0)
        told = any(change.run_id is None or change[:2] == (id, claimable) for change in self)
        self.clear()
        return told
