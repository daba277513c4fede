"""`cancel_run`, `resume_run`, `delete_run`, `purge`: what is done to a run from outside."""

import pytest

from durable_lite.errors import Conflict, RunNotFound
from durable_lite.records import RunFilter
from durable_lite.status import FINAL, RESUMABLE, UNFINISHED, Status
from tests.conformance.build import (
    CLAIMABLE_LAST,
    NOW,
    beat,
    bring,
    claim,
    create,
    event,
    executing,
    get,
    log,
    mark_stale,
    settle,
    step,
    types,
)
from tests.conformance.state import everything


async def full(store, id, status, **fields):
    """A run with steps, events and logs, which one that never started doesn't have."""
    if status == Status.EXPIRED:
        return await bring(store, status, id, expires_at=NOW + 0.5, **fields)
    row = await executing(store, id, **fields)
    await store.save_step(id, 1, step("a", 3, id))
    await store.save_failure(id, 1, step("b", None, id, state="failed"), event(4))
    await beat(
        store, row, NOW + 1, executed=2.5, progress='"p"', metadata='"m"', logs=(log(0, id), log(1, id))
    )
    return await settle(store, id, status, logs=(log(2, id),), executed=3.5)


async def nothing_is_left(store, *ids):
    assert not {row.id for row in await store.list_runs(RunFilter(limit=1000))} & set(ids)
    for id in ids:
        assert await store.get_run(id) is None
        assert await store.load_steps(id) == await store.load_checkpoints(id) == []
        assert await store.read_events(id, 0, 100) == await store.read_logs(id) == []


# Cancel


@pytest.mark.parametrize("status", sorted(UNFINISHED))
async def test_an_unfinished_run_is_cancelled(store, status):
    before = await bring(store, status)
    seq = len(await types(store))
    row = await store.cancel_run("r", NOW + 7)
    assert row == await get(store) == before._replace(
        status="CANCELLED", generation=before.generation + 1, claimable=0, ready_at=None, finished_at=NOW + 7,
        seq=seq + 1, blocked=None,
    )  # fmt: skip
    assert await store.leases() == []
    [last] = await store.read_events("r", seq, 10)
    assert (last.seq, last.at, last.type, last.data) == (seq + 1, NOW + 7, "run.cancelled", {})
    assert await claim(store, now=NOW + 1e6) == []


@pytest.mark.parametrize("status", sorted(FINAL))
async def test_a_final_run_is_not_cancelled(store, status):
    await bring(store, status)
    before = await everything(store)
    with pytest.raises(Conflict):
        await store.cancel_run("r", NOW + 7)
    assert await everything(store) == before


async def test_cancel_comes_after_checkpoints_ahead_of_the_row(store):
    row = await executing(store)
    for seq in (3, 4):
        await store.save_step("r", 1, step(f"s{seq}", seq))
    await beat(store, row, NOW + 5, executed=4.5)
    row = await store.cancel_run("r", NOW + 7)
    assert (row.seq, row.executed, row.last_seen_at) == (5, 4.5, NOW + 5)
    assert (await types(store))[2:] == ["step.completed", "step.completed", "run.cancelled"]


@pytest.mark.parametrize("verb", ["cancel_run", "resume_run", "move_run", "delete_run"])
async def test_a_missing_run_is_not_found(store, verb):
    await create(store, "other")
    before = await everything(store, "r")
    with pytest.raises(RunNotFound) as caught:
        await getattr(store, verb)("r", *([] if verb == "delete_run" else [NOW]))
    assert caught.value.run_id == "r"
    assert await everything(store, "r") == before


# Resume


@pytest.mark.parametrize("status", sorted(RESUMABLE))
async def test_a_run_is_resumed_with_what_it_had(store, status):
    before = await full(store, "r", status, deadline=NOW + 500, max_duration=60.0)
    had = await everything(store)
    row = await store.resume_run("r", NOW + 9)
    assert row == await get(store) == before._replace(
        status="PENDING", generation=2, attempt=2, first_attempt=2, recoveries=0, executed=0.0, output=None,
        error=None, finished_at=None, ready_at=None, claimable=1, seq=before.seq + 1,
        interrupted=1,
    )  # fmt: skip
    now = await everything(store)
    for what in ("completed", "open", "checkpoints", "logs"):
        assert now["r"][what] == had["r"][what] != []
    assert now["r"]["events"][:-1] == had["r"]["events"]
    last = now["r"]["events"][-1]
    assert (last.at, last.type, last.data) == (NOW + 9, "run.resumed", {"by": "request", "attempt": 2})
    [found] = await claim(store)
    assert (found.run.generation, found.run.started_at, found.run.attempt) == (3, before.started_at, 2)
    assert (found.status, found.fresh) == ("PENDING", False)


@pytest.mark.parametrize("status", sorted(set(Status) - RESUMABLE))
async def test_other_runs_do_not_resume(store, status):
    await bring(store, status)
    before = await everything(store)
    with pytest.raises(Conflict):
        await store.resume_run("r", NOW + 9)
    assert await everything(store) == before


async def test_attempts_go_on_and_their_budget_starts_anew(store):
    await executing(store)
    await settle(store, "r", Status.FAILED, attempt=3)
    row = await store.resume_run("r", NOW)
    assert (row.attempt, row.first_attempt) == (4, 4)
    await claim(store)
    await settle(store, "r", Status.WAITING, attempt=5)
    await claim(store, now=NOW + 60)
    assert ((await get(store)).attempt, (await get(store)).first_attempt) == (5, 4)
    await settle(store, "r", Status.TIMED_OUT)
    row = await store.resume_run("r", NOW)
    assert (row.attempt, row.first_attempt) == (6, 6)


