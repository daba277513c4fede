"""Whole scenarios that die before and after each of their store calls, and come to the same end."""

import asyncio
import itertools
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from durable_lite import (
    AbortRun,
    Conflict,
    Durable,
    Retry,
    Run,
    RunFailed,
    StepFailed,
    StepTimeout,
    current,
    job,
)
from durable_lite.ports import Store
from durable_lite.testing import World, crash_points
from tests.engine.apps import Tally, no_failed_asserts
from tests.engine.values import Colour, Drawing, PaymentError, Point

Scenario = Callable[[World], Awaitable[Any]]
SCENARIOS: dict[str, Scenario] = {}

SOON = Retry(max_attempts=3, min_delay="10s", jitter=False)

# What the world outside knows: one for all lives of one scenario, told by their clock.
_outside: weakref.WeakKeyDictionary[Any, Tally] = weakref.WeakKeyDictionary()


def outside(world: World) -> Tally:
    return _outside.setdefault(world.clock, Tally())


def scenario(fn: Scenario) -> Scenario:
    SCENARIOS[fn.__name__] = fn
    return fn


async def end_of(world: World, app: Durable, run: Run[Any]) -> dict[str, Any]:
    """How a run ended, after checks that hold for every run."""
    try:
        output = await world.clock.run(run.result())
    except RunFailed as error:
        output = error.error.get("code") or error.error.get("type")
    await run.refresh()
    events = await app.store.read_events(run.id, 0, 10_000)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[0].type == "run.triggered"
    completed = [event.data["path"] for event in events if event.type == "step.completed"]
    assert len(completed) == len(set(completed))
    await no_failed_asserts(app)
    assert await app.store.leases() == []
    logs = [(line.attempt, line.path, line.ordinal) for line in await app.logs(run.id)]
    assert len(logs) == len(set(logs))
    return {
        "status": str(run.status),
        "output": output,
        "attempt": run.attempt,
        "steps": sorted((row.path, row.state, row.output) for row in await app.steps(run.id)),
        "last": events[-1].type,
    }


async def echo(value: Any = None) -> Any:
    return value


def sync_echo(value: Any) -> Any:
    return value


def failing_first(tally: Tally, name: str, failures: int) -> Callable[[], Awaitable[str]]:
    """A step that another system fails so often."""

    async def flaky() -> str:
        tally[name] += 1
        if tally[name] <= failures:
            raise PaymentError(tally[name], name)
        return name

    return flaky


async def crash_points_on_sqlite(scenario: Scenario, folder: Path, always_replay: bool) -> None:
    from durable_lite.stores.sqlite import SQLiteStore

    numbers = itertools.count()

    def store() -> Store:
        return SQLiteStore(str(folder / f"{next(numbers)}.db"), durability="relaxed")

    await crash_points(scenario, store=store, always_replay=always_replay)


@scenario
async def steps_one_after_another(world: World) -> Any:
    @job
    async def sequence(ctx, names: list[str]) -> list[Any]:
        return [await ctx.step(name, sync_echo if name == "b" else echo, name) for name in names]

    async with world.durable(sequence) as app:
        run = await app.trigger(sequence, list("abcd"), idempotency_key="k")
        return await end_of(world, app, run)


@scenario
async def a_gather_of_steps_that_end_in_another_order(world: World) -> Any:
    async def work(index: int) -> int:
        await world.clock.sleep((index * 3) % 7 + 1)
        return index

    @job
    async def fan(ctx) -> list[int]:
        return await asyncio.gather(*(ctx.step(f"s{index}", work, index) for index in range(7)))

    async with world.durable(fan) as app:
        run = await app.trigger(fan, idempotency_key="k")
        return await end_of(world, app, run)


