"""Steering runs from outside: trigger, cancel, resume, replay, delete, purge, and who wins a race."""

import asyncio
import datetime as dt
import logging
from dataclasses import dataclass

import pytest

from durable_lite import (
    Conflict,
    InvalidOption,
    InvalidPayload,
    KeyReused,
    NotSerializable,
    Retry,
    RunCancelled,
    RunFailed,
    RunNotFound,
    TooLarge,
    UnknownJob,
    current,
    job,
)
from durable_lite.records import NewRun
from durable_lite.testing import VirtualClock
from tests.engine.apps import Tally, app, types_of
from tests.engine.values import Unknown

FINAL_EVENTS = {"run.completed", "run.failed", "run.cancelled", "run.timed_out"}


@job
async def quick(ctx):
    return "done"


@job(retry=Retry.NEVER)
async def broken(ctx):
    raise ValueError("broken")


# Cancel.


async def test_a_pending_run_that_is_cancelled_never_starts(make_app):
    tally = Tally()

    @job
    async def counted(ctx):
        tally["job"] += 1

    async with make_app(counted) as durable:
        run = await durable.trigger(counted, delay="1h")
        cancelled = await durable.cancel(run.id)
        assert (cancelled.status, cancelled.finished_at) == ("CANCELLED", durable.clock.now())
        await durable.clock.advance("2h")
        assert (await run.refresh()).status == "CANCELLED"
        assert await types_of(durable, run.id) == ["run.triggered", "run.cancelled"]
        with pytest.raises(RunFailed) as caught:
            await run.result()
        assert caught.value.status == "CANCELLED"
    assert not tally


@pytest.mark.parametrize("where", ["sleep", "sleep in a step", "step back-off", "run back-off"])
async def test_a_waiting_run_that_is_cancelled_never_goes_on(make_app, where):
    tally = Tally()

    async def nap() -> None:
        await current().sleep("nap", "1h")

    async def fail() -> None:
        tally["fail"] += 1
        raise ValueError

    patient = Retry(max_attempts=2, min_delay="1h", max_delay="1h")

    @job(retry=patient)
    async def waiting(ctx):
        match where:
            case "sleep":
                await nap()
            case "sleep in a step":
                await ctx.step("nap", nap)
            case "step back-off":
                await ctx.options(retry=patient).step("fail", fail)
            case "run back-off":
                await fail()
        tally["after"] += 1

    async with make_app(waiting) as durable:
        run = await durable.trigger(waiting)
        await durable.clock.advance("1m")
        assert (await run.refresh()).status == "WAITING"
        cancelled = await durable.cancel(run.id)
        assert (cancelled.status, cancelled.generation) == ("CANCELLED", run.generation + 1)
        await durable.clock.advance("3h")
        assert (await run.refresh()).status == "CANCELLED"
    assert tally["after"] == 0
    assert tally["fail"] <= 1


@pytest.mark.parametrize("what", ["returns", "raises", "passes"])
@pytest.mark.parametrize("where", ["job", "step"])
async def test_an_executing_run_is_cancelled_at_its_next_await_whatever_it_does_then(make_store, where, what):
    tally, seen = Tally(), []

    async def work(ctx) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            tally["cancelled"] += 1
            seen.append(ctx.cancelled)
            with pytest.raises(RunCancelled):
                ctx.raise_if_cancelled()
            if what == "returns":
                return "never mind"
            if what == "raises":
                raise ValueError("angry") from None
            raise
        return "?"

    async def work_step() -> str:
        return await work(current())

    @job
    async def executing(ctx):
        assert not ctx.cancelled
        ctx.raise_if_cancelled()
        ctx.on_cancel(lambda: tally.update(["on_cancel"]))
        await ctx.step("one", tally.step("one"))
        await (work(ctx) if where == "job" else ctx.step("work", work_step))
        await ctx.step("after", tally.step("after"))
        return "done"

    async with make_store() as store, app(store, executing) as durable:
        run = await durable.trigger(executing)
        await durable.clock.settle()
        assert (await run.refresh()).status == "EXECUTING"
        held = run.generation
        assert (await durable.cancel(run.id)).generation == held + 1  # its owner's writes are fenced off
        await durable.clock.settle()
        assert tally == {"one": 1, "cancelled": 1, "on_cancel": 1}  # no time had to pass
        await durable.clock.advance("1h")
        assert (await run.refresh()).status == "CANCELLED"
        assert [row.path for row in await durable.steps(run.id)] == ["one"]
        assert (await types_of(durable, run.id))[-1] == "run.cancelled"
        assert await durable.store.leases() == []
    assert seen == [True]