async def test_recoveries_and_executed_seconds_start_anew(store):
    row = await executing(store)
    for _ in range(3):
        await beat(store, row, NOW + 5, executed=10.0)
        await mark_stale(store)
        [found] = await claim(store)
        row = found.run
    assert (row.recoveries, row.executed) == (3, 10.0)
    await settle(store, "r", Status.TIMED_OUT, executed=12.0)
    row = await store.resume_run("r", NOW)
    assert (row.recoveries, row.executed) == (0, 0.0)
    [found] = await claim(store)
    assert (found.run.recoveries, (await store.leases())[0].executed) == (0, 0.0)
    await mark_stale(store)
    [found] = await claim(store)
    assert found.run.recoveries == 1


@pytest.mark.parametrize(("now", "kept"), [(NOW + 29.9, True), (NOW + 30, False), (NOW + 31, False)])
async def test_a_deadline_that_has_passed_is_cleared(store, now, kept):
    await bring(store, Status.FAILED, deadline=NOW + 30)
    assert (await store.resume_run("r", now)).deadline == (NOW + 30 if kept else None)


async def test_a_run_cancelled_before_it_started_resumes_as_fresh(store):
    await bring(store, Status.PENDING, ready_at=NOW + 90)
    await store.cancel_run("r", NOW)
    row = await store.resume_run("r", NOW)
    assert (row.started_at, row.claimable, row.ready_at) == (None, 1, None)
    [found] = await claim(store)
    assert found.fresh
    assert await types(store) == ["run.triggered", "run.cancelled", "run.resumed", "run.claimed"]


async def test_a_resumed_run_is_claimed_in_its_place(store):
    await bring(store, Status.FAILED, "b", created_at=NOW - 5)
    await create(store, "a", created_at=NOW - 6)
    await create(store, "c", created_at=NOW - 4)
    await store.resume_run("b", NOW)
    assert [found.run.id for found in await claim(store)] == ["a", "b", "c"]


# Delete


@pytest.mark.parametrize("status", sorted(FINAL))
async def test_a_deleted_run_leaves_nothing(store, status):
    await full(store, "r", status)
    await full(store, "kept", status)
    kept = (await everything(store))["kept"]
    await store.delete_run("r")
    await nothing_is_left(store, "r")
    assert (await everything(store))["kept"] == kept
    with pytest.raises(RunNotFound):
        await store.delete_run("r")


async def test_an_id_may_be_used_again_and_finds_nothing_of_the_old_run(store):
    await full(store, "r", Status.COMPLETED)
    await store.delete_run("r")
    row = await create(store)
    assert (row.seq, row.generation, row.status) == (1, 0, "PENDING")
    assert await store.load_steps("r") == await store.read_logs("r") == []
    assert await types(store) == ["run.triggered"]


# Purge


async def test_purge_takes_final_runs_older_than_the_moment(store):
    for n, status in enumerate(sorted(FINAL)):
        await full(store, f"old-{n}", status)
        await settle_at(store, f"edge-{n}", status, NOW + 100)
        await settle_at(store, f"new-{n}", status, NOW + 100.5)
    for status in CLAIMABLE_LAST:
        if status in UNFINISHED:
            await bring(store, status, f"open-{status}", created_at=NOW - 1000)
    before = await everything(store)
    assert await store.purge(NOW + 100, 1000) == len(FINAL)
    await nothing_is_left(store, *(f"old-{n}" for n in range(len(FINAL))))
    after = await everything(store)
    assert after == {key: value for key, value in before.items() if not key.startswith("old-")} | {
        "runs": [row for row in before["runs"] if not row.id.startswith("old-")]
    }
    assert len(after["runs"]) == 2 * len(FINAL) + len(UNFINISHED)
    assert await store.purge(NOW + 100, 1000) == 0


async def settle_at(store, id, status, at):
    if status == Status.EXPIRED:
        return await bring(store, status, id, expires_at=at)
    await executing(store, id)
    return await settle(store, id, status, at=at)


async def test_purge_takes_at_most_so_many(store):
    for n in range(7):
        await full(store, f"{n}", Status.COMPLETED)
    assert await store.purge(NOW + 100, 3) == 3
    seen = await everything(store, *"0123456")
    left = {row.id for row in seen["runs"]}
    assert len(left) == 4
    await nothing_is_left(store, *(set("0123456") - left))
    assert all(len(seen[id]["events"]) == 5 and len(seen[id]["logs"]) == 3 for id in left)
    assert [await store.purge(NOW + 100, 3) for _ in range(3)] == [3, 1, 0]


async def test_purge_of_nothing(store):
    await full(store, "r", Status.COMPLETED)
    before = await everything(store)
    assert await store.purge(NOW, 100) == 0
    assert await store.purge(NOW + 100, 0) == 0
    assert await everything(store) == before


async def test_purge_frees_the_keys(store):
    await bring(store, Status.COMPLETED, idempotency_key="[]")
    await store.purge(NOW + 1, 10)
    assert (await create(store, "second", idempotency_key="[]")).id == "second"


async def test_a_resumed_run_is_not_purged(store):
    await bring(store, Status.FAILED)
    await store.resume_run("r", NOW)
    assert await store.purge(NOW + 1e6, 10) == 0
