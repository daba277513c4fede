"""Tokens: promises that somebody outside keeps, and when the run that waits for one goes on."""

from __future__ import annotations

import asyncio
import gc
import random
import re
import weakref
from collections import Counter

import pytest

from durable_lite import (
    Conflict,
    DurableError,
    InvalidOption,
    InvalidPayload,
    NotSerializable,
    Retry,
    RunFailed,
    Status,
    TokenFailed,
    TokenNotFound,
    TokenTimeout,
    TooLarge,
    job,
)
from durable_lite.ports_system import SystemEntropy
from durable_lite.testing import VirtualClock
from tests.engine.apps import Tally, app
from tests.engine.support import Process, forever, status, story, warnings
from tests.engine.values import Point

MODES = pytest.mark.parametrize(
    "mode", [{}, {"warm_runs": 0}, {"always_replay": True}], ids=["warm", "cold", "replay"]
)


async def token_of(process, run, path=None):
    """The one token of a run, or that at this path."""
    [found] = [
        token for token in (await process.list_tokens(run=run.id)).tokens if path in (None, token.path)
    ]
    return found


async def rows_of(process, run):
    """A run's steps and waits by path."""
    return {row.path: row for row in await process.steps(run.id)}


def slower(process, verb, wait):
    """Let calls of a verb of this process wait for `wait()` first."""
    call = getattr(process.store, verb)

    async def slow(*args):
        await wait()
        return await call(*args)

    setattr(process.store, verb, slow)


# Completed


@pytest.mark.live
@MODES
async def test_a_token_that_is_completed_while_the_run_is_suspended(make_store, mode):
    tally = Tally()

    @job
    async def asks(ctx):
        token = await ctx.create_token("approval", timeout="7d")
        await ctx.step("mail", tally.step("mail"), token.id)
        answer = await token.wait()
        return [answer, await ctx.step("act", tally.step("act"))]

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks, **mode) as process:
        began = clock.now()
        run = await process.trigger(asks)
        await clock.advance("1s")
        assert await status(store, run) == Status.WAITING
        assert await store.leases() == []
        token = await token_of(process, run)
        assert (token.state, token.path, token.run_id) == ("pending", "approval", run.id)
        assert token.deadline == (await run.refresh()).ready_at == began + 7 * 86_400
        await clock.advance("1d")
        assert await status(store, run) == Status.WAITING
        done = await process.complete_token(token.id, {"yes": [1, 2]})
        assert (done.state, done.finished_at) == ("completed", clock.now())
        await clock.advance("1s")
        assert await status(store, run) == Status.COMPLETED
        assert await process.result(run) == [{"yes": [1, 2]}, "act"]
        assert tally == {"mail": 1, "act": 1}
        rows = await rows_of(process, run)
        assert {path: (row.kind, row.state) for path, row in rows.items()} == {
            "approval": ("token", "completed"), "mail": ("step", "completed"),
            "approval/wait": ("wait", "completed"), "act": ("step", "completed"),
        }  # fmt: skip
        assert rows["approval"].ref == rows["approval/wait"].ref == token.id
        if not mode.get("always_replay"):
            assert (await story(store, run)).count("run.claimed") == 2


@MODES
async def test_wait_for_token_is_both_in_one(make_store, mode):
    @job
    async def asks(ctx):
        return await ctx.wait_for_token("approval", timeout="1h")

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks, strict=True, **mode) as process:
        run = await process.trigger(asks)
        await clock.advance("1s")
        await process.complete_token((await token_of(process, run)).id)
        assert await process.result(run) is None
        assert (await token_of(process, run)).state == "completed"


@pytest.mark.live
@MODES
async def test_a_token_that_is_completed_before_the_run_waits(make_store, mode):
    @job
    async def asks(ctx):
        token = await ctx.create_token("approval", timeout="1h")
        await ctx.step("mail", answered, token.id)
        return await token.wait()

    async def answered(token_id: str) -> None:
        await process.complete_token(token_id, "at once")

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks, **mode) as process:
        began = clock.now()
        assert await process.outcome(asks) == "at once"
        assert clock.now() == pytest.approx(began, abs=0.01)
        if not mode.get("always_replay"):
            [run] = (await process.list_runs()).runs
            assert "run.waiting" not in await story(store, run)


