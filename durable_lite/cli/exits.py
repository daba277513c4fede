"""Exit codes, and which error leads to which: scripts rely on them, `docs/cli.md` lists them."""

from __future__ import annotations

from enum import IntEnum

import click

from ..errors import DurableError, InvalidOption, RunNotFound, StoreError, UnknownJob
from ..status import Status
from .safe import visible

__all__ = ["Exit", "Failure", "code_of", "detail", "failure"]


class Exit(IntEnum):
    """What `durable-lite` exits with. After a signal it is 128 + its number."""

    OK = 0  # for `run`: the run has COMPLETED
    FAILED = 1  # FAILED, TIMED_OUT, INVALID_PAYLOAD, UNRESOLVED_AUTH; or the run's status doesn't allow it
    USAGE = 2  # an argument or an option is wrong
    STORE = 3  # the store can't be opened, read or written
    CANCELLED = 4
    INTERRUPTED = 130  # SIGINT
    TERMINATED = 143  # SIGTERM


class Failure(click.ClickException):
    """An error for people: one line on stderr, and an exit code."""

    def __init__(self, message: str, code: int = Exit.USAGE) -> None:
        super().__init__(message)
        setattr(self, "exit_code", code)  # noqa: B010  to mypy it is the class's own

    def show(self, file: object = None) -> None:
        click.echo(f"durable-lite: {visible(self.message)}", err=True)


def failure(error: DurableError) -> Failure:
    """The line and the code for an error of durable_lite."""
    if isinstance(error, StoreError):
        code = Exit.STORE
    elif isinstance(error, (InvalidOption, UnknownJob, RunNotFound)):
        code = Exit.USAGE
    else:
        code = Exit.FAILED
    return Failure(str(error), code)


def detail(error: InvalidOption) -> str:
    """What is wrong, without the option's Python name."""
    return str(error).removeprefix(f"{error.option}: ")


def code_of(status: str) -> Exit:
    """The exit code for how a run ended."""
    if status == Status.COMPLETED:
        return Exit.OK
    return Exit.CANCELLED if status == Status.CANCELLED else Exit.FAILED
