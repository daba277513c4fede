"""Tokens: a run waits for what somebody outside will say, once, before a deadline."""

import asyncio

import pytest

from durable_lite.errors import Conflict, TokenNotFound
from durable_lite.records import Checkpoint, Refusal, TokenFilter, Wakes
from durable_lite.status import FINAL, RESUMABLE, UNFINISHED, Status
from tests.conformance.build import (
    NOW,
    STARTED,
    Ear,
    bring,
    claim,
    executing,
    get,
    lead,
    mark_stale,
    promise,
    settle,
    settlement,
    token,
    types,
    wait,
)
from tests.conformance.state import ALL, everything

OUTCOMES = {"completed": ('{"ok": true}', None), "failed": (None, '{"type": "E", "message": "no"}')}
FINISHED = sorted(OUTCOMES)


async def finish(store, id="t", state="completed", now=NOW + 5):
    return await store.finish_token(id, state, *OUTCOMES[state], now)


async def waiting(store, *tokens, id="r", **fields):
    """The run waits for these, of which it has made those that aren't there."""
    there = {made.id for made in await tokens_of(store)}
    for each in tokens:
        if each not in there:
            await promise(store, each, id)
    return await settle(store, id, Status.WAITING, **({"wakes": Wakes(tokens=tokens)} | fields))


async def tokens_of(store, **filter):
    return await store.list_tokens(TokenFilter(**({"limit": ALL} | filter)))


async def due(store):
    """When the run is due, which is not claimable yet."""
    row = await get(store)
    assert (row.status, row.claimable, row.ready_at) == ("WAITING", 0, await store.next_due())
    return row.ready_at


# Create


@pytest.mark.parametrize("fields", [{}, {"kind": "event", "name": "paid", "match": '{"invoice": 1.50}'}])
async def test_a_token_is_stored_with_its_wait(store, other, fields):
    before = await executing(store)
    leases = await store.leases()
    made = token("t-1", path="outer/approve", created_at=NOW + 0.1, deadline=NOW + 1e6, **fields)
    waits = wait("outer/approve", kind=made.kind, wake_at=NOW + 1e6, ref="t-1", title="Approve", name="n")
    assert await store.create_token("r", 1, waits, made) is None
    for handle in (store, other):
        assert await handle.read_tokens(["t-1"], NOW) == await tokens_of(handle) == [made]
        assert await handle.load_steps("r") == [waits]
        assert await handle.load_checkpoints("r") == [
            Checkpoint("outer/approve", "waiting", "n", None, None, None, 0, 1, NOW + 1e6, made.kind, "t-1")
        ]
    assert (await get(store), await store.leases()) == (before, leases)
    assert await types(store) == ["run.triggered", "run.claimed"]


async def test_a_wait_that_is_over_keeps_its_ref(store):
    await executing(store)
    await promise(store)
    done = wait()._replace(seq=3, state="completed", output="true", finished_at=NOW + 5, wake_at=None)
    assert await store.save_step("r", 1, done) is None
    assert await store.load_steps("r") == [done]
    assert [found.ref for found in await store.load_checkpoints("r")] == ["t"]
    assert (await types(store))[2:] == ["step.completed"]


@pytest.mark.parametrize("state", ["pending", *FINISHED, "expired"])
async def test_again_it_is_what_it_has_become(store, state):
    await executing(store)
    await promise(store)
    if state in FINISHED:
        await finish(store, state=state)
    [made] = await store.read_tokens(["t"], NOW + (100 if state == "expired" else 5))
    before = await everything(store)
    await promise(store)
    assert await everything(store) == before
    assert await store.read_tokens(["t"], NOW + 5) == [made]
    assert made.state == state


@pytest.mark.parametrize("state", FINISHED)
async def test_again_after_the_lease_was_lost_it_is_refused(store, state):
    """What had been stored stays as it is."""
    await executing(store)
    await promise(store)
    await mark_stale(store)
    await finish(store, state=state)
    before = await everything(store)
    assert await store.create_token("r", 1, wait(), token()) == Refusal("STALE", 2)
    assert await everything(store) == before


async def test_many_at_once_are_all_stored(store):
    """As of `gather` in one job."""
    await executing(store)
    await asyncio.gather(*(promise(store, f"{n:02}") for n in range(20)))
    ids = [f"{n:02}" for n in range(20)]
    assert [found.id for found in await store.read_tokens(ids, NOW)] == ids
    assert sorted(found.ref for found in await store.load_steps("r")) == ids