@pytest.mark.live
@MODES
@pytest.mark.parametrize("after", ["0s", "10ms", "45ms"])
async def test_a_token_that_is_completed_during_the_grace(make_store, after, mode):
    """The run goes on in place."""

    @job
    async def asks(ctx):
        return await ctx.wait_for_token("approval", timeout="1h")

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks, **mode) as process:
        run = await process.trigger(asks)
        await clock.advance(after)
        claims = (await story(store, run)).count("run.claimed")
        assert await status(store, run) == Status.EXECUTING
        await process.complete_token((await token_of(process, run)).id, "soon")
        await clock.advance("21ms")
        assert await status(store, run) == Status.COMPLETED
        if not mode.get("always_replay"):
            assert (await story(store, run)).count("run.claimed") == claims == 1


@MODES
async def test_a_token_that_is_completed_in_the_moment_of_the_suspension(make_store, mode):
    """After the last look, and before the store has the run WAITING: the store sees it."""

    @job
    async def asks(ctx):
        return await ctx.wait_for_token("approval", timeout="1h")

    async def complete():
        [token] = (await process.list_tokens()).tokens
        if token.state == "pending":
            assert await status(store, run) == Status.EXECUTING
            await process.complete_token(token.id, "just now")
            completed.append(clock.now())

    clock, completed = VirtualClock(), []
    async with make_store() as store, Process(store, clock, asks, **mode) as process:
        slower(process, "settle", complete)
        began = clock.now()
        run = await process.trigger(asks)
        assert await process.result(run) == "just now"
        assert completed != []
        assert clock.now() < began + 0.2


@pytest.mark.live
@MODES
async def test_a_branch_goes_on_at_once_while_another_step_is_in_flight(make_store, mode):
    tally, went_on = Tally(), []

    @job
    async def beside(ctx):
        async def asks():
            answer = await ctx.wait_for_token("approval", timeout="1d")
            went_on.append(clock.now())
            return [answer, await ctx.step("act", tally.step("act"))]

        return await asyncio.gather(asks(), ctx.step("work", clock.sleep, 3600))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, beside, **mode) as process:
        began = clock.now()
        run = await process.trigger(beside)
        await clock.advance("10s")
        await process.complete_token((await token_of(process, run)).id, "go")
        await clock.advance("100ms")
        assert await status(store, run) == Status.EXECUTING
        assert "act" in await rows_of(process, run)
        assert went_on == [pytest.approx(began + 10, abs=0.03)]
        assert await process.result(run) == [["go", "act"], None]
        if not mode.get("always_replay"):
            assert "run.waiting" not in await story(store, run)


@MODES
async def test_another_process_completes_it_and_need_not_know_the_job(make_store, mode):
    @job
    async def asks(ctx) -> Point:
        return await ctx.wait_for_token("approval", timeout="30d", type=Point)

    clock = VirtualClock()
    async with (
        make_store(2) as (here, there),
        Process(here, clock, asks, **mode) as process,
        Process(there, clock, worker=False) as outside,
    ):
        run = await process.trigger(asks)
        await clock.advance("1s")
        [token] = (await outside.list_tokens(state="pending")).tokens
        await outside.complete_token(token.id, {"x": 1, "y": 2})
        assert await process.result(run) == Point(1, 2)


@pytest.mark.live
@MODES
async def test_tokens_wake_their_run_one_by_one(make_store, mode):
    order = []

    @job
    async def many(ctx):
        async def one(number):
            answer = await ctx.wait_for_token(f"t{number}", timeout="30d")
            await ctx.step(f"after-{number}", note, number)
            return answer

        return await asyncio.gather(*(one(number) for number in range(10)))

    async def note(number: int) -> None:
        order.append(number)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, many, **mode) as process:
        run = await process.trigger(many)
        await clock.advance("1s")
        numbers = random.Random(3).sample(range(10), 10)
        for number in numbers:
            token = await token_of(process, run, f"t{number}")
            await process.complete_token(token.id, number * 10)
            await clock.advance("1h")
            assert order[-1] == number
        assert order == numbers
        assert await process.result(run) == [number * 10 for number in range(10)]
        if not mode.get("always_replay"):
            assert (await story(store, run)).count("run.claimed") == 11