async def test_a_callback_that_raises_on_cancel_does_no_harm(make_store, caplog):
    tally = Tally()

    def angry() -> None:
        raise ValueError("angry")

    @job
    async def executing(ctx):
        ctx.on_cancel(angry)
        ctx.on_cancel(lambda: tally.update(["calm"]))
        await asyncio.Event().wait()

    async with make_store() as store, app(store, executing) as durable:
        run = await durable.trigger(executing)
        await durable.clock.settle()
        await durable.cancel(run.id)
        await durable.clock.settle()
    assert tally == {"calm": 1}
    assert "on_cancel" in caplog.text


async def test_on_cancel_is_not_called_for_any_other_end(make_app):
    tally = Tally()

    @job(retry=Retry.NEVER)
    async def ending(ctx, how: str):
        ctx.on_cancel(lambda: tally.update(["called"]))
        await ctx.step("one", tally.step("one"))
        await ctx.sleep("nap", 60)
        if how == "fails":
            raise ValueError

    async with make_app(ending) as durable:
        await durable.finished(await durable.trigger(ending, "fails"))
        await durable.finished(await durable.trigger(ending, "returns"))
    assert tally == {"one": 2}


async def test_a_stale_run_can_be_cancelled(make_store):
    clock = VirtualClock()

    @job
    async def hanging(ctx):
        await asyncio.Event().wait()

    async with make_store() as store:
        async with app(store, hanging, clock=clock) as first:
            run = await first.trigger(hanging)
            await clock.settle()
            first.kill()
        await clock.jump("1m")
        async with app(store, quick, clock=clock) as second:  # marks it stale, and can't claim it
            assert (await second.get_run(run.id)).status == "STALE"
            assert (await second.cancel(run.id)).status == "CANCELLED"
            assert (await types_of(second, run.id))[-2:] == ["run.stale", "run.cancelled"]


async def test_a_finished_run_cannot_be_cancelled_and_a_missing_one_is_not_found(make_app):
    async with make_app([quick, broken]) as durable:
        done = await durable.finished(await durable.trigger(quick))
        failed = await durable.finished(await durable.trigger(broken))
        cancelled = await durable.cancel((await durable.trigger(quick, delay="1h")).id)
        for run in (done, failed, cancelled):
            before = await types_of(durable, run.id)
            with pytest.raises(Conflict, match=run.status):
                await durable.cancel(run.id)
            assert await types_of(durable, run.id) == before
        for call in (durable.cancel, durable.resume, durable.replay, durable.delete, durable.get_run,
                     durable.steps, durable.logs):  # fmt: skip
            with pytest.raises(RunNotFound, match="nobody"):
                await call("nobody")


async def test_a_cancel_by_another_process_is_seen_at_the_next_heartbeat(make_store):
    clock, tally = VirtualClock(), Tally()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            tally["cancelled"] += 1
            raise

    @job
    async def hanging(ctx):
        ctx.on_cancel(lambda: tally.update(["on_cancel"]))
        await ctx.step("hang", hang)

    async with make_store(2) as (here, there):
        async with (
            app(there, hanging, worker=False, clock=clock) as other,
            app(here, hanging, clock=clock) as worker,
        ):
            run = await worker.trigger(hanging)
            await clock.advance(6)
            await other.cancel(run.id)
            await clock.advance(5)
            assert tally == {"cancelled": 1, "on_cancel": 1}
            assert (await other.get_run(run.id)).status == "CANCELLED"


