"""Children: runs that a run starts, and what it hears of their ends."""

import pytest

from durable_lite.errors import StoreError
from durable_lite.records import Change, Refusal, Wakes
from durable_lite.status import Status
from tests.conformance.build import (
    ENDS,
    NOW,
    STARTED,
    Ear,
    call,
    claim,
    create,
    end,
    executing,
    family,
    get,
    lead,
    mark_stale,
    new_run,
    promise,
    settle,
    settlement,
    spawn,
    step,
    types,
    wait,
)
from tests.conformance.state import everything

KEY = '["global","k"]'
CALL = wait("call", kind="call", ref=None)

FAILS = sorted(set(ENDS) - {"settle COMPLETED"})


async def waits(store, *ids, all=True, **fields):
    return await settle(store, "r", Status.WAITING, wakes=Wakes(children=ids, all=all), **fields)


async def due(store):
    """When the parent is due, which is not claimable yet."""
    row = await get(store)
    assert (row.status, row.claimable, row.ready_at) == ("WAITING", 0, await store.next_due())
    return row.ready_at


# Create


async def test_children_are_stored_with_the_step_that_names_them(store, other):
    before = await executing(store)
    leases = await store.leases()
    runs = [new_run(id, parent_id="r", awaited=1, payload=f'"{id}"', priority=3) for id in "cab"]
    created = await store.create_children("r", 1, CALL, runs)
    assert [(row.id, how) for row, how in created] == [(id, "created") for id in "cab"]
    for handle in (store, other):
        assert await handle.get_runs(list("cab")) == [row for row, _ in created]
        assert await handle.load_steps("r") == [CALL._replace(ref="c\na\nb")]
        [found] = await handle.load_checkpoints("r")
        assert (found.path, found.state, found.kind, found.ref) == ("call", "waiting", "call", "c\na\nb")
    for id in "abc":
        row = await get(store, id)
        assert (row.status, row.claimable, row.payload, row.priority) == ("PENDING", 1, f'"{id}"', 3)
        assert (row.parent_id, row.awaited, row.remaining) == ("r", 1, None)
        assert await types(store, id) == ["run.triggered"]
    assert (await get(store), await store.leases()) == (before, leases)
    assert await types(store) == ["run.triggered", "run.claimed"]
    assert {found.run.id for found in await claim(store)} == set("abc")


async def test_a_run_that_nobody_waits_for(store):
    await executing(store)
    [row] = await spawn(store, "a", awaited=0)
    assert (row.parent_id, row.awaited) == ("r", 0)


@pytest.mark.parametrize("title", [None, "Trigger"])
async def test_a_completed_step_is_an_event(store, title):
    await executing(store)
    await store.save_step("r", 1, step("a", 3))
    done = step("start", 4, kind="trigger", name="job", output='"x"', title=title)
    await call(store, [new_run("x", parent_id="r")], done)
    await store.save_step("r", 1, step("b", 5))
    assert await store.load_steps("r") == [step("a", 3), done._replace(ref="x"), step("b", 5)]
    assert [found.ref for found in await store.load_checkpoints("r")] == [None, "x", None]
    found = await store.read_events("r", 2, 10)
    assert [(each.seq, each.type, each.data["path"]) for each in found] == [
        (3, "step.completed", "a"), (4, "step.completed", "start"), (5, "step.completed", "b"),
    ]  # fmt: skip
    await everything(store)


@pytest.mark.parametrize("seq", [None, 3])
async def test_where_a_key_answered_the_step_names_that_run(store, seq):
    await create(store, "holder", idempotency_key=KEY, ready_at=NOW + 500)
    holder = await get(store, "holder")
    await executing(store)
    runs = [
        new_run("a", parent_id="r"),
        new_run("b", parent_id="r", idempotency_key=KEY),
        new_run("c", parent_id="r", idempotency_key="[]"),
        new_run("d", parent_id="r", idempotency_key="[]"),
    ]
    created = await call(store, runs, step("start", seq, kind="trigger"))
    assert [(row.id, how) for row, how in created] == [
        ("a", "created"), ("holder", "idempotent"), ("c", "created"), ("c", "idempotent"),
    ]  # fmt: skip
    assert [found.ref for found in await store.load_checkpoints("r")] == ["a\nholder\nc\nc"]
    assert await get(store, "holder") == created[1].run == holder
    assert await store.get_runs(["b", "d"]) == []
    await everything(store)