@MODES
async def test_a_token_inside_a_nested_step(make_store, mode):
    @job
    async def nested(ctx):
        async def inner():
            return await ctx.wait_for_token("approval", timeout="1d")

        async def outer():
            first = await ctx.step("in", inner)
            return [first, await ctx.wait_for_token("second", timeout="1d")]

        return await ctx.step("out", outer)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, nested, **mode) as process:
        run = await process.trigger(nested)
        for path in ("out/in/approval", "out/second"):
            await clock.advance("1h")
            assert await status(store, run) == Status.WAITING
            await process.complete_token((await token_of(process, run, path)).id, path)
        assert await process.result(run) == ["out/in/approval", "out/second"]
        rows = await rows_of(process, run)
        assert set(rows) == {
            "out", "out/in", "out/in/approval", "out/in/approval/wait", "out/second", "out/second/wait",
        }  # fmt: skip
        assert {row.failures for row in rows.values()} == {0}


@MODES
async def test_two_wait_for_one_token(make_store, mode):
    @job
    async def twice(ctx):
        token = await ctx.create_token("approval", timeout="1d")
        again = await ctx.create_token("approval", timeout="2d")
        assert (token.id, token.deadline) == (again.id, again.deadline)
        both = await asyncio.gather(token.wait(), again.wait())
        assert both[0] is not both[1]  # each may do with its value what it likes
        return [*both, await token.wait()]

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, twice, **mode) as process:
        run = await process.trigger(twice)
        await clock.advance("1s")
        await process.complete_token((await token_of(process, run)).id, ["yes"])
        assert await process.result(run) == [["yes"]] * 3


# Types


@pytest.mark.parametrize(
    ("annotation", "given", "got"),
    [
        (Point, {"x": 1, "y": 2}, Point(1, 2)),
        (list[Point], [{"x": 1, "y": 2}], [Point(1, 2)]),
        (int, 5, 5),
        (int | None, None, None),
        (dict[str, int], {"a": 1}, {"a": 1}),
    ],
    ids=str,
)
async def test_a_typed_token_gives_its_type_also_on_replay(make_store, always_replay, annotation, given, got):
    seen = []

    @job
    async def asks(ctx):
        answer = await ctx.wait_for_token("approval", timeout="1d", type=annotation)
        seen.append(answer)
        await ctx.sleep("nap", "1h")
        return answer

    clock = VirtualClock()
    async with (
        make_store() as store,
        Process(store, clock, asks, always_replay=always_replay, warm_runs=0) as process,
    ):
        run = await process.trigger(asks)
        await clock.advance("1s")
        await process.complete_token((await token_of(process, run)).id, given)
        await process.finished(run)
        assert len(seen) >= 2
        assert all(one == got and type(one) is type(got) for one in seen)


@MODES
async def test_a_value_of_another_type_fails_the_run_without_a_retry(make_store, mode):
    @job(retry=Retry(max_attempts=5))
    async def asks(ctx):
        return await ctx.wait_for_token("approval", timeout="1d", type=Point)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks, **mode) as process:
        run = await process.trigger(asks)
        await clock.advance("1s")
        await process.complete_token((await token_of(process, run)).id, {"x": "many"})
        run = await process.finished(run)
        assert (run.status, run.attempt, run.error["type"]) == (Status.FAILED, 1, "InvalidPayload")
        assert "$.x" in run.error["message"]
        assert "$.y" in run.error["message"]
        assert (await story(store, run)).count("step.failed") == 1


@MODES
async def test_a_value_of_another_type_can_be_asked_for_again(make_store, mode):
    @job
    async def asks(ctx):
        for number in range(3):
            try:
                return await ctx.wait_for_token(f"try-{number}", timeout="1d", type=int)
            except InvalidPayload as error:
                problems.append([tuple(problem) for problem in error.problems])

    clock, problems = VirtualClock(), []
    async with make_store() as store, Process(store, clock, asks, **mode) as process:
        run = await process.trigger(asks)
        for number, value in enumerate(["one", [1], 1]):
            await clock.advance("1s")
            await process.complete_token((await token_of(process, run, f"try-{number}")).id, value)
        assert await process.result(run) == 1
        assert [[path for path, _ in one] for one in problems] == [["$"]] * len(problems)
        assert len({str(one) for one in problems}) == 2


async def test_a_type_that_nothing_can_be_checked_against_is_said_before_anything_is_stored(make_store):
    @job(retry=Retry.NEVER)
    async def asks(ctx):
        await ctx.create_token("approval", timeout="1d", type=asyncio.Event)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks) as process:
        with pytest.raises(RunFailed, match="InvalidOption: type of 'approval'"):
            await process.outcome(asks)
        assert (await process.list_tokens()).tokens == []


