"""Triggers of one debounce key make one run, and keys of those that made none answer with it."""

import asyncio

import pytest

from durable_lite.moving import gather
from durable_lite.records import Created
from durable_lite.status import FINAL, KEEPS_KEY, UNFINISHED, Status
from tests.conformance.build import (
    NOW,
    STARTED,
    Ear,
    bring,
    call,
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
    statuses,
    step,
    types,
)
from tests.conformance.state import everything

KEY = '["global","k"]'


def trailing(id, at=NOW, most=None, **fields):
    """Starts five seconds after the last one, but `most` seconds after the first at the latest."""
    given = {
        "created_at": at, "ready_at": at + 5, "payload": f'"{id}"', "debounce_key": '["d"]',
        "debounce_until": None if most is None else at + most,
    }  # fmt: skip
    return new_run(id, **(given | fields))


def leading(id, at=NOW, **fields):
    """Starts at once, and answers for those that come within five seconds after another."""
    given = {
        "created_at": at, "payload": f'"{id}"', "debounce_key": '["d"]', "debounce_mode": "leading",
        "debounce_until": at + 5,
    }  # fmt: skip
    return new_run(id, **(given | fields))


def window():
    """What makes a run answer for five seconds."""
    new = leading("a")
    return {"payload": new.payload, "debounce_key": new.debounce_key, "debounce_until": new.debounce_until}


async def trigger(store, *runs):
    """Who answered, and how."""
    return [(found.run.id, found.disposition) for found in await store.create_runs(runs)]


# Trailing


async def test_the_start_is_put_off_and_the_last_payload_counts(store, other):
    [first] = await store.create_runs([trailing("a", tags='["x"]', priority=3)])
    assert (first.disposition, first.run.status, first.run.claimable) == ("created", "PENDING", 0)
    for handle, id, at in ((other, "b", NOW + 3), (store, "c", NOW + 7.5)):
        [answer] = await handle.create_runs([trailing(id, at, priority=9)])
        row = first.run._replace(payload=f'"{id}"', ready_at=at + 5)
        assert answer == Created(row, "coalesced")
        assert await get(store, "a") == await get(other, "a") == row
        assert await store.next_due() == at + 5
    assert await ids(store, now=NOW + 12.4) == []
    [found] = await claim(store, now=NOW + 12.5)
    assert (found.run.id, found.run.payload) == ("a", '"c"')
    assert await types(store, "a") == ["run.triggered", "run.claimed"]
    assert await statuses(store) == {"a": "EXECUTING"}


async def test_it_is_put_off_until_the_latest_start(store):
    """Of which the first one has said when it is."""
    await trigger(store, trailing("a", most=12))
    for n, at in enumerate((4, 8, 11)):
        assert await trigger(store, trailing(f"b{n}", NOW + at, most=1000)) == [("a", "coalesced")]
        assert await store.next_due() == NOW + min(at + 5, 12)
    assert (await get(store, "a")).debounce_until == NOW + 12
    [found] = await claim(store, now=NOW + 12)
    assert (found.run.id, found.run.payload) == ("a", '"b2"')


async def test_when_it_expires_is_put_off_too(store):
    await trigger(store, trailing("a", expires_at=NOW + 9))
    await trigger(store, trailing("b", NOW + 4, expires_at=NOW + 13))
    assert await ids(store, now=NOW + 9) == ["a"]
    await trigger(store, trailing("c", NOW + 9, expires_at=NOW + 18))
    await trigger(store, trailing("d", NOW + 10))
    assert (await get(store, "c")).expires_at is None


@pytest.mark.parametrize("status", sorted(STARTED - {Status.PENDING}))
async def test_one_that_has_started_answers_no_more(store, status):
    await trigger(store, trailing("a"))
    await claim(store, now=NOW + 5)
    await lead(store, status, "a")
    await store.pause_queue("default", False, NOW)
    before = (await everything(store))["a"]
    assert await trigger(store, trailing("b", NOW + 6)) == [("b", "created")]
    assert (await everything(store))["a"] == before
    assert await trigger(store, trailing("c", NOW + 7)) == [("b", "coalesced")]


