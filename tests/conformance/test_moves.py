"""`move_run` and `import_run`: a run leaves one store and goes on in another, or comes back."""

import pytest

from durable_lite import events as ev
from durable_lite import moving
from durable_lite.errors import Conflict, StoreError
from durable_lite.moving import gather
from durable_lite.records import Beat, Change, Refusal, RunFilter, TokenFilter, Wakes
from durable_lite.status import FINAL, UNFINISHED, Status
from durable_lite.stores.memory import MemoryStore
from tests.conformance.build import (
    NOW,
    beat,
    bring,
    call,
    claim,
    create,
    end,
    event,
    executing,
    family,
    get,
    lead,
    log,
    new_run,
    promise,
    settle,
    settlement,
    spawn,
    step,
    token,
    types,
    wait,
)
from tests.conformance.state import everything

KEY = '["global","k"]'
ARRIVED = dict.fromkeys(UNFINISHED - {Status.PENDING, Status.WAITING}, Status.PENDING)


async def half_done(store, id="r", **fields):
    """A run of generation 1 that executes, with something of everything."""
    row = await executing(store, id, tags='["x", "y"]', **fields)
    await store.save_step(id, 1, step("a", 3, id, arguments="d", title="A", ref="x"))
    await store.save_step(id, 1, step("outer/inner", 4, id, ref="y\nz"))
    await store.save_failure(id, 1, step("b", None, id), event(5))
    await store.save_step(
        id, 1, step("nap", None, id, kind="sleep", state="waiting", error=None, wake_at=NOW + 9, ref="t")
    )
    await promise(store, f"token of {id}", id)
    beating = {"executed": 2.5, "progress": '"p"', "metadata": '{"m": 1}', "logs": (log(0, id), log(1, id))}
    await beat(store, row, NOW + 1, **beating)
    return row


async def left(id="r", at=NOW + 2, status=None, **fields):
    """What `id` has as it leaves a store that isn't the one under test."""
    elsewhere = MemoryStore()
    await half_done(elsewhere, id, **fields)
    if status is not None:
        await settle(elsewhere, id, status)
    return await gather(elsewhere, await elsewhere.move_run(id, at))


# Out


@pytest.mark.parametrize("status", sorted(UNFINISHED))
async def test_an_unfinished_run_moves_out(store, status):
    before = await bring(store, status, idempotency_key=KEY)
    seq = len(await types(store))
    row = await store.move_run("r", NOW + 7)
    assert row == await get(store) == before._replace(
        status="MOVED", generation=before.generation + 1, claimable=0, ready_at=None, finished_at=NOW + 7,
        seq=seq + 1, blocked=None,
    )  # fmt: skip
    assert row.key_live == 1
    assert await store.leases() == []
    [last] = await store.read_events("r", seq, 10)
    assert (last.seq, last.at, last.type) == (seq + 1, NOW + 7, "run.moved")
    assert last.data == ev.moved_out(status, before.ready_at)
    assert await claim(store, now=NOW + 1e6) == []
    assert await store.next_due() is None


async def test_again_it_is_what_it_was(store):
    await half_done(store)
    row = await store.move_run("r", NOW + 2)
    before = await everything(store)
    assert await store.move_run("r", NOW + 9) == row
    assert await everything(store) == before


@pytest.mark.parametrize("status", sorted(FINAL - {Status.MOVED}))
async def test_what_has_ended_does_not_move(store, status):
    await bring(store, status)
    before = await everything(store)
    with pytest.raises(Conflict):
        await store.move_run("r", NOW)
    assert await everything(store) == before


async def test_the_holder_is_fenced_off(store):
    await half_done(store)
    await store.move_run("r", NOW + 2)
    before = await everything(store)
    refused = Refusal("MOVED", 2)
    assert await store.save_step("r", 1, step("late", 6)) == refused
    assert await store.save_failure("r", 1, step("late"), event(6)) == refused
    assert await store.settle("r", 1, settlement(Status.COMPLETED)) == refused
    assert await store.beat("w", [Beat("r", 1, 9.0, '"late"')], NOW + 3) == {"r": refused}
    assert await everything(store) == before


async def test_what_the_last_heartbeat_said_counts(store):
    await half_done(store)
    row = await store.move_run("r", NOW + 7)
    assert (row.executed, row.last_seen_at) == (2.5, NOW + 1)