@pytest.mark.parametrize("timeout", [0, -1, "soon", None])
async def test_a_timeout_that_is_none(make_store, timeout):
    @job(retry=Retry.NEVER)
    async def asks(ctx):
        await ctx.create_token("approval", timeout=timeout)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks) as process:
        with pytest.raises(RunFailed, match="token 'approval': timeout"):
            await process.outcome(asks)
        assert (await process.list_tokens()).tokens == []


# Not completed


@pytest.mark.live
@MODES
async def test_a_token_times_out_at_its_deadline_and_never_early(make_store, mode):
    over, errors = [], []

    @job
    async def asks(ctx):
        token = await ctx.create_token("approval", timeout="1h")
        try:
            await token.wait()
        except TimeoutError as error:
            over.append(clock.now())
            errors.append((type(error), str(error), error.key, error.token_id))
        await ctx.sleep("nap", "1h")
        return token.id

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks, **mode) as process:
        began = clock.now()
        run = await process.trigger(asks)
        await clock.advance(3600 - 0.01)
        assert await status(store, run) == Status.WAITING
        assert over == []
        await clock.advance("20ms")
        assert began + 3600 <= over[0] < began + 3600.02
        assert (await token_of(process, run)).state == "expired"
        token_id = await process.result(run)
        assert len(errors) == (1 if not mode else 2)  # replayed as the same
        assert set(errors) == {(TokenTimeout, errors[0][1], "approval/wait", token_id)}
        assert (await rows_of(process, run))["approval/wait"].state == "failed"


@pytest.mark.live
async def test_it_does_so_while_another_step_is_in_flight(make_store):
    over = []

    @job
    async def beside(ctx):
        async def asks():
            try:
                await ctx.wait_for_token("approval", timeout="100s")
            except TokenTimeout:
                over.append(clock.now())

        other = ctx.wait_for_token("other", timeout="1d")
        await asyncio.gather(asks(), other, ctx.step("work", clock.sleep, 300))

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, beside) as process:
        began = clock.now()
        run = await process.trigger(beside)
        await clock.advance(99.99)
        await process.complete_token((await token_of(process, run, "other")).id)  # it looks at both
        await process.result(run)
        assert over == [pytest.approx(began + 100, abs=0.02)]
        assert over[0] >= began + 100
        assert "run.waiting" not in await story(store, run)


@MODES
async def test_a_token_that_timed_out_is_not_waited_for_again_by_a_new_attempt(make_store, mode):
    """Its deadline has been fixed."""

    @job(retry=Retry(max_attempts=3, min_delay="1m", max_delay="1m", jitter=False))
    async def asks(ctx):
        attempts.append(clock.now())
        await ctx.wait_for_token("approval", timeout="1h")

    clock, attempts = VirtualClock(), []
    async with make_store() as store, Process(store, clock, asks, **mode) as process:
        began = clock.now()
        run = await process.finished(await process.trigger(asks))
        assert (run.status, run.attempt, run.error["type"]) == (Status.FAILED, 3, "TokenTimeout")
        assert clock.now() == pytest.approx(began + 3600 + 120, abs=0.5)
        assert (await story(store, run)).count("step.failed") == 3
        await process.resume(run.id)
        run = await process.finished(run)
        assert (run.attempt, run.error["type"]) == (6, "TokenTimeout")
        assert len((await process.list_tokens()).tokens) == 1


@pytest.mark.live
@MODES
async def test_a_token_that_is_failed_raises_its_message(make_store, mode):
    errors = []

    @job
    async def asks(ctx):
        try:
            await ctx.wait_for_token("approval", timeout="1h")
        except TokenFailed as error:
            errors.append((error.key, error.token_id, error.message, str(error)))
        await ctx.sleep("nap", "1h")

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks, **mode) as process:
        run = await process.trigger(asks)
        await clock.advance("1s")
        token = await process.fail_token((await token_of(process, run)).id, "they said no")
        assert token.state == "failed"
        await process.result(run)
        assert {error[:3] for error in errors} == {("approval/wait", token.id, "they said no")}
        assert len(set(errors)) == 1
        assert len(errors) == (1 if not mode else 2)


async def test_the_first_who_finishes_a_token_counts(make_store):
    @job
    async def asks(ctx):
        return await ctx.wait_for_token("approval", timeout="1h")

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks) as process:
        run = await process.trigger(asks)
        await clock.advance("1s")
        token_id = (await token_of(process, run)).id
        first = await process.complete_token(token_id, 1)
        assert await process.complete_token(token_id, 2) == first
        assert await process.fail_token(token_id, "no") == first
        assert await process.result(run) == 1
        assert await process.complete_token(token_id, 3) == first
        assert (await token_of(process, run)).output == "1"


