"""What a run tells: stored events without a gap, live events, its log, progress and metadata."""

import asyncio
import json

import pytest

from durable_lite import InvalidOption, NotSerializable, Retry, TooLarge, current, job
from durable_lite.events import LIVE
from durable_lite.testing import VirtualClock
from tests.engine.apps import Tally, app, types_of
from tests.engine.values import Unknown


async def lines(durable, run) -> list[tuple[str, str]]:
    """The run log as (path, message)."""
    return [(line.path, line.message) for line in await durable.logs(run.id)]


# Stored events.


@pytest.mark.live
async def test_the_events_of_a_run_are_in_order(make_store):
    @job
    async def two(ctx):
        await ctx.step("one", asyncio.sleep, 0)
        await ctx.sleep("nap", "1m")
        await ctx.step("two", asyncio.sleep, 0)

    async with make_store() as store, app(store, two) as durable:
        run = await durable.trigger(two)
        await durable.result(run)
        events = await store.read_events(run.id, 0, 100)
        assert [event.type for event in events] == [
            "run.triggered", "run.claimed", "step.completed", "run.waiting", "run.claimed", "step.completed",
            "run.completed",
        ]  # fmt: skip
        assert [event.seq for event in events] == list(range(1, 8))
        assert [event.data["path"] for event in events if event.type == "step.completed"] == ["one", "two"]
        waiting = events[3].data
        assert waiting["waits"] == ["nap"]
        assert waiting["ready_at"] == pytest.approx(events[0].at + 60)
        assert [event.at for event in events] == sorted(event.at for event in events)
        # a step is told to have started after its run was claimed, and before it is completed
        assert [(event.type, event.data["path"]) for event in durable.heard("step.started")] == [
            ("step.started", "one"), ("step.started", "two"),
        ]  # fmt: skip
        assert all(event.type not in LIVE for event in events)


@job(retry=Retry(max_attempts=3, min_delay="10s", jitter=False))
async def eventful(ctx, counts: list[int]):
    """Everything at once; `counts` has the size of its gather."""

    async def outer(index: int) -> int:
        await current().sleep("nap", 1 + index % 3)
        return await current().step("inner", inner, index)

    async def inner(index: int) -> int:
        return index

    async def flaky() -> None:
        if ctx.run.attempt == 1:
            raise ValueError("first")

    total = sum(await asyncio.gather(*(ctx.step(f"o{index}", outer, index) for index in range(counts[0]))))
    try:
        await ctx.options(retry=Retry(max_attempts=2, min_delay="5s")).step("flaky", flaky)
    except ValueError:
        await ctx.step("comfort", inner, 0)
        raise
    return total + sum(await ctx.map("m", inner, counts))


async def test_the_sequence_has_no_gap_whatever_happens(make_store, always_replay):
    clock = VirtualClock()
    async with make_store() as store:
        async with app(store, eventful, clock=clock, always_replay=always_replay) as first:
            first.die_at("save_step", "o3/inner")
            run = await first.trigger(eventful, [8, 1, 2])
            await clock.run(first.died.wait())
        await clock.jump("30s")
        async with app(store, eventful, clock=clock, always_replay=always_replay) as second:
            await clock.advance(8)
            await second.cancel(run.id)
            await second.resume(run.id)
            assert await second.result(run) == 28 + 11
            events = await store.read_events(run.id, 0, 1000)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    completed = [event.data["path"] for event in events if event.type == "step.completed"]
    assert len(completed) == len(set(completed)) == 8 + 8 + 3 + 1 + (("comfort" in completed) - 0)
    types = [event.type for event in events]
    assert types[0] == "run.triggered"
    assert types[-1] == "run.completed"
    assert {"run.claimed", "run.stale", "run.resumed", "run.cancelled"} <= set(types)
    for index, event in enumerate(events):  # an inner step is told before the one around it
        if event.type == "step.completed" and event.data["path"].endswith("/inner"):
            around = event.data["path"].removesuffix("/inner")
            assert around in [later.data.get("path") for later in events[index:]]


