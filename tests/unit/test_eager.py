"""Tasks that run up to their first wait before anybody else does."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging

import pytest

from durable_lite import eager

place = contextvars.ContextVar("place", default="outside")


def start(main):
    return eager.start(asyncio.get_running_loop(), main)


async def test_it_has_begun_when_start_returns():
    told = []

    async def main():
        told.append("begun")
        await asyncio.sleep(0)
        told.append("went on")
        return "done"

    task = start(main())
    assert told == ["begun"]
    assert await task == "done"
    assert told == ["begun", "went on"]


async def test_one_that_never_waits_has_a_result_all_the_same():
    async def main():
        return asyncio.current_task()

    task = start(main())
    assert await task is task


async def test_what_it_raises_is_raised_where_it_is_awaited():
    async def at_once():
        raise LookupError("at once")

    async def later():
        await asyncio.sleep(0)
        raise LookupError("later")

    for main, message in ((at_once, "at once"), (later, "later")):
        task = start(main())
        with pytest.raises(LookupError, match=message):
            await task


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_it_can_be_cancelled_from_the_start(turns):
    told = []

    async def main():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            told.append("ended")

    task = start(main())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == ["ended"]
    assert task.cancelled()


async def test_it_may_catch_its_cancellation():
    async def main():
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()
            await asyncio.sleep(0)
            return "went on"

    task = start(main())
    task.cancel()
    assert await task == "went on"


async def test_the_current_task_is_its_own_and_then_the_callers_again():
    seen = []

    async def main():
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    caller = asyncio.current_task()
    task = start(main())
    assert asyncio.current_task() is caller
    await task
    assert seen == [task, task]


async def test_its_context_is_a_copy():
    seen = []

    async def main():
        place.set("inside")
        await asyncio.sleep(0)
        seen.append(place.get())

    task = start(main())
    assert place.get() == "outside"
    await task
    assert seen == ["inside"]
    assert place.get() == "outside"


async def test_one_within_another():
    async def inner(name):
        await asyncio.sleep(0)
        return name

    async def outer():
        return await asyncio.gather(start(inner("a")), start(inner("b")))

    assert await start(outer()) == ["a", "b"]


@pytest.mark.parametrize("turns", [0, 2])
async def test_one_that_is_forgotten_while_it_waits_is_collected_quietly(turns, caplog):
    """asyncio itself complains of a pending task; nothing else does."""
    told = []

    async def main():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            told.append("ended")

    task = start(main())
    for _ in range(turns):
        await asyncio.sleep(0)
    if turns:
        with caplog.at_level(logging.CRITICAL):
            del task
            gc.collect()
        assert told == ["ended"]
    else:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
