"""Queues, keys, ttl and debounce, as an application uses them: limits hold, and everybody's turn comes."""

from collections import Counter
from contextlib import AsyncExitStack

import pytest

from durable_lite import Busy, Durable, InvalidOption, Queue, RunFailed, job
from durable_lite.testing import VirtualClock
from tests.engine.support import Process


class Gauge:
    """How many are inside at a time, and when each came in."""

    def __init__(self, clock):
        self.clock, self.now, self.most, self.came = clock, Counter(), Counter(), []

    async def inside(self, name, seconds=1.0):
        self.now[name] += 1
        self.most[name] = max(self.most[name], self.now[name])
        self.came.append(self.clock.now())
        try:
            await self.clock.sleep(seconds)
        finally:
            self.now[name] -= 1


async def test_a_queue_limits_the_runs_of_all_workers(make_store):
    clock = VirtualClock()
    gauge = Gauge(clock)

    @job(queue=Queue("narrow", concurrency=3))
    async def narrow(ctx, number: int):
        await ctx.step("work", gauge.inside, "narrow")
        await ctx.sleep("pause", "5s")
        await ctx.step("more", gauge.inside, "narrow")
        return number

    async with make_store() as store, Process(store, clock, narrow) as a, Process(store, clock, narrow) as b:
        runs = await a.trigger_many(narrow, range(20))
        statuses = Counter([str((await run.refresh()).status) for run in runs])
        assert statuses["QUEUED"] >= 17
        assert [await b.result(run) for run in runs] == list(range(20))
        assert gauge.most["narrow"] == 3
        [state] = await a.list_queues()
        assert (state.queued, state.taken) == (0, 0)


async def test_a_run_that_waits_holds_no_place(make_app):
    entered = []

    @job(queue=Queue("one", concurrency=1))
    async def sleeper(ctx, name: str):
        entered.append(name)
        await ctx.sleep("long", "1h")
        return name

    async with make_app(sleeper) as app:
        runs = await app.trigger_many(sleeper, ["a", "b", "c"])
        await app.clock.advance("1m")
        assert set(entered) == {"a", "b", "c"}
        assert [await app.result(run) for run in runs] == ["a", "b", "c"]


async def test_a_rate_is_never_exceeded_in_any_window(make_store):
    clock = VirtualClock()
    gauge = Gauge(clock)

    @job(queue=Queue("rated", rate="5/10s"))
    async def rated(ctx):
        await gauge.inside("rated", 0.5)

    async with make_store() as store, Process(store, clock, rated) as a, Process(store, clock, rated) as b:
        runs = await a.trigger_many(rated, [None] * 17)
        for run in runs:
            await b.result(run)
    came = sorted(gauge.came)
    assert all(later - came[index] >= 10 for index, later in enumerate(came[5:]))
    assert came[-1] - came[0] < 31  # and no slower than it allows


async def test_of_one_key_one_executes_at_a_time_and_others_go_by(make_app):
    gauges = []

    @job
    async def keyed(ctx, key: str):
        await ctx.step("work", gauges[0].inside, key)
        await ctx.sleep("pause", "10s")
        await ctx.step("more", gauges[0].inside, key)

    async with make_app(keyed) as app:
        gauges.append(Gauge(app.clock))
        runs = [await app.trigger(keyed, key, concurrency_key=["org", key]) for key in "aabbab"]
        start = app.clock.now()
        for run in runs:
            await app.result(run)
        assert gauges[0].most == {"a": 1, "b": 1}
        assert app.clock.now() - start < 2 * 3 * 12  # the two keys didn't wait for each other


async def test_a_child_shares_the_key_of_the_run_that_waits_for_it(make_app):
    @job(queue=Queue("one", concurrency=1))
    async def deep(ctx, left: int) -> int:
        return 0 if left == 0 else 1 + await ctx.call("down", deep, left - 1, concurrency_key="K")

    async with make_app(deep, concurrency=1) as app:
        assert await app.outcome(deep, 4, concurrency_key="K") == 4


