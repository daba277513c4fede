"""Scenarios with queues, keys, debounce, events and forks that die before and after each of their store calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable_lite import Context, Durable, Event, Queue, Retry, Run, current, job
from durable_lite.testing import World, crash_points
from tests.engine.test_scenarios import Scenario, crash_points_on_sqlite, echo
from tests.engine.test_scenarios_waits import ends_of, waiting_token, works

SCENARIOS: dict[str, Scenario] = {}


def scenario(fn: Scenario) -> Scenario:
    SCENARIOS[fn.__name__] = fn
    return fn


async def held(app: Durable) -> list[Run[Any]]:
    """Who executes, or has died of it and isn't claimed again yet."""
    return (await app.list_runs(status=["EXECUTING", "STALE"])).runs


@scenario
async def a_narrow_queue_with_a_rate(world: World) -> Any:
    async def alone() -> None:
        assert len(await held(app)) == 1

    @job(retry=Retry.NEVER, queue=Queue("narrow", concurrency=1, rate="2/m"))
    async def works_alone(ctx: Context, number: int) -> int:
        await ctx.step("before", alone)
        await ctx.sleep("nap", "1m")
        await ctx.step("after", alone)
        return number

    async with world.durable(works_alone, concurrency=3) as app:
        runs = [
            await app.trigger(works_alone, number, idempotency_key=f"{number}", priority=number)
            for number in range(3)
        ]
        end = await ends_of(world, app, runs[0])
        starts = sorted(run.started_at or 0.0 for run in (await app.list_runs()).runs)
        assert all(late - early >= 60 for early, late in zip(starts, starts[2:], strict=False))
        return end


@scenario
async def a_key_that_a_parent_shares_with_its_child(world: World) -> Any:
    async def alone() -> None:
        began = [run for run in (await app.list_runs()).runs if run.started_at and not run.finished]
        assert len({run.parent_id or run.id for run in began}) == 1

    @job(retry=Retry.NEVER)
    async def child(ctx: Context, name: str) -> str:
        await ctx.sleep("nap", "1m")
        await ctx.step("look", alone)
        return name

    @job(retry=Retry.NEVER)
    async def parent(ctx: Context, name: str) -> str:
        await ctx.step("look", alone)
        return await ctx.call("child", child, f"child of {name}", concurrency_key="acme")

    async with world.durable([parent, child], concurrency=3) as app:
        runs = [
            await app.trigger(parent, name, concurrency_key="acme", idempotency_key=name, on_busy=on_busy)
            for name, on_busy in (("first", "queue"), ("second", "queue"), ("third", "skip"))
        ]
        assert len({run.id for run in runs}) == 2
        return await ends_of(world, app, runs[0])


@scenario
async def debounced_triggers_that_are_repeated(world: World) -> Any:
    @job
    async def saves(ctx: Context, text: str) -> str:
        return await ctx.step("save", echo, text)

    async with world.durable(saves) as app:
        runs = [
            await app.trigger(saves, text, debounce_key="doc", debounce_delay="1h", idempotency_key=text)
            for text in ("a", "ab", "abc")
        ]
        assert len({run.id for run in runs}) == 1
        return await ends_of(world, app, runs[0])


@scenario
async def an_event_wakes_and_starts(world: World) -> Any:
    @job(on=Event("closed", match={"org": "acme"}))
    async def thanks(ctx: Context, payload: dict[str, Any]) -> str:
        return await ctx.step("thank", echo, payload["org"])

    @job
    async def duns(ctx: Context) -> list[Any]:
        async def waits(org: str) -> Any:
            return await current().wait_for_event(org, "paid", match={"org": org}, timeout="3d")

        paid = await asyncio.gather(waits("acme"), waits("nobody's"), return_exceptions=True)
        await ctx.send_event("close", "closed", {"org": "acme"})
        return [paid[0], type(paid[1]).__name__]

    async with world.durable([duns, thanks]) as app:
        run = await app.trigger(duns, idempotency_key="k")
        if await waiting_token(world, app, "acme"):
            await app.send_event("paid", {"org": "acme", "amount": 5}, id="payment 1")
        end = await ends_of(world, app, run)
        assert [one[0] for one in end["descendants"]] == ["thanks"]
        return end


@scenario
async def an_outer_step_is_retried_around_children(world: World) -> Any:
    @job
    async def parent(ctx: Context) -> list[int]:
        async def outer() -> list[int]:
            tried = len((await app.list_runs(job=works)).runs)
            return await current().call_many("many", works, [0, 1 if tried else -1])

        patient = ctx.options(retry=Retry(max_attempts=3, min_delay="10s", jitter=False, children=True))
        return await patient.step("outer", outer)

    async with world.durable([parent, works]) as app:
        run = await app.trigger(parent, idempotency_key="k")
        end = await ends_of(world, app, run)
        assert [one[1] for one in end["descendants"]] == [-1, 0, 1]
        return end


@scenario
async def a_part_is_done_again(world: World) -> Any:
    @job
    async def counts(ctx: Context) -> list[int]:
        async def runs() -> int:
            return len((await app.list_runs(job=counts)).runs)

        first = await ctx.step("first", runs)
        await ctx.sleep("nap", "1h")
        return [first, await ctx.step("second", runs)]

    async with world.durable(counts) as app:
        run = await app.trigger(counts, idempotency_key="k")
        await world.clock.run(run.result())
        if len((await app.list_runs(job=counts)).runs) == 1:
            await app.fork(run.id, "second")
        end = await ends_of(world, app, run)
        assert [one[3] for one in end["descendants"]] == [[1, 2]]
        return end


@scenario
async def a_queue_is_paused_and_goes_on(world: World) -> Any:
    async with world.durable(works) as app:
        if not (await app.list_runs()).runs:
            await app.pause_queue("default")
        run = await app.trigger(works, 3, idempotency_key="k")
        await app.resume_queue("default")
        return await ends_of(world, app, run)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_that_dies_anywhere_comes_to_the_same_end(name, always_replay):
    report = await crash_points(SCENARIOS[name], always_replay=always_replay)
    assert report.crashes >= 2 * 8
    assert report.outcome["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("name", "always_replay"),
    [("a_narrow_queue_with_a_rate", False), ("an_event_wakes_and_starts", True)],
)
async def test_so_it_does_on_sqlite(name, always_replay, tmp_path):
    await crash_points_on_sqlite(SCENARIOS[name], tmp_path, always_replay)