@scenario
async def a_map_by_name(world: World) -> Any:
    @job
    async def mapping(ctx, names: list[str]) -> list[str]:
        return await ctx.map("m", sync_echo, names, by=str.upper, limit=2)

    async with world.durable(mapping) as app:
        run = await app.trigger(mapping, ["a", "b/c", "d", "50%"], idempotency_key="k")
        return await end_of(world, app, run)


@scenario
async def steps_within_steps(world: World) -> Any:
    async def level(depth: int) -> list[int]:
        before = await current().step("before", echo, depth)
        inner = await current().step("in", level, depth + 1) if depth < 3 else []
        return [before, *inner]

    @job
    async def nested(ctx) -> list[list[int]]:
        return await asyncio.gather(ctx.step("x", level, 1), ctx.step("y", level, 2))

    async with world.durable(nested) as app:
        run = await app.trigger(nested, idempotency_key="k")
        return await end_of(world, app, run)


@scenario
async def waits_between_steps(world: World) -> Any:
    @job
    async def waiting(ctx) -> int:
        total = 0
        for index in range(3):
            total += await ctx.step(f"s{index}", echo, index)
            await ctx.sleep(f"nap{index}", "2h")
        await ctx.sleep_until("past", 1_000.0)
        return total

    async with world.durable(waiting) as app:
        run = await app.trigger(waiting, idempotency_key="k")
        return await end_of(world, app, run)


@scenario
async def waits_beside_steps(world: World) -> Any:
    async def slow(index: int) -> int:
        await world.clock.sleep(20)
        return index

    @job
    async def beside(ctx) -> list[int]:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.sleep("long", "1h"))
            group.create_task(ctx.sleep("short", "10s"))
            steps = [group.create_task(ctx.step(f"s{index}", slow, index)) for index in range(2)]
        return [step.result() for step in steps]

    async with world.durable(beside) as app:
        run = await app.trigger(beside, idempotency_key="k")
        return await end_of(world, app, run)


@scenario
async def waits_within_steps(world: World) -> Any:
    async def napping(index: int) -> int:
        await current().step("before", echo, index)
        await current().sleep("nap", f"{index + 1}m")
        return await current().step("after", echo, index)

    @job
    async def nested(ctx) -> list[int]:
        return await ctx.map("m", napping, range(3))

    async with world.durable(nested) as app:
        run = await app.trigger(nested, idempotency_key="k")
        return await end_of(world, app, run)


@scenario
async def a_step_is_retried(world: World) -> Any:
    tally = outside(world)

    @job
    async def retrying(ctx) -> list[str]:
        first = await ctx.options(retry=SOON).step("flaky", failing_first(tally, "flaky", 2))
        return [first, await ctx.step("next", echo, "next")]

    async with world.durable(retrying) as app:
        run = await app.trigger(retrying, idempotency_key="k")
        return await end_of(world, app, run)


@scenario
async def a_run_is_retried(world: World) -> Any:
    @job(retry=SOON)
    async def retrying(ctx) -> int:
        await ctx.step("good", echo, 1)
        await ctx.step(f"only in {ctx.run.attempt}", echo, ctx.run.attempt)
        if ctx.run.attempt < 3:
            raise ValueError("again")
        return ctx.run.attempt

    async with world.durable(retrying) as app:
        run = await app.trigger(retrying, idempotency_key="k")
        return await end_of(world, app, run)


@scenario
async def a_step_fails_and_the_run_is_retried(world: World) -> Any:
    @job(retry=SOON)
    async def retrying(ctx) -> str:
        attempt = ctx.run.attempt

        async def fail_at_first() -> str:
            if attempt == 1:
                raise PaymentError(1, "first")
            return "paid"

        await ctx.step("good", echo, 1)
        return await ctx.options(retry=Retry(max_attempts=2, min_delay="5s")).step("pay", fail_at_first)

    async with world.durable(retrying) as app:
        run = await app.trigger(retrying, idempotency_key="k")
        return await end_of(world, app, run)


