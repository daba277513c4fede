"""Export 50,000 invoices while the worker is killed twice, and count what was done: `make demo`."""

from __future__ import annotations

import argparse
import asyncio
import csv
import hashlib
import json
import math
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict
from email import message_from_bytes
from pathlib import Path
from typing import Any, NamedTuple

import jobs
from database import ORGANISATION, generate

from durable_lite import Durable, Run, RunEvent
from durable_lite.records import StepRow

HERE = Path(__file__).resolve().parent
KILL_AT = (0.3, 0.65)  # of the pages
LIMIT = 120.0  # seconds that the export may take at most


# The export, with two deaths in the middle


class Call(NamedTuple):
    """One line of the file that the step functions write to."""

    what: str  # "start" or "end"
    step: tuple[str, int]  # the function and its page
    pid: int
    at: float


class Told(NamedTuple):
    """What there is to count afterwards."""

    run: Run[Any]
    done: jobs.Exported
    events: list[RunEvent]
    steps: list[StepRow]
    calls: list[Call]
    starts: list[tuple[int, float]]  # of each worker process: its id, the moment before it was started
    seconds: float


async def export(given: argparse.Namespace, show: Display) -> Told:
    """Trigger the run here, execute it in another process, and kill that one when it has got so far."""
    folder: Path = given.folder
    store, calls = f"sqlite:{folder / 'durable.db'}", folder / "calls.txt"
    wanted = jobs.Export(
        ORGANISATION, str(folder / "invoices.db"), str(folder / "exports"), str(folder / "outbox"),
        given.page_size, given.pause,
    )  # fmt: skip
    pages = math.ceil(given.invoices / given.page_size)
    kills = [math.ceil(pages * share) for share in KILL_AT]
    starts: list[tuple[int, float]] = []

    def start() -> subprocess.Popen[bytes]:
        before = time.time()
        process = subprocess.Popen([sys.executable, "-m", "demo_worker", store, calls], cwd=HERE)
        starts.append((process.pid, before))
        return process

    async with Durable(store, jobs=[jobs], worker=False) as app:
        run = await app.trigger(jobs.export_invoices, asdict(wanted))
        began, done, events = time.monotonic(), 0, []
        worker = start()
        show.say(f"run {run.id} triggered; worker {worker.pid} started")
        try:
            async with asyncio.timeout(LIMIT):
                async for event in run.events():
                    events.append(event)
                    done += event.type == "step.completed" and event.data["path"].startswith("page-")
                    show.pages(done, pages)
                    if kills and done >= kills[0]:
                        kills.pop(0)
                        worker.kill()
                        worker.wait()
                        show.say(f"page {done} of {pages}: kill -9 {worker.pid}")
                        worker = start()
                        show.say(f"worker {worker.pid} started")
                result = await run.result()
        finally:
            worker.terminate()
            worker.wait()
        seconds = time.monotonic() - began
        steps = await app.steps(run.id)
    lines = [line.split() for line in calls.read_text().splitlines()]
    told = [Call(what, (name, int(page)), int(pid), float(at)) for what, name, page, pid, at in lines]
    return Told(run, result, events, steps, told, starts, seconds)


# The account


class Claim(NamedTuple):
    """One thing that should hold, in words, and whether it does."""

    holds: bool
    text: str


def account(told: Told, database: Path, outbox: Path) -> Iterable[Claim]:
    """Everything is counted twice: as the store has it, and as the files and the functions have it."""
    begun = [call for call in told.calls if call.what == "start"]
    ended = {(call.step, call.pid) for call in told.calls if call.what == "end"}
    steps = {function_and_page(step): step for step in told.steps if step.kind == "step"}
    yield Claim(
        all(step.state == "completed" for step in steps.values())
        and {call.step for call in begun} == {*steps},
        f"{len(steps)} steps executed in {told.seconds:.1f} s, by {len(told.starts)} processes",
    )

    answered = checkpoints_found(told.events)
    deaths = len(told.starts) - 1
    yield Claim(
        deaths == len(KILL_AT) == len(answered) and all(answered),
        f"{sum(answered)} steps answered from checkpoints ({' + '.join(map(str, answered))} after the kills)",
    )

    again = [call for call in begun if call.at > (steps[call.step].finished_at or 0)]
    yield Claim(not again, f"{len(again)} steps executed again once their result was stored")

    more = len(begun) - len(steps)
    cut = sum((call.step, call.pid) not in ended for call in begun)
    yield Claim(
        more <= deaths,
        f"{more} of {len(begun)} calls lost to the kills ({cut} in the middle of a step), and done again",
    )

    waits = [min(call.at for call in begun if call.pid == pid) - before for pid, before in told.starts[1:]]
    reasons = Counter(event.data["reason"] for event in told.events if event.type == "run.stale")
    yield Claim(
        set(reasons) <= {"worker gone"} and max(waits) < 10,
        f"{' and '.join(f'{wait:.2f} s' for wait in waits)} from restart to the first new step "
        "(start of Python included)",
    )

    rows, wanted = read_csv(Path(told.done.file)), read_database(database)
    yield Claim(
        rows == wanted and told.done.rows == wanted.rows,
        f"{rows.rows:,} rows in the CSV file, {wanted.rows:,} in the database, "
        f"{'the same' if rows == wanted else 'NOT the same'} (sha256 {rows.sha256[:12]}…)",
    )

    mails = [message_from_bytes(path.read_bytes()) for path in outbox.glob("*.eml")]
    yield Claim(
        len(mails) == 1 and told.run.id in mails[0]["Message-ID"],
        f"{len(mails)} mail in the outbox, to {', '.join(mail['To'] for mail in mails)}",
    )