async def test_no_holder_makes_it_moved(store):
    await executing(store)
    before = await everything(store)
    with pytest.raises((Conflict, StoreError)):
        await store.settle("r", 1, settlement(Status.MOVED))
    assert await everything(store) == before


async def test_its_key_still_answers(store):
    await executing(store, idempotency_key=KEY)
    row = await store.move_run("r", NOW)
    assert (await create(store, "second", idempotency_key=KEY)) == row
    assert await store.get_run("second") is None


async def test_moved_runs_are_listed(store):
    for id in ("a", "b"):
        await create(store, id)
    await store.move_run("a", NOW)
    assert [row.id for row in await store.list_runs(RunFilter(statuses=("MOVED",)))] == ["a"]
    assert [row.id for row in await store.list_runs(RunFilter(statuses=("PENDING",)))] == ["b"]


# In


@pytest.mark.parametrize("status", sorted(UNFINISHED))
async def test_a_run_arrives_with_all_it_has(store, status):
    elsewhere = MemoryStore()
    ready_at = NOW + 60 if status in (Status.PENDING, Status.WAITING) else None
    if status == Status.PENDING:
        await create(elsewhere, ready_at=ready_at, tags='["x", "y"]', idempotency_key=KEY)
    else:
        await half_done(elsewhere, idempotency_key=KEY, deadline=NOW + 500, max_duration=60.0, priority=3)
    if status in (Status.STALE, Status.QUEUED, Status.WAITING_ON_CONNECTIONS):
        await lead(elsewhere, status)
    if status == Status.WAITING:
        await settle(elsewhere, "r", status, attempt=2, error='{"type": "E"}', logs=(log(2),))
    moved_out = await elsewhere.move_run("r", NOW + 2)
    before = await everything(elsewhere)
    had, moved = before["r"], await gather(elsewhere, moved_out)

    row = await store.import_run(moved, NOW + 10)
    assert row == await get(store) == moved_out._replace(
        status=ARRIVED.get(status, status), generation=moved_out.generation + 1, seq=moved_out.seq + 1,
        finished_at=None, worker=None, stale_reason=None, ready_at=ready_at, claimable=int(ready_at is None),
        interrupted=int(status in ARRIVED), gated=0,
    )  # fmt: skip
    after = await everything(store)
    has = after["r"]
    assert after["tokens"] == before["tokens"]
    assert len(after["tokens"]) == (status != Status.PENDING)
    for what in ("completed", "open", "checkpoints", "logs"):
        assert has[what] == had[what], what
    assert has["events"][:-1] == had["events"]
    last = has["events"][-1]
    assert (last.at, last.type, last.data) == (NOW + 10, "run.moved", ev.moved_in())
    assert [found.id for found in await store.list_runs(RunFilter(tags=("x",)))] == ["r"]
    assert await store.leases() == []


async def test_it_goes_on(store):
    row = await store.import_run(await left(), NOW + 10)
    assert row.generation == 3
    [found] = await claim(store, "here", now=NOW + 11)
    assert (found.run.generation, found.status, found.fresh) == (4, "PENDING", False)
    assert (await types(store))[-2:] == ["run.claimed", "run.resumed"]
    assert (await store.read_events("r", 8, 10))[0].data == {"replayed": 2, "gap_ms": 10_000}
    assert await store.save_step("r", 4, step("c", 10, generation=4)) is None
    assert await store.save_step("r", 4, step("b", 11, generation=4, failures=1)) is None
    assert [found.path for found in await store.load_steps("r")] == [
        "a", "outer/inner", "c", "b", "nap", "token of r",
    ]  # fmt: skip
    assert (await settle(store, "r", Status.COMPLETED)).status == "COMPLETED"
    await everything(store)


async def test_it_wakes_when_it_is_due(store):
    await store.import_run(await left("late", status=Status.WAITING), NOW + 10)
    assert await store.next_due() == NOW + 60
    assert await claim(store, now=NOW + 59) == []
    await store.import_run(await left("over", status=Status.WAITING), NOW + 61)
    assert {found.run.id for found in await claim(store, now=NOW + 61)} == {"late", "over"}


async def test_workers_hear_of_it(store, other):
    heard = []
    store.listen(heard.append, steps=False)
    await store.import_run(await left(), NOW + 10)
    assert Change("r", claimable=True) in heard
    heard.clear()
    await store.move_run("r", NOW + 11)
    assert heard == [Change("r", claimable=False, ended="MOVED")]