async def test_a_stale_holder_of_a_key_goes_on_before_a_newer_run(make_store):
    clock, order = VirtualClock(), []

    @job
    async def keyed(ctx, name: str):
        await ctx.step("first", order.append, f"{name} first")
        await ctx.step("slow", clock.sleep, 60)
        await ctx.step("last", order.append, f"{name} last")

    async with make_store() as store:
        async with Process(store, clock, keyed) as dead:
            old = await dead.trigger(keyed, "old", concurrency_key="K")
            await clock.advance("1s")
            new = await dead.trigger(keyed, "new", concurrency_key="K", priority=5)
            await clock.advance("5s")
            assert (await new.refresh()).status == "QUEUED"
            await dead.buried()
        async with Process(store, clock, keyed) as heir:
            await heir.result(old)
            await heir.result(new)
    assert order == ["old first", "old last", "new first", "new last"]


async def test_on_busy(make_app):
    @job
    async def keyed(ctx, name: str):
        await ctx.sleep("long", "1m")

    @job
    async def other(ctx, name: str):
        return name

    async with make_app([keyed, other]) as app:
        first = await app.trigger(keyed, "a", concurrency_key="K", on_busy="reject")
        await app.clock.settle()
        with pytest.raises(Busy) as caught:
            await app.trigger(keyed, "b", concurrency_key="K", on_busy="reject")
        assert caught.value.run_id == first.id
        second = await app.trigger(keyed, "b", concurrency_key="K", on_busy="skip")
        third = await app.trigger(keyed, "c", concurrency_key="K", on_busy="skip")
        assert (second.disposition, third.disposition, third.id) == ("created", "coalesced", second.id)
        assert (await app.trigger(other, "d", concurrency_key="K", on_busy="skip")).disposition == "created"
        assert len((await app.list_runs()).runs) == 3
        await app.result(second)


async def test_a_paused_queue(make_app):
    done = []

    @job
    async def quick(ctx, name: str):
        await ctx.step("before", done.append, f"{name} before")
        await ctx.sleep("pause", "10s")
        await ctx.step("after", done.append, f"{name} after")

    async with make_app(quick) as app:
        a = await app.trigger(quick, "a")
        await app.clock.advance("1s")
        await app.pause_queue("default")
        b = await app.trigger(quick, "b")
        await app.clock.advance("1m")
        assert done == ["a before"]
        assert {(await run.refresh()).status for run in (a, b)} == {"QUEUED"}
        await app.resume_queue("default")
        await app.result(a)
        await app.result(b)
        assert sorted(done) == ["a after", "a before", "b after", "b before"]


async def test_a_run_that_starts_too_late_has_expired(make_app):
    @job(queue=Queue("one", concurrency=1))
    async def slow(ctx):
        await ctx.step("slow", app.clock.sleep, 60)

    async with make_app(slow) as app:
        first = await app.trigger(slow, ttl="10s")
        late = await app.trigger(slow, ttl="10s", idempotency_key="again")
        await app.clock.advance("9s")
        assert (await late.refresh()).status == "QUEUED"
        await app.clock.advance("1s")
        assert (await late.refresh()).status == "EXPIRED"
        with pytest.raises(RunFailed, match="EXPIRED"):
            await app.result(late)
        assert (await app.trigger(slow, idempotency_key="again")).disposition == "created"
        await app.result(first)


@pytest.mark.parametrize("key", [None, "once"])
async def test_a_trailing_debounce_takes_the_last_payload(make_app, key):
    @job
    async def save(ctx, text: str):
        return text

    async with make_app(save) as app:
        options = {"debounce_key": "doc", "debounce_delay": "5s", "debounce_max": "12s"}
        runs = []
        for index in range(4):
            keys = {} if key is None else {"idempotency_key": f"{key}-{index}"}
            runs.append(await app.trigger(save, f"text {index}", **options, **keys))
            await app.clock.advance("3s")
        assert [run.disposition for run in runs] == ["created"] + ["coalesced"] * 3
        assert await app.result(runs[0]) == "text 3"
        assert (await runs[0].refresh()).started_at - runs[0].created_at <= 12.1
        if key is not None:  # each of the triggers can be repeated
            again = await app.trigger(save, "text 2", **options, idempotency_key="once-2")
            assert (again.id, again.disposition) == (runs[0].id, "idempotent")