async def test_a_cancel_by_another_process_is_seen_at_the_next_checkpoint(make_store):
    clock, tally, gate = VirtualClock(), Tally(), asyncio.Event()

    @job
    async def stepping(ctx):
        ctx.on_cancel(lambda: tally.update(["on_cancel"]))
        await ctx.step("gate", gate.wait)
        await ctx.step("after", tally.step("after"))

    async with make_store(2) as (here, there):
        async with (
            app(there, stepping, worker=False, clock=clock) as other,
            app(here, stepping, clock=clock) as worker,
        ):
            run = await worker.trigger(stepping)
            await clock.settle()
            await other.cancel(run.id)
            gate.set()
            await clock.settle()  # no time passes
            assert tally == {"on_cancel": 1}
            assert await other.steps(run.id) == []  # no checkpoint on a cancelled run
            assert (await types_of(other, run.id))[-1] == "run.cancelled"


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancel_that_races_completion_has_exactly_one_outcome(make_store, turns):
    gate = asyncio.Event()

    @job
    async def racing(ctx):
        await gate.wait()
        await ctx.step("one", asyncio.sleep, 0)
        return "done"

    async with make_store() as store, app(store, racing) as durable:
        run = await durable.trigger(racing)
        await durable.clock.settle()
        gate.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        try:
            await durable.cancel(run.id)
            expected = "CANCELLED"
        except Conflict:
            expected = "COMPLETED"
        await durable.clock.advance("1m")
        assert (await run.refresh()).status == expected
        events = await types_of(durable, run.id)
        assert [type for type in events if type in FINAL_EVENTS] == [f"run.{expected.lower()}"]
        assert events[-1] == f"run.{expected.lower()}"


