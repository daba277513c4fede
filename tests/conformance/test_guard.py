"""The guard: whoever doesn't hold a run changes nothing at all of it, and is told what it is."""

from functools import partial

import pytest

from durable_lite.records import Beat, Refusal
from durable_lite.status import FINAL, Status
from tests.conformance.build import (
    NOW,
    SETTLED,
    STARTED,
    beat,
    bring,
    claim,
    event,
    executing,
    get,
    lead,
    log,
    mark_stale,
    new_run,
    settle,
    settlement,
    step,
    token,
    wait,
)
from tests.conformance.state import everything

LETS_GO = sorted((FINAL & STARTED) | {Status.WAITING})
LATE = 5  # a seq that nothing has, and whose turn it is


def _settling(status):
    async def write(store, id, generation):
        late = settlement(
            status,
            executed=99.0,
            attempt=9,
            progress='"late"',
            metadata='{"late": 1}',
            logs=(log(7, id),),
        )
        return await store.settle(id, generation, late)

    return write


async def _save_step(store, id, generation):
    return await store.save_step(id, generation, step("late", LATE, id))


async def _save_step_again(store, id, generation):
    return await store.save_step(id, generation, step("done/failing", LATE, id, generation=generation))


async def _save_wait(store, id, generation):
    return await store.save_step(id, generation, step("nap", None, id, kind="sleep", state="waiting"))


async def _save_failure(store, id, generation):
    return await store.save_failure(id, generation, step("late", None, id), event(LATE))


async def _save_failure_again(store, id, generation):
    return await store.save_failure(id, generation, step("done", None, id, failures=5), event(LATE))


async def _create_token(store, id, generation):
    return await store.create_token(id, generation, wait("late", id), token("late", id))


async def _create_children(seq, store, id, generation):
    found = await store.create_children(
        id, generation, step("late", seq, id, kind="trigger"), [new_run("child", parent_id=id, awaited=1)]
    )
    return found if isinstance(found, Refusal) else None


async def _beat(store, id, generation):
    late = Beat(id, generation, 99.0, '"late"', '{"late": 1}', (log(7, id), log(0, id, message="late")))
    refusals = await store.beat("w", [late], NOW + 99)
    assert set(refusals) <= {id}
    return refusals.get(id)


WRITES = {
    "save_step": _save_step,
    "save_step again": _save_step_again,
    "save a wait": _save_wait,
    "save_failure": _save_failure,
    "save_failure again": _save_failure_again,
    "create_token": _create_token,
    "create_children": partial(_create_children, None),
    "create_children and be done": partial(_create_children, LATE),
    "beat": _beat,
    **{
        f"settle {status}": _settling(status) for status in sorted(SETTLED | {Status.WAITING, Status.PENDING})
    },
}


async def _held(store):
    """A run that worker "w" holds as generation 1, with something of everything."""
    row = await executing(store)
    await store.save_step("r", 1, step("done", 3))
    await store.save_failure("r", 1, step("done/failing"), event(4))
    await beat(store, row, NOW + 1, executed=1.0, progress='"p"', metadata='{"m": 1}', logs=(log(0),))


async def _queued(store):
    await _held(store)
    await lead(store, Status.QUEUED)


async def _expired(store):
    await bring(store, Status.EXPIRED)


async def _never_there(store):
    pass


async def _pending(store):
    await bring(store, Status.PENDING)


async def _claimed_again(store):
    await _held(store)
    await mark_stale(store, now=NOW + 40)
    await claim(store, "w", now=NOW + 41)  # the same worker: its new generation is another owner


async def _stale(store):
    await _held(store)
    await mark_stale(store, now=NOW + 40)


async def _cancelled(store):
    await _held(store)
    await store.cancel_run("r", NOW + 2)


async def _resumed(store):
    await _cancelled(store)
    await store.resume_run("r", NOW + 3)


async def _resumed_and_claimed(store):
    await _resumed(store)
    await claim(store, "v", now=NOW + 4)


async def _woken(store):
    await _held(store)
    await settle(store, "r", Status.WAITING)
    await claim(store, "w", now=NOW + 60)


