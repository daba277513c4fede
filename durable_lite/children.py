"""Runs that a run starts: their rows, and how their ends become its own steps' outputs and failures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .errors import ChildFailed, InvalidOption, InvalidPayload
from .failures import brief
from .job import Job, find_job
from .ports import Store
from .records import NewRun, Refusal, RunRow, StepRow
from .status import FINAL, Status
from .stepcall import StepCall, Stored
from .trigger import new_run

if TYPE_CHECKING:
    from .execution import Execution

__all__ = ["Children", "create_child"]

# What a child may end as so that a new try starts another.
_AGAIN = FINAL - {Status.COMPLETED}


class Children:
    """The children of one execution."""

    def __init__(self, execution: Execution) -> None:
        self._execution, self._engine = execution, execution.engine
        self._tried: dict[str, list[NewRun]] = {}  # a write that was cancelled may have been carried out

    def job_to_call(self, wanted: Any, options: Mapping[str, Any]) -> Job[Any, Any]:
        """The same, with options that leave no doubt which run is called."""
        for name in ("idempotency_key", "debounce_key", "on_busy"):
            if name in options:
                raise InvalidOption(name, "a call has one child for its key; this is for ctx.trigger")
        return self.job(wanted)

    def job(self, wanted: Any) -> Job[Any, Any]:
        """A job that this worker knows. `UnknownJob`."""
        return find_job(self._engine.jobs, wanted)

    async def start(self, path: str, job: Job[Any, Any], options: Mapping[str, Any], payload: Any) -> Stored:
        """Start a run that nobody waits for, along with the checkpoint that says so."""
        return Stored("null", self._new(path, job, payload, options, awaited=0))

    async def join(
        self, path: str, job: Job[Any, Any], options: Mapping[str, Any], many: bool, payloads: Sequence[Any]
    ) -> Stored:
        """Start one run for each payload, and wait for all. `ChildFailed` for the first that fails."""
        call = self._execution.calls.active[path]
        memo = self._execution.calls.memo.get(path)
        call.ref = None if memo is None else memo.ref
        if memo is None or memo.state != "waiting" or memo.attempt != self._execution.attempt:
            await self._start_all(call, job, payloads, options, many)
        ids = tuple((call.ref or "").split("\n")) if payloads else ()
        found = await self._execution.waits.children(call.own, path, ids) if ids else []
        rows = {row.id: row for row in found}
        for id in ids:
            if (row := rows.get(id)) is None or row.status in _AGAIN:
                raise _failure(id, job.name, row)
        texts = [rows[id].output or "null" for id in ids]
        return Stored(f"[{','.join(texts)}]" if many else texts[0])

    async def _start_all(
        self, call: StepCall, job: Job[Any, Any], payloads: Sequence[Any], options: Mapping[str, Any],
        many: bool,
    ) -> None:  # fmt: skip
        """Start children; in a new try those again that have ended otherwise than completed."""
        execution, before = self._execution, call.ref.split("\n") if call.ref else []
        tried = self._tried.get(call.path, [])
        kept: dict[str, RunRow] = {}
        if before:
            rows = await self._engine.persist(lambda: self._engine.store.get_runs(before))
            # A run of another parent, which an imported document may name, is none of our business.
            ours = [row for row in rows or () if row.parent_id == execution.run_id]
            kept = {row.id: row for row in ours if row.status not in _AGAIN}
        new = []
        for index, payload in enumerate(payloads):
            try:
                run = self._new(call.path, job, payload, options, awaited=1)
            except InvalidPayload as error:
                raise InvalidPayload(error.job, error.problems, index if many else None) from None
            if index < len(before) and before[index] in kept:
                run = run._replace(id=before[index])  # which the store then leaves as it is
            elif index < len(tried) and tried[index].id not in before:
                run = tried[index]
            new.append(run)
        step = StepRow(
            execution.run_id, call.path, None, "call", "waiting", call.name, None, None, None,
            execution.calls.failure_count(call.path), execution.attempt, execution.generation,
            self._engine.clock.now(), None, None, call.options.title,
        )  # fmt: skip
        if not new:
            return

        async def create(run_id: str, generation: int, row: StepRow) -> Refusal | None:
            return await _create(self._engine.store, call, run_id, generation, row, new)

        self._tried[call.path] = new
        if not await execution.write(create, step):
            await execution.refuse_call()
        del self._tried[call.path]
        execution.calls.memo[call.path] = step._replace(ref=call.ref)

    def _new(
        self, path: str, job: Job[Any, Any], payload: Any, options: Mapping[str, Any], awaited: int
    ) -> NewRun:
        engine, run = self._engine, self._execution.run
        limit = engine.max_value_bytes
        text = job.payload.encode(job.payload.validate(payload), limit=limit)
        run_id, now = engine.new_id(), engine.clock.now()
        new = new_run(run_id, now, job, text, options, run.environment, (run.id, self._execution.attempt))
        trigger = json.dumps({"kind": "run", "run": run.id, "step": path})
        return new._replace(trigger=trigger, parent_id=run.id, awaited=awaited)


async def create_child(
    store: Store, call: StepCall, run_id: str, generation: int, step: StepRow, new: NewRun
) -> Refusal | None:
    """Guarded: store a completed step and the run that it starts."""
    return await _create(store, call, run_id, generation, step, [new])


async def _create(
    store: Store, call: StepCall, run_id: str, generation: int, step: StepRow, new: Sequence[NewRun]
) -> Refusal | None:
    ref = "\n".join(one.id for one in new)
    created = await store.create_children(run_id, generation, step._replace(ref=ref), new)
    if isinstance(created, Refusal):
        return created
    call.ref = "\n".join(one.run.id for one in created)
    return None


def _failure(run_id: str, job: str, row: RunRow | None) -> ChildFailed:
    if row is None:
        return ChildFailed(run_id, job, "deleted", {"message": "its run is gone"})
    return ChildFailed(run_id, row.job, row.status, brief(row.error) if row.error else None)
