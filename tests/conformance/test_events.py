"""`read_events`: one gapless sequence a run, which a reader follows with a cursor."""

import json
from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st

from durable_lite.events import RunEvent, step_completed
from durable_lite.status import Status
from tests.conformance.build import (
    NOW,
    beat,
    bring,
    claim,
    event,
    executing,
    get,
    log,
    mark_stale,
    settle,
    step,
    types,
)


async def a_long_life(store, id="r"):
    """Every kind of stored event, once at least. Returns their types in order."""
    row = await executing(store, id)
    await store.save_step(id, 1, step("a", 3, id))
    await store.save_failure(id, 1, step("b", None, id), event(4))
    await store.save_step(id, 1, step("b", 5, id, failures=1))
    await beat(store, row, NOW + 5, logs=(log(0, id),), progress='"p"')
    await mark_stale(store, id, now=NOW + 40)
    await claim(store, now=NOW + 41)
    await store.save_step(id, 3, step("c", 9, id, generation=3))
    await settle(store, id, Status.PENDING)
    await claim(store)
    await settle(store, id, Status.WAITING)
    await claim(store, now=NOW + 60)
    await settle(store, id, Status.FAILED)
    await store.resume_run(id, NOW)
    await store.cancel_run(id, NOW)
    return [
        "run.triggered", "run.claimed", "step.completed", "step.failed", "step.completed", "run.stale",
        "run.claimed", "run.resumed", "step.completed", "run.released", "run.claimed", "run.resumed",
        "run.waiting", "run.claimed", "run.failed", "run.resumed", "run.cancelled",
    ]  # fmt: skip


async def test_the_sequence_is_gapless_and_in_order(store):
    expected = await a_long_life(store)
    found = await store.read_events("r", 0, 1000)
    assert [each.type for each in found] == expected
    assert [each.seq for each in found] == list(range(1, len(expected) + 1))
    assert {each.run_id for each in found} == {"r"}
    assert (await get(store)).seq == len(expected)


async def test_a_step_is_its_own_event(store):
    await executing(store)
    await store.save_step("r", 1, step("x/y", 3, name="write", started_at=NOW + 1, finished_at=NOW + 2.5))
    await store.save_step("r", 1, step("x", 4, name=None, started_at=NOW + 0.5, finished_at=NOW + 3))
    assert await store.read_events("r", 2, 10) == [
        RunEvent("r", 3, NOW + 2.5, "step.completed", step_completed("x/y", "write", NOW + 1)),
        RunEvent("r", 4, NOW + 3, "step.completed", step_completed("x", None, NOW + 0.5)),
    ]


async def test_what_is_not_completed_is_no_event(store):
    await executing(store)
    await store.save_step("r", 1, step("nap", None, kind="sleep", state="waiting"))
    assert await types(store) == ["run.triggered", "run.claimed"]


async def test_the_data_of_an_event_is_kept(store):
    data = {
        "none": None,
        "n": 1.5,
        "big": 2**60,
        "list": [1, [True]],
        "text": "é\u0000\u2028\"'",
        "deep": {"a": {}},
    }
    await executing(store)
    await store.save_failure("r", 1, step("a"), event(3, data=json.dumps(data)))
    [found] = await store.read_events("r", 2, 1)
    assert found.data == data


async def test_events_are_of_their_run(store):
    expected = await a_long_life(store)
    await bring(store, Status.COMPLETED, "s")
    assert await types(store, "s") == ["run.triggered", "run.claimed", "run.completed"]
    assert await types(store, "r") == expected
    assert await store.read_events("never there", 0, 10) == []


@settings(max_examples=8)
@given(limits=st.lists(st.integers(1, 6), min_size=1, max_size=20))
async def test_a_reader_with_a_cursor_misses_and_repeats_nothing(store, limits):
    await a_long_life(store)
    expected = await store.read_events("r", 0, 1000)
    found, limits = [], cycle(limits)
    while page := await store.read_events("r", found[-1].seq if found else 0, limit := next(limits)):
        assert len(page) <= limit
        found += page
        assert len(found) <= len(expected)
    assert found == expected


async def test_cursor_and_limit_count_steps_and_events_alike(store):
    await a_long_life(store)
    expected = await store.read_events("r", 0, 1000)
    for after in range(len(expected) + 2):
        for limit in (0, 1, 2, 5):
            assert await store.read_events("r", after, limit) == expected[after : after + limit]


async def test_a_reader_follows_a_run_as_it_goes_on(store, other):
    seen = []

    async def look():
        seen.extend(await other.read_events("r", len(seen), 100))
        return seen[-1].type

    await executing(store)
    assert await look() == "run.claimed"
    await store.save_step("r", 1, step("a", 3))
    assert await look() == "step.completed"
    await store.save_failure("r", 1, step("b"), event(4))
    assert await look() == "step.failed"
    await settle(store, "r", Status.COMPLETED)
    assert await look() == "run.completed"
    assert [each.seq for each in seen] == [1, 2, 3, 4, 5]