async def _deleted(store):
    await _cancelled(store)
    await store.delete_run("r")


def _settled(status):
    async def reach(store):
        await _held(store)
        await settle(store, "r", status, at=NOW + 2)

    return reach


# How the run got away, with the generations that it has had or will have but doesn't hold now.
LOST = {
    "never claimed": (_pending, (0, 1)),
    "held, older and newer": (_held, (0, 2)),
    "claimed again": (_claimed_again, (0, 1, 2, 4)),
    "stale": (_stale, (1, 2, 3)),
    "queued": (_queued, (0, 2)),
    "expired": (_expired, (0, 1)),
    "cancelled": (_cancelled, (1, 2, 3)),
    "resumed": (_resumed, (1, 2, 3)),
    "resumed and claimed": (_resumed_and_claimed, (1, 2, 3, 5)),
    "woken": (_woken, (1, 3)),
    "deleted": (_deleted, (0, 1, 2)),
    "never there": (_never_there, (0, 1)),
    "released": (_settled(Status.PENDING), (1, 2, 3)),
    **{f"settled {status}": (_settled(status), (0, 1, 2)) for status in LETS_GO},
}


@pytest.mark.parametrize("lost", LOST)
async def test_no_write_of_a_generation_that_does_not_hold_the_run(store, lost):
    reach, generations = LOST[lost]
    await reach(store)
    before = await everything(store, "r")
    row = before["r"]["run"]
    for name, write in WRITES.items():
        for generation in generations:
            refusal = await write(store, "r", generation)
            assert isinstance(refusal, Refusal), (name, generation)
            if row is None:
                assert refusal.status is None
            else:
                assert refusal == (row.status, row.generation), (name, generation)
            assert await everything(store, "r") == before, (name, generation)


@pytest.mark.parametrize("write", WRITES)
async def test_the_same_write_of_the_holder_is_done(store, write):
    """Else the test above would prove nothing."""
    await _held(store)
    before = await everything(store)
    assert await WRITES[write](store, "r", 1) is None
    row = await get(store)
    if write == "beat" or write.startswith("settle"):
        assert (row.progress, row.metadata, len(await store.read_logs("r"))) == ('"late"', '{"late": 1}', 2)
    else:
        assert await store.load_steps("r") != before["r"]["completed"] + before["r"]["open"]


async def test_an_old_owner_can_not_overwrite_the_new_ones_result(store):
    await executing(store, worker="old")
    await mark_stale(store)
    await claim(store, "new")
    await store.save_step("r", 3, step("a", 5, output='"new"', generation=3))
    assert await store.save_step("r", 1, step("a", 3, output='"old"')) == Refusal("EXECUTING", 3)
    done = await settle(store, "r", Status.COMPLETED, output='"new"')
    for status in (Status.COMPLETED, Status.FAILED):
        late = settlement(status, output='"old"')  # even at the same seq
        assert await store.settle("r", 1, late) == Refusal("COMPLETED", 3)
    assert (await get(store)) == done
    assert [found.output for found in await store.load_checkpoints("r")] == ['"new"']


async def test_a_refusal_concerns_one_run_only(store):
    for id in ("a", "b", "c"):
        await executing(store, id)
    await store.cancel_run("b", NOW)
    beats = [Beat(id, 1, 5.0, f'"{id}"', None, (log(0, id),)) for id in ("a", "b", "c", "never there")]
    refusals = await store.beat("w", beats, NOW + 5)
    assert refusals["b"] == Refusal("CANCELLED", 2)
    assert refusals["never there"].status is None
    assert set(refusals) == {"b", "never there"}
    seen = await everything(store)
    assert {id: (seen[id]["run"].progress, len(seen[id]["logs"])) for id in ("a", "b", "c")} == {
        "a": ('"a"', 1), "b": (None, 0), "c": ('"c"', 1),
    }  # fmt: skip
    assert {lease.run_id: (lease.heartbeat_at, lease.executed) for lease in seen["leases"]} == {
        "a": (NOW + 5, 5.0), "c": (NOW + 5, 5.0),
    }  # fmt: skip
