"""Scenarios with tokens and child runs that die before and after each of their store calls."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from durable_lite import (
    ChildFailed,
    Conflict,
    Durable,
    Retry,
    Run,
    RunFailed,
    TokenFailed,
    TokenTimeout,
    current,
    job,
)
from durable_lite.testing import World, crash_points
from tests.engine.test_scenarios import SOON, Scenario, crash_points_on_sqlite, echo, end_of
from tests.engine.values import Colour, Drawing, Point

SCENARIOS: dict[str, Scenario] = {}


def scenario(fn: Scenario) -> Scenario:
    SCENARIOS[fn.__name__] = fn
    return fn


async def ends_of(world: World, app: Durable, run: Run[Any]) -> dict[str, Any]:
    """How a run ended, with all that descends from it, and their tokens."""
    while unfinished := [one for one in (await app.list_runs()).runs if not one.finished]:
        with suppress(RunFailed):
            await world.clock.run(unfinished[-1].result())
    end = await end_of(world, app, run)
    tokens = (await app.list_tokens()).tokens
    paths = [token.path for token in tokens]
    assert len(paths) == len(set(paths))  # none was made twice
    end["tokens"] = sorted((token.path, token.state, token.output, token.error) for token in tokens)
    # What a step has of its token, its id and its deadline, is another in each life.
    end["steps"] = [(path, state, None if path in paths else output) for path, state, output in end["steps"]]
    others = [one for one in (await app.list_runs()).runs if one.id != run.id]
    end["descendants"] = sorted((one.job, one.payload, str(one.status), one.output) for one in others)
    return end


async def waiting_token(world: World, app: Durable, path: str) -> str | None:
    """The id of the token at this path once there is one; None if it isn't pending any more."""
    while True:
        for token in (await app.list_tokens()).tokens:
            if token.path == path:
                return token.id if token.state == "pending" else None
        await world.clock.advance("1s")


async def answer(world: World, app: Durable, path: str, value: Any) -> None:
    """Complete the token at this path; whoever died in between does so again."""
    if token_id := await waiting_token(world, app, path):
        await app.complete_token(token_id, value)


@job(retry=Retry.NEVER)
async def works(ctx, number: int) -> int:
    if number < 0:
        raise ValueError(number)
    await ctx.sleep("nap", f"{number + 1}m")
    return number * 2


@scenario
async def a_token_is_completed_from_outside(world: World) -> Any:
    @job
    async def asks(ctx) -> list[Any]:
        token = await ctx.create_token("approval", timeout="7d", type=Point)
        await ctx.step("mail", echo, "sent")
        point = await token.wait()
        assert type(point) is Point
        return [point.x, await ctx.step("act", echo, point.y)]

    async with world.durable(asks) as app:
        run = await app.trigger(asks, idempotency_key="k")
        await answer(world, app, "approval", {"x": 1, "y": 2})
        return await ends_of(world, app, run)


@scenario
async def a_token_is_completed_while_its_run_executes(world: World) -> Any:
    async def slow() -> str:
        await world.clock.sleep(20)
        return "slow"

    @job
    async def beside(ctx) -> list[Any]:
        async def asks() -> list[Any]:
            return [await ctx.wait_for_token("approval", timeout="7d"), await ctx.step("act", echo, "done")]

        return await asyncio.gather(asks(), ctx.step("slow", slow))

    async with world.durable(beside) as app:
        run = await app.trigger(beside, idempotency_key="k")
        await answer(world, app, "approval", "yes")
        return await ends_of(world, app, run)


@scenario
async def tokens_that_nobody_keeps(world: World) -> Any:
    @job
    async def asks(ctx) -> list[str]:
        said = []
        for key in ("failed", "late"):
            try:
                await ctx.wait_for_token(key, timeout="1h")
            except TokenFailed as error:
                said.append(await ctx.step("why", echo, error.message))
            except TokenTimeout as error:
                said.append(await ctx.step("who", echo, error.key))
        return said

    async with world.durable(asks) as app:
        run = await app.trigger(asks, idempotency_key="k")
        if token_id := await waiting_token(world, app, "failed"):
            await app.fail_token(token_id, "no")
        return await ends_of(world, app, run)


@scenario
async def a_call(world: World) -> Any:
    @job
    async def draws(ctx, point: Point) -> Drawing:
        await ctx.sleep("nap", "1m")
        return Drawing([point], Colour.BLUE)

    @job
    async def parent(ctx) -> list[int]:
        drawing = await ctx.call("draw", draws, Point(3, 4))
        assert type(drawing) is Drawing
        return [drawing.points[0].x, await ctx.step("after", echo, drawing.points[0].y)]

    async with world.durable([parent, draws], strict=True) as app:
        run = await app.trigger(parent, idempotency_key="k")
        return await ends_of(world, app, run)


@scenario
async def many_calls_at_once(world: World) -> Any:
    @job
    async def parent(ctx) -> list[int]:
        return await ctx.call_many("many", works, [2, 0, 1])

    async with world.durable([parent, works], concurrency=2) as app:
        run = await app.trigger(parent, idempotency_key="k")
        return await ends_of(world, app, run)


