"""Runs that start too late: `expires_at`, and the deadline of one that is QUEUED."""

import asyncio
import json

import pytest

from durable_lite.records import Wakes
from durable_lite.status import Status
from tests.conformance.build import (
    NOW,
    Ear,
    claim,
    create,
    executing,
    get,
    ids,
    lead,
    limit,
    look,
    new_run,
    settle,
    spawn,
    statuses,
    types,
)
from tests.conformance.state import everything

KEY = '["global","k"]'
SOON = {"expires_at": NOW + 5}

# How a run that hasn't started is kept from it.
HELD_UP = ["by nothing", "by its delay", "by its queue", "by a pause", "by its key", "by a rate"]


async def held_up(store, how, **fields):
    """The run "r", and if it takes one, "other" that executes."""
    if how == "by its queue":
        await limit(store, concurrency=1)
    if how == "by a rate":
        await limit(store, rate=1, period=1e9)
    if how in ("by its queue", "by its key", "by a rate"):
        await executing(store, "other", concurrency_key='["c"]')
    if how == "by a pause":
        await store.pause_queue("default", True, NOW)
    key = '["c"]' if how == "by its key" else None
    ready_at = NOW + 500 if how == "by its delay" else NOW
    row = await create(store, concurrency_key=key, ready_at=ready_at, **fields)
    assert row.claimable == (how == "by nothing")
    return row


@pytest.mark.parametrize("how", HELD_UP)
async def test_who_has_not_started_by_then_expires(store, other, how):
    before = await held_up(store, how, deadline=NOW + 900, **SOON)
    assert await store.next_due() == await other.next_due() == NOW + 5
    await look(other, NOW + 4.999)
    assert await get(store) == before
    await look(other, NOW + 5)
    row = await get(store)
    assert row == before._replace(
        status="EXPIRED", generation=1, claimable=0, ready_at=None, finished_at=NOW + 5, seq=2, slot=0,
        blocked=None,
    )  # fmt: skip
    [last] = await store.read_events("r", 1, 10)
    assert (last.seq, last.at, last.type, last.data) == (2, NOW + 5, "run.expired", {})
    assert await store.next_due() is None
    assert await ids(store, now=NOW + 1e6) == []
    await look(store, NOW + 9)
    assert await get(store) == row
    assert await types(store) == ["run.triggered", "run.expired"]


@pytest.mark.parametrize(("now", "started"), [(NOW + 4.999, ["r"]), (NOW + 5, []), (NOW + 6, [])])
async def test_a_claim_is_in_time_or_too_late(store, now, started):
    await create(store, **SOON)
    assert await ids(store, now=now) == started
    assert (await get(store)).status == ("EXECUTING" if started else "EXPIRED")


@pytest.mark.parametrize(
    "status", [Status.EXECUTING, Status.STALE, Status.PENDING, Status.WAITING, Status.QUEUED]
)
async def test_who_has_started_does_not_expire(store, status):
    row = await executing(store, **SOON)
    assert row.expires_at is None
    await lead(store, status)
    assert await store.next_due() == (NOW + 60 if status == Status.WAITING else None)
    await look(store, NOW + 5)
    assert (await get(store)).status == status
    if status == Status.QUEUED:
        await store.pause_queue("default", False, NOW)
    assert await ids(store, now=NOW + 60) == ([] if status == Status.EXECUTING else ["r"])


async def test_who_was_resumed_after_it_had_started_does_not_expire(store):
    await executing(store, **SOON)
    await settle(store, "r", Status.FAILED)
    await store.resume_run("r", NOW + 1)
    assert await ids(store, now=NOW + 5) == ["r"]


async def test_who_was_cancelled_before_it_started_is_resumed_without_a_limit(store):
    await create(store, **SOON)
    await store.cancel_run("r", NOW)
    assert (await store.resume_run("r", NOW + 5)).expires_at is None
    assert await ids(store, now=NOW + 5) == ["r"]


@pytest.mark.parametrize("how", ["cancel", "move"])
async def test_who_has_ended_does_not_expire(store, how):
    await create(store, **SOON)
    row = await (store.cancel_run("r", NOW) if how == "cancel" else store.move_run("r", NOW))
    assert await store.next_due() is None
    await look(store, NOW + 5)
    assert await get(store) == row