async def test_again_it_is_what_it_has_become(store):
    moved = await left()
    await store.import_run(moved, NOW + 10)
    before = await everything(store)
    assert await store.import_run(moved, NOW + 11) == before["r"]["run"]
    assert await everything(store) == before
    await claim(store)
    done = await settle(store, "r", Status.COMPLETED)
    assert await store.import_run(moved, NOW + 12) == done == await get(store)


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.MOVED}))
async def test_another_run_of_this_id(store, status):
    await bring(store, status)
    before = await everything(store)
    with pytest.raises(Conflict):
        await store.import_run(await left(), NOW + 10)
    assert await everything(store) == before


async def test_another_moved_run_of_this_id(store):
    await half_done(store)
    await store.move_run("r", NOW + 3)
    before = await everything(store)
    with pytest.raises(Conflict):
        await store.import_run(await left(at=NOW + 2), NOW + 10)
    assert await everything(store) == before


# Back


async def test_what_was_not_imported_anywhere_comes_back(store):
    await half_done(store, idempotency_key=KEY)
    moved = await gather(store, await store.move_run("r", NOW + 2))
    row = await store.import_run(moved, NOW + 10)
    assert (row.status, row.generation, row.key_live, row.seq) == ("PENDING", 3, 1, 7)
    seen = await everything(store)
    assert [each.path for each in seen["r"]["completed"]] == ["a", "outer/inner"]
    assert len(seen["r"]["logs"]) == 2


async def test_its_tokens_are_there_when_it_comes_back(store):
    """They are known by their ids, outside."""
    await half_done(store)
    made = await promise(store)
    await store.import_run(await gather(store, await store.move_run("r", NOW + 2)), NOW + 3)
    assert await store.read_tokens(["t"], NOW) == [made]
    await claim(store, now=NOW + 3)
    await settle(store, "r", Status.WAITING, wakes=Wakes(tokens=("t",)))
    await store.finish_token("t", "completed", "1", None, NOW + 5)
    assert (await get(store)).ready_at == NOW + 5


async def test_there_and_back_again(store):
    """What was done elsewhere is here, and all that was here before."""
    elsewhere = MemoryStore()
    await half_done(store)
    await elsewhere.import_run(await gather(store, await store.move_run("r", NOW + 2)), NOW + 3)
    await claim(elsewhere, now=NOW + 3)
    await elsewhere.save_step("r", 4, step("b", 10, generation=4))
    await settle(elsewhere, "r", Status.WAITING, logs=(log(5),), metadata='{"m": 2}')
    moved = await gather(elsewhere, await elsewhere.move_run("r", NOW + 4))
    row = await store.import_run(moved, NOW + 5)
    assert (row.status, row.generation, row.metadata) == ("WAITING", 6, '{"m": 2}')
    seen = await everything(store)
    assert [each.path for each in seen["r"]["completed"]] == ["a", "outer/inner", "b"]
    assert [line.ordinal for line in seen["r"]["logs"]] == [0, 1, 5]
    moves = [each.data["direction"] for each in seen["r"]["events"] if each.type == "run.moved"]
    assert moves == ["out", "in", "out", "in"]
    assert [found.id for found in await store.list_runs(RunFilter(tags=("y",)))] == ["r"]


async def test_an_old_document_does_not_bring_back_what_has_moved_on(store):
    moved = await left()
    await store.import_run(moved, NOW + 10)
    await store.move_run("r", NOW + 11)
    before = await everything(store)
    with pytest.raises(Conflict):
        await store.import_run(moved, NOW + 12)
    assert await everything(store) == before


async def test_its_generation_is_above_both(store):
    """A stranger says that it had fewer claims than this store has seen."""
    await half_done(store)
    moved = await gather(store, await store.move_run("r", NOW + 2))
    low = moved._replace(run=moved.run._replace(generation=1))
    assert (await store.import_run(low, NOW + 10)).generation == 3


async def test_one_that_was_deleted_may_come_again(store):
    moved = await left()
    await store.import_run(moved, NOW + 10)
    await store.cancel_run("r", NOW + 11)
    await store.delete_run("r")
    assert (await store.import_run(moved, NOW + 12)).status == "PENDING"


# Keys


