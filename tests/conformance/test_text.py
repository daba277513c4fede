"""Text and numbers come back exactly as they went in."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_lite.records import Beat, Wakes
from durable_lite.status import Status
from tests.conformance.build import (
    NOW,
    bring,
    claim,
    create,
    event,
    get,
    log,
    new_run,
    settlement,
    step,
    token,
    wait,
)
from tests.conformance.state import everything

NASTY = {
    "empty": "",
    "unicode": "é e\u0301 日本 🦆 👩‍👩‍👧 \u202e \u2028 \ufeff \ufffd",
    "NUL": "a\x00b\x00",
    "only NUL": "\x00",
    "controls": "\x01\x1b\x7f\r\n\t\\n",
    "quotes": "'\"`''\"\"\\'",
    "SQL": "'; DROP TABLE runs; --",
    "parameters": "? ?1 :a @a $1 %s %(a)s {a} {0}",
    "number": "0012.50",
    "null": "null",
    "spaces": "  a  ",
    "JSON": ' {"b": 1.0, "a": [1e3, "\\u00e9"], "b": 2 } ',
    "noncharacter": "\U0010ffff\uffff",
}
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


async def everything_of(store, nasty):
    """Put `nasty` into every text that isn't a name, and read all of it back."""
    run = new_run(payload=nasty, version=nasty, queue=nasty, trigger=nasty, environment=nasty)
    await store.create_runs([run])
    await claim(store)
    done = step("a", 3, name=nasty, arguments=nasty, output=nasty, title=nasty)
    failed = step("b", error=nasty)
    line = log(message=nasty, level=nasty, fields=nasty, path="a")
    data = json.dumps({nasty: nasty})
    assert await store.save_step("r", 1, done) is None
    assert await store.save_failure("r", 1, failed, event(4, data=data)) is None
    assert await store.beat("w", [Beat("r", 1, 1.0, nasty, nasty, (line,))], NOW) == {}
    row = await get(store)
    assert (row.payload, row.version, row.queue, row.trigger, row.environment) == (nasty,) * 5
    assert (row.progress, row.metadata) == (nasty,) * 2
    assert await store.load_steps("r") == [done, failed]
    assert {found.path: found.output for found in await store.load_checkpoints("r")} == {
        "a": nasty,
        "b": None,
    }
    assert await store.read_logs("r") == [line]
    completed, failure = await store.read_events("r", 2, 10)
    assert (completed.data["name"], failure.data) == (nasty, {nasty: nasty})
    waits, made = wait(name=nasty, title=nasty), token(kind="event", name=nasty, match=nasty)
    assert await store.create_token("r", 1, waits, made) is None
    assert waits in await store.load_steps("r")
    finished = await store.finish_token("t", "failed", nasty, nasty, NOW)
    assert finished == made._replace(state="failed", finished_at=NOW, output=nasty, error=nasty)
    assert await store.read_tokens(["t"], NOW) == [finished]
    end = settlement(Status.FAILED, output=nasty, error=nasty, progress=nasty + "1", metadata=nasty + "2")
    assert await store.settle("r", 1, end) is None
    row = await get(store)
    assert (row.output, row.error, row.progress, row.metadata) == (nasty, nasty, nasty + "1", nasty + "2")
    await store.set_meta("fact", nasty)
    assert await store.get_meta("fact") == nasty


@pytest.mark.parametrize("nasty", NASTY)
async def test_text_is_kept(store, nasty):
    await everything_of(store, NASTY[nasty])


@settings(max_examples=15)
@given(nasty=text)
async def test_any_text_is_kept(store, nasty):
    await everything_of(store, nasty)


async def test_a_megabyte_is_kept(store):
    await everything_of(store, "é\x00'" * 260_000)


@pytest.mark.parametrize("nasty", sorted(set(NASTY) - {"NUL", "only NUL", "controls"}))
async def test_names_are_kept(store, nasty):
    """Ids, jobs, workers, keys, paths: no control characters, but anything else."""
    name = NASTY[nasty] or " "
    await create(store, name, job=name, idempotency_key=name, tags=json.dumps([name]))
    await create(store, name + "2", job=name + "2")
    [found] = await claim(store, name, jobs=(name,))
    assert (found.run.id, found.run.job, found.run.worker, found.run.idempotency_key) == (name,) * 4
    assert [lease.worker for lease in await store.leases()] == [name]
    assert await store.save_step(name, 1, step(name, 3, name)) is None
    assert await store.beat(name, [Beat(name, 1, 1.0, logs=(log(0, name, path=name),))], NOW) == {}
    assert [found.path for found in await store.load_steps(name)] == [name]
    assert [line.path for line in await store.read_logs(name)] == [name]
    [again] = await store.create_runs([new_run("again", job=name, idempotency_key=name)])
    assert (again.run.id, again.disposition) == (name, "idempotent")
    assert await store.mark_stale(await store.leases(), name, NOW) == [name]
    assert (await get(store, name)).stale_reason == name
    assert (await store.read_events(name, 3, 10))[0].data["reason"] == name
    assert (await store.cancel_run(name, NOW)).id == name
    await store.delete_run(name)
    assert [row.id for row in (await everything(store))["runs"]] == [name + "2"]


