"""Steps: each done once, answered from what is stored, at any depth, in any order, after any crash."""

import asyncio
import datetime as dt
import functools
import math
import uuid
from decimal import Decimal

import pytest

from durable_lite import (
    DurableError,
    InvalidOption,
    KeyReused,
    NotSerializable,
    Retry,
    RunFailed,
    StepFailed,
    SyncStepError,
    TooLarge,
    current,
    job,
    step,
)
from durable_lite.testing import VirtualClock
from tests.engine.apps import Tally, app
from tests.engine.values import Colour, Drawing, Point, Unknown

# A process dies, another goes on.


@pytest.mark.parametrize("crash_after", ["one", "two", "three"])
async def test_a_new_process_executes_only_the_steps_that_are_missing(make_store, always_replay, crash_after):
    tally, clock = Tally(), VirtualClock()

    @job
    async def three(ctx):
        return [await ctx.step(key, tally.step(key)) for key in ("one", "two", "three")]

    async with make_store() as store:
        async with app(store, three, clock=clock, always_replay=always_replay) as first:
            first.die_at("save_step", crash_after)
            run = await first.trigger(three)
            await clock.run(first.died.wait())
        await clock.jump("30s")
        async with app(store, three, clock=clock, always_replay=always_replay) as second:
            assert await second.result(run) == ["one", "two", "three"]
    assert tally == {"one": 1, "two": 1, "three": 1}


async def test_a_step_whose_result_never_reached_the_store_is_executed_again_whole(make_store, always_replay):
    tally, clock = Tally(), VirtualClock()

    @job
    async def two(ctx):
        return [await ctx.step("one", tally.step("one")), await ctx.step("two", tally.step("two"))]

    async with make_store() as store:
        async with app(store, two, clock=clock, always_replay=always_replay) as first:
            first.die_at("save_step", "two", when="before")
            run = await first.trigger(two)
            await clock.run(first.died.wait())
        await clock.jump("30s")
        async with app(store, two, clock=clock, always_replay=always_replay) as second:
            assert await second.result(run) == ["one", "two"]
    assert tally == {"one": 1, "two": 2}


async def test_a_step_that_hung_when_its_process_died_is_executed_again(make_store, always_replay):
    tally, clock, begun = Tally(), VirtualClock(), asyncio.Event()

    async def hang_once():
        tally["hang"] += 1
        begun.set()
        if tally["hang"] == 1:
            await asyncio.Event().wait()
        return "done"

    @job
    async def hanging(ctx):
        return await ctx.step("hang", hang_once)

    async with make_store() as store:
        async with app(store, hanging, clock=clock, always_replay=always_replay) as first:
            run = await first.trigger(hanging)
            await clock.run(begun.wait())
            first.kill()
        await clock.jump("30s")
        async with app(store, hanging, clock=clock, always_replay=always_replay) as second:
            assert await second.result(run) == "done"
    assert tally["hang"] == 2


async def test_started_at_survives_a_new_claim_and_the_generation_grows(make_store):
    clock = VirtualClock()

    @job
    async def one(ctx):
        await ctx.step("one", asyncio.sleep, 0)

    async with make_store() as store:
        async with app(store, one, clock=clock) as first:
            first.die_at("save_step", "one")
            run = await first.trigger(one)
            await clock.run(first.died.wait())
            before = await store.get_run(run.id)
        await clock.jump("1h")
        async with app(store, one, clock=clock) as second:
            after = await second.finished(run)
    assert after.status == "COMPLETED"
    assert after.started_at == before.started_at is not None
    assert after.generation == before.generation + 2  # marked stale, claimed again


async def test_a_gather_of_fifty_steps_survives_a_crash_at_any_of_them(make_store, always_replay):
    executed, stored = Tally(), set()

    async def work(index: int, clock: VirtualClock) -> int:
        executed[str(index)] += 1
        await clock.sleep((index * 37) % 50 + 1)  # they end in another order than they began
        return index

    @job
    async def fan(ctx):
        return await asyncio.gather(*(ctx.step(f"s{i}", work, i, clock) for i in range(50)))

    for nth in (1, 7, 25, 49, 50):
        executed.clear()
        stored.clear()
        clock = VirtualClock()
        async with make_store() as store:
            async with app(store, fan, clock=clock, always_replay=always_replay) as first:
                first.die_at("save_step", nth=nth)
                run = await first.trigger(fan)
                await clock.run(first.died.wait())
                stored = {row.path for row in await store.load_steps(run.id)}
            assert len(stored) == nth
            await clock.jump("30s")
            async with app(store, fan, clock=clock, always_replay=always_replay) as second:
                assert await second.result(run) == list(range(50))
        again = {f"s{index}" for index, count in executed.items() if count > 1}
        assert len(executed) == 50
        assert not again & stored, "executed again though stored"
        assert max(executed.values()) <= 2


