"""`durable-lite run`: executes one run in this process and shows how it gets on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import sys
from typing import Any, NamedTuple

import click

from ..as_json import run_json, value_json
from ..durable import Durable
from ..errors import InvalidPayload, StoreError
from ..events import EventType
from ..ports import Store
from ..records import Claim, RunRow, Settlement
from ..status import FINAL, RESUMABLE, Status
from .exits import Exit, Failure, code_of
from .find import find_earlier
from .follow import Follower
from .load import AnyJob, Loaded, load_job
from .observe import Observer, observed
from .options import (
    Database,
    db_option,
    durability_option,
    json_option,
    opened,
    read_payload,
    stop_timeout_option,
)
from .progress import Progress
from .safe import json_text
from .screen import Screen, diagnostics, error_text, length, plural
from .signals import StopSignals

__all__ = ["run"]


class Order(NamedTuple):
    """What the command line asks for."""

    job: AnyJob
    loaded: Loaded  # its module: it may start what else is there
    payload: Any
    db: Database
    new: bool
    tags: tuple[str, ...]
    durability: str
    stop_timeout: float


@click.command()
@click.argument("target", metavar="FILE.py:JOB")
@click.option(
    "--payload",
    metavar="JSON|@FILE|-",
    help="The job's payload: JSON, or @ and a file of it, or - for stdin.",
)
@db_option
@click.option(
    "--new", is_flag=True, help="Start a new run, even if this job has an unfinished one with this payload."
)
@click.option(
    "--tag", "tags", multiple=True, metavar="TEXT", help="Tag a new run, to list it by. May be repeated."
)
@durability_option
@stop_timeout_option
@json_option("Print one JSON object about the run (id, status, output, error, …), not only its output.")
@click.pass_context
def run(
    ctx: click.Context,
    target: str,
    payload: str | None,
    db: Database,
    new: bool,
    tags: tuple[str, ...],
    durability: str,
    stop_timeout: float,
    as_json: bool,
) -> None:
    """Execute a job here, with its progress on stderr and its output as JSON on stdout.

    The job is FILE.py:JOB or MODULE:JOB; the name may be left out if there is only one. Runs that it
    starts of other jobs of this file are executed, too. Whatever a job itself prints goes to stderr.

    The same command again goes on with its unfinished run: same job, same payload, from its last
    checkpoint. Ctrl-C lets the run finish what it can and releases it; a second one stops at once.
    """
    text = read_payload(payload)
    with contextlib.redirect_stdout(sys.stderr):
        job, loaded = load_job(target)
        order = Order(job, loaded, _payload(job, text), db, new, tags, durability, stop_timeout)
        row, disposition, code = asyncio.run(_run(order))
    if as_json:
        click.echo(json_text({**run_json(row), "disposition": disposition}))
    elif row.status == Status.COMPLETED:
        click.echo(json_text(value_json(row.output)))
    ctx.exit(code)


def _payload(job: AnyJob, text: str | None) -> Any:
    try:
        return job.payload.validate(None) if text is None else job.payload.decode(text)
    except InvalidPayload as error:
        problems = "; ".join(f"{p.path}: {p.message}" for p in error.problems)
        raise Failure(f"--payload: {problems}", Exit.FAILED) from None


async def _run(order: Order) -> tuple[RunRow, str, int]:
    screen = Screen()
    with StopSignals() as signals, diagnostics(screen):
        async with opened(order.db, durability=order.durability, create=True) as store:
            row, disposition = await _take_up(order, store, screen)
            progress = Progress(screen, row)
            ours = _Ours(row.id, progress)
            app = Durable(observed(store, ours), jobs=order.loaded.all, schedules=False)
            if lacking := [name for name in order.job.requires if name not in app.connections]:
                names = f"{', '.join(lacking)}, which {order.job.name} requires"
                screen.say(f"waiting for a worker that is connected to {names}", "yellow")
            follower = Follower(store, row, progress.told, progress.looked)
            await follower.look()
            progress.begin()
            app.listen(progress.hear)
            app.listen(lambda event: follower.nudge() if event.type == EventType.LOG else None)
            with progress.display():
                async with app:
                    await _until_the_end(order, app, follower, signals, progress, ours)
            with contextlib.suppress(StoreError):  # then what was seen last has to do
                await follower.look()
            return follower.row, disposition, _account(order, follower.row, progress, signals)


async def _take_up(order: Order, store: Store, screen: Screen) -> tuple[RunRow, str]:
    """The run to execute: the unfinished one of this job and payload, or a new one."""
    job = order.job
    if not order.new:
        text = job.payload.encode(order.payload)
        earlier = await find_earlier(store, job.name, text)
        if (row := earlier.unfinished) is not None:
            screen.say(
                f"run {row.id} of {job.name} is {row.status}: going on with it (--new starts another)", "bold"
            )
            return row, "resumed"
        if (row := earlier.failed) is not None:
            hint = f"durable-lite runs resume {row.id}{order.db.hint}"
            screen.say(
                f"the last such run {row.status}; to go on with that one instead: {hint}",
                "yellow",
                to_copy=True,
            )
    async with Durable(store, jobs=[job], worker=False) as app:
        handle = await app.trigger(job, order.payload, tags=order.tags)
    row = await store.get_run(handle.id)
    if row is None:
        raise Failure(f"run {handle.id} was deleted", Exit.FAILED)
    screen.say(f"run {row.id} of {job.name}", "bold")
    return row, "created"


class _Ours(Observer):
    """Tells what our own worker does: to this run, and to others, for a worker claims by job."""

    def __init__(self, run_id: str, progress: Progress) -> None:
        self._run_id, self._progress = run_id, progress
        self.others: set[str] = set()  # all that were claimed here
        self.held: set[str] = set()  # those of them that execute now

    def registered(self, worker: str) -> None:
        self._progress.worker = worker

    def saved(self, run_id: str, path: str) -> None:
        if run_id == self._run_id:
            self._progress.saved(path)

    def claimed(self, claim: Claim) -> None:
        run = claim.run
        if run.id != self._run_id:
            self.held.add(run.id)
        if run.id != self._run_id and run.id not in self.others:
            self.others.add(run.id)
            if run.parent_id != self._run_id and run.parent_id not in self.others:
                self._progress.say(
                    f"run {run.id} of {run.job} was unfinished too: executing it as well", "dim"
                )

    def settled(self, run_id: str, settlement: Settlement) -> None:
        self.held.discard(run_id)


async def _until_the_end(
    order: Order, app: Durable, follower: Follower, signals: StopSignals, progress: Progress, ours: _Ours
) -> None:
    following = asyncio.ensure_future(follower.follow())
    stopping = asyncio.ensure_future(signals.wait())
    try:
        await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not following.done():
            timeout = length(order.stop_timeout)
            progress.say(
                f"{signals.name}: it goes on for {timeout} at most, then is released; again stops at once",
                "bold",
            )
            await app.stop(order.stop_timeout)
        elif ours.held:
            progress.say(f"done; letting go of {plural(len(ours.held), 'other run')}", "dim")
            await app.stop(order.stop_timeout)
        if following.done():
            following.result()
    finally:
        following.cancel()
        stopping.cancel()
        await asyncio.gather(following, stopping, return_exceptions=True)


def _account(order: Order, row: RunRow, progress: Progress, signals: StopSignals) -> int:
    """The last line, and the exit code."""
    new, before = progress.done - progress.done_before, progress.done_before
    steps = plural(new, "step") + (f" now, {before:,} before" if before else "")
    took = length(progress.elapsed)
    if row.status == Status.COMPLETED:
        progress.say(f"completed in {took}: {steps}", "green")
        return Exit.OK
    if row.status not in FINAL:
        progress.say(f"run {row.id} is {row.status} after {steps}; the same command goes on with it", "bold")
        return signals.exit_code
    if row.status == Status.MOVED:
        progress.say(f"moved to another store after {took}, {steps}", "magenta")
        return Exit.FAILED
    error = error_text(None if row.error is None else json.loads(row.error))
    style = "magenta" if row.status == Status.CANCELLED else "red"
    told = "" if row.status == Status.CANCELLED else f": {error}"
    progress.say(f"{row.status} after {took}, {steps}{told}", style)
    if row.status in RESUMABLE:
        resume = f"durable-lite runs resume {row.id}{order.db.hint}"
        progress.say(
            f"to go on from its last checkpoint: {resume}, and then this command again", to_copy=True
        )
    if row.error is not None and "traceback" in json.loads(row.error):
        progress.say(
            f"where: durable-lite runs show {shlex.quote(row.id)} --traceback{order.db.hint}", to_copy=True
        )
    return code_of(row.status)
