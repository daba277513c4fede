"""The limits that docs/security.md promises are those that hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from durable_lite import (
    Context,
    Event,
    InvalidOption,
    InvalidPayload,
    NotSerializable,
    TooLarge,
    job,
)
from durable_lite.testing import Harness

TEXT = (Path(__file__).parents[2] / "docs" / "security.md").read_text("utf-8")


def number(words: str) -> int:
    """The first number in the line of the table that has these words; of MiB and KiB in bytes."""
    [line] = [line for line in TEXT.splitlines() if line.startswith("  |") and words in line]
    value, unit = re.findall(r"(\d[\d,]*) (\S+)", line)[0]
    return int(value.replace(",", "")) * {"MiB": 2**20, "KiB": 2**10}.get(unit, 1)


@job
async def says(ctx: Context, payload: Any) -> Any:
    return payload


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


VALUE, LEVELS = number("a payload, an output"), number("nesting of values")
KEY, NAME, TAGS = number("an idempotency"), number("names of jobs"), number("tags")


@pytest.mark.parametrize(
    ("error", "given", "right"),
    [
        (TooLarge, {"payload": "x" * (VALUE - 1)}, {"payload": "x" * (VALUE - 2)}),
        ((NotSerializable, InvalidPayload), {"payload": nested(LEVELS + 1)}, {"payload": nested(LEVELS - 1)}),
        (InvalidOption, {"idempotency_key": "x" * (KEY - 1)}, {"idempotency_key": "x" * (KEY - 2)}),
        (InvalidOption, {"concurrency_key": "x" * (KEY - 1)}, {"concurrency_key": "x" * (KEY - 2)}),
        (
            InvalidOption,
            {"debounce_key": "x" * (KEY - 1), "debounce_delay": 1},
            {"debounce_key": "x" * (KEY - 2), "debounce_delay": 1},
        ),
        (InvalidOption, {"queue": "x" * (NAME + 1)}, {"queue": "x" * NAME}),
        (
            InvalidOption,
            {"tags": [f"{n}" for n in range(TAGS + 1)]},
            {"tags": [f"{n}" for n in range(TAGS)]},
        ),
        (InvalidOption, {"tags": ["x" * 201]}, {"tags": ["x" * 200]}),
    ],
    ids=["size", "nesting", "idempotency", "concurrency", "debounce", "queue", "many tags", "a long tag"],
)
async def test_of_a_trigger(error, given, right):
    async with Harness([says]) as harness:
        with pytest.raises(error):
            await harness.trigger(says, **given)
        assert await harness.result(await harness.trigger(says, **right)) == right.get("payload")


async def test_of_a_steps_key():
    most = number("a step's key")

    @job
    async def steps(ctx: Context) -> int:
        with pytest.raises(InvalidOption, match=f"at most {most}"):
            await ctx.step("x" * (most + 1), len, "")
        return await ctx.step("x" * most, len, "abc")

    async with Harness([steps]) as harness:
        assert await harness.result(await harness.trigger(steps)) == 3


def test_of_a_filter():
    with pytest.raises(InvalidOption):
        Event("paid", match={"org": "x" * number("a filter of events")})


async def test_of_events():
    async with Harness([]) as harness:
        with pytest.raises(TooLarge):
            await harness.app.send_event("paid", "x" * VALUE)
        with pytest.raises(InvalidOption):
            await harness.app.send_event("paid", 1, id="x" * (KEY + 1))
        assert (await harness.app.send_event("paid", 1, id="x" * KEY)).fresh


async def test_of_errors():
    @job
    async def fails(ctx: Context) -> None:
        raise ValueError("x" * 5000)

    async with Harness([fails]) as harness:
        run = await harness.ended(await harness.trigger(fails))
        assert len(run.error["message"]) == number("a stored error")