def function_and_page(step: StepRow) -> tuple[str, int]:
    page = step.path.removeprefix("page-")
    return (step.name or "").rpartition(".")[2], int(page) if page.isdigit() else 0


def checkpoints_found(events: list[RunEvent]) -> list[int]:
    """How many results each worker but the first found stored when it claimed the run."""
    found, stored, last = [], 0, None
    for event in events:
        stored += event.type == "step.completed"
        if event.type == "run.claimed":
            if last not in (None, event.data["worker"]):
                found.append(stored)
            last = event.data["worker"]
    return found


class Rows(NamedTuple):
    rows: int
    sha256: str


def read_csv(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return digest(csv.reader(file), header=True)


def read_database(path: Path) -> Rows:
    """The same values by another way: an unpaged query, and text as CSV has it."""
    query = f"SELECT {', '.join(jobs.COLUMNS)} FROM invoices WHERE organisation_id = ? ORDER BY id"
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(query, [ORGANISATION])
        return digest(["" if value is None else str(value) for value in row] for row in rows)


def digest(rows: Iterable[list[str]], header: bool = False) -> Rows:
    whole, count = hashlib.sha256(), -1 if header else 0
    for row in rows:
        count += 1
        if count:
            whole.update(json.dumps(row).encode())
    return Rows(count, whole.hexdigest())


# What is seen


class Display:
    """Lines, and under them a bar while the export runs."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown = 0

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.2f} s  {text}", flush=True)

    def pages(self, done: int, total: int) -> None:
        tenth = done * 10 // total
        if tenth > self._shown:
            self._shown = tenth
            self.say(f"[{'#' * tenth * 3:30}] {done} of {total} pages")


class Bar(Display):
    """The same with rich, on a terminal."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        super().__init__()
        columns = TextColumn("{task.description:>8} "), BarColumn(50), MofNCompleteColumn()
        self._progress = Progress(*columns)
        self._task = self._progress.add_task("pages", total=None)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self._progress.start()
        self._progress.console.print(f"{time.monotonic() - self._began:6.2f} s  {text}", highlight=False)

    def pages(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)


def display() -> Display:
    if sys.stdout.isatty():
        try:
            return Bar()
        except ImportError:
            pass
    return Display()


def tool(name: str) -> str:
    """How to call a program that was installed with this Python."""
    mine = Path(sys.executable).parent / name
    return name if shutil.which(name) or not mine.exists() else shlex.quote(os.path.relpath(mine))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=int, default=50_000, help="of the exported organisation")
    parser.add_argument("--page-size", type=int, help="default: 500, or less so that there are 100 pages")
    parser.add_argument("--pause", default="20ms", help="durable wait between two pages")
    parser.add_argument("--folder", type=Path, help="new or empty; default: .cache/demo, made anew")
    given = parser.parse_args()
    given.page_size = given.page_size or max(1, min(500, given.invoices // 100))
    if given.folder is None:
        given.folder = HERE.parents[1] / ".cache" / "demo"
        shutil.rmtree(given.folder, ignore_errors=True)
    elif given.folder.exists() and any(given.folder.iterdir()):
        parser.error(f"{given.folder} is not empty")
    given.folder = given.folder.absolute()
    given.folder.mkdir(parents=True, exist_ok=True)

    with display() as show:
        began = time.monotonic()
        generate(given.folder / "invoices.db", given.invoices)
        show.say(f"a database with {given.invoices:,} invoices made in {time.monotonic() - began:.1f} s")
        told = asyncio.run(export(given, show))
        show.say("the run has completed")

    print()
    claims = list(account(told, given.folder / "invoices.db", given.folder / "outbox"))
    for claim in claims:
        print(f"  {'ok ' if claim.holds else 'NO '} {claim.text}")
    print(f"\nThe file   {told.done.file}\nThe mail   {told.done.mail}\n\nLook at the run:\n")
    db = shlex.quote(os.path.relpath(given.folder / "durable.db"))
    steps = f"select path, started_at, finished_at from steps where run_id = '{told.run.id}' order by seq"
    print(f"  {tool('durable-lite')} runs show {told.run.id} --db {db}")
    print(f"  {tool('durable-lite')} runs show {told.run.id} --timeline --db {db}")
    print(f"  {tool('durable-lite')} serve --db {db}  # the dashboard")
    print(f'  {tool("sqlite-utils")} {db} "{steps}" --table')
    print(f"  datasette {db}")
    return 0 if all(claim.holds for claim in claims) else 1


if __name__ == "__main__":
    raise SystemExit(main())
