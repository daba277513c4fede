"""`durable-lite events`: send one to the jobs that it starts and the runs that wait for it."""

from __future__ import annotations

import asyncio

import click

from .. import codec
from ..durable import Durable
from .options import Database, db_option, json_option, opened, read_payload
from .safe import json_text, visible
from .screen import plural

__all__ = ["events"]


@click.group()
def events() -> None:
    """Send events."""


@events.command()
@click.argument("name", metavar="NAME")
@click.argument("payload", required=False, metavar="[JSON|@FILE|-]")
@db_option
@click.option("--id", "event_id", metavar="TEXT", help="Sent again with this id, nothing happens.")
@json_option('Print {"fresh": …, "runs": […], "waits": …}.')
def send(name: str, payload: str | None, db: Database, event_id: str | None, as_json: bool) -> None:
    """Send an event: jobs that are `on` it start, runs that wait for it go on.

    Workers tell the store which jobs those are when they start. The payload is JSON, or @ and a file of
    it, or - for stdin. [default: null]
    """
    text = read_payload(payload, "PAYLOAD")

    async def act() -> str:
        async with opened(db) as store, Durable(store, worker=False) as app:
            sent = await app.send_event(name, None if text is None else codec.decode(text), id=event_id)
            if as_json:
                return json_text(sent._asdict())
            if not sent.fresh:
                return f"{name} with the id {event_id} was sent before: nothing was done."
            runs = f": {', '.join(sent.runs)}" if sent.runs else ""
            started = f"{plural(len(sent.runs), 'run')} started{runs}"
            return f"{name} is sent; {started}; {plural(sent.waits, 'wait')} ended."

    said = asyncio.run(act())
    click.echo(said if as_json else visible(said))