# Finish


@pytest.mark.parametrize("state", FINISHED)
async def test_it_wakes_a_run_that_waits_for_it(store, other, state):
    await executing(store)
    await waiting(store, "t")
    before = await get(store)
    assert (before.ready_at, await claim(store, now=NOW + 59.9)) == (NOW + 60, [])
    output, error = OUTCOMES[state]
    done = await finish(other, state=state)
    assert done == token(state=state, finished_at=NOW + 5, output=output, error=error)
    assert await store.read_tokens(["t"], NOW) == await tokens_of(store) == [done]
    assert await get(store) == before._replace(ready_at=NOW + 5)
    assert await due(store) == NOW + 5
    assert await claim(store, now=NOW + 4.9) == []
    [found] = await claim(store, now=NOW + 5)
    assert (found.status, found.fresh, found.run.generation, found.run.remaining) == (
        "WAITING", False, 2, None,
    )  # fmt: skip


async def test_it_wakes_a_run_that_waits_without_end(store):
    await executing(store)
    await waiting(store, "t", ready_at=None)
    assert await store.next_due() is None
    assert await claim(store, now=NOW + 1e9) == []
    await finish(store)
    assert await due(store) == NOW + 5
    assert len(await claim(store, now=NOW + 5)) == 1


@pytest.mark.parametrize("all", [True, False])  # which is said of children
@pytest.mark.parametrize("first", ["a", "b", "c"])
async def test_any_of_many_wakes(store, first, all):
    await executing(store)
    await waiting(store, "a", "b", "c", wakes=Wakes(tokens=("a", "b", "c"), all=all))
    assert await due(store) == NOW + 60
    await finish(store, first)
    assert await due(store) == NOW + 5
    for late in sorted({"a", "b", "c"} - {first}):
        await finish(store, late, now=NOW + 9)
    assert await due(store) == NOW + 5


async def test_a_run_in_back_off_waits_on(store):
    """It has a token, but that is not what it waits for now."""
    await executing(store)
    await promise(store)
    before = await settle(store, "r", Status.WAITING, error='{"type": "E"}')
    assert (await finish(store)).state == "completed"
    assert await get(store) == before
    assert await due(store) == NOW + 60


@pytest.mark.parametrize("status", sorted(UNFINISHED - {Status.WAITING}))
async def test_a_run_that_does_not_wait_is_left_alone(store, status):
    await executing(store)
    await promise(store)
    await lead(store, status)
    before = await everything(store)
    assert before["r"]["run"].status == status
    done = await finish(store)
    assert await everything(store) == before | {"tokens": [done]}


@pytest.mark.parametrize(("seen", "at"), [(False, NOW + 9), (True, NOW + 9), (True, NOW + 1)])
async def test_a_run_that_is_due_is_not_changed(store, seen, at):
    """`seen`: a claim, of somebody who can't take it, has made it claimable. Clocks may go back after that."""
    await executing(store)
    await waiting(store, "t", ready_at=NOW + 2)
    if seen:
        assert await claim(store, jobs=("other",), now=NOW + 3) == []
    before = await get(store)
    assert (before.ready_at, before.claimable) == (NOW + 2, int(seen))
    await finish(store, now=at)
    assert await get(store) == before


@pytest.mark.parametrize("state", [*FINISHED, "expired", "gone"])
async def test_what_has_come_before_the_run_waits_is_not_lost(store, state):
    await executing(store)
    await promise(store, "other")
    if state != "gone":
        await promise(store)
    if state == "expired":
        await store.read_tokens(["t"], NOW + 100)
    if state in FINISHED:
        await finish(store, state=state)
    done = settlement(Status.WAITING, at=NOW + 8, wakes=Wakes(tokens=("other", "t")))
    assert await store.settle("r", 1, done) is None
    assert await due(store) == NOW + 8
    assert len(await claim(store, now=NOW + 8)) == 1


async def test_what_the_run_does_not_wait_for_has_come(store):
    await executing(store)
    await promise(store)
    await finish(store)
    await waiting(store, "other")
    assert await due(store) == NOW + 60


async def test_a_settle_that_is_repeated_finds_its_run_woken(store):
    await executing(store)
    await promise(store)
    done = settlement(Status.WAITING, wakes=Wakes(tokens=("t",)))
    assert await store.settle("r", 1, done) is None
    await finish(store)
    before = await everything(store)
    assert await store.settle("r", 1, done) is None
    assert await everything(store) == before