async def test_a_reader_misses_nothing_and_sees_nothing_twice_wherever_it_reconnects(make_app):
    async with make_app(eventful) as durable:
        run = await durable.trigger(eventful, [3, 1])
        seen, after = [], 0

        async def read() -> None:
            nonlocal after
            while True:
                async for event in run.events(after=after):
                    seen.append(event)
                    after = event.seq
                    if len(seen) % 3 == 0:  # hangs up, and calls again
                        break
                else:
                    return

        reading = asyncio.ensure_future(read())
        await durable.result(run)
        await durable.clock.run(reading)
        stored = await durable.store.read_events(run.id, 0, 1000)
        assert seen == stored
        assert [event.seq for event in seen] == list(range(1, len(stored) + 1))
        for after in range(len(stored) + 1):
            assert [event async for event in run.events(after=after)] == stored[after:]
        for bad in (-1, 1.5, "1", None):
            with pytest.raises(InvalidOption):
                _ = [event async for event in run.events(after=bad)]


@pytest.mark.live
async def test_a_reader_in_another_process_hears_of_every_event_while_it_happens(make_store):
    clock, heard = VirtualClock(), []

    @job
    async def slow(ctx):
        for index in range(3):
            await ctx.step(f"s{index}", clock.sleep, 60)

    async with make_store(2) as (here, there):
        async with app(there, slow, clock=clock, worker=False) as other, app(here, slow, clock=clock):
            run = await other.trigger(slow)

            async def read() -> None:
                async for event in run.events():
                    heard.append((event.type, event.data.get("path")))

            await clock.run(read())
    assert heard == [
        ("run.triggered", None), ("run.claimed", None), ("step.completed", "s0"), ("step.completed", "s1"),
        ("step.completed", "s2"), ("run.completed", None),
    ]  # fmt: skip


async def test_the_events_of_a_resumed_run_go_on(make_app):
    @job(retry=Retry.NEVER)
    async def failing(ctx):
        if ctx.run.attempt == 1:
            raise ValueError

    async with make_app(failing) as durable:
        run = await durable.finished(await durable.trigger(failing))
        first = [event async for event in run.events()]
        assert first[-1].type == "run.failed"
        await durable.resume(run.id)
        await durable.result(run)
        rest = [event async for event in run.events(after=first[-1].seq)]
        assert rest[0].type == "run.resumed"
        assert rest[-1].type == "run.completed"
        assert rest[0].seq == first[-1].seq + 1


# Live events.


@pytest.mark.live
async def test_listeners_hear_what_is_not_stored(make_store):
    @job
    async def telling(ctx):
        async def step_of_two(tally=[]) -> None:  # noqa: B006  as people write
            tally.append(1)
            if len(tally) == 1:
                raise ValueError("once")

        ctx.log.info("hello", n=1)
        ctx.progress(1, 2, "half")
        ctx.metadata.set("rows", 3)
        await ctx.options(retry=Retry(max_attempts=2)).step("s", step_of_two)

    async with make_store() as store, app(store, telling) as durable:
        run = await durable.trigger(telling)
        await durable.result(run)
        assert all(event.seq is None and event.run_id == run.id for event in durable.told)
        assert [(event.type, event.data) for event in durable.told if event.type.startswith("run.")] == [
            ("run.log", {"level": "info", "message": "hello", "fields": {"n": 1}, "path": ""}),
            ("run.progress", {"current": 1, "total": 2, "message": "half"}),
            ("run.metadata", {"key": "rows"}),
        ]  # fmt: skip
        assert [event.data["failures"] for event in durable.heard("step.started")] == [0, 1]


async def test_a_listener_that_raises_or_rejects_does_not_break_the_run(make_app, caplog):
    tally, gate = Tally(), asyncio.Event()

    def angry(event) -> None:
        tally["angry"] += 1
        raise ValueError("angry")

    async def rejecting(event) -> None:
        tally["rejecting"] += 1
        raise ValueError("rejecting")

    async def slow(event) -> None:
        await gate.wait()
        tally["slow"] += 1

    def leaving(event) -> None:
        tally["leaving"] += 1
        forget()

    @job
    async def telling(ctx):
        for index in range(3):
            await ctx.step(f"s{index}", asyncio.sleep, 0)
        return "done"

    async with make_app(telling) as durable:
        for listener in (angry, rejecting, slow):
            durable.listen(listener)
        forget = durable.listen(leaving)
        assert await durable.outcome(telling) == "done"
        gate.set()
    assert tally["angry"] == tally["rejecting"] == tally["slow"] == 3
    assert tally["leaving"] == 1
    assert "a listener raised" in caplog.text
    assert "an async listener raised" in caplog.text


