"""`settle`: letting go of a run, finally or for a while, once."""

import pytest

from durable_lite.errors import Conflict
from durable_lite.records import Refusal
from durable_lite.status import Status
from tests.conformance.build import (
    EVENT_OF,
    NOW,
    SETTLED,
    bring,
    claim,
    event,
    executing,
    get,
    log,
    settlement,
    step,
    types,
)
from tests.conformance.state import everything

LETS_GO = sorted(SETTLED | {Status.WAITING, Status.PENDING})


@pytest.mark.parametrize("status", sorted(SETTLED))
async def test_a_final_status(store, status):
    row = await executing(store)
    done = settlement(
        status, at=NOW + 9, attempt=2, executed=8.5, output='{"o": 1}', error='{"e": 1}', progress='"p"',
        metadata='"m"', logs=(log(0),),
    )  # fmt: skip
    assert await store.settle("r", 1, done) is None
    assert await get(store) == row._replace(
        status=status, seq=3, attempt=2, executed=8.5, output='{"o": 1}', error='{"e": 1}', progress='"p"',
        metadata='"m"', finished_at=NOW + 9, last_seen_at=NOW + 9,
    )  # fmt: skip
    assert await store.leases() == []
    assert await store.read_logs("r") == [log(0)]
    [last] = await store.read_events("r", 2, 10)
    assert (last.seq, last.at, last.type, last.data) == (3, NOW + 9, EVENT_OF[status], {"n": 1})


async def test_waiting(store):
    row = await executing(store)
    await store.settle(
        "r", 1, settlement(Status.WAITING, at=NOW + 2, ready_at=NOW + 30, executed=1.5, attempt=2)
    )
    assert await get(store) == row._replace(
        status="WAITING", seq=3, attempt=2, executed=1.5, ready_at=NOW + 30, claimable=0, last_seen_at=NOW + 2
    )
    assert await store.leases() == []
    assert await store.next_due() == NOW + 30


async def test_a_release_is_claimable_at_once_by_anybody(store, other):
    row = await executing(store)
    await store.settle("r", 1, settlement(Status.PENDING, at=NOW + 2, executed=1.5))
    assert await get(store) == row._replace(
        status="PENDING", seq=3, executed=1.5, generation=2, claimable=1, last_seen_at=NOW + 2, interrupted=1
    )
    assert await store.leases() == []
    [found] = await claim(other, "v")
    assert (found.run.generation, found.run.attempt) == (3, 1)


async def test_its_event_comes_after_everything_that_there_is(store):
    """Whatever the worker has made of the numbers before it."""
    await executing(store)
    await store.save_step("r", 1, step("a", 3))
    await store.save_failure("r", 1, step("b"), event(4))
    await store.settle("r", 1, settlement(Status.WAITING, data='{"ready_at": null}'))
    assert [(each.seq, each.type, each.data) for each in await store.read_events("r", 4, 10)] == [
        (5, "run.waiting", {"ready_at": None})
    ]
    assert (await get(store)).seq == 5


async def test_output_and_error_are_as_of_the_last_settle(store):
    """A run that waits for its next attempt shows why; the result then replaces it."""
    await executing(store)
    await store.settle("r", 1, settlement(Status.WAITING, error='{"type": "E"}', ready_at=NOW))
    assert (await get(store)).error == '{"type": "E"}'
    [found] = await claim(store)
    assert found.run.error == '{"type": "E"}'
    await store.settle("r", 2, settlement(Status.COMPLETED))
    row = await get(store)
    assert (row.output, row.error) == ('"out"', None)


@pytest.mark.parametrize("status", LETS_GO)
async def test_a_repeated_settle_is_seen_as_done(store, status):
    await executing(store)
    await store.save_step("r", 1, step("a", 3))
    done = settlement(status, logs=(log(0),), progress='"p"', metadata='"m"')
    assert await store.settle("r", 1, done) is None
    before = await everything(store)
    for _ in range(2):
        assert await store.settle("r", 1, done) is None
        assert await everything(store) == before


@pytest.mark.parametrize("first", LETS_GO)
async def test_another_settle_is_not_taken_for_a_repeated_one(store, first):
    await executing(store)
    assert await store.settle("r", 1, settlement(first)) is None
    before = await everything(store)
    held = before["r"]["run"]
    for status in LETS_GO:
        second = settlement(status, output='"second"', at=NOW + 1 if status == first else NOW)
        for generation in (0, 1, 2):
            assert await store.settle("r", generation, second) == Refusal(held.status, held.generation)
    assert await everything(store) == before


async def test_a_settle_repeated_after_the_run_went_on_is_refused(store):
    await executing(store)
    done = settlement(Status.WAITING, ready_at=NOW)
    await store.settle("r", 1, done)
    await claim(store, "v")
    before = await everything(store)
    assert await store.settle("r", 1, done) == Refusal("EXECUTING", 2)
    assert await everything(store) == before


async def test_an_illegal_status_raises_and_changes_nothing(store):
    await executing(store)
    before = await everything(store)
    with pytest.raises(Conflict):
        await store.settle("r", 1, settlement(Status.EXECUTING, logs=(log(0),), progress='"p"'))
    assert await everything(store) == before


async def test_making_a_run_stale_is_not_for_its_holder(store):
    """It would be neither claimable nor fenced: `mark_stale` is the verb."""
    await executing(store)
    before = await everything(store)
    with pytest.raises(Conflict):
        await store.settle("r", 1, settlement(Status.STALE))
    assert await everything(store) == before


@pytest.mark.parametrize("status", LETS_GO)
async def test_checkpoints_stay(store, status):
    await executing(store)
    await store.save_step("r", 1, step("a", 3))
    await store.save_step("r", 1, step("b"))
    before = await store.load_steps("r")
    await store.settle("r", 1, settlement(status))
    assert await store.load_steps("r") == before
    assert (await types(store))[2:] == ["step.completed", EVENT_OF[status]]


async def test_it_is_seen_by_others_once_it_returned(store, other):
    await bring(store, Status.COMPLETED)
    assert await everything(other) == await everything(store)
