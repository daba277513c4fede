"""Deliberate defects in the engine and the stores: the simulation or the tests must catch each of them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MUTANTS", "Mutant"]


class Mutant(NamedTuple):
    """In `file` of `durable_lite/`, `before` becomes `after`; it is there exactly once."""

    name: str
    file: str
    before: str
    after: str


MUTANTS = (
    Mutant(
        "a checkpoint isn't guarded",
        "stores/memory.py",
        """        if refusal := self._refusal(run_id, generation):
            return refusal
        self._store_step(run_id, step)
""",
        """        self._store_step(run_id, step)
""",
    ),
    Mutant(
        "a failure isn't guarded",
        "stores/memory.py",
        """        if refusal := self._refusal(run_id, generation):
            return refusal
        if event not in self._events[run_id]:
""",
        """        if event not in self._events[run_id]:
""",
    ),
    Mutant(
        "a stale run keeps its generation",
        "stores/memory.py",
        "status=Status.STALE, claimable=1, ready_at=None, generation=row.generation + 1,",
        "status=Status.STALE, claimable=1, ready_at=None, generation=row.generation,",
    ),
    Mutant(
        "a claim keeps the generation",
        "stores/memory.py",
        "            generation=row.generation + 1, recoveries=recoveries,",
        "            generation=row.generation, recoveries=recoveries,",
    ),
    Mutant(
        "a beat that has changed is not seen: a run of a living worker is stale",
        "stores/memory.py",
        """            if lease is None or (lease.generation, lease.heartbeat_at) != (
                seen.generation,
                seen.heartbeat_at,
            ):
""",
        """            if lease is None:
""",
    ),
    Mutant(
        "a cancel leaves the lease",
        "stores/memory_runs.py",
        "if lease := self._leases.pop(row.id, None):",
        "if lease := self._leases.get(row.id):",
    ),
    Mutant(
        "a cancel doesn't reach children",
        "stores/memory.py",
        "families.append(self._end(child, Status.CANCELLED, now, EventType.CANCELLED, data))",
        "pass",
    ),
    Mutant(
        "the end of a child wakes nobody",
        "stores/memory_runs.py",
        "                self._wake(parent.id, now)\n",
        "                pass\n",
    ),
    Mutant(
        "a child that ends while its parent suspends is forgotten",
        "stores/memory_waits.py",
        "return came or ended or (left <= 0 and bool(children)), max(left, 0)",
        "return came, max(left, 0)",
    ),
    Mutant(
        "a token that is completed while its run suspends is forgotten",
        "stores/memory_waits.py",
        'came = any(token is None or token.state != "pending" for token in tokens)',
        "came = False",
    ),
    Mutant(
        "a completed token wakes nobody",
        "stores/memory_waits.py",
        """        if woken:
            self._wake(run.id, now)
        self.announce(Change(run.id, claimable=woken))
        return True
""",
        """        return True
""",
    ),
    Mutant(
        "a token can be completed anew",
        "stores/memory_waits.py",
        """        if token.state in ("completed", "failed"):
            return token
""",
        """        if token.state == "failed":
            return token
""",
    ),
    Mutant(
        "an event is delivered again",
        "stores/memory_events.py",
        "if earlier is not None and earlier[0] > event.at - EVENT_TTL:",
        "if earlier is not None and earlier[0] > event.at:",
    ),
    Mutant(
        "a repeated call has other children",
        "stores/memory_waits.py",
        "if stored and is_same(stored, step):",
        "if False and stored and is_same(stored, step):",
    ),
    Mutant(
        "a run that waits keeps its place in the queue",
        "stores/memory.py",
        """        elif not released:
            self._leave(run_id, s.at)
""",
        "",
    ),
    Mutant(
        "a queue lets in one too many",
        "stores/memory_queues.py",
        "self._taken(row.queue) >= queue.concurrency",
        "self._taken(row.queue) > queue.concurrency",
    ),
    Mutant(
        "a key is let go in waits",
        "stores/memory_queues.py",
        'keeps_key = row.status not in FINAL and (queue is None or queue.key_scope == "run")',
        "keeps_key = False",
    ),
    Mutant(
        "who leaves lets nobody in",
        "stores/memory_queues.py",
        """        if row.key_held and not keeps_key:
            self._promote_key(row.concurrency_key or "", now)
        self._promote(row.queue, now)
""",
        "",
    ),
    Mutant(
        "a settled attempt isn't stored",
        "stores/memory.py",
        "generation=generation + released, attempt=s.attempt,",
        "generation=generation + released,",
    ),
    Mutant(
        "an outer failure forgets the children of an inner call",
        "stores/memory.py",
        """                    if row.kind == "call":
                        steps[path] = row._replace(attempt=0)
                    else:
                        del steps[path]
""",
        """                    del steps[path]
""",
    ),
    Mutant(
        "a sweep looks at nobody",
        "sweeps.py",
        """        if stale:
            await store.mark_stale(stale, "heartbeat", now)
""",
        "",
    ),
    Mutant(
        "who slept gives up by the heartbeat that it knows of alone",
        "sweeps.py",
        "            known = await store.leases() if missed else []\n",
        "            known: list[Lease] = []\n",
    ),
    Mutant(
        "a claim whose answer was lost is nobody's",
        "sweeps.py",
        """                await store.mark_stale(ours, "claim lost", now)