async def test_of_two_cancels_at_once_one_wins(make_app):
    async with make_app(quick) as durable:
        run = await durable.trigger(quick, delay="1h")
        outcomes = await asyncio.gather(*(durable.cancel(run.id) for _ in range(2)), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Run"]


# Resume, replay, delete, purge.


@pytest.mark.parametrize("how", ["FAILED", "CANCELLED", "TIMED_OUT"])
async def test_an_ended_run_goes_on_from_where_it_was(make_app, how):
    tally = Tally()

    @job(retry=Retry.NEVER)
    async def ending(ctx):
        await ctx.step("one", tally.step("one"))
        if ctx.run.attempt == 1:
            await (broken.fn(ctx) if how == "FAILED" else asyncio.Event().wait())
        return await ctx.step("two", tally.step("two"))

    async with make_app(ending) as durable:
        run = await durable.trigger(ending, max_duration="10s" if how == "TIMED_OUT" else None)
        await durable.clock.advance(1)
        if how == "CANCELLED":
            await durable.cancel(run.id)
        run = await durable.finished(run)
        assert run.status == how
        resumed = await durable.resume(run.id)
        assert (resumed.id, resumed.status, resumed.attempt) == (run.id, "PENDING", 2)
        assert resumed.generation == run.generation + 1
        assert (resumed.finished_at, resumed.error, resumed.output) == (None, None, None)
        assert await durable.result(run) == "two"
        events = await durable.store.read_events(run.id, 0, 1000)
        assert [e.data for e in events if e.type == "run.resumed" and "by" in e.data] == [
            {"by": "request", "attempt": 2}
        ]
    assert tally == {"one": 1, "two": 1}


async def test_only_a_run_that_ended_without_a_result_resumes(make_app):
    async with make_app(quick) as durable:
        done = await durable.finished(await durable.trigger(quick))
        pending = await durable.trigger(quick, delay="1h")
        for run in (done, pending):
            with pytest.raises(Conflict, match=run.status):
                await durable.resume(run.id)


async def test_a_replay_is_a_new_run_of_the_same_payload_or_another(make_app):
    tally = Tally()

    @job
    async def double(ctx, value: int):
        tally["job"] += 1
        return [2 * await ctx.step("one", asyncio.sleep, 0, value), ctx.run.trigger.get("of")]

    async with make_app(double) as durable:
        run = await durable.trigger(
            double, 1, tags=["a"], priority=7, queue="q", idempotency_key="k", max_duration="1h"
        )
        assert await durable.result(run) == [2, None]
        again = await durable.replay(run.id)
        assert again.id != run.id
        assert (again.tags, again.priority, again.disposition) == (("a",), 7, "created")
        assert await durable.result(again) == [2, run.id]
        other = await durable.replay(run.id, 5)
        assert await durable.result(other) == [10, run.id]
        with pytest.raises(InvalidPayload):
            await durable.replay(run.id, "five")
        row = await durable.store.get_run(again.id)
        assert (row.queue, row.max_duration, row.idempotency_key) == ("q", 3600, None)
        assert len((await durable.list_runs()).runs) == 3
        assert await durable.result(run) == [2, None]


async def test_only_a_finished_run_can_be_deleted_and_then_nothing_of_it_is_left(make_app):
    @job
    async def stepping(ctx):
        await ctx.step("one", asyncio.sleep, 0)
        ctx.log.info("line")

    async with make_app([stepping, quick]) as durable:
        run = await durable.finished(await durable.trigger(stepping, idempotency_key="k"))
        pending = await durable.trigger(quick, delay="1h")
        with pytest.raises(Conflict):
            await durable.delete(pending.id)
        await durable.delete(run.id)
        for call in (durable.get_run, durable.steps, durable.logs, durable.delete):
            with pytest.raises(RunNotFound):
                await call(run.id)
        with pytest.raises(RunNotFound):
            await run.refresh()
        with pytest.raises(RunNotFound):
            await run.result()
        assert await durable.store.read_events(run.id, 0, 100) == []
        assert await durable.store.read_logs(run.id) == []
        assert [left.id for left in (await durable.list_runs()).runs] == [pending.id]
        assert (await durable.trigger(stepping, idempotency_key="k")).disposition == "created"


async def test_purge_removes_only_final_runs_older_than_the_cut_off_and_so_many(make_app):
    async with make_app([quick, broken]) as durable:
        clock = durable.clock
        waiting = await durable.trigger(quick, delay="30d")
        old = [await durable.finished(await durable.trigger(job_)) for job_ in (quick, broken, quick)]
        old.append(await durable.cancel((await durable.trigger(quick, delay="1h")).id))
        await clock.advance("1h")
        new = await durable.finished(await durable.trigger(quick))
        assert await durable.purge(older_than="2h") == 0
        assert await durable.purge(older_than="30m", limit=3) == 3
        assert await durable.purge(older_than="30m", limit=3) == 1
        assert await durable.purge(older_than="30m") == 0
        assert {run.id for run in (await durable.list_runs()).runs} == {waiting.id, new.id}
        for run in old:
            with pytest.raises(RunNotFound):
                await durable.get_run(run.id)
        await clock.advance(1)
        assert await durable.purge(older_than=0) == 1
        for bad in (-1, "soon", float("nan")):
            with pytest.raises(InvalidOption):
                await durable.purge(older_than=bad)
        with pytest.raises(InvalidOption):
            await durable.purge(older_than=0, limit=0)


# Triggering.


@dataclass
class Order:
    item: str
    count: int = 1


@job
async def order(ctx, payload: Order):
    assert isinstance(payload, Order)
    return payload.count


async def nothing_written(durable, since: int) -> None:
    assert durable.store.calls == since
    assert (await durable.list_runs()).runs == []


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        (None, "$"),
        ({}, "$.item"),
        ({"item": 1}, "$.item"),
        ({"item": "a", "count": "many"}, "$.count"),
        ({"item": "a", "extra": 1}, "$.extra"),
        ([], "$"),
        ("a", "$"),
    ],
)
async def test_a_bad_payload_raises_before_anything_is_written(make_app, payload, path):
    async with make_app(order, worker=False) as durable:
        calls = durable.store.calls
        with pytest.raises(InvalidPayload) as caught:
            await durable.trigger(order, payload)
        assert path in [problem.path for problem in caught.value.problems]
        await nothing_written(durable, calls)


async def test_one_bad_payload_of_many_is_named_and_none_is_written(make_app):
    async with make_app(order, worker=False) as durable:
        calls = durable.store.calls
        with pytest.raises(InvalidPayload) as caught:
            await durable.trigger_many(order, [{"item": "a"}, {"item": "b"}, {"item": 3}, {}])
        assert caught.value.index == 2
        assert "[2]" in str(caught.value)
        await nothing_written(durable, calls)


