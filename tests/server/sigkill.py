"""Starts workers on one SQLite file, kills them with SIGKILL at random moments, and checks what is left."""

import asyncio
import contextlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from durable_lite import Durable, Run
from durable_lite.records import StepRow
from tests.server import sigkill_jobs as jobs

ROOT = Path(__file__).parents[2]
_POLL = 0.0005  # how often to look whether the log has grown


class Wrong(AssertionError):
    """Something was executed again, lost, or out of order."""


class Line(NamedTuple):
    """What a worker said: `worker` or `stopping` (path: its id), or of a step `start`, `end`, `fail`, `stop`,
    or `enter` for one that has steps of its own."""

    what: str
    run_id: str
    path: str
    pid: int
    at: float


class Execution(NamedTuple):
    """One call of a step function. `how`: end, fail, stop, or killed."""

    run_id: str
    path: str
    pid: int
    start: float
    end: float
    how: str


class Supervisor:
    """Workers as processes on one store; `async with` stops them all.

    `options` are the workers'. The log is read as it grows; `killed` has the moment before each process
    was sent SIGKILL.
    """

    def __init__(self, folder: Path, *, durability: str = "strict", **options: object) -> None:
        self.file, self.log = folder / "durable.db", folder / "log.txt"
        self._options = json.dumps({"durability": durability, **options})
        self.app = Durable(f"sqlite:{self.file}", jobs.JOBS, worker=False, durability=durability)
        self.lines: list[Line] = []
        self.killed: dict[int, float] = {}
        self.workers: list[subprocess.Popen[bytes]] = []

    async def __aenter__(self) -> "Supervisor":
        self.log.touch()
        self._reader = self.log.open("rb")
        self._rest = b""
        await self.app.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in tuple(self.workers):
            self._end(worker)
        await self.app.close()
        self._reader.close()

    # Processes

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", jobs.__name__, f"sqlite:{self.file}", self.log, self._options]
        worker = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE)
        self.workers.append(worker)
        if worker.pid in self.killed:  # the system counts from the start again; the log tells by this
            self._end(worker)
            return self.start()
        return worker

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        if worker.poll() is not None:
            raise Wrong(f"worker {worker.pid} ended by itself with {worker.returncode}")
        self.killed[worker.pid] = time.time()
        self._end(worker)

    def _end(self, worker: subprocess.Popen[bytes]) -> None:
        worker.kill()
        worker.wait()
        self.forget(worker)

    def forget(self, worker: subprocess.Popen[bytes]) -> None:
        """It has ended."""
        self.workers.remove(worker)
        assert worker.stdin is not None
        worker.stdin.close()

    # The log

    def read(self) -> None:
        *lines, self._rest = (self._rest + self._reader.read()).split(b"\n")
        for line in lines:
            what, run_id, path, pid, at = line.decode().split()
            self.lines.append(Line(what, run_id, path, int(pid), float(at)))

    async def until(self, *, what: str, path: str, run_id: str = "-", count: int = 1) -> list[Line]:
        """Wait until so many such lines are in the log."""
        async with asyncio.timeout(30):
            while True:
                self.read()
                found = [line for line in self.lines if line[:3] == (what, run_id, path)]
                if len(found) >= count:
                    return found
                await asyncio.sleep(_POLL)

    async def ready(self, worker: subprocess.Popen[bytes]) -> str:
        """Wait until a worker is up; returns its id."""
        async with asyncio.timeout(30):
            while True:
                self.read()
                for line in self.lines:
                    if (line.what, line.pid) == ("worker", worker.pid):
                        return line.path
                await asyncio.sleep(_POLL)

    async def growth(self, count: int, done: asyncio.Future[object]) -> bool:
        """Wait until the log has so many more lines. False: `done` came first."""
        self.read()
        wanted = len(self.lines) + count
        while len(self.lines) < wanted:
            if done.done():
                return False
            await asyncio.sleep(_POLL)
            self.read()
        return True


# Rounds


class Counts(NamedTuple):
    """Of one round, or of many."""

    rounds: int = 0
    kills: int = 0
    runs: int = 0
    stored: int = 0  # results of steps
    executions: int = 0
    killed: int = 0  # executions cut off by a kill
    unstored: int = 0  # executions that had ended, but died with their worker before they were stored
    failed: int = 0  # executions that raised, as planned
    stale: int = 0  # times that a run was taken from a dead worker

    def __add__(self, other: "Counts") -> "Counts":  # type: ignore[override]  # sums, not a longer tuple
        return Counts(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self._asdict().items())


