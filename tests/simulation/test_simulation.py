"""Worlds of workers that die, freeze and lose what they are told: by their seeds, and how they are made."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from random import Random

import pytest

from durable_lite.stores.memory import MemoryStore
from durable_lite.stores.memory_queues import MemoryQueues
from durable_lite.stores.memory_runs import MemoryRuns
from durable_lite.sweeps import Sweeps
from durable_lite.testing.simulation import Plan, Violation, simulate
from durable_lite.testing.simulation.loop import Deadlock, Lane, SimulatedLoop
from durable_lite.testing.simulation.shrink import shrunk

SEEDS = 3000
CHUNK = 100


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Workers warn of what is done to them."""
    names = ("durable_lite", "asyncio")
    before = [logging.getLogger(name).level for name in names]
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    yield
    for name, level in zip(names, before, strict=True):
        logging.getLogger(name).setLevel(level)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_whatever_happens_every_run_ends_well(first):
    """`python -m durable_lite.testing.simulation --seed N` plays one of them again."""
    failed = {}
    for seed in range(first, first + CHUNK):
        try:
            report = simulate(Plan.random(seed))
            assert report.runs >= 2
        except Exception as error:
            failed[seed] = f"{type(error).__name__}: {error}"
    assert not failed


DIGEST = """
import hashlib, logging, sys
from durable_lite.testing.simulation import Plan, simulate
for name in ("durable_lite", "asyncio"):
    logging.getLogger(name).setLevel(100)
trace = []
for seed in range(8):
    simulate(Plan.random(seed), trace)
print(len(trace), hashlib.sha256("\\n".join(trace).encode()).hexdigest())
"""


def test_a_seed_is_a_trace():
    """Whatever the order of sets is in this process."""
    said = [
        subprocess.run(
            [sys.executable, "-c", DIGEST], env=os.environ | {"PYTHONHASHSEED": str(seed)}, text=True,
            capture_output=True, check=True,
        ).stdout
        for seed in (1, 2)
    ]  # fmt: skip
    assert said[0] == said[1]
    assert int(said[0].split()[0]) > 8 * 100


def test_seeds_differ():
    plans = [Plan.random(seed) for seed in range(50)]
    assert len({hashlib.sha256(plan.text().encode()).digest() for plan in plans}) == 50
    assert {deed.kind for plan in plans for deed in plan.deeds} == {
        "trigger", "kill", "freeze", "release", "skew", "send", "complete", "cancel", "resume", "pause", "fork",
        "connect",
    }  # fmt: skip


def test_a_plan_is_text():
    plan = Plan.random(7)
    assert Plan.of(plan.text()) == plan
    assert simulate(Plan.of(plan.text())) == simulate(plan)


# It must be able to fail.


def fails(plan: Plan) -> bool:
    try:
        simulate(plan)
    except Violation:
        return True
    return False


def first_failure(seeds: int = 100) -> Plan:
    return next(plan for seed in range(seeds) if fails(plan := Plan.random(seed)))


def test_a_parent_that_nobody_tells_is_stuck(monkeypatch):
    monkeypatch.setattr(MemoryRuns, "_tell_parent", lambda self, child, now: None)
    plan = first_failure()
    smaller = shrunk(plan, fails, tries=300)
    with pytest.raises(Violation, match="is stuck: WAITING"):
        simulate(smaller)
    assert len(smaller.deeds) == 1
    assert len(smaller.text()) < len(plan.text()) / 2
    trace: list[str] = []
    with pytest.raises(Violation):
        simulate(smaller, trace)
    assert any("create_children" in line for line in trace)


def test_who_is_dead_must_be_found(monkeypatch):
    async def nothing(self: Sweeps) -> None:
        pass

    monkeypatch.setattr(Sweeps, "others", nothing)
    smaller = shrunk(first_failure(), fails, tries=40)
    assert {deed.kind for deed in smaller.deeds} >= {"trigger", "kill"} or smaller.bad_weather


def is_found(what: str, seeds: int = 100) -> bool:
    """Whether it is wrong in some world, though processes swallow most that is raised in them."""
    for seed in range(seeds):
        try:
            simulate(Plan.random(seed))
        except Violation as error:
            if re.search(what, str(error)):
                return True
    return False


def test_a_rate_must_count_those_who_have_started(monkeypatch):
    monkeypatch.setattr(MemoryQueues, "_start", lambda self, row, now: now)
    assert is_found(r"2 runs have started in .*'1/3s'.* within")


def test_what_is_stored_must_not_be_executed_again(monkeypatch):
    async def nothing(self: MemoryStore, run_id: str) -> list[object]:
        return []

    monkeypatch.setattr(MemoryStore, "load_checkpoints", nothing)
    assert is_found("executes again")


def test_a_place_must_be_free(monkeypatch):
    monkeypatch.setattr(MemoryQueues, "_taken", lambda self, queue: 0)
    assert is_found("runs execute in Queue..narrow")


def test_an_old_generation_must_not_write(monkeypatch):
    monkeypatch.setattr(MemoryStore, "_refusal", lambda self, run_id, generation: None)
    assert fails(first_failure())


# The loop.


def run_in(random: Random, *mains):
    """Each in a lane of its own, and what they wrote."""
    loop, written = SimulatedLoop(random), []

    async def main():
        lanes = [loop.lane(str(number)) for number in range(len(mains))]
        await asyncio.gather(
            *(loop.start(lane, one(lane, written)) for lane, one in zip(lanes, mains, strict=True))
        )

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    return written


async def counts(lane: Lane, written: list[str]) -> None:
    for number in range(20):
        written.append(f"{lane.name}{number}")
        await asyncio.sleep(0)


def test_lanes_take_turns_by_chance():
    orders = {tuple(run_in(Random(seed), counts, counts)) for seed in range(10)}
    assert len(orders) == 10
    for order in orders:
        for lane in "01":
            assert [one for one in order if one[0] == lane] == [f"{lane}{n}" for n in range(20)]


def test_a_frozen_lane_stands_still_and_its_timers_are_late():
    async def naps(lane: Lane, written: list[float]) -> None:
        await asyncio.sleep(1)
        written.append(asyncio.get_running_loop().time())

    async def freezes(lane: Lane, written: list[float]) -> None:
        lanes[0].frozen = True
        await asyncio.sleep(5)
        lanes[0].frozen = False

    lanes: list[Lane] = []

    async def first(lane: Lane, written: list[float]) -> None:
        lanes.append(lane)
        await naps(lane, written)

    async def second(lane: Lane, written: list[float]) -> None:
        while not lanes:
            await asyncio.sleep(0.01)
        await freezes(lane, written)

    [woke] = run_in(Random(0), first, second)
    assert 5 <= woke < 6


def test_when_nothing_can_happen_it_says_so():
    async def waits(lane: Lane, written: list[str]) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            written.append("cancelled")

    with pytest.raises(Deadlock):
        run_in(Random(0), waits)
