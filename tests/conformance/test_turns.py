"""The sequence of a run has no gaps: what is written before its turn is refused until it has come."""

from __future__ import annotations

import asyncio

import pytest

from durable_lite.errors import StoreUnavailable
from durable_lite.records import Refusal
from durable_lite.status import Status
from tests.conformance.build import (
    NOW,
    claim,
    event,
    executing,
    get,
    mark_stale,
    new_run,
    settle,
    step,
    token,
)
from tests.conformance.state import everything

# A write of the holder under a generation, which takes this number of the sequence.
WRITES = {
    "save_step": lambda store, held, seq: store.save_step("r", held, step("late", seq, generation=held)),
    "save_failure": lambda store, held, seq: store.save_failure(
        "r", held, step("late", generation=held), event(seq)
    ),
    "create_token": lambda store, held, seq: store.create_token(
        "r", held, step("late", seq, kind="token", ref="t", generation=held), token("t")
    ),
    "create_children": lambda store, held, seq: store.create_children(
        "r", held, step("late", seq, kind="call", generation=held), [new_run("child", parent_id="r")]
    ),
}
FIRST = ("save_step", "save_failure")


async def seqs(store) -> list[int]:
    return [each.seq for each in await store.read_events("r", 0, 100)]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("first", FIRST)
async def test_a_write_before_its_turn_waits_for_the_one_before_it(store, other, write, first):
    """The one before it has failed for a moment: both are tried again, in order."""
    await executing(store)
    before = await everything(store)
    for handle in (store, other):
        with pytest.raises(StoreUnavailable, match="run r: a write that comes before this one"):
            await WRITES[write](handle, 1, 4)
        assert await everything(other) == before
    if first == "save_step":
        assert await store.save_step("r", 1, step("early", 3)) is None
    else:
        assert await store.save_failure("r", 1, step("early"), event(3)) is None
    for _ in range(2):  # and a repeated one is seen as done
        assert not isinstance(await WRITES[write](store, 1, 4), Refusal)
        assert await seqs(store) == [1, 2, 3, 4]


@pytest.mark.parametrize("write", WRITES)
async def test_the_first_after_a_claim_comes_after_whatever_there_was(store, write):
    await executing(store)
    for number in range(3, 6):
        await store.save_step("r", 1, step(f"s{number}", number))
    await store.save_failure("r", 1, step("f"), event(6))
    await mark_stale(store)
    [found] = await claim(store, now=NOW + 60)
    seq = found.run.seq + 1
    assert not isinstance(await WRITES[write](store, 3, seq), Refusal)
    assert await seqs(store) == list(range(1, seq + 1))


async def test_many_at_once_come_in_the_order_of_their_calls(store):
    await executing(store)
    done = await asyncio.gather(
        *(
            store.save_failure("r", 1, step(f"s{seq}"), event(seq)) if seq % 3 == 0 else store.save_step("r", 1, step(f"s{seq}", seq))
            for seq in range(3, 30)
        )
    )  # fmt: skip
    assert done == [None] * 27
    assert await seqs(store) == list(range(1, 30))


@pytest.mark.parametrize("lost", ["step", "failure"])
async def test_of_many_at_once_those_after_one_that_is_missing_wait(store, lost):
    await executing(store)
    saves = [store.save_step("r", 1, step(f"s{seq}", seq)) for seq in (3, 5, 6)]
    found = await asyncio.gather(*saves, return_exceptions=True)
    assert [type(each) for each in found] == [type(None), StoreUnavailable, StoreUnavailable]
    assert await seqs(store) == [1, 2, 3]
    missing = (
        store.save_step("r", 1, step("s4", 4))
        if lost == "step"
        else store.save_failure("r", 1, step("s4"), event(4))
    )
    saves = [missing, *(store.save_step("r", 1, step(f"s{seq}", seq)) for seq in (5, 6))]
    assert await asyncio.gather(*saves) == [None] * 3
    assert await seqs(store) == [1, 2, 3, 4, 5, 6]


async def test_who_lets_go_needs_no_turn(store):
    """A write that never came, as its worker gave it up, leaves no gap."""
    await executing(store)
    with pytest.raises(StoreUnavailable):
        await store.save_step("r", 1, step("after it", 4))
    await settle(store, "r", Status.WAITING)
    assert await seqs(store) == [1, 2, 3]
    assert (await get(store)).seq == 3
