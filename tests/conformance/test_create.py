"""`create_runs`: what is stored, all or nothing, twice, and idempotency keys."""

import asyncio

import pytest

from durable_lite.errors import Conflict
from durable_lite.events import RunEvent
from durable_lite.records import RunRow
from durable_lite.status import FINAL, KEEPS_KEY, UNFINISHED, Status
from tests.conformance.build import NOW, bring, claim, create, get, new_run, settle
from tests.conformance.state import everything

KEY = '["global",["acme","export"]]'


async def created(store, *runs):
    """Who answered, and how."""
    return [(found.run.id, found.disposition) for found in await store.create_runs(runs)]


async def test_a_new_run_is_stored_as_it_was_given(store):
    given = new_run(
        version="2.1", queue="exports", priority=-3, created_at=NOW + 0.1, ready_at=NOW + 90.25,
        payload='{"n": 1.50}', max_duration=3600.5, deadline=NOW + 7200, trigger='{"kind": "event"}',
        environment="prod", tags='["a", "b"]', idempotency_key=KEY, idempotency_expires_at=NOW + 30,
        parent_id="never there", awaited=1, concurrency_key='["k"]', expires_at=NOW + 0.2, debounce_key='["d"]',
        debounce_until=NOW + 50, debounce_mode="trailing", on_busy="queue",
    )  # fmt: skip
    kept = given._asdict()
    del kept["on_busy"], kept["debounce_mode"]
    [(row, disposition)] = await store.create_runs([given])
    assert disposition == "created"
    assert row == await store.get_run("r") == RunRow(
        **kept, status="PENDING", claimable=0, started_at=None, finished_at=None, output=None,
        error=None, attempt=1, first_attempt=1, recoveries=0, recovery_seq=0, generation=0, worker=None,
        seq=1, executed=0.0, last_seen_at=None, stale_reason=None, progress=None, metadata="{}", key_live=1,
        remaining=None, interrupted=0, gated=1, slot=0, key_held=0, blocked=None,
    )  # fmt: skip
    assert await store.read_events("r", 0, 10) == [RunEvent("r", 1, NOW + 0.1, "run.triggered", {})]
    assert (
        await store.load_steps("r") == await store.load_checkpoints("r") == await store.read_logs("r") == []
    )


async def test_what_was_not_given_stays_empty(store):
    row = await create(store)
    assert (row.version, row.max_duration, row.deadline, row.environment) == (None, None, None, None)
    assert (row.idempotency_key, row.idempotency_expires_at, row.key_live) == (None, None, 0)
    assert (row.parent_id, row.awaited, row.remaining) == (None, 0, None)
    assert (row.trigger, row.tags, row.claimable, row.ready_at) == ("{}", "[]", 1, NOW)
    assert (row.concurrency_key, row.expires_at, row.debounce_key, row.debounce_until) == (None,) * 4
    assert (row.interrupted, row.gated, row.slot, row.key_held, row.blocked) == (0, 0, 0, 0, None)


async def test_a_batch_comes_back_in_its_order(store):
    assert await created(store, *map(new_run, "cab")) == [(id, "created") for id in "cab"]
    assert await created(store) == []


async def test_all_of_a_batch_or_none(store):
    good, bad = new_run("good"), new_run("bad", payload=object())  # text is wanted
    refused = False
    try:
        await store.create_runs([good, bad])
    except Exception:
        refused = True
    there = {row.id for id in ("good", "bad") if (row := await store.get_run(id))}
    assert there == (set() if refused else {"good", "bad"})
    if refused:
        assert await created(store, good) == [("good", "created")]


async def test_a_repeated_batch_is_seen_as_created(store):
    batch = [new_run("a", idempotency_key=KEY), new_run("b"), new_run("c", idempotency_key=KEY)]
    first = await store.create_runs(batch)
    assert [(found.run.id, found.disposition) for found in first] == [
        ("a", "created"), ("b", "created"), ("a", "idempotent"),
    ]  # fmt: skip
    before = await everything(store)
    assert await store.create_runs(batch) == first
    assert await everything(store) == before


async def test_a_repeated_create_leaves_a_run_that_has_gone_on(store):
    await bring(store, Status.COMPLETED)
    before = await everything(store)
    [(row, disposition)] = await store.create_runs([new_run(payload='{"other": 1}')])
    assert (row, disposition) == (before["r"]["run"], "created")
    assert await everything(store) == before


async def test_a_repeat_adds_only_what_is_missing(store):
    await create(store, "a")
    assert await created(store, new_run("a"), new_run("b")) == [("a", "created"), ("b", "created")]


# Idempotency keys


@pytest.mark.parametrize("status", sorted(UNFINISHED | KEEPS_KEY))
async def test_a_live_key_answers_with_its_run(store, status):
    row = await bring(store, status, idempotency_key=KEY)
    before = await everything(store, "second")
    [answer] = await store.create_runs([new_run("second", idempotency_key=KEY, payload="[]")])
    assert answer == (row, "idempotent")
    assert await everything(store, "second") == before