async def test_all_that_are_late_expire_at_once(store):
    await store.create_runs([new_run(f"{n}", expires_at=NOW + n, job="xy"[n % 2]) for n in range(1, 7)])
    assert await ids(store, now=NOW + 4, jobs=("x", "y"), limit=1) == ["5"]
    assert await statuses(store) == {
        **{f"{n}": "EXPIRED" for n in range(1, 5)}, "5": "EXECUTING", "6": "PENDING",
    }  # fmt: skip
    assert await store.next_due() == NOW + 6


@pytest.mark.parametrize("how", HELD_UP)
async def test_its_idempotency_key_is_free(store, how):
    await held_up(store, how, idempotency_key=KEY, **SOON)
    await look(store, NOW + 5)
    row = await get(store)
    assert (row.status, row.key_live) == ("EXPIRED", 0)
    [created] = await store.create_runs([new_run("second", idempotency_key=KEY, created_at=NOW + 5)])
    assert (created.run.id, created.disposition) == ("second", "created")


@pytest.mark.parametrize("place", ["queue", "key", "rate"])
async def test_its_place_is_free(store, place):
    """Two that had it, or would have had it next, are late both."""
    if place == "queue":
        await limit(store, concurrency=1)
    if place == "rate":
        await limit(store, rate=1, period=60.0)
    key = '["c"]' if place == "key" else None
    late = [new_run(id, concurrency_key=key, **SOON) for id in "ab"]
    await store.create_runs([*late, new_run("c", concurrency_key=key), new_run("d", concurrency_key=key)])
    assert await statuses(store) == {"a": "PENDING", "b": "QUEUED", "c": "QUEUED", "d": "QUEUED"}
    assert await ids(store, now=NOW + 5) == ["c"]
    assert await statuses(store) == {"a": "EXPIRED", "b": "EXPIRED", "c": "EXECUTING", "d": "QUEUED"}


@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("all", [True, False])
@pytest.mark.parametrize("way", ["late", "past its deadline"])
async def test_a_parent_that_waits_for_it_wakes(store, way, all, limited):
    if limited:
        await limit(store, concurrency=9)
    await executing(store)
    await store.pause_queue("paused", True, NOW)
    when = SOON if way == "late" else {"deadline": NOW + 5}
    await spawn(store, "a", "b", queue="paused", **when)
    await spawn(store, "c", path="c")
    await settle(store, "r", Status.WAITING, wakes=Wakes(children=("a", "c"), all=all), ready_at=None)
    await claim(store)
    await look(store, NOW + 5)
    assert (await get(store)).ready_at == NOW + 5
    [found] = await claim(store, now=NOW + 5)
    assert (found.run.id, found.status) == ("r", "WAITING")


@pytest.mark.parametrize("how", ["by its queue", "by a pause", "by its key", "by a rate"])
async def test_a_queued_run_is_timed_out_at_its_deadline(store, other, how):
    before = await held_up(store, how, deadline=NOW + 5, idempotency_key=KEY)
    assert (before.status, before.ready_at, await other.next_due()) == ("QUEUED", NOW + 5, NOW + 5)
    await look(other, NOW + 4.999)
    assert await get(store) == before
    await look(other, NOW + 5)
    row = await get(store)
    assert row == before._replace(
        status="TIMED_OUT", generation=1, ready_at=None, finished_at=NOW + 5, seq=2, blocked=None, key_live=0,
        error=row.error,
    )  # fmt: skip
    assert json.loads(row.error)["code"] == "deadline"
    [last] = await store.read_events("r", 1, 10)
    assert (last.at, last.type, last.data) == (NOW + 5, "run.timed_out", {"code": "deadline"})
    if how == "by a pause":
        await store.pause_queue("default", False, NOW)
    row = await store.resume_run("r", NOW + 6)
    assert (row.deadline, row.key_live, row.error) == (None, 1, None)


