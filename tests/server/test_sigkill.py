"""Workers that are killed, and the runs that they held: real processes on one SQLite file."""

import asyncio
import random
import signal
import time

import pytest

from tests.server import sigkill_jobs as jobs
from tests.server.sigkill import Counts, Supervisor, Wrong, check_file, rounds, seed_of

pytestmark = pytest.mark.timeout(180)

DURABILITY = pytest.mark.parametrize("durability", ["strict", "relaxed"])
SOON = 10.0  # seconds; far from the 30 that a heartbeat would take


async def story(run) -> list[str]:
    """The stored events but for the steps'."""
    return [event.type async for event in run.events() if event.type.startswith("run.")]


async def claims(run) -> list[str]:
    return [event.data["worker"] async for event in run.events() if event.type == "run.claimed"]


async def stale_events(run) -> list[dict]:
    return [event.data async for event in run.events() if event.type == "run.stale"]


def gates(folder) -> tuple[jobs.Gates, list]:
    paths = [folder / "first", folder / "second"]
    return jobs.Gates(*map(str, paths)), paths


@pytest.mark.parametrize(("durability", "count"), [("strict", 15), ("relaxed", 15)])
async def test_nothing_is_lost_or_done_twice_wherever_workers_die(tmp_path, durability, count):
    chance, counts = random.Random(seed_of(None)), Counts()
    async with Supervisor(tmp_path, durability=durability) as supervisor:
        async for one in rounds(supervisor, chance, count, runs=4):
            counts += one
    check_file(supervisor.file)
    print(counts)
    assert counts.kills >= count
    assert counts.stale > 0


@DURABILITY
async def test_a_killed_worker_that_is_started_again_goes_on_at_once(tmp_path, durability):
    async with Supervisor(tmp_path, durability=durability) as supervisor:
        worker = supervisor.start()
        first_id = await supervisor.ready(worker)
        payload, (first, second) = gates(tmp_path)
        run = await supervisor.app.trigger(jobs.gated, payload)
        first.touch()
        await supervisor.until(what="start", path="second", run_id=run.id)
        supervisor.kill(worker)
        killed = time.time()
        worker = supervisor.start()
        second_id = await supervisor.ready(worker)
        begun = await supervisor.until(what="start", path="second", run_id=run.id, count=2)
        assert begun[-1].at - killed < SOON
        second.touch()
        assert await run.result(timeout="30s") == "through"

        assert await story(run) == [
            "run.triggered", "run.claimed", "run.stale", "run.claimed", "run.resumed", "run.completed",
        ]  # fmt: skip
        [lost] = await stale_events(run)
        assert (lost["reason"], lost["worker"]) == ("worker gone", first_id)
        assert await claims(run) == [first_id, second_id]
        assert len(await supervisor.until(what="start", path="first", run_id=run.id)) == 1
        steps = await supervisor.app.steps(run.id)
        assert [(step.path, step.generation) for step in steps] == [("first", 1), ("second", 3)]
        assert (await run.refresh()).attempt == 1


@DURABILITY
async def test_the_survivor_of_two_takes_over(tmp_path, durability):
    async with Supervisor(tmp_path, durability=durability) as supervisor:
        workers = [supervisor.start(), supervisor.start()]
        ids = await asyncio.gather(*map(supervisor.ready, workers))
        payload, (first, second) = gates(tmp_path)
        run = await supervisor.app.trigger(jobs.gated, payload)
        first.touch()
        [line] = await supervisor.until(what="start", path="second", run_id=run.id)
        holder = [worker.pid for worker in workers].index(line.pid)
        supervisor.kill(workers[holder])
        killed = time.time()
        begun = await supervisor.until(what="start", path="second", run_id=run.id, count=2)
        assert begun[-1].at - killed < SOON
        second.touch()
        assert await run.result(timeout="30s") == "through"

        [lost] = await stale_events(run)
        assert (lost["reason"], lost["worker"]) == ("worker gone", ids[holder])
        assert await claims(run) == [ids[holder], ids[1 - holder]]
        assert len(await supervisor.until(what="start", path="first", run_id=run.id)) == 1


@DURABILITY
async def test_killed_while_the_run_was_waiting(tmp_path, durability):
    """Nobody held it, so nothing was lost: whoever is there when it is due goes on with it."""
    async with Supervisor(tmp_path, durability=durability) as supervisor:
        worker = supervisor.start()
        await supervisor.ready(worker)
        run = await supervisor.app.trigger(jobs.napping, 4.0)
        async for event in run.events():
            if event.type == "run.waiting":
                break
        due = (await run.refresh()).ready_at
        supervisor.kill(worker)
        worker = supervisor.start()
        assert await run.result(timeout="30s") == "rested"

        events = await story(run)
        assert events[:3] == ["run.triggered", "run.claimed", "run.waiting"]
        assert "run.stale" not in events
        [after] = await supervisor.until(what="start", path="after", run_id=run.id)
        assert after.pid == worker.pid
        assert due <= after.at < due + SOON
        assert len(await supervisor.until(what="start", path="before", run_id=run.id)) == 1