async def test_steps_may_be_added_removed_and_reordered_between_two_lives(make_store):
    tally, clock = Tally(), VirtualClock()

    @job("work")
    async def old(ctx):
        for key in ("a", "b", "c", "d"):
            await ctx.step(key, tally.step(key))
        return "old"

    @job("work")
    async def new(ctx):  # without b, with x, in another order
        return [await ctx.step(key, tally.step(key)) for key in ("c", "x", "a", "d")]

    async with make_store() as store:
        async with app(store, old, clock=clock) as first:
            first.die_at("save_step", "c")
            run = await first.trigger(old)
            await clock.run(first.died.wait())
        await clock.jump("30s")
        async with app(store, new, clock=clock) as second:
            assert await second.result(run) == ["c", "x", "a", "d"]
            assert {row.path for row in await second.steps(run.id)} == {"a", "b", "c", "d", "x"}
    assert tally == {"a": 1, "b": 1, "c": 1, "x": 1, "d": 1}


# One key, one execution.


async def test_concurrent_calls_of_one_key_share_one_execution(make_app):
    tally = Tally()

    async def slow() -> list[int]:
        tally["slow"] += 1
        await asyncio.sleep(0)
        return [1, 2]

    @job
    async def twice(ctx):
        first, second = await asyncio.gather(ctx.step("k", slow), ctx.step("k", slow))
        assert first is not second  # each caller may do with its value what it likes
        third = await ctx.step("k", slow)
        return [first, second, third]

    async with make_app(twice) as durable:
        assert await durable.outcome(twice) == [[1, 2]] * 3
    assert tally["slow"] == 1


async def test_a_caller_that_is_cancelled_leaves_the_step_to_the_others(make_app):
    tally = Tally()

    async def slow(gate: asyncio.Event) -> str:
        tally["slow"] += 1
        await gate.wait()
        return "value"

    @job
    async def shared(ctx):
        gate = asyncio.Event()
        gone = asyncio.ensure_future(ctx.step("k", slow, gate))
        stays = asyncio.ensure_future(ctx.step("k", slow, gate))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        gate.set()
        value = await stays
        assert gone.done()
        return value

    async with make_app(shared) as durable:
        assert await durable.outcome(shared) == "value"
    assert tally["slow"] == 1


async def test_a_step_that_nobody_waits_for_any_more_is_cancelled_and_may_be_called_again(make_store):
    tally = Tally()

    async def slow(gate: asyncio.Event) -> str:
        tally["begun"] += 1
        try:
            await gate.wait()
        except asyncio.CancelledError:
            tally["cancelled"] += 1
            raise
        return "value"

    @job
    async def impatient(ctx):
        gate = asyncio.Event()
        task = asyncio.ensure_future(ctx.step("k", slow, gate))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0)
        gate.set()
        return await ctx.step("k", slow, gate)

    async with make_store() as store, app(store, impatient) as durable:
        assert await durable.outcome(impatient) == "value"
    assert tally == {"begun": 2, "cancelled": 1}


# Nesting.


async def test_six_deep_the_outer_step_is_entered_again_and_the_inner_ones_are_not(make_store, always_replay):
    tally, clock = Tally(), VirtualClock()

    async def level(depth: int) -> list[int]:
        tally[f"in{depth}"] += 1
        inner = await current().step(f"l{depth + 1}", level, depth + 1) if depth < 6 else []
        if depth <= 2:
            await current().step("tail", tally.step(f"tail{depth}"))
        return [depth, *inner]

    @job
    async def deep(ctx):
        return await ctx.step("l1", level, 1)

    async with make_store() as store:
        async with app(store, deep, clock=clock, always_replay=always_replay) as first:
            first.die_at("save_step", "l1/l2/tail")
            run = await first.trigger(deep)
            await clock.run(first.died.wait())
            assert [row.path for row in await store.load_steps(run.id)] == [
                "l1/l2/l3/l4/l5/l6", "l1/l2/l3/l4/l5", "l1/l2/l3/l4", "l1/l2/l3", "l1/l2/tail",
            ]  # fmt: skip
        entered = tally.copy()
        await clock.jump("30s")
        async with app(store, deep, clock=clock, always_replay=always_replay) as second:
            assert await second.result(run) == [1, 2, 3, 4, 5, 6]
    assert tally["in1"] > entered["in1"]
    assert tally["in2"] > entered["in2"]
    assert {key: tally[key] for key in ("in3", "in4", "in5", "in6")} == {
        key: entered[key] for key in ("in3", "in4", "in5", "in6")
    }
    assert tally["in6"] == tally["tail1"] == tally["tail2"] == 1