async def test_a_listener_may_steer_the_run_that_it_hears_of(make_store):
    @job
    async def telling(ctx):
        await ctx.step("one", asyncio.sleep, 0)
        await ctx.step("two", asyncio.Event().wait)

    async with make_store() as store, app(store, telling) as durable:

        async def cancel(event) -> None:
            if event.data.get("path") == "two":
                await durable.cancel(event.run_id)

        durable.listen(cancel)
        run = await durable.finished(await durable.trigger(telling))
        assert run.status == "CANCELLED"


# The log.


async def test_a_line_belongs_to_the_step_that_it_is_written_in(make_app):
    async def work(index: int) -> None:
        current().log.info(f"begin {index}")
        for _ in range(10 - index):
            await asyncio.sleep(0)
        await current().step("inner", inner, index)
        current().log.info(f"end {index}")

    async def inner(index: int) -> None:
        current().log.warning(f"inner {index}")

    def sync_work() -> None:
        current().log.debug("sync")

    @job
    async def logging(ctx):
        ctx.log.info("before")
        await asyncio.gather(*(ctx.step(f"s{index}", work, index) for index in range(10)))
        await ctx.map("m", inner, [77])
        await ctx.step("sync", sync_work)
        ctx.log.error("after", text="t", number=1.5, none=None, flag=True, other=[1, 2])

    async with make_app(logging) as durable:
        run = await durable.trigger(logging)
        await durable.result(run)
        logs = await durable.logs(run.id)
        told = [(line.path, line.message) for line in logs]
        for index in range(10):
            assert [message for path, message in told if path == f"s{index}"] == [
                f"begin {index}",
                f"end {index}",
            ]
            assert [message for path, message in told if path == f"s{index}/inner"] == [f"inner {index}"]
        assert [message for path, message in told if path == ""] == ["before", "after"]
        assert ("m/0", "inner 77") in told
        assert ("sync", "sync") in told
        assert len(told) == 10 * 3 + 4
        [after] = [line for line in logs if line.message == "after"]
        assert after.level == "error"
        assert json.loads(after.fields) == {
            "text": "t", "number": 1.5, "none": None, "flag": True, "other": "[1, 2]",
        }  # fmt: skip
        assert {line.level for line in logs} == {"debug", "info", "warning", "error"}


async def test_no_line_is_repeated_by_replays(make_app):
    async def work() -> None:
        current().log.info("in the step")
        await current().sleep("nap", "1m")
        current().log.info("after the nap")

    @job
    async def logging(ctx):
        for index in range(3):
            ctx.log.info(f"job {index}")
            ctx.log.info("the same text")
            await ctx.step(f"s{index}", work)
        ctx.log.info("end")

    async with make_app(logging) as durable:
        run = await durable.trigger(logging)
        await durable.result(run)
        told = await lines(durable, run)
        heard = [(event.data["path"], event.data["message"]) for event in durable.heard("run.log")]
    expected = [
        ("", "end"),
        *[("", f"job {index}") for index in range(3)],
        *[("", "the same text")] * 3,
        *[(f"s{index}", text) for index in range(3) for text in ("in the step", "after the nap")],
    ]
    assert sorted(told) == sorted(heard) == sorted(expected)


@pytest.mark.parametrize("crash_at", [3, 7, 12, 18])
async def test_no_line_is_repeated_or_lost_by_a_crash_but_those_since_the_last_beat(
    make_store, always_replay, crash_at
):
    clock = VirtualClock()

    async def work(index: int) -> None:
        current().log.info(f"begin {index}")
        await clock.sleep(4)
        current().log.info(f"end {index}")

    @job
    async def logging(ctx):
        for index in range(6):
            ctx.log.info(f"job {index}")
            await ctx.step(f"s{index}", work, index)

    async with make_store() as store:
        async with app(store, logging, clock=clock, always_replay=always_replay) as first:
            run = await first.trigger(logging)
            await clock.advance(crash_at)
            first.kill()
        before = {(line.path, line.message) for line in await store.read_logs(run.id)}
        await clock.jump("30s")
        async with app(store, logging, clock=clock, always_replay=always_replay) as second:
            await second.result(run)
            told = await lines(second, run)
    assert len(told) == len(set(told))
    assert before <= set(told)
    everything = {("", f"job {i}") for i in range(6)} | {
        (f"s{i}", f"{what} {i}") for i in range(6) for what in ("begin", "end")
    }
    lost = everything - set(told)
    assert len(lost) <= 3
    assert all(int(message.split()[1]) * 4 + 9 > crash_at for _, message in lost)  # of the last 5 s