async def test_killed_again_and_again_without_a_checkpoint_is_poison(tmp_path):
    async with Supervisor(tmp_path) as supervisor:
        payload, _ = gates(tmp_path)
        run = await supervisor.app.trigger(jobs.gated, payload)
        for count in range(1, 7):
            worker = supervisor.start()
            await supervisor.until(what="start", path="first", run_id=run.id, count=count)
            supervisor.kill(worker)
        supervisor.start()
        with pytest.raises(Exception, match="without a new checkpoint"):
            await run.result(timeout="30s")
        await run.refresh()
        assert run.status == "TIMED_OUT"
        assert run.error["code"] == "poison"


@DURABILITY
async def test_sigterm_drains_and_then_releases(tmp_path, durability):
    async with Supervisor(tmp_path, durability=durability, stop_timeout="3s") as supervisor:
        worker = supervisor.start()
        worker_id = await supervisor.ready(worker)
        (tmp_path / "short").mkdir()
        short_payload, short_gates = gates(tmp_path / "short")
        long_payload, long_gates = gates(tmp_path)
        short = await supervisor.app.trigger(jobs.gated, short_payload)
        long = await supervisor.app.trigger(jobs.gated, long_payload)
        short_gates[0].touch()
        long_gates[0].touch()
        for run in (short, long):
            await supervisor.until(what="start", path="second", run_id=run.id)

        worker.terminate()
        await supervisor.until(what="stopping", path=worker_id)
        short_gates[1].touch()  # what executes may finish
        refused = await supervisor.app.trigger(jobs.napping, 0.001)  # and nothing new begins
        assert await asyncio.to_thread(worker.wait, 30) == 0

        assert (await short.refresh()).status == "COMPLETED"
        assert (await long.refresh()).status == "PENDING"
        assert (await refused.refresh()).status == "PENDING"
        assert await story(short) == ["run.triggered", "run.claimed", "run.completed"]
        events = [event async for event in stored(supervisor, long)]
        assert [event.type for event in events] == [
            "run.triggered", "run.claimed", "step.completed", "run.released",
        ]  # fmt: skip
        assert long.generation == 2

        worker = supervisor.start()
        long_gates[1].touch()
        assert await long.result(timeout="30s") == "through"
        assert await refused.result(timeout="30s") == "rested"
        assert await story(long) == [
            "run.triggered", "run.claimed", "run.released", "run.claimed", "run.resumed", "run.completed",
        ]  # fmt: skip
        assert (await long.refresh()).attempt == 1
        assert len(await supervisor.until(what="start", path="first", run_id=long.id)) == 1


async def stored(supervisor, run):
    """The events so far: `run.events()` would wait for the run's end."""
    for event in await supervisor.app.store.read_events(run.id, 0, 100):
        yield event


@DURABILITY
async def test_a_frozen_worker_is_fenced_off(tmp_path, durability):
    """Its lock is held, so its heartbeat decides. What it wakes up with changes nothing."""
    options = {"heartbeat_interval": "100ms", "stale_after": "4s"}
    async with Supervisor(tmp_path, durability=durability, **options) as supervisor:
        workers = [supervisor.start(), supervisor.start()]
        ids = await asyncio.gather(*map(supervisor.ready, workers))
        payload, (first, second) = gates(tmp_path)
        run = await supervisor.app.trigger(jobs.gated, payload)
        [line] = await supervisor.until(what="start", path="first", run_id=run.id)
        frozen = [worker.pid for worker in workers].index(line.pid)
        workers[frozen].send_signal(signal.SIGSTOP)
        await supervisor.until(what="start", path="first", run_id=run.id, count=2)
        first.touch()
        await supervisor.until(what="start", path="second", run_id=run.id)
        workers[frozen].send_signal(signal.SIGCONT)
        await asyncio.sleep(0.5)  # it has every chance to do harm
        second.touch()
        assert await run.result(timeout="30s") == "through"

        [lost] = await stale_events(run)
        assert (lost["reason"], lost["worker"]) == ("heartbeat", ids[frozen])
        assert await claims(run) == [ids[frozen], ids[1 - frozen]]
        begun = await supervisor.until(what="start", path="second", run_id=run.id)
        assert [line.pid for line in begun] == [workers[1 - frozen].pid]
        steps = await supervisor.app.steps(run.id)
        assert [(step.path, step.generation) for step in steps] == [("first", 3), ("second", 3)]


async def test_the_checks_see_a_worker_that_ended_by_itself(tmp_path):
    async with Supervisor(tmp_path) as supervisor:
        worker = supervisor.start()
        await supervisor.ready(worker)
        worker.terminate()
        await asyncio.to_thread(worker.wait, 30)
        with pytest.raises(Wrong, match="ended by itself with 0"):
            supervisor.kill(worker)