@pytest.mark.parametrize("how", ["due", "released", "queued", "expired", "cancelled", "resumed"])
async def test_nor_does_one_that_does_not_wait_for_its_start(store, how):
    await limit(store, concurrency=1)
    await trigger(store, trailing("a", expires_at=NOW + 6))
    if how == "released":
        await claim(store, now=NOW + 5)
        await settle(store, "a", Status.PENDING)
    if how in ("cancelled", "resumed"):
        await store.cancel_run("a", NOW)
    if how == "resumed":
        await store.resume_run("a", NOW)
    if how == "queued":
        await executing(store, "x")
    if how in ("due", "queued", "expired"):
        await look(store, NOW + (6 if how == "expired" else 5))
    row = await get(store, "a")
    assert await trigger(store, trailing("b", NOW + 6)) == [("b", "created")]
    assert await get(store, "a") == row


async def test_a_deleted_run_answers_for_nobody(store):
    await trigger(store, trailing("a"))
    await store.cancel_run("a", NOW)
    await store.delete_run("a")
    assert await trigger(store, trailing("b")) == [("b", "created")]


@pytest.mark.parametrize("make", [trailing, leading])
async def test_keys_are_of_one_job_and_exact(store, make):
    await trigger(store, make("a"))
    strangers = [
        make("job", job="other"), make("key", debounce_key='["D"]'), make("space", debounce_key='["d"] '),
        make("none", debounce_key=None), new_run("plain"),
    ]  # fmt: skip
    assert await trigger(store, *strangers) == [(run.id, "created") for run in strangers]
    assert await trigger(store, make("b", job="other"), make("c")) == [
        ("job", "coalesced"),
        ("a", "coalesced"),
    ]


async def test_several_of_one_batch_are_one(store):
    batch = [trailing("a"), new_run("x"), trailing("b", NOW + 1), trailing("c", NOW + 2)]
    created = await store.create_runs(batch)
    assert [(found.run.id, found.disposition) for found in created] == [
        ("a", "created"), ("x", "created"), ("a", "coalesced"), ("a", "coalesced"),
    ]  # fmt: skip
    row = await get(store, "a")
    assert (row.payload, row.ready_at) == ('"c"', NOW + 7)
    assert created[0].run == created[2].run == created[3].run == row
    before = await everything(store)
    assert await store.create_runs(batch) == created
    assert await everything(store) == before


@pytest.mark.parametrize("make", [trailing, leading])
async def test_many_at_once_are_one(store, other, make):
    answers = await asyncio.gather(*(trigger((store, other)[n % 2], make(f"{n:02}")) for n in range(20)))
    assert sorted(how for [(_, how)] in answers) == ["coalesced"] * 19 + ["created"]
    assert len({id for [(id, _)] in answers}) == 1
    assert len(await statuses(store)) == 1


async def test_listeners_are_told_of_another_start(store):
    await trigger(store, trailing("a"))
    ear = Ear()
    store.listen(ear.append, steps=False)
    await trigger(store, trailing("b", NOW + 1))
    assert await ear.heard("a", True)


# Leading


@pytest.mark.parametrize("status", sorted(Status))
async def test_the_first_starts_at_once_and_answers_for_the_others(store, status):
    """Whatever has become of it."""
    row = await bring(store, status, "a", **window())
    assert row.status == status
    for at in (NOW, NOW + 4.9, NOW + 9.8):
        [answer] = await store.create_runs([leading("b", at)])
        row = row._replace(debounce_until=at + 5)
        assert answer == Created(row, "coalesced")
        assert row.payload == '"a"'
    assert await get(store, "a") == row
    assert list(await statuses(store)) == ["a"]


@pytest.mark.parametrize("status", [Status.PENDING, Status.EXECUTING, Status.COMPLETED])
async def test_its_window_ends(store, status):
    await bring(store, status, "a", **window())
    assert await trigger(store, leading("b", NOW + 3)) == [("a", "coalesced")]
    assert await trigger(store, leading("c", NOW + 8)) == [("c", "created")]
    assert await trigger(store, leading("d", NOW + 9)) == [("c", "coalesced")]
    assert (await get(store, "a")).debounce_until == NOW + 8
    assert await trigger(store, leading("e", NOW + 13.9)) == [("c", "coalesced")]
    assert await trigger(store, leading("f", NOW + 18.9)) == [("f", "created")]


async def test_repeated_it_is_what_it_was(store):
    await trigger(store, leading("a"))
    before = await everything(store)
    assert await trigger(store, leading("a")) == [("a", "created")]
    assert await everything(store) == before
    for _ in range(2):
        assert await trigger(store, leading("b", NOW + 1)) == [("a", "coalesced")]
        assert (await get(store, "a")).debounce_until == NOW + 6


# Idempotency keys of those that made no run