async def test_a_claim_ends_the_wait(store):
    """A second wait is for what it says, and not for what the first one did."""
    await executing(store)
    await waiting(store, "t")
    await claim(store, now=NOW + 60)
    assert (await get(store)).remaining is None
    before = await settle(store, "r", Status.WAITING, ready_at=NOW + 500)
    await finish(store)
    assert await get(store) == before


@pytest.mark.parametrize("second", FINISHED)
@pytest.mark.parametrize("first", FINISHED)
async def test_the_first_outcome_stays(store, other, first, second):
    await executing(store)
    await waiting(store, "t")
    done = await finish(store, state=first)
    before = await everything(store)
    # Also too late, for whoever says it again has been told that it was in time.
    for handle, now in ((store, NOW + 9), (other, NOW + 100), (store, NOW + 1e6)):
        assert await handle.finish_token("t", second, '"second"', '{"type": "Second"}', now) == done
        assert await everything(store) == before


@pytest.mark.parametrize("status", sorted(FINAL & STARTED))
async def test_the_outcome_stays_after_the_run_has_ended(store, status):
    await executing(store)
    await promise(store)
    done = await finish(store)
    await settle(store, "r", status)
    before = await everything(store)
    assert await finish(store, state="failed", now=NOW + 9) == done
    assert await everything(store) == before


async def test_a_missing_token_is_not_found(store):
    await executing(store)
    await promise(store)
    before = await everything(store)
    for id in ("T", "t ", "", "r", "never there"):
        with pytest.raises(TokenNotFound) as caught:
            await finish(store, id)
        assert caught.value.token_id == id
    assert await everything(store) == before


@pytest.mark.parametrize("state", FINISHED)
@pytest.mark.parametrize("late", [0.0, 0.5, 1e6])
async def test_after_its_deadline_it_is_too_late(store, state, late):
    await executing(store)
    await waiting(store, "t")
    before = await everything(store)
    with pytest.raises(Conflict):
        await finish(store, state=state, now=NOW + 100 + late)
    assert await everything(store) == before
    assert (await finish(store, state=state, now=NOW + 99.999)).state == state


@pytest.mark.parametrize("status", sorted(FINAL & STARTED))
async def test_after_its_run_has_ended_it_is_too_late(store, status):
    await executing(store)
    await promise(store)
    await settle(store, "r", status)
    before = await everything(store)
    for state in FINISHED:
        with pytest.raises(Conflict):
            await finish(store, state=state)
        assert await everything(store) == before


@pytest.mark.parametrize("status", sorted(RESUMABLE))
async def test_it_can_be_finished_for_a_run_that_was_resumed(store, status):
    await executing(store)
    await promise(store)
    await settle(store, "r", status)
    before = await store.resume_run("r", NOW + 1)
    assert (await finish(store)).state == "completed"
    assert await get(store) == before
    await claim(store)
    await waiting(store, "t", at=NOW + 6)
    assert await due(store) == NOW + 6


@pytest.mark.parametrize(("wakes", "claimable"), [(Wakes(tokens=("t",)), True), (None, False)])
async def test_listeners_are_told(store, wakes, claimable):
    await executing(store)
    await promise(store)
    await settle(store, "r", Status.WAITING, wakes=wakes)
    ear, heard = Ear(), []
    store.listen(ear.append)
    store.listen(heard.append, steps=False)
    await finish(store)
    assert await ear.heard("r", claimable)
    assert {change.claimable for change in heard if change.run_id == "r"} <= {claimable}
    assert heard


async def test_listeners_are_told_of_a_wait(store):
    await executing(store)
    ear = Ear()
    store.listen(ear.append)
    await promise(store)
    assert await ear.heard("r", False)


# Read


async def test_tokens_are_read_in_the_order_asked_for(store, other):
    await executing(store)
    for id in "dabc":
        await promise(store, id)
    for ids in ("abcd", "dcba", "bd", "b never there a", "aba", ""):
        asked = ids.split(" ") if " " in ids else list(ids)
        found = await other.read_tokens(asked, NOW)
        assert [each.id for each in found] == [id for id in asked if id in "abcd"], asked
    assert await store.read_tokens(["never there"], NOW + 1e6) == []