@pytest.mark.parametrize("nasty", sorted(set(NASTY) - {"NUL", "only NUL", "controls"}))
async def test_names_of_tokens_and_children_are_kept(store, nasty):
    name = NASTY[nasty] or " "
    children = [name + "1", "1" + name]
    await create(store, name)
    await claim(store)
    made = token(name + "t", name, path=name)
    assert await store.create_token(name, 1, wait(name, name, ref=made.id), made) is None
    runs = [new_run(id, parent_id=name, awaited=1) for id in children]
    await store.create_children(name, 1, step("call", None, name), runs)
    refs = {found.path: found.ref for found in await store.load_checkpoints(name)}
    assert refs == {name: made.id, "call": "\n".join(children)}
    assert [row.id for row in await store.get_runs(children[::-1])] == children[::-1]
    await claim(store)
    wakes = Wakes((made.id,), (*children,), all=True)
    assert await store.settle(name, 1, settlement(Status.WAITING, wakes=wakes)) is None
    assert (await get(store, name)).remaining == 2
    assert await store.settle(children[0], 1, settlement(Status.COMPLETED)) is None
    assert (await get(store, name)).remaining == 1
    assert await store.read_tokens([made.id], NOW) == [made]
    assert (await store.finish_token(made.id, "completed", "1", None, NOW + 1)).id == made.id
    assert (await get(store, name)).ready_at == NOW + 1
    await store.cancel_run(name, NOW)
    assert [row.status for row in await store.get_runs(children)] == ["COMPLETED", "CANCELLED"]
    assert (await store.read_events(children[1], 2, 10))[0].data == {"parent": name}
    await store.delete_run(name)
    assert (await everything(store))["tokens"] == []


@pytest.mark.parametrize(
    "moment", [0.0, 0.1 + 0.2, 1e-9, 1763683200.123456, 4e9 + 1 / 3, math.nextafter(2e9, 0)]
)
async def test_moments_are_kept_to_the_last_bit(store, moment):
    await create(store, created_at=moment, ready_at=moment, max_duration=moment, deadline=moment)
    [found] = await claim(store, now=moment)
    row = found.run
    assert (row.created_at, row.max_duration, row.deadline, row.started_at) == (moment,) * 4
    done = step("a", 3, started_at=moment, finished_at=moment)
    nap = step("nap", None, kind="sleep", state="waiting", started_at=moment, wake_at=moment)
    for row in (done, nap):
        await store.save_step("r", 1, row)
    assert await store.load_steps("r") == [done, nap]
    assert [found.at for found in await store.read_events("r", 0, 10)] == [moment] * 3
    made = token(created_at=moment, deadline=moment)
    await store.create_token("r", 1, wait(started_at=moment, wake_at=moment), made)
    assert (await everything(store))["tokens"] == [made]
    [expired] = await store.read_tokens(["t"], moment)
    assert expired == made._replace(state="expired", finished_at=moment)
    await store.beat("w", [Beat("r", 1, moment, logs=(log(at=moment),))], moment)
    [lease] = await store.leases()
    assert (lease.heartbeat_at, lease.executed) == (moment, moment)
    assert [line.at for line in await store.read_logs("r")] == [moment]
    assert await store.settle("r", 1, settlement(Status.WAITING, ready_at=moment, executed=moment)) is None
    row = await get(store)
    assert (row.ready_at, row.executed, await store.next_due()) == (moment, moment, moment)


async def test_whole_numbers_may_stand_for_moments(store):
    row = await create(store, created_at=1000, ready_at=1090)
    assert row == await get(store)
    assert (row.created_at, row.ready_at) == (1000.0, 1090.0)
    assert await claim(store, now=1089) == []
    assert len(await claim(store, now=1090)) == 1


@pytest.mark.parametrize("priority", [-(2**31), -1, 0, 1, 2**31 - 1])
async def test_priorities_are_kept(store, priority):
    assert (await create(store, priority=priority)).priority == priority


async def test_rows_are_plain(store):
    """Text, numbers and None: a status is text too, and no number came back as a flag."""
    row = await bring(store, Status.COMPLETED, idempotency_key="[]")
    for value in row:
        assert isinstance(value, str | int | float | None)
        assert not isinstance(value, bool)
    assert json.loads(json.dumps(row)) == list(row)
