"""Queues: how many of their runs execute at a time, who waits for a place, and who gets it."""

import asyncio

import pytest

from durable_lite.moving import gather
from durable_lite.records import Change, Lease, QueueRow, QueueState, RunFilter, Wakes
from durable_lite.status import Status
from durable_lite.stores.memory import MemoryStore
from tests.conformance.build import (
    ENDS,
    NOW,
    Ear,
    claim,
    counts,
    create,
    end,
    executing,
    family,
    get,
    ids,
    limit,
    look,
    mark_stale,
    new_run,
    settle,
    settlement,
    spawn,
    statuses,
    types,
)
from tests.conformance.state import everything


async def one_of_two(store, **second):
    """In a queue where one executes at a time: "a" does, and "b" is QUEUED."""
    await limit(store, concurrency=1)
    await executing(store, "a")
    await create(store, "b", **second)
    assert await statuses(store) == {"a": "EXECUTING", "b": "QUEUED"}


# Concurrency


async def test_no_more_execute_than_a_queue_lets(store, other):
    await limit(store, concurrency=2)
    made = [await create(handle, id) for handle, id in zip((store, other) * 3, "abcde", strict=False)]
    assert [(row.status, row.claimable, row.blocked) for row in made] == [
        ("PENDING", 1, None), ("PENDING", 1, None), *[("QUEUED", 0, "queue")] * 3,
    ]  # fmt: skip
    assert await ids(store, limit=1) == ["a"]
    assert await ids(other, worker="v") == ["b"]
    assert await ids(store) == []
    assert await counts(other) == (3, 2)
    await settle(other, "b", Status.COMPLETED)
    assert await statuses(store) == {
        "a": "EXECUTING", "b": "COMPLETED", "c": "PENDING", "d": "QUEUED", "e": "QUEUED",
    }  # fmt: skip
    assert await ids(store) == ["c"]
    for id in "ca":
        await settle(store, id, Status.COMPLETED)
    assert await ids(other) == ["d", "e"]
    assert await counts(store) == (0, 2)


@pytest.mark.parametrize("how", ENDS)
async def test_who_ends_lets_the_first_of_the_line_go_on(store, how):
    await one_of_two(store)
    await create(store, "c")
    before = await get(store, "b")
    await end(store, "a", how)
    assert await get(store, "b") == before._replace(status="PENDING", claimable=1, slot=1, blocked=None)
    assert await statuses(store) == {"a": ENDS[how], "b": "PENDING", "c": "QUEUED"}
    assert await types(store, "b") == ["run.triggered"]
    [found] = await claim(store, now=NOW + 5)
    assert (found.run.id, found.status, found.fresh) == ("b", "PENDING", True)


@pytest.mark.parametrize("error", [None, '{"type": "E"}'], ids=["wait", "back-off"])
async def test_a_run_that_waits_holds_no_place(store, error):
    await one_of_two(store)
    await settle(store, "a", Status.WAITING, error=error)
    assert await statuses(store) == {"a": "WAITING", "b": "PENDING"}
    assert await ids(store) == ["b"]


async def test_a_run_that_is_due_waits_for_a_place(store):
    await one_of_two(store)
    await settle(store, "a", Status.WAITING, ready_at=NOW + 7, attempt=2, executed=1.5)
    await claim(store)
    await look(store, NOW + 7)
    assert await statuses(store) == {"a": "QUEUED", "b": "EXECUTING"}
    assert await ids(store, now=NOW + 100) == []
    await settle(store, "b", Status.COMPLETED)
    assert await types(store, "a") == ["run.triggered", "run.claimed", "run.waiting"]
    [found] = await claim(store)
    assert (found.run.id, found.status, found.fresh) == ("a", "PENDING", False)
    assert (found.run.attempt, found.run.executed, found.run.started_at) == (2, 1.5, NOW)
    assert (await types(store, "a"))[3:] == ["run.claimed"]  # nothing was interrupted


async def test_what_wakes_a_run_that_is_queued_is_forgotten(store):
    """It was due: what else it waited for is no longer of interest."""
    await limit(store, concurrency=2)
    await family(store, "a")
    await create(store, "b")
    await settle(store, "r", Status.WAITING, wakes=Wakes(children=("a",), all=True), ready_at=NOW + 1)
    await claim(store)
    await look(store, NOW + 1)
    before = await get(store)
    assert (before.status, before.remaining, before.ready_at) == ("QUEUED", None, None)
    await settle(store, "a", Status.COMPLETED)
    after = await get(store)
    assert (after.status, after.claimable, after.ready_at) == ("PENDING", 1, None)


