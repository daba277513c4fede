"""Events that are sent: the jobs that they start, the runs that they wake, and once for each id."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_lite import Event, InvalidOption, InvalidPayload, NotSerializable, RunFailed, TokenTimeout, job
from durable_lite.matching import filter_text, matches
from durable_lite.testing import VirtualClock
from tests.engine.support import Process
from tests.engine.values import Point

BIG = Event("paid", match={"amount": {"gte": 100}})


@job(on=BIG)
async def book(ctx, payload: dict):
    return [payload, ctx.run.trigger["event"], ctx.run.trigger["name"]]


@job(on=[Event("paid", match={"org": "acme"}), BIG])
async def thank(ctx, payload: dict):
    return payload["org"]


@job
async def dun(ctx, org: str):
    paid = await ctx.wait_for_event("paid", "paid", match={"org": org}, timeout="1h")
    return paid["amount"]


async def test_an_event_starts_each_job_that_is_on_it_once(make_app):
    async with make_app([book, thank]) as app:
        sent = await app.send_event("paid", {"org": "acme", "amount": 100}, id="e")
        runs = [await app.get_run(id) for id in sent.runs]
        assert sorted(run.job for run in runs) == ["book", "thank"]
        outputs = {run.job: await app.result(run) for run in runs}
        assert outputs == {"book": [{"org": "acme", "amount": 100}, "e", "paid"], "thank": "acme"}
        small = await app.send_event("paid", {"org": "acme", "amount": 99})
        assert [(await app.get_run(id)).job for id in small.runs] == ["thank"]
        assert (await app.send_event("paid", {"org": "other", "amount": 9})).runs == ()
        assert (await app.send_event("refunded", {"org": "acme", "amount": 100})).runs == ()


async def test_an_id_is_sent_once_by_whomever(make_store):
    clock = VirtualClock()
    async with (
        make_store() as store,
        Process(store, clock, book) as one,
        Process(store, clock, worker=False) as other,
    ):
        first, second = await asyncio.gather(
            one.send_event("paid", {"amount": 100}, id="e"), other.send_event("paid", {"amount": 100}, id="e")
        )
        assert sorted([first.fresh, second.fresh]) == [False, True]
        assert first.runs == second.runs
        await clock.advance("30d")
        assert (await other.send_event("paid", {"amount": 100}, id="e")).fresh
        assert len((await one.list_runs(job="book")).runs) == 2


async def test_a_run_goes_on_with_the_next_event_that_matches(make_app):
    async with make_app(dun) as app:
        before = await app.send_event("paid", {"org": "acme", "amount": 1})
        assert before.waits == 0
        acme, other = await app.trigger(dun, "acme"), await app.trigger(dun, "other")
        await app.clock.advance("1m")
        assert {(await run.refresh()).status for run in (acme, other)} == {"WAITING"}
        sent = await app.send_event("paid", {"org": "acme", "amount": 2})
        assert sent.waits == 1
        await app.send_event("paid", {"org": "acme", "amount": 3})
        assert await app.result(acme) == 2
        with pytest.raises(RunFailed, match="TokenTimeout"):
            await app.result(other)


async def test_an_event_that_comes_before_the_run_suspends_is_not_lost(make_store):
    clock, numbers = VirtualClock(), itertools.count(1)

    @job
    async def eager(ctx):
        async def send():
            while not (await process.list_tokens(state="pending")).tokens:
                await asyncio.sleep(0)
            return (await process.send_event("paid", {"n": next(numbers)})).waits

        async def wait():
            return (await ctx.wait_for_event("wait", "paid", timeout="1h"))["n"]

        return await asyncio.gather(wait(), ctx.step("send", send))

    async with make_store() as store, Process(store, clock, eager) as process:
        assert await process.outcome(eager) == [1, 1]


async def test_a_wait_that_is_over(make_app):
    @job
    async def patient(ctx):
        try:
            await ctx.wait_for_event("wait", "paid", timeout="10s")
        except TokenTimeout as error:
            return str(error)

    async with make_app(patient) as app:
        run = await app.trigger(patient)
        await app.clock.advance("10s")
        assert "'wait' was not completed in time" in await app.result(run)
        assert (await app.send_event("paid")).waits == 0


async def test_a_step_sends_once_and_a_payload_has_a_type(make_app):
    @job
    async def sends(ctx, times: int):
        for _ in range(times):
            await ctx.send_event("tell", "moved", {"x": 1, "y": 2})
        return "sent"

    @job
    async def hears(ctx):
        point = await ctx.wait_for_event("wait", "moved", timeout="1h", type=Point)
        return [type(point).__name__, point.x, point.y]

    @job(on=Event("moved"))
    async def wrong(ctx, payload: int):
        return payload

    async with make_app([sends, hears, wrong]) as app:
        hearing = await app.trigger(hears)
        await app.clock.advance("1s")
        assert await app.outcome(sends, 3) == "sent"
        assert await app.result(hearing) == ["Point", 1, 2]
        [run] = (await app.list_runs(job="wrong")).runs
        with pytest.raises(InvalidPayload):
            await app.result(run)


async def test_triggers_follow_the_jobs_of_the_workers(make_store):
    clock = VirtualClock()

    @job("book")
    async def without(ctx, payload: dict):
        return None

    async with make_store() as store:
        async with Process(store, clock, book):
            pass
        async with Process(store, clock, worker=False) as caller:
            assert len((await caller.send_event("paid", {"amount": 100})).runs) == 1
            async with Process(store, clock, thank):
                pass
            assert len((await caller.send_event("paid", {"amount": 100})).runs) == 2
            async with Process(store, clock, without):
                pass
            assert len((await caller.send_event("paid", {"amount": 100})).runs) == 1


async def test_what_can_not_be_sent(make_app):
    async with make_app(book) as app:
        for name in ("", 7, "x" * 201):
            with pytest.raises(InvalidOption, match="name of an event"):
                await app.send_event(name)
        for id in ("", 7, "x" * 1025):
            with pytest.raises(InvalidOption, match="id"):
                await app.send_event("paid", id=id)
        with pytest.raises(NotSerializable):
            await app.send_event("paid", object())


# Filters.


@pytest.mark.parametrize(
    ("match", "payload", "fits"),
    [
        ({}, None, True),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": None}, {"a": None}, True),
        ({"a": None}, {}, False),
        ({"a.b": 1}, {"a": {"b": 1}}, True),
        ({"a.b": 1}, {"a.b": 1}, False),
        ({"a.b": 1}, {"a": [{"b": 1}]}, False),
        ({"a": {"in": [1, "x"]}}, {"a": "x"}, True),
        ({"a": {"in": [1, "x"]}}, {"a": 2}, False),
        ({"a": {"gte": 1, "lt": 2}}, {"a": 1}, True),
        ({"a": {"gte": 1, "lt": 2}}, {"a": 2}, False),
        ({"a": {"gt": 1}}, {"a": "2"}, False),
        ({"a": {"gt": 0}}, {"a": True}, False),
        ({"a": {"lte": "b"}}, {"a": "a"}, True),
        ({"a": 1, "b": 2}, {"a": 1}, False),
        ({"a": 1}, [1], False),
        ({"a": 1}, None, False),
    ],
)
def test_a_filter(match, payload, fits):
    assert matches(filter_text(match), payload) is fits


@pytest.mark.parametrize(
    "match",
    [
        [], "a", {"": 1}, {"a.": 1}, {1: 1}, {"a": [1]}, {"a": {}}, {"a": {"or": 1}}, {"a": {"in": []}},
        {"a": {"in": "abc"}}, {"a": {"in": [[1]]}}, {"a": {"gt": None}}, {"a": {"gt": 1, "lt": "b"}},
        {"a": {"gt": float("nan")}}, {"a": float("inf")}, {"a": {"in": [1], "gt": 1}}, {"a": object()},
        {"a": "x" * 5000},
    ],
)  # fmt: skip
def test_a_filter_that_is_none_is_refused(match):
    with pytest.raises(InvalidOption, match="match"):
        Event("paid", match=match)


SCALARS = (
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, 1.0, -2.0]) | st.text(max_size=2)
)


@given(st.dictionaries(st.sampled_from("abc"), SCALARS), st.dictionaries(st.sampled_from("abc"), SCALARS))
def test_equality_is_that_of_type_and_value(match, payload):
    def kind(value):
        return float if type(value) in (int, float) else type(value)

    wanted = all(
        name in payload and kind(payload[name]) is kind(value) and payload[name] == value
        for name, value in match.items()
    )
    assert matches(filter_text(match), payload) is wanted


# Jobs.


@pytest.mark.parametrize("on", [7, ["paid"], [None]])
def test_what_a_job_can_not_be_on(on):
    with pytest.raises((InvalidOption, TypeError)):

        @job(on=on)
        async def bad(ctx):
            return None
