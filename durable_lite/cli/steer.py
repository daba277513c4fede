"""`durable-lite runs cancel|resume|replay|fork|delete|purge`: they change the store and execute nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import click

from .. import codec
from ..durable import Durable
from ..errors import InvalidPayload
from ..records import RunRow
from ..status import FINAL, Status
from .exits import Exit, Failure
from .find import find_run
from .load import AnyJob, load_jobs, no_such_job
from .options import Database, db_option, length_of, opened, read_payload
from .safe import visible
from .screen import Screen, ago, length, plural

__all__ = ["STEERING"]

_BATCH = 200  # runs in one transaction: others that write wait for a moment only


def _steer(
    db: Database,
    run_id: str,
    act: Callable[[Durable, RunRow], Awaitable[str]],
    jobs: dict[str, AnyJob] | None = None,
) -> None:
    """Find the run, `act` on it, print what `act` says."""

    async def steer() -> str:
        async with opened(db) as store, Durable(store, jobs=list((jobs or {}).values()), worker=False) as app:
            return await act(app, await find_run(store, run_id))

    click.echo(visible(asyncio.run(steer())))


def _to_execute(db: Database) -> str:
    return f"To execute it: durable-lite worker FILE.py{db.hint}"


@click.command()
@click.argument("run_id", metavar="ID")
@db_option
def cancel(run_id: str, db: Database) -> None:
    """Cancel a run that hasn't finished.

    A worker that executes it hears of it at its next write or heartbeat.
    """

    async def act(app: Durable, row: RunRow) -> str:
        await app.cancel(row.id)
        heard = "; its worker stops at its next write or heartbeat" if row.status == Status.EXECUTING else ""
        return f"{row.id} of {row.job} is CANCELLED{heard}."

    _steer(db, run_id, act)


@click.command()
@click.argument("run_id", metavar="ID")
@db_option
def resume(run_id: str, db: Database) -> None:
    """Let a run that failed, timed out or was cancelled go on from its last checkpoint.

    Its attempts count anew. A worker executes it, or the `durable-lite run` command that started it.
    """

    async def act(app: Durable, row: RunRow) -> str:
        await app.resume(row.id)
        return f"{row.id} of {row.job} was {row.status} and is PENDING. {_to_execute(db)}"

    _steer(db, run_id, act)


@click.command()
@click.argument("run_id", metavar="ID")
@click.argument("targets", nargs=-1, metavar="[FILE.py]…")
@db_option
@click.option(
    "--payload", metavar="JSON|@FILE|-", help="Another payload: JSON, or @ and a file of it, or - for stdin."
)
def replay(run_id: str, targets: tuple[str, ...], db: Database, payload: str | None) -> None:
    """Start a new run of the same job with the same payload, or with --payload.

    With the job's FILE.py the payload is checked here, otherwise when the new run is claimed.
    """
    text = read_payload(payload)
    jobs = load_jobs(targets).jobs if targets else {}

    async def act(app: Durable, row: RunRow) -> str:
        job = jobs.get(row.job)
        if targets and job is None:
            raise Failure(f"{' '.join(targets)}: {no_such_job(row.job, jobs)}")
        try:
            given = _given(text, job)
            new = await app.replay(row.id, given)
        except InvalidPayload as error:
            problems = "; ".join(f"{p.path}: {p.message}" for p in error.problems)
            where = "--payload" if text is not None else f"the payload of {row.id}"
            raise Failure(f"{where}: {problems}", Exit.FAILED) from None
        return f"{new.id} of {new.job} is PENDING, a replay of {row.id}. {_to_execute(db)}"

    _steer(db, run_id, act, jobs)


def _given(text: str | None, job: AnyJob | None) -> Any:
    if text is None:
        return None
    return codec.decode(text) if job is None else job.payload.decode(text)


@click.command()
@click.argument("run_id", metavar="ID")
@click.argument("step", metavar="STEP")
@db_option
def fork(run_id: str, step: str, db: Database) -> None:
    """Start a new run with the checkpoints that were stored before a step's.

    STEP is the path of a step, as `runs show` has it; it and what comes after it is done anew.
    """

    async def act(app: Durable, row: RunRow) -> str:
        new = await app.fork(row.id, step)
        kept = sum(one.seq is not None for one in await app.steps(new.id))
        return (
            f"{new.id} of {new.job} is {new.status}, a fork of {row.id} with {plural(kept, 'step')} of it. "
            f"{_to_execute(db)}"
        )

    _steer(db, run_id, act)


def asks() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


@click.command()
@click.argument("run_id", metavar="ID")
@db_option
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
def delete(run_id: str, db: Database, yes: bool) -> None:
    """Remove a finished run with its steps, events and log. Asks first."""

    async def act(app: Durable, row: RunRow) -> str:
        what = f"{row.id} of {row.job} ({row.status}, {ago(app.clock.now() - row.created_at)})"
        if row.status in FINAL and not yes:
            if not asks():
                raise Failure("delete asks first, and here is nobody to ask: say --yes")
            if not click.confirm(f"Delete {visible(what)}?", err=True):
                raise Failure("nothing was deleted", Exit.FAILED)
        await app.delete(row.id)
        return f"{what} is deleted."

    _steer(db, run_id, act)


@click.command()
@db_option
@click.option(
    "--older-than",
    callback=length_of,
    metavar="DURATION",
    required=True,
    help="Only runs that finished longer ago than this, such as 30d or 12h.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many. [default: all]")
def purge(db: Database, older_than: float, limit: int | None) -> None:
    """Remove finished runs for good, many small transactions after each other.

    Others can work meanwhile; interrupted, it has done a part.
    """

    async def sweep() -> int:
        screen, removed = Screen(), 0
        status = screen.console.status("Purging…") if screen.live else None
        async with opened(db) as store, Durable(store, worker=False) as app:
            try:
                if status:
                    status.start()
                while limit is None or removed < limit:
                    wanted = _BATCH if limit is None else min(_BATCH, limit - removed)
                    count = await app.purge(older_than=older_than, limit=wanted)
                    removed += count
                    if count < wanted:
                        break
                    if status:
                        status.update(f"Purging… {plural(removed, 'run')} removed")
                    await asyncio.sleep(0)  # let Ctrl-C in
            finally:
                if status:
                    status.stop()
        return removed

    click.echo(f"{plural(asyncio.run(sweep()), 'run')} removed, finished more than {length(older_than)} ago.")


STEERING: tuple[click.Command, ...] = (cancel, resume, replay, fork, delete, purge)
