"""Any sequence of verbs keeps to the limits of queues and keys, and leaves no run behind."""

from __future__ import annotations

import sys
from collections import Counter

from hypothesis import given, note, settings

from durable_lite.records import RunFilter
from durable_lite.status import FINAL, Status
from tests.conformance.build import NOW, settle
from tests.conformance.script import JOBS, PERIOD, QUEUES, Draw, Script, answer, scripts
from tests.conformance.state import ALL, everything

VERBS = [
    "create", "enqueue", "enqueue", "enqueue", "limit", "pause", "spawn", "part", "end", "claim", "claim",
    "claim", "claim", "settle", "settle", "mark_stale", "cancel", "resume", "move", "take", "delete", "purge",
]  # fmt: skip
BEGIN = [Draw("limit", who, False, n, 3 * n, 0.0, False) for n, who in enumerate((0, 2))]


@settings(max_examples=settings.default.max_examples // (5 if sys.platform == "emscripten" else 2))
@given(script=scripts(*VERBS, min_size=20, max_size=60))
async def test_any_sequence_keeps_to_the_limits_and_leaves_nobody_behind(store, other, script):
    scripted, watch = Script(store, queues=True), Watch()
    for n, draw in enumerate([*BEGIN, *script]):
        if not (call := await scripted.call(draw)):
            continue
        note(repr(call))
        for _ in range(1 + draw.again):
            found = await answer((store, other)[n % 2], call)
            started = found if call.verb == "claim_runs" else []
            watch.look(await everything(store), [each.run for each in started if each.fresh])
    await all_go_on(store, watch, scripted.now)


class Watch:
    """What one look at a store doesn't show: how many started in a while, and who was let in."""

    def __init__(self):
        self.rates, self.starts, self.inside = {}, {}, Counter()

    def look(self, seen, fresh):
        """`seen`: everything; `fresh`: those that have just started."""
        queues = {state.queue.name: state.queue for state in seen["queues"]}
        for name in QUEUES:
            rate = queues[name].rate if name in queues else None
            if rate is None:  # starts before it are not remembered
                self.starts.pop(name, None)
            self.rates[name] = rate
        for row in fresh:
            if (rate := self.rates[row.queue]) is not None:
                starts = self.starts.setdefault(row.queue, [])
                starts.append(row.started_at)
                assert sum(at > row.started_at - PERIOD for at in starts) <= rate, (row.queue, starts)
        inside = Counter(row.queue for row in seen["runs"] if is_inside(row))
        for name, queue in queues.items():
            if queue.concurrency is not None:  # what was there before a limit may be more
                assert inside[name] <= max(queue.concurrency, self.inside[name]), (queue, inside)
        self.inside = inside
        keys = Counter(
            row.concurrency_key
            for row in seen["runs"]
            if row.concurrency_key and not row.parent_id and row.status in (Status.EXECUTING, Status.STALE)
        )
        assert set(keys.values()) <= {1}, keys


def is_inside(row):
    """Whether it executes, or has been interrupted in that."""
    released = row.status == Status.PENDING and row.claimable and row.interrupted
    return row.status in (Status.EXECUTING, Status.STALE) or bool(released)


async def all_go_on(store, watch, now):
    """Nothing is paused, and what executes completes: then each run gets its turn."""
    for name in QUEUES:
        await store.pause_queue(name, False, now)
    for row in await unfinished(store):
        if row.status == Status.EXECUTING:
            await settle(store, row.id, Status.COMPLETED, at=now)
    for _ in range(ALL):
        watch.look(await everything(store), [])
        due = await store.next_due()
        now = now if due is None else max(now, due)
        before = await unfinished(store)
        found = await store.claim_runs("w", [*JOBS, "z"], 3, now, "lease")
        watch.look(await everything(store), [each.run for each in found if each.fresh])
        for each in found:
            await settle(store, each.run.id, Status.COMPLETED, at=now)
        if found or due is not None:
            assert found or await unfinished(store) != before or await store.next_due() != due, "in vain"
            continue
        if not before:
            break
        parents = {row.parent_id for row in before if row.awaited}
        forlorn = [row for row in before if row.status == Status.WAITING and row.id not in parents]
        assert forlorn, before  # else they wait for each other
        for row in forlorn:  # nothing will ever wake it
            await store.cancel_run(row.id, now)
    assert now < NOW + 10_000


async def unfinished(store):
    return [row for row in await store.list_runs(RunFilter(limit=ALL)) if row.status not in FINAL]