""",
        """                pass
""",
    ),
    Mutant(
        "who claims again forgets that an answer was lost",
        "sweeps.py",
        """        if not worker.claiming:  # else some of these leases may be its answer: it looks again then
            worker.doubts = False
""",
        """        worker.doubts = False
        if not worker.claiming:
""",
    ),
    Mutant(
        "a sleep begins anew on replay",
        "calls.py",
        """        if (memo.wake_at or 0.0) <= self._engine.clock.now():
            self._inflight.touch()
            return
        self._inflight.enter(scope)
        try:
            await self._inflight.park(path, memo.wake_at or 0.0)
""",
        """        memo = memo._replace(wake_at=wake_at(self._engine.clock.now()))
        if (memo.wake_at or 0.0) <= self._engine.clock.now():
            self._inflight.touch()
            return
        self._inflight.enter(scope)
        try:
            await self._inflight.park(path, memo.wake_at or 0.0)
""",
    ),
    Mutant(
        "a sleep is over too early",
        "calls.py",
        """                if (memo.wake_at or 0.0) > self._engine.clock.now():
                    await self._inflight.park(path, memo.wake_at or 0.0)
""",
        """                if (memo.wake_at or 0.0) > self._engine.clock.now() + 2:
                    await self._inflight.park(path, memo.wake_at or 0.0)
""",
    ),
    Mutant(
        "a step answers before it is stored",
        "calls.py",
        """        if await execution.write(verb, row, *args):
            self.memo[path] = row if row.ref == call.ref else row._replace(ref=call.ref)
            call.answer(output)
""",
        """        call.answer(output)
        if await execution.write(verb, row, *args):
            self.memo[path] = row if row.ref == call.ref else row._replace(ref=call.ref)
""",
    ),
    Mutant(
        "a stored failure of an earlier attempt is raised again",
        "calls.py",
        'if memo.state == "failed" and memo.attempt == execution.attempt and memo.error is not None:',
        'if memo.state == "failed" and memo.error is not None:',
    ),
    Mutant(
        "a wait that is done over has another token",
        "tokens.py",
        'if memo is None or memo.state != "waiting" or memo.ref is None:',
        "if True:",
    ),
    Mutant(
        "children are started anew on replay",
        "children.py",
        'if memo is None or memo.state != "waiting" or memo.attempt != self._execution.attempt:',
        "if True:",
    ),
    Mutant(
        "a run goes on after a gap that it slept through",
        "worker.py",
        """            if any(execution.must_sweep() for execution in self.executing.values()):
                await self.sweeps.own()
            elif self""",
        """            if self""",
    ),
    Mutant(
        "a refused write is taken for done",
        "execution.py",
        "self.stop(Stop.CANCELLED if refusal.status == Status.CANCELLED else Stop.LOST)",
        "pass",
    ),
    Mutant(
        "SQLite: a write is told of before its commit",
        "stores/sqlite_writer.py",
        """                work = partial(self._commit, units)
            if self.threaded:
""",
        """                work = partial(self._commit, units)
            self._resolve(units)
            if self.threaded:
""",
    ),
    Mutant(
        "a write goes before its turn",
        "stores/memory_tables.py",
        """            raise too_early(run_id)
""",
        """            pass
""",
    ),
    Mutant(
        "a tick that others have done is done again",
        "stores/memory_schedules.py",
        "if self._schedules.get((seen.job, seen.name)) != seen or seen.paused:",
        "if seen.paused:",
    ),
    Mutant(
        "SQLite: a tick that others have done is done again",
        "stores/sqlite_schedules.py",
        "if _find(cursor, seen.job, seen.name) != seen or seen.paused:",
        "if seen.paused:",
    ),
    Mutant(
        "a schedule ticks too early",
        "ticker.py",
        "        last = times.last(now)",
        "        last = times.last(now + 0.5)",
    ),
    Mutant(
        "what is caught up in batches ends with the first",
        "ticker.py",
        "done = before if runs and before is not None else now",
        "done = now",
    ),
    Mutant(
        "writes are tried again as they failed",
        "guarded.py",
        "if next(iter(self._under_way)) != number:",
        "if self._waiting > 1:",
    ),
    Mutant(
        "SQLite: a write goes before its turn",
        "stores/sqlite_statements.py",
        """    {seq} - 1 <= runs.seq
    OR EXISTS""",
        """    1 OR {seq} - 1 <= runs.seq
    OR EXISTS""",
    ),
    Mutant(
        "SQLite: a checkpoint isn't guarded",
        "stores/sqlite_statements.py",
        "WHERE id = ?1 AND generation = ?{len(given) + 1} AND status = '{Status.EXECUTING}'",
        "WHERE id = ?1 AND generation >= ?{len(given) + 1} AND status = '{Status.EXECUTING}'",
    ),
    Mutant(
        "SQLite: an outer failure forgets waits, too",
        "stores/sqlite_statements.py",
        "state IN ('failed', 'retrying')",
        "state IN ('failed', 'retrying', 'waiting')",
    ),
    Mutant(
        "SQLite: a rate forgets what it has counted",
        "stores/sqlite_queues.py",
        "    return rate_moment(now, counted)\n",
        "    return now\n",
    ),
)