@pytest.mark.parametrize("crash", [False, True])
async def test_each_try_of_a_step_has_its_lines(make_store, always_replay, crash):
    clock, tally = VirtualClock(), Tally()

    async def work() -> None:
        tally["try"] += 1
        number = tally["try"]
        current().log.info(f"try {number}")
        await current().step("inner", inner, number)
        if number < 3:
            raise ValueError("again")

    async def inner(number: int) -> None:
        current().log.info(f"inner of {number}")
        if number == 1:
            raise ValueError("inner")

    @job
    async def logging(ctx):
        retry = Retry(max_attempts=3, min_delay="1m", factor=1, jitter=False)
        await ctx.options(retry=retry).step("s", work)

    async with make_store() as store:
        async with app(store, logging, clock=clock, always_replay=always_replay) as first:
            run = await first.trigger(logging)
            await clock.advance(10)
            if crash:
                first.kill()
            else:
                await first.result(run)
        async with app(store, logging, clock=clock, always_replay=always_replay) as second:
            await second.result(run)
            told = await lines(second, run)
    assert told == [
        ("s", "try 1"), ("s/inner", "inner of 1"), ("s", "try 2"), ("s/inner", "inner of 2"), ("s", "try 3"),
    ]  # fmt: skip


async def test_each_attempt_of_a_run_has_its_lines(make_app):
    @job(retry=Retry(max_attempts=2, min_delay="1m"))
    async def logging(ctx):
        ctx.log.info("hello")
        await ctx.step("s", asyncio.sleep, 0)
        if ctx.run.attempt == 1:
            raise ValueError

    async with make_app(logging) as durable:
        run = await durable.trigger(logging)
        await durable.result(run)
        logs = await durable.logs(run.id)
    assert [(line.attempt, line.message) for line in logs] == [(1, "hello"), (2, "hello")]


async def test_the_log_is_stored_with_the_next_beat_wait_or_end(make_store):
    clock, gate = VirtualClock(), asyncio.Event()

    @job(retry=Retry.NEVER)
    async def logging(ctx):
        ctx.log.info("first")
        ctx.progress(1)
        ctx.metadata.set("k", 1)
        await ctx.step("gate", gate.wait)
        ctx.log.info("second")
        ctx.progress(2)
        ctx.metadata.set("k", 2)
        await ctx.sleep("nap", "1h")
        ctx.log.info("third")
        ctx.progress(3)
        ctx.metadata.set("k", 3)
        raise ValueError

    async def stored():
        row = await store.get_run(run.id)
        progress = None if row.progress is None else json.loads(row.progress)["current"]
        return [line.message for line in await store.read_logs(run.id)], progress, json.loads(row.metadata)

    async with make_store() as store, app(store, logging, clock=clock) as durable:
        run = await durable.trigger(logging)
        await clock.advance(4.9)
        assert await stored() == ([], None, {})
        await clock.advance(0.2)
        assert await stored() == (["first"], 1, {"k": 1})
        gate.set()
        await clock.advance(1)  # suspended
        assert await stored() == (["first", "second"], 2, {"k": 2})
        await clock.advance("2h")
        assert await stored() == (["first", "second", "third"], 3, {"k": 3})
        assert (await run.refresh()).status == "FAILED"


async def test_what_a_beat_could_not_store_is_stored_by_the_next(make_store):
    from durable_lite import StoreUnavailable

    clock, gate = VirtualClock(), asyncio.Event()

    @job
    async def logging(ctx):
        ctx.log.info("one")
        ctx.progress(1)
        ctx.metadata.set("k", "v")
        await ctx.step("gate", gate.wait)

    def down(number, verb, args) -> None:
        if verb == "beat":
            raise StoreUnavailable("locked")

    async with make_store() as store, app(store, logging, clock=clock) as durable:
        run = await durable.trigger(logging)
        durable.store.before = down
        await clock.advance(12)
        assert await store.read_logs(run.id) == []
        durable.store.before = lambda number, verb, args: None
        await clock.advance(6)
        assert [line.message for line in await store.read_logs(run.id)] == ["one"]
        row = await run.refresh()
        assert (row.progress["current"], row.metadata) == (1, {"k": "v"})
        assert [event.type for event in durable.heard("store.down", "store.up")] == ["store.down", "store.up"]
        gate.set()
        await durable.result(run)