@pytest.mark.parametrize("status", [Status.STALE, Status.PENDING], ids=["stale", "released"])
async def test_who_was_interrupted_keeps_its_place(store, status):
    await one_of_two(store, priority=9)
    await (mark_stale(store, "a") if status == Status.STALE else settle(store, "a", status))
    assert await statuses(store) == {"a": status, "b": "QUEUED"}
    assert await counts(store) == (1, 1)
    assert await ids(store) == ["a"]
    assert (await types(store, "a"))[-1] == "run.resumed"


async def test_a_resumed_run_takes_a_place_again(store):
    await one_of_two(store)
    await settle(store, "a", Status.FAILED)
    await claim(store)
    row = await store.resume_run("a", NOW + 9)
    assert (row.status, row.claimable, row.attempt, row.blocked) == ("QUEUED", 0, 2, "queue")
    assert row == await get(store, "a")
    await settle(store, "b", Status.COMPLETED)
    assert await ids(store) == ["a"]
    assert (await types(store, "a"))[-2:] == ["run.claimed", "run.resumed"]


@pytest.mark.parametrize("status", [Status.PENDING, Status.WAITING])
@pytest.mark.parametrize("free", [True, False])
async def test_a_run_that_arrives_takes_a_place(store, status, free):
    elsewhere = MemoryStore()
    await executing(elsewhere)
    if status == Status.WAITING:
        await settle(elsewhere, "r", status, ready_at=NOW + 5)
    moved = await gather(elsewhere, await elsewhere.move_run("r", NOW))
    await limit(store, concurrency=1)
    if not free:
        await executing(store, "x")
    row = await store.import_run(moved, NOW + 5)
    assert row == await get(store)
    assert (row.status, row.claimable, row.slot, row.gated) == (status if free else "QUEUED", free, free, 1)
    assert await ids(store) == (["r"] if free else [])


async def test_queues_do_not_concern_each_other(store):
    await limit(store, "one", concurrency=1)
    await limit(store, "two", concurrency=2)
    for queue in ("one", "two", "free", "One"):
        await store.create_runs([new_run(f"{queue} {n}", queue=queue) for n in range(3)])
    assert sorted(await ids(store)) == sorted(
        ["one 0", "two 0", "two 1", *(f"{queue} {n}" for queue in ("free", "One") for n in range(3))]
    )
    assert (await counts(store, "one"), await counts(store, "two")) == ((2, 1), (1, 2))


async def test_a_job_may_call_itself_in_a_queue_of_one(store):
    await limit(store, concurrency=1)
    await executing(store, "0")
    for above, id in ("01", "12", "23"):
        assert [row.status for row in await spawn(store, id, parent=above)] == ["QUEUED"]
        await settle(store, above, Status.WAITING, wakes=Wakes(children=(id,)), ready_at=None)
        assert await ids(store) == [id]
    for id in "3210":
        await settle(store, id, Status.COMPLETED)
        assert await ids(store) == ([] if id == "0" else [str(int(id) - 1)])


# Order


async def test_the_line_is_in_the_order_of_claims(store):
    await limit(store, concurrency=1)
    await executing(store, "first", created_at=NOW - 10)
    runs = [
        new_run("d", priority=0, created_at=NOW - 1), new_run("c", created_at=NOW - 2), new_run("b", created_at=NOW - 2),
        new_run("a", priority=-5, created_at=NOW - 9), new_run("z", priority=7, created_at=NOW),
    ]  # fmt: skip
    await store.create_runs(runs)
    last, order = "first", []
    for _ in runs:
        await settle(store, last, Status.COMPLETED)
        [last] = await ids(store)
        order.append(last)
    assert order == ["z", "b", "c", "d", "a"]


@pytest.mark.parametrize("before", [{"priority": 1}, {"created_at": NOW - 1}, {"id": "a"}])
async def test_a_new_run_goes_before_one_that_was_never_claimed(store, before):
    await limit(store, concurrency=2)
    old = [await create(store, id) for id in ("m", "n")]
    [created] = await store.create_runs([new_run(**({"id": "z"} | before))])
    assert created.run.status == "PENDING"
    assert await statuses(store) == {"m": "PENDING", "n": "QUEUED", created.run.id: "PENDING"}
    assert await get(store, "m") == old[0]
    assert await ids(store) == [created.run.id, "m"]