async def test_payloads_as_data_or_as_the_thing_itself(make_app):
    async with make_app([order, quick]) as durable:
        runs = await durable.trigger_many(order, [{"item": "a"}, Order("b", 2), {"item": "c", "count": 3}])
        assert [await durable.result(run) for run in runs] == [1, 2, 3]
        assert len({run.id for run in runs}) == 3
        assert await durable.trigger_many(order, []) == []
        assert await durable.outcome("order", {"item": "by name"}) == 1
        with pytest.raises(InvalidPayload):
            await durable.trigger(quick, 1)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"delay": -1}, "delay"),
        ({"delay": "soon"}, "delay"),
        ({"delay": float("inf")}, "delay"),
        ({"priority": 1.5}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 2**31}, "priority"),
        ({"tags": "abc"}, "tags"),
        ({"tags": [""]}, "tags"),
        ({"tags": [1]}, "tags"),
        ({"tags": ["a\nb"]}, "tags"),
        ({"max_duration": 0}, "max_duration"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": []}, "idempotency_key"),
        ({"idempotency_key": {"a": 1}}, "idempotency_key"),
        ({"idempotency_key": "k", "idempotency_ttl": 0}, "idempotency_ttl"),
        ({"scope": "run"}, "scope"),
        ({"scope": "attempt"}, "scope"),
        ({"scope": "galaxy"}, "scope"),
        ({"dely": 1}, "dely"),
    ],
    ids=str,
)
async def test_a_wrong_option_is_named_and_nothing_is_written(make_app, options, name):
    async with make_app(quick, worker=False) as durable:
        calls = durable.store.calls
        with pytest.raises(InvalidOption) as caught:
            await durable.trigger(quick, **options)
        assert caught.value.option == name
        await nothing_written(durable, calls)


async def test_what_else_a_trigger_refuses(make_app):
    @job
    async def anything(ctx, payload):
        return payload

    @job("anything")
    async def namesake(ctx, payload):
        return payload

    async with make_app(anything, worker=False, max_value_bytes=100) as durable:
        calls = durable.store.calls
        for wanted in ("nothing", quick, namesake, None):
            with pytest.raises(UnknownJob):
                await durable.trigger(wanted, 1)
        with pytest.raises(NotSerializable):
            await durable.trigger(anything, Unknown())
        with pytest.raises(TooLarge):
            await durable.trigger(anything, "x" * 101)
        await nothing_written(durable, calls)


async def test_an_idempotency_key_gives_the_same_run_while_it_lives_and_once_it_completed(make_app):
    async with make_app([quick, order]) as durable:
        first = await durable.trigger(quick, idempotency_key=["a", 1, None, True, 2.0], delay="1m")
        again = await durable.trigger(quick, idempotency_key=("a", 1, None, True, 2))
        assert (first.disposition, again.disposition) == ("created", "idempotent")
        assert again.id == first.id
        await durable.result(first)
        after = await durable.trigger(quick, idempotency_key=["a", 1, None, True, 2])
        assert (after.id, after.disposition, after.status) == (first.id, "idempotent", "COMPLETED")
        assert (await durable.trigger(quick, idempotency_key=["a", 1])).disposition == "created"
        assert (await durable.trigger(quick, idempotency_key="a")).disposition == "created"
        assert (await durable.trigger(order, Order("a"), idempotency_key="a")).disposition == "created"
        assert await types_of(durable, first.id) == ["run.triggered", "run.claimed", "run.completed"]


async def test_a_run_that_ended_otherwise_frees_its_key(make_app):
    async with make_app([quick, broken]) as durable:
        failed = await durable.finished(await durable.trigger(broken, idempotency_key="k"))
        other = await durable.trigger(broken, idempotency_key="k", delay="1h")
        assert other.disposition == "created"
        with pytest.raises(Conflict, match=other.id):
            await durable.resume(failed.id)
        await durable.cancel(other.id)
        await durable.resume(failed.id)  # the key is free again, and taken again
        assert (await durable.trigger(broken, idempotency_key="k")).id == failed.id


async def test_a_key_is_free_after_its_time(make_app):
    async with make_app(quick) as durable:
        first = await durable.trigger(quick, idempotency_key="k", idempotency_ttl="1h")
        await durable.result(first)
        await durable.clock.advance(3590)
        assert (await durable.trigger(quick, idempotency_key="k")).id == first.id
        await durable.clock.advance(10)
        second = await durable.trigger(quick, idempotency_key="k")
        assert (second.disposition, second.id != first.id) == ("created", True)
        assert (await durable.trigger(quick, idempotency_key="k")).id == second.id


