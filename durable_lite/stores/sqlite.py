"""`sqlite:`: runs in one SQLite file, shared by any number of processes of one machine."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from functools import partial
from typing import TypeVar

from ..errors import StoreError
from ..events import EventType, RunEvent, step_completed
from ..ports import Versions
from ..records import (
    Beat,
    Change,
    Checkpoint,
    Claim,
    Created,
    Lease,
    LogRow,
    Moved,
    NewEvent,
    NewRun,
    QueueRow,
    QueueState,
    Refusal,
    RunFilter,
    RunRow,
    ScheduleRow,
    Sent,
    SentEvent,
    Settlement,
    StepRow,
    TokenFilter,
    TokenRow,
    TriggerRow,
)
from . import sqlite_create as create
from . import sqlite_events as events
from . import sqlite_lists as lists
from . import sqlite_moves as moves
from . import sqlite_queues as lines
from . import sqlite_schedules as timed
from . import sqlite_statements as sql
from . import sqlite_waits as waits
from . import sqlite_writes as writes
from .sqlite_connection import SQLiteConnection
from .sqlite_schema import RESERVED

__all__ = ["SQLiteStore"]

T = TypeVar("T")
Step = TypeVar("Step", Checkpoint, StepRow)


class SQLiteStore(SQLiteConnection):
    """A SQLite file in WAL mode.

    `durability`: "strict" (a write that returned survives a power loss) or "relaxed" (it survives a
    killed process). `writer_thread`: whether writes go through a thread, where runs that are written
    at the same time share a commit; by default under "strict" only, and never without threads.
    `busy_limit`: seconds to wait while another process keeps the file locked.
    """

    # Runs

    async def create_runs(self, runs: Sequence[NewRun]) -> list[Created]:
        created: list[Created] = await self._write(partial(create.create_runs, runs=runs))
        return created

    async def fork_run(self, run: NewRun, steps: Sequence[StepRow]) -> Created:
        created: Created = await self._write(partial(create.fork_run, run=run, steps=steps))
        return created

    async def get_run(self, run_id: str) -> RunRow | None:
        return await self._read(lambda cursor: writes.find(cursor, run_id))

    async def get_runs(self, run_ids: Sequence[str]) -> list[RunRow]:
        return [RunRow._make(row) for row in await self._rows(sql.GET_RUNS, [json.dumps(list(run_ids))])]

    async def list_runs(self, filter: RunFilter) -> list[RunRow]:
        if filter.statuses is not None and not filter.statuses:
            return []
        rows = await self._rows(*lists.list_runs(filter))
        return [RunRow._make(row) for row in rows]

    # A worker's claim on a run

    async def register_worker(self, worker: str, info: str, now: float) -> str:
        lock = self._locks.identity
        register = partial(
            writes.register_worker, worker=worker, info=info, now=now, lock=lock,
            take=partial(self._locks.take, worker), gone=partial(self._locks.is_gone, identity=lock),
        )  # fmt: skip
        try:
            return "lock" if await self._write(register) else "lease"
        except StoreError:
            self._locks.release(worker)
            raise

    async def unregister_worker(self, worker: str) -> None:
        await self._execute(sql.FORGET_WORKER, worker)
        self._locks.release(worker)

    async def gone_workers(self, workers: Collection[str]) -> set[str]:
        if not workers:
            return set()
        rows = await self._rows(sql.NAMED_WORKERS, [json.dumps(list(workers))])
        return {worker for worker, slot, lock in rows if self._locks.is_gone(slot, lock)}

    async def claim_runs(
        self, worker: str, jobs: Sequence[str], limit: int, now: float, via: str,
        versions: Versions | None = None,
    ) -> list[Claim]:  # fmt: skip
        if not await self._read(lambda cursor: _any_work(cursor, jobs, now)):
            return []
        claim = partial(
            writes.claim_runs, worker=worker, jobs=jobs, limit=limit, now=now, via=via, versions=versions
        )
        claims: list[Claim] = await self._write(claim)
        return claims

    async def lack_connections(self, jobs: Sequence[str]) -> None:
        lacking = [job for job in jobs if await self._rows(sql.ANY_UNCONNECTED, [job])]
        if lacking:
            await self._write(partial(writes.lack_connections, jobs=lacking))

    async def next_due(self) -> float | None:
        [moments] = await self._rows(sql.NEXT_DUE)
        return min((moment for moment in moments if moment is not None), default=None)

    async def beat(self, worker: str, beats: Sequence[Beat], now: float) -> dict[str, Refusal]:
        if not beats:
            return {}
        lost: dict[str, Refusal] = await self._write(partial(writes.beat, beats=beats, now=now), urgent=True)
        return lost

    async def leases(self) -> list[Lease]:
        return [Lease._make(row) for row in await self._rows(sql.LEASES)]

    async def mark_stale(self, leases: Sequence[Lease], reason: str, now: float) -> list[str]:
        if not leases:
            return []
        done: list[str] = await self._write(partial(writes.mark_stale, leases=leases, reason=reason, now=now))
        return done

    async def settle(self, run_id: str, generation: int, settlement: Settlement) -> Refusal | None:
        settle = partial(writes.settle, run_id=run_id, generation=generation, settlement=settlement)
        refusal: Refusal | None = await self._write(settle)
        return refusal

    # Queues

    async def set_queues(self, queues: Sequence[QueueRow], now: float) -> None:
        if queues:
            await self._write(partial(lines.set_queues, queues=queues, now=now))

    async def pause_queue(self, name: str, paused: bool, now: float) -> None:
        await self._write(partial(lines.pause_queue, name=name, paused=paused, now=now))

    async def list_queues(self) -> list[QueueState]:
        return [QueueState(QueueRow._make(row[:-2]), *row[-2:]) for row in await self._rows(sql.QUEUES)]

    # Steps

    async def save_step(self, run_id: str, generation: int, step: StepRow) -> Refusal | None:
        if self._writer is not None and self._is_there:
            count = self._writer.write_now(*writes.saving(step, generation))
            if count:
                if self.steps_heard:
                    self.announce(Change(run_id, claimable=False, step=True))
                return None
            if count == 0:
                return await self._read(lambda cursor: writes.not_saved(cursor, run_id, generation, step.seq))
        save = partial(writes.save_step, run_id=run_id, generation=generation, step=step)
        refusal: Refusal | None = await self._write(save, single=True)
        return refusal

    async def save_failure(
        self, run_id: str, generation: int, step: StepRow, event: NewEvent
    ) -> Refusal | None:
        save = partial(writes.save_failure, run_id=run_id, generation=generation, step=step, event=event)
        refusal: Refusal | None = await self._write(save)
        return refusal

    async def load_checkpoints(self, run_id: str) -> list[Checkpoint]:
        rows = await self._rows(sql.CHECKPOINTS, [run_id])
        return _latest(list(map(Checkpoint._make, rows)))

    async def load_steps(self, run_id: str) -> list[StepRow]:
        rows = _latest(list(map(StepRow._make, await self._rows(sql.STEPS, [run_id]))))
        return sorted(rows, key=lambda row: (row.seq is None, row.seq or 0, row.started_at, row.path))

    # Tokens and children

    async def create_token(
        self, run_id: str, generation: int, step: StepRow, token: TokenRow
    ) -> Refusal | None:
        create = partial(waits.create_token, run_id=run_id, generation=generation, step=step, token=token)
        refusal: Refusal | None = await self._write(create)
        return refusal

    async def create_children(
        self, run_id: str, generation: int, step: StepRow, runs: Sequence[NewRun]
    ) -> list[Created] | Refusal:
        create = partial(waits.create_children, run_id=run_id, generation=generation, step=step, runs=runs)
        created: list[Created] | Refusal = await self._write(create)
        return created

    async def finish_token(
        self, token_id: str, state: str, output: str | None, error: str | None, now: float
    ) -> TokenRow:
        finish = partial(
            waits.finish_token, token_id=token_id, state=state, output=output, error=error, now=now
        )
        token: TokenRow = await self._write(finish)
        return token

    async def read_tokens(self, token_ids: Sequence[str], now: float) -> list[TokenRow]:
        tokens = await self._tokens(sql.GET_TOKENS, [json.dumps(list(token_ids))])
        late = [token for token in tokens if token.state == "pending" and token.deadline <= now]
        if late:
            await self._write(partial(waits.expire_tokens, tokens=late, now=now))
            tokens = await self._tokens(sql.GET_TOKENS, [json.dumps(list(token_ids))])
        return tokens

    async def list_tokens(self, filter: TokenFilter) -> list[TokenRow]:
        return await self._tokens(*lists.list_tokens(filter))

    async def _tokens(self, statement: str, values: Sequence[object]) -> list[TokenRow]:
        return [TokenRow._make(row) for row in await self._rows(statement, values)]

    # Events

    async def set_triggers(self, jobs: Sequence[str], triggers: Sequence[TriggerRow]) -> None:
        await self._write(partial(events.set_triggers, jobs=jobs, triggers=triggers))

    async def list_triggers(self, kind: str, name: str) -> list[TriggerRow]:
        return [TriggerRow._make(row) for row in await self._rows(sql.TRIGGERS, [kind, name])]

    async def send_event(self, event: SentEvent, runs: Sequence[NewRun]) -> Sent:
        sent: Sent = await self._write(partial(events.send_event, event=event, runs=runs))
        return sent

    # Schedules

    async def set_schedules(self, jobs: Sequence[str], schedules: Sequence[ScheduleRow]) -> None:
        await self._write(partial(timed.set_schedules, jobs=jobs, schedules=schedules))

    async def list_schedules(self) -> list[ScheduleRow]:
        return [ScheduleRow._make(row) for row in await self._rows(timed.SCHEDULES, [])]

    async def pause_schedule(self, job: str, name: str, paused: bool, now: float) -> None:
        await self._write(partial(timed.pause_schedule, job=job, name=name, paused=paused, now=now))

    async def tick(
        self, seen: ScheduleRow, next_at: float, last_at: float | None, runs: Sequence[NewRun]
    ) -> bool:
        done: bool = await self._write(
            partial(timed.tick, seen=seen, next_at=next_at, last_at=last_at, runs=runs)
        )
        return done

    # Steering from outside

    async def cancel_run(self, run_id: str, now: float) -> RunRow:
        row: RunRow = await self._write(partial(writes.cancel_run, run_id=run_id, now=now))
        return row

    async def resume_run(self, run_id: str, now: float) -> RunRow:
        row: RunRow = await self._write(partial(writes.resume_run, run_id=run_id, now=now))
        return row

    async def move_run(self, run_id: str, now: float) -> RunRow:
        row: RunRow = await self._write(partial(moves.move_run, run_id=run_id, now=now))
        return row

    async def import_run(self, moved: Moved, now: float) -> RunRow:
        row: RunRow = await self._write(partial(moves.import_run, moved=moved, now=now))
        return row

    async def delete_run(self, run_id: str) -> None:
        await self._write(partial(writes.delete_run, run_id=run_id))

    async def purge(self, before: float, limit: int) -> int:
        if not await self._rows(sql.OLD_RUNS, [before, 1]):
            return 0
        count: int = await self._write(partial(writes.purge, before=before, limit=limit))
        return count

    # Reading what happened

    async def read_events(self, run_id: str, after: int, limit: int) -> list[RunEvent]:
        return [_event(run_id, *row) for row in await self._rows(sql.EVENTS, [run_id, after, limit])]

    async def read_logs(self, run_id: str) -> list[LogRow]:
        return [LogRow._make(row) for row in await self._rows(sql.LOGS, [run_id])]

    async def set_meta(self, key: str, value: str) -> None:
        if key in RESERVED:
            raise StoreError(f"{self.path}: the fact {key!r} is the store's own")
        await self._execute(sql.SET_META, key, value)

    async def get_meta(self, key: str) -> str | None:
        rows = await self._rows(sql.GET_META, [key])
        return rows[0][0] if rows else None


def _any_work(cursor: sqlite3.Cursor, jobs: Sequence[str], now: float) -> bool:
    """Whether a claim would find or promote anything: asked without the write lock."""
    moments = cursor.execute(sql.NEXT_DUE).fetchone()
    if any(moment is not None and moment <= now for moment in moments):
        return True
    if cursor.execute(sql.START_OVER, (now,)).fetchone():
        return True
    return any(cursor.execute(sql.ANY_CLAIMABLE, (job,)).fetchone() for job in jobs)


def _latest(steps: list[Step]) -> list[Step]:
    """Steps with those that aren't completed first, less what has been completed since."""
    if not steps or steps[0].state == "completed":
        return steps
    return list({step.path: step for step in steps}.values())


def _event(
    run_id: str,
    seq: int,
    at: float,
    type: str | None,
    data: str | None,
    path: str,
    name: str | None,
    started_at: float,
) -> RunEvent:
    if type is None or data is None:
        return RunEvent(run_id, seq, at, EventType.STEP_COMPLETED, step_completed(path, name, started_at))
    return RunEvent(run_id, seq, at, type, json.loads(data))