@pytest.mark.parametrize("made", [CALL, step("start", 3, kind="trigger")], ids=["call", "trigger"])
async def test_a_repeated_call_is_seen_as_done(store, made):
    await create(store, "holder", idempotency_key=KEY, ready_at=NOW + 500)
    await executing(store)
    runs = [new_run("a", parent_id="r", awaited=1), new_run("b", parent_id="r", idempotency_key=KEY)]
    first = await call(store, runs, made)
    before = await everything(store, "b")
    assert await call(store, runs, made) == first
    assert await everything(store, "b") == before
    await claim(store)
    await settle(store, "a", Status.COMPLETED)
    before = await everything(store, "b")
    again = await call(store, runs, made)
    assert [(row.id, row.status, how) for row, how in again] == [
        ("a", "COMPLETED", "created"), ("holder", "PENDING", "idempotent"),
    ]  # fmt: skip
    assert await everything(store, "b") == before


async def test_a_repeated_call_of_who_lost_the_run_is_refused(store):
    await executing(store)
    await spawn(store, "a")
    await mark_stale(store)
    before = await everything(store, "b")
    runs = [new_run(id, parent_id="r", awaited=1) for id in "ab"]
    assert await store.create_children("r", 1, CALL, runs) == Refusal("STALE", 2)
    assert await everything(store, "b") == before


async def test_a_repeated_call_has_the_same_children_though_their_key_is_free_by_now(store):
    """Its answer was lost, and in between the run that has answered for the key has failed."""
    await executing(store)
    await create(store, "before", idempotency_key=KEY)
    runs = [
        new_run("a", parent_id="r", awaited=1, idempotency_key=KEY),
        new_run("b", parent_id="r", awaited=1),
    ]
    [first, second] = await store.create_children("r", 1, CALL, runs)
    assert [(first.run.id, first.disposition), second.run.id] == [("before", "idempotent"), "b"]
    await end(store, "before", "cancel_run")
    again = await store.create_children("r", 1, CALL, runs)
    assert [row.id for row, _ in again] == ["before", "b"]
    assert await store.get_run("a") is None
    assert [row.ref for row in await store.load_steps("r")] == ["before\nb"]


async def test_without_the_step_there_are_no_children(store):
    """The step's seq is taken: the runs are as little there as it is, and the same call may do better."""
    await executing(store)
    await store.save_step("r", 1, step("first", 3))
    before = await everything(store, "a")
    late, runs = step("second", 3, kind="trigger"), [new_run("a", parent_id="r", idempotency_key=KEY)]
    with pytest.raises(StoreError):
        await store.create_children("r", 1, late, runs)
    assert await everything(store, "a") == before
    [created] = await call(store, runs, late._replace(seq=4))
    assert created.disposition == "created"


async def test_runs_are_got_in_the_order_asked_for(store, other):
    rows = {id: await create(store, id) for id in "dabc"}
    for ids in (list("abcd"), list("dcba"), ["b", "never there", "a"], ["a", "c", "a"], []):
        assert await other.get_runs(ids) == [rows[id] for id in ids if id in rows], ids
    many = [f"{n:04}" for n in range(1500)]
    await store.create_runs([new_run(id) for id in many])
    assert [row.id for row in await store.get_runs(many[::-1])] == many[::-1]


# Wake


async def test_a_parent_wakes_when_all_have_completed(store, other):
    await family(store, "a", "b", "c")
    before = await waits(store, "a", "b", "c")
    assert (before.remaining, before.ready_at) == (3, NOW + 60)
    for left, id in [(2, "b"), (1, "a")]:
        await end(other, id)
        assert await get(store) == before._replace(remaining=left)
        assert await due(store) == NOW + 60
    await end(other, "c", at=NOW + 7)
    assert await get(store) == before._replace(remaining=0, ready_at=NOW + 7)
    assert await due(store) == NOW + 7
    assert await claim(store, now=NOW + 6.9) == []
    [found] = await claim(store, now=NOW + 7)
    assert (found.status, found.run.id, found.run.generation, found.run.remaining) == (
        "WAITING",
        "r",
        2,
        None,
    )


@pytest.mark.parametrize("all", [True, False])
async def test_a_parent_that_waits_without_end(store, all):
    await family(store, "a")
    await waits(store, "a", all=all, ready_at=None)
    assert await store.next_due() is None
    assert await claim(store, now=NOW + 1e9) == []
    await end(store, "a")
    assert await due(store) == NOW + 5


