"""Every option of everything: what it can't be is refused by name, before anything is done."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import pytest

from durable_lite import Durable, InvalidOption, Retry, job
from durable_lite.stores.memory import MemoryStore
from durable_lite.testing import VirtualClock
from tests.engine.support import Process, forever

DURATIONS = [
    -1,
    -0.5,
    math.nan,
    math.inf,
    -math.inf,
    1e300,
    "",
    "5",
    "5 s",
    "5parsecs",
    "-5s",
    "s",
    "1.5.2s",
    "nan",
    None,
    True,
    [],
    {},
    b"5s",
    timedelta(seconds=-1),
    datetime(2026, 1, 1),
    1j,
    object(),
]
NO_COUNTS = [-1, 1.5, 2.0, math.nan, math.inf, "3", None, True, [], 1j]


def wrong(values, *also, allowing=()):
    return [value for value in [*values, *also] if not any(value is ok for ok in allowing)]


DURABLE = {
    "heartbeat_interval": wrong(DURATIONS, 0, "0s"),
    "stale_after": wrong(DURATIONS, 0, "0s", "9s"),
    "stop_timeout": wrong(DURATIONS),
    "suspend_grace": wrong(DURATIONS),
    "concurrency": wrong(NO_COUNTS, 0),
    "warm_runs": wrong(NO_COUNTS),
    "max_value_bytes": wrong(NO_COUNTS, 0),
    "environment": [1, b"prod", ["prod"]],
    "jobs": ["jobs", 1, [1], forever, [lambda ctx: None]],
}
JOB = {
    "retry": [3, "3", {"max_attempts": 3}, Retry],
    "queue": ["", None, 1, "a\nb", "x" * 201],
    "version": ["", 1, 1.0, "a\nb"],
    "max_duration": wrong(DURATIONS, 0, "0s", allowing=[None]),
    "max_recoveries": wrong(NO_COUNTS),
}
RETRY = {
    "max_attempts": wrong(NO_COUNTS, 0),
    "factor": [0, 0.99, -1, math.nan, math.inf, "2", None, True, []],
    "min_delay": wrong(DURATIONS, 0, "0s"),
    "max_delay": wrong(DURATIONS, 0, "0s"),
    "jitter": [0, 1, "yes", None, 0.5],
    "children": [0, 1, "yes", None],
}
MOMENTS = [
    math.nan,
    math.inf,
    -math.inf,
    1e300,
    "tomorrow",
    "2026-01-01",
    datetime(2026, 1, 1),
    [],
    True,
    b"",
]
TRIGGER = {
    "delay": wrong(DURATIONS, allowing=[None]),
    "priority": [1.5, math.nan, math.inf, "high", None, True, 2**31, -(2**31), []],
    "queue": [1, "a\nb", "x" * 201],
    "tags": ["tag", [1], [""], [None], ["a\nb"], 5, ["x" * 201], [f"{n}" for n in range(51)]],
    "max_duration": wrong(DURATIONS, 0, "0s", allowing=[None]),
    "deadline": wrong(MOMENTS),
    "scope": ["run", "attempt", "everywhere", None, 1],
    "idempotency_ttl": wrong(DURATIONS, 0, "0s", allowing=[None]),
}


def cases(table):
    return [
        pytest.param(option, bad, id=f"{option}-{number}-{type(bad).__name__}")
        for option, values in table.items()
        for number, bad in enumerate(values)
    ]


def named(error: InvalidOption, option: str) -> None:
    assert option in error.option
    assert str(error).startswith(error.option)
    assert len(str(error)) < 400


@pytest.mark.parametrize(("option", "bad"), cases(DURABLE))
def test_options_of_durable(option, bad):
    with pytest.raises(InvalidOption) as caught:
        Durable(MemoryStore(), **{option: bad})
    named(caught.value, option)


@pytest.mark.parametrize("store", ["nowhere", "", "mysql:db", "://", 5, None, b"memory:", ["memory:"]])
def test_the_store_of_durable(store):
    with pytest.raises(InvalidOption) as caught:
        Durable(store)
    named(caught.value, "store")


@pytest.mark.parametrize("durability", ["", "STRICT", "none", None, True, 1])
def test_the_durability_of_durable(durability, tmp_path):
    with pytest.raises(InvalidOption) as caught:
        Durable(f"sqlite:{tmp_path}/durable.db", durability=durability)
    named(caught.value, "durability")


@pytest.mark.parametrize("option", ["worker", "strict", "always_replay"])
@pytest.mark.parametrize("bad", [0, 1, "no", None, []])
def test_the_flags_of_durable(option, bad):
    with pytest.raises(InvalidOption) as caught:
        Durable(MemoryStore(), **{option: bad})
    named(caught.value, option)


@pytest.mark.parametrize(("option", "bad"), cases(JOB))
def test_options_of_a_job(option, bad):
    with pytest.raises(InvalidOption) as caught:

        @job(**{option: bad})
        async def unfit(ctx):
            pass

    named(caught.value, option)
    assert "unfit" in str(caught.value)


def test_an_option_that_a_job_does_not_have():
    with pytest.raises((InvalidOption, TypeError), match="retries"):

        @job(retries=3)
        async def unfit(ctx):
            pass


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", 1, b"name"])
def test_the_name_of_a_job(name):
    with pytest.raises(InvalidOption) as caught:

        @job(name)
        async def unfit(ctx):
            pass

    named(caught.value, "name of a job")


@pytest.mark.parametrize(("option", "bad"), cases(RETRY))
def test_options_of_retry(option, bad):
    with pytest.raises(InvalidOption) as caught:
        Retry(**{option: bad})
    named(caught.value, option)


@pytest.mark.parametrize(("option", "bad"), cases(TRIGGER))
async def test_options_of_a_trigger(option, bad):
    @job
    async def works(ctx):
        return 1

    async with Process(MemoryStore(), VirtualClock(), works, worker=False) as process:
        key = {"idempotency_key": "key"} if option in ("idempotency_ttl", "scope") else {}
        with pytest.raises(InvalidOption) as caught:
            await process.trigger(works, **key, **{option: bad})
        named(caught.value, option)
        with pytest.raises(InvalidOption) as caught:
            await process.trigger_many(works, [None], **{option: bad})
        named(caught.value, option)
        assert (await process.list_runs()).runs == []
        assert "create_runs" not in process.verbs


async def test_an_option_that_a_trigger_does_not_have():
    @job
    async def works(ctx):
        return 1

    async with Process(MemoryStore(), VirtualClock(), works, worker=False) as process:
        with pytest.raises((InvalidOption, TypeError), match="prioriy"):
            await process.trigger(works, prioriy=3)
        assert "create_runs" not in process.verbs


CALLS = {
    "sleep": ("sleep 'k'", wrong(DURATIONS), lambda ctx, bad: ctx.sleep("k", bad)),
    "sleep_until": ("sleep_until 'k'", [*MOMENTS, None], lambda ctx, bad: ctx.sleep_until("k", bad)),
    "map limit": ("limit", wrong(NO_COUNTS, 0), lambda ctx, bad: ctx.map("k", forever, [1], limit=bad)),
    "map nothing": ("limit", wrong(NO_COUNTS, 0), lambda ctx, bad: ctx.map("k", forever, [], limit=bad)),
    "map by": ("by", [lambda item: "same"], lambda ctx, bad: ctx.map("k", forever, [1, 2], by=bad)),
    "timeout": (
        "timeout",
        wrong(DURATIONS, 0, "0s", allowing=[None]),
        lambda ctx, bad: ctx.options(timeout=bad),
    ),
    "retry": ("retry", [3, "3", Retry, []], lambda ctx, bad: ctx.options(retry=bad)),
    "title": ("title", [3, b"", [], True], lambda ctx, bad: ctx.options(title=bad)),
    "step": ("step 'k'", [None, 3, "fn", []], lambda ctx, bad: ctx.step("k", bad)),
    "current": (
        "progress(current)",
        [-1, math.nan, math.inf, "5", None, True],
        lambda ctx, bad: ctx.progress(bad),
    ),
    "total": ("progress(total)", [-1, math.nan, math.inf, "5", True], lambda ctx, bad: ctx.progress(1, bad)),
    "message": ("progress(message)", [5, b"", []], lambda ctx, bad: ctx.progress(1, 2, bad)),
    "metadata": ("metadata key", [5, b"", [], "", None], lambda ctx, bad: ctx.metadata.set(bad, 1)),
    "key of a step": ("key", ["", "a\nb", "x" * 513, 5, None, b"k"], lambda ctx, bad: ctx.step(bad, forever)),
    "key of a sleep": ("key", ["", "a\nb", "x" * 513, 5, None, b"k"], lambda ctx, bad: ctx.sleep(bad, 1)),
    "key of a map": (
        "key",
        ["", "a\nb", "x" * 513, 5, None, b"k"],
        lambda ctx, bad: ctx.map(bad, forever, [1]),
    ),
}


@pytest.mark.parametrize("call", CALLS)
async def test_options_of_the_calls_of_a_context(call):
    option, values, make = CALLS[call]
    seen = []

    @job(retry=Retry.NEVER)
    async def tries(ctx):
        for bad in values:
            try:
                waiting = make(ctx, bad)
                if waiting is not None:
                    await waiting
            except InvalidOption as error:
                seen.append((bad, error))
            else:
                seen.append((bad, None))

    async with Process(MemoryStore(), VirtualClock(), tries) as process:
        run = await process.trigger(tries)
        await process.finished(run)
        assert len(seen) == len(values)
        assert [bad for bad, error in seen if error is None] == []
        for _, error in seen:
            named(error, option)
        assert await process.steps(run.id) == []


@pytest.mark.parametrize(
    ("option", "values", "call"),
    [
        (
            "timeout",
            wrong(DURATIONS, 0, "0s", allowing=[None]),
            lambda app, run, bad: run.result(timeout=bad),
        ),
        ("timeout", wrong(DURATIONS, allowing=[None]), lambda app, run, bad: app.stop(bad)),
        ("budget", wrong(DURATIONS, 0, "0s", allowing=[None]), lambda app, run, bad: app.run_until_idle(bad)),
        ("limit", wrong(NO_COUNTS, 0), lambda app, run, bad: app.list_runs(limit=bad)),
        (
            "status",
            ["DONE", "pending", ["COMPLETED", "x"], [1]],
            lambda app, run, bad: app.list_runs(status=bad),
        ),
        ("cursor", ["x", ":", "a:b", "1750000000.0"], lambda app, run, bad: app.list_runs(cursor=bad)),
        ("created_after", wrong(MOMENTS), lambda app, run, bad: app.list_runs(created_after=bad)),
        ("created_before", wrong(MOMENTS), lambda app, run, bad: app.list_runs(created_before=bad)),
        ("older_than", wrong(DURATIONS), lambda app, run, bad: app.purge(older_than=bad)),
        ("limit", wrong(NO_COUNTS, 0), lambda app, run, bad: app.purge(older_than=1, limit=bad)),
        ("after", wrong(NO_COUNTS), lambda app, run, bad: anext(run.events(after=bad))),
    ],
    ids=[
        "result",
        "stop",
        "run_until_idle",
        "list-limit",
        "status",
        "cursor",
        "after",
        "before",
        "purge",
        "purge-limit",
        "events",
    ],
)
async def test_options_of_what_an_application_calls(option, values, call):
    @job
    async def works(ctx):
        return 1

    async with Process(MemoryStore(), VirtualClock(), works, worker=False) as process:
        run = await process.trigger(works)
        accepted = []
        for bad in values:
            try:
                await call(process, run, bad)
            except InvalidOption as error:
                named(error, option)
            else:
                accepted.append(bad)
        assert accepted == []
