"""The cases of `tests/timelines.json`: what real runs left in a store in memory, in virtual time.

`python -m tests.unit.timelines` writes them anew; look at the difference before you believe it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from durable_lite import Context, Queue, Retry, Run, job
from durable_lite.events import RunEvent
from durable_lite.records import RunRow, StepRow
from durable_lite.testing import Harness
from durable_lite.timeline import timeline

__all__ = ["CASES", "SCENARIOS", "case", "rows"]

CASES = Path(__file__).parents[1] / "timelines.json"
SCENARIOS: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {}
THRICE = Retry(max_attempts=3, min_delay="4s", jitter=False)
TWICE = Retry(max_attempts=2, min_delay="30s", jitter=False)
NARROW = Queue("narrow", concurrency=1)


class World(Harness):
    """A harness in which steps take time and fail on cue."""

    def __init__(self, *jobs: Any) -> None:
        super().__init__(list(jobs))
        self.failures = 0  # so many times `work` is still to fail

    async def stop(self) -> None:
        await self.clock.run(self._worker.stop(0))

    def pause(self) -> None:
        self._worker.pause()


async def case(world: Harness, run_id: str) -> dict[str, Any]:
    """A case as it is in the file; without tracebacks, which are of this machine."""
    row, now = await world.store.get_run(run_id), world.clock.now()
    assert row is not None
    steps = await world.store.load_steps(run_id)
    events = await world.store.read_events(run_id, 0, 1000)
    return {
        "now": now,
        "run": {**row._asdict(), "error": None},
        "steps": [{**step._asdict(), "error": None} for step in steps],
        "events": [
            {"seq": event.seq, "at": event.at, "type": str(event.type), "data": event.data}
            for event in events
        ],
        "expected": timeline(row, steps, events, now),
    }


def rows(found: dict[str, Any]) -> tuple[RunRow, list[StepRow], list[RunEvent], float]:
    """What `timeline` takes, of a case."""
    run = RunRow(**found["run"])
    steps = [StepRow(**step) for step in found["steps"]]
    events = [RunEvent(run.id, e["seq"], e["at"], e["type"], e["data"]) for e in found["events"]]
    return run, steps, events, found["now"]


# What is done


here: list[World] = []


async def work(seconds: float) -> float:
    [world] = here
    await world.clock.sleep(seconds)
    if world.failures:
        world.failures -= 1
        raise ValueError(f"not yet, {world.failures} to go")
    return seconds


async def two_steps(ctx: Context) -> None:
    await ctx.step("first", work, 3)
    await ctx.step("second", work, 8)


async def outer(ctx: Context) -> None:
    """With keys whose order is another in UTF-16."""
    await asyncio.gather(
        *(ctx.step(key, work, time) for key, time in (("a", 4), ("b/c", 2), ("😀", 1), ("Ａ", 1)))
    )
    await ctx.map("pages", work, [5, 1, 2], limit=2)


async def nested(ctx: Context) -> None:
    await ctx.options(title="All of it").step("outer", outer, ctx)


async def tries(ctx: Context) -> None:
    await ctx.options(retry=THRICE).step("page", work, 2)
    await ctx.step("next", work, 1)


async def naps(ctx: Context) -> None:
    await ctx.step("page", work, 1)
    await ctx.sleep("nap", "1m")
    await ctx.step("next", work, 1)
    await ctx.sleep("long", "30d")


async def nap_between(ctx: Context) -> None:
    await ctx.step("page", work, 5)
    await ctx.sleep("nap", "10s")
    await ctx.step("next", work, 20)


async def waits(ctx: Context) -> None:
    await ctx.wait_for_token("approve", timeout="1d")
    await ctx.wait_for_event("paid", "invoice.paid", timeout="1h")


async def child(ctx: Context, number: int) -> int:
    await ctx.sleep("nap", "10s")
    return number


async def parent(ctx: Context) -> None:
    await ctx.call_many("pages", "child", [1, 2])
    await ctx.trigger("report", "child", 3)


async def many(ctx: Context) -> None:
    for number in range(4):
        await ctx.step(f"page-{number}", work, 0.5)
    await ctx.step("long", work, 60)


# What befalls it

Act = Callable[[World, Run[Any]], Awaitable[Run[Any] | None]]


def scenario(body: Callable[..., Awaitable[Any]], **options: Any) -> Callable[[Act], Act]:
    """A run of a job with this body, which is as the function leaves it, or the run that it returns."""

    def take(act: Act) -> Act:
        async def make() -> dict[str, Any]:
            story = job("story", **options)(body)
            async with World(story, job("child")(child)) as world:
                here.append(world)
                try:
                    run = await world.trigger(story)
                    return await case(world, (await act(world, run) or run).id)
                finally:
                    here.clear()

        SCENARIOS[act.__name__.replace("_", " ")] = make
        return act

    return take


@scenario(two_steps)
async def steps_one_after_the_other(world: World, run: Run[Any]) -> None:
    await world.ended(run)


@scenario(nested)
async def nested_and_parallel_steps(world: World, run: Run[Any]) -> None:
    await world.ended(run)


@scenario(tries)
async def a_failed_try_and_its_retry(world: World, run: Run[Any]) -> None:
    world.failures = 2
    await world.ended(run)


@scenario(tries)
async def a_step_that_is_to_be_tried_again(world: World, run: Run[Any]) -> None:
    world.failures = 1
    await world.advance("3s")


@scenario(two_steps, retry=TWICE)
async def an_attempt_of_the_run_that_failed(world: World, run: Run[Any]) -> None:
    await world.advance("4s")
    world.failures = 1
    await world.ended(run)


@scenario(two_steps, retry=Retry.NEVER)
async def failed_and_resumed(world: World, run: Run[Any]) -> None:
    await world.advance("4s")
    world.failures = 1
    await world.ended(run)
    await world.advance("1h")
    await world.app.resume(run.id)
    await world.ended(run)


@scenario(naps)
async def a_durable_sleep_that_is_over_and_one_that_is_not(world: World, run: Run[Any]) -> None:
    await world.advance("1h")


@scenario(naps)
async def no_worker_at_the_end_of_a_wait(world: World, run: Run[Any]) -> None:
    await world.to_next_wait(run)
    await world.stop()
    await world.advance("2m")
    await world.crash()
    await world.to_next_wait(run)
    await world.stop()
    await world.advance("31d")


@scenario(nap_between, queue=NARROW)
async def queued_at_the_end_of_a_wait(world: World, run: Run[Any]) -> Run[Any]:
    other = await world.app.trigger("story")
    await world.advance("25s")
    return other


@scenario(nap_between, queue=NARROW)
async def queued_at_the_end_of_a_wait_and_then_taken(world: World, run: Run[Any]) -> Run[Any]:
    other = await world.app.trigger("story")
    await world.ended(other)
    return other


@scenario(waits)
async def a_token_and_an_event(world: World, run: Run[Any]) -> None:
    await world.to_next_wait(run)
    await world.advance("5m")
    await world.complete_token(run, "approve", "yes")
    await world.to_next_wait(run)
    await world.advance("10s")


@scenario(parent)
async def children(world: World, run: Run[Any]) -> None:
    await world.ended(run)


@scenario(two_steps)
async def frozen(world: World, run: Run[Any]) -> None:
    await world.advance("5s")
    await world.freeze("10m")
    await world.ended(run)


@scenario(many)
async def killed_between_two_steps_and_taken_over(world: World, run: Run[Any]) -> None:
    await world.advance("5s")
    await world.crash()
    await world.ended(run)


@scenario(two_steps)
async def killed_and_stale(world: World, run: Run[Any]) -> None:
    await world.advance("5s")
    await world.crash()
    world.pause()
    await world.advance("10s")
    await world.store.mark_stale(await world.store.leases(), "worker gone", world.clock.now())
    await world.advance("2m")


@scenario(two_steps)
async def released_and_resumed_by_another_worker(world: World, run: Run[Any]) -> None:
    await world.advance("5s")
    await world.stop()
    await world.advance("20s")
    await world.crash()
    await world.ended(run)


@scenario(naps)
async def cancelled_while_it_waited(world: World, run: Run[Any]) -> None:
    await world.to_next_wait(run)
    await world.advance("10s")
    await world.app.cancel(run.id)
    await world.advance("2h")


@scenario(two_steps, max_duration="5s")
async def timed_out(world: World, run: Run[Any]) -> None:
    await world.ended(run)


@scenario(nap_between)
async def moved_out_and_in(world: World, run: Run[Any]) -> None:
    await world.to_next_wait(run)
    await world.advance("2s")
    document = await world.app.export_run(run.id)
    await world.advance("4s")
    await world.app.import_run(document)
    await world.ended(run)


@scenario(two_steps)
async def moved_away_while_it_executed(world: World, run: Run[Any]) -> None:
    await world.advance("5s")
    await world.app.export_run(run.id)
    await world.advance("20s")


@scenario(two_steps)
async def forked(world: World, run: Run[Any]) -> Run[Any]:
    await world.ended(run)
    await world.advance("1m")
    copy = await world.app.fork(run.id, "second")
    await world.ended(copy)
    return copy


@scenario(two_steps)
async def never_started(world: World, run: Run[Any]) -> Run[Any]:
    other = await world.app.trigger("story", delay="1h", ttl="2h")
    await world.advance("3s")
    return other


@scenario(two_steps, queue=NARROW)
async def queued(world: World, run: Run[Any]) -> Run[Any]:
    other = await world.app.trigger("story")
    await world.advance("5s")
    return other


@scenario(two_steps)
async def it_still_executes(world: World, run: Run[Any]) -> None:
    await world.advance("5s")


@scenario(nap_between)
async def a_clock_that_was_set_back(world: World, run: Run[Any]) -> None:
    await world.advance("3s")
    world.clock.set_back("4s")
    await world.ended(run)


async def made() -> dict[str, dict[str, Any]]:
    return {name: await make() for name, make in SCENARIOS.items()}


def main() -> None:
    """A line for each row, span and mark."""
    CASES.write_text(f"{_lines(asyncio.run(made()))}\n", "utf-8")


def _lines(value: Any, indent: str = "") -> str:
    if not value or not isinstance(value, dict | list) or "created_at" in value:
        return json.dumps(value)
    deeper = f"{indent}  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(f"{deeper}{json.dumps(one)}" for one in value) + f"\n{indent}]"
    parts = [f"{deeper}{json.dumps(key)}: {_lines(one, deeper)}" for key, one in value.items()]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


if __name__ == "__main__":
    from tests.unit import timelines

    timelines.main()  # by its own name, which the steps' names say
