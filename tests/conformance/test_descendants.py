"""`cancel_run` and `purge` of runs that have children, or are children."""

from itertools import pairwise

import pytest

from durable_lite.errors import Conflict
from durable_lite.records import RunFilter, Wakes
from durable_lite.status import FINAL, RESUMABLE, UNFINISHED, Status
from tests.conformance.build import (
    CLAIMABLE_LAST,
    ENDS,
    NOW,
    STARTED,
    bring,
    claim,
    create,
    end,
    executing,
    family,
    get,
    lead,
    promise,
    settle,
    spawn,
    types,
)
from tests.conformance.state import everything

# Cancel


async def generations(store):
    """Children of "r", which executes, and grandchildren, in every status that they can be brought to."""
    await executing(store)
    for parent, statuses in (("r", CLAIMABLE_LAST[:-3]), ("EXECUTING", CLAIMABLE_LAST)):
        for status in statuses:
            id = status if parent == "r" else f"below {status}"
            awaited = 0 if status == Status.MOVED else len(id) % 2  # what is awaited can't move
            await bring(store, status, id, parent_id=parent, awaited=awaited, idempotency_key=f'"{id}"')
    return (await everything(store))["runs"]


async def test_a_cancelled_run_takes_along_what_descends_from_it(store, other):
    """What has ended stays as it was."""
    await bring(store, Status.EXECUTING, "stranger", parent_id="never there")
    before = [row for row in await generations(store) if row.id != "stranger"]
    stranger = (await everything(store))["stranger"]
    row = await store.cancel_run("r", NOW + 7)
    assert (row.id, row.status) == ("r", "CANCELLED")
    after = await everything(other)
    assert after["r"]["run"] == row
    assert after["stranger"] == stranger
    for had in before:
        has = after[had.id]["run"]
        if had.status in FINAL:
            assert has == had
            continue
        assert has == had._replace(
            status="CANCELLED", generation=had.generation + 1, claimable=0, ready_at=None, key_live=0,
            finished_at=NOW + 7, seq=had.seq + 1, blocked=None,
        )  # fmt: skip
        last = after[had.id]["events"][-1]
        data = {"parent": had.parent_id} if had.parent_id else {}
        assert (last.seq, last.at, last.type, last.data) == (had.seq + 1, NOW + 7, "run.cancelled", data)
    assert {lease.run_id for lease in after["leases"]} == {"stranger"}
    assert await claim(store, now=NOW + 1e6) == []
    for status in UNFINISHED:
        new = f"new {status}"
        assert (await create(store, new, idempotency_key=f'"below {status}"')).id == new


async def test_however_far_they_descend(store):
    ids = [f"{n}" for n in range(12)]
    await executing(store, "0")
    for above, id in pairwise(ids):
        await spawn(store, id, f"{id} beside", parent=above, awaited=len(id) % 2)
        await claim(store)
    await store.cancel_run("2", NOW + 7)
    runs = {row.id: row.status for row in await store.list_runs(RunFilter(limit=100))}
    left = {"0", "1", "1 beside", "2 beside"}
    assert runs == {id: "EXECUTING" if id in left else "CANCELLED" for id in runs}
    assert len(runs) == 23
    assert {lease.run_id for lease in await store.leases()} == left


@pytest.mark.parametrize("how", ["settle COMPLETED", "settle FAILED"])
async def test_what_an_ended_child_has_started_goes_on(store, how):
    await family(store, "a")
    await spawn(store, "b", parent="a", awaited=0)
    await end(store, "a", how)
    before = await everything(store)
    await store.cancel_run("r", NOW + 7)
    after = await everything(store)
    assert (after["a"], after["b"]) == (before["a"], before["b"])
    assert after["r"]["run"].status == "CANCELLED"


@pytest.mark.parametrize("status", sorted((FINAL & STARTED) - {Status.MOVED}))
async def test_children_of_what_has_ended_go_on(store, status):
    """There is nothing to cancel, and so nothing is."""
    await family(store, "a")
    await settle(store, "r", status)
    before = await everything(store)
    assert before["a"]["run"].status == "EXECUTING"
    with pytest.raises(Conflict):
        await store.cancel_run("r", NOW + 7)
    assert await everything(store) == before


