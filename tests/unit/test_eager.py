"""Tasks that run up to their first wait before anybody else does."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging

import pytest

from durable_lite import eager

place = contextvars.ContextVar("place", default="outside")


@contextlib.asynccontextmanager
async def starter():
    tasks = eager.EagerTasks()
    try:
        yield tasks.start
    finally:
        await tasks.close()


async def test_it_has_begun_when_start_returns():
    async with starter() as start:
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


async def test_one_that_never_waits_has_had_a_task_of_its_own():
    async with starter() as start:
        seen = []

        async def main():
            seen.append(asyncio.current_task())

        assert start(main()) is None
        assert seen[0] not in (None, asyncio.current_task())
        await asyncio.gather(*seen, return_exceptions=True)


async def test_a_task_that_somebody_holds_on_to_serves_no_other():
    seen = []

    async def main():
        seen.append(asyncio.current_task())

    tasks = eager.EagerTasks()
    for _ in range(3):
        tasks.start(main())
    await tasks.close()
    await asyncio.gather(*seen, return_exceptions=True)
    assert len({id(task) for task in seen}) == 3


async def test_it_works_on_when_somebody_cancels_its_tasks():
    async def leaf():
        pass

    before = asyncio.all_tasks()
    async with starter() as start:
        for turns in (0, 1, 2):
            assert start(leaf()) is None
            for task in asyncio.all_tasks() - before:
                task.cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
            assert start(leaf()) is None


async def test_a_task_that_was_cancelled_serves_no_other():
    async def first():
        asyncio.current_task().cancel()

    async def second():
        await asyncio.sleep(0)
        return "done"

    tasks = eager.EagerTasks()
    assert tasks.start(first()) is None
    assert await tasks.start(second()) == "done"
    await tasks.close()


async def test_what_is_kept_goes_when_it_is_closed():
    async def leaf():
        pass

    async def outer():
        for _ in range(3):
            tasks.start(leaf())

    before, tasks = asyncio.all_tasks(), eager.EagerTasks()
    tasks.start(outer())
    await tasks.close()
    assert asyncio.all_tasks() == before


async def test_a_cancellation_ends_it():
    async with starter() as start:

        async def main():
            raise asyncio.CancelledError

        assert start(main()) is None


async def test_what_it_raises_is_raised_where_it_is_awaited():
    async with starter() as start:

        async def at_once():
            raise LookupError("at once")

        async def later():
            await asyncio.sleep(0)
            raise LookupError("later")

        with pytest.raises(LookupError, match="at once"):
            start(at_once())
        with pytest.raises(LookupError, match="later"):
            await start(later())


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_it_can_be_cancelled_from_the_start(turns):
    async with starter() as start:
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
    async with starter() as start:

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
    async with starter() as start:
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
    async with starter() as start:
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
    async with starter() as start:

        async def inner(name):
            await asyncio.sleep(0)
            return name

        async def outer():
            return await asyncio.gather(start(inner("a")), start(inner("b")))

        assert await start(outer()) == ["a", "b"]


@pytest.mark.parametrize("turns", [0, 2])
async def test_one_that_is_forgotten_while_it_waits_is_collected_quietly(turns, caplog):
    """asyncio itself complains of a pending task; nothing else does."""
    async with starter() as start:
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


async def test_many_that_never_wait_need_no_more_tasks_than_they_nest():
    made, loop = [], asyncio.get_running_loop()

    def make(loop, main, **options):
        made.append(main)
        return asyncio.Task(main, loop=loop, **options)

    async def leaf():
        pass

    async with starter() as start:

        async def outer():
            start(leaf())
            start(leaf())

        before = loop.get_task_factory()
        loop.set_task_factory(make)
        try:
            for _ in range(50):
                start(outer())
        finally:
            loop.set_task_factory(before)
    assert len(made) <= 2