@pytest.mark.parametrize("told", [True, False], ids=["told", "not yet told"])
async def test_a_token_is_too_late_from_its_deadline_on(make_store, told):
    """Also while nothing has noticed that yet."""

    @job(retry=Retry.NEVER)
    async def asks(ctx):
        await ctx.wait_for_token("approval", timeout="1h")

    clock = VirtualClock()
    async with (
        make_store() as store,
        Process(store, clock, worker=False) as outside,
        Process(store, clock, asks) as process,
    ):
        run = await process.trigger(asks)
        await clock.advance("1s")
        token = await token_of(process, run)
        if not told:
            await process.stop()
        await clock.advance(token.deadline - clock.now())
        for late in (outside.complete_token(token.id, 1), outside.fail_token(token.id, "no")):
            with pytest.raises(Conflict, match="expired"):
                await late
        await process.start()
        run = await process.finished(run)
        assert run.error["type"] == "TokenTimeout"


@pytest.mark.parametrize("end", ["COMPLETED", "CANCELLED"])
async def test_a_token_whose_run_has_ended_is_too_late(make_store, end):
    @job
    async def asks(ctx):
        await ctx.create_token("approval", timeout="1h")
        if end == "CANCELLED":
            await ctx.sleep("nap", "1h")

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks) as process:
        run = await process.trigger(asks)
        await clock.advance("1s")
        if end == "CANCELLED":
            await process.cancel(run.id)
        with pytest.raises(Conflict, match=end):
            await process.complete_token((await token_of(process, run)).id)
        assert await status(store, run) == end


async def test_what_is_wrong_with_an_answer_is_said_to_whoever_gives_it(make_store):
    @job
    async def asks(ctx):
        return await ctx.wait_for_token("approval", timeout="1h")

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks, max_value_bytes=1000) as process:
        run = await process.trigger(asks)
        await clock.advance("1s")
        token = await token_of(process, run)
        with pytest.raises(TokenNotFound, match="tok_unknown"):
            await process.complete_token("tok_unknown", 1)
        with pytest.raises(TokenNotFound, match="tok_unknown"):
            await process.fail_token("tok_unknown", "no")
        with pytest.raises(NotSerializable, match=token.id):
            await process.complete_token(token.id, [object()])
        with pytest.raises(TooLarge, match=token.id):
            await process.complete_token(token.id, "x" * 1000)
        with pytest.raises(InvalidOption, match="message"):
            await process.fail_token(token.id, 5)
        assert await token_of(process, run) == token
        await process.complete_token(token.id, "x" * 500)
        assert len(await process.result(run)) == 500


# Beside other waits


@pytest.mark.live
@MODES
@pytest.mark.parametrize("first", ["nap", "token"])
async def test_a_sleep_and_a_token_in_parallel_are_one_suspension(make_store, first, mode):
    woke = {}

    @job
    async def both(ctx):
        async def naps():
            await ctx.sleep("nap", "1h")
            woke.setdefault("nap", clock.now())

        async def asks():
            answer = await ctx.wait_for_token("approval", timeout="1d")
            woke.setdefault("token", clock.now())
            return answer

        return await asyncio.gather(naps(), asks())

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, both, **mode) as process:
        began = clock.now()
        run = await process.trigger(both)
        await clock.advance("1s")
        assert (await run.refresh()).ready_at == began + 3600
        if not mode.get("always_replay"):
            assert (await story(store, run)).count("run.waiting") == 1
        answered = 1800 if first == "token" else 5400
        await clock.advance(answered - 1)
        if first == "nap":
            assert (await run.refresh()).ready_at == (await token_of(process, run)).deadline
        await process.complete_token((await token_of(process, run)).id, "yes")
        assert await process.result(run) == [None, "yes"]
        assert woke["nap"] == pytest.approx(began + 3600, abs=0.1)
        assert woke["token"] == pytest.approx(began + answered, abs=0.1)
        if not mode.get("always_replay"):
            assert (await story(store, run)).count("run.claimed") == 3


