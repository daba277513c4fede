"""`memory:`: runs in dictionaries, for tests and as the plain statement of what each verb does."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence

from .. import events as ev
from ..errors import Conflict
from ..events import EventType, RunEvent
from ..listing import matches
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
    Refusal,
    RunFilter,
    RunRow,
    Settlement,
    StepRow,
)
from ..status import FINAL, KEEPS_KEY, OTHERS, RESUMABLE, Status, check
from .memory_schedules import MemorySchedules
from .rows import (
    arrival,
    deadline_passed,
    is_due,
    is_news,
    key_taken,
    leaving,
    not_resumable,
    order,
    recovered,
    token_taken,
)

__all__ = ["MemoryStore"]


class MemoryStore(MemorySchedules):
    """Keeps everything in this object: several `Durable`s of one process may share one."""

    # Runs

    async def create_runs(self, runs: Sequence[NewRun]) -> list[Created]:
        return self._create(runs)

    async def fork_run(self, run: NewRun, steps: Sequence[StepRow]) -> Created:
        known = run.id in self._runs
        [created] = self._create([run])
        if not known and created.run.id == run.id:
            for step in steps:
                self._store_step(run.id, step)
            self._runs[run.id] = self._runs[run.id]._replace(seq=1 + len(steps))
        return created._replace(run=self._runs[created.run.id])

    async def get_run(self, run_id: str) -> RunRow | None:
        return self._runs.get(run_id)

    async def get_runs(self, run_ids: Sequence[str]) -> list[RunRow]:
        return [self._runs[id] for id in run_ids if id in self._runs]

    async def list_runs(self, filter: RunFilter) -> list[RunRow]:
        f = filter
        rows = [
            row
            for row in self._runs.values()
            if matches(row, f) and (f.cursor is None or (row.created_at, row.id) < f.cursor)
        ]
        rows.sort(key=lambda row: (row.created_at, row.id), reverse=True)
        return rows[: f.limit]

    # A worker's claim on a run

    async def register_worker(self, worker: str, info: str, now: float) -> str:
        self._workers[worker] = info
        return "lease"

    async def unregister_worker(self, worker: str) -> None:
        self._workers.pop(worker, None)

    async def gone_workers(self, workers: Collection[str]) -> set[str]:
        return set()

    async def claim_runs(
        self, worker: str, jobs: Sequence[str], limit: int, now: float, via: str,
        versions: Versions | None = None,
    ) -> list[Claim]:  # fmt: skip
        known, wanted = set(jobs), versions or {}
        self._let_come(now)
        ready = [
            row
            for row in self._runs.values()
            if row.claimable
            and row.job in known
            and (row.job not in wanted or (row.version or "") in wanted[row.job])
        ]
        ready.sort(key=order)
        return [self._claim(row, worker, now, via) for row in ready[:limit]]

    async def lack_connections(self, jobs: Sequence[str]) -> None:
        for row in list(self._runs.values()):
            if row.claimable and row.status == Status.PENDING and row.job in jobs:
                check(row.id, row.status, Status.WAITING_ON_CONNECTIONS)
                self._runs[row.id] = row._replace(status=Status.WAITING_ON_CONNECTIONS)
                self.announce(Change(row.id, claimable=False))

    def _let_come(self, now: float) -> None:
        """What time brings: runs that are too late, that are due, that a rate lets start."""
        for row in self._in_order(lambda row: _is_expired(row, now)):
            self._end(row._replace(key_live=0), Status.EXPIRED, now, EventType.EXPIRED, {})
        for row in self._in_order(lambda row: row.status == Status.QUEUED and is_due(row, now)):
            row = row._replace(key_live=0, error=deadline_passed())
            self._end(row, Status.TIMED_OUT, now, EventType.TIMED_OUT, {"code": "deadline"})
        for row in self._in_order(lambda row: row.status != Status.QUEUED and is_due(row, now)):
            if row.gated:
                self._ready(row, now)
            else:
                self._runs[row.id] = row._replace(claimable=1)
        self._promote_all(now)

    def _in_order(self, fits: Callable[[RunRow], bool]) -> Iterator[RunRow]:
        """Those that fit, and do so still when it is their turn."""
        for found in sorted(filter(fits, self._runs.values()), key=order):
            if fits(row := self._runs[found.id]):
                yield row

    def _claim(self, row: RunRow, worker: str, now: float, via: str) -> Claim:
        check(row.id, row.status, Status.EXECUTING)
        checkpoints = [step.seq for step in self._steps[row.id].values() if step.seq is not None]
        recoveries, recovery_seq = recovered(row, max(checkpoints, default=0))
        self._runs[row.id] = row._replace(
            status=Status.EXECUTING, ready_at=None, claimable=0, worker=worker, stale_reason=None,
            generation=row.generation + 1, recoveries=recoveries, recovery_seq=recovery_seq,
            started_at=self._start(row, now) if row.started_at is None else row.started_at, last_seen_at=now,
            remaining=None, interrupted=0, expires_at=None,
        )  # fmt: skip
        self._leases[row.id] = Lease(row.id, row.generation + 1, worker, now, via, row.executed)
        self._record(
            row.id, now, EventType.CLAIMED, ev.claimed(worker, row.generation + 1, row.attempt, row.status)
        )
        if row.interrupted:
            self._record(row.id, now, EventType.RESUMED, ev.resumed(len(checkpoints), now, row.last_seen_at))
        self.announce(Change(row.id, claimable=False))
        return Claim(self._runs[row.id], row.status, fresh=row.started_at is None and not checkpoints)

    async def next_due(self) -> float | None:
        rows = self._runs.values()
        moments = [row.ready_at for row in rows if not row.claimable and row.ready_at is not None]
        moments += [row.expires_at for row in rows if row.expires_at is not None and row.status not in FINAL]
        place = self._next_place()
        return min(moments if place is None else [*moments, place], default=None)

    async def beat(self, worker: str, beats: Sequence[Beat], now: float) -> dict[str, Refusal]:
        lost: dict[str, Refusal] = {}
        for beat in beats:
            if refusal := self._refusal(beat.run_id, beat.generation):
                lost[beat.run_id] = refusal
                continue
            lease = self._leases[beat.run_id]
            self._leases[beat.run_id] = lease._replace(heartbeat_at=now, executed=beat.executed)
            self._flush(beat.run_id, beat.progress, beat.metadata, beat.logs)
        return lost

    async def leases(self) -> list[Lease]:
        return list(self._leases.values())

    async def mark_stale(self, leases: Sequence[Lease], reason: str, now: float) -> list[str]:
        done = []
        for seen in leases:
            lease = self._leases.get(seen.run_id)
            if lease is None or (lease.generation, lease.heartbeat_at) != (
                seen.generation,
                seen.heartbeat_at,
            ):
                continue
            row = self._end_lease(lease.run_id)
            check(row.id, row.status, Status.STALE)
            self._runs[row.id] = row._replace(
                status=Status.STALE, claimable=1, ready_at=None, generation=row.generation + 1,
                stale_reason=reason, last_seen_at=lease.heartbeat_at, executed=lease.executed,
                interrupted=1,
            )  # fmt: skip
            self._record(row.id, now, EventType.STALE, ev.stale(reason, lease.worker, lease.heartbeat_at))
            done.append(row.id)
            self.announce(Change(row.id, claimable=True))
        return done

    async def settle(self, run_id: str, generation: int, settlement: Settlement) -> Refusal | None:
        s = settlement
        row = self._runs.get(run_id)
        released = s.status == Status.PENDING
        same = row and (row.status, row.generation, row.last_seen_at) == (
            s.status,
            generation + released,
            s.at,
        )
        if same and s.status != Status.EXECUTING:
            return None  # an earlier try of this very call
        if refusal := self._refusal(run_id, generation):
            return refusal
        check(run_id, Status.EXECUTING, s.status)
        if s.status in OTHERS:
            raise Conflict(f"run {run_id} can't become {s.status} by its holder: that is for others")
        row = self._end_lease(run_id)
        final, (come, remaining) = s.status in FINAL, (False, None)
        if s.wakes is not None:
            come, remaining = self._outlook(s.wakes)
        self._runs[run_id] = row._replace(
            status=Status(s.status), generation=generation + released, attempt=s.attempt,
            executed=s.executed, ready_at=s.at if come else s.ready_at, remaining=remaining,
            claimable=int(released), last_seen_at=s.at, output=s.output, error=s.error,
            finished_at=s.at if final else None, interrupted=int(released),
            key_live=int(row.key_live and (not final or s.status in KEEPS_KEY)),
        )  # fmt: skip
        self._append(run_id, s.at, s.type, s.data)
        self._flush(run_id, s.progress, s.metadata, s.logs)
        self.announce(Change(run_id, claimable=not final))
        if final:
            self._ended(run_id, s.at)
        elif not released:
            self._leave(run_id, s.at)
        return None

    # Steps

    async def save_step(self, run_id: str, generation: int, step: StepRow) -> Refusal | None:
        if refusal := self._refusal(run_id, generation):
            return refusal
        self._store_step(run_id, step)
        self.announce(Change(run_id, claimable=False, step=True))
        return None

    async def save_failure(
        self, run_id: str, generation: int, step: StepRow, event: NewEvent
    ) -> Refusal | None:
        if refusal := self._refusal(run_id, generation):
            return refusal
        if event not in self._events[run_id]:
            self._check_turn(run_id, event.seq)
            steps, inner = self._steps[run_id], f"{step.path}/"
            for path, row in list(steps.items()):
                if path.startswith(inner) and row.state in ("failed", "retrying"):
                    if row.kind == "call":
                        steps[path] = row._replace(attempt=0)
                    else:
                        del steps[path]
            steps[step.path] = step
            self._events[run_id].append(event)
        self.announce(Change(run_id, claimable=False, step=True))
        return None

    async def load_checkpoints(self, run_id: str) -> list[Checkpoint]:
        return [
            Checkpoint(*(getattr(step, name) for name in Checkpoint._fields))
            for step in self._steps.get(run_id, {}).values()
        ]

    async def load_steps(self, run_id: str) -> list[StepRow]:
        steps = self._steps.get(run_id, {}).values()
        return sorted(steps, key=lambda step: (step.seq is None, step.seq or 0, step.started_at, step.path))

    # Steering from outside

    async def cancel_run(self, run_id: str, now: float) -> RunRow:
        row = self._existing(run_id)._replace(key_live=0)
        row = self._end(row, Status.CANCELLED, now, EventType.CANCELLED, {})
        families = [row]
        for parent in families:
            for child in list(self._runs.values()):
                if child.parent_id == parent.id and child.status not in FINAL:
                    data = ev.cancelled_with(parent.id)
                    child = self._runs[child.id]._replace(key_live=0)  # it may have got a place just now
                    families.append(self._end(child, Status.CANCELLED, now, EventType.CANCELLED, data))
        return row

    async def resume_run(self, run_id: str, now: float) -> RunRow:
        row = self._existing(run_id)
        if row.status not in RESUMABLE:
            raise not_resumable(run_id, row.status)
        if other := self._holder_of_key(row.job, row.idempotency_key, now):
            raise Conflict(f"run {run_id} can't resume: run {other.id} has its idempotency key now")
        self._expire_key(row.job, row.idempotency_key, now)
        passed = row.deadline is not None and row.deadline <= now
        self._runs[run_id] = row._replace(
            status=Status.PENDING, generation=row.generation + 1, attempt=row.attempt + 1,
            first_attempt=row.attempt + 1, recoveries=0, executed=0.0, output=None, error=None,
            finished_at=None, ready_at=None, claimable=1, key_live=int(row.idempotency_key is not None),
            deadline=None if passed else row.deadline, expires_at=None, gated=int(self._is_gated(row)),
            interrupted=int(row.started_at is not None),
        )  # fmt: skip
        self._record(run_id, now, EventType.RESUMED, {"by": "request", "attempt": row.attempt + 1})
        self._take_places(run_id, now)
        self.announce(Change(run_id, claimable=True))
        return self._runs[run_id]

    async def move_run(self, run_id: str, now: float) -> RunRow:
        row = self._existing(run_id)
        if row.status == Status.MOVED:
            return row
        data = leaving(
            row,
            waits=any(
                child.parent_id == run_id and child.awaited and child.status not in FINAL
                for child in self._runs.values()
            ),
            calls=any(
                step.kind == "call" and step.state == "waiting" for step in self._steps[run_id].values()
            ),
            awaited=self._is_awaited(row),
        )
        return self._end(row, Status.MOVED, now, EventType.MOVED, data)

    async def import_run(self, moved: Moved, now: float) -> RunRow:
        run_id = moved.run.id
        if here := self._runs.get(run_id):
            moments = {event.seq: event.at for event in self._events[run_id] if event.type == EventType.MOVED}
            if not is_news(moved, here, moments.get):
                return here
        row = arrival(moved.run, here, now)
        for token in moved.tokens:
            if self._tokens.get(token.id, token).run_id != run_id:
                raise token_taken(row, token.id)
        other = self._holder_of_key(row.job, row.idempotency_key, now) if row.key_live else None
        if other is not None and other.id != run_id:
            raise key_taken(row, other)
        if row.key_live:
            self._expire_key(row.job, row.idempotency_key, now)
        self._runs[run_id], self._events[run_id] = row, list(moved.events)
        self._steps[run_id] = {step.path: step for step in moved.steps}
        self._paths[run_id] = {step.seq: step.path for step in moved.steps if step.seq is not None}
        self._logs[run_id] = {(line.attempt, line.path, line.ordinal): line for line in moved.logs}
        others = {id: token for id, token in self._tokens.items() if token.run_id != run_id}
        self._tokens = others | {token.id: token for token in moved.tokens}
        self._runs[run_id] = row._replace(gated=int(self._is_gated(row)))
        self._record(run_id, now, EventType.MOVED, ev.moved_in())
        self._take_places(run_id, now)
        self.announce(Change(run_id, claimable=True))
        return self._runs[run_id]

    async def delete_run(self, run_id: str) -> None:
        row = self._existing(run_id)
        if row.status not in FINAL:
            raise Conflict(f"run {run_id} is {row.status}: cancel it before it is deleted")
        self._forget(run_id)
        self.announce(Change(run_id, claimable=False))

    async def purge(self, before: float, limit: int) -> int:
        old = [
            row
            for row in self._runs.values()
            if row.finished_at is not None and row.finished_at < before and not self._is_awaited(row)
        ]
        old.sort(key=lambda row: row.finished_at or 0.0)
        for row in old[:limit]:
            self._forget(row.id)
        return len(old[:limit])

    # Reading what happened

    async def read_events(self, run_id: str, after: int, limit: int) -> list[RunEvent]:
        found = [
            RunEvent(run_id, event.seq, event.at, event.type, json.loads(event.data))
            for event in self._events.get(run_id, ())
            if event.seq > after
        ]
        for step in self._steps.get(run_id, {}).values():
            if step.seq is not None and step.seq > after:
                data = ev.step_completed(step.path, step.name, step.started_at)
                at = step.finished_at or step.started_at
                found.append(RunEvent(run_id, step.seq, at, EventType.STEP_COMPLETED, data))
        found.sort(key=lambda event: event.seq or 0)
        return found[:limit]

    async def read_logs(self, run_id: str) -> list[LogRow]:
        rows = self._logs.get(run_id, {}).values()
        return sorted(rows, key=lambda row: (row.attempt, row.at, row.path, row.ordinal))

    async def set_meta(self, key: str, value: str) -> None:
        self._meta[key] = value

    async def get_meta(self, key: str) -> str | None:
        return self._meta.get(key)


def _is_expired(row: RunRow, now: float) -> bool:
    unstarted = row.started_at is None and row.status not in FINAL
    return unstarted and row.expires_at is not None and row.expires_at <= now