@pytest.mark.parametrize(
    "message",
    [
        "\ud800",
        "nul \x00",
        "x" * 1_000_000,
        "",
        "line\nbreak",
        5,
        None,
        b"bytes",
        ValueError("v"),
        "\U0001f600",
    ],
    ids=range(10),
)
async def test_any_message_and_any_field_can_be_logged(make_app, message):
    @job
    async def logging(ctx):
        ctx.log.info(message, field=message, **{"odd name \ud800": 1, "": float("nan")})

    async with make_app(logging) as durable:
        run = await durable.trigger(logging)
        await durable.result(run)
        [line] = await durable.logs(run.id)
        assert len(line.message) <= 16_000
        assert line.message[:5] == str(message).encode("utf-8", "replace").decode()[:5]
        assert isinstance(json.loads(line.fields), dict)


async def test_a_warning_of_the_engine_is_said_once_in_a_run(make_app):
    async def red() -> None: ...
    async def blue() -> None: ...

    @job
    async def reusing(ctx):
        for _ in range(3):
            await ctx.step("k", red)
            await ctx.step("k", blue)
            await ctx.sleep(f"nap{_}", "1m")
        ctx.log.info("mine")

    async with make_app(reusing) as durable:
        run = await durable.trigger(reusing)
        await durable.result(run)
        logs = await durable.logs(run.id)
    assert [(line.level, line.path) for line in logs] == [("warning", ""), ("info", "")]


# Progress and metadata.


async def test_progress_is_seen_at_once_here_and_the_last_is_kept(make_app):
    @job
    async def working(ctx):
        for page in range(5):
            await ctx.step(f"p{page}", asyncio.sleep, 0)
            ctx.progress(page + 1, 5, f"page {page}")

    async with make_app(working) as durable:
        run = await durable.trigger(working)
        await durable.result(run)
        assert (await run.refresh()).progress == {"current": 5, "total": 5, "message": "page 4"}
        told = [event.data["current"] for event in durable.heard("run.progress")]
        assert told[-1] == 5
        assert set(told) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    "wrong",
    [(-1,), (float("nan"),), (float("inf"),), ("1",), (None,), (1, -1), (1, "2"), (1, 2, 3), (True,)],
    ids=str,
)
async def test_a_progress_that_cannot_be_one_is_refused(make_app, wrong):
    @job
    async def working(ctx):
        try:
            ctx.progress(*wrong)
        except InvalidOption as error:
            return error.option

    async with make_app(working) as durable:
        assert "progress" in await durable.outcome(working)


async def test_metadata_keeps_the_last_value_of_each_name(make_store, always_replay):
    clock = VirtualClock()

    @job
    async def telling(ctx):
        assert ctx.metadata.get("none", "default") == "default"
        ctx.metadata.set("rows", 1)
        ctx.metadata.set("shape", (1, {2}))
        await ctx.step("one", current_set, "from", "a step")
        await ctx.sleep("nap", "1m")
        ctx.metadata.set("rows", ctx.metadata.get("rows") + 1)
        await ctx.step("two", clock.sleep, 6)
        return [ctx.metadata.get("rows"), ctx.metadata.get("shape"), ctx.metadata.get("from")]

    async def current_set(name: str, value: str) -> None:
        current().metadata.set(name, value)

    async with make_store() as store:
        async with app(store, telling, clock=clock, always_replay=always_replay) as first:
            first.die_at("save_step", "two")
            run = await first.trigger(telling)
            await clock.run(first.died.wait())
        await clock.jump("30s")
        async with app(store, telling, clock=clock, always_replay=always_replay) as second:
            assert await second.result(run) == [2, (1, {2}), "a step"]
            assert set((await second.get_run(run.id)).metadata) == {"rows", "shape", "from"}


async def test_metadata_takes_what_a_step_returns_and_nothing_else(make_app):
    @job
    async def telling(ctx):
        refused = []
        for name, value in (("bad", Unknown()), ("", 1), (1, 1)):
            try:
                ctx.metadata.set(name, value)
            except (NotSerializable, InvalidOption) as error:
                refused.append(type(error).__name__)
        ctx.metadata.set("$", {"$": 1})
        return refused

    async with make_app(telling) as durable:
        run = await durable.trigger(telling)
        assert await durable.result(run) == ["NotSerializable", "InvalidOption", "InvalidOption"]
        assert (await run.refresh()).metadata == {"$": {"$": 1}}


