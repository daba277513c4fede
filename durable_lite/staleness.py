"""The wake rule and the sweep's judgement: when a heartbeat is too old, by whose clock."""

from __future__ import annotations

from collections.abc import Iterable

from .records import Lease

__all__ = ["LeaseWatch", "too_old"]


def too_old(heartbeat_at: float, now: float, stale_after: float) -> bool:
    """Whether a heartbeat is stale: at exactly `stale_after` it is, and so is one from the future."""
    return now - heartbeat_at >= stale_after or heartbeat_at - now > stale_after


class LeaseWatch:
    """Remembers other workers' leases, so that a clock that was set back can't keep a dead run fresh.

    A heartbeat that hasn't changed for `stale_after` on our own monotonic clock is stale, too.
    """

    def __init__(self, stale_after: float) -> None:
        self._stale_after = stale_after
        self._seen: dict[str, tuple[Lease, float]] = {}

    def stale(self, leases: Iterable[Lease], now: float, monotonic: float) -> list[Lease]:
        """Those of all current leases that are stale."""
        seen: dict[str, tuple[Lease, float]] = {}
        found = []
        for lease in leases:
            before = self._seen.get(lease.run_id)
            unchanged = before is not None and before[0][:4] == lease[:4]
            since = before[1] if before is not None and unchanged else monotonic
            seen[lease.run_id] = lease, since
            if too_old(lease.heartbeat_at, now, self._stale_after) or monotonic - since >= self._stale_after:
                found.append(lease)
        self._seen = seen
        return found

    def next_stale(self, now: float, monotonic: float) -> float | None:
        """Seconds until the first of the leases last seen would be stale."""
        return min(
            (
                self._stale_after - max(now - lease.heartbeat_at, monotonic - since)
                for lease, since in self._seen.values()
            ),
            default=None,
        )