async def rounds(
    supervisor: Supervisor, chance: random.Random, count: int, runs: int = 5
) -> AsyncIterator[Counts]:
    """So many rounds with two workers that live on, or don't, from one to the next."""
    workers = [supervisor.start(), supervisor.start()]
    await asyncio.gather(*map(supervisor.ready, workers))
    for _ in range(count):
        yield await one_round(supervisor, workers, chance, runs)


async def one_round(
    supervisor: Supervisor, workers: list[subprocess.Popen[bytes]], chance: random.Random, runs: int
) -> Counts:
    """Trigger a batch, kill a worker once or more while it executes, wait for the end, check everything."""
    first, kills = len(supervisor.lines), 0
    work = [jobs.Work(chance.randrange(1, 1_000_000)) for _ in range(runs)]
    batch = await supervisor.app.trigger_many(jobs.mixed, work)
    over = asyncio.gather(*(run.result(timeout="60s") for run in batch))
    try:
        for _ in range(chance.choice([1, 1, 2, 3])):
            if not await supervisor.growth(chance.randrange(1, runs * 25), over):
                break
            await asyncio.sleep(chance.uniform(0, 0.003))  # not always right after a line
            for slot in [0, 1] if chance.random() < 0.15 else [chance.randrange(2)]:
                supervisor.kill(workers[slot])
                workers[slot] = supervisor.start()
                kills += 1
                if chance.random() < 0.15:  # die young
                    await asyncio.sleep(chance.uniform(0, 0.4))
                    supervisor.kill(workers[slot])
                    workers[slot] = supervisor.start()
                    kills += 1
        outputs = await over
    finally:
        over.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await over
    if outputs != [jobs.expected(one) for one in work]:
        raise Wrong(f"outputs: {outputs}, not {[jobs.expected(one) for one in work]}")
    supervisor.read()
    lines = supervisor.lines[first:]
    checked = [await check_run(supervisor, one, run, lines) for one, run in zip(work, batch, strict=True)]
    return sum(checked, Counts(rounds=1, kills=kills))


# Checks


async def check_run(supervisor: Supervisor, work: jobs.Work, run: Run[int], lines: Sequence[Line]) -> Counts:
    """Everything that must hold of a run that has completed."""
    await run.refresh()
    attempts = 2 if work.seed % 3 == 0 else 1
    if run.attempt != attempts:
        raise Wrong(f"{run}: {run.attempt} attempts, not {attempts}: a kill is none")
    stale = await check_events(supervisor, run)
    steps = [step for step in await supervisor.app.steps(run.id) if step.kind == "step"]
    mine = [line for line in lines if line.run_id == run.id]
    stored = {step.path: step for step in steps}
    if bad := [step.path for step in steps if step.state != "completed"]:
        raise Wrong(f"{run}: not completed: {bad}")
    begun = [line for line in mine if line.what in ("start", "enter")]
    if missing := {line.path for line in begun} - stored.keys():
        raise Wrong(f"{run}: executed, but not stored: {missing}")
    if again := [line for line in begun if line.at > finished(stored[line.path])]:
        raise Wrong(f"{run}: executed again once stored: {again}")
    if lost := list(acknowledged_and_lost(begun, stored)):
        raise Wrong(f"{run}: stored only after the next step had begun: {lost}")
    executions = executions_of(mine, supervisor.killed)
    if overlaps := list(overlapping(executions)):
        raise Wrong(f"{run}: executed by two workers at once: {overlaps}")
    unstored = 0
    for path in {execution.path for execution in executions}:
        unstored += check_step(supervisor, run, stored[path], [one for one in executions if one.path == path])
    how = Counter(execution.how for execution in executions)
    if how["stop"]:
        raise Wrong(f"{run}: a live worker was stopped: {executions}")
    return Counts(
        runs=1, stored=len(steps), executions=len(executions), killed=how["killed"], unstored=unstored,
        failed=how["fail"], stale=stale,
    )  # fmt: skip