async def test_what_is_told_belongs_to_the_right_run(make_app):
    @job
    async def telling(ctx, name: str):
        async def work() -> None:
            await asyncio.sleep(0)
            current().log.info(name)
            current().progress(len(name))

        await ctx.map("m", lambda _: work(), range(3))
        ctx.metadata.set("name", name)

    async with make_app(telling) as durable:
        runs = await durable.trigger_many(telling, ["a", "bb", "ccc"])
        for run, name in zip(runs, ("a", "bb", "ccc"), strict=True):
            await durable.result(run)
            await run.refresh()
            assert {line.message for line in await durable.logs(run.id)} == {name}
            assert (run.progress["current"], run.metadata) == (len(name), {"name": name})


async def test_events_of_all_runs_stay_apart(make_store):
    @job
    async def stepping(ctx, count: int):
        for index in range(count):
            await ctx.step(f"s{index}", asyncio.sleep, 0)

    async with make_store() as store, app(store, stepping) as durable:
        runs = await durable.trigger_many(stepping, [1, 2, 3])
        for count, run in enumerate(runs, 1):
            await durable.result(run)
            assert (await types_of(durable, run.id)).count("step.completed") == count
            assert {e.run_id for e in await store.read_events(run.id, 0, 100)} == {run.id}


async def test_what_a_run_tells_has_limits(make_app):
    """Metadata together take no more than a value; the rest is cut, for a log must not fail a job."""

    @job
    async def talks(ctx):
        ctx.progress(1, 2, "p" * 100_000)
        ctx.log.info("l" * 100_000, **{f"field{n}": "f" * 100_000 for n in range(100)})
        ctx.metadata.set("small", 1)
        ctx.metadata.set("a", "x" * 600)
        with pytest.raises(TooLarge, match="^metadata: 1,2"):
            ctx.metadata.set("b", "x" * 600)
        with pytest.raises(TooLarge, match="^metadata 'c': 2,002"):
            ctx.metadata.set("c", "x" * 2000)
        ctx.metadata.set("a", "y" * 900)
        return ctx.metadata.get("b", "nothing")

    async with make_app(talks, max_value_bytes=1000) as durable:
        run = await durable.trigger(talks)
        assert await durable.result(run) == "nothing"
        await run.refresh()
        assert run.metadata == {"small": 1, "a": "y" * 900}
        assert len(run.progress["message"]) == 16_000
        [line] = await durable.logs(run.id)
        assert len(line.message) == 16_000
        assert {name: len(text) for name, text in json.loads(line.fields).items()} == {
            f"field{n}": 16_000 for n in range(50)
        }


async def test_a_step_that_its_job_gives_up_is_told(make_store):
    clock = VirtualClock()

    async def takes(seconds: float) -> float:
        await clock.sleep(seconds)
        return seconds

    @job
    async def gives_up(ctx):
        slow = asyncio.create_task(ctx.step("slow", takes, 60))
        await asyncio.sleep(0)
        slow.cancel()
        await ctx.step("quick", takes, 1)
        await ctx.step("last", asyncio.Event().wait)

    async with make_store() as store, app(store, gives_up, clock=clock) as durable:
        run = await durable.trigger(gives_up)
        await clock.advance("10s")
        told = durable.heard("step.failed")
        assert {event.data["path"] for event in told} == {"slow"}  # once for each replay
        assert all(event.seq is None for event in told)
        assert told[0].data["error"]["type"] == "CancelledError"
        await durable.cancel(run.id)  # what the end of the run stops isn't told for each step
        await clock.settle()
        assert len(durable.heard("step.failed")) == len(told)


async def test_a_step_whose_output_cannot_be_stored_is_told(make_store):
    @job
    async def odd(ctx):
        try:
            await ctx.step("odd", Unknown)
        except NotSerializable:
            return "caught"

    async with make_store() as store, app(store, odd) as durable:
        run = await durable.trigger(odd)
        assert await durable.result(run) == "caught"
        told = durable.heard("step.failed")
        assert {(event.seq, event.data["path"], event.data["failures"]) for event in told} == {
            (None, "odd", 1)
        }
        assert "step.failed" not in await types_of(durable, run.id)
