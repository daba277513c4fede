"""What the commands share: the options for the store, the payload and JSON, and opening a store."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
from click.core import ParameterSource

from ..durations import seconds
from ..errors import InvalidOption
from ..ports import Store
from ..stores import open_url
from .exits import Exit, Failure, detail

__all__ = [
    "BUSY_LIMIT",
    "Database",
    "db_option",
    "durability_option",
    "json_option",
    "length_of",
    "opened",
    "read_payload",
    "stop_timeout_option",
]

F = TypeVar("F", bound=Callable[..., Any])

# How long a person waits for a file that another process keeps locked, in seconds.
BUSY_LIMIT = 5.0

_is_url = re.compile(r"(?:[a-z][a-z0-9+]+://|(?:memory|sqlite|indexeddb|postgresql):)").match


class Database(NamedTuple):
    """What `--db` says: the store's URL, and how to say it again in a command."""

    url: str
    hint: str  # " --db other.db", or "" where the default or the environment has said it

    @property
    def is_memory(self) -> bool:
        return self.url.startswith("memory:")


def _database(ctx: click.Context, param: click.Parameter, value: str) -> Database:
    if not value:
        raise click.BadParameter("expected a file or a URL", ctx, param)
    given = ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
    return Database(
        value if _is_url(value) else f"sqlite:{value}", f" --db {shlex.quote(value)}" if given else ""
    )


def db_option(command: F) -> F:
    return click.option(
        "--db",
        metavar="FILE|URL",
        envvar="DURABLE_LITE_DB",
        default="durable.db",
        show_default=True,
        show_envvar=True,
        callback=_database,
        help="Where runs are kept: a SQLite file, or a store's URL.",
    )(command)


def json_option(help: str) -> Callable[[F], F]:
    return click.option("--json", "as_json", is_flag=True, help=help)


def length_of(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """The callback of a duration: `90s`, `5m`, `24h`, `30d`, or a number of seconds; in seconds."""
    given: float | str = float(value) if value.replace(".", "", 1).isdecimal() else value
    try:
        return seconds(given, "", allow_zero=True)
    except InvalidOption as error:
        raise click.BadParameter(detail(error), ctx, param) from None


stop_timeout_option = click.option(
    "--stop-timeout",
    callback=length_of,
    metavar="DURATION",
    default="10s",
    show_default=True,
    help="After a signal: how long runs may go on before they are released.",
)

durability_option = click.option(
    "--durability",
    type=click.Choice(["strict", "relaxed"]),
    default="strict",
    show_default=True,
    help="What a checkpoint survives: a power loss, or a killed process only.",
)


@asynccontextmanager
async def opened(
    database: Database, *, durability: str = "strict", create: bool = False
) -> AsyncIterator[Store]:
    """The open store. Without `create` it has to be there, and a locked file isn't waited for long."""
    store = open_url(database.url, durability)
    if not create:
        if database.is_memory:
            raise Failure("--db: memory: is empty in every new process; name a file")
        if (path := _missing(store)) is not None:
            raise Failure(f"--db: {path}: there is no such file; `durable-lite run` creates it", Exit.STORE)
        if hasattr(store, "busy_limit"):
            store.busy_limit = BUSY_LIMIT
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def _missing(store: Store) -> str | None:
    """The file of a store that has one, and hasn't it yet."""
    path: str | None = getattr(store, "path", None)
    return None if path is None or Path(path).exists() else path


def read_payload(given: str | None, option: str = "--payload") -> str | None:
    """The JSON text of an option: itself, of `@file`, or of stdin for `-`. Checked to be JSON."""
    if given is None:
        return None
    where, text = option, given
    try:
        if given == "-":
            where, text = f"{option}: stdin", sys.stdin.read()
        elif given.startswith("@"):
            where = f"{option}: {given[1:]}"
            with open(given[1:], encoding="utf-8") as file:
                text = file.read()
        json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise Failure(f"{where}: not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise Failure(f"{where}: not UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise Failure(f"{where}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise Failure(f"{where}: not JSON: {error}") from None
    return text


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