async def with_more_keys(store, **fields):
    """The run "a", which answers for two keys more than its own."""
    await trigger(store, trailing("a", idempotency_key="[]"))
    assert await trigger(store, trailing("b", idempotency_key=KEY, **fields)) == [("a", "coalesced")]
    assert await trigger(store, trailing("c", idempotency_key="[1]")) == [("a", "coalesced")]
    return await get(store, "a")


async def keyed(store, id, at=NOW, key=KEY, **fields):
    [answer] = await trigger(store, new_run(id, created_at=at, idempotency_key=key, **fields))
    return answer


@pytest.mark.parametrize("status", sorted(STARTED & (UNFINISHED | KEEPS_KEY)))
async def test_a_key_answers_with_the_run_that_stands_for_it(store, other, status):
    row = await with_more_keys(store)
    if status != Status.PENDING:
        await claim(store, now=NOW + 5)
        row = await lead(store, status, "a")
    before = await everything(store)
    for key in (KEY, "[1]", "[]"):
        assert await keyed(other, "x", NOW + 1, key) == ("a", "idempotent")
    assert await everything(store) == before
    assert before["a"]["run"] == row
    assert await keyed(store, "y", key="[2]") == ("y", "created")
    assert await keyed(store, "z", job="other") == ("z", "created")


@pytest.mark.parametrize("status", sorted(FINAL - KEEPS_KEY))
async def test_a_status_that_frees_the_key(store, status):
    await with_more_keys(store)
    if status == Status.EXPIRED:
        await trigger(store, trailing("d", expires_at=NOW + 1))
        await look(store, NOW + 1)
    else:
        await claim(store, now=NOW + 5)
        await lead(store, status, "a")
    assert (await get(store, "a")).status == status
    for n, key in enumerate((KEY, "[1]", "[]")):
        assert await keyed(store, f"x{n}", key=key) == (f"x{n}", "created")
        assert await keyed(store, f"y{n}", key=key) == (f"x{n}", "idempotent")


async def test_a_key_lives_until_exactly_its_expiry(store):
    await with_more_keys(store, idempotency_expires_at=NOW + 30)
    assert await keyed(store, "x", NOW + 29.9) == ("a", "idempotent")
    assert await keyed(store, "y", NOW + 30) == ("y", "created")
    assert await keyed(store, "z", NOW + 31) == ("y", "idempotent")
    assert await keyed(store, "z", NOW + 1e6, "[1]") == ("a", "idempotent")


@pytest.mark.parametrize("how", ["delete", "purge"])
async def test_a_key_goes_with_its_run(store, how):
    await with_more_keys(store)
    await claim(store, now=NOW + 5)
    await settle(store, "a", Status.COMPLETED)
    await (store.delete_run("a") if how == "delete" else store.purge(NOW + 1, 10))
    await create(store, "a")
    assert await keyed(store, "x") == ("x", "created")


async def test_a_key_is_there_when_its_run_comes_back(store):
    await with_more_keys(store)
    await store.import_run(await gather(store, await store.move_run("a", NOW)), NOW + 1)
    for key in (KEY, "[1]", "[]"):
        assert await keyed(store, "x", NOW + 1, key) == ("a", "idempotent")


async def test_a_repeated_trigger_with_a_key_finds_the_same_run(store):
    """Also after that has started, when the debounce key would make a new one."""
    await with_more_keys(store)
    before = await everything(store)
    [(id, _)] = await trigger(store, trailing("b", idempotency_key=KEY))
    assert id == "a"
    assert await everything(store) == before
    await claim(store, now=NOW + 5)
    [(id, _)] = await trigger(store, trailing("b", idempotency_key=KEY))
    assert (id, await store.get_run("b")) == ("a", None)


async def test_an_idempotency_key_answers_before_a_debounce_key(store):
    await trigger(store, trailing("a"), new_run("k", idempotency_key=KEY))
    before = await everything(store)
    assert await trigger(store, trailing("b", NOW + 3, idempotency_key=KEY)) == [("k", "idempotent")]
    assert await everything(store) == before


async def test_children_are_debounced(store):
    """The step names the run that stands for the child."""
    await trigger(store, trailing("a"))
    await executing(store)
    runs = [trailing("b", NOW + 1, parent_id="r"), new_run("c", parent_id="r")]
    created = await call(store, runs, step("start", 3, kind="trigger"))
    assert [(row.id, how) for row, how in created] == [("a", "coalesced"), ("c", "created")]
    assert [found.ref for found in await store.load_checkpoints("r")] == ["a\nc"]
    row = await get(store, "a")
    assert (row.payload, row.parent_id, row.ready_at) == ('"b"', None, NOW + 6)
