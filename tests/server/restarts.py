"""Many runs while two workers on one SQLite file are stopped, killed and started at random moments."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

from tests.server import sigkill_jobs as jobs
from tests.server.sigkill import Line, Supervisor, Wrong, check_file, executions_of

BATCH = 200
PATIENCE = 60.0  # seconds without a run that ends, after which something is stuck

LEFT = "SELECT count(*) FROM runs WHERE finished_at IS NULL"
ENDED = "SELECT id, status, output, (SELECT count(*) FROM steps WHERE run_id = runs.id) FROM runs"


class Restarts(NamedTuple):
    runs: int
    kills: int  # SIGKILL
    stops: int  # SIGTERM
    again: int  # steps that were executed more than once, as a worker was killed or stopped in them


async def play(
    supervisor: Supervisor,
    chance: random.Random,
    runs: int,
    told: Callable[[int], None] = lambda left: None,
    least: int = 0,
) -> Restarts:
    """Trigger so many runs, disturb the workers until all have ended, `least` times, and check what is there."""
    workers = [supervisor.start(), supervisor.start()]
    await asyncio.gather(*map(supervisor.ready, workers))
    triggering = asyncio.ensure_future(_trigger(supervisor, runs))
    counts: Counter[str] = Counter()
    with closing(sqlite3.connect(supervisor.file)) as file:
        left, patience = runs, PATIENCE
        while left or not triggering.done() or counts.total() < least:
            pause = chance.uniform(0, 0.5)
            await asyncio.sleep(pause)
            slot, how = chance.randrange(2), chance.choice(["kills", "stops"])
            counts[how] += 1
            if how == "kills":
                supervisor.kill(workers[slot])
            else:
                await _stop(supervisor, workers[slot])
            if chance.random() < 0.3:  # one alone for a while, or nobody
                await asyncio.sleep(chance.uniform(0, 0.3))
            workers[slot] = supervisor.start()
            before, left = left, file.execute(LEFT).fetchone()[0]
            patience = PATIENCE if left != before else patience - pause
            if patience < 0:
                raise Wrong(f"{left} runs don't end")
            told(left if triggering.done() else runs)
    ids = await triggering
    again = check(supervisor, ids)
    return Restarts(len(ids), counts["kills"], counts["stops"], again)


async def _trigger(supervisor: Supervisor, runs: int) -> dict[str, int]:
    """Their payloads by their ids."""
    ids: dict[str, int] = {}
    for first in range(0, runs, BATCH):
        seeds = range(first, min(first + BATCH, runs))
        found = await supervisor.app.trigger_many(jobs.single, [jobs.Work(seed) for seed in seeds])
        ids |= {run.id: seed for run, seed in zip(found, seeds, strict=True)}
    return ids


async def _stop(supervisor: Supervisor, worker: subprocess.Popen[bytes]) -> None:
    await supervisor.ready(worker)  # before that, SIGTERM has no handler
    worker.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(worker.wait, 30)
    if code != 0:
        raise Wrong(f"worker {worker.pid} was stopped, and ended with {code}")
    supervisor.forget(worker)


def check(supervisor: Supervisor, ids: dict[str, int]) -> int:
    """What became of runs, whose payloads these are; how many steps were executed more than once."""
    check_file(supervisor.file)
    supervisor.read()
    with closing(sqlite3.connect(supervisor.file)) as file:
        ended = file.execute(ENDED).fetchall()
    if {row[0] for row in ended} != set(ids):
        raise Wrong(f"{len(ended)} runs are stored, {len(ids)} were triggered")
    for id, status, output, steps in ended:
        if (status, output, steps) != ("COMPLETED", str(ids[id]), 1):
            raise Wrong(f"run {id} is {status} with {output} and {steps} steps, not {ids[id]}")
    lines: defaultdict[str, list[Line]] = defaultdict(list)
    for line in supervisor.lines:
        lines[line.run_id].append(line)
    again = 0
    for id in ids:
        executed = executions_of(lines[id], supervisor.killed)
        # One that had ended may have died with its worker before it was stored.
        cut = [one for one in executed if one.how in ("killed", "stop") or one.pid in supervisor.killed]
        if len(executed) - len(cut) > 1 or not any(one.how == "end" for one in executed):
            raise Wrong(f"the step of {id} was executed as {executed}")
        again += len(executed) > 1
    return again
