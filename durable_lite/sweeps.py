"""A worker's sweeps: runs that others lost become STALE, and its own after a gap that it slept through."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .records import Lease
from .staleness import LeaseWatch
from .stop import Stop

if TYPE_CHECKING:
    from .worker import Worker

__all__ = ["Sweeps"]

# How often to look while others hold leases and nothing is known of when they may be stale.
LOOK = 1.0


class Sweeps:
    """The sweeps of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._engine, self._clock = worker, worker.engine, worker.clock
        self._watch = LeaseWatch(worker.options.stale_after)
        self._own: asyncio.Task[None] | None = None
        self.foreign = False  # others hold leases, as far as we know

    def stale_in(self, monotonic: float) -> float:
        """Seconds until `others` may find something; while it fails it is only tried now and then."""
        found = self._watch.next_stale(self._clock.now(), monotonic)
        return LOOK if found is None or "sweep" in self._engine.failing else found

    async def own(self) -> None:
        """After a gap longer than `stale_after`: what we hold is stale until the store says otherwise."""
        if self._own is None or self._own.done():
            self._own = self._worker.spawn(self._sweep_own())
        await asyncio.shield(self._own)

    async def finished(self) -> None:
        """Return once none is under way."""
        if self._own is not None:
            await asyncio.gather(self._own, return_exceptions=True)

    async def _sweep_own(self) -> None:
        # What had finished before the gap is offered first, under the guard.
        for _ in range(3):
            await asyncio.sleep(0)
        worker = self._worker
        held = [execution for execution in worker.executing.values() if execution.must_sweep()]
        saving = [call.task for e in held for call in e.calls.active.values() if call.saving]
        await self._engine.settled(saving, worker.options.heartbeat_interval)
        leases = [Lease(e.run_id, e.generation, worker.id, e.beat_at, worker.via, e.executed()) for e in held]
        done = await self._engine.persist(lambda: self._give_up(leases))
        for execution in held:
            execution.stop(Stop.STALE if done and execution.run_id in done else Stop.LOST)

    async def _give_up(self, leases: list[Lease]) -> list[str]:
        """Mark these of ours as stale; the ids of those that are. If need be by the heartbeat that the store
        has: the answer to a beat may have been lost, or be on its way still.
        """
        store, worker, now = self._worker.store, self._worker.id, self._clock.now()
        done: list[str] = []
        left = leases
        while left:
            done += await store.mark_stale(left, "suspended", now)
            missed = {(lease.run_id, lease.generation) for lease in leases if lease.run_id not in done}
            known = await store.leases() if missed else []
            left = [one for one in known if one.worker == worker and (one.run_id, one.generation) in missed]
        return done

    async def others(self) -> None:
        """Mark what others lost: heartbeats too old, workers proven gone, claims whose answer was lost."""
        worker, store = self._worker, self._worker.store
        leases = await store.leases()
        foreign = [lease for lease in leases if lease.worker != worker.id]
        self.foreign = bool(foreign)
        now = self._clock.now()
        stale = self._watch.stale(foreign, now, self._clock.monotonic())
        if stale:
            await store.mark_stale(stale, "heartbeat", now)
        fresh = [lease for lease in foreign if lease not in stale]
        gone = await store.gone_workers({lease.worker for lease in fresh}) if fresh else set()
        if dead := [lease for lease in fresh if lease.worker in gone]:
            await store.mark_stale(dead, "worker gone", now)
        if not worker.claiming:  # else some of these leases may be its answer: it looks again then
            worker.doubts = False
            if ours := [lease for lease in leases if worker.forgot(lease)]:
                await store.mark_stale(ours, "claim lost", now)