async def test_steps_of_one_key_in_different_steps_are_different_steps(make_app):
    @job
    async def nested(ctx):
        async def outer(name: str) -> str:
            return await ctx.step("inner", inner, name)

        async def inner(name: str) -> str:
            return name

        return await asyncio.gather(
            *(ctx.step(name, outer, name) for name in "abc"), ctx.step("inner", inner, "root")
        )

    async with make_app(nested) as durable:
        run = await durable.trigger(nested)
        assert await durable.result(run) == ["a", "b", "c", "root"]
        paths = {row.path for row in await durable.steps(run.id)}
    assert paths == {"a", "b", "c", "inner", "a/inner", "b/inner", "c/inner"}


# Values.

VALUES = [
    None, True, 0, -1, 2**70, 0.5, -0.0, "", "tésté \U0001f600", "\ud800", [], {}, [1, [2, [3]]], {"a": {"b": [None]}},
    (1, 2), ((), ((),)), {1, 2}, frozenset({"a"}), b"\x00\xff", {1: "a", (2, 3): "b"}, {"$": "tuple", "v": [1]},
    math.inf, -math.inf, dt.datetime(2026, 7, 1, 12, tzinfo=dt.UTC), dt.datetime(2026, 7, 1), dt.date(2026, 7, 1),
    dt.timedelta(days=-3, microseconds=7), Decimal("1.10"), uuid.UUID(int=7), [{"deep": ({1: {2}},)}],
]  # fmt: skip


async def test_the_first_execution_and_a_replay_return_equal_values_of_the_same_types(make_app):
    passes = []

    async def give(index: int):
        return VALUES[index]

    async def draw() -> Drawing:
        return Drawing([Point(1, 2)], Colour.BLUE, {3: ("a",)})

    async def colours() -> dict[str, list[Colour]]:
        return {"all": list(Colour)}

    @job
    async def values(ctx) -> None:
        seen = [await ctx.step(f"v{index}", give, index) for index in range(len(VALUES))]
        seen += [await ctx.step("drawing", draw), await ctx.step("colours", colours)]
        passes.append(seen)
        await ctx.step("replay", asyncio.sleep, 0)
        again = [await ctx.step(f"v{index}", give, index) for index in range(len(VALUES))]
        passes.append([*again, await ctx.step("drawing", draw), await ctx.step("colours", colours)])

    async with make_app(values) as durable:
        await durable.outcome(values)
    expected = [*VALUES, Drawing([Point(1, 2)], Colour.BLUE, {3: ("a",)}), {"all": list(Colour)}]
    assert len(passes) >= 2
    for seen in passes:
        assert repr(seen) == repr(expected)  # types all the way down, and -0.0
        assert seen == expected


async def test_not_a_number_comes_back_as_such(make_app):
    @job
    async def nan(ctx) -> bool:
        async def give() -> list[float]:
            return [math.nan]

        return math.isnan((await ctx.step("nan", give))[0])

    async with make_app(nan) as durable:
        assert await durable.outcome(nan) is True


async def test_what_a_step_returns_is_the_stored_value_not_the_object_itself(make_app):
    shared = [1]

    async def give() -> list[int]:
        return shared

    @job
    async def mutating(ctx) -> list[list[int]]:
        first = await ctx.step("a", give)
        assert first is not shared
        first.append(2)
        second = await ctx.step("a", give)
        return [first, second]

    async with make_app(mutating) as durable:
        assert await durable.outcome(mutating) == [[1, 2], [1]]
    assert shared == [1]


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (Unknown(), "$"),
        ({"rows": [1, Unknown()]}, "$.rows[1]"),
        (Point(1, 2), "$"),  # the step has no annotation
        (Colour.RED, "$"),
        (lambda: None, "$"),
        (iter([]), "$"),
    ],
)
async def test_what_cannot_be_stored_raises_and_nothing_is_stored(make_app, value, where):
    tally = Tally()

    async def give():
        tally["give"] += 1
        return value

    @job
    async def unstorable(ctx):
        await ctx.options(retry=Retry(max_attempts=5)).step("good", tally.step("good"))
        try:
            await ctx.options(retry=Retry(max_attempts=5)).step("bad", give)
        except NotSerializable as error:
            tally["caught"] += 1
            return [error.key, error.path]

    async with make_app(unstorable) as durable:
        run = await durable.trigger(unstorable)
        assert await durable.result(run) == ["bad", where]
        assert [row.path for row in await durable.steps(run.id)] == ["good"]
    assert tally["give"] == tally["caught"] == tally["good"] == 1