async def test_another_payload_under_a_live_key_is_warned_of_and_under_strict_an_error(make_app, caplog):
    async with make_app(order, worker=False) as durable:
        first = await durable.trigger(order, {"item": "a"}, idempotency_key="k")
        with caplog.at_level(logging.WARNING, "durable_lite"):
            assert (
                await durable.trigger(order, {"item": "a", "count": 1}, idempotency_key="k")
            ).id == first.id
            assert not caplog.records
            assert (await durable.trigger(order, {"item": "b"}, idempotency_key="k")).id == first.id
        [record] = caplog.records
        assert first.id in record.getMessage()
    async with make_app(order, worker=False, strict=True) as durable:
        first = await durable.trigger(order, {"item": "a"}, idempotency_key="k")
        assert (await durable.trigger(order, {"item": "a"}, idempotency_key="k")).id == first.id
        with pytest.raises(KeyReused, match=first.id):
            await durable.trigger(order, {"item": "b"}, idempotency_key="k")
        assert len((await durable.list_runs()).runs) == 1


async def test_two_processes_that_trigger_with_one_key_at_once_make_one_run(make_store):
    clock = VirtualClock()
    async with make_store(2) as (here, there):
        async with app(here, quick, clock=clock, worker=False) as one, app(there, quick, clock=clock) as two:
            runs = await asyncio.gather(
                *(durable.trigger(quick, idempotency_key="k") for durable in (one, two) for _ in range(5))
            )
            assert len({run.id for run in runs}) == 1
            assert sorted(run.disposition for run in runs) == ["created"] + ["idempotent"] * 9
            assert await one.result(runs[0]) == "done"


async def test_runs_start_by_priority_and_then_by_age(make_store):
    started = []

    @job
    async def noting(ctx, name: str):
        started.append(name)

    async with make_store() as store:
        clock = VirtualClock()
        async with app(store, noting, clock=clock, worker=False) as elsewhere:
            for name, priority in (("b", 0), ("low", -1), ("c", 0), ("high", 5), ("d", 0)):
                await elsewhere.trigger(noting, name, priority=priority)
                await clock.advance(1)
            await elsewhere.trigger_many(noting, ["e", "f", "g"])
        async with app(store, noting, clock=clock, concurrency=1):
            await clock.settle()
    assert started == ["high", "b", "c", "d", "e", "f", "g", "low"]


async def test_a_delayed_run_starts_when_it_is_due_and_not_before(make_app):
    async with make_app(quick) as durable:
        began = durable.clock.now()
        runs = [await durable.trigger(quick, delay=delay) for delay in ("1h", dt.timedelta(minutes=1), 0)]
        assert [run.ready_at - began for run in runs] == [3600, 60, 0]
        await durable.clock.advance(59)
        assert [(await run.refresh()).status for run in runs] == ["PENDING", "PENDING", "COMPLETED"]
        for run, delay in zip(runs, (3600, 60, 0), strict=True):
            await durable.result(run)
            assert (await run.refresh()).started_at - began == pytest.approx(delay, abs=0.01)


# Listing.


async def test_pages_of_runs_miss_none_and_repeat_none(make_app):
    async with make_app(quick, worker=False) as durable:
        for _ in range(3):
            await durable.trigger_many(quick, [None] * 4)  # of one moment
            await durable.clock.advance(1)
        everything = [run.id for run in (await durable.list_runs(limit=100)).runs]
        assert len(everything) == 12
        for limit in (1, 5, 6, 12):
            page = await durable.list_runs(limit=limit)
            found = [run.id for run in page.runs]
            await durable.trigger(quick)  # newer than all that is still to come
            while page.cursor is not None:
                page = await durable.list_runs(limit=limit, cursor=page.cursor)
                assert len(page.runs) <= limit
                found += [run.id for run in page.runs]
            assert found == everything
            everything = [run.id for run in (await durable.list_runs(limit=100)).runs]


