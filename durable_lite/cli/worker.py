"""`durable-lite worker`: executes the runs of some job files until it is told to stop, with a log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

import click

from ..durable import Durable
from ..events import EventType, RunEvent
from ..records import Claim, Settlement
from ..status import FINAL, Status
from .exits import Failure
from .load import Loaded, load_jobs
from .observe import Observer, observed
from .options import Database, db_option, durability_option, opened, stop_timeout_option
from .progress import log_line
from .screen import Screen, diagnostics, error_text, length, moment, plural
from .signals import StopSignals

__all__ = ["WorkerLog", "worker"]


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="FILE.py…")
@db_option
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    metavar="N",
    default=10,
    show_default=True,
    help="How many runs to execute at a time.",
)
@click.option(
    "--versions",
    type=click.Choice(["any", "known"]),
    default="any",
    show_default=True,
    help="Take up runs of any version of a job, or only of those that its code says.",
)
@durability_option
@stop_timeout_option
@click.pass_context
def worker(
    ctx: click.Context,
    targets: tuple[str, ...],
    db: Database,
    concurrency: int,
    versions: str,
    durability: str,
    stop_timeout: float,
) -> None:
    """Execute runs of the jobs in these files, as they come, until SIGINT or SIGTERM.

    Each is FILE.py or MODULE, for all jobs in it, or FILE.py:JOB for one. Any number of workers may
    share a store. What happens is logged on stderr.

    A signal lets what executes go on for --stop-timeout, and releases the rest; a second one stops
    at once.
    """
    if db.is_memory:
        raise Failure("--db: memory: can't be shared, so there is nothing to work for; name a file")
    with contextlib.redirect_stdout(sys.stderr):
        loaded = load_jobs(targets)
        work = _work(loaded, db, durability, stop_timeout, concurrency=concurrency, versions=versions)
        ctx.exit(asyncio.run(work))


async def _work(
    loaded: Loaded, db: Database, durability: str, stop_timeout: float, *, concurrency: int, versions: str
) -> int:
    screen = Screen()
    log = WorkerLog(screen)
    with StopSignals() as signals, diagnostics(screen):
        async with opened(db, durability=durability, create=True) as store:
            app = Durable(observed(store, log), jobs=loaded.all, concurrency=concurrency, versions=versions)
            app.listen(log.hear)
            known = ", ".join(sorted(loaded.jobs))
            screen.say(f"worker on {store.url} for {known}; {plural(concurrency, 'run')} at a time", "bold")
            async with app:
                await signals.wait()
                log.stopping(signals.name, stop_timeout)
                await app.stop(stop_timeout)
            screen.say("stopped", "bold")
    return signals.exit_code


class WorkerLog(Observer):
    """Writes a line for each thing that happens to a run here; the words are those of the events."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._jobs: dict[str, str] = {}  # of each run that was claimed here and hasn't ended
        self.held: set[str] = set()

    def _say(self, event: str, run_id: str, message: str = "", style: str = "") -> None:
        job = self._jobs.get(run_id, "")
        self._screen.say(f"{event:<14} {run_id} {job}" + (f" {message}" if message else ""), style)

    def stopping(self, signal: str, timeout: float) -> None:
        """After the first signal: what is still executing, and what becomes of it."""
        held = plural(len(self.held), "run") if self.held else "nothing"
        rest = f", finishing within {length(timeout)} or released" if self.held else ""
        self._screen.say(f"{signal}: {held} executing{rest}; again stops at once", "bold")

    def claimed(self, claim: Claim) -> None:
        run = claim.run
        self._jobs[run.id] = run.job
        self.held.add(run.id)
        if claim.status == Status.STALE:
            self._say(EventType.CLAIMED, run.id, "taken over: its worker was gone or silent", "yellow")
        elif claim.status == Status.WAITING:
            self._say(EventType.CLAIMED, run.id, "its wait is over", "cyan")
        else:
            self._say(EventType.CLAIMED, run.id, f"attempt {run.attempt}", "cyan")

    def settled(self, run_id: str, settlement: Settlement) -> None:
        self.held.discard(run_id)
        status, now = settlement.status, settlement.at
        event, data = settlement.type, json.loads(settlement.data)
        error = error_text(None if settlement.error is None else json.loads(settlement.error))
        if status == Status.COMPLETED:
            self._say(event, run_id, f"in {length(settlement.executed)}", "green")
        elif event == EventType.RETRYING and settlement.ready_at is not None:
            self._say(event, run_id, f"in {length(settlement.ready_at - now)}: {error}", "yellow")
        elif status == Status.WAITING:
            waits, due = ", ".join(map(str, data.get("waits", [])[:3])), settlement.ready_at
            until = f"until {moment(due, now)}: " if due is not None else "for "
            self._say(event, run_id, f"{until}{waits}", "dim")
        elif status in FINAL:
            self._say(event, run_id, error if status == Status.FAILED else f"{status}: {error}", "red")
        else:
            self._say(event, run_id, str(data.get("fault", "")), "yellow")
        if status in FINAL:
            self._jobs.pop(run_id, None)

    def stale(self, run_id: str, reason: str) -> None:
        self.held.discard(run_id)
        self._say(EventType.STALE, run_id, reason, "yellow")

    def lost(self, run_id: str) -> None:
        if run_id in self.held:
            self.held.discard(run_id)
            self._say("run.lost", run_id, "cancelled, or another worker has it", "yellow")

    def hear(self, event: RunEvent) -> None:
        """Live events: what is wrong, and what runs log as a warning or an error."""
        data = event.data
        if event.type == EventType.STORE_DOWN:
            self._screen.say(f"{event.type:<14} {data['message']}; trying again", "red")
        elif event.type == EventType.STORE_UP:
            self._screen.say(f"{event.type:<14}", "green")
        elif event.type == EventType.LOG and event.run_id and data["level"] in ("warning", "error"):
            self._say(event.type, event.run_id, log_line(data), "yellow")
