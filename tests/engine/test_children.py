"""Runs that a run starts and waits for: made once, awaited without a slot, ended together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable_lite import (
    ChildFailed,
    Conflict,
    InvalidOption,
    InvalidPayload,
    Retry,
    RunFailed,
    RunNotFound,
    Status,
    StepTimeout,
    TooLarge,
    UnknownJob,
    job,
)
from durable_lite.testing import VirtualClock
from tests.engine.apps import Tally
from tests.engine.support import Process, forever, status, story
from tests.engine.test_tokens import MODES, rows_of, slower, token_of
from tests.engine.values import Colour, Drawing, PaymentError, Point


@job
async def double(ctx, number: int) -> int:
    await ctx.sleep("nap", f"{number + 1}m")
    return number * 2


@job
async def draws(ctx, point: Point) -> Drawing:
    await ctx.sleep("nap", "1m")
    return Drawing([point], Colour.BLUE)


@job(retry=Retry.NEVER)
async def refuses(ctx, code: int):
    await ctx.sleep("nap", "1m")
    raise PaymentError(code, "card")


@job
async def takes_text(ctx, text: str):
    pass


@job
async def hangs(ctx):
    await ctx.step("hang", forever)


async def runs_of(process, wanted):
    """The runs of a job, oldest first."""
    return (await process.list_runs(job=wanted, limit=1000)).runs[::-1]


async def until_dead(process):
    """It dies in an hour at the latest."""
    over = process.clock.call_later(3600, process.kill)
    await process.clock.run(process.died.wait())
    over.cancel()


async def claims(store, run):
    return (await story(store, run)).count("run.claimed")


# Calls


@pytest.mark.live
@MODES
async def test_a_call_gives_its_childs_typed_output(make_store, mode):
    @job
    async def parent(ctx) -> list[Any]:
        first = await ctx.call("first", draws, Point(1, 2))
        second = await ctx.call("second", draws, {"x": 3, "y": 4})
        third = await ctx.call("third", "double", 5)
        assert type(first) is type(second) is Drawing
        assert type(first.points[0]) is Point
        return [first.points[0].x, second.points[0].y, third]

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, draws, double, **mode) as process:
        began = clock.now()
        run = await process.trigger(parent)
        await clock.advance("1s")
        assert await status(store, run) == Status.WAITING
        assert (await run.refresh()).ready_at is None
        assert await process.result(run) == [1, 4, 10]
        assert clock.now() == pytest.approx(began + 60 + 60 + 360, abs=1)
        assert [len(await runs_of(process, one)) for one in (draws, double)] == [2, 1]
        rows = await rows_of(process, run)
        assert set(rows) == {"first", "second", "third"}
        assert {(row.kind, row.state) for row in rows.values()} == {("call", "completed")}
        assert rows["third"].ref == (await runs_of(process, double))[0].id
        if not mode.get("always_replay"):
            assert await claims(store, run) == 4


@MODES
async def test_a_child_knows_its_parent(make_store, mode):
    @job
    async def child(ctx):
        run = ctx.run
        return [run.parent, run.trigger, run.environment, list(run.tags), run.queue]

    @job
    async def parent(ctx):
        async def inside():
            return await ctx.call("called", child, tags=["a"], queue="other")

        triggered = await ctx.trigger("triggered", child)
        return [await ctx.step("step", inside), triggered]

    clock = VirtualClock()
    async with (
        make_store() as store,
        Process(store, clock, parent, child, environment="test", **mode) as process,
    ):
        run = await process.trigger(parent)
        called, triggered = await process.result(run)
        about = {"kind": "run", "run": run.id}
        assert called == [run.id, about | {"step": "step/called"}, "test", ["a"], "other"]
        assert await process.result(triggered) == [
            run.id, about | {"step": "triggered"}, "test", [], "default",
        ]  # fmt: skip


@MODES
async def test_call_many_gives_outputs_in_the_order_of_the_payloads(make_store, mode):
    @job
    async def parent(ctx) -> list[Any]:
        numbers = await ctx.call_many("many", double, iter([3, 0, 2, 1]))
        points = await ctx.call_many("typed", draws, [Point(1, 1), {"x": 2, "y": 2}])
        assert all(type(one) is Drawing for one in points)
        return [numbers, [one.points[0].x for one in points]]

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, double, draws, **mode) as process:
        began = clock.now()
        run = await process.trigger(parent)
        assert await process.result(run) == [[6, 0, 4, 2], [1, 2]]
        assert clock.now() == pytest.approx(began + 240 + 60, abs=1)
        assert len(await runs_of(process, double)) == 4


@MODES
async def test_fifty_children_wake_their_parent_once(make_store, mode):
    @job
    async def parent(ctx):
        return sum(await ctx.call_many("many", double, range(50)))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, double, **mode) as process:
        run = await process.trigger(parent)
        await clock.advance("49m")
        assert await status(store, run) == Status.WAITING
        claimed = await claims(store, run)
        assert claimed == 1
        assert await process.result(run) == 2 * sum(range(50))
        assert await claims(store, run) <= 3


@pytest.mark.live
async def test_children_that_end_during_the_grace_and_after_it(make_store):
    """Some before the parent is suspended, some after: all are counted once."""

    @job
    async def quick(ctx, index: int):
        await ctx.step("work", clock.sleep, index * 0.01)
        return index

    @job
    async def parent(ctx):
        return await ctx.call_many("many", quick, range(10))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, quick, concurrency=20) as process:
        run = await process.trigger(parent)
        assert await process.result(run) == list(range(10))
        assert await claims(store, run) == 2


@MODES
async def test_one_that_fails_wakes_the_parent_at_once(make_store, mode):
    @job
    async def works(ctx, minutes: int):
        await ctx.sleep("nap", minutes * 60)
        if minutes == 3:
            raise PaymentError(3, "third")

    works.retry = Retry.NEVER

    @job
    async def parent(ctx):
        try:
            await ctx.call_many("many", works, range(19, 0, -1))
        except ChildFailed as error:
            seen.append((clock.now(), error.run_id, error.status, error.job))
        await ctx.sleep("nap", "2h")

    clock, seen = VirtualClock(), []
    async with make_store() as store, Process(store, clock, parent, works, **mode) as process:
        began = clock.now()
        run = await process.trigger(parent)
        await clock.advance("4m")
        third = (await runs_of(process, works))[16].id
        assert seen == [(pytest.approx(began + 180, abs=0.5), third, "FAILED", "works")]
        await process.result(run)
        assert {one[1:] for one in seen} == {(third, "FAILED", "works")}
        ends = [str(one.status) for one in await runs_of(process, works)]
        assert ends == ["COMPLETED"] * 16 + ["FAILED"] + ["COMPLETED"] * 2  # the others went on


@pytest.mark.live
@MODES
async def test_parallel_calls_go_on_one_by_one(make_store, mode):
    @job
    async def parent(ctx):
        async def one(number):
            output = await ctx.call(f"call-{number}", double, number)
            await ctx.step(f"after-{number}", note, number)
            return output

        many = ctx.call_many("many", double, [8, 1])
        return await asyncio.gather(*(one(number) for number in (4, 2, 6)), many)

    async def note(number: int) -> None:
        order.append((number, round((clock.now() - began) / 60)))

    clock, order = VirtualClock(), []
    async with make_store() as store, Process(store, clock, parent, double, **mode) as process:
        began = clock.now()
        run = await process.trigger(parent)
        assert await process.result(run) == [8, 4, 12, [16, 2]]
        assert order == [(2, 3), (4, 5), (6, 7)]
        if not mode.get("always_replay"):
            assert await claims(store, run) <= 7  # five children, and nobody looks in vain


@MODES
async def test_no_children_at_all(make_store, mode):
    @job
    async def parent(ctx):
        return [await ctx.call_many("many", double, []), await ctx.call_many("many", double, [])]

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, double, **mode) as process:
        run = await process.trigger(parent)
        assert await process.result(run) == [[], []]
        assert await runs_of(process, double) == []
        assert "create_children" not in process.verbs


@MODES
async def test_two_calls_of_one_key_share_one_child(make_store, mode):
    @job
    async def parent(ctx):
        both = await asyncio.gather(ctx.call("one", double, 1), ctx.call("one", double, 1))
        return [*both, await ctx.call("one", double, 1)]

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, double, strict=True, **mode) as process:
        assert await process.outcome(parent) == [2, 2, 2]
        assert len(await runs_of(process, double)) == 1


# Slots


@MODES
async def test_waiting_parents_hold_no_slot(make_store, mode):
    @job
    async def deep(ctx, depth: int):
        if depth == 0:
            return [0]
        return [depth, *await ctx.call("deeper", deep, depth - 1)]

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, deep, concurrency=1, **mode) as process:
        assert await process.outcome(deep, 3) == [3, 2, 1, 0]
        assert len(await runs_of(process, deep)) == 4


async def test_many_parents_share_one_slot_with_their_children(make_store):
    @job
    async def parent(ctx, number: int):
        return await ctx.call_many("many", double, [number, number + 1])

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, double, concurrency=1) as process:
        runs = await process.trigger_many(parent, range(4))
        assert [await process.result(run) for run in runs] == [[2 * n, 2 * n + 2] for n in range(4)]


# Failures


@pytest.mark.live
@MODES
async def test_a_child_that_fails_is_a_childfailed_also_on_replay(make_store, mode):
    @job
    async def parent(ctx):
        try:
            await ctx.call("pay", refuses, 402)
        except ChildFailed as error:
            seen.append((error.run_id, error.job, error.status, str(error), dict(error.error)))
        await ctx.sleep("nap", "1m")
        return "went on"

    clock, seen = VirtualClock(), []
    async with make_store() as store, Process(store, clock, parent, refuses, **mode) as process:
        run = await process.trigger(parent)
        assert await process.result(run) == "went on"
        [child] = await runs_of(process, refuses)
        assert len(seen) == (1 if not mode else 2)
        assert all(one == seen[0] for one in seen)
        message = "(402, 'card')"
        assert seen[0] == (
            child.id, "refuses", "FAILED", f"child run {child.id} of refuses ended FAILED: PaymentError: {message}",
            {"type": "PaymentError", "message": message},
        )  # fmt: skip
        row = (await rows_of(process, run))["pay"]
        assert (row.kind, row.state, row.ref) == ("call", "failed", child.id)


@MODES
@pytest.mark.parametrize("grouped", [False, True])
async def test_left_uncaught_it_fails_the_parent_without_a_retry(make_store, mode, grouped):
    @job(retry=Retry(max_attempts=5))
    async def parent(ctx):
        if not grouped:
            await ctx.call("pay", refuses, 402)
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.call("pay", refuses, 402))
            group.create_task(ctx.sleep("nap", "1h"))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, refuses, **mode) as process:
        run = await process.finished(await process.trigger(parent))
        assert (run.status, run.attempt) == (Status.FAILED, 1)
        assert run.error["type"] == ("ExceptionGroup" if grouped else "ChildFailed")
        assert len(await runs_of(process, refuses)) == 1


def moody(tally, goods=2):
    """A job that fails so often for each payload that says so."""

    async def count(name: str) -> int:
        tally[name] += 1
        return tally[name]

    @job("moody", retry=Retry.NEVER)
    async def fails_at_first(ctx, name: str):
        nth = await ctx.step("count", count, name)
        await ctx.sleep("nap", "1m")
        if name.startswith("bad") and nth <= goods:
            raise PaymentError(nth, name)
        return f"{name} {nth}"

    return fails_at_first


@MODES
async def test_with_children_a_retry_starts_again_only_what_had_not_completed(make_store, mode):
    clock, tally = VirtualClock(), Tally()
    child = moody(tally)

    @job(retry=Retry(max_attempts=3, min_delay="1s", jitter=False, children=True))
    async def parent(ctx):
        first = await ctx.call("good", child, "good")
        many = await ctx.call_many("many", child, ["good-1", "bad-1", "good-2", "bad-2"])
        return [first, *many, await ctx.call("bad", child, "bad")]

    async with make_store() as store, Process(store, clock, parent, child, **mode) as process:
        run = await process.finished(await process.trigger(parent))
        assert (run.status, run.attempt, run.error["type"]) == (Status.FAILED, 3, "ChildFailed")
        assert tally == {"good": 1, "good-1": 1, "good-2": 1, "bad-1": 3, "bad-2": 3, "bad": 1}
        await process.resume(run.id)
        assert await process.result(run) == [
            "good 1", "good-1 1", "bad-1 3", "good-2 1", "bad-2 3", "bad 3",
        ]  # fmt: skip
        assert (await run.refresh()).attempt == 5
        assert sum(tally.values()) == len(await runs_of(process, child)) == 12


@MODES
async def test_a_call_with_a_retry_starts_a_new_child_for_each_try(make_store, mode):
    clock, tally = VirtualClock(), Tally()
    child = moody(tally)

    @job
    async def parent(ctx):
        patient = ctx.options(retry=Retry(max_attempts=3, min_delay="10s", jitter=False))
        one = await patient.call("one", child, "bad")
        return [one, await patient.call_many("many", child, ["good", "bad-1"])]

    async with make_store() as store, Process(store, clock, parent, child, **mode) as process:
        began = clock.now()
        run = await process.trigger(parent)
        assert await process.result(run) == ["bad 3", ["good 1", "bad-1 3"]]
        assert tally == {"bad": 3, "good": 1, "bad-1": 3}
        assert clock.now() == pytest.approx(began + 6 * 60 + 2 * 30, abs=2)
        assert (await story(store, run)).count("step.failed") == 4
        assert (await run.refresh()).attempt == 1


@MODES
async def test_an_outer_step_that_is_tried_again_keeps_the_children_that_have_completed(make_store, mode):
    clock, tally = VirtualClock(), Tally()
    child = moody(tally)

    @job
    async def parent(ctx):
        async def outer():
            await ctx.step("up", tally.update, ["up"])
            many = await ctx.call_many("many", child, ["good-1", "bad-1", "good-2", "bad-2"])
            return [*many, await ctx.call("one", child, "bad")]

        patient = ctx.options(retry=Retry(max_attempts=9, min_delay="10s", jitter=False, children=True))
        return await patient.step("outer", outer)

    async with make_store() as store, Process(store, clock, parent, child, **mode) as process:
        run = await process.trigger(parent)
        assert await process.result(run) == ["good-1 1", "bad-1 3", "good-2 1", "bad-2 3", "bad 3"]
        assert tally == {"up": 1, "good-1": 1, "good-2": 1, "bad-1": 3, "bad-2": 3, "bad": 3}
        assert len(await runs_of(process, child)) == 11
        assert {one.state for one in await process.steps(run.id)} == {"completed"}


@MODES
async def test_its_tries_come_to_an_end(make_store, mode):
    clock, tally = VirtualClock(), Tally()
    child = moody(tally, 100)

    @job(retry=Retry(max_attempts=2, min_delay="1s", children=True))
    async def parent(ctx):
        await ctx.options(retry=Retry(max_attempts=3, min_delay="1s")).call("one", child, "bad")

    async with make_store() as store, Process(store, clock, parent, child, **mode) as process:
        run = await process.finished(await process.trigger(parent))
        assert (run.status, run.attempt) == (Status.FAILED, 2)
        assert tally == {"bad": 6}
        assert (await rows_of(process, run))["one"].failures == 3


@MODES
async def test_a_new_attempt_goes_on_waiting_for_a_child_that_is_not_to_blame(make_store, mode):
    """Its sibling failed, and so the run did."""

    @job(retry=Retry(max_attempts=2, min_delay="1s", jitter=False))
    async def parent(ctx):
        async def fails_once():
            if ctx.run.attempt == 1:
                raise OSError("once")
            return "well"

        return await asyncio.gather(ctx.call("slow", double, 3), ctx.step("flaky", fails_once))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, double, **mode) as process:
        began = clock.now()
        run = await process.trigger(parent)
        assert await process.result(run) == [6, "well"]
        assert clock.now() == pytest.approx(began + 240, abs=1)
        assert len(await runs_of(process, double)) == 1
        assert (await run.refresh()).attempt == 2


@pytest.mark.parametrize("end", ["cancelled", "timed out"])
async def test_a_child_may_end_in_other_ways(make_store, end):
    @job
    async def parent(ctx):
        try:
            await ctx.call("child", hangs, deadline=clock.now() + (3600 if end == "cancelled" else 60))
        except ChildFailed as error:
            return [error.run_id, error.status, error.error.get("type")]

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, hangs) as process:
        run = await process.trigger(parent)
        await clock.advance("1s")
        [child] = await runs_of(process, hangs)
        if end == "cancelled":
            await process.cancel(child.id)
        expected = {"cancelled": ["CANCELLED", None], "timed out": ["TIMED_OUT", "TimedOut"]}[end]
        assert await process.result(run) == [child.id, *expected]


# Ended together


@MODES
async def test_cancelling_a_parent_cancels_its_children(make_store, mode):
    cut_off = []

    @job
    async def grandchild(ctx):
        try:
            await ctx.step("hang", forever)
        except asyncio.CancelledError:
            cut_off.append(clock.now())
            raise

    @job
    async def child(ctx):
        await ctx.call("down", grandchild)

    @job
    async def parent(ctx):
        done = await ctx.call("done", double, 0)
        triggered = await ctx.trigger("beside", grandchild)
        return [done, triggered, await ctx.call_many("many", child, [None, None])]

    clock = VirtualClock()
    jobs = (parent, child, grandchild, double)
    async with make_store() as store, Process(store, clock, *jobs, concurrency=3, **mode) as process:
        run = await process.trigger(parent)
        await clock.advance("2m")
        assert [await status(store, one) for one in await runs_of(process, grandchild)] == ["EXECUTING"] * 3
        await process.cancel(run.id)
        every = [run, *(await runs_of(process, child)), *(await runs_of(process, grandchild))]
        assert len(every) == 6
        assert {await status(store, one) for one in every} == {"CANCELLED"}
        assert await status(store, (await runs_of(process, double))[0]) == "COMPLETED"
        assert await store.leases() == []
        began = clock.now()
        await clock.advance("1s")  # nobody waits for a heartbeat
        assert len(cut_off) == 3
        assert max(cut_off) == pytest.approx(began, abs=0.1)
        assert await process.outcome(double, 0) == 0  # there is a slot
        for one in every:
            types = await story(store, one)
            assert types[-1] == "run.cancelled"
            assert types.count("run.cancelled") == 1


@MODES
async def test_a_cancelled_parent_that_is_resumed_starts_its_children_anew(make_store, mode):
    """They were cancelled with it. What had completed stays."""

    @job
    async def parent(ctx):
        async def token():
            return await ctx.wait_for_token("approval", timeout="1d")

        many = ctx.call_many("many", double, [0, 5])
        return await asyncio.gather(ctx.call("one", double, 5), many, token())

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, double, **mode) as process:
        run = await process.trigger(parent)
        await clock.advance("3m")
        await process.cancel(run.id)
        await process.resume(run.id)
        await clock.advance("1s")
        assert await status(store, run) == Status.WAITING
        await process.complete_token((await token_of(process, run)).id, "yes")
        assert await process.result(run) == [10, [0, 10], "yes"]
        ends = sorted((one.payload, str(one.status)) for one in await runs_of(process, double))
        assert ends == [(0, "COMPLETED"), *[(5, "CANCELLED")] * 2, *[(5, "COMPLETED")] * 2]


@MODES
async def test_the_end_of_a_parent_that_did_not_wait_is_no_matter(make_store, mode):
    @job
    async def parent(ctx):
        return [await ctx.trigger("beside", double, 3), await ctx.trigger("later", double, 1, delay="10m")]

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, double, **mode) as process:
        began = clock.now()
        run = await process.trigger(parent)
        ids = await process.result(run)
        assert clock.now() == pytest.approx(began, abs=0.1)
        assert ids == [one.id for one in await runs_of(process, double)]
        assert await process.result(ids[0]) == 6
        with pytest.raises(Conflict):
            await process.cancel(run.id)
        assert await process.result(ids[1]) == 2
        assert clock.now() == pytest.approx(began + 720, abs=0.2)
        assert (await story(store, run))[-1] == "run.completed"


# Given up


@pytest.mark.live
@MODES
async def test_a_call_that_is_given_up_leaves_its_child_alone(make_store, mode):
    """It is waited for again later, and wakes nobody meanwhile who waits for something else."""

    @job
    async def parent(ctx):
        try:
            async with asyncio.timeout(0):
                await ctx.call("slow", double, 2)
        except TimeoutError:
            pass
        other = await ctx.wait_for_token("approval", timeout="1d")
        seen.append(clock.now())
        return [other, await ctx.call("slow", double, 2), await ctx.call("last", double, 0)]

    clock, seen = VirtualClock(), []
    async with make_store() as store, Process(store, clock, parent, double, **mode) as process:
        began = clock.now()
        run = await process.trigger(parent)
        await clock.advance("1h")
        [child] = await runs_of(process, double)
        assert child.status is Status.COMPLETED
        assert (seen, await status(store, run)) == ([], Status.WAITING)
        assert await claims(store, run) <= 2 + 2 * bool(mode.get("always_replay"))
        await process.complete_token((await token_of(process, run)).id, "yes")
        await clock.advance("30s")
        assert seen[0] == pytest.approx(began + 3600, abs=0.1)
        assert await status(store, run) == Status.WAITING
        assert await process.result(run) == ["yes", 4, 0]
        assert clock.now() == pytest.approx(began + 3660, abs=0.5)
        assert len(await runs_of(process, double)) == 2
        assert "step.failed" not in await story(store, run)


@pytest.mark.parametrize("many", [False, True])
async def test_a_call_that_is_given_up_while_its_children_are_being_stored_has_no_others(make_store, many):
    """The write goes through, or not: whoever calls again gets what it made."""

    @job
    async def parent(ctx):
        def call():
            if many:
                return ctx.call_many("slow", double, [0, 1])
            return ctx.call("slow", double, 0)

        for number in range(3):
            try:
                async with asyncio.timeout(None) as limit:
                    clock.call_later(0.1, lambda limit=limit: limit.reschedule(0))
                    return await call()
            except TimeoutError:
                given_up.append(number)
        return await call()

    clock, given_up = VirtualClock(), []
    async with make_store() as store, Process(store, clock, parent, double) as process:
        create, tasks = process.store.create_children, set()

        async def slow(*args):
            async def carry_out():
                await clock.sleep(0.15)
                return await create(*args)

            task = asyncio.ensure_future(carry_out())
            tasks.add(task)
            return await asyncio.shield(task)

        process.store.create_children = slow
        run = await process.trigger(parent)
        assert await process.result(run) == ([0, 2] if many else 0)
        assert given_up == [0, 1, 2]
        assert len(tasks) >= 2
        assert len(await runs_of(process, double)) == 1 + many


# Keys of triggers


@MODES
async def test_the_scope_of_an_idempotency_key(make_store, mode):
    @job(retry=Retry(max_attempts=2, min_delay="1s"))
    async def parent(ctx, scope: str):
        nth = ctx.run.attempt
        options = {"idempotency_key": ["a", 1]} | ({"scope": scope} if scope else {})
        ids = [await ctx.trigger(f"{nth}-{number}", double, 0, **options) for number in range(2)]
        seen.setdefault(ctx.run.id, {})[nth] = ids
        if nth == 1:
            raise OSError("again")

    clock, seen = VirtualClock(), {}
    async with make_store() as store, Process(store, clock, parent, double, **mode) as process:
        counts = []
        for scope in ("", "run", "attempt", "global"):
            before = len(await runs_of(process, double))
            for _ in range(2):
                await process.outcome(parent, scope)
            counts.append(len(await runs_of(process, double)) - before)
        assert counts == [2, 2, 4, 1]
        for attempts in seen.values():
            assert [len(set(ids)) for ids in attempts.values()] == [1, 1]
        outside = await process.trigger(double, 0, idempotency_key=["a", 1])
        assert outside.disposition == "idempotent"


@pytest.mark.parametrize("scope", ["run", "attempt"])
async def test_a_scope_is_for_triggers_inside_a_run(make_store, scope):
    async with make_store() as store, Process(store, VirtualClock(), double) as process:
        with pytest.raises(InvalidOption, match=f"scope: '{scope}' is for triggers inside a run"):
            await process.trigger(double, 0, idempotency_key="k", scope=scope)
        assert await runs_of(process, double) == []


@MODES
async def test_a_trigger_is_done_once_and_keeps_its_id(make_store, mode):
    @job(retry=Retry(max_attempts=3, min_delay="1s"))
    async def parent(ctx):
        one = await ctx.trigger("one", double, 0)
        async with asyncio.TaskGroup() as group:
            two = [group.create_task(ctx.trigger("two", double, 1)) for _ in range(3)]
        seen.append([one, *(task.result() for task in two)])
        await ctx.sleep("nap", "1h")
        if ctx.run.attempt < 3:
            raise OSError("again")

    clock, seen = VirtualClock(), []
    async with make_store() as store, Process(store, clock, parent, double, **mode) as process:
        run = await process.trigger(parent)
        await process.result(run)
        one, two = (one.id for one in await runs_of(process, double))
        assert len(seen) >= 3
        assert all(ids == [one, two, two, two] for ids in seen)
        row = (await rows_of(process, run))["one"]
        assert (row.kind, row.state, row.ref) == ("trigger", "completed", one)


# What is wrong is said before anything is stored


WRONG = {
    "payload": (lambda ctx: ctx.call("key", double, "five"), InvalidPayload, "payload of double: "),
    "one of many": (lambda ctx: ctx.call_many("key", double, [1, 2, []]), InvalidPayload, "payloads[2] of double: "),
    "of a trigger": (lambda ctx: ctx.trigger("key", draws, {"x": 1}), InvalidPayload, "$.y: "),
    "too large": (lambda ctx: ctx.trigger("key", takes_text, "x" * 2000), TooLarge, "2,002 bytes"),
    "name": (lambda ctx: ctx.call("key", "unknown"), UnknownJob, "'unknown'"),
    "job": (lambda ctx: ctx.call_many("key", hangs, []), UnknownJob, "'hangs'"),
    "no job": (lambda ctx: ctx.trigger("key", 5), UnknownJob, "5"),
    "priority": (lambda ctx: ctx.call("key", double, 1, priority="high"), InvalidOption, "priority"),
    "no option": (lambda ctx: ctx.call("key", double, 1, wrong=1), InvalidOption, "wrong"),
    "key": (lambda ctx: ctx.call("key", double, 1, idempotency_key="k"), InvalidOption, "for ctx.trigger"),
    "key of many": (lambda ctx: ctx.call_many("key", double, [1], idempotency_key="k"), InvalidOption, "for ctx.trigger"),
    "scope": (lambda ctx: ctx.trigger("key", double, 1, scope="job"), InvalidOption, "scope"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_wrong_with_a_call(make_store, wrong):
    call, error, says = WRONG[wrong]

    @job(retry=Retry(max_attempts=2, min_delay="1s"))
    async def parent(ctx):
        with pytest.raises(error) as caught:
            await call(ctx)
        assert says in str(caught.value)
        raised.append(caught.value)

    clock, raised = VirtualClock(), []
    jobs = (parent, double, draws, takes_text)
    async with make_store() as store, Process(store, clock, *jobs, max_value_bytes=1000) as process:
        await process.outcome(parent)
        assert "create_children" not in process.verbs
        assert len((await process.list_runs()).runs) == 1
        assert len(raised) == 1


@MODES
async def test_a_bad_payload_fails_the_parent_without_a_retry(make_store, mode):
    @job(retry=Retry(max_attempts=5))
    async def parent(ctx):
        try:
            await ctx.call_many("many", double, [0, 1, "x", 3])
        except InvalidPayload as error:
            indices.append(error.index)
            raise

    clock, indices = VirtualClock(), []
    async with make_store() as store, Process(store, clock, parent, double, **mode) as process:
        run = await process.finished(await process.trigger(parent))
        assert (run.status, run.attempt, run.error["type"]) == (Status.FAILED, 1, "InvalidPayload")
        assert set(indices) == {2}
        assert await runs_of(process, double) == []


async def test_outputs_that_are_too_large_together(make_store):
    @job
    async def wide(ctx):
        return "x" * 400

    @job(retry=Retry(max_attempts=5))
    async def parent(ctx):
        return len(await ctx.call_many("many", wide, [None] * 3))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, wide, max_value_bytes=1000) as process:
        with pytest.raises(RunFailed, match="TooLarge: many: 1,210 bytes"):
            await process.outcome(parent)
        [run] = await runs_of(process, parent)
        assert run.attempt == 1


# Crashes, and what others do meanwhile


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb", ["create_children", "settle", "get_runs", "save_step"])
@pytest.mark.parametrize("kind", ["call", "call_many", "trigger"])
async def test_a_crash_anywhere_makes_no_second_child(make_store, always_replay, kind, verb, when):
    @job
    async def parent(ctx):
        await ctx.step("before", str, 1)
        match kind:
            case "call":
                return [await ctx.call("key", double, 0)]
            case "call_many":
                return await ctx.call_many("key", double, [0, 1])
        await ctx.trigger("key", double, 0)
        return await ctx.call_many("all", double, [])

    clock = VirtualClock()
    async with make_store() as store:
        async with Process(store, clock, parent, double, always_replay=always_replay) as first:
            first.die_at(verb, when=when)
            run = await first.trigger(parent)
            await until_dead(first)
        await clock.jump("30s")
        async with Process(store, clock, parent, double, always_replay=always_replay) as second:
            second.die_at(verb, when=when)
            await until_dead(second)
        await clock.jump("30s")
        async with Process(store, clock, parent, double, always_replay=always_replay) as last:
            assert await last.result(run) == {"call": [0], "call_many": [0, 2], "trigger": []}[kind]
            assert len(await runs_of(last, double)) == (2 if kind == "call_many" else 1)


@MODES
async def test_children_that_end_while_nobody_works_are_found(make_store, mode):
    """The parent's process has died; the children were done by another, which doesn't know the parent."""

    @job
    async def parent(ctx):
        return await ctx.call_many("many", double, [0, 1, 2])

    clock = VirtualClock()
    async with make_store() as store:
        async with Process(store, clock, parent, double, **mode) as first:
            first.after = lambda verb, args: verb == "create_children" and first.pause()
            run = await first.trigger(parent)
            await clock.advance("1s")
            assert await status(store, run) == Status.WAITING
            await first.buried()
        async with Process(store, clock, double) as second:
            for child in await runs_of(second, double):
                await second.result(child)
            assert await status(store, run) == Status.WAITING
        async with Process(store, clock, parent, double, **mode) as third:
            assert await third.result(run) == [0, 2, 4]


@MODES
async def test_a_child_that_ends_in_the_moment_of_the_suspension(make_store, mode):
    """After the last look, and before the store has the parent WAITING: the store sees it."""

    @job
    async def quick(ctx):
        await ctx.step("work", work.wait)
        return "quick"

    @job
    async def parent(ctx):
        return await ctx.call("quick", quick)

    async def finish():
        if not work.is_set():
            work.set()
            await asyncio.sleep(0)
            while await status(store, (await runs_of(process, quick))[0]) != "COMPLETED":
                await asyncio.sleep(0)

    clock, work = VirtualClock(), asyncio.Event()
    async with make_store() as store, Process(store, clock, parent, quick, **mode) as process:
        settle = process.store.settle

        async def slow(run_id, *args):
            if run_id == run.id:
                await finish()
            return await settle(run_id, *args)

        process.store.settle = slow
        began = clock.now()
        run = await process.trigger(parent)
        assert await process.result(run) == "quick"
        assert clock.now() < began + 0.5


@MODES
async def test_a_look_that_takes_longer_than_the_grace(make_store, mode):
    """A busy store: the parent isn't suspended again before it has seen what it was woken for."""

    @job
    async def parent(ctx):
        return await asyncio.gather(ctx.call("one", double, 0), ctx.call("two", double, 0))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, double, **mode) as process:
        slower(process, "get_runs", lambda: clock.sleep(0.2))
        run = await process.trigger(parent)
        await clock.advance("62s")
        assert await status(store, run) == Status.COMPLETED
        assert await claims(store, run) <= 3 + 2 * bool(mode.get("always_replay"))


