"""`durable-lite queues`: their limits, who stands in them, and a pause for all of one."""

from __future__ import annotations

import asyncio

import click
from rich.text import Text

from ..durable import Durable
from ..durations import text
from ..records import QueueState
from .options import Database, db_option, json_option, opened
from .safe import json_text, visible
from .screen import output_console
from .tables import table

__all__ = ["queues"]


@click.group()
def queues() -> None:
    """List queues, pause and resume them."""


@queues.command("list")
@db_option
@json_option('Print {"queues": […]}.')
def list_(db: Database, as_json: bool) -> None:
    """List the queues that have limits, or are or were paused.

    A queue without limits, such as "default", isn't listed: its runs wait for nothing but a worker.
    """

    async def look() -> None:
        async with opened(db) as store, Durable(store, worker=False) as app:
            found = await app.list_queues()
            if as_json:
                rows = [{**s.queue._asdict(), "queued": s.queued, "taken": s.taken} for s in found]
                click.echo(json_text({"queues": rows}))
            elif not found:
                click.echo(f"No queue in {visible(store.url)} has limits or is paused.")
            else:
                _show(found)

    asyncio.run(look())


@queues.command()
@click.argument("name", metavar="QUEUE")
@db_option
def pause(name: str, db: Database) -> None:
    """Let no run of a queue start, nor go on after a wait, until it is resumed.

    What executes goes on.
    """
    _steer(name, db, paused=True)


@queues.command()
@click.argument("name", metavar="QUEUE")
@db_option
def resume(name: str, db: Database) -> None:
    """Let the runs of a paused queue go on."""
    _steer(name, db, paused=False)


def _steer(name: str, db: Database, *, paused: bool) -> None:
    async def steer() -> str:
        async with opened(db) as store, Durable(store, worker=False) as app:
            await (app.pause_queue(name) if paused else app.resume_queue(name))
            queued = sum(one.queued for one in await app.list_queues() if one.queue.name == name)
            return f"{name} is {'paused' if paused else 'not paused'}; {queued:,} QUEUED."

    click.echo(visible(asyncio.run(steer())))


def _length(period: float) -> str:
    """As one writes it in a rate: `s`, `m`, `30s`."""
    units = {1.0: "s", 60.0: "m", 3600.0: "h"}
    return units.get(period) or text(period)


def _show(found: list[QueueState]) -> None:
    shown = table()
    for title in ("QUEUE", "CONCURRENCY", "RATE", "TAKEN", "QUEUED", ""):
        shown.add_column(title, justify="right" if title in ("TAKEN", "QUEUED", "CONCURRENCY") else "left")
    for queue, queued, taken in found:
        rate = "" if queue.rate is None else f"{queue.rate}/{_length(queue.period or 0)}"
        shown.add_row(
            Text(visible(queue.name)), str(queue.concurrency or ""), rate, f"{taken:,}", f"{queued:,}",
            Text("paused" if queue.paused else "", style="yellow"),
        )  # fmt: skip
    output_console().print(shown)
