"""Workers that come and go while runs execute: real processes on one SQLite file."""

import random

import pytest

from tests.server.restarts import check, play
from tests.server.sigkill import Supervisor, Wrong, seed_of


@pytest.mark.timeout(180)
@pytest.mark.parametrize("durability", ["strict", "relaxed"])
async def test_every_run_ends_though_workers_come_and_go(tmp_path, durability):
    """`scripts/soak_restarts.py` does it with 10,000."""
    async with Supervisor(tmp_path, durability=durability) as supervisor:
        found = await play(supervisor, random.Random(seed_of(None)), 400, least=2)
    print(found)
    assert found.runs == 400
    assert found.kills + found.stops >= 2


async def test_a_step_that_was_executed_twice_without_a_reason_is_seen(tmp_path):
    async with Supervisor(tmp_path) as supervisor:
        chance = random.Random(0)
        await play(supervisor, chance, 5)
        first = next(line for line in supervisor.lines if line.what == "start")
        twice = "".join(f"{what} {first.run_id} only {first.pid} {first.at}\n" for what in ("start", "end"))
        with supervisor.log.open("a") as log:
            log.write(twice)
        ids = {run.id: run.payload["seed"] for run in (await supervisor.app.list_runs()).runs}
        supervisor.killed.pop(first.pid, None)
        with pytest.raises(Wrong, match="was executed as"):
            check(supervisor, ids)