async def test_uncaught_it_fails_the_run_at_once(make_app):
    tally = Tally()

    @job
    async def unstorable(ctx):
        tally["job"] += 1
        await ctx.step("bad", tally.step("bad", Unknown()))

    @job
    async def bad_output(ctx):
        tally["output"] += 1
        return Unknown()

    async with make_app([unstorable, bad_output]) as durable:
        run = await durable.finished(await durable.trigger(unstorable))
        assert (run.status, run.error["type"]) == ("FAILED", "NotSerializable")
        run = await durable.finished(await durable.trigger(bad_output))
        assert (run.status, run.error["type"]) == ("FAILED", "NotSerializable")
        assert "output" in run.error["message"]
    assert tally == {"job": 1, "bad": 1, "output": 1}


async def test_an_output_over_the_limit_is_too_large_and_not_stored(make_app):
    @job
    async def large(ctx):
        async def give(size: int) -> str:
            return "x" * size

        fits = await ctx.step("fits", give, 98)  # and two quotes
        try:
            await ctx.step("large", give, 99)
        except TooLarge as error:
            return [len(fits), error.key, error.size, error.limit]

    async with make_app(large, max_value_bytes=100) as durable:
        run = await durable.trigger(large)
        assert await durable.result(run) == [98, "large", 101, 100]
        assert [row.path for row in await durable.steps(run.id)] == ["fits"]


# Keys.


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a/b", "a%2Fb"),
        ("50%", "50%25"),
        ("%2F", "%252F"),
        ("/", "%2F"),
        ("señor/日本 \U0001f600", "señor%2F日本 \U0001f600"),
        (" spaces  in ", " spaces  in "),
        ("é" * 256, "é" * 256),
        ("x" * 512, "x" * 512),
        ("..", ".."),
    ],
)
async def test_a_key_is_stored_as_one_segment_of_a_path(make_app, key, path):
    tally = Tally()

    @job
    async def keyed(ctx):
        async def outer():
            return await current().step(key, tally.step("inner"))

        return [await ctx.step(key, tally.step("plain")), await ctx.step("o", outer)]

    async with make_app(keyed) as durable:
        run = await durable.trigger(keyed)
        assert await durable.result(run) == ["plain", "inner"]
        assert {row.path for row in await durable.steps(run.id)} == {path, "o", f"o/{path}"}
    assert tally == {"plain": 1, "inner": 1}


async def test_a_slash_in_a_key_is_not_nesting(make_app):
    @job
    async def both(ctx):
        async def outer():
            return await current().step("b", asyncio.sleep, 0, "nested")

        return [await ctx.step("a/b", asyncio.sleep, 0, "flat"), await ctx.step("a", outer)]

    async with make_app(both) as durable:
        assert await durable.outcome(both) == ["flat", "nested"]


@pytest.mark.parametrize("key", ["", "a\nb", "\x00", "a\x7f", "\ud800", "é" * 257, "x" * 513, None, 1, b"a"])
async def test_a_key_that_cannot_be_one_is_refused_and_nothing_is_executed(make_app, key):
    tally = Tally()

    @job
    async def keyed(ctx):
        refused = 0
        for call in (
            lambda: ctx.step(key, tally.step("step")),
            lambda: ctx.map(key, tally.step("map"), [1]),
            lambda: ctx.sleep(key, 1),
            lambda: ctx.sleep_until(key, 0.0),
        ):
            try:
                await call()
            except InvalidOption as error:
                refused += error.option == "key"
        return refused

    async with make_app(keyed) as durable:
        run = await durable.trigger(keyed)
        assert await durable.result(run) == 4
        assert await durable.steps(run.id) == []
    assert not tally


# map.


async def test_map_returns_outputs_in_order_and_nests_under_its_key(make_app):
    active = most = 0

    async def double(item: int) -> int:
        nonlocal active, most
        active += 1
        most = max(most, active)
        for _ in range(10 - item):
            await asyncio.sleep(0)
        active -= 1
        return 2 * item

    @job
    async def mapping(ctx):
        return await ctx.map("m", double, range(10), limit=3)

    async with make_app(mapping) as durable:
        run = await durable.trigger(mapping)
        assert await durable.result(run) == [2 * i for i in range(10)]
        assert {row.path for row in await durable.steps(run.id)} == {f"m/{i}" for i in range(10)}
    assert most == 3


