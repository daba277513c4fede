"""What a worker does to its store, told as it happens and without a read: claims, ends, take-overs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from ..ports import Store, Versions
from ..records import Beat, Claim, Lease, Refusal, Settlement, StepRow

__all__ = ["Observer", "observed"]


class Observer:
    """Hears of a worker's runs, each after it was committed."""

    def registered(self, worker: str) -> None:
        """This is the worker's id."""

    def claimed(self, claim: Claim) -> None:
        """The worker has taken a run."""

    def settled(self, run_id: str, settlement: Settlement) -> None:
        """It has let go of one: ended, suspended or released."""

    def stale(self, run_id: str, reason: str) -> None:
        """It has found a run whose worker is gone or too late."""

    def saved(self, run_id: str, path: str) -> None:
        """A step has finished, or failed, or a wait has begun."""

    def lost(self, run_id: str) -> None:
        """A run isn't its any more: cancelled, or taken over by another."""


def observed(store: Store, observer: Observer) -> Store:
    """`store`, with an observer."""
    return cast(Store, _Observed(store, observer))


class _Observed:
    """Passes everything on, and tells what comes back."""

    def __init__(self, inner: Store, observer: Observer) -> None:
        self._inner, self._observer = inner, observer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def register_worker(self, worker: str, info: str, now: float) -> str:
        via = await self._inner.register_worker(worker, info, now)
        self._observer.registered(worker)
        return via

    async def claim_runs(
        self, worker: str, jobs: Sequence[str], limit: int, now: float, via: str,
        versions: Versions | None = None,
    ) -> list[Claim]:  # fmt: skip
        claims = await self._inner.claim_runs(worker, jobs, limit, now, via, versions)
        for claim in claims:
            self._observer.claimed(claim)
        return claims

    async def settle(self, run_id: str, generation: int, settlement: Settlement) -> Refusal | None:
        refusal = await self._inner.settle(run_id, generation, settlement)
        if refusal is None:
            self._observer.settled(run_id, settlement)
        else:
            self._observer.lost(run_id)
        return refusal

    async def save_step(self, run_id: str, generation: int, step: StepRow) -> Refusal | None:
        refusal = await self._inner.save_step(run_id, generation, step)
        if refusal is None:
            self._observer.saved(run_id, step.path)
        return refusal

    async def beat(self, worker: str, beats: Sequence[Beat], now: float) -> dict[str, Refusal]:
        lost = await self._inner.beat(worker, beats, now)
        for run_id in lost:
            self._observer.lost(run_id)
        return lost

    async def mark_stale(self, leases: Sequence[Lease], reason: str, now: float) -> list[str]:
        done = await self._inner.mark_stale(leases, reason, now)
        for run_id in done:
            self._observer.stale(run_id, reason)
        return done


Store.register(_Observed)  # it has every verb, through `__getattr__`