async def test_what_is_pending_past_its_deadline_expires(store, other):
    await executing(store)
    for n, id in enumerate("abc"):
        await promise(store, id, deadline=NOW + n)
    await promise(store, "not asked for", deadline=NOW)
    found = await store.read_tokens(["c", "b", "a"], NOW + 1)
    assert [(each.id, each.state) for each in found] == [("c", "pending"), ("b", "expired"), ("a", "expired")]
    assert await other.read_tokens(["c", "b", "a"], NOW - 100) == found
    states = {each.id: each.state for each in await tokens_of(other)}
    assert states == {"a": "expired", "b": "expired", "c": "pending", "not asked for": "pending"}
    before = await everything(store)
    with pytest.raises(Conflict):
        await finish(store, "b", now=NOW)  # a clock set back: it has been read as expired
    assert await store.read_tokens(["b"], NOW + 50) == [found[1]]
    assert await everything(store) == before


@pytest.mark.parametrize("state", FINISHED)
async def test_what_was_finished_does_not_expire(store, state):
    await executing(store)
    await promise(store)
    done = await finish(store, state=state)
    before = await everything(store)
    assert await store.read_tokens(["t"], NOW + 1e6) == [done]
    assert await everything(store) == before


# List


async def listed(store):
    """Tokens of two runs in all states, some of one moment. Their ids, newest first."""
    for id in ("r", "s"):
        await executing(store, id)
    made = []
    for n in range(9):
        id, state = f"{n * 4 % 9}", [*FINISHED, "pending", "expired"][n // 2 % 4]
        await promise(store, id, "rs"[n % 2], created_at=NOW + n // 3)
        if state in FINISHED:
            await finish(store, id, state)
        if state == "expired":
            await store.read_tokens([id], NOW + 100)
        made.append((NOW + n // 3, id))
    return [id for _, id in sorted(made, reverse=True)]


async def test_all_are_listed_newest_first(store, other):
    ids = await listed(store)
    found = await tokens_of(other)
    assert [each.id for each in found] == ids
    assert await store.read_tokens(ids, NOW) == found
    assert len(await store.list_tokens(TokenFilter())) == 9


async def test_they_are_listed_by_state_and_run(store):
    await listed(store)
    found = await tokens_of(store)
    states = [None, "pending", "completed", "failed", "expired"]
    assert {each.state for each in found} == {*states[1:]}
    for state in (*states, "Pending", ""):
        for run_id in (None, "r", "s", "never there"):
            fitting = [e for e in found if state in (None, e.state) and run_id in (None, e.run_id)]
            assert await tokens_of(store, state=state, run_id=run_id) == fitting, (state, run_id)


@pytest.mark.parametrize(
    "filter", [{}, {"state": "pending"}, {"run_id": "r"}, {"run_id": "r", "state": "completed"}]
)
async def test_a_cursor_misses_and_repeats_nothing(store, filter):
    await listed(store)
    expected = await tokens_of(store, **filter)
    assert len(expected) > 1
    for limit in (1, 2, 3, len(expected), 50):
        found, cursor = [], None
        while page := await tokens_of(store, limit=limit, cursor=cursor, **filter):
            assert len(page) <= limit
            found += page
            assert len(found) <= len(expected)
            cursor = (page[-1].created_at, page[-1].id)
        assert found == expected
    assert await tokens_of(store, limit=0, **filter) == []


# Removal


@pytest.mark.parametrize("verb", ["delete_run", "purge"])
async def test_they_go_with_their_run(store, other, verb):
    for id in ("r", "kept"):
        await executing(store, id)
        for state in ("pending", *FINISHED):
            await promise(store, f"{id} {state}", id)
            if state in FINISHED:
                await finish(store, f"{id} {state}", state)
        await settle(store, id, Status.COMPLETED, at=NOW + (50 if id == "kept" else 0))
    before = await tokens_of(store)
    await (store.delete_run("r") if verb == "delete_run" else store.purge(NOW + 1, 10))
    gone = [each.id for each in before if each.run_id == "r"]
    assert len(gone) == 3
    assert await tokens_of(other) == [each for each in before if each.run_id == "kept"]
    assert await other.read_tokens(gone, NOW) == await tokens_of(store, run_id="r") == []
    for id in gone:
        with pytest.raises(TokenNotFound):
            await finish(store, id)
    await bring(store, Status.EXECUTING)
    assert await promise(store, gone[0]) == (await store.read_tokens(gone, NOW))[0]