@scenario
async def a_caught_failure_is_made_good(world: World) -> Any:
    async def refuse() -> None:
        raise PaymentError(402, "card")

    async def unusual() -> None:
        class LocalError(Exception):
            pass

        raise LocalError("local")

    @job
    async def saga(ctx) -> list[Any]:
        done = []
        await ctx.step("reserve", echo)
        try:
            await ctx.step("pay", refuse)
        except PaymentError as error:
            done.append(await ctx.step("release", echo, [error.code, error.detail]))
        try:
            await ctx.step("odd", unusual)
        except StepFailed as error:
            done.append(await ctx.step("note", echo, error.type))
        return done

    async with world.durable(saga) as app:
        run = await app.trigger(saga, idempotency_key="k")
        return await end_of(world, app, run)


@scenario
async def an_outer_step_is_retried_around_inner_ones(world: World) -> Any:
    tally = outside(world)

    async def outer() -> list[str]:
        ctx = current()
        kept = await ctx.step("kept", echo, "kept")
        inner = await ctx.options(retry=Retry(max_attempts=2, min_delay="1s")).step(
            "inner", failing_first(tally, "inner", 3)
        )
        return [kept, inner]

    @job
    async def nested(ctx) -> list[str]:
        return await ctx.options(retry=SOON).step("outer", outer)

    async with world.durable(nested) as app:
        run = await app.trigger(nested, idempotency_key="k")
        return await end_of(world, app, run)


@scenario
async def an_abort_and_a_resume(world: World) -> Any:
    @job(retry=SOON)
    async def aborting(ctx) -> int:
        async def give_up() -> int:
            if ctx.run.attempt == 1:
                raise AbortRun("enough")
            return ctx.run.attempt

        await ctx.step("good", echo)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(ctx.options(retry=SOON).step("bad", give_up))
        return task.result()

    async with world.durable(aborting) as app:
        known = (await app.list_runs()).runs
        run = known[0] if known else await app.trigger(aborting)
        if (await end_of(world, app, run))["status"] == "FAILED":
            await app.resume(run.id)
        return await end_of(world, app, run)


@scenario
async def a_cancel_and_a_resume(world: World) -> Any:
    @job
    async def napping(ctx) -> str:
        await ctx.step("one", echo, 1)
        await ctx.sleep("nap", "1h")
        return await ctx.step("two", echo, "done")

    async with world.durable(napping) as app:
        known = (await app.list_runs()).runs
        run = known[0] if known else await app.trigger(napping)
        if run.attempt == 1:
            await world.clock.advance(1)
            try:
                await app.cancel(run.id)
            except Conflict:
                await run.refresh()
            await app.resume(run.id)
        return await end_of(world, app, run)


@scenario
async def a_run_moves_out_and_in_again(world: World) -> Any:
    """What dies in between has lost the document, and asks for it again."""

    async def slow() -> str:
        await world.clock.sleep(20)
        return "slow"

    @job
    async def moving(ctx) -> str:
        first = await ctx.step("one", echo, "one")
        first += await ctx.step("slow", slow)
        await ctx.sleep("nap", "1m")
        return first + await ctx.step("two", echo, "two")

    async with world.durable(moving) as app:
        run = await app.trigger(moving, idempotency_key="k")
        await world.clock.advance("5s")
        events = await app.store.read_events(run.id, 0, 1000)
        if not any(event.data == {"direction": "in"} for event in events):
            await app.import_run(await app.export_run(run.id))
        return await end_of(world, app, run)


@scenario
async def a_step_takes_too_long(world: World) -> Any:
    async def hang() -> None:
        await asyncio.Event().wait()

    @job
    async def impatient(ctx) -> str:
        try:
            await ctx.options(timeout="5s", retry=Retry(max_attempts=2, min_delay="1s")).step("hang", hang)
        except StepTimeout as error:
            return await ctx.step("instead", echo, str(error))
        return "?"

    async with world.durable(impatient) as app:
        run = await app.trigger(impatient, idempotency_key="k")
        return await end_of(world, app, run)


