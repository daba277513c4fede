"""Who may be claimed in the memory store: places in queues, concurrency keys, and the lines for both.

A gated run that is due takes its concurrency key first, then a slot of its queue. Where one is taken it
stands in the line for that, and is QUEUED. Whoever lets go of a place lets the first in the line go on.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ..records import Change, QueueRow, QueueState, RunRow
from ..status import FINAL, READY, Status, check
from .memory_tables import MemoryTables
from .rows import goes_before, is_limited, is_shared, order, rate_moment

__all__ = ["MemoryQueues"]


class MemoryQueues(MemoryTables):
    """Admission, and the verbs on queues."""

    async def set_queues(self, queues: Sequence[QueueRow], now: float) -> None:
        for queue in queues:
            before = self._queues.get(queue.name)
            queue = queue._replace(paused=before.paused if before else 0)
            if queue != before:
                self._queues[queue.name] = queue
                self._gate(queue.name, now)

    async def pause_queue(self, name: str, paused: bool, now: float) -> None:
        queue = self._queues.get(name, QueueRow(name))
        if queue.paused != paused:
            self._queues[name] = queue._replace(paused=int(paused))
            self._gate(name, now)

    async def list_queues(self) -> list[QueueState]:
        return [
            QueueState(
                queue,
                sum(row.blocked == "queue" and row.queue == name for row in self._runs.values()),
                self._taken(name),
            )
            for name, queue in sorted(self._queues.items())
        ]

    # Taking places

    def _is_gated(self, row: RunRow) -> bool:
        return row.concurrency_key is not None or is_limited(self._queues.get(row.queue))

    def _ready(self, row: RunRow, now: float) -> None:
        """A run is due: it becomes claimable, or QUEUED."""
        freed: str | None = None
        if not row.key_held and is_shared(row, self._runs.get):
            row = row._replace(key_held=2)
        if row.concurrency_key is not None and not row.key_held:
            holders = self._holders(row.concurrency_key)
            if any(not goes_before(row, holder) for holder in holders):
                self._block(row, "key")
                return
            for holder in holders:
                freed = holder.queue if holder.slot else None
                self._block(holder._replace(key_held=0, slot=0), "key")
            row = row._replace(key_held=1)
        if is_limited(self._queues.get(row.queue)) and not row.slot:
            if any(order(one) < order(row) for one in self._next_in_line(row.queue, now)):
                self._block(row, "queue")  # a rate lets others start by now, who were here before
                self._promote(row.queue, now)
                self._promote(freed, now)
                return
            if self._is_full(row, now):
                unstarted = [
                    one for one in self._runs.values() if one.queue == row.queue and _is_unstarted(one)
                ]
                last = max(unstarted, key=order, default=None)
                if last is None or self._queues[row.queue].paused or order(last) < order(row):
                    self._block(row, "queue")
                    self._promote(freed, now)
                    return
                self._block(last._replace(slot=0), "queue")
            row = row._replace(slot=1)
            if self._queues[row.queue].period is not None:
                self._counted_to[row.queue] = self._moment(row.queue, now)
        if row.status == Status.QUEUED:
            check(row.id, row.status, Status.PENDING)
            row = row._replace(status=Status.PENDING, ready_at=None)
        self._runs[row.id] = row._replace(claimable=1, blocked=None)
        self.announce(Change(row.id, claimable=True))
        self._promote(freed, now)

    def _take_places(self, run_id: str, now: float) -> None:
        """A run has been made claimable, which it may not be yet."""
        row = self._runs[run_id]
        if row.gated and row.claimable:
            self._ready(row._replace(claimable=0), now)

    def _block(self, row: RunRow, place: str) -> None:
        if row.status != Status.QUEUED:
            check(row.id, row.status, Status.QUEUED)
        self._runs[row.id] = row._replace(
            status=Status.QUEUED, claimable=0, ready_at=row.deadline, blocked=place, remaining=None
        )
        self.announce(Change(row.id, claimable=False))

    def _is_full(self, row: RunRow, now: float) -> bool:
        queue = self._queues[row.queue]
        if queue.paused or (queue.concurrency is not None and self._taken(row.queue) >= queue.concurrency):
            return True
        if queue.rate is None or queue.period is None or row.started_at is not None:
            return False
        moment = self._moment(row.queue, now)
        started = [at for at in self._starts.get(row.queue, ()) if at + queue.period > moment]
        coming = sum(
            one.slot and one.queue == row.queue and one.started_at is None for one in self._runs.values()
        )
        return bool(len(started) + coming >= queue.rate)

    def _taken(self, queue: str) -> int:
        return sum(row.slot and row.queue == queue for row in self._runs.values())

    def _holders(self, key: str) -> list[RunRow]:
        return [row for row in self._runs.values() if row.key_held and row.concurrency_key == key]

    # Letting go of places

    def _leave(self, run_id: str, now: float) -> None:
        """A run waits, or has ended: others may have its places."""
        row = self._runs[run_id]
        if not row.gated:
            return
        queue = self._queues.get(row.queue)
        keeps_key = row.status not in FINAL and (queue is None or queue.key_scope == "run")
        self._runs[run_id] = row._replace(
            slot=0, key_held=row.key_held if keeps_key else 0, blocked=None,
        )  # fmt: skip
        if row.key_held and not keeps_key:
            self._promote_key(row.concurrency_key or "", now)
        self._promote(row.queue, now)

    def _promote(self, queue: str | None, now: float) -> None:
        """Let those go on that stand in a queue's line, for as long as there is a place."""
        while queue is not None and (found := self._next_in_line(queue, now)):
            self._ready(found[0], now)

    def _next_in_line(self, queue: str, now: float) -> list[RunRow]:
        """The first who may go on, if one may: a rate holds up those who haven't started, and no others."""
        line = [row for row in self._runs.values() if row.blocked == "queue" and row.queue == queue]
        limited = is_limited(self._queues.get(queue))
        free = (row for row in sorted(line, key=order) if not limited or not self._is_full(row, now))
        return [*itertools.islice(free, 1)]

    def _promote_key(self, key: str, now: float) -> None:
        line = [row for row in self._runs.values() if row.blocked == "key" and row.concurrency_key == key]
        if line and not self._holders(key):
            self._ready(min(line, key=order), now)

    def _gate(self, name: str, now: float) -> None:
        """The limits of a queue have changed."""
        limited = is_limited(self._queues[name])
        for row in list(self._runs.values()):
            if row.queue != name or row.status in FINAL:
                continue
            row = self._runs[row.id] = row._replace(gated=int(self._is_gated(row) or row.gated))
            held = row.status in (Status.EXECUTING, Status.STALE) or (row.claimable and row.interrupted)
            if held or not limited:
                self._runs[row.id] = row._replace(slot=int(limited))
            elif row.claimable:
                self._block(row._replace(slot=0), "queue")
        self._promote(name, now)

    def _next_place(self) -> float | None:
        """When a queue's rate lets the next run start."""
        moments = []
        for name, queue in self._queues.items():
            line = any(row.blocked == "queue" and row.queue == name for row in self._runs.values())
            if line and queue.period is not None and self._starts.get(name):
                moments.append(min(self._starts[name]) + queue.period)
        return min(moments, default=None)

    def _start(self, row: RunRow, now: float) -> float:
        """A run is claimed for the first time: when it has started."""
        queue = self._queues.get(row.queue)
        if queue is None or queue.period is None or not row.gated:
            return now
        moment = self._moment(row.queue, now)
        self._starts.setdefault(row.queue, []).append(moment)
        return moment

    def _moment(self, queue: str, now: float) -> float:
        return rate_moment(now, self._counted_to.get(queue, 0.0))

    def _promote_all(self, now: float) -> None:
        """Time has passed: rates let others start. Whoever else forgets starts wakes nobody."""
        for name, queue in self._queues.items():
            if queue.period is not None and name in self._starts:
                counted = [at for at in self._starts[name] if at + queue.period > now]
                if len(counted) < len(self._starts[name]):
                    self._counted_to[name] = max(now, self._counted_to.get(name, 0.0))
                self._starts[name] = counted
        for name in sorted(self._queues):
            self._promote(name, now)


def _is_unstarted(row: RunRow) -> bool:
    """Whether it has a slot, and was never claimed."""
    return bool(row.slot) and row.started_at is None and row.status in READY