@scenario
async def calls_within_calls_share_one_slot(world: World) -> Any:
    @job
    async def deep(ctx, depth: int) -> list[int]:
        return [depth, *(await ctx.call("deeper", deep, depth - 1) if depth else [])]

    async with world.durable(deep, concurrency=1) as app:
        run = await app.trigger(deep, 2, idempotency_key="k")
        return await ends_of(world, app, run)


@scenario
async def a_trigger(world: World) -> Any:
    @job
    async def parent(ctx) -> int:
        ids = [await ctx.trigger(key, works, 1, idempotency_key="child") for key in ("one", "two")]
        ids.append(await ctx.trigger("three", works, 1))
        await ctx.sleep("nap", "30s")
        return len(set(ids))

    async with world.durable([parent, works]) as app:
        run = await app.trigger(parent, idempotency_key="k")
        end = await ends_of(world, app, run)
        assert (end["output"], len(end["descendants"])) == (2, 2)
        return end


@scenario
async def a_token_of_a_child_within_a_gather_within_a_step(world: World) -> Any:
    @job
    async def asks(ctx, name: str) -> str:
        async def asks_and_works() -> list[Any]:
            return await asyncio.gather(
                current().wait_for_token("approval", timeout="7d"), current().step("work", echo, name)
            )

        return " ".join(await ctx.step("in", asks_and_works))

    @job
    async def parent(ctx) -> list[str]:
        async def outer() -> list[str]:
            return await asyncio.gather(
                current().call("child", asks, "a"), current().step("beside", echo, "b")
            )

        return await ctx.step("out", outer)

    async with world.durable([parent, asks]) as app:
        run = await app.trigger(parent, idempotency_key="k")
        await answer(world, app, "in/approval", "yes")
        return await ends_of(world, app, run)


@scenario
async def all_kinds_of_waits_beside_each_other(world: World) -> Any:
    @job
    async def parent(ctx) -> list[Any]:
        async def naps() -> str:
            await ctx.sleep("nap", "2m")
            return await ctx.step("after", echo, "slept")

        return await asyncio.gather(
            naps(), ctx.wait_for_token("approval", timeout="7d"), ctx.call("call", works, 0)
        )

    async with world.durable([parent, works]) as app:
        run = await app.trigger(parent, idempotency_key="k")
        await answer(world, app, "approval", "yes")
        return await ends_of(world, app, run)


@scenario
async def a_childs_failure_is_made_good(world: World) -> Any:
    @job
    async def parent(ctx) -> list[Any]:
        try:
            await ctx.call_many("bad", works, [0, -1])
        except ChildFailed as error:
            note = [error.status, error.error["type"], error.job]
        await ctx.sleep("nap", "10s")
        return await ctx.step("instead", echo, note)

    async with world.durable([parent, works]) as app:
        run = await app.trigger(parent, idempotency_key="k")
        return await ends_of(world, app, run)


@scenario
async def a_child_fails_and_the_parent_is_tried_again(world: World) -> Any:
    @job(retry=Retry(max_attempts=3, min_delay="10s", jitter=False, children=True))
    async def parent(ctx) -> list[Any]:
        good = await ctx.call("good", works, 0)
        return [good, *await ctx.call_many("many", works, [1, 2 if ctx.run.attempt > 1 else -2])]

    async with world.durable([parent, works]) as app:
        run = await app.trigger(parent, idempotency_key="k")
        end = await ends_of(world, app, run)
        assert [one[1] for one in end["descendants"]] == [-2, 0, 1, 2]  # those that completed but once
        return end


@scenario
async def a_call_has_a_retry_of_its_own(world: World) -> Any:
    @job(retry=Retry.NEVER)
    async def third_time(ctx) -> int:
        async def count() -> int:
            return len((await app.list_runs(job="third_time")).runs)

        if (nth := await ctx.step("count", count)) < 3:
            raise ValueError(nth)
        return nth

    @job
    async def parent(ctx) -> int:
        return await ctx.options(retry=SOON).call("call", third_time)

    async with world.durable([parent, third_time]) as app:
        run = await app.trigger(parent, idempotency_key="k")
        return await ends_of(world, app, run)


@scenario
async def a_cancel_and_a_resume_with_children(world: World) -> Any:
    @job
    async def child(ctx, name: str) -> str:
        return f"{name} {await ctx.call('grandchild', works, 5)}"

    @job
    async def parent(ctx) -> list[str]:
        return await ctx.call_many("many", child, ["a", "b"])

    async with world.durable([parent, child, works]) as app:
        known = (await app.list_runs(job=parent)).runs
        run = known[0] if known else await app.trigger(parent)
        if run.attempt == 1:
            await world.clock.advance("2s")
            try:
                await app.cancel(run.id)
            except Conflict:
                await run.refresh()
            await app.resume(run.id)
        return await ends_of(world, app, run)


def test_there_are_enough_scenarios():
    assert len(SCENARIOS) >= 12


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_that_dies_anywhere_comes_to_the_same_end(name, always_replay):
    report = await crash_points(SCENARIOS[name], always_replay=always_replay)
    assert report.crashes >= 2 * 8
    assert report.outcome["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("name", "always_replay"),
    [("all_kinds_of_waits_beside_each_other", True), ("many_calls_at_once", False)],
)
async def test_so_it_does_on_sqlite(name, always_replay, tmp_path):
    await crash_points_on_sqlite(SCENARIOS[name], tmp_path, always_replay)