@pytest.mark.parametrize("status", sorted(FINAL - KEEPS_KEY))
async def test_a_status_that_frees_the_key(store, status):
    row = await bring(store, status, idempotency_key=KEY)
    assert row.key_live == 0
    assert await created(store, new_run("second", idempotency_key=KEY)) == [("second", "created")]
    assert await get(store) == row
    assert await created(store, new_run("third", idempotency_key=KEY)) == [("second", "idempotent")]


async def test_settling_as_cancelled_frees_the_key(store):
    await bring(store, Status.EXECUTING, idempotency_key=KEY)
    assert (await settle(store, "r", Status.CANCELLED)).key_live == 0
    assert await created(store, new_run("second", idempotency_key=KEY)) == [("second", "created")]


@pytest.mark.parametrize("status", [Status.PENDING, Status.COMPLETED])
async def test_a_key_lives_until_exactly_its_expiry(store, status):
    await bring(store, status, idempotency_key=KEY, idempotency_expires_at=NOW + 30)
    late = {"idempotency_key": KEY, "idempotency_expires_at": NOW + 500}
    assert await created(store, new_run("a", created_at=NOW + 29.999, **late)) == [("r", "idempotent")]
    assert await created(store, new_run("b", created_at=NOW + 30, **late)) == [("b", "created")]
    assert ((await get(store)).key_live, (await get(store, "b")).key_live) == (0, 1)
    assert await created(store, new_run("c", created_at=NOW + 31, **late)) == [("b", "idempotent")]


async def test_a_key_without_expiry_lives_on(store):
    await create(store, idempotency_key=KEY)
    assert await created(store, new_run("a", created_at=NOW + 1e9, idempotency_key=KEY)) == [
        ("r", "idempotent")
    ]


async def test_keys_are_of_one_job_and_exact(store):
    await create(store, idempotency_key=KEY)
    strangers = [
        new_run("other job", job="other", idempotency_key=KEY),
        new_run("other key", idempotency_key='["global",["acme","Export"]]'),
        new_run("case", idempotency_key=KEY.upper()),
        new_run("space", idempotency_key=KEY + " "),
        new_run("none"),
        new_run("none too"),
    ]
    assert await created(store, *strangers) == [(run.id, "created") for run in strangers]
    assert await created(store, new_run("x", job="other", idempotency_key=KEY)) == [
        ("other job", "idempotent")
    ]


async def test_one_key_twice_in_a_batch_is_one_run(store):
    batch = [
        new_run("a", idempotency_key=KEY),
        new_run("b", idempotency_key=KEY),
        new_run("c", idempotency_key="[]"),
    ]
    assert await created(store, *batch) == [("a", "created"), ("a", "idempotent"), ("c", "created")]
    assert await store.get_run("b") is None
    assert [found.run.id for found in await claim(store)] == ["a", "c"]


async def test_a_deleted_run_takes_its_key_along(store):
    await bring(store, Status.COMPLETED, idempotency_key=KEY)
    await store.delete_run("r")
    assert await created(store, new_run("second", idempotency_key=KEY)) == [("second", "created")]


async def test_one_key_from_many_at_once_is_one_run(store, other):
    calls = [
        created((store, other)[n % 2], new_run(f"{n:02}", idempotency_key=KEY), new_run(f"{n:02} free"))
        for n in range(20)
    ]
    answers = await asyncio.gather(*calls)
    winners = {keyed[0] for keyed, _ in answers}
    assert len(winners) == 1
    assert sorted(how for (_, how), _ in answers) == ["created"] + ["idempotent"] * 19
    assert {free for _, free in answers} == {(f"{n:02} free", "created") for n in range(20)}
    assert len((await everything(store))["runs"]) == 21


async def test_one_id_from_many_at_once_is_one_run(store, other):
    answers = await asyncio.gather(*(handle.create_runs([new_run()]) for handle in (store, other) * 5))
    assert all(answer == answers[0] for answer in answers)
    assert len(await store.read_events("r", 0, 10)) == 1


async def test_a_resumed_run_takes_its_key_again(store):
    await bring(store, Status.FAILED, idempotency_key=KEY)
    assert (await store.resume_run("r", NOW)).key_live == 1
    assert await created(store, new_run("second", idempotency_key=KEY)) == [("r", "idempotent")]


@pytest.mark.parametrize("holder", [Status.PENDING, Status.COMPLETED])
async def test_a_run_whose_key_another_has_does_not_resume(store, holder):
    await bring(store, Status.FAILED, idempotency_key=KEY)
    await bring(store, holder, "second", idempotency_key=KEY)
    before = await everything(store)
    with pytest.raises(Conflict):
        await store.resume_run("r", NOW)
    assert await everything(store) == before


async def test_a_run_resumes_once_the_other_let_go_of_its_key(store):
    await bring(store, Status.FAILED, idempotency_key=KEY)
    await create(store, "second", idempotency_key=KEY, idempotency_expires_at=NOW + 30)
    with pytest.raises(Conflict):
        await store.resume_run("r", NOW + 29.9)
    assert (await store.resume_run("r", NOW + 30)).key_live == 1
    assert (await get(store, "second")).key_live == 0


async def test_a_run_without_a_key_resumes_beside_others(store):
    await bring(store, Status.FAILED)
    await create(store, "second")
    assert (await store.resume_run("r", NOW)).key_live == 0
