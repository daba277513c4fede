"""Finding the plain awaits of a job: each is named by the line of user code, and ours are no such."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager

import pytest

from durable_lite.plain import plain_awaits


@asynccontextmanager
async def running(main):
    """A task that has come to where it waits."""
    task = asyncio.ensure_future(main)
    for _ in range(10):
        await asyncio.sleep(0)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def future():
    return asyncio.get_running_loop().create_future()


def here(offset=0):
    frame = sys._getframe(1)
    return f"{__file__}:{frame.f_lineno + offset} in {frame.f_code.co_name}"


async def waits_for(one):
    return await one


async def test_a_task_that_awaits_one_of_ours_is_not_named():
    ours = future()
    async with running(waits_for(ours)) as task:
        assert plain_awaits(task, [ours]) == []


async def test_one_that_awaits_something_else_is_named_by_file_and_line():
    places = []

    async def job():
        places.append(here(1))
        await future()

    async with running(job()) as task:
        assert plain_awaits(task, []) == places
        assert plain_awaits(task, [future()]) == places


async def test_the_outermost_line_is_named_not_what_it_calls():
    places = []

    async def job():
        places.append(here(1))
        await waits_for(waits_for(future()))

    async with running(job()) as task:
        assert plain_awaits(task, []) == places


async def test_a_sleep_is_named_where_it_is_awaited_not_inside_asyncio():
    places = []

    async def job():
        places.append(here(1))
        await asyncio.sleep(3600)

    async with running(job()) as task:
        assert plain_awaits(task, []) == places


async def test_what_a_task_awaits_is_followed_into_other_tasks():
    ours, places = future(), []

    async def inner():
        places.append(here(1))
        await future()

    async def job(child):
        await asyncio.ensure_future(child)

    async with running(job(waits_for(ours))) as task:
        assert plain_awaits(task, [ours]) == []
    async with running(job(inner())) as task:
        assert plain_awaits(task, [ours]) == places


async def test_each_branch_of_a_gather():
    ours, places = [future(), future()], []

    async def plain():
        places.append(here(1))
        await future()

    async def job(*branches):
        await asyncio.gather(*branches)

    async with running(job(waits_for(ours[0]), ours[1])) as task:
        assert plain_awaits(task, ours) == []
    ours = [future()]
    async with running(job(waits_for(ours[0]), plain(), asyncio.sleep(0), plain())) as task:
        assert sorted(plain_awaits(task, ours)) == sorted(places)
        assert len(places) == 2


async def test_each_child_of_a_task_group():
    ours, places = future(), []

    async def plain():
        places.append(here(1))
        await future()

    async def job(*children):
        async with asyncio.TaskGroup() as group:
            for child in children:
                group.create_task(child)

    async with running(job(waits_for(ours))) as task:
        assert plain_awaits(task, [ours]) == []
    async with running(job(waits_for(ours := future()), plain())) as task:
        assert plain_awaits(task, [ours]) == places


async def test_groups_within_gathers_within_groups():
    ours, places = future(), []

    async def plain():
        places.append(here(1))
        await future()

    async def group(*children):
        async with asyncio.TaskGroup() as inner:
            for child in children:
                inner.create_task(child)

    async def gather(*children):
        await asyncio.gather(*children)

    async with running(group(gather(group(waits_for(ours), plain())), waits_for(ours))) as task:
        assert plain_awaits(task, [ours]) == places


async def test_one_task_awaited_twice_is_named_once():
    async def job():
        one = asyncio.ensure_future(future())
        await asyncio.gather(waits_for(one), waits_for(one), asyncio.ensure_future(waits_for(one)))

    async with running(job()) as task:
        assert len(plain_awaits(task, [])) == 3  # each where it stands


@pytest.mark.parametrize("state", ["done", "not begun"])
async def test_a_task_that_does_not_stand_anywhere(state):
    task = asyncio.ensure_future(waits_for(asyncio.sleep(0)))
    if state == "done":
        await task
        assert plain_awaits(task, []) == []
    else:
        assert len(plain_awaits(task, [])) <= 1
        await task