async def test_map_names_steps_by_what_by_gives(make_app):
    tally = Tally()

    async def work(item: dict) -> str:
        tally[item["id"]] += 1
        return item["id"].upper()

    @job
    async def mapping(ctx, order: list[str]):
        first = await ctx.map("m", work, [{"id": name} for name in order], by=lambda item: item["id"])
        second = await ctx.map(
            "m", work, [{"id": name} for name in sorted(order)], by=lambda item: item["id"]
        )
        return [first, second]

    async with make_app(mapping) as durable:
        run = await durable.trigger(mapping, ["c", "a/b", "b"])
        assert await durable.result(run) == [["C", "A/B", "B"], ["A/B", "B", "C"]]
        assert {row.path for row in await durable.steps(run.id)} == {"m/c", "m/a%2Fb", "m/b"}
    assert tally == {"c": 1, "a/b": 1, "b": 1}


async def test_map_over_nothing_is_nothing(make_app):
    @job
    async def mapping(ctx):
        return await ctx.map("m", asyncio.sleep, [])

    async with make_app(mapping) as durable:
        assert await durable.outcome(mapping) == []


async def test_map_refuses_two_items_of_one_key_before_it_starts(make_app):
    tally = Tally()

    @job
    async def mapping(ctx):
        try:
            await ctx.map("m", tally.step("work"), [1, 2, 1], by=lambda item: f"n{item}")
        except InvalidOption as error:
            return str(error)

    async with make_app(mapping) as durable:
        assert "'n1'" in await durable.outcome(mapping)
    assert not tally


@pytest.mark.parametrize("limit", [0, -1, 1.5, "8", True])
async def test_map_refuses_a_limit_that_cannot_be_one(make_app, limit):
    @job
    async def mapping(ctx):
        try:
            await ctx.map("m", asyncio.sleep, [0], limit=limit)
        except InvalidOption as error:
            return error.option

    async with make_app(mapping) as durable:
        assert await durable.outcome(mapping) == "limit"


async def test_the_first_failure_of_a_map_cancels_the_others_and_is_raised(make_app):
    tally = Tally()

    async def work(item: int) -> int:
        tally[f"begun{item}"] += 1
        if item == 1:
            await asyncio.sleep(0)
            raise ValueError("one")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            tally["cancelled"] += 1
            raise
        return item

    @job(retry=Retry.NEVER)
    async def mapping(ctx):
        await ctx.map("m", work, range(100), limit=4)

    async with make_app(mapping) as durable:
        run = await durable.finished(await durable.trigger(mapping))
        assert (run.status, run.error["type"], run.error["message"]) == ("FAILED", "ValueError", "one")
        assert [(row.path, row.state) for row in await durable.steps(run.id)] == [("m/1", "failed")]
    assert tally["cancelled"] == sum(tally[f"begun{item}"] for item in (0, 2, 3)) == 3
    assert not any(tally[f"begun{item}"] for item in range(4, 100))


async def test_a_map_goes_on_with_what_is_missing_after_a_crash(make_store, always_replay):
    tally, clock = Tally(), VirtualClock()

    async def work(item: int) -> int:
        tally[str(item)] += 1
        return item * item

    @job
    async def mapping(ctx):
        return await ctx.map("m", work, range(20), limit=1)

    async with make_store() as store:
        async with app(store, mapping, clock=clock, always_replay=always_replay) as first:
            first.die_at("save_step", "m/11")
            run = await first.trigger(mapping)
            await clock.run(first.died.wait())
        await clock.jump("30s")
        async with app(store, mapping, clock=clock, always_replay=always_replay) as second:
            assert await second.result(run) == [item * item for item in range(20)]
    assert set(tally.values()) == {1}


async def test_steps_of_a_map_nest_and_take_options(make_app):
    async def inner(item: int) -> int:
        return item + 1

    async def outer(item: int) -> int:
        return await current().step("inner", inner, item)

    @job
    async def mapping(ctx):
        return await ctx.options(title="an item").map("m", outer, [1, 2])

    async with make_app(mapping) as durable:
        run = await durable.trigger(mapping)
        assert await durable.result(run) == [2, 3]
        steps = {row.path: row.title for row in await durable.steps(run.id)}
    assert steps == {"m/0": "an item", "m/1": "an item", "m/0/inner": None, "m/1/inner": None}


# The reuse of a key.


async def red(value: int = 0) -> str:
    return f"red{value}"


async def blue(value: int = 0) -> str:
    return f"blue{value}"


async def test_a_key_used_for_another_function_is_warned_of_once(make_app):
    @job
    async def reuse(ctx):
        return [await ctx.step("k", red), await ctx.step("k", blue), await ctx.step("k", blue)]

    async with make_app(reuse) as durable:
        run = await durable.trigger(reuse)
        assert await durable.result(run) == ["red0"] * 3
        warnings = [line for line in await durable.logs(run.id) if line.level == "warning"]
        assert len(warnings) == 1
        assert all(word in warnings[0].message for word in ("'k'", "red", "blue"))