@pytest.mark.parametrize("fields", [{}, {"priority": -1}, {"created_at": NOW + 1, "id": "a"}])
async def test_a_new_run_that_comes_later_in_order_goes_behind(store, fields):
    await limit(store, concurrency=1)
    await create(store, "m")
    assert (await create(store, **({"id": "z"} | fields))).status == "QUEUED"
    assert (await get(store, "m")).status == "PENDING"


@pytest.mark.parametrize("status", [Status.EXECUTING, Status.STALE, Status.PENDING])
async def test_a_new_run_goes_before_none_that_has_started(store, status):
    await limit(store, concurrency=1)
    row = await executing(store, "m")
    if status == Status.STALE:
        row = await mark_stale(store, "m")
    if status == Status.PENDING:
        row = await settle(store, "m", status)
    assert (await create(store, "a", priority=9)).status == "QUEUED"
    assert await get(store, "m") == row


async def test_who_is_due_goes_before_one_that_was_never_claimed(store):
    """And not the other way round: it has begun."""
    await limit(store, concurrency=1)
    await executing(store, "old", priority=1)
    await settle(store, "old", Status.WAITING, ready_at=NOW + 5)
    await create(store, "new")
    await look(store, NOW + 5)
    assert await statuses(store) == {"old": "WAITING", "new": "QUEUED"}
    assert (await create(store, "urgent", priority=9)).status == "QUEUED"
    assert await ids(store, now=NOW + 5) == ["old"]


async def test_those_due_at_once_are_taken_in_order(store):
    """However they were stored, and though the later ones have begun."""
    for id, priority in (("a", 0), ("b", 5), ("c", 1)):
        await executing(store, id, priority=priority)
        await settle(store, id, Status.WAITING, ready_at=NOW + 10 - priority)
    await limit(store, concurrency=2)
    await look(store, NOW + 60)
    assert await statuses(store) == {"a": "QUEUED", "b": "WAITING", "c": "WAITING"}
    assert await ids(store, now=NOW + 60) == ["b", "c"]


async def test_a_delayed_run_takes_a_place_when_it_is_due(store):
    await limit(store, concurrency=1)
    late = await create(store, "late", ready_at=NOW + 5, priority=9)
    assert (late.status, late.claimable, late.ready_at) == ("PENDING", 0, NOW + 5)
    assert await counts(store) == (0, 0)
    await executing(store, "now")
    assert await ids(store, now=NOW + 4.9) == []
    assert (await get(store, "late")).status == "PENDING"
    await look(store, NOW + 5)
    assert await statuses(store) == {"late": "QUEUED", "now": "EXECUTING"}
    await settle(store, "now", Status.COMPLETED)
    assert await ids(store, now=NOW + 5) == ["late"]


# Reading, hints, repeated calls


async def test_queues_are_listed_by_name(store, other):
    assert await store.list_queues() == []
    rows = [
        QueueRow("b", concurrency=2), QueueRow("a", rate=3, period=0.5),
        QueueRow("B", concurrency=1, rate=1, period=60.0, key_scope="execution"),
    ]  # fmt: skip
    await store.set_queues(rows, NOW)
    await store.set_queues([], NOW)
    await store.pause_queue("c", True, NOW)
    await store.pause_queue("d", False, NOW)
    await store.pause_queue("a", True, NOW)
    await store.pause_queue("a", False, NOW)
    await store.create_runs([new_run(f"{n}", queue="b") for n in range(5)])
    await store.create_runs([new_run("none", queue="free")])
    assert await other.list_queues() == [
        QueueState(rows[2], 0, 0), QueueState(rows[1], 0, 0), QueueState(rows[0], 3, 2),
        QueueState(QueueRow("c", paused=1), 0, 0),
    ]  # fmt: skip
    await store.pause_queue("c", False, NOW)
    assert [state.queue.name for state in await other.list_queues()] == ["B", "a", "b", "c"]