async def test_so_is_one_that_has_started(store):
    await executing(store, deadline=NOW + 5)
    row = await lead(store, Status.QUEUED)
    assert row.ready_at == NOW + 5
    await look(store, NOW + 5)
    row = await get(store)
    assert (row.status, row.started_at) == ("TIMED_OUT", NOW)


async def test_a_deadline_is_no_start(store):
    """Who got its place before it keeps that, and moves away as one that is due."""
    await limit(store, concurrency=1)
    await executing(store, "a")
    for id in "bc":
        await create(store, id, deadline=NOW + 5)
    await settle(store, "a", Status.COMPLETED)
    row = await get(store, "b")
    assert (row.status, row.claimable, row.ready_at, row.deadline) == ("PENDING", 1, None, NOW + 5)
    moved = await store.move_run("b", NOW)
    [last] = await store.read_events("b", moved.seq - 1, 1)
    assert (last.data["from"], last.data["ready_at"]) == ("PENDING", None)
    assert await ids(store, now=NOW + 4) == ["c"]
    await look(store, NOW + 5)
    assert (await get(store, "c")).status == "EXECUTING"


async def test_who_is_late_and_past_its_deadline_is_late(store):
    await held_up(store, "by a pause", deadline=NOW + 4, expires_at=NOW + 5)
    await look(store, NOW + 5)
    assert (await get(store)).status == "EXPIRED"


@pytest.mark.parametrize("way", ["late", "past its deadline"])
async def test_the_place_of_one_goes_to_the_next_in_the_very_claim(store, way):
    """Who stands in line holding the key, who is behind it for that, and who comes just now."""
    await store.pause_queue("paused", True, NOW)
    when = SOON if way == "late" else {"deadline": NOW + 5}
    await create(store, "a", concurrency_key='["c"]', queue="paused", **when)
    await create(store, "b", concurrency_key='["c"]')
    await create(store, "c", concurrency_key='["c"]', ready_at=NOW + 5, priority=1)
    assert await ids(store, now=NOW + 5) == ["c"]
    assert (await get(store, "b")).status == "QUEUED"


async def test_who_gets_the_place_of_one_that_is_timed_out_may_be_too_late_itself(store):
    """Then whoever claims it finds that."""
    await store.pause_queue("paused", True, NOW)
    await create(store, "a", concurrency_key='["c"]', queue="paused", deadline=NOW + 5)
    await create(store, "b", concurrency_key='["c"]', deadline=NOW + 5)
    found = await ids(store, now=NOW + 5)
    assert await statuses(store) == {"a": "TIMED_OUT", "b": "EXECUTING" if found else "TIMED_OUT"}


@pytest.mark.parametrize("way", ["late", "past its deadline"])
async def test_listeners_are_told(store, way):
    await held_up(store, "by its queue", **(SOON if way == "late" else {"deadline": NOW + 5}))
    await create(store, "b")
    ears = [Ear(), Ear()]
    for ear, steps in zip(ears, (True, False), strict=True):
        store.listen(ear.append, steps=steps)
    await look(store, NOW + 5)
    for ear in ears:
        assert await ear.heard("r", False)


async def test_a_repeated_create_finds_what_it_has_become(store):
    new = new_run(**SOON)
    await store.create_runs([new])
    await look(store, NOW + 5)
    before = await everything(store)
    [again] = await store.create_runs([new])
    assert (again.run, again.disposition) == (before["r"]["run"], "created")
    assert await everything(store) == before


async def test_claims_at_once_expire_it_once(store, other):
    for n in range(12):
        id = f"{n:02}"
        await create(store, id, **SOON)
        early = [claim(handle, name, now=NOW + 4) for handle, name in ((store, "a"), (other, "b"))]
        late = [claim(handle, name, now=NOW + 5) for handle, name in ((store, "c"), (other, "d"))]
        calls = [*early, *late] if n % 2 else [*late, *early]
        won = [found.run.id for each in await asyncio.gather(*calls) for found in each]
        row = await get(store, id)
        if row.status == "EXPIRED":
            assert won == []
            assert await types(store, id) == ["run.triggered", "run.expired"]
        else:
            assert (won, row.status) == ([id], "EXECUTING")
    await everything(store)
