"""`on_busy`: what a trigger does where an unfinished run has its concurrency key."""

import asyncio

import pytest

from durable_lite.errors import Busy, Conflict
from durable_lite.records import Created
from durable_lite.status import FINAL, READY, UNFINISHED, Status
from tests.conformance.build import (
    NOW,
    bring,
    claim,
    create,
    executing,
    get,
    limit,
    new_run,
    settle,
    statuses,
    step,
)
from tests.conformance.state import everything

KEY = '["acme"]'
IDEMPOTENT = '["global","k"]'


def busy(id, on_busy, **fields):
    return new_run(id, **({"concurrency_key": KEY, "on_busy": on_busy} | fields))


async def trigger(store, *runs):
    """Who answered, and how."""
    return [(found.run.id, found.disposition) for found in await store.create_runs(runs)]


@pytest.mark.parametrize("on_busy", ["queue", "skip", "reject"])
async def test_where_nobody_has_the_key_all_are_created(store, on_busy):
    await executing(store, "other key", concurrency_key='["Acme"]')
    await executing(store, "no key")
    [created] = await store.create_runs([busy("a", on_busy)])
    assert created == Created(await get(store, "a"), "created")
    assert (created.run.status, created.run.key_held) == ("PENDING", 1)


@pytest.mark.parametrize("status", sorted(FINAL))
@pytest.mark.parametrize("on_busy", ["queue", "skip", "reject"])
async def test_who_has_ended_does_not_count(store, on_busy, status):
    await bring(store, status, "old", concurrency_key=KEY)
    assert await trigger(store, busy("a", on_busy)) == [("a", "created")]
    assert (await get(store, "a")).status == "PENDING"


@pytest.mark.parametrize("status", sorted(UNFINISHED))
async def test_queue_queues(store, status):
    await bring(store, status, "old", concurrency_key=KEY)
    [created] = await store.create_runs([busy("a", "queue", created_at=NOW + 1)])
    assert (created.disposition, created.run.status, created.run.blocked) == ("created", "QUEUED", "key")


# Reject


@pytest.mark.parametrize("status", sorted(UNFINISHED))
async def test_reject_raises(store, other, status):
    await bring(store, status, "old", concurrency_key=KEY, job="other" if status == Status.PENDING else "job")
    before = await everything(store, "a")
    for _ in range(2):
        with pytest.raises(Busy) as caught:
            await other.create_runs([busy("a", "reject")])
        assert (caught.value.key, caught.value.run_id) == (KEY, "old")
        assert isinstance(caught.value, Conflict)
        assert await everything(store, "a") == before


async def test_reject_raises_for_one_that_is_not_due(store):
    await create(store, "late", concurrency_key=KEY, ready_at=NOW + 500)
    with pytest.raises(Busy):
        await store.create_runs([busy("a", "reject")])


async def test_reject_names_the_oldest(store):
    for id, at in (("b", 0), ("c", -1), ("a", 0)):
        await create(store, id, concurrency_key=KEY, created_at=NOW + at)
    with pytest.raises(Busy) as caught:
        await store.create_runs([busy("x", "reject")])
    assert caught.value.run_id == "c"


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_of_a_batch_with_one_that_is_rejected_nothing_is_stored(store, at):
    """Nor is anything else changed: who has a place, when a debounced run starts, which key answers."""
    await executing(store, "old", concurrency_key=KEY)
    await limit(store, "q", concurrency=1)
    await create(store, "unstarted", queue="q")
    await create(store, "debounced", ready_at=NOW + 5, debounce_key='["d"]')
    before = await everything(store, "a", "b", "x")
    batch = [
        new_run("a", queue="q", priority=9, tags='["x"]', idempotency_key="[]"),
        new_run("b", ready_at=NOW + 9, payload="1", debounce_key='["d"]', idempotency_key=IDEMPOTENT),
    ]
    batch.insert(at, busy("x", "reject"))
    with pytest.raises(Busy):
        await store.create_runs(batch)
    assert await everything(store, "a", "b", "x") == before
    assert await trigger(store, new_run("c", idempotency_key=IDEMPOTENT)) == [("c", "created")]
    del batch[at]
    assert await trigger(store, *batch) == [("a", "created"), ("c", "idempotent")]
    assert await store.read_events("a", 0, 10) != []


async def test_in_a_batch_the_first_makes_the_key_busy(store):
    with pytest.raises(Busy) as caught:
        await store.create_runs([busy("a", "queue"), busy("b", "reject")])
    assert caught.value.run_id == "a"
    assert await statuses(store) == {}
    assert await trigger(store, busy("b", "reject"), busy("a", "queue")) == [
        ("b", "created"),
        ("a", "created"),
    ]


async def test_a_repeated_trigger_is_not_rejected_for_itself(store):
    """Nor for those that came after it."""
    batch = [busy("a", "reject"), new_run("b")]
    first = await store.create_runs(batch)
    await create(store, "c", concurrency_key=KEY)
    before = await everything(store)
    assert await store.create_runs(batch) == first
    assert await everything(store) == before
    await claim(store)
    await settle(store, "a", Status.COMPLETED)
    assert await trigger(store, *batch) == [("a", "created"), ("b", "created")]


async def test_of_many_at_once_all_but_one_are_rejected(store, other):
    for n in range(5):
        calls = [(store, other)[k % 2].create_runs([busy(f"{n} {k}", "reject")]) for k in range(6)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(answer, Busy) for answer in answers) == 5
        [[created]] = [answer for answer in answers if not isinstance(answer, Busy)]
        assert [found.run.id for found in await claim(store)] == [created.run.id]
        await settle(store, created.run.id, Status.COMPLETED)
    await everything(store)