@pytest.mark.live
async def test_whoever_gives_up_a_wait_records_nothing_and_may_wait_again(make_store):
    @job
    async def impatient(ctx):
        token = await ctx.create_token("approval", timeout="1h")
        try:
            async with asyncio.timeout(0):
                await token.wait()
        except TimeoutError:
            paths.extend(row.path for row in await store.load_steps(ctx.run.id))
        await ctx.step("meanwhile", tally.step("meanwhile"))
        return await token.wait()

    clock, tally, paths = VirtualClock(), Tally(), []
    async with make_store() as store, Process(store, clock, impatient) as process:
        run = await process.trigger(impatient)
        await clock.advance("1s")
        assert await status(store, run) == Status.WAITING
        assert paths == ["approval"]
        await process.complete_token((await token_of(process, run)).id, "after all")
        assert await process.result(run) == "after all"
        assert "step.failed" not in await story(store, run)


@pytest.mark.live
async def test_a_wait_that_a_failing_sibling_cancels_wakes_nobody(make_store):
    @job
    async def one_fails(ctx):
        async def fails():
            raise OSError("no")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.wait_for_token("approval", timeout="1h"))
                group.create_task(ctx.step("fails", fails))
        except* OSError:
            pass
        await ctx.sleep("nap", "2h")
        return "went on"

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, one_fails) as process:
        began = clock.now()
        run = await process.trigger(one_fails)
        await clock.advance("1s")
        assert (await run.refresh()).ready_at == pytest.approx(began + 7200, abs=0.1)
        await process.complete_token((await token_of(process, run)).id, "nobody listens")
        await clock.advance("1h")
        assert await status(store, run) == Status.WAITING
        assert await process.result(run) == "went on"
        assert clock.now() == pytest.approx(began + 7200, abs=0.1)
        assert (await story(store, run)).count("run.claimed") == 2
        assert "approval/wait" not in await rows_of(process, run)


async def test_a_wait_that_a_step_left_behind_is_refused(make_store):
    @job
    async def careless(ctx):
        async def outer():
            token = await ctx.create_token("approval", timeout="1h")
            left.append(asyncio.ensure_future(token.wait()))

        await ctx.step("outer", outer)
        await asyncio.wait(left)
        await ctx.sleep("nap", "10m")

    clock, left = VirtualClock(), []
    async with make_store() as store, Process(store, clock, careless) as process:
        run = await process.trigger(careless)
        await clock.advance("1s")
        with pytest.raises(DurableError, match="by what step 'outer' left behind"):
            left[0].result()
        assert await status(store, run) == Status.WAITING


async def test_a_run_in_back_off_is_not_woken_by_its_token(make_store):
    @job(retry=Retry(max_attempts=2, min_delay="1h", max_delay="1h", jitter=False))
    async def asks(ctx):
        token = await ctx.create_token("approval", timeout="1d")
        if ctx.run.attempt == 1:
            raise OSError("once")
        return [await token.wait(), clock.now()]

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks) as process:
        began = clock.now()
        run = await process.trigger(asks)
        await clock.advance("1s")
        await process.complete_token((await token_of(process, run)).id, "early")
        await clock.advance("30m")
        assert await status(store, run) == Status.WAITING
        assert await process.result(run) == ["early", pytest.approx(began + 3600, abs=0.1)]


@MODES
async def test_a_run_may_have_less_time_than_its_token(make_store, mode):
    @job
    async def asks(ctx):
        await ctx.wait_for_token("approval", timeout="1d")

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks, **mode) as process:
        run = await process.trigger(asks, deadline=clock.now() + 3600)
        run = await process.finished(run)
        assert (run.status, run.error["code"]) == (Status.TIMED_OUT, "deadline")
        with pytest.raises(Conflict):
            await process.complete_token((await token_of(process, run)).id)


@pytest.mark.parametrize("kind", ["step", "sleep", "trigger", "call", "token"])
@pytest.mark.parametrize("first", ["step", "sleep", "trigger", "token"])
async def test_a_key_is_for_one_kind_of_call(make_store, first, kind):
    if first == kind:
        return

    def use(ctx, kind):
        match kind:
            case "step":
                return ctx.step("key", Tally().step("x"))
            case "sleep":
                return ctx.sleep("key", "1s")
            case "trigger":
                return ctx.trigger("key", other)
            case "call":
                return ctx.call("key", other)
        return ctx.create_token("key", timeout="1h")

    @job
    async def other(ctx):
        pass

    @job
    async def reuses(ctx):
        await use(ctx, first)
        await use(ctx, kind)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, reuses, other) as process:
        run = await process.finished(await process.trigger(reuses))
        assert (run.status, run.attempt, run.error["type"]) == (Status.FAILED, 1, "KeyReused")
        assert run.error["message"] == f"'key' is a {first} in this run and can't be a {kind} too"