async def test_runs_are_found_by_what_they_are(make_app):
    async with make_app([quick, broken, order]) as durable:
        began = durable.clock.now()
        a = await durable.finished(await durable.trigger(quick, tags=["red", "blue"]))
        b = await durable.finished(await durable.trigger(broken, tags=["red"]))
        await durable.clock.advance(60)
        c = await durable.trigger(order, Order("c"), tags=["re", "100%"], delay="1h")

        async def ids(**filters):
            return {run.id for run in (await durable.list_runs(**filters)).runs}

        assert await ids() == {a.id, b.id, c.id}
        assert await ids(status="COMPLETED") == {a.id}
        assert await ids(status=["FAILED", "PENDING"]) == {b.id, c.id}
        assert await ids(job=quick) == {a.id}
        assert await ids(job="order") == {c.id}
        assert await ids(tag="red") == {a.id, b.id}
        assert await ids(tag="re") == {c.id}
        assert await ids(tag="100%") == {c.id}
        assert await ids(tag="red", status="FAILED", job=broken) == {b.id}
        assert await ids(created_after=began + 30) == {c.id}
        assert await ids(created_before=dt.datetime.fromtimestamp(began + 30, dt.UTC)) == {a.id, b.id}
        assert await ids(tag="none") == set()
        assert await ids(tag=["red", "blue"]) == {a.id}
        assert await ids(tag=["blue", "re"]) == set()
        for wrong in ({"status": "DONE"}, {"status": ["FAILED", 1]}, {"limit": 0}, {"cursor": "x"},
                      {"cursor": "nan:x"}, {"tag": ["red", 1]}, {"search": 1}, {"job": 1},
                      {"created_after": "yesterday"}, {"created_before": dt.datetime(2026, 1, 1)}):  # fmt: skip
            with pytest.raises(InvalidOption) as caught:
                await durable.list_runs(**wrong)
            assert caught.value.option == next(iter(wrong))


# A payload that fitted once.


async def test_a_payload_that_no_longer_fits_is_told_at_the_claim(make_store, always_replay):
    tally, clock = Tally(), VirtualClock()

    @job("work")
    async def old(ctx, count: int):
        return count

    @job("work", retry=Retry(max_attempts=5))
    async def new(ctx, count: list[str]):
        tally["job"] += 1

    async with make_store() as store:
        async with app(store, old, clock=clock, worker=False) as elsewhere:
            run = await elsewhere.trigger(old, 3, idempotency_key="k")
        async with app(store, new, clock=clock, always_replay=always_replay) as durable:
            run = await durable.finished(run)
            assert (run.status, run.attempt, run.payload) == ("INVALID_PAYLOAD", 1, 3)
            with pytest.raises(InvalidPayload, match="work"):
                await durable.result(run)
            with pytest.raises(Conflict):
                await durable.resume(run.id)
            assert (await types_of(durable, run.id))[-1] == "run.failed"
            assert (await durable.trigger(new, ["a"], idempotency_key="k")).disposition == "created"
            await durable.clock.settle()
    assert tally["job"] == 1


async def test_an_invalid_payload_that_the_job_itself_raises_is_a_failure_of_the_job(make_app):
    @job
    async def triggering(ctx):
        raise InvalidPayload("another", [("$", "is missing")])

    async with make_app(triggering) as durable:
        run = await durable.finished(await durable.trigger(triggering))
        assert (run.status, run.attempt) == ("FAILED", 1)
        assert (await durable.resume(run.id)).status == "PENDING"


async def test_a_payload_that_a_page_wrote_without_python_is_read_like_another(make_store):
    async with make_store() as store, app(store, order) as durable:
        now = durable.clock.now()
        for index, text in enumerate(('{"item":"a","count":4}', '{"item":7}', "not json", '{"$":"tuple"}')):
            await store.create_runs(
                [NewRun(f"r{index}", "order", None, "default", 0, now, now, text, trigger='{"kind":"page"}')]
            )
        assert await durable.result("r0") == 4
        for run_id in ("r1", "r2", "r3"):
            assert (await durable.finished(run_id)).status == "INVALID_PAYLOAD"


async def test_a_worker_leaves_alone_what_it_does_not_know(make_store):
    clock = VirtualClock()
    async with make_store() as store:
        async with app(store, [quick, order], clock=clock, worker=False) as elsewhere:
            unknown = await elsewhere.trigger(quick, priority=9)
            known = await elsewhere.trigger(order, Order("a", 2))
        async with app(store, order, clock=clock) as durable:
            assert await durable.result(known) == 2
            await clock.advance("1h")
            assert (await durable.get_run(unknown.id)).status == "PENDING"


