"""Failures: stored and raised again, retried after back-offs that no crash changes, cleared by a new attempt."""

import asyncio
import traceback

import pytest

from durable_lite import (
    AbortRun,
    InvalidOption,
    InvalidPayload,
    KeyReused,
    NotSerializable,
    Retry,
    RetryAfter,
    RunFailed,
    RunNotFound,
    StepFailed,
    StepTimeout,
    TooLarge,
    current,
    job,
)
from durable_lite.testing import VirtualClock
from tests.engine.apps import Tally, app, types_of
from tests.engine.values import (
    ForeignCancelled,
    KeywordError,
    PaymentError,
    TalkativeError,
    Unknown,
    UnprintableError,
)

EXACT = {"factor": 2.0, "min_delay": "10s", "max_delay": "1h", "jitter": False}


class LocalTally(Tally):
    """Also notes when, in seconds since its clock began."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.clock, self.began, self.times = clock, clock.now(), []

    def failing(self, name: str, failures: int, error=ValueError):
        """A step that fails so often, and then returns its name."""

        async def work() -> str:
            self[name] += 1
            self.times.append(round(self.clock.now() - self.began, 2))
            if self[name] <= failures:
                raise error(f"{name} {self[name]}")
            return name

        return work


# What is raised again.


@pytest.mark.parametrize(
    "error",
    [
        ValueError("text", 1, ("a", {2})),
        ValueError(),
        KeyError("key"),
        PaymentError(402, "card"),
        FileNotFoundError(2, "No such file", "name.txt"),
        UnprintableError("x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad byte"),
        StepTimeout("k", 5.0),
        StepFailed("k", "Some", "thing"),
        InvalidOption("option", "is wrong"),
        RunNotFound("r"),
        RunFailed("r", "FAILED", {"type": "ValueError", "message": "v"}),
        RetryAfter("5m", "later"),
        AbortRun("enough"),
    ],
    ids=lambda error: f"{type(error).__name__}{len(error.args)}",
)
async def test_a_failure_is_raised_again_as_what_it_was(make_app, error):
    tally, passes = Tally(), []

    async def fail() -> None:
        tally["fail"] += 1
        raise error

    @job
    async def failing(ctx):
        for time in range(3):
            try:
                await ctx.step("k", fail)
            except Exception as caught:
                passes.append(
                    (type(caught), caught.args, vars(caught), traceback.format_exception_only(caught))
                )
            await ctx.step(f"replay{time}", asyncio.sleep, 0)

    async with make_app(failing) as durable:
        await durable.outcome(failing)
    assert tally["fail"] == 1
    assert len(passes) >= 3
    assert all(
        one == (type(error), error.args, vars(error), traceback.format_exception_only(error))
        for one in passes
    )


class _Unusual:
    @staticmethod
    def local() -> Exception:
        class LocalError(Exception):
            pass

        return LocalError("local")


@pytest.mark.parametrize(
    "error",
    [
        _Unusual.local(),
        KeywordError(code=3),
        TalkativeError("this"),
        ValueError(Unknown()),
        ValueError("x" * 1_000_000),
        ExceptionGroup("both", [ValueError(1), TypeError(2)]),
        SystemExit(3),
        ForeignCancelled("foreign"),
        asyncio.CancelledError("by hand"),
    ],
    ids=lambda error: (
        type(error).__name__ if not error.args else f"{type(error).__name__}-{type(error.args[0]).__name__}"
    ),
)
async def test_what_cannot_be_made_again_is_step_failed_from_the_first_time_on(make_app, error):
    tally, passes = Tally(), []

    async def fail() -> None:
        tally["fail"] += 1
        raise error

    @job
    async def failing(ctx):
        for time in range(3):
            try:
                await ctx.step("k", fail)
            except StepFailed as caught:
                passes.append((caught.key, caught.type, caught.message))
            await ctx.step(f"replay{time}", asyncio.sleep, 0)

    async with make_app(failing) as durable:
        await durable.outcome(failing)
    assert tally["fail"] == 1
    assert len(passes) >= 3
    assert len(set(passes)) == 1
    assert passes[0][:2] == ("k", type(error).__qualname__)
    assert len(passes[0][2]) <= 2_000


async def test_concurrent_calls_of_a_failing_step_get_each_an_exception_of_its_own(make_app):
    tally = Tally()

    async def fail() -> None:
        tally["fail"] += 1
        await asyncio.sleep(0)
        raise PaymentError(1, "one")

    @job
    async def failing(ctx):
        a, b = await asyncio.gather(ctx.step("k", fail), ctx.step("k", fail), return_exceptions=True)
        assert a is not b
        return [type(a).__name__, type(b).__name__]

    async with make_app(failing) as durable:
        assert await durable.outcome(failing) == ["PaymentError", "PaymentError"]
    assert tally["fail"] == 1


async def test_a_caught_failure_replays_within_the_attempt_and_is_tried_again_in_the_next(
    make_store, always_replay
):
    tally, clock = Tally(), VirtualClock()

    async def flaky() -> str:
        tally["flaky"] += 1
        if tally["flaky"] == 1:
            raise ValueError("first")
        return "better"

    @job(retry=Retry(max_attempts=2, min_delay="1s"))
    async def catching(ctx):
        try:
            way = await ctx.step("flaky", flaky)
        except ValueError as error:
            way = str(error)
        await ctx.step(f"after {way}", tally.step(f"after {way}"))
        if ctx.run.attempt == 1:
            await ctx.step("crash here", tally.step("crash"))
            raise RuntimeError("try all again")
        return way

    async with make_store() as store:
        async with app(store, catching, clock=clock, always_replay=always_replay) as first:
            first.die_at("save_step", "crash here", when="before")
            run = await first.trigger(catching)
            await clock.run(first.died.wait())
        assert tally["flaky"] == 1
        await clock.jump("30s")
        async with app(store, catching, clock=clock, always_replay=always_replay) as second:
            assert await second.result(run) == "better"
            assert (await second.get_run(run.id)).attempt == 2
    assert tally == {"flaky": 2, "after first": 1, "crash": 2, "after better": 1}


# New attempts.


async def test_a_new_attempt_tries_failed_steps_again_and_keeps_finished_ones(make_app):
    clock = VirtualClock()
    tally = LocalTally(clock)

    @job(retry=Retry(max_attempts=3, **EXACT))
    async def three(ctx):
        await ctx.step("good", tally.step("good"))
        await ctx.step("bad", tally.failing("bad", 2))
        return ctx.run.attempt

    async with make_app(three, clock=clock) as durable:
        assert await durable.outcome(three) == 3
    assert tally == {"good": 1, "bad": 3}
    assert tally.times == [0, 10, 30]


async def test_resume_tries_the_failed_step_again_with_a_new_budget(make_app):
    clock = VirtualClock()
    tally = LocalTally(clock)

    @job(retry=Retry(max_attempts=2, **EXACT))
    async def failing(ctx):
        await ctx.step("good", tally.step("good"))
        await ctx.step("bad", tally.failing("bad", 3))
        return ctx.run.attempt

    async with make_app(failing, clock=clock) as durable:
        run = await durable.finished(await durable.trigger(failing))
        assert (run.status, run.attempt, tally["bad"]) == ("FAILED", 2, 2)
        resumed = await durable.resume(run.id)
        assert (resumed.status, resumed.attempt, resumed.error) == ("PENDING", 3, None)
        assert await durable.result(run) == 4
    assert tally == {"good": 1, "bad": 4}


async def test_the_retries_of_a_step_begin_anew_with_each_attempt_of_the_run(make_app):
    clock = VirtualClock()
    tally = LocalTally(clock)

    @job(retry=Retry(max_attempts=2, min_delay="100s", max_delay="100s", jitter=False))
    async def both(ctx):
        await ctx.options(retry=Retry(max_attempts=3, **EXACT)).step("bad", tally.failing("bad", 5))

    async with make_app(both, clock=clock) as durable:
        run = await durable.trigger(both)
        await durable.result(run)
        [row] = await durable.steps(run.id)
        assert (row.failures, row.attempt, row.state) == (2, 2, "completed")
    assert tally.times == [0, 10, 30, 130, 140, 160]


# A step's retries.


async def test_a_step_is_retried_at_the_stored_moments(make_app):
    clock = VirtualClock()
    tally = LocalTally(clock)

    @job
    async def retrying(ctx):
        return await ctx.options(retry=Retry(max_attempts=5, **EXACT)).step("k", tally.failing("k", 4))

    async with make_app(retrying, clock=clock) as durable:
        run = await durable.trigger(retrying)
        assert await durable.result(run) == "k"
        events = await durable.store.read_events(run.id, 0, 100)
        failed = [event.data for event in events if event.type == "step.failed"]
        assert [data["failures"] for data in failed] == [1, 2, 3, 4]
        assert [round(data["retry_at"] - tally.began, 2) for data in failed] == [10, 30, 70, 150]
        assert failed[0]["path"] == "k"
        assert failed[0]["error"] == {"type": "ValueError", "message": "k 1"}
        [row] = await durable.steps(run.id)
        assert (row.failures, row.state) == (4, "completed")
        assert (await durable.get_run(run.id)).attempt == 1
    assert tally.times == [0, 10, 30, 70, 150]


async def test_jitter_draws_each_delay_between_half_of_it_and_all(make_app):
    clock = VirtualClock()
    tally = LocalTally(clock)
    retry = Retry(max_attempts=30, min_delay="10s", max_delay="10s", jitter=True)

    @job
    async def retrying(ctx):
        return await ctx.options(retry=retry).step("k", tally.failing("k", 29))

    async with make_app(retrying, clock=clock) as durable:
        await durable.outcome(retrying)
    delays = [after - before for before, after in zip(tally.times, tally.times[1:], strict=False)]
    assert all(5 <= round(delay, 6) <= 10.01 for delay in delays)
    assert max(delays) - min(delays) > 2


async def test_the_last_failure_is_final_and_stored(make_app):
    clock = VirtualClock()
    tally = LocalTally(clock)

    @job(retry=Retry.NEVER)
    async def retrying(ctx):
        await ctx.options(retry=Retry(max_attempts=3, **EXACT)).step("k", tally.failing("k", 99))

    async with make_app(retrying, clock=clock) as durable:
        run = await durable.finished(await durable.trigger(retrying))
        assert (run.status, run.error["message"]) == ("FAILED", "k 3")
        [row] = await durable.steps(run.id)
        assert (row.state, row.failures, row.wake_at) == ("failed", 3, None)
    assert tally.times == [0, 10, 30]


@pytest.mark.parametrize("grace", ["50ms", "1h"], ids=["suspended", "executing"])
@pytest.mark.parametrize("crash_at", [5, 15, 29, 69])
async def test_a_crash_in_the_middle_of_a_back_off_changes_nothing(
    make_store, always_replay, crash_at, grace
):
    clock = VirtualClock()
    tally = LocalTally(clock)
    options = {"clock": clock, "always_replay": always_replay, "suspend_grace": grace, "stale_after": "10s"}

    @job
    async def retrying(ctx):
        return await ctx.options(retry=Retry(max_attempts=5, **EXACT)).step("k", tally.failing("k", 4))

    async with make_store() as store:
        async with app(store, retrying, **options) as first:
            run = await first.trigger(retrying)
            await clock.advance(crash_at)
            first.kill()
        async with app(store, retrying, **options) as second:
            assert await second.result(run) == "k"
            [row] = await second.steps(run.id)
            assert (row.failures, row.attempt) == (4, 1)
            events = await store.read_events(run.id, 0, 100)
            assert [e.data["failures"] for e in events if e.type == "step.failed"] == [1, 2, 3, 4]
    if grace == "50ms":  # nobody held it: it goes on at the very moments
        assert tally.times == [0, 10, 30, 70, 150]
    else:  # it may have to become stale first, and then is late, but as often
        assert len(tally.times) == 5
        moments = dict(zip(range(5), (0, 10, 30, 70, 150), strict=True))
        late = [index for index, moment in moments.items() if tally.times[index] > moment + 0.01]
        assert all(tally.times[index] >= moments[index] for index in moments)
        assert not late or moments[late[0]] > crash_at


async def test_attempt_numbers_do_not_rise_by_crashes(make_store):
    tally, clock = Tally(), VirtualClock()

    async def hangs() -> int:
        tally["hangs"] += 1
        if tally["hangs"] <= 3:
            begun[-1].set()
            await asyncio.Event().wait()
        return tally["hangs"]

    @job(retry=Retry.NEVER)
    async def crashing(ctx):
        return [await ctx.options(retry=Retry.NEVER).step("k", hangs), ctx.run.attempt]

    begun = []
    async with make_store() as store:
        run = None
        for _ in range(3):
            begun.append(asyncio.Event())
            async with app(store, crashing, clock=clock) as durable:
                run = run or await durable.trigger(crashing)
                await clock.run(begun[-1].wait())
                durable.kill()
            await clock.jump("30s")
        async with app(store, crashing, clock=clock) as durable:
            assert await durable.result(run) == [4, 1]
            [row] = await durable.steps(run.id)
            assert (row.failures, row.attempt) == (0, 1)


# Nesting.


@pytest.mark.parametrize("crash", [False, True])
async def test_a_retry_of_the_outer_step_keeps_inner_successes_and_tries_inner_failures_again(
    make_store, always_replay, crash
):
    clock = VirtualClock()
    tally = LocalTally(clock)

    async def outer() -> list[str]:
        ctx = current()
        tally["outer"] += 1
        good = await ctx.step("good", tally.step("good"))
        deep = await ctx.step("deep", middle)
        try:
            caught = await ctx.step("caught", tally.failing("caught", 1))
        except ValueError:
            caught = "failed"
        bad = await ctx.step("bad", tally.failing("bad", 2))
        return [good, deep, caught, bad]

    async def middle() -> str:
        return await current().step("good", tally.step("deep"))

    @job
    async def nested(ctx):
        return await ctx.options(retry=Retry(max_attempts=3, **EXACT)).step("outer", outer)

    async with make_store() as store:
        async with app(store, nested, clock=clock, always_replay=always_replay) as first:
            run = await first.trigger(nested)
            await clock.advance(5)
            rows = {row.path: row.state for row in await store.load_steps(run.id)}
            assert rows == {
                "outer": "retrying", "outer/good": "completed", "outer/deep": "completed",
                "outer/deep/good": "completed",
            }  # fmt: skip
            if crash:
                first.kill()
            else:
                assert await first.result(run) == ["good", "deep", "caught", "bad"]
        if crash:
            async with app(store, nested, clock=clock, always_replay=always_replay) as second:
                assert await second.result(run) == ["good", "deep", "caught", "bad"]
    assert (tally["good"], tally["deep"], tally["caught"], tally["bad"]) == (1, 1, 2, 3)


async def test_inner_retries_begin_anew_with_each_try_of_the_outer_step(make_app):
    clock = VirtualClock()
    tally = LocalTally(clock)

    async def outer() -> str:
        return (
            await current()
            .options(retry=Retry(max_attempts=2, min_delay="1s", jitter=False))
            .step("inner", tally.failing("inner", 3))
        )

    @job
    async def nested(ctx):
        return await ctx.options(
            retry=Retry(max_attempts=2, min_delay="100s", max_delay="100s", jitter=False)
        ).step("outer", outer)

    async with make_app(nested, clock=clock) as durable:
        assert await durable.outcome(nested) == "inner"
    assert tally.times == [0, 1, 101, 102]


async def test_the_siblings_of_a_failed_inner_step_are_not_failures(make_app):
    tally = Tally()

    async def fail() -> None:
        raise ValueError("one")

    async def wait() -> None:
        tally["waits"] += 1
        await asyncio.Event().wait()

    @job(retry=Retry.NEVER)
    async def grouped(ctx):
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step("waits", wait))
            group.create_task(ctx.step("fails", fail))

    async with make_app(grouped) as durable:
        run = await durable.finished(await durable.trigger(grouped))
        assert (run.status, run.error["type"]) == ("FAILED", "ExceptionGroup")
        assert {row.path: row.state for row in await durable.steps(run.id)} == {"fails": "failed"}


# Never retried.

NEVER = [
    AbortRun("enough"),
    NotSerializable("k", "$", "no"),
    TooLarge("k", 2, 1),
    KeyReused("k"),
    InvalidPayload("other", [("$.a", "is missing")]),
]
MANY = Retry(max_attempts=5, min_delay="1s")


@pytest.mark.parametrize("error", NEVER, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "where", ["job", "step", "sync step", "nested", "gather", "task group", "map", "nested group"]
)
async def test_some_errors_skip_every_retry(make_app, error, where):
    tally = Tally()

    async def fail() -> None:
        tally["fail"] += 1
        raise error

    def fail_sync() -> None:
        tally["fail"] += 1
        raise error

    async def outer() -> None:
        await current().options(retry=MANY).step("inner", fail)

    async def group(ctx=None) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task((ctx or current()).options(retry=MANY).step("inner", fail))

    async def fail_for(item: int) -> None:
        await fail()

    @job(retry=MANY)
    async def failing(ctx):
        tally["job"] += 1
        patient = ctx.options(retry=MANY)
        match where:
            case "job":
                await fail()
            case "step":
                await patient.step("k", fail)
            case "sync step":
                await patient.step("k", fail_sync)
            case "nested":
                await patient.step("k", outer)
            case "gather":
                await asyncio.gather(patient.step("k", fail), ctx.step("other", asyncio.sleep, 0))
            case "task group":
                await group(ctx)
            case "map":
                await patient.map("m", fail_for, [1])
            case "nested group":
                await patient.step("k", group)

    async with make_app(failing) as durable:
        run = await durable.finished(await durable.trigger(failing))
        assert (run.status, run.attempt) == ("FAILED", 1)
        assert tally["fail"] == 1
        events = await types_of(durable, run.id)
        assert "run.retrying" not in events
        assert events[-1] == "run.failed"


async def test_an_abort_that_the_job_catches_does_not_end_it(make_app):
    async def fail() -> None:
        raise AbortRun("enough")

    @job
    async def catching(ctx):
        try:
            await ctx.options(retry=MANY).step("k", fail)
        except AbortRun as error:
            return str(error)

    async with make_app(catching) as durable:
        assert await durable.outcome(catching) == "enough"


# RetryAfter.


async def test_retry_after_is_not_cut_and_counts_as_an_attempt(make_app):
    clock = VirtualClock()
    tally = LocalTally(clock)

    def later(message: str) -> RetryAfter:
        return RetryAfter("2h", message)

    @job(retry=Retry.NEVER)
    async def patient(ctx):
        retry = Retry(max_attempts=3, min_delay="1s", max_delay="5s", jitter=False)
        await ctx.options(retry=retry).step("k", tally.failing("k", 99, later))

    async with make_app(patient, clock=clock) as durable:
        run = await durable.finished(await durable.trigger(patient))
        assert run.status == "FAILED"
    assert tally.times == [0, 7200, 14400]


@pytest.mark.parametrize("where", ["job", "step", "group", "nested"])
async def test_retry_after_delays_the_run_s_own_retry_too(make_app, where):
    clock = VirtualClock()
    tally = LocalTally(clock)

    def later(message: str) -> RetryAfter:
        return RetryAfter("2h", message)

    fail = tally.failing("k", 1, later)

    async def outer() -> str:
        return await current().step("inner", fail)

    @job(retry=Retry(max_attempts=2, min_delay="1s", max_delay="5s", jitter=False))
    async def patient(ctx):
        match where:
            case "job":
                return await fail()
            case "step":
                return await ctx.step("k", fail)
            case "nested":
                return await ctx.step("k", outer)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(ctx.step("k", fail))
        return task.result()

    async with make_app(patient, clock=clock) as durable:
        assert await durable.outcome(patient) == "k"
    assert tally.times == [0, 7200]


# A run's retries.


async def test_a_run_waits_for_its_retry_without_a_worker(make_store):
    clock = VirtualClock()
    tally = LocalTally(clock)

    @job(retry=Retry(max_attempts=3, **EXACT))
    async def failing(ctx):
        await tally.failing("job", 2)()

    @job
    async def other(ctx):
        return "done"

    async with make_store() as store, app(store, [failing, other], clock=clock, concurrency=1) as durable:
        run = await durable.trigger(failing)
        await clock.settle()
        await run.refresh()
        assert (run.status, run.attempt) == ("WAITING", 2)
        assert run.ready_at == pytest.approx(tally.began + 10)
        assert run.error["message"] == "job 1"
        assert await store.leases() == []
        other_run = await durable.trigger(other)
        await clock.settle()
        assert (await other_run.refresh()).status == "COMPLETED"  # there is only one slot
        await durable.result(run)
        assert await types_of(durable, run.id) == [
            "run.triggered", "run.claimed", "run.retrying", "run.claimed", "run.retrying", "run.claimed",
            "run.completed",
        ]  # fmt: skip
        events = await store.read_events(run.id, 0, 100)
        retrying = [event.data for event in events if event.type == "run.retrying"]
        assert [data["attempt"] for data in retrying] == [2, 3]
        assert [round(data["ready_at"] - tally.began) for data in retrying] == [10, 30]
        assert retrying[0]["error"] == {"type": "ValueError", "message": "job 1"}
    assert tally.times == [0, 10, 30]


@pytest.mark.parametrize("crash_at", [5, 25])
async def test_a_crash_in_the_back_off_of_a_run_changes_nothing(make_store, always_replay, crash_at):
    clock = VirtualClock()
    tally = LocalTally(clock)

    @job(retry=Retry(max_attempts=3, **EXACT))
    async def failing(ctx):
        await tally.failing("job", 2)()
        return ctx.run.attempt

    async with make_store() as store:
        async with app(store, failing, clock=clock, always_replay=always_replay) as first:
            run = await first.trigger(failing)
            await clock.advance(crash_at)
            first.kill()
        async with app(store, failing, clock=clock, always_replay=always_replay) as second:
            assert await second.result(run) == 3
    assert tally.times == [0, 10, 30]


@pytest.mark.parametrize(("retry", "attempts"), [(None, 3), (Retry.NEVER, 1), (Retry(max_attempts=7), 7)])
async def test_max_attempts_includes_the_first(make_app, retry, attempts):
    tally = Tally()

    @job(retry=retry)
    async def failing(ctx):
        tally["job"] += 1
        raise ValueError("always")

    async with make_app(failing) as durable:
        run = await durable.finished(await durable.trigger(failing))
        assert (run.status, run.attempt, tally["job"]) == ("FAILED", attempts, attempts)


async def test_a_deadline_ends_the_wait_for_a_retry(make_app):
    @job(retry=Retry(max_attempts=3, min_delay="1h", max_delay="1h"))
    async def failing(ctx):
        raise ValueError("always")

    async with make_app(failing) as durable:
        now = durable.clock.now()
        run = await durable.finished(await durable.trigger(failing, deadline=now + 60))
        assert (run.status, run.error["code"]) == ("TIMED_OUT", "deadline")
        assert run.finished_at == pytest.approx(now + 60, abs=0.1)


# What else user code may raise.


async def test_an_exception_group_is_a_failure_like_another(make_app):
    tally = Tally()

    @job(retry=Retry(max_attempts=2))
    async def failing(ctx):
        tally["job"] += 1
        raise ExceptionGroup("both", [ValueError(1), ExceptionGroup("inner", [KeyError(2)])])

    async with make_app(failing) as durable:
        run = await durable.finished(await durable.trigger(failing))
        assert (run.status, run.error["type"], run.error["message"]) == (
            "FAILED", "ExceptionGroup", "both (2 sub-exceptions)",
        )  # fmt: skip
        assert "KeyError" in run.error["traceback"]
    assert tally["job"] == 2


@pytest.mark.parametrize("where", ["job", "step", "sync step"])
@pytest.mark.parametrize(
    "error",
    [SystemExit(1), SystemExit("bye"), asyncio.CancelledError(), ForeignCancelled("foreign")],
    ids=["exit-1", "exit-text", "cancelled", "foreign"],
)
async def test_what_passes_except_exception_fails_the_run_and_not_the_worker(make_app, where, error):
    tally = Tally()

    async def fail() -> None:
        tally["fail"] += 1
        raise error

    def fail_sync() -> None:
        tally["fail"] += 1
        raise error

    @job(retry=Retry(max_attempts=2))
    async def failing(ctx):
        match where:
            case "job":
                await fail()
            case "step":
                await ctx.step("k", fail)
            case "sync step":
                await ctx.step("k", fail_sync)

    @job
    async def other(ctx):
        return "well"

    async with make_app([failing, other]) as durable:
        run = await durable.finished(await durable.trigger(failing))
        assert (run.status, run.attempt) == ("FAILED", 2)
        assert (
            type(error).__name__ in run.error["type"] + run.error["message"] or "exit" in run.error["message"]
        )
        assert await durable.outcome(other) == "well"
    assert tally["fail"] == 2


async def test_a_cancelled_error_of_user_code_is_retried_by_its_step(make_app):
    tally = Tally()

    async def fail() -> str:
        tally["fail"] += 1
        if tally["fail"] < 3:
            task = asyncio.ensure_future(asyncio.sleep(0))
            task.cancel()
            await task  # a cancelled task of its own
        return "well"

    @job
    async def failing(ctx):
        return await ctx.options(retry=Retry(max_attempts=3)).step("k", fail)

    async with make_app(failing) as durable:
        assert await durable.outcome(failing) == "well"


@pytest.mark.parametrize("where", ["job", "step"])
@pytest.mark.parametrize(
    "error",
    [
        ValueError("x" * 5_000_000),
        ValueError(*range(100_000)),
        ValueError("\ud800 lone \udfff"),
        ValueError("nul \x00 and \x1b[31m"),
        ValueError(b"\x00\xff"),
        UnprintableError(),
        ValueError(UnprintableError()),
        KeyError(Unknown()),
    ],
    ids=["huge", "many", "surrogates", "control", "bytes", "unprintable", "holds unprintable", "unknown"],
)
async def test_an_odd_error_is_stored_as_well_as_it_can_be(make_app, where, error):
    tally = Tally()

    async def fail() -> None:
        tally["fail"] += 1
        raise error

    @job(retry=Retry(max_attempts=2, min_delay="1s"))
    async def failing(ctx):
        if where == "job":
            await fail()
        await ctx.options(retry=Retry(max_attempts=2)).step("k", fail)

    async with make_app(failing) as durable:
        run = await durable.trigger(failing)
        with pytest.raises(RunFailed) as caught:
            await durable.result(run)
        stored = caught.value.error
        assert caught.value.status == "FAILED"
        assert len(str(stored)) < 200_000
        assert type(error).__name__ in (stored["type"], *stored["message"].split(": "))
        for row in await durable.steps(run.id):
            assert row.state == "failed"
        assert [event.seq for event in await durable.store.read_events(run.id, 0, 100)]
    assert tally["fail"] == (2 if where == "job" else 4)


async def test_a_chain_of_causes_is_in_the_traceback(make_app):
    async def fail() -> None:
        try:
            raise KeyError("the cause")
        except KeyError as error:
            raise ValueError("the effect") from error

    @job(retry=Retry.NEVER)
    async def failing(ctx):
        await ctx.step("k", fail)

    async with make_app(failing) as durable:
        run = await durable.finished(await durable.trigger(failing))
        assert (run.error["type"], run.error["message"]) == ("ValueError", "the effect")
        [row] = await durable.steps(run.id)
        assert all(text in row.error for text in ("the cause", "the effect", "in fail"))


async def test_the_annotation_of_a_step_that_cannot_be_resolved_does_no_harm(make_app):
    async def odd() -> "NoSuchName":  # noqa: F821  that is the point
        return [1]

    @job(retry=Retry.NEVER)
    async def annotated(ctx):
        return await ctx.step("k", odd)

    async with make_app(annotated) as durable:
        assert await durable.outcome(annotated) == [1]