@MODES
async def test_a_child_that_was_deleted_has_failed(make_store, mode):
    @job
    async def parent(ctx):
        try:
            return await ctx.call_many("many", double, [0, 1])
        except ChildFailed as error:
            return [error.run_id, error.status, str(error)]

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, double, **mode) as process:
        run = await process.trigger(parent)
        await clock.advance("70s")
        first, second = await runs_of(process, double)
        await process.delete(first.id)
        assert await process.result(run) == [
            first.id, "deleted", f"child run {first.id} of double ended deleted: its run is gone",
        ]  # fmt: skip


async def test_a_purge_leaves_what_is_still_waited_for(make_store):
    @job
    async def parent(ctx):
        await ctx.call("before", double, 0)
        await ctx.trigger("beside", double, 0)
        return await ctx.call_many("many", double, [0, 60])

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, double) as process:
        run = await process.trigger(parent)
        await clock.advance("30m")
        assert await process.purge(older_than=0) == 1  # the one that it doesn't wait for
        assert len(await runs_of(process, double)) == 3
        assert await process.result(run) == [0, 120]
        await clock.advance("1s")
        assert await process.purge(older_than=0) == 4
        with pytest.raises(RunNotFound):
            await process.get_run(run.id)


@pytest.mark.live
async def test_a_try_that_took_too_long_is_no_fault_of_its_child(make_store):
    """A timeout counts while the parent executes. The next try waits for the same child."""

    @job
    async def parent(ctx):
        async def asks():
            hasty = ctx.options(timeout="20s", retry=Retry(max_attempts=2, min_delay="1s", jitter=False))
            try:
                await hasty.call("slow", double, 5)
            except StepTimeout as error:
                return [str(error), clock.now()]

        return await asyncio.gather(asks(), ctx.step("work", clock.sleep, 100))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, parent, double) as process:
        began = clock.now()
        run = await process.trigger(parent)
        late = pytest.approx(began + 41, abs=0.1)
        assert await process.result(run) == [["step 'slow' took longer than its timeout of 20 s", late], None]
        assert (await rows_of(process, run))["slow"].failures == 2
        [child] = await runs_of(process, double)
        assert await process.result(child) == 10