def check_step(supervisor: Supervisor, run: Run[int], step: StepRow, executions: list[Execution]) -> int:
    """One execution gave the stored result. If others had ended, they died before theirs was stored."""
    within = [one for one in executions if step.started_at <= one.start and one.end <= finished(step)]
    ended = [one for one in executions if one.how == "end"]
    if len([one for one in within if one.how == "end"]) != 1:
        raise Wrong(f"{run}: {step} is not the result of one execution: {executions}")
    others = [one for one in ended if one not in within]
    for one in others:
        if one.pid not in supervisor.killed:
            raise Wrong(f"{run}: the result of a worker that lives was lost: {one}")
    return len(others)


async def check_events(supervisor: Supervisor, run: Run[int]) -> int:
    """The sequence has no gap; whoever lost the run was killed. Returns how often it was lost."""
    events = [event async for event in run.events()]
    numbers, types = [event.seq for event in events], [event.type for event in events]
    if numbers != list(range(1, len(events) + 1)):
        raise Wrong(f"{run}: a gap in {numbers}")
    if types[0] != "run.triggered" or types[-1] != "run.completed" or types.count("run.completed") != 1:
        raise Wrong(f"{run}: {types}")
    generations = [event.data["generation"] for event in events if event.type == "run.claimed"]
    if generations != sorted(set(generations)):
        raise Wrong(f"{run}: claimed with generations {generations}")
    pids = {line.path: line.pid for line in supervisor.lines if line.what == "worker"}
    lost = [event for event in events if event.type == "run.stale"]
    for event in lost:
        # A worker that died while it was starting hadn't told its id yet.
        pid = pids.get(event.data["worker"])
        if event.data["reason"] != "worker gone" or (pid is not None and pid not in supervisor.killed):
            raise Wrong(f"{run}: {event} of worker {pid}")
    return len(lost)


def acknowledged_and_lost(begun: Sequence[Line], stored: dict[str, StepRow]) -> Iterable[str]:
    """Steps whose result was given to the job, which went on, and yet didn't survive."""
    for earlier, later in pairwise(jobs.STAGES):
        first = min(line.at for line in begun if line.path in later)
        yield from (path for path in earlier if finished(stored[path]) > first)


def finished(step: StepRow) -> float:
    assert step.finished_at is not None
    return step.finished_at


def executions_of(lines: Iterable[Line], killed: dict[int, float]) -> list[Execution]:
    """The calls that the lines of one run tell of; each worker executes a step once at a time."""
    begun: dict[tuple[str, int], Line] = {}
    found = []
    for line in lines:
        key = line.path, line.pid
        if line.what == "start":
            if key in begun:
                raise Wrong(f"started twice: {begun[key]}, {line}")
            begun[key] = line
        elif line.what != "enter":
            start = begun.pop(key)
            found.append(Execution(line.run_id, line.path, line.pid, start.at, line.at, line.what))
    for line in begun.values():
        if line.pid not in killed:
            raise Wrong(f"never ended, though its worker lives: {line}")
        found.append(Execution(line.run_id, line.path, line.pid, line.at, killed[line.pid], "killed"))
    return found


def overlapping(executions: Iterable[Execution]) -> Iterable[tuple[Execution, Execution]]:
    by_path: defaultdict[str, list[Execution]] = defaultdict(list)
    for execution in executions:
        by_path[execution.path].append(execution)
    for same in by_path.values():
        same.sort(key=lambda one: one.start)
        for index, one in enumerate(same):
            yield from ((one, other) for other in same[index + 1 :] if other.start < one.end)


def check_file(file: Path) -> None:
    """The database file is sound, and nobody holds a run."""
    with closing(sqlite3.connect(file)) as db:
        if (answer := db.execute("PRAGMA integrity_check").fetchall()) != [("ok",)]:
            raise Wrong(f"{file}: {answer}")
        if left := db.execute("SELECT * FROM leases").fetchall():
            raise Wrong(f"{file}: leases are left: {left}")
        status = dict(db.execute("SELECT status, count(*) FROM runs GROUP BY 1").fetchall())
        if set(status) != {"COMPLETED"}:
            raise Wrong(f"{file}: {status}")


def seed_of(given: int | None) -> int:
    """A seed: the one given, or one that is printed so that it can be."""
    seed = int.from_bytes(os.urandom(4)) if given is None else given
    print(f"seed {seed}", flush=True)
    return seed
