"""`durable-lite runs`: the group of commands that show and steer runs; here those that only look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..as_json import event_json, log_json, run_json, step_json, summary_json
from ..durable import Durable
from ..following import stored_events
from ..listing import SEARCHED, list_runs, run_filter
from ..status import Status
from ..timeline import timeline
from .find import find_run
from .move import MOVING
from .options import Database, db_option, json_option, length_of, opened
from .safe import json_text, visible
from .screen import output_console
from .steer import STEERING
from .tables import Detail, show_run, show_runs
from .timeline import show_timeline
from .watch import watch

__all__ = ["runs"]

_SHOWN = 50
F = TypeVar("F", bound=Callable[..., Any])
_WHICH = (
    click.option(
        "--status",
        "statuses",
        multiple=True,
        type=click.Choice(list(Status), case_sensitive=False),
        metavar="STATUS",
        help=f"Only with this status; may be repeated. One of {', '.join(Status)}.",
    ),
    click.option("--job", metavar="NAME", help="Only of this job."),
    click.option(
        "--tag", "tags", multiple=True, metavar="TEXT", help="Only with this tag; may be repeated: with all."
    ),
)


@click.group()
def runs() -> None:
    """Show and steer runs. Wherever an ID is asked for, its beginning will do."""


for _command in (*STEERING, *MOVING):
    runs.add_command(_command)


def _which(command: F) -> F:
    """The options that say which runs are meant."""
    for option in reversed(_WHICH):
        command = option(command)
    return command


@runs.command("list")
@db_option
@_which
@click.option(
    "--search",
    metavar="TEXT",
    help=f"Only with this text in id, tags or payload, of the newest {SEARCHED:,} runs that match the rest.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="At most so many."
)
@click.option("--cursor", metavar="CURSOR", help="Go on after a page that ended with this cursor.")
@json_option('Print {"runs": […], "cursor": …}.')
def list_(
    db: Database,
    statuses: tuple[str, ...],
    job: str | None,
    tags: tuple[str, ...],
    search: str | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List runs, newest first."""
    wanted = run_filter(status=statuses or None, job=job, tag=tags, limit=limit, cursor=cursor)

    async def page() -> None:
        async with opened(db) as store:
            rows, following, searched = await list_runs(store, wanted, search)
            if as_json:
                document = {"runs": [summary_json(row) for row in rows], "cursor": following}
                click.echo(json_text(document if searched is None else {**document, "searched": searched}))
                return
            among = "" if searched is None else f" among the newest {searched:,}"
            sought = "" if searched is None else f"; searched{among}"
            if rows:
                show_runs(output_console(), rows, time.time())
            else:
                click.echo(f"No such runs{among} in {visible(store.url)}.")
            if following is not None:
                click.echo(f"There may be more{sought}: --cursor {following}", err=True)

    asyncio.run(page())


@runs.command("watch")
@db_option
@_which
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="At most so many."
)
@click.option(
    "--interval",
    callback=length_of,
    metavar="DURATION",
    default="1s",
    show_default=True,
    help="Look again after so long, also if nothing tells of a change.",
)
@json_option("Print one JSON object a line: each run as it is, and again at each change.")
@click.pass_context
def watch_(
    ctx: click.Context,
    db: Database,
    statuses: tuple[str, ...],
    job: str | None,
    tags: tuple[str, ...],
    limit: int,
    interval: float,
    as_json: bool,
) -> None:
    """Show the newest runs as they change, until Ctrl-C.

    On a terminal it is a table that fills it, elsewhere a line for each run, and for each change of one.
    """
    wanted = run_filter(status=statuses or None, job=job, tag=tags, limit=limit)
    ctx.exit(asyncio.run(watch(db, wanted, interval, as_json)))


@runs.command()
@click.argument("run_id", metavar="ID")
@db_option
@click.option("--traceback", is_flag=True, help="Show the tracebacks of errors.")
@click.option(
    "--timeline", "in_time", is_flag=True, help="Draw the run and its steps in time, with what came between."
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"At most so many steps, events and log lines, the last ones. [default: {_SHOWN}; with --json: all]",
)
@json_option("Print one JSON object: the run, its steps, events and log, or its timeline.")
def show(run_id: str, db: Database, traceback: bool, in_time: bool, limit: int | None, as_json: bool) -> None:
    """Show a run: its steps and waits, what happened to it, its log, its error."""

    async def look() -> None:
        async with opened(db) as store, Durable(store, worker=False) as app:
            row = await find_run(store, run_id)
            steps, logs = await app.steps(row.id), await app.logs(row.id)
            steps.sort(key=lambda step: step.started_at)  # waits have no other place
            events = await stored_events(store, row.id)
            last = slice(-limit if limit else None, None)
            if in_time:
                found = timeline(row, steps, events, time.time())
                if as_json:
                    few = {name: found[name][last] for name in ("steps", "marks")}
                    click.echo(json_text({**found, **few}))
                else:
                    show_timeline(output_console(), row, found, events, limit or _SHOWN)
            elif as_json:
                document = {
                    **run_json(row),
                    "steps": [step_json(one) for one in steps[last]],
                    "events": [event_json(one) for one in events[last]],
                    "logs": [log_json(one) for one in logs[last]],
                }
                click.echo(json_text(document))
            else:
                detail = Detail(row, steps, events, logs, traceback, limit or _SHOWN, time.time())
                show_run(output_console(), detail)

    asyncio.run(look())
