"""Awake time: what passes while the machine works, with every gap cut."""

from __future__ import annotations

import pytest

from durable_lite.awake import AwakeClock
from durable_lite.testing import VirtualClock

CAP = 10.0


async def read_every(clock, awake, seconds, interval=5.0):
    """Let time pass as it does while a worker beats."""
    for _ in range(int(seconds / interval)):
        await clock.advance(interval)
        awake.read()


async def test_time_that_is_read_often_counts_in_full():
    clock = VirtualClock()
    awake = AwakeClock(clock, CAP)
    await read_every(clock, awake, 100)
    assert awake.read() == pytest.approx(100)
    assert awake.read() == pytest.approx(100)


async def test_a_gap_counts_as_the_cap():
    clock = VirtualClock()
    awake = AwakeClock(clock, CAP)
    await clock.jump("3d")
    assert awake.read() == CAP
    await clock.jump(3)
    assert awake.read() == CAP + 3


async def test_a_gap_on_the_wall_clock_alone_counts_for_nothing():
    clock = VirtualClock()
    awake = AwakeClock(clock, CAP)
    await clock.jump("3d", monotonic=False)
    clock.set_back("1h")
    assert awake.read() == 0


async def test_it_starts_at_nothing_whenever_it_is_made():
    clock = VirtualClock()
    await clock.advance("1h")
    assert AwakeClock(clock, CAP).read() == 0


async def test_a_timer_fires_after_so_much_awake_time():
    clock, fired = VirtualClock(), []
    awake = AwakeClock(clock, CAP)
    awake.call_after(30, lambda: fired.append(clock.monotonic()))
    await read_every(clock, awake, 25)
    assert fired == []
    await read_every(clock, awake, 10)
    assert fired == [pytest.approx(30, abs=0.01)]
    await read_every(clock, awake, 100)
    assert len(fired) == 1


async def test_a_timer_waits_out_a_gap():
    clock, fired = VirtualClock(), []
    awake = AwakeClock(clock, CAP)
    awake.call_after(30, lambda: fired.append(clock.monotonic()))
    await read_every(clock, awake, 10)
    await clock.jump("1h")  # ten seconds of it count
    assert fired == []
    await read_every(clock, awake, 9.0, 3.0)
    assert fired == []
    await read_every(clock, awake, 6, 3.0)
    assert fired == [pytest.approx(3620, abs=0.01)]


async def test_a_timer_counts_from_when_it_was_set_not_from_the_last_reading():
    clock, fired = VirtualClock(), []
    awake = AwakeClock(clock, CAP)
    await clock.advance(4)
    awake.call_after(5, lambda: fired.append(clock.monotonic()))
    await read_every(clock, awake, 10, 1.0)
    assert fired == [pytest.approx(9, abs=0.01)]


async def test_a_timer_for_nothing_fires_at_once():
    clock, fired = VirtualClock(), []
    awake = AwakeClock(clock, CAP)
    awake.call_after(0, lambda: fired.append(True))
    await clock.advance(0)
    assert fired == [True]


@pytest.mark.parametrize("after_a_gap", [False, True])
async def test_a_cancelled_timer_never_fires(after_a_gap):
    clock, fired = VirtualClock(), []
    awake = AwakeClock(clock, CAP)
    timer = awake.call_after(30, lambda: fired.append(True))
    if after_a_gap:
        await clock.jump("1h")
    timer.cancel()
    await read_every(clock, awake, 100)
    assert fired == []