async def test_other_arguments_are_noticed_under_strict_only(make_app):
    @job
    async def reuse(ctx):
        return [await ctx.step("k", red, 1), await ctx.step("k", red, 2)]

    async with make_app(reuse) as durable:
        run = await durable.trigger(reuse)
        assert await durable.result(run) == ["red1", "red1"]
        assert await durable.logs(run.id) == []


@pytest.mark.parametrize("how", ["another function", "other arguments", "other keywords"])
@pytest.mark.parametrize("in_flight", [False, True], ids=["later", "in flight"])
async def test_under_strict_the_reuse_of_a_key_raises(make_app, how, in_flight):
    tally = Tally()

    @job
    async def reuse(ctx):
        tally["job"] += 1
        calls = {
            "another function": lambda: ctx.step("k", blue, 1),
            "other arguments": lambda: ctx.step("k", red, 2),
            "other keywords": lambda: ctx.step("k", red, value=1),
        }
        if in_flight:
            await asyncio.gather(ctx.step("k", red, 1), calls[how]())
        await ctx.step("k", red, 1)
        await calls[how]()

    async with make_app(reuse, strict=True) as durable:
        run = await durable.finished(await durable.trigger(reuse))
        assert (run.status, run.error["type"]) == ("FAILED", "KeyReused")
        assert "'k'" in run.error["message"]
        assert run.attempt == 1  # never retried


async def test_under_strict_the_same_call_is_no_reuse(make_app):
    @job
    async def same(ctx):
        return [await ctx.step("k", red, 1), await ctx.step("k", red, 1), await ctx.step("u", red, Unknown)][
            :2
        ]

    async with make_app(same, strict=True) as durable:
        assert await durable.outcome(same) == ["red1", "red1"]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("change", ["function", "arguments"])
async def test_reuse_is_noticed_on_replay_too(make_store, strict, change):
    clock, executed = VirtualClock(), []

    @job
    async def changing(ctx):
        executed.append(len(executed))
        again = len(executed) > 1
        fn, argument = (blue, 1) if again and change == "function" else (red, 1 + again)
        value = await ctx.step("k", fn, argument)
        await ctx.step("end", red)
        return value

    async with make_store() as store:
        async with app(store, changing, clock=clock, strict=strict) as first:
            first.die_at("save_step", "k")
            run = await first.trigger(changing)
            await clock.run(first.died.wait())
        await clock.jump("30s")
        async with app(store, changing, clock=clock, strict=strict) as second:
            run = await second.finished(run)
            warnings = [line.message for line in await second.logs(run.id)]
    if strict:
        assert (run.status, run.error["type"]) == ("FAILED", "KeyReused")
    else:
        assert (run.status, run.output) == ("COMPLETED", "red1")
        assert len(warnings) == (change == "function")


async def test_a_step_and_a_wait_cannot_share_a_key(make_app):
    @job
    async def mixed(ctx):
        caught = 0
        await ctx.step("s", red)
        await ctx.sleep("w", 1)
        for call in (ctx.sleep("s", 1), ctx.step("w", red)):
            try:
                await call
            except KeyReused:
                caught += 1
        return caught

    async with make_app(mixed) as durable:
        assert await durable.outcome(mixed) == 2


# Functions of all kinds, and their options.


class Adder:
    """Callable objects are step functions."""

    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, value: int) -> int:
        return value + self.by

    async def plus(self, value: int) -> int:
        return value + self.by


class AsyncAdder(Adder):
    async def __call__(self, value: int) -> int:
        return value + self.by


def sync_add(value: int, by: int) -> int:
    return value + by


async def async_add(value: int, by: int) -> int:
    return value + by


@pytest.mark.parametrize(
    "fn",
    [
        lambda value: value + 1,
        lambda value: async_add(value, 1),
        functools.partial(sync_add, by=1),
        functools.partial(async_add, by=1),
        functools.partial(functools.partial(async_add), by=1),
        Adder(1),
        AsyncAdder(1),
        Adder(1).plus,
        AsyncAdder(1).__call__,
        functools.partial(AsyncAdder(1)),
        functools.cache(functools.partial(sync_add, by=1)),
        (1).__add__,
    ],
    ids=range(12),
)
async def test_any_callable_can_be_a_step(make_app, fn):
    @job
    async def calling(ctx):
        return [await ctx.step("a", fn, 41), await ctx.step("a", fn, 0)]

    async with make_app(calling) as durable:
        assert await durable.outcome(calling) == [42, 42]


