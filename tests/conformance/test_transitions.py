"""The table of transitions: each verb goes from exactly the statuses that it says."""

import pytest

from durable_lite.errors import Conflict
from durable_lite.moving import gather
from durable_lite.records import Lease, QueueRow, Refusal
from durable_lite.status import FINAL, OTHERS, TRANSITIONS, UNFINISHED, Status
from durable_lite.stores.memory import MemoryStore
from tests.conformance.build import NOW, bring, claim, get, look, settlement
from tests.conformance.state import everything


def _settling(status):
    async def verb(store, row):
        done = settlement(status, at=NOW + 1, ready_at=NOW + 60 if status == Status.WAITING else None)
        return await store.settle("r", row.generation, done) is None

    return verb


QUEUE = QueueRow("q", concurrency=1)
SOON = {"queue": "q", "deadline": NOW + 70, "expires_at": NOW + 80}  # a wait lasts until NOW + 60

# No event says these: they come and go.
SILENT = {
    ("PENDING", "QUEUED"), ("WAITING", "QUEUED"), ("QUEUED", "PENDING"),
    ("PENDING", "WAITING_ON_CONNECTIONS"), ("WAITING_ON_CONNECTIONS", "QUEUED"),
}  # fmt: skip


async def _claim(store, row):
    return bool(await claim(store, now=NOW + 60 if row.status == Status.WAITING else NOW))


async def _claim_early(store, row):
    return bool(await claim(store, now=NOW + 59.9 if row.status == Status.WAITING else NOW))


def _looking(target, now, paused=None):
    async def verb(store, row):
        """What time does, or a queue that is paused, or isn't any more."""
        [state] = await store.list_queues()
        if paused is not None:
            await store.pause_queue("q", paused, NOW)
        waits = row.status == Status.WAITING and paused is None
        await look(store, NOW + 59.9 if waits else now)
        done = (await get(store)).status == target != row.status
        if not done:
            await store.pause_queue("q", bool(state.queue.paused), NOW)
        return done

    return verb


async def _lack(store, row):
    await store.lack_connections(["job"])
    return (await get(store)).status == Status.WAITING_ON_CONNECTIONS != row.status


async def _mark_stale(store, row):
    lease = Lease("r", row.generation, row.worker or "w", row.last_seen_at or NOW, "lease", 0.0)
    return bool(await store.mark_stale([lease], "heartbeat", NOW))


async def _cancel(store, row):
    await store.cancel_run("r", NOW)
    return True


async def _resume(store, row):
    await store.resume_run("r", NOW)
    return True


async def _move(store, row):
    return row.status != Status.MOVED and bool(await store.move_run("r", NOW))


def _import(status):
    async def verb(store, row):
        """What the run itself has left with, or else a stranger of its name."""
        moved = await gather(store, row) if row.status == Status.MOVED else await elsewhere(store)
        moved = moved._replace(run=moved.run._replace(status=status, ready_at=NOW + 60))
        return (await store.import_run(moved, NOW)).status == status

    return verb


async def elsewhere(store):
    copy = MemoryStore()
    await bring(copy, Status.PENDING)
    return await gather(copy, await copy.move_run("r", NOW - 1))


# verb: how, what the run becomes, and from which statuses the verb is the table's.
VERBS = {
    "claim": (_claim, Status.EXECUTING, set(Status)),
    "claim early": (_claim_early, Status.EXECUTING, set(Status) - {Status.WAITING}),
    "lack connections": (_lack, Status.WAITING_ON_CONNECTIONS, set(Status)),
    "mark_stale": (_mark_stale, Status.STALE, set(Status)),
    "pause": (_looking(Status.QUEUED, NOW + 60, True), Status.QUEUED, set(Status)),
    "go on": (_looking(Status.PENDING, NOW, False), Status.PENDING, {Status.QUEUED}),
    "be late": (_looking(Status.EXPIRED, NOW + 80), Status.EXPIRED, set(Status)),
    "pass the deadline": (_looking(Status.TIMED_OUT, NOW + 70), Status.TIMED_OUT, {Status.QUEUED}),
    "cancel": (_cancel, Status.CANCELLED, set(Status)),
    "resume": (_resume, Status.PENDING, set(FINAL) - {Status.MOVED}),
    "move": (_move, Status.MOVED, set(Status)),
    "import": (_import(Status.PENDING), Status.PENDING, {Status.MOVED}),
    "import of a waiting one": (_import(Status.WAITING), Status.WAITING, {Status.MOVED}),
    **{
        f"settle {status}": (_settling(status), status, {Status.EXECUTING})
        for status in Status
        if status not in OTHERS
    },
}


@pytest.mark.parametrize("status", sorted(Status))
async def test_a_verb_does_what_the_table_has_and_nothing_else(store, status):
    await store.set_queues([QUEUE], NOW)
    for verb, (act, target, its) in VERBS.items():
        row = await bring(store, status, **SOON)
        before = await everything(store)
        try:
            done = await act(store, row)
        except Conflict:
            done = False
        assert done == (status in its and target in TRANSITIONS[status]), verb
        after = await everything(store)  # which holds its own
        if done:
            now = after["r"]["run"]
            assert now.status == target, verb
            assert now.generation >= row.generation
            told = len(after["r"]["events"]) > len(before["r"]["events"])
            assert told != ((row.status, target) in SILENT), verb
        else:
            assert after == before, verb
        if after["r"]["run"].status in UNFINISHED:
            await store.cancel_run("r", NOW)
        await store.delete_run("r")
        await store.pause_queue("q", False, NOW)


def test_each_pair_of_the_table_has_a_verb():
    pairs = {(old, target) for _, target, its in VERBS.values() for old in its if target in TRANSITIONS[old]}
    assert pairs == {(old, new) for old, targets in TRANSITIONS.items() if old for new in targets}


@pytest.mark.parametrize("status", sorted(Status))
async def test_a_settle_is_refused_where_nobody_holds_the_run(store, status):
    row = await bring(store, status)
    late = settlement(Status.EXECUTING)
    if status == Status.EXECUTING:
        with pytest.raises(Conflict):
            await store.settle("r", row.generation, late)
    else:
        assert await store.settle("r", row.generation, late) == Refusal(status, row.generation)


@pytest.mark.parametrize("status", sorted(Status))
async def test_delete_is_for_final_runs(store, status):
    await bring(store, status)
    before = await everything(store)
    if status in UNFINISHED:
        with pytest.raises(Conflict):
            await store.delete_run("r")
        assert await everything(store) == before
    else:
        await store.delete_run("r")
        assert await store.get_run("r") is None
