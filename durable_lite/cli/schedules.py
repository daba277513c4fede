"""`durable-lite schedules`: what starts jobs by the clock, when it does so next, and a pause for it."""

from __future__ import annotations

import asyncio

import click
from rich.text import Text

from ..durable import Durable
from ..records import ScheduleRow
from .options import Database, db_option, json_option, opened
from .safe import json_text, visible
from .screen import moment, output_console
from .tables import table

__all__ = ["schedules"]


@click.group()
def schedules() -> None:
    """List schedules, pause, resume and forget them."""


@schedules.command("list")
@db_option
@json_option('Print {"schedules": […]}.')
def list_(db: Database, as_json: bool) -> None:
    """List the schedules of all jobs that a worker has told of.

    NEXT is in this machine's time zone. One that is overdue waits for a worker that knows the job.
    """

    async def look() -> None:
        async with opened(db) as store, Durable(store, worker=False) as app:
            found = await app.list_schedules()
            if as_json:
                click.echo(json_text({"schedules": [row._asdict() for row in found]}))
            elif not found:
                click.echo(f"No job in {visible(store.url)} has a schedule.")
            else:
                _show(found, app.clock.now())

    asyncio.run(look())


@schedules.command()
@click.argument("job", metavar="JOB")
@click.argument("name", metavar="[SCHEDULE]", required=False)
@db_option
def pause(job: str, name: str | None, db: Database) -> None:
    """Start no run by a job's schedule, or by any of its schedules, until it is resumed."""
    _steer(job, name, db, paused=True)


@schedules.command()
@click.argument("job", metavar="JOB")
@click.argument("name", metavar="[SCHEDULE]", required=False)
@db_option
def resume(job: str, name: str | None, db: Database) -> None:
    """Let a paused schedule go on from now. What it has missed isn't made up for."""
    _steer(job, name, db, paused=False)


@schedules.command()
@click.argument("job", metavar="JOB")
@db_option
def delete(job: str, db: Database) -> None:
    """Forget the schedules of a job that isn't in the code any more.

    A worker that knows the job tells of them again when it starts.
    """

    async def forget() -> None:
        async with opened(db) as store, Durable(store, worker=False) as app:
            await app.delete_schedules(job)

    asyncio.run(forget())
    click.echo(visible(f"{job} has no schedule."))


def _steer(job: str, name: str | None, db: Database, *, paused: bool) -> None:
    async def steer() -> list[ScheduleRow]:
        async with opened(db) as store, Durable(store, worker=False) as app:
            return await (app.pause_schedule if paused else app.resume_schedule)(job, name)

    for row in asyncio.run(steer()):
        click.echo(visible(f"{row.job}: {row.name} is {'paused' if paused else 'not paused'}."))


def _show(found: list[ScheduleRow], now: float) -> None:
    shown = table()
    for title in ("JOB", "SCHEDULE", "NEXT", "LAST", "CATCH UP", ""):
        shown.add_column(title)
    for row in found:
        state = "paused" if row.paused else "overdue" if row.next_at < now - 60 else ""
        shown.add_row(
            Text(visible(row.job)), Text(visible(row.name)), "" if row.paused else moment(row.next_at),
            "" if row.last_at is None else moment(row.last_at), Text(visible(row.catch_up)),
            Text(state, style="yellow"),
        )  # fmt: skip
    output_console().print(shown)