async def test_its_key_is_taken(store):
    await create(store, "holder", idempotency_key=KEY)
    before = await everything(store, "r")
    with pytest.raises(Conflict, match=r"run holder has its idempotency key \[\"global\",\"k\"\]"):
        await store.import_run(await left(idempotency_key=KEY), NOW + 10)
    assert await everything(store, "r") == before


async def test_a_key_that_nobody_has(store):
    await bring(store, Status.FAILED, "failed", idempotency_key=KEY)
    await create(store, "other", job="other", idempotency_key=KEY)
    await create(store, "late", idempotency_key=KEY, idempotency_expires_at=NOW + 10)
    row = await store.import_run(await left(idempotency_key=KEY), NOW + 10)
    assert row.key_live == 1
    assert (await create(store, "second", idempotency_key=KEY)).id == "r"


async def test_a_key_whose_time_is_up(store):
    await create(store, "holder", idempotency_key=KEY)
    moved = await left(idempotency_key=KEY, idempotency_expires_at=NOW + 10)
    assert (await store.import_run(moved, NOW + 10)).key_live == 0
    assert (await create(store, "second", idempotency_key=KEY)).id == "holder"


# Tokens


async def states(store, run_id=None):
    """Of the tokens of all runs, or of one."""
    found = await store.list_tokens(TokenFilter(run_id=run_id, limit=1000))
    return {made.id: made.state for made in found}


async def asking(store, **fields):
    """A run that waits, with a token in each state."""
    await executing(store, **fields)
    for id in ("done", "failed", "late", "open", "other"):
        await promise(store, id, deadline=NOW + 1 if id == "late" else NOW + 100)
    await store.save_step("r", 1, wait("heard", kind="event", ref="other"))
    await store.finish_token("done", "completed", '{"yes": 1}', None, NOW)
    await store.finish_token("failed", "failed", None, '{"type": "E", "message": "no"}', NOW)
    [late] = await store.read_tokens(["late"], NOW + 1)
    assert late.state == "expired"
    return await settle(store, "r", Status.WAITING, wakes=Wakes(tokens=("open",)))


async def test_its_tokens_go_along(store):
    await asking(store)
    had = await store.list_tokens(TokenFilter())
    moved = await gather(store, await store.move_run("r", NOW + 2))
    elsewhere = MemoryStore()
    await elsewhere.import_run(moved, NOW + 3)
    assert await elsewhere.list_tokens(TokenFilter()) == had == await store.list_tokens(TokenFilter())
    assert len(had) == 5
    before = await everything(store)
    for id in ("open", "other"):
        with pytest.raises(Conflict, match="its run r is MOVED"):
            await store.finish_token(id, "completed", "1", None, NOW + 4)
    assert await everything(store) == before
    done = await elsewhere.finish_token("open", "completed", "1", None, NOW + 4)
    assert (done.state, done.output) == ("completed", "1")


async def test_they_can_be_finished_where_it_is(store):
    elsewhere = MemoryStore()
    await asking(elsewhere)
    await store.import_run(await gather(elsewhere, await elsewhere.move_run("r", NOW + 2)), NOW + 3)
    assert (await store.finish_token("done", "completed", "2", None, NOW + 4)).output == '{"yes": 1}'
    done = await store.finish_token("open", "failed", None, '{"type": "E", "message": ""}', NOW + 4)
    assert (done.state, done.finished_at, done.run_id) == ("failed", NOW + 4, "r")
    assert await store.read_tokens(["open"], NOW + 5) == [done]
    [found] = await claim(store, now=NOW + 5)
    assert (found.run.id, found.status) == ("r", "WAITING")


async def test_tokens_come_back_as_they_are_by_then(store):
    """What was there before is replaced."""
    await asking(store)
    elsewhere = MemoryStore()
    await elsewhere.import_run(await gather(store, await store.move_run("r", NOW + 2)), NOW + 3)
    await elsewhere.finish_token("open", "completed", "1", None, NOW + 4)
    await claim(elsewhere, now=NOW + 4)
    await promise(elsewhere, "new")
    moved = await gather(elsewhere, await elsewhere.move_run("r", NOW + 5))
    gone = moved._replace(tokens=tuple(made for made in moved.tokens if made.id != "failed"))
    await store.import_run(gone, NOW + 6)
    expected = {"late": "expired"} | dict.fromkeys(["done", "open"], "completed")
    expected |= dict.fromkeys(["other", "new"], "pending")
    assert await states(store) == expected
    await store.finish_token("new", "completed", "1", None, NOW + 7)
    assert await states(store) == expected | {"new": "completed"}
    await store.import_run(gone, NOW + 8)  # again changes nothing
    assert await states(store) == expected | {"new": "completed"}
    await everything(store)


