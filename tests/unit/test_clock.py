"""The virtual clock: time passes when told, timer by timer, or all at once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from durable_lite import InvalidOption
from durable_lite.testing import VirtualClock


async def test_it_stands_still():
    clock = VirtualClock(1000.0)
    await asyncio.sleep(0)
    await clock.settle()
    assert (clock.now(), clock.monotonic()) == (1000.0, 0.0)


@pytest.mark.parametrize("duration", [90, "1m30s", timedelta(seconds=90)])
async def test_advance_moves_both_clocks(duration):
    clock = VirtualClock(1000.0)
    await clock.advance(duration)
    assert (clock.now(), clock.monotonic()) == (1090.0, 90.0)


@pytest.mark.parametrize("lever", ["advance", "jump", "set_back"])
@pytest.mark.parametrize("bad", [-1, "x", None, float("nan")])
async def test_a_wrong_duration_is_named(lever, bad):
    clock = VirtualClock()
    with pytest.raises(InvalidOption, match=lever):
        await asyncio.ensure_future(_call(clock, lever, bad))


async def _call(clock, lever, value):
    answer = getattr(clock, lever)(value)
    if answer is not None:
        await answer


async def test_timers_fire_in_order_each_at_its_time():
    clock, fired = VirtualClock(), []
    for seconds in (3, 1, 2, 1):
        clock.call_later(seconds, lambda seconds=seconds: fired.append((seconds, clock.monotonic())))
    await clock.advance(2.5)
    assert fired == [(1, 1.0), (1, 1.0), (2, 2.0)]
    assert clock.monotonic() == 2.5
    await clock.advance(10)
    assert fired[3:] == [(3, 3.0)]


async def test_what_follows_from_a_timer_happens_before_the_next():
    clock, told = VirtualClock(), []

    async def sleeper(name, seconds):
        await clock.sleep(seconds)
        for _ in range(20):
            await asyncio.sleep(0)
        told.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("later", 2))
        group.create_task(sleeper("sooner", 1))
        await clock.advance(5)
    assert told == [("sooner", 1.0), ("later", 2.0)]


async def test_a_timer_set_by_a_timer_fires_within_the_same_advance():
    clock, fired = VirtualClock(), []

    def again():
        fired.append(clock.monotonic())
        if len(fired) < 5:
            clock.call_later(1, again)

    clock.call_later(1, again)
    await clock.advance(10)
    assert fired == [1.0, 2.0, 3.0, 4.0, 5.0]


async def test_a_cancelled_timer_does_not_fire():
    clock, fired = VirtualClock(), []
    timer = clock.call_later(1, lambda: fired.append(True))
    timer.cancel()
    timer.cancel()
    await clock.advance(2)
    assert fired == []


async def test_a_timer_may_cancel_another_that_is_due_with_it():
    clock, fired = VirtualClock(), []
    clock.call_later(1, lambda: other.cancel())
    other = clock.call_later(1, lambda: fired.append(True))
    await clock.advance(2)
    assert fired == []


async def test_a_jump_fires_all_that_is_due_at_the_end():
    clock, fired = VirtualClock(), []
    for seconds in (2, 1):
        clock.call_later(seconds, lambda seconds=seconds: fired.append((seconds, clock.monotonic())))
    clock.call_later(11, lambda: fired.append("not due"))
    await clock.jump(10)
    assert fired == [(1, 10.0), (2, 10.0)]
    assert clock.now() == VirtualClock().now() + 10


async def test_in_a_jump_a_timer_that_is_set_again_is_due_later():
    clock, fired = VirtualClock(), []

    def again():
        fired.append(clock.monotonic())
        clock.call_later(1, again)

    clock.call_later(1, again)
    await clock.jump(10)
    assert fired == [10.0]
    await clock.advance(1)
    assert fired == [10.0, 11.0]


async def test_a_jump_may_leave_the_monotonic_clock_behind():
    clock, fired = VirtualClock(1000.0), []
    clock.call_later(5, lambda: fired.append(True))
    await clock.jump("1h", monotonic=False)
    assert (clock.now(), clock.monotonic()) == (4600.0, 0.0)
    assert fired == []
    await clock.advance(5)
    assert fired == [True]


async def test_the_wall_clock_can_be_set_back():
    clock = VirtualClock(1000.0)
    clock.set_back(100)
    assert (clock.now(), clock.monotonic()) == (900.0, 0.0)


async def test_run_moves_on_only_when_nothing_else_happens():
    clock = VirtualClock(1000.0)

    async def main():
        for _ in range(50):
            await asyncio.sleep(0)
        assert clock.monotonic() == 0
        await clock.sleep(5)
        await clock.sleep("not a duration" and 3600)
        return clock.monotonic()

    assert await clock.run(main()) == 3605.0


async def test_run_returns_at_once_what_is_there():
    clock = VirtualClock()
    clock.call_later(5, lambda: None)

    async def main():
        return 42

    assert await clock.run(main()) == 42
    assert clock.monotonic() == 0


async def test_run_raises_what_is_raised():
    async def main():
        raise LookupError("seen")

    with pytest.raises(LookupError, match="seen"):
        await VirtualClock().run(main())


async def test_run_waits_for_what_no_clock_can_hurry():
    clock, loop = VirtualClock(), asyncio.get_running_loop()
    outside = loop.create_future()
    loop.call_later(0.002, outside.set_result, "from outside")
    assert await clock.run(outside) == "from outside"
    assert clock.monotonic() == 0


async def test_run_that_is_cancelled_leaves_no_task():
    clock, ended = VirtualClock(), []

    async def main():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    running = asyncio.ensure_future(clock.run(main()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await asyncio.sleep(0)
    assert ended == [True]


async def test_a_sleep_that_is_cancelled_leaves_no_timer():
    clock = VirtualClock()
    sleeping = asyncio.ensure_future(clock.sleep(100))
    await clock.settle()
    sleeping.cancel()
    await asyncio.gather(sleeping, return_exceptions=True)
    assert clock._next_due() is None


@pytest.mark.parametrize("seconds", [0, -5])
async def test_a_timer_for_now_fires_at_the_next_move(seconds):
    clock, fired = VirtualClock(), []
    clock.call_later(seconds, lambda: fired.append(clock.monotonic()))
    assert fired == []
    await clock.advance(0)
    assert fired == [0.0]


async def test_settle_lets_chains_of_tasks_come_to_rest():
    clock, rested = VirtualClock(), []

    async def chain(depth):
        if depth:
            await asyncio.ensure_future(chain(depth - 1))
        else:
            rested.append(clock.now())  # the clock's own uses are what is seen of a loop that can't be
        return depth

    asyncio.ensure_future(chain(15)).add_done_callback(rested.append)
    await clock.settle()
    assert len(rested) == 2
