"""The tests' own harness: async tests are run, fail when they fail, and own the tasks that they start."""

import asyncio

import pytest

from tests.harness import LeakedTasks, run


async def test_async_tests_run_in_a_loop(tmp_path):
    await asyncio.sleep(0)
    assert asyncio.current_task() is not None
    assert tmp_path.is_dir()


def test_a_failing_async_test_fails(request, monkeypatch):
    async def fails(**_fixtures):
        await asyncio.sleep(0)
        raise LookupError("seen")

    monkeypatch.setattr(request.node, "obj", fails)
    with pytest.raises(LookupError, match="seen"):
        request.node.ihook.pytest_pyfunc_call(pyfuncitem=request.node)


def test_a_result_is_handed_back():
    async def answer():
        return 42

    assert run(answer()) == 42


def test_a_task_left_behind_is_named_and_cancelled():
    ended = []

    async def forgotten():
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(True)

    async def leaks():
        leaks.task = asyncio.create_task(forgotten(), name="lost one")
        await asyncio.sleep(0)

    with pytest.raises(LeakedTasks, match=r"1 left behind: lost one \(.*forgotten\)"):
        run(leaks())
    assert ended == [True]


def test_a_failure_is_not_hidden_by_a_leak():
    async def fails():
        fails.task = asyncio.create_task(asyncio.sleep(3600))
        raise LookupError("first")

    with pytest.raises(LookupError, match="first"):
        run(fails())
    assert fails.task.cancelled()


async def test_tasks_that_have_ended_are_no_leak():
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0))