async def test_what_came_is_gone_with_its_tokens(store):
    elsewhere = MemoryStore()
    await asking(elsewhere)
    moved = await gather(elsewhere, await elsewhere.move_run("r", NOW + 2))
    await store.import_run(moved, NOW + 3)
    await store.cancel_run("r", NOW + 4)
    await store.delete_run("r")
    assert await states(store) == {}
    await store.import_run(moved, NOW + 5)
    assert len(await states(store, "r")) == 5


async def test_a_token_that_another_run_has(store):
    await executing(store, "other")
    await promise(store, "open", "other")
    before = await everything(store, "r")
    elsewhere = MemoryStore()
    await asking(elsewhere)
    moved = await gather(elsewhere, await elsewhere.move_run("r", NOW + 2))
    with pytest.raises(Conflict, match="another run has its token open"):
        await store.import_run(moved, NOW + 10)
    assert await everything(store, "r") == before


async def test_a_token_of_another_run_that_comes_back(store):
    """Not even one that was here before."""
    await asking(store)
    moved = await gather(store, await store.move_run("r", NOW + 2))
    await executing(store, "other")
    await promise(store, "taken", "other")
    before = await everything(store)
    with pytest.raises(Conflict):
        await store.import_run(moved._replace(tokens=(*moved.tokens, token("taken"))), NOW + 10)
    assert await everything(store) == before
    await store.import_run(moved, NOW + 10)
    assert await states(store, "other") == {"taken": "pending"}