# Ids


async def test_nobody_guesses_an_id(make_store):
    class Counting(SystemEntropy):
        def bits(self, count):
            drawn[count] += 1
            return super().bits(count)

    @job
    async def asks(ctx):
        tokens = [await ctx.create_token(f"t{number}", timeout="1h") for number in range(100)]
        return [token.id for token in tokens]

    clock, drawn = VirtualClock(), Counter()
    async with make_store() as store, Process(store, clock, asks, entropy=Counting()) as process:
        ids = [*await process.outcome(asks), *await process.outcome(asks)]
    assert drawn[128] == 200
    assert len(set(ids)) == 200
    assert all(re.fullmatch("tok_[0-9a-f]{32}", id) for id in ids)
    for place in range(4, 36):  # no part of it is the time, or a count
        assert len({id[place] for id in ids}) > 8
    assert ids != sorted(ids)


# Crashes and replays


@pytest.mark.parametrize("dies_after", ["create_token", "save_step", "settle"])
async def test_a_token_outlives_the_process_that_made_it(make_store, always_replay, dies_after):
    mailed, length = [], ["1d"]

    @job
    async def asks(ctx):
        token = await ctx.create_token("approval", timeout=length[0])
        await ctx.step("mail", mail, token.id)
        return [token.id, token.deadline, await token.wait()]

    async def mail(token_id: str) -> None:
        mailed.append(token_id)

    clock = VirtualClock()
    async with make_store() as store:
        began = clock.now()
        async with Process(store, clock, asks, always_replay=always_replay) as first:
            first.die_at(dies_after)
            run = await first.trigger(asks)
            await clock.run(first.died.wait())
        async with Process(store, clock, worker=False) as outside:
            token = await token_of(outside, run)
            await clock.advance("1h")
            done = await outside.complete_token(token.id, "yes")
            length[0] = "2d"  # the job was changed meanwhile
        async with Process(store, clock, asks, always_replay=always_replay) as second:
            assert await second.result(run) == [token.id, began + 86_400, "yes"]
            assert await token_of(second, run) == done
            assert done._replace(state="pending", output=None, finished_at=None) == token
        assert mailed == [token.id]


@MODES
async def test_no_crash_and_no_replay_extends_a_deadline(make_store, mode):
    @job
    async def asks_beside_work(ctx):
        async def asks():
            try:
                await ctx.wait_for_token("approval", timeout=length[0])
            except TokenTimeout:
                over.append(clock.now())

        await asyncio.gather(asks(), ctx.sleep("nap", "30s"), ctx.step("work", clock.sleep, 15))

    clock, length, over = VirtualClock(), ["100s"], []
    async with make_store() as store:
        began = clock.now()
        async with Process(store, clock, asks_beside_work, **mode) as first:
            run = await first.trigger(asks_beside_work)
            await clock.advance("10s")
            await first.buried()
        length[0] = "2h"
        async with Process(store, clock, asks_beside_work, **mode) as second:
            await second.result(run)
            assert "run.stale" in await story(store, run)
            assert began + 100 <= over[0] < began + 100.1


@MODES
async def test_a_value_is_kept_by_a_new_attempt_and_a_failure_is_not(make_store, mode):
    """The second token is looked at anew, and is as failed as it was."""

    @job(retry=Retry(max_attempts=3, min_delay="1s", jitter=False))
    async def asks(ctx):
        kept.append(await ctx.wait_for_token("kept", timeout="1h"))
        try:
            await ctx.wait_for_token("lost", timeout="1h")
        except TokenFailed:
            if ctx.run.attempt < 3:
                raise
            return "enough"

    clock, kept = VirtualClock(), []
    async with make_store() as store, Process(store, clock, asks, **mode) as process:
        run = await process.trigger(asks)
        await clock.advance("1s")
        await process.complete_token((await token_of(process, run)).id, "value")
        await clock.advance("1s")
        await process.fail_token((await token_of(process, run, "lost")).id, "no")
        assert await process.result(run) == "enough"
        assert set(kept) == {"value"}
        assert (await run.refresh()).attempt == 3
        assert (await story(store, run)).count("step.failed") == 3