async def test_queued_runs_are_runs(store):
    """They are got, listed, and seen as what they are."""
    await one_of_two(store, tags='["x"]', deadline=NOW + 0.5)
    row = await get(store, "b")
    assert (row.ready_at, row.finished_at, row.started_at, row.generation) == (NOW + 0.5, None, None, 0)
    assert await store.list_runs(RunFilter(statuses=("QUEUED",))) == [row]
    assert await store.list_runs(RunFilter(tags=("x",))) == [row]
    assert await store.get_runs(["b"]) == [row]


@pytest.mark.parametrize("verb", ["settle", "cancel", "move", "pause", "limit"])
async def test_listeners_are_told_who_may_go_on(store, other, verb):
    await one_of_two(store)
    if verb == "pause":
        await store.pause_queue("default", True, NOW)
    ears = [Ear(), Ear()]
    for ear, steps in zip(ears, (True, False), strict=True):
        store.listen(ear.append, steps=steps)
    await {
        "settle": lambda: settle(store, "a", Status.WAITING),
        "cancel": lambda: store.cancel_run("a", NOW),
        "move": lambda: store.move_run("a", NOW),
        "pause": lambda: store.cancel_run("a", NOW),
        "limit": lambda: limit(store, concurrency=2),
    }[verb]()
    if verb == "pause":
        await store.pause_queue("default", False, NOW)
    for ear in ears:
        assert await ear.heard("b", True)


async def test_listeners_are_not_told_that_one_may_go_on_who_may_not(store):
    await limit(store, concurrency=1)
    await create(store, "b")
    ear = Ear()
    store.listen(ear.append)
    await create(store, "a")
    assert Change("a", claimable=True) in ear
    assert await ear.heard("b", False)


async def test_verbs_that_are_repeated_give_up_one_place(store):
    """The caller doesn't know the outcome and calls again, after the place was taken."""
    await limit(store, concurrency=2)
    batch = [new_run(id) for id in "abcdefgh"]
    first = await store.create_runs(batch)
    assert await store.create_runs(batch) == first
    await claim(store)
    leases = {lease.run_id: lease for lease in await store.leases()}

    async def twice(call):
        answer, before = await call(), await everything(store)
        assert await call() == answer
        assert await everything(store) == before
        await claim(store)

    done, waits = settlement(Status.COMPLETED), settlement(Status.WAITING, ready_at=NOW + 900)
    await twice(lambda: store.settle("a", 1, done))
    await twice(lambda: store.settle("b", 1, waits))
    await twice(lambda: store.move_run("c", NOW))
    await twice(lambda: store.pause_queue("default", True, NOW))
    await twice(lambda: store.pause_queue("default", False, NOW))
    await twice(lambda: limit(store, concurrency=3))
    assert await statuses(store) == {
        "a": "COMPLETED", "b": "WAITING", "c": "MOVED", **dict.fromkeys("def", "EXECUTING"),
        **dict.fromkeys("gh", "QUEUED"),
    }  # fmt: skip
    leases = [Lease("d", 1, "w", NOW, "lease", 0.0)]
    assert await store.mark_stale(leases, "heartbeat", NOW) == ["d"]
    assert await store.mark_stale(leases, "heartbeat", NOW) == []
    released = settlement(Status.PENDING)
    for _ in range(2):
        assert await store.settle("e", 1, released) is None
    assert await counts(store) == (2, 3)
    assert await ids(store) == ["d", "e"]


async def test_two_workers_never_execute_more_than_a_queue_lets(store, other):
    await limit(store, concurrency=3)
    runs = [new_run(f"{n:02}", priority=n % 4, ready_at=NOW + n % 2) for n in range(40)]
    await store.create_runs(runs)
    executing, most, done = set(), [], []

    async def worker(handle, name):
        for n in range(400):
            won = await ids(handle, worker=name, limit=2, now=NOW + 1)
            assert not executing & set(won)
            executing.update(won)
            most.append(len(executing))
            await asyncio.sleep(0)
            for id in won:
                row, waits = await get(handle, id), n % 3 == 0
                after = settlement(
                    Status.WAITING if waits else Status.COMPLETED, ready_at=NOW if waits else None
                )
                executing.discard(id)
                assert await handle.settle(id, row.generation, after) is None
                done.extend([] if waits else [id])
            if len(done) == len(runs):
                return

    await asyncio.gather(worker(store, "a"), worker(other, "b"))
    assert sorted(done) == [run.id for run in runs]
    assert max(most) <= 3
    await everything(store)