@pytest.mark.parametrize("all", [True, False])
@pytest.mark.parametrize("how", FAILS)
async def test_a_child_that_did_not_complete_wakes_at_once(store, how, all):
    await family(store, "a", "b", "c")
    await waits(store, "a", "b", "c", all=all)
    await end(store, "b", how)
    assert await due(store) == NOW + 5
    await end(store, "a", at=NOW + 9)
    assert await due(store) == NOW + 5
    assert len(await claim(store, now=NOW + 5)) == 1


@pytest.mark.parametrize("how", ["settle COMPLETED", "settle FAILED"])
async def test_any_child_wakes_who_waits_for_one(store, how):
    await family(store, "a", "b", "c")
    assert (await waits(store, "a", "b", "c", all=False)).remaining == 1
    await end(store, "c", how)
    assert await due(store) == NOW + 5
    await end(store, "a", at=NOW + 9)
    assert await due(store) == NOW + 5


@pytest.mark.parametrize("all", [True, False])
async def test_a_child_that_goes_on_wakes_nobody(store, all):
    await family(store, "a")
    before = await waits(store, "a", all=all)
    await settle(store, "a", Status.WAITING, ready_at=NOW)
    await claim(store)
    await settle(store, "a", Status.PENDING)
    await claim(store)
    await mark_stale(store, "a")
    assert await get(store) == before
    await store.cancel_run("a", NOW + 3)
    assert await due(store) == NOW + 3


@pytest.mark.parametrize(
    ("ended", "all", "remaining"),
    [("a", True, 2), ("ab", True, 1), ("abc", True, None), ("a", False, None), ("", True, 3), ("", False, 1)],
)
async def test_children_that_have_completed_before_count(store, ended, all, remaining):
    """`remaining`: how many are still to come; None: the parent is due at once."""
    await family(store, "a", "b", "c")
    for id in ended:
        await end(store, id)
    await waits(store, "a", "b", "c", all=all, at=NOW + 6, ready_at=NOW + 600)
    if remaining is not None:
        assert (await get(store)).remaining == remaining
        late = sorted(set("abc") - set(ended))
        for n, id in enumerate(late[:remaining]):
            assert await due(store) == NOW + 600
            await end(store, id, at=NOW + 7 + n)
        assert await due(store) == NOW + 6 + remaining
    else:
        assert await due(store) == NOW + 6


@pytest.mark.parametrize("all", [True, False])
@pytest.mark.parametrize("how", [*FAILS, "delete_run", "never there"])
async def test_a_child_that_has_failed_or_gone_before_wakes_at_once(store, how, all):
    await family(store, "a", "b")
    if how == "delete_run":
        await end(store, "a")
        await store.delete_run("a")
    elif how != "never there":
        await end(store, "a", how)
    await waits(store, "never there" if how == "never there" else "a", "b", all=all, at=NOW + 6)
    assert await due(store) == NOW + 6


async def test_a_child_that_is_named_twice_is_one(store):
    """As it is where one idempotency key was given twice."""
    await family(store, "a", "b")
    await waits(store, "a", "b", "a")
    await end(store, "a")
    assert await due(store) == NOW + 60
    await end(store, "b")
    assert await due(store) == NOW + 5


@pytest.mark.parametrize("how", ENDS)
async def test_a_child_that_nobody_waits_for_wakes_nobody(store, how):
    await family(store, "a", "b", awaited=0)
    await promise(store)
    before = await settle(store, "r", Status.WAITING, wakes=Wakes(tokens=("t",)))
    await end(store, "a", how)
    assert await get(store) == before
    assert await due(store) == NOW + 60


@pytest.mark.parametrize("how", ENDS)
async def test_a_parent_in_back_off_waits_on(store, how):
    await family(store, "a")
    before = await settle(store, "r", Status.WAITING, error='{"type": "E"}')
    await end(store, "a", how)
    assert await get(store) == before
    assert await due(store) == NOW + 60


