"""`durable-lite tokens`: what runs wait for from outside, and how to give it to them."""

from __future__ import annotations

import asyncio
import json
import time

import click
from rich.text import Text

from ..as_json import token_json
from ..codec import decode
from ..durable import Durable
from ..records import TokenRow
from .exits import Failure
from .find import find_run
from .options import Database, db_option, json_option, opened, read_payload
from .safe import json_text, line, visible
from .screen import ago, error_text, length, output_console
from .tables import table

__all__ = ["tokens"]

_STATES = ("pending", "completed", "failed", "expired")
_STYLES = {"pending": "blue", "completed": "green", "failed": "red", "expired": "yellow"}


@click.group()
def tokens() -> None:
    """List, complete and fail the tokens that runs wait for."""


@tokens.command("list")
@db_option
@click.option(
    "--state", type=click.Choice(_STATES), default="pending", show_default=True, help="Only in this state."
)
@click.option("--all", "all_states", is_flag=True, help="In any state.")
@click.option("--run", "run_id", metavar="ID", help="Only of this run.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="At most so many."
)
@click.option("--cursor", metavar="CURSOR", help="Go on after a page that ended with this cursor.")
@json_option('Print {"tokens": […], "cursor": …}.')
def list_(
    db: Database,
    state: str,
    all_states: bool,
    run_id: str | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List tokens, newest first: by default those that somebody is waited for to complete."""

    async def page() -> None:
        async with opened(db) as store, Durable(store, worker=False) as app:
            run = None if run_id is None else (await find_run(store, run_id)).id
            found = await app.list_tokens(
                state=None if all_states else state, run=run, limit=limit, cursor=cursor
            )
            if as_json:
                rows = [token_json(row) for row in found.tokens]
                click.echo(json_text({"tokens": rows, "cursor": found.cursor}))
                return
            if not found.tokens:
                what = "tokens" if all_states else f"{state} tokens"
                click.echo(f"No {what} in {visible(store.url)}.")
                return
            _show(found.tokens)
            if found.cursor is not None:
                click.echo(f"There may be more: --cursor {found.cursor}", err=True)

    asyncio.run(page())


@tokens.command()
@click.argument("token_id", metavar="TOKEN")
@click.argument("value", required=False, metavar="[JSON|@FILE|-]")
@db_option
def complete(token_id: str, value: str | None, db: Database) -> None:
    """Complete a token with a value: JSON, or @ and a file of it, or - for stdin. [default: null]

    Its run goes on as soon as a worker claims it. Completing it again changes nothing.
    """
    text = read_payload(value, "VALUE")

    async def finish() -> str:
        async with opened(db) as store, Durable(store, worker=False) as app:
            row = await app.complete_token(token_id, None if text is None else decode(text))
            return _said(row)

    click.echo(visible(asyncio.run(finish())))


@tokens.command()
@click.argument("token_id", metavar="TOKEN")
@click.argument("message", metavar="MESSAGE")
@db_option
def fail(token_id: str, message: str, db: Database) -> None:
    """Fail a token: its run gets TokenFailed with this message where it waits."""
    if not message:
        raise Failure("MESSAGE: say why")

    async def finish() -> str:
        async with opened(db) as store, Durable(store, worker=False) as app:
            return _said(await app.fail_token(token_id, message))

    click.echo(visible(asyncio.run(finish())))


def _said(row: TokenRow) -> str:
    return f"{row.id} of run {row.run_id} ({row.path}) is {row.state}."


def _show(rows: list[TokenRow]) -> None:
    now, found = time.time(), table()
    for title in ("TOKEN", "RUN", "STEP", "STATE", "CREATED", "DEADLINE, VALUE, ERROR"):
        found.add_column(title, no_wrap=title in ("STATE", "CREATED"), overflow="fold")
    for row in rows:
        if row.state == "pending":
            what = f"in {length(row.deadline - now)}" if row.deadline > now else "over"
        elif row.error is not None:
            what = line(error_text(json.loads(row.error)), 200)
        else:
            what = line(row.output or "", 200)
        cells = [Text(visible(cell)) for cell in (row.id, row.run_id, row.path)]
        state = Text(row.state, style=_STYLES[row.state])
        found.add_row(*cells, state, Text(ago(now - row.created_at), style="dim"), Text(visible(what)))
    output_console().print(found)