async def test_all_arguments_belong_to_the_function(make_app):
    async def everything(key, fn, *args, retry, timeout, title, **kwargs):
        return [key, fn, list(args), retry, timeout, title, kwargs]

    @job
    async def passing(ctx):
        return await ctx.step("k", everything, "key", "fn", 1, retry=2, timeout=3, title=4, options=5, self=6)

    async with make_app(passing) as durable:
        assert await durable.outcome(passing) == ["key", "fn", [1], 2, 3, 4, {"options": 5, "self": 6}]


@pytest.mark.parametrize("fn", [None, 1, "red", [red]])
async def test_what_is_not_a_function_is_refused(make_app, fn):
    @job
    async def calling(ctx):
        try:
            await ctx.step("k", fn)
        except InvalidOption as error:
            return str(error)

    async with make_app(calling) as durable:
        assert "'k'" in await durable.outcome(calling)


async def test_a_coroutine_that_a_lambda_makes_may_nest(make_app):
    async def inner() -> str:
        return "inner"

    async def outer() -> str:
        return await current().step("inner", inner)

    @job
    async def calling(ctx):
        return await ctx.step("outer", lambda: outer())

    async with make_app(calling) as durable:
        run = await durable.trigger(calling)
        assert await durable.result(run) == "inner"
        assert {row.path for row in await durable.steps(run.id)} == {"outer", "outer/inner"}


async def test_options_at_the_call_go_before_those_of_the_function(make_app):
    tally = Tally()

    @step(retry=Retry(max_attempts=2, min_delay="1s", jitter=False), title="by the function")
    async def failing(name: str) -> None:
        tally[name] += 1
        raise ValueError(name)

    @job
    async def options(ctx):
        for name, context in (
            ("own", ctx),
            ("title", ctx.options(title="by the call")),
            ("retry", ctx.options(retry=Retry(max_attempts=4, min_delay="1s"))),
            ("both", ctx.options(retry=Retry.NEVER).options(title="chained")),
        ):
            try:
                await context.step(name, failing, name)
            except (ValueError, StepFailed):
                continue

    async with make_app(options) as durable:
        run = await durable.trigger(options)
        await durable.result(run)
        titles = {row.path: row.title for row in await durable.steps(run.id)}
    assert tally == {"own": 2, "title": 2, "retry": 4, "both": 1}
    assert titles == {
        "own": "by the function", "title": "by the call", "retry": "by the function", "both": "chained",
    }  # fmt: skip


async def test_options_are_for_the_next_call_only(make_app):
    @job
    async def options(ctx):
        await ctx.options(title="one").step("a", red)
        await ctx.step("b", red)

    async with make_app(options) as durable:
        run = await durable.trigger(options)
        await durable.result(run)
        assert {row.path: row.title for row in await durable.steps(run.id)} == {"a": "one", "b": None}


@pytest.mark.parametrize(
    "options",
    [
        {"retry": 3},
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": math.nan},
        {"timeout": "5 parsecs"},
        {"title": 1},
    ],
)
async def test_wrong_options_are_named(make_app, options):
    @job
    async def wrong(ctx):
        try:
            ctx.options(**options)
        except InvalidOption as error:
            return error.option

    async with make_app(wrong) as durable:
        assert await durable.outcome(wrong) == next(iter(options))
    with pytest.raises(InvalidOption):
        step(**options)


# Sync functions.


async def test_a_sync_step_cannot_call_what_has_to_be_awaited(make_app):
    tally = Tally()

    @job
    async def sync(ctx):
        def blocking() -> list[str]:
            told = []
            for call in (
                lambda: current().step("inner", red),
                lambda: ctx.step("inner", red),
                lambda: ctx.map("inner", red, [1]).send(None),
                lambda: ctx.sleep("inner", 1).send(None),
            ):
                try:
                    call()
                except SyncStepError as error:
                    told.append(str(error))
            current().log.info("logs work")
            current().progress(1, 2)
            tally["blocking"] += 1
            return told

        return await ctx.step("blocking", blocking)

    async with make_app(sync) as durable:
        run = await durable.trigger(sync)
        told = await durable.result(run)
        assert [text.split()[0] for text in told] == ["ctx.step", "ctx.step", "ctx.map", "ctx.sleep"]
        assert [(line.path, line.message) for line in await durable.logs(run.id)] == [
            ("blocking", "logs work")
        ]
        assert (await durable.get_run(run.id)).progress == {"current": 1, "total": 2, "message": None}
    assert tally["blocking"] == 1


async def test_a_generator_function_is_no_value(make_app):
    def generate():
        yield 1

    @job(retry=Retry.NEVER)
    async def generating(ctx):
        await ctx.step("g", generate)

    async with make_app(generating) as durable:
        run = await durable.finished(await durable.trigger(generating))
        assert run.error["type"] == "NotSerializable"