async def test_version_and_environment_are_those_of_the_trigger(make_store):
    clock = VirtualClock()

    @job("work", version="1")
    async def old(ctx):
        return [ctx.run.version, ctx.run.environment]

    @job("work", version="2")
    async def new(ctx):
        return [ctx.run.version, ctx.run.environment]

    async with make_store() as store:
        async with app(store, old, clock=clock, worker=False, environment="staging") as elsewhere:
            run = await elsewhere.trigger(old)
            assert run.version == "1"
        async with app(store, new, clock=clock) as durable:
            assert await durable.result(run) == ["1", "staging"]
            assert await durable.outcome(new) == ["2", None]


# result().


async def test_the_result_of_a_finished_run_is_there_at_once_for_anybody(make_store):
    clock = VirtualClock()
    async with make_store(2) as (here, there):
        async with (
            app(here, [quick, order], clock=clock) as one,
            app(there, [quick], clock=clock, worker=False) as two,
        ):
            run = await one.trigger(order, Order("a", 7))
            assert await one.result(run) == 7
            elsewhere = await two.get_run(run.id)  # which doesn't know the job
            waiting = asyncio.ensure_future(elsewhere.result())
            await clock.settle()
            assert waiting.done()
            assert waiting.result() == 7


async def test_a_result_that_does_not_come_in_time_leaves_the_run_alone(make_app):
    @job
    async def slow(ctx):
        await ctx.sleep("nap", "1h")
        return "done"

    async with make_app(slow) as durable:
        run = await durable.trigger(slow)
        with pytest.raises(TimeoutError, match=run.id):
            await durable.clock.run(run.result(timeout="10s"))
        with pytest.raises(InvalidOption):
            await run.result(timeout=0)
        assert await durable.clock.run(run.result(timeout="2h")) == "done"


async def test_a_result_is_awaited_across_processes(make_store):
    clock = VirtualClock()

    @job
    async def slow(ctx):
        await ctx.sleep("nap", "1h")
        return "done"

    async with make_store(2) as (here, there):
        async with app(there, slow, clock=clock, worker=False) as other, app(here, slow, clock=clock):
            run = await other.trigger(slow)
            assert await other.result(run) == "done"


async def test_a_search_looks_into_ids_tags_and_payloads(make_app):
    async with make_app([quick, order], worker=False) as durable:
        a = await durable.trigger(order, Order('a "quoted" ÄRGER'), tags=["red", "Blue"])
        b = await durable.trigger(order, Order("b"), tags=["red"])
        c = await durable.trigger(quick)

        async def ids(search, **filters):
            return [run.id for run in (await durable.list_runs(search=search, **filters)).runs]

        assert await ids("") == [c.id, b.id, a.id]
        assert await ids(a.id[4:].upper()) == [a.id]
        assert await ids("blue") == [a.id]
        assert await ids("ärg") == [a.id]
        assert await ids('"quoted"') == [a.id]
        assert await ids("a%") == []
        assert await ids("r", tag="red", job=order) == [b.id, a.id]
        assert await ids("blue", job=quick) == []


async def test_a_search_goes_on_where_it_stopped_and_ends_with_the_newest_10_000(make_app):
    async with make_app([order], worker=False) as durable:
        last = await durable.trigger(order, Order("wanted too far away"))
        for first in range(0, 10_500, 2_100):
            texts = [f"{'wanted' if n % 3_000 == 0 else 'other'} {n}" for n in range(first, first + 2_100)]
            await durable.trigger_many(order, [Order(text) for text in texts])
        found, page = [], await durable.list_runs(search="wanted", limit=2)
        assert page.cursor is not None
        while page.cursor is not None:
            found += page.runs
            page = await durable.list_runs(search="wanted", limit=2, cursor=page.cursor)
        found += page.runs
        assert len({run.id for run in found}) == len(found) == 5
        assert found[-1].id == last.id
        page = await durable.list_runs(search="nothing like it")
        assert (page.runs, page.searched) == ([], 10_000)
        assert page.cursor is not None
        page = await durable.list_runs(search="nothing like it", cursor=page.cursor)
        assert (page.searched, page.cursor) == (501, None)