@scenario
async def limits_end_runs(world: World) -> Any:
    @job(max_duration="30s")
    async def endless(ctx) -> None:
        await ctx.step("one", echo, 1)
        await ctx.step("hang", asyncio.Event().wait)

    @job
    async def late(ctx) -> None:
        await ctx.step("one", echo, 1)
        await ctx.sleep("nap", "1d")

    async with world.durable([endless, late]) as app:
        first = await app.trigger(endless, idempotency_key="k")
        deadline = world.clock.now() + 3600
        known = (await app.list_runs(job=late)).runs
        second = known[0] if known else await app.trigger(late, deadline=deadline)
        return [await end_of(world, app, run) for run in (first, second)]


@scenario
async def it_tells_while_it_works(world: World) -> Any:
    async def work(index: int) -> int:
        current().log.info("working", index=index)
        await world.clock.sleep(4)
        current().progress(index, 3)
        return index

    @job
    async def telling(ctx) -> int:
        ctx.log.info("begin")
        ctx.metadata.set("rows", 0)
        for index in range(3):
            await ctx.step(f"s{index}", work, index)
        ctx.progress(3, 3, "done")
        ctx.metadata.set("rows", 3)
        ctx.log.info("end")
        return ctx.metadata.get("rows")

    async with world.durable(telling) as app:
        run = await app.trigger(telling, idempotency_key="k")
        end = await end_of(world, app, run)
        return [end, run.progress, run.metadata, (await app.logs(run.id))[-1].message]


@scenario
async def several_runs_share_one_slot(world: World) -> Any:
    @job
    async def sharing(ctx, name: str) -> str:
        await ctx.step("one", echo, name)
        await ctx.sleep("nap", "1m")
        return await ctx.step("two", echo, name.upper())

    async with world.durable(sharing, concurrency=1) as app:
        runs = [
            await app.trigger(sharing, name, idempotency_key=name, priority=index, delay=index)
            for index, name in enumerate("abc")
        ]
        return [await end_of(world, app, run) for run in runs]


@scenario
async def typed_values_and_strict_keys(world: World) -> Any:
    async def draw(size: int) -> Drawing:
        return Drawing([Point(index, -index) for index in range(size)], Colour.BLUE, {1: ("a", "b")})

    @job(version="2")
    async def drawing(ctx, payload: Point) -> list[Drawing]:
        assert isinstance(payload, Point)
        first = await ctx.step("draw", draw, payload.x)
        again = await ctx.step("draw", draw, payload.x)
        assert first == again
        assert type(first.points[0]) is Point
        return [first, await ctx.options(title="more").step("more", draw, payload.y)]

    async with world.durable(drawing, strict=True, environment="test") as app:
        run = await app.trigger(drawing, {"x": 2, "y": 1}, idempotency_key=["a", 1])
        end = await end_of(world, app, run)
        again = await app.trigger(drawing, Point(2, 1), idempotency_key=["a", 1])
        assert again.id == run.id
        return end


def test_there_are_enough_scenarios():
    assert len(SCENARIOS) >= 12


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_that_dies_anywhere_comes_to_the_same_end(name, always_replay):
    report = await crash_points(SCENARIOS[name], always_replay=always_replay)
    assert report.crashes >= 2 * 8


@pytest.mark.parametrize(
    ("name", "always_replay"),
    [
        ("steps_one_after_another", True),
        ("a_gather_of_steps_that_end_in_another_order", False),
        ("waits_within_steps", False),
        ("an_outer_step_is_retried_around_inner_ones", False),
        ("a_cancel_and_a_resume", False),
        ("a_run_moves_out_and_in_again", False),
    ],
)
async def test_so_it_does_on_sqlite(name, always_replay, tmp_path):
    await crash_points_on_sqlite(SCENARIOS[name], tmp_path, always_replay)