async def test_stop_iteration_from_a_step_is_a_failure_like_another(make_app):
    def stop() -> None:
        next(iter(()))

    @job
    async def stopping(ctx):
        try:
            await ctx.step("s", stop)
        except Exception as error:
            return type(error).__name__

    async with make_app(stopping) as durable:
        assert await durable.outcome(stopping) in ("RuntimeError", "StepFailed")


# What a job and a step know.


async def test_current_is_the_context_of_the_run_that_executes_here(make_app):
    with pytest.raises(DurableError, match="current"):
        current()

    @job
    async def who(ctx, name: str):
        async def inner() -> str:
            return current().run.id

        assert current().run.id == ctx.run.id
        return [ctx.run.id, await ctx.step("inner", inner)]

    async with make_app(who) as durable:
        runs = [await durable.trigger(who, name) for name in "abc"]
        for run in runs:
            assert await durable.result(run) == [run.id, run.id]


async def test_the_facts_of_a_run(make_app):
    @job("facts", version="7", queue="slow", retry=Retry(max_attempts=2, min_delay="1s"))
    async def facts(ctx):
        if ctx.run.attempt == 1:
            raise ValueError("again")
        run = ctx.run
        return [
            run.id, run.job, run.version, run.attempt, run.queue, run.trigger, run.environment, run.tags,
            run.created_at, run.deadline, run.started_at,
        ]  # fmt: skip

    async with make_app(facts, environment="staging") as durable:
        created = durable.clock.now()
        run = await durable.trigger(facts, tags=["b", "a"], deadline=created + 3600, delay=5)
        assert await durable.result(run) == [
            run.id, "facts", "7", 2, "slow", {"kind": "api"}, "staging", ("a", "b"), created, created + 3600,
            created + 5,
        ]  # fmt: skip


# What is left behind.


@pytest.mark.live
async def test_a_step_that_is_still_in_flight_when_the_job_returns_is_cancelled_and_logged(make_store):
    tally = Tally()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            tally["cancelled"] += 1
            raise

    @job
    async def leaving(ctx):
        task = asyncio.ensure_future(ctx.step("left", slow))
        await ctx.step("one", red)
        tally["task"] = int(task.done())
        return "done"

    async with make_store() as store, app(store, leaving) as durable:
        run = await durable.trigger(leaving)
        assert await durable.result(run) == "done"
        assert [row.path for row in await durable.steps(run.id)] == ["one"]
        [line] = await durable.logs(run.id)
        assert line.level == "warning"
        assert "'left'" in line.message
    assert tally == {"cancelled": 1, "task": 0}


async def test_a_result_that_arrives_while_the_job_returns_is_stored(make_store):
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "after all"
        return "never"

    @job
    async def leaving(ctx):
        task = asyncio.ensure_future(ctx.step("left", stubborn))
        await ctx.step("one", red)
        return task.done()

    async with make_store() as store, app(store, leaving) as durable:
        run = await durable.trigger(leaving)
        assert await durable.result(run) is False
        assert {row.path: row.state for row in await durable.steps(run.id)} == {
            "one": "completed", "left": "completed",
        }  # fmt: skip


@pytest.mark.live
async def test_a_task_that_a_step_left_behind_cannot_call_the_context(make_store):
    told = []

    @job
    async def leaving(ctx):
        gate = asyncio.Event()

        async def child() -> None:
            await gate.wait()
            try:
                await ctx.step("late", red)
            except DurableError as error:
                told.append(str(error))

        async def parent() -> None:
            tasks.append(asyncio.ensure_future(child()))

        tasks = []
        await ctx.step("parent", parent)
        gate.set()
        await tasks[0]
        await ctx.step("end", red)

    async with make_store() as store, app(store, leaving) as durable:
        run = await durable.trigger(leaving)
        await durable.result(run)
        assert {row.path for row in await durable.steps(run.id)} == {"parent", "end"}
    assert len(told) == 1
    assert "'parent'" in told[0]


async def test_a_failed_run_names_the_step_and_its_error(make_app):
    async def fail() -> None:
        raise LookupError("nothing there")

    @job(retry=Retry.NEVER)
    async def failing(ctx):
        await ctx.step("find it", fail)

    async with make_app(failing) as durable:
        run = await durable.trigger(failing)
        with pytest.raises(RunFailed, match="nothing there") as caught:
            await durable.result(run)
    assert caught.value.status == "FAILED"
    assert caught.value.error["type"] == "LookupError"
    assert "fail" in caught.value.error["traceback"]
