"""Events that are sent, the triggers of jobs, and runs that begin with steps of another."""

import json

import pytest

from durable_lite.errors import Conflict
from durable_lite.ports import EVENT_TTL
from durable_lite.records import SentEvent, TokenRow, TriggerRow, Wakes
from durable_lite.status import Status
from tests.conformance.build import NOW, claim, create, executing, get, new_run, settle, step, types
from tests.conformance.state import everything


def sent(id="e", name="paid", payload='{"org": "acme", "n": 5}', at=NOW):
    return SentEvent(id, name, payload, at)


def trigger(job="job", name="paid", match="{}", **fields):
    return TriggerRow(job, "event", name, match, **({"version": None, "queue": "default"} | fields))


async def waits(store, id="r", match=None, name="paid", deadline=NOW + 100):
    """A run that is suspended until such an event comes."""
    row = await executing(store, id)
    token = TokenRow(f"t{id}", id, "wait", "event", "pending", NOW, deadline, None, None, None, name, match)
    wait = step("wait", None, id, kind="event", state="waiting", error=None, wake_at=deadline, ref=token.id)
    assert await store.create_token(id, row.generation, wait, token) is None
    await settle(store, id, Status.WAITING, ready_at=deadline, wakes=Wakes((token.id,)))
    return token


async def test_a_run_that_waits_for_it_goes_on_with_its_payload(store, other):
    token = await waits(store, match='{"org": "acme"}')
    told = await other.send_event(sent(), [])
    assert told == (True, (), 1)
    [found] = await store.read_tokens([token.id], NOW)
    assert found == token._replace(state="completed", output=sent().payload, finished_at=NOW)
    [claimed] = await claim(store)
    assert (claimed.run.id, claimed.status) == ("r", Status.WAITING)


@pytest.mark.parametrize(
    ("match", "name", "deadline"),
    [
        ('{"org": "other"}', "paid", NOW + 100),
        ('{"n": {"gt": 5}}', "paid", NOW + 100),
        ('{"n": true}', "paid", NOW + 100),
        (None, "refunded", NOW + 100),
        (None, "paid", NOW),
    ],
)
async def test_others_wait_on(store, match, name, deadline):
    token = await waits(store, match=match, name=name, deadline=deadline)
    assert (await store.send_event(sent(), [])).waits == 0
    assert [token] == await store.read_tokens([token.id], NOW - 1)


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ("{}", True),
        ('{"n":{"gte":5,"lt":6},"org":{"in":["acme","other"]}}', True),
        ('{"n":{"in":["5"]}}', False),
        ('{"n":5.0}', True),
        ('{"none":null}', False),
        ('{"deep.er":"x"}', True),
        ('{"deep":"x"}', False),
        ('{"list":1}', False),
        ('{"null":null}', True),
        ('{"org":{"gt":"acma"}}', True),
        ('{"org":{"gt":5}}', False),
        ('{"yes":true}', True),
        ('{"yes":1}', False),
        ('{"high":{"gt":"\\ufffd"}}', False),  # by units of UTF-16
    ],
)
async def test_all_stores_match_alike(store, match, fits):
    payload = {
        "org": "acme", "n": 5, "deep": {"er": "x"}, "list": [1], "null": None, "yes": True,
        "high": "\U0001f600",
    }  # fmt: skip
    await waits(store, match=match)
    assert (await store.send_event(sent(payload=json.dumps(payload)), [])).waits == int(fits)


async def test_it_starts_runs_and_ends_waits_at_once_and_once(store, other):
    await waits(store)
    runs = [new_run("a", trigger='{"kind": "event"}'), new_run("b", tags='["t"]')]
    assert await store.send_event(sent(), runs) == (True, ("a", "b"), 1)
    before = await everything(store)
    again = sent(payload='{"another": 1}', at=NOW + EVENT_TTL - 1)
    assert await other.send_event(again, [new_run("c")]) == (False, ("a", "b"), 1)
    assert await everything(store) == before
    late = sent(at=NOW + EVENT_TTL)
    assert await other.send_event(late, [new_run("d", created_at=late.at)]) == (True, ("d",), 0)


async def test_a_run_that_has_ended_waits_no_more(store):
    token = await waits(store)
    await store.cancel_run("r", NOW)
    assert (await store.send_event(sent(), [])).waits == 0
    assert [token] == await store.read_tokens([token.id], NOW)
    with pytest.raises(Conflict):
        await store.finish_token(token.id, "completed", "1", None, NOW)


async def test_a_wait_of_a_run_that_executes(store):
    row = await executing(store)
    token = TokenRow("t", "r", "wait", "event", "pending", NOW, NOW + 9, name="paid", match="{}")
    wait = step("wait", None, kind="event", state="waiting", error=None, wake_at=NOW + 9, ref="t")
    await store.create_token("r", row.generation, wait, token)
    ear = []
    store.listen(ear.append, steps=False)
    assert (await store.send_event(sent(), [])).waits == 1
    assert ("r", False) in [(change.run_id, change.claimable) for change in ear]
    assert await get(store) == row
    woken = await settle(store, "r", Status.WAITING, ready_at=NOW + 9, wakes=Wakes(("t",)))
    assert woken.ready_at == NOW


async def test_triggers_are_those_of_the_last_who_said(store, other):
    mine = [trigger("a"), trigger("a", match='{"n":1}'), trigger("b", "told", version="2", queue="q")]
    await store.set_triggers(["a", "b"], mine)
    await other.set_triggers(["c"], [trigger("c")])
    assert await other.list_triggers("event", "paid") == [mine[1], mine[0], trigger("c")]
    assert await store.list_triggers("event", "told") == [mine[2]]
    assert await store.list_triggers("schedule", "paid") == await store.list_triggers("event", "none") == []
    await other.set_triggers(["a"], [trigger("a", "told")])
    assert await store.list_triggers("event", "paid") == [trigger("c")]
    assert await store.list_triggers("event", "told") == [trigger("a", "told"), mine[2]]
    await store.set_triggers(["a", "b", "c"], [])
    assert await store.list_triggers("event", "told") == await store.list_triggers("event", "paid") == []


async def test_a_fork_begins_with_its_steps(store, other):
    steps = [step("x", 2, "f", generation=0), step("y/z", 3, "f", generation=0, output='"z"')]
    created = await store.fork_run(new_run("f"), steps)
    assert created == (await get(other, "f"), "created")
    assert (created.run.seq, created.run.status) == (3, Status.PENDING)
    assert await other.load_steps("f") == steps
    [claimed] = await claim(store)
    assert not claimed.fresh
    assert claimed.run.seq == 4
    assert await types(store, "f") == ["run.triggered", "step.completed", "step.completed", "run.claimed"]
    assert await store.fork_run(new_run("f"), steps) == (claimed.run, "created")


async def test_a_run_that_is_there_takes_no_steps(store):
    row = await create(store, "f")
    assert await store.fork_run(new_run("f"), [step("x", 2, "f")]) == (row, "created")
    assert await store.load_steps("f") == []