async def test_many_tokens(store, monkeypatch):
    """However many are made in one moment, each goes along once."""
    monkeypatch.setattr(moving, "_BATCH", 2)
    await executing(store)
    for n in range(7):
        await promise(store, f"t{n}", created_at=NOW + n // 3)
    moved = await gather(store, await store.move_run("r", NOW + 2))
    assert sorted(made.id for made in moved.tokens) == [f"t{n}" for n in range(7)]


# Waits


async def test_a_run_that_waits_for_a_token_looks_for_itself(store):
    """Whoever takes it in doesn't know what wakes it, and so it may be claimed at once."""
    await asking(store)
    row = await store.move_run("r", NOW + 2)
    [last] = await store.read_events("r", row.seq - 1, 10)
    assert last.data == ev.moved_out(Status.WAITING, None)
    elsewhere = MemoryStore()
    moved = await gather(store, row)
    assert (moved.run.status, moved.run.ready_at) == ("WAITING", None)
    await elsewhere.import_run(moved, NOW + 3)
    row = await store.import_run(moved, NOW + 3)
    assert (row.status, row.ready_at, row.claimable, row.remaining) == ("WAITING", None, 1, None)
    for one in (store, elsewhere):
        [found] = await claim(one, now=NOW + 3)
        assert (found.status, found.fresh) == ("WAITING", False)
        assert (await types(one))[-1] == "run.claimed"
    waits = await settle(store, "r", Status.WAITING, wakes=Wakes(tokens=("open",)))
    assert (waits.ready_at, waits.claimable) == (NOW + 60, 0)


async def test_a_back_off_goes_on_whatever_is_promised(store):
    await half_done(store)
    await settle(store, "r", Status.WAITING, attempt=2, error='{"type": "E", "message": ""}')
    moved = await gather(store, await store.move_run("r", NOW + 2))
    row = await store.import_run(moved, NOW + 3)
    assert (row.ready_at, row.claimable) == (NOW + 60, 0)
    await store.finish_token("token of r", "completed", "1", None, NOW + 4)
    assert await store.next_due() == NOW + 60


# Children stay


async def remains(store, id, match):
    """It can't leave, and nothing is written."""
    before = await everything(store)
    with pytest.raises(Conflict, match=match):
        await store.move_run(id, NOW + 9)
    assert await everything(store) == before


async def let_go(store, status):
    """A parent of two that executes comes to another unfinished status."""
    if status in (Status.STALE, Status.WAITING_ON_CONNECTIONS):
        await lead(store, status)
    elif status != Status.EXECUTING:
        wakes = Wakes(children=("a", "b"), all=True) if status == Status.WAITING else None
        await settle(store, "r", status, wakes=wakes)
    assert (await get(store)).status == status


@pytest.mark.parametrize("status", sorted(UNFINISHED - {Status.QUEUED}))
async def test_a_parent_stays_until_its_children_have_ended(store, status):
    await family(store, "a", "b")
    await end(store, "a")
    await let_go(store, status)
    await remains(store, "r", "^run r waits for child runs, which can't come along: export it when they have")
    await end(store, "b", "settle FAILED")
    await remains(store, "r", "^run r hasn't stored yet what its child runs gave, which can't come along: ")


@pytest.mark.parametrize("status", sorted(UNFINISHED - {Status.QUEUED}))
async def test_a_child_stays_with_its_parent(store, status):
    await family(store, "a", "b")
    await let_go(store, status)
    await remains(store, "a", "^run a is awaited by run r$")
    await end(store, "b")
    await remains(store, "b", "^run b is COMPLETED and can't become MOVED$")


async def test_what_has_ended_does_not_move_whatever_it_awaited(store):
    await family(store, "a")
    await settle(store, "r", Status.FAILED)
    await remains(store, "r", "^run r is FAILED and can't become MOVED$")


async def test_a_child_that_is_a_parent(store):
    await family(store, "a")
    await spawn(store, "below", parent="a")
    for id, match in (("r", "waits for"), ("a", "waits for"), ("below", "awaited by run a")):
        await remains(store, id, match)


@pytest.mark.parametrize("status", sorted(FINAL - {Status.MOVED, Status.EXPIRED}))
async def test_a_child_whose_parent_has_ended_may_go(store, status):
    await family(store, "a")
    await settle(store, "r", status)  # by its holder: `cancel_run` would take the child along
    had = (await everything(store))["r"]
    row = await store.move_run("a", NOW + 9)
    assert (row.status, row.parent_id, row.awaited) == ("MOVED", "r", 1)
    assert (await everything(store))["r"] == had
    back = await store.import_run(await gather(store, row), NOW + 10)
    assert (back.status, back.parent_id, back.awaited) == ("PENDING", None, 0)


async def test_a_child_whose_parent_is_gone_may_go(store):
    await family(store, "a")
    await settle(store, "r", Status.COMPLETED)
    await store.delete_run("r")
    assert (await store.move_run("a", NOW + 9)).status == "MOVED"


async def test_nobody_minds_a_child_that_was_only_started(store):
    await executing(store)
    runs = [new_run(id, parent_id="r") for id in "ab"]
    await call(store, runs, step("begun", 3, kind="trigger", output="null"))
    assert (await store.move_run("a", NOW + 9)).status == "MOVED"
    moved = await gather(store, await store.move_run("r", NOW + 9))
    assert [(found.kind, found.ref) for found in moved.steps] == [("trigger", "a\nb")]
    assert (await get(store, "b")).status == "PENDING"
    elsewhere = MemoryStore()
    row = await elsewhere.import_run(await gather(store, await get(store, "a")), NOW + 10)
    assert (row.parent_id, row.awaited) == (None, 0)


async def test_a_call_that_has_ended_goes_along(store):
    await family(store, "a", "b")
    for id in "ab":
        await end(store, id)
    await store.save_step("r", 1, step("call", 3, kind="call", ref="a\nb", output="[1, 2]"))
    moved = await gather(store, await store.move_run("r", NOW + 9))
    assert [(found.ref, found.output) for found in moved.steps] == [("a\nb", "[1, 2]")]
    elsewhere = MemoryStore()
    await elsewhere.import_run(moved, NOW + 10)
    assert await elsewhere.load_steps("r") == list(moved.steps) == await store.load_steps("r")


@pytest.mark.parametrize("state", ["failed", "retrying"])
async def test_a_call_that_has_failed_goes_along_once_all_have_ended(store, state):
    await family(store, "a", "b")
    await end(store, "a", "settle FAILED")
    wake_at = NOW + 60 if state == "retrying" else None
    failed = step("call", None, kind="call", state=state, wake_at=wake_at, ref="a\nb")
    await store.save_failure("r", 1, failed, event(3))
    await remains(store, "r", "^run r waits for child runs")
    await end(store, "b")
    assert (await gather(store, await store.move_run("r", NOW + 9))).steps == (failed,)