@pytest.mark.parametrize("status", sorted(STARTED - {Status.WAITING, Status.MOVED}))
@pytest.mark.parametrize("how", ["settle COMPLETED", "settle FAILED"])
async def test_a_parent_that_does_not_wait_is_left_alone(store, status, how):
    await family(store, "a")
    if status == Status.CANCELLED:  # by its holder: `cancel_run` would take the child along
        await settle(store, "r", status)
    else:
        await lead(store, status)
    before = (await everything(store))["r"]
    assert before["run"].status == status
    await end(store, "a", how)
    assert (await everything(store))["r"] == before


@pytest.mark.parametrize("how", ENDS)
async def test_a_parent_that_is_gone(store, how):
    await family(store, "a")
    await settle(store, "r", Status.COMPLETED)
    await store.delete_run("r")
    assert (await end(store, "a", how)).status == ENDS[how]
    assert await store.get_run("r") is None


@pytest.mark.parametrize(("seen", "at"), [(False, NOW + 9), (True, NOW + 9), (True, NOW + 1)])
@pytest.mark.parametrize("how", ["settle COMPLETED", "settle FAILED", "cancel_run"])
async def test_a_parent_that_is_due_is_not_changed(store, how, seen, at):
    """`seen`: a claim, of somebody who can't take it, has made it claimable. Clocks may go back after that."""
    await family(store, "a")
    await waits(store, "a", ready_at=NOW + 2)
    if seen:
        assert await claim(store, jobs=("other",), now=NOW + 3) == []
    await end(store, "a", how, at)
    row = await get(store)
    assert (row.status, row.ready_at, row.claimable) == ("WAITING", NOW + 2, int(seen))
    assert len(await claim(store, now=NOW + 3)) == 1


@pytest.mark.parametrize("first", ["t", "b"])
async def test_tokens_and_children_may_be_waited_for_together(store, first):
    await family(store, "a", "b")
    await promise(store)
    await settle(store, "r", Status.WAITING, wakes=Wakes(("t",), ("a", "b"), all=True))
    await end(store, "a")
    assert await due(store) == NOW + 60
    if first == "t":
        await store.finish_token("t", "completed", "1", None, NOW + 6)
    else:
        await end(store, "b", at=NOW + 6)
    assert await due(store) == NOW + 6


async def test_a_claim_ends_the_wait(store):
    await family(store, "a", "b")
    await waits(store, "a", "b")
    await claim(store, now=NOW + 60)
    before = await get(store)
    assert before.remaining is None
    await end(store, "a")
    assert await get(store) == before
    assert (await waits(store, "a", "b", at=NOW + 61, ready_at=NOW + 600)).remaining == 1
    await end(store, "b", at=NOW + 62)
    assert await due(store) == NOW + 62


async def test_a_child_that_was_resumed_is_waited_for_again(store):
    await family(store, "a")
    await waits(store, "a")
    await end(store, "a", "settle FAILED")
    await store.resume_run("a", NOW + 6)
    assert [found.run.id for found in await claim(store, now=NOW + 6)] == ["a", "r"]
    assert (await waits(store, "a", at=NOW + 7, ready_at=NOW + 600)).remaining == 1
    await end(store, "a", at=NOW + 8)
    assert await due(store) == NOW + 8


async def test_repeated_settles_count_once(store):
    await family(store, "a", "b")
    parted = settlement(Status.WAITING, wakes=Wakes(children=("a", "b"), all=True))
    assert await store.settle("r", 1, parted) is None
    done = settlement(Status.COMPLETED, at=NOW + 5)
    for _ in range(3):
        assert await store.settle("a", 1, done) is None
        assert await store.settle("r", 1, parted) is None
        assert ((await get(store)).remaining, await due(store)) == (1, NOW + 60)
    assert await store.settle("a", 0, done) == Refusal("COMPLETED", 1)
    assert await store.settle("b", 0, done) == Refusal("EXECUTING", 1)
    assert (await get(store)).remaining == 1


async def test_listeners_are_told_of_new_children(store):
    await executing(store)
    ears = {id: Ear() for id in ("a", "b")}
    for ear in ears.values():
        store.listen(ear.append, steps=False)
    await spawn(store, "a", "b")
    for id, ear in ears.items():
        assert await ear.heard(id, True)


async def test_listeners_are_told_of_a_parent_that_wakes(store):
    await family(store, "a", "b")
    await waits(store, "a", "b")
    ear = Ear()
    store.listen(ear.append, steps=False)
    await end(store, "a")
    assert Change("r", claimable=True) not in ear
    assert await ear.heard("a", False)
    await end(store, "b")
    assert await ear.heard("r", True)