async def test_a_leading_debounce_takes_the_first_and_waits_for_silence(make_app):
    @job
    async def save(ctx, text: str):
        return text

    async with make_app(save) as app:
        options = {"debounce_key": "doc", "debounce_delay": "5s", "debounce_mode": "leading"}
        runs = []
        for index in range(3):
            runs.append(await app.trigger(save, f"text {index}", **options))
            await app.clock.advance("4s")
        assert {run.id for run in runs} == {runs[0].id}
        assert await app.result(runs[0]) == "text 0"
        await app.clock.advance("2s")
        assert (await app.trigger(save, "new", **options)).disposition == "created"


async def test_limits_that_change_hold_for_runs_that_are_there(make_store):
    clock = VirtualClock()
    gauge = Gauge(clock)

    @job(queue="some")
    async def before(ctx):
        await gauge.inside("some", 30)

    async with make_store() as store:
        async with Process(store, clock, before, concurrency=2) as first:
            runs = await first.trigger_many(before, [None] * 6)
            await clock.advance("1s")
            async with Process(store, clock, before, Queue("some", concurrency=1)) as second:
                await clock.advance("1s")
                gauge.most.clear()
                for run in runs:
                    await second.result(run)
        assert gauge.most["some"] == 1


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"on_busy": "skip"}, "on_busy"),
        ({"concurrency_key": "k", "on_busy": "wait"}, "on_busy"),
        ({"concurrency_key": ""}, "concurrency_key"),
        ({"concurrency_key": 7}, "concurrency_key"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": "-1s"}, "ttl"),
        ({"debounce_key": "k"}, "debounce_delay"),
        ({"debounce_delay": "1s"}, "debounce_delay"),
        ({"debounce_max": "1s"}, "debounce_max"),
        ({"debounce_key": "k", "debounce_delay": "5s", "debounce_max": "1s"}, "debounce_max"),
        ({"debounce_key": "k", "debounce_delay": "5s", "debounce_mode": "both"}, "debounce_mode"),
        ({"debounce_key": "k", "debounce_delay": "5s", "delay": "5s"}, "delay"),
        (
            {"debounce_key": "k", "debounce_delay": "5s", "debounce_max": "9s", "debounce_mode": "leading"},
            "debounce_max",
        ),
    ],
)
async def test_a_wrong_option_is_named(make_app, options, name):
    @job
    async def quick(ctx):
        return None

    async with make_app(quick) as app:
        with pytest.raises(InvalidOption) as caught:
            await app.trigger(quick, **options)
        assert caught.value.option == name
        assert (await app.list_runs()).runs == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"concurrency": 1.5},
        {"concurrency": True},
        {"rate": "10"},
        {"rate": "0/s"},
        {"rate": "1/x"},
        {"rate": "1/0s"},
        {"rate": 10},
        {"key_scope": "job"},
    ],
)
def test_a_wrong_queue_is_refused(wrong):
    with pytest.raises(InvalidOption, match=next(iter(wrong))):
        Queue("q", **wrong)


def test_two_different_queues_of_one_name():
    @job(queue=Queue("q", concurrency=1))
    async def a(ctx):
        return None

    with pytest.raises(InvalidOption, match="two different queues"):
        Durable("memory:", jobs=[a, Queue("q", concurrency=2)])


async def test_many_runs_over_four_workers_never_exceed_a_limit(make_store):
    clock = VirtualClock()
    gauge = Gauge(clock)

    @job(queue=Queue("q", concurrency=5))
    async def work(ctx, number: int):
        await ctx.step("work", gauge.inside, "q", 0.01 * (number % 7 + 1))

    async with make_store() as store, AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(Process(store, clock, work)) for _ in range(4)]
        for run in await workers[0].trigger_many(work, range(200)):
            await workers[1].result(run)
    assert gauge.most["q"] == 5
