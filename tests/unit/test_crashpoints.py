"""The crash-point runner itself: it dies everywhere, twice, and finds a scenario that isn't crash-proof."""

from __future__ import annotations

from collections import Counter

import pytest

from durable_lite import Retry, job
from durable_lite.ports import VERBS
from durable_lite.records import Change
from durable_lite.stores.memory import MemoryStore
from durable_lite.testing import CrashPointFailure, FaultyStore, SeededEntropy, crash_points
from durable_lite.testing.faults import Dead


def noted(executed, name):
    async def step():
        executed[name] += 1
        return name

    return step


def two_steps(executed):
    @job
    async def two(ctx):
        first = await ctx.step("first", noted(executed, "first"))
        await ctx.sleep("nap", "1m")
        return [first, await ctx.step("second", noted(executed, "second"))]

    return two


async def outcome(world, one, **options):
    async with world.durable(one, **options) as app:
        run = await app.trigger(one, idempotency_key="once")
        return await world.clock.run(run.result())


async def test_each_call_is_died_before_and_after():
    executed, lives = Counter(), []
    two = two_steps(executed)

    async def scenario(world):
        lives.append(world)
        return await outcome(world, two)

    report = await crash_points(scenario)
    assert report.outcome == ["first", "second"]
    assert report.crashes == 2 * report.calls
    assert report.calls > 10
    died = [world.died for world in lives if world.died]
    assert len(died) == len(set(died)) == report.crashes
    for number in range(1, report.calls + 1):
        assert sum(where.startswith(f"before call {number},") for where in died) == 1
        assert sum(where.startswith(f"after call {number},") for where in died) == 1
    # One life without a crash; after each crash another, in the same world's store.
    assert len(lives) == 1 + 2 * report.crashes
    assert {"save_step", "claim_runs", "settle"} <= {where.rpartition(" ")[2] for where in died}


@pytest.mark.parametrize("always_replay", [False, True])
async def test_a_sound_scenario_passes(always_replay):
    two = two_steps(Counter())
    report = await crash_points(lambda world: outcome(world, two), always_replay=always_replay)
    assert report.crashes == 2 * report.calls


async def test_another_outcome_after_a_crash_is_a_failure():
    lives = Counter()

    @job
    async def counts(ctx):
        await ctx.step("first", noted(lives, "first"))
        return lives["life"]

    async def scenario(world):
        lives["life"] += 1
        return await outcome(world, counts)

    with pytest.raises(CrashPointFailure, match=r"died (before|after) call \d+, .*outcome is 3, not 1"):
        await crash_points(scenario)


async def test_a_trigger_that_is_not_idempotent_is_a_failure():
    two = two_steps(Counter())

    async def scenario(world):
        async with world.durable(two) as app:
            run = await app.trigger(two)
            await world.clock.run(run.result())
            return len((await app.list_runs()).runs)

    with pytest.raises(CrashPointFailure, match="the outcome is 2, not 1"):
        await crash_points(scenario)


class Forgetful(MemoryStore):
    """Loses a checkpoint that it had acknowledged."""

    async def load_checkpoints(self, run_id):
        return [one for one in await super().load_checkpoints(run_id) if one.path != "first"]


async def test_work_done_again_though_it_was_stored_is_a_failure():
    two = two_steps(Counter())
    with pytest.raises(CrashPointFailure, match=r"executed again though stored: \['first'\]"):
        await crash_points(lambda world: outcome(world, two), store=Forgetful)


class Unguarded(MemoryStore):
    """Takes writes of any generation and forgets what it was told last."""

    async def settle(self, run_id, generation, settlement):
        return await super().settle(run_id, generation, settlement._replace(output='"made up"'))


async def test_a_store_that_makes_things_up_consistently_is_not_found():
    """The runner compares lives with each other; it can't know the right outcome."""
    two = two_steps(Counter())
    report = await crash_points(lambda world: outcome(world, two), store=Unguarded)
    assert report.outcome == "made up"


async def test_a_scenario_that_fails_without_a_crash_fails():
    async def scenario(world):
        raise LookupError("of the scenario")

    with pytest.raises(LookupError, match="of the scenario"):
        await crash_points(scenario)


async def test_a_scenario_that_fails_after_a_crash_only_fails():
    lives = Counter()
    two = two_steps(Counter())

    async def scenario(world):
        lives["life"] += 1
        if lives["life"] == 3:
            raise LookupError("of the third life")
        return await outcome(world, two)

    with pytest.raises(LookupError, match="of the third life"):
        await crash_points(scenario)


async def test_a_retry_survives_every_crash():
    executed = Counter()

    async def flaky():
        executed["flaky"] += 1
        if executed["flaky"] % 2:
            raise OSError("every other time")
        return "well"

    @job
    async def tries(ctx):
        retry = Retry(max_attempts=4, min_delay="10s", max_delay="10s", jitter=False)
        return await ctx.options(retry=retry).step("flaky", flaky)

    async def scenario(world):
        executed.clear()
        return await outcome(world, tries)

    report = await crash_points(scenario)
    assert report.outcome == "well"


# The store that dies


async def test_before_and_after_see_every_call():
    store, seen = FaultyStore(MemoryStore()), []
    store.before = lambda number, verb, args: seen.append(("before", number, verb, args))
    store.after = lambda number, verb, args, result: seen.append(("after", number, verb, args, result))
    await store.set_meta("key", "value")
    assert await store.get_meta("key") == "value"
    assert seen == [
        ("before", 1, "set_meta", ("key", "value")),
        ("after", 1, "set_meta", ("key", "value"), None),
        ("before", 2, "get_meta", ("key",)),
        ("after", 2, "get_meta", ("key",), "value"),
    ]


async def test_what_before_raises_keeps_the_call_from_being_made():
    store = FaultyStore(MemoryStore())

    def fail(number, verb, args):
        raise LookupError(verb)

    store.before = fail
    with pytest.raises(LookupError, match="set_meta"):
        await store.set_meta("key", "value")
    assert await store.inner.get_meta("key") is None


async def test_what_after_raises_comes_too_late_for_that():
    store = FaultyStore(MemoryStore())

    def fail(number, verb, args, result):
        raise LookupError(verb)

    store.after = fail
    with pytest.raises(LookupError, match="set_meta"):
        await store.set_meta("key", "value")
    assert await store.inner.get_meta("key") == "value"


async def test_the_dead_reach_nothing_and_hear_nothing():
    inner, heard = MemoryStore(), []
    store = FaultyStore(inner)
    store.listen(heard.append)
    store.die()
    for verb in VERBS:
        with pytest.raises(Dead):
            await getattr(store, verb)()
    inner.announce(Change("run", claimable=True))
    assert heard == []
    assert store.calls == 0


async def test_the_living_hear_what_is_announced():
    inner, heard = MemoryStore(), []
    store = FaultyStore(inner)
    store.listen(heard.append)
    inner.announce(Change("run", claimable=True))
    assert heard == [Change("run", claimable=True)]


def test_a_seed_repeats_its_chance():
    first, second, other = SeededEntropy(1), SeededEntropy(1), SeededEntropy(2)
    drawn = [(first.uniform(), first.bits(80)) for _ in range(5)]
    assert drawn == [(second.uniform(), second.bits(80)) for _ in range(5)]
    assert drawn != [(other.uniform(), other.bits(80)) for _ in range(5)]
    assert all(0 <= uniform < 1 and 0 <= bits < 1 << 80 for uniform, bits in drawn)