async def test_a_child_that_is_rejected_leaves_no_step(store):
    await executing(store, "old", concurrency_key=KEY)
    row = await executing(store)
    before = await everything(store, "a", "b")
    runs = [new_run("a", parent_id="r"), busy("b", "reject", parent_id="r")]
    for seq in (None, 3):
        made = step("start", seq, kind="trigger")
        with pytest.raises(Busy):
            await store.create_children("r", row.generation, made, runs)
        assert await everything(store, "a", "b") == before


# Skip


@pytest.mark.parametrize("how", ["claimable", "delayed", "queued for the key", "queued for its queue"])
async def test_skip_answers_with_one_that_has_not_started(store, other, how):
    if how == "queued for the key":
        await executing(store, "executing", concurrency_key=KEY)
    if how == "queued for its queue":
        await store.pause_queue("default", True, NOW)
    await create(store, "old", concurrency_key=KEY, ready_at=NOW + (500 if how == "delayed" else 0))
    before = await everything(store, "a")
    assert ("queue" in how) == (before["old"]["run"].status == "QUEUED")
    for _ in range(2):
        [answer] = await other.create_runs([busy("a", "skip", payload="1", priority=9)])
        assert answer == Created(before["old"]["run"], "coalesced")
        assert await everything(store, "a") == before


@pytest.mark.parametrize("status", sorted(UNFINISHED - READY - {Status.QUEUED}))
async def test_skip_queues_behind_those_that_have_started(store, status):
    await bring(store, status, "old", concurrency_key=KEY)
    [created] = await store.create_runs([busy("a", "skip")])
    assert (created.disposition, created.run.status, created.run.blocked) == ("created", "QUEUED", "key")
    assert await trigger(store, busy("b", "skip"), busy("c", "skip")) == [("a", "coalesced")] * 2


async def test_who_was_released_or_is_queued_again_has_started(store):
    await executing(store, "old", concurrency_key=KEY)
    await settle(store, "old", Status.PENDING)
    assert await trigger(store, busy("a", "skip")) == [("a", "created")]
    await store.cancel_run("a", NOW)
    await claim(store)
    await settle(store, "old", Status.WAITING, ready_at=NOW)
    await store.pause_queue("default", True, NOW)
    await claim(store)
    assert (await get(store, "old")).status == "QUEUED"
    assert await trigger(store, busy("b", "skip")) == [("b", "created")]


async def test_skip_answers_with_the_oldest_of_its_job(store):
    runs = [("d", 0, "job"), ("c", 0, "job"), ("b", -1, "other"), ("e", 5, "job")]
    await store.create_runs(
        [new_run(id, concurrency_key=KEY, created_at=NOW + at, job=job) for id, at, job in runs]
    )
    assert await trigger(store, busy("x", "skip"), busy("y", "skip", job="other")) == [
        ("c", "coalesced"), ("b", "coalesced"),
    ]  # fmt: skip
    assert await trigger(store, busy("z", "skip", job="third")) == [("z", "created")]


async def test_skip_within_a_batch(store):
    batch = [busy("a", "skip"), busy("b", "skip"), new_run("c"), busy("d", "skip")]
    first = await store.create_runs(batch)
    assert [(found.run.id, found.disposition) for found in first] == [
        ("a", "created"), ("a", "coalesced"), ("c", "created"), ("a", "coalesced"),
    ]  # fmt: skip
    assert await store.create_runs(batch) == first
    assert await statuses(store) == {"a": "PENDING", "c": "PENDING"}


async def test_many_at_once_are_one(store, other):
    answers = await asyncio.gather(*(trigger((store, other)[n % 2], busy(f"{n}", "skip")) for n in range(20)))
    assert sorted(how for [(_, how)] in answers) == ["coalesced"] * 19 + ["created"]
    assert len({id for [(id, _)] in answers}) == 1


@pytest.mark.parametrize("status", [Status.PENDING, Status.COMPLETED, Status.FAILED])
async def test_the_idempotency_key_of_who_was_skipped_answers_with_that_run(store, status):
    await create(store, "old", concurrency_key=KEY)
    assert await trigger(store, busy("a", "skip", idempotency_key=IDEMPOTENT)) == [("old", "coalesced")]
    if status != Status.PENDING:
        await claim(store)
        await settle(store, "old", status)
    again = await trigger(store, busy("a", "skip", idempotency_key=IDEMPOTENT, created_at=NOW + 1))
    assert again == [("a", "created") if status == Status.FAILED else ("old", "idempotent")]


# What answers first


@pytest.mark.parametrize("on_busy", ["skip", "reject"])
async def test_an_idempotency_key_answers_first(store, on_busy):
    await create(store, "k", idempotency_key=IDEMPOTENT)
    await create(store, "old", concurrency_key=KEY)
    await create(store, "more", debounce_key='["d"]', ready_at=NOW + 5)
    before = await everything(store)
    new = busy("a", on_busy, idempotency_key=IDEMPOTENT, debounce_key='["d"]', ready_at=NOW + 9)
    assert await trigger(store, new) == [("k", "idempotent")]
    assert await everything(store) == before


@pytest.mark.parametrize("on_busy", ["skip", "reject"])
async def test_then_a_debounce_key(store, on_busy):
    await create(store, "old", concurrency_key=KEY)
    await create(store, "d", concurrency_key=KEY, debounce_key='["d"]', ready_at=NOW + 5)
    new = busy("a", on_busy, debounce_key='["d"]', ready_at=NOW + 9, payload="1")
    assert await trigger(store, new) == [("d", "coalesced")]
    row = await get(store, "d")
    assert (row.payload, row.ready_at) == ("1", NOW + 9)