async def test_nobody_wakes_that_is_cancelled_too(store):
    """Parents on every level wait for what is cancelled before or after them."""
    await family(store, "a")
    await spawn(store, "b", "c", parent="a")
    await claim(store)
    for parent, children in (("a", ("b", "c")), ("r", ("a",))):
        wakes = Wakes(children=children, all=True)
        assert (await settle(store, parent, Status.WAITING, wakes=wakes)).remaining == len(children)
    assert await store.next_due() == NOW + 60
    await store.cancel_run("r", NOW + 7)
    for row in await store.get_runs(list("rabc")):
        assert (row.status, row.generation, row.ready_at, row.claimable, row.remaining) == (
            "CANCELLED", 2, None, 0, None,
        ), row.id  # fmt: skip
    assert await store.next_due() is None
    assert await claim(store, now=NOW + 1e6) == []
    assert [(await types(store, id)).count("run.cancelled") for id in "rabc"] == [1] * 4


async def test_a_cancelled_child_wakes_its_parent(store):
    """Its own children go along, its siblings don't."""
    await family(store, "a", "b")
    await spawn(store, "below", parent="a")
    await settle(store, "r", Status.WAITING, wakes=Wakes(children=("a", "b"), all=True))
    before = await get(store)
    await store.cancel_run("a", NOW + 7)
    assert await get(store) == before._replace(ready_at=NOW + 7, remaining=0)
    assert await store.next_due() == NOW + 7
    statuses = [row.status for row in await store.get_runs(["a", "b", "below"])]
    assert statuses == ["CANCELLED", "EXECUTING", "CANCELLED"]


@pytest.mark.parametrize("status", sorted(RESUMABLE))
async def test_resuming_a_run_resumes_no_children(store, status):
    await family(store, "a")
    await (store.cancel_run("r", NOW) if status == Status.CANCELLED else settle(store, "r", status))
    before = (await everything(store))["a"]
    await store.resume_run("r", NOW + 1)
    assert (await everything(store))["a"] == before


@pytest.mark.parametrize("how", ["settle FAILED", "settle COMPLETED"])
async def test_only_a_cancel_takes_children_along(store, how):
    await family(store, "a")
    await promise(store)
    before = (await everything(store))["a"]
    await end(store, "r", how)
    assert (await everything(store))["a"] == before


# Purge


@pytest.mark.parametrize("status", sorted(UNFINISHED))
async def test_purge_keeps_what_an_unfinished_run_may_wait_for(store, status):
    await family(store, "a", "b")
    await spawn(store, "free", path="free", awaited=0)
    await claim(store)
    await end(store, "a")
    await end(store, "b", "settle FAILED")
    await end(store, "free")
    await lead(store, status)
    before = await everything(store)
    assert before["r"]["run"].status == status
    assert await store.purge(NOW + 1e6, 10) == 1
    after = await everything(store, "free")
    assert not any(after.pop("free").values())
    del before["free"]
    assert after == before | {"runs": [row for row in before["runs"] if row.id != "free"]}
    assert await store.purge(NOW + 1e6, 10) == 0


@pytest.mark.parametrize("how", [*ENDS, "delete_run"])
async def test_purge_takes_them_once_their_parent_has_ended(store, how):
    await family(store, "a", "b")
    for id in "ab":
        await end(store, id)
    await end(store, "r", how if how in ENDS else "settle COMPLETED", at=NOW + 50)
    if how == "delete_run":
        await store.delete_run("r")
    assert await store.purge(NOW + 50, 10) == 2
    assert len(await store.list_runs(RunFilter())) == (how != "delete_run")  # the parent alone


async def test_purge_keeps_them_for_a_parent_that_was_resumed(store):
    await family(store, "a")
    await end(store, "a")
    await end(store, "r", "settle FAILED")
    await store.resume_run("r", NOW + 6)
    assert await store.purge(NOW + 1e6, 10) == 0
    await store.cancel_run("r", NOW + 7)
    assert await store.purge(NOW + 1e6, 10) == 2


async def test_what_purge_keeps_does_not_count(store):
    """However much older it is: what may go isn't held up by it."""
    await family(store, *(f"kept {n}" for n in range(5)))
    for n in range(5):
        await end(store, f"kept {n}", at=NOW - 100)
    for n in range(3):
        await bring(store, Status.COMPLETED, f"old {n}")
    assert [await store.purge(NOW + 1, 2) for _ in range(3)] == [2, 1, 0]
    left = {row.id for row in await store.list_runs(RunFilter())}
    assert left == {"r", *(f"kept {n}" for n in range(5))}