@pytest.mark.live
@pytest.mark.parametrize("warm_runs", [100, 0], ids=["warm", "cold"])
async def test_without_warm_runs_no_coroutine_stays(make_store, warm_runs):
    class Marker:
        pass

    @job
    async def asks(ctx):
        marker = Marker()
        marks.add(marker)
        await ctx.wait_for_token("approval", timeout="1h")
        return str(marker)

    clock, marks = VirtualClock(), weakref.WeakSet()
    async with make_store() as store, app(store, asks, clock=clock, warm_runs=warm_runs) as process:
        tasks = len(asyncio.all_tasks())
        runs = await process.trigger_many(asks, [None] * 5)
        await clock.advance("1s")
        gc.collect()
        assert len(marks) == (5 if warm_runs else 0)
        if not warm_runs:
            assert len(asyncio.all_tasks()) == tasks
        for run in runs:
            await process.complete_token((await token_of(process, run)).id)
            assert "Marker" in await process.result(run)
            assert await warnings(process, run) == []
        gc.collect()
        assert len(marks) == 0


@pytest.mark.live
@MODES
async def test_a_look_that_takes_longer_than_the_grace(make_store, mode):
    """A busy store: the run isn't suspended again before it has seen what it was woken for."""

    @job
    async def asks(ctx):
        return await ctx.wait_for_token("approval", timeout="1h")

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks, **mode) as process:
        slower(process, "read_tokens", lambda: clock.sleep(0.2))
        run = await process.trigger(asks)
        await clock.advance("1s")
        assert await status(store, run) == Status.WAITING
        claims = (await story(store, run)).count("run.claimed")
        await process.complete_token((await token_of(process, run)).id, "slowly")
        await clock.advance("1s")
        assert await status(store, run) == Status.COMPLETED
        replays = bool(mode.get("always_replay"))
        assert (await story(store, run)).count("run.claimed") == claims + 1 + replays


async def test_waiting_runs_take_no_slot(make_store):
    @job
    async def asks(ctx):
        return await ctx.wait_for_token("approval", timeout="1h")

    @job
    async def works(ctx):
        return "done"

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks, works, concurrency=1) as process:
        waiting = await process.trigger_many(asks, [None] * 5)
        await clock.advance("1s")
        assert {await status(store, run) for run in waiting} == {Status.WAITING}
        assert await process.outcome(works) == "done"
        hangs = Process(store, clock, worker=False)
        async with hangs:
            for run in reversed(waiting):
                await hangs.complete_token((await token_of(hangs, run)).id, run.id)
        assert [await process.result(run) for run in waiting] == [run.id for run in waiting]


# Lists


async def test_tokens_are_listed_newest_first_page_by_page(make_store):
    @job
    async def asks(ctx, count: int):
        for number in range(count):
            await ctx.create_token(f"t{number}", timeout="1h")
            await ctx.step(f"pause-{number}", clock.sleep, 1)
        await ctx.step("hang", forever)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, asks, stop_timeout=0) as process:
        run = await process.trigger(asks, 7)
        await clock.advance("10s")
        other = await process.trigger(asks, 1)
        await clock.advance("1s")
        everything = (await process.list_tokens()).tokens
        assert [token.path for token in everything] == ["t0", *(f"t{number}" for number in range(6, -1, -1))]
        pages, cursor = [], None
        for _ in range(3):
            page = await process.list_tokens(run=run.id, limit=3, cursor=cursor)
            pages.append([token.path for token in page.tokens])
            cursor = page.cursor
        assert pages == [["t6", "t5", "t4"], ["t3", "t2", "t1"], ["t0"]]
        assert cursor is None
        await process.complete_token(everything[1].id)
        await process.fail_token(everything[2].id, "no")
        by_state = {
            state: [token.path for token in (await process.list_tokens(state=state, run=run.id)).tokens]
            for state in ("pending", "completed", "failed", "expired")
        }
        assert by_state == {
            "pending": ["t4", "t3", "t2", "t1", "t0"], "completed": ["t6"], "failed": ["t5"], "expired": [],
        }  # fmt: skip
        assert [token.path for token in (await process.list_tokens(run=other.id)).tokens] == ["t0"]
        assert (await process.list_tokens(run="unknown")).tokens == []
        for wrong in ({"state": "done"}, {"limit": 0}, {"cursor": "x"}):
            with pytest.raises(InvalidOption, match=next(iter(wrong))):
                await process.list_tokens(**wrong)
