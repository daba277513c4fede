"""The command itself: its subcommands, one line for every error, and the way out of the process."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import click

from .. import __version__
from ..errors import DurableError
from .events import events
from .exits import Exit, Failure, failure
from .queues import queues
from .run import run
from .runs import runs
from .schedules import schedules
from .serve import serve
from .tokens import tokens
from .web import web
from .worker import worker

__all__ = ["cli", "start"]

_NO_ARGUMENTS = (getattr(click.exceptions, "NoArgsIsHelpError", None),)  # since click 8.2
_STEP_THREADS = "durable-lite-step"
_THREAD_GRACE = 0.5  # seconds for idle threads to notice that the pool is closed


class Command(click.Group):
    """Turns errors into one line and an exit code: no traceback of ours, no usage text."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DurableError as error:
            raise failure(error) from None
        except KeyboardInterrupt:
            raise Failure("interrupted", Exit.INTERRUPTED) from None
        except click.UsageError as error:
            raise _usage(error) from None

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            raise _usage(error) from None


def _usage(error: click.UsageError) -> click.ClickException:
    if type(error) in _NO_ARGUMENTS:
        return error  # it shows the help
    path = error.ctx.command_path if error.ctx else "durable-lite"
    return Failure(f"{error.format_message()} ({path} --help)", error.exit_code)


@click.group(
    "durable-lite",
    cls=Command,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="durable-lite", message="%(prog)s %(version)s")
def cli() -> None:
    """Jobs that survive the death of their process.

    A job is an async function in a Python file, cut into steps. Finished steps are kept in a SQLite
    file; kill the process, start the same command again, and the run goes on where it was.
    """


cli.add_command(run)
cli.add_command(worker)
cli.add_command(serve)
cli.add_command(runs)
cli.add_command(tokens)
cli.add_command(events)
cli.add_command(queues)
cli.add_command(schedules)
cli.add_command(web)


def start() -> None:
    """Run the command and end the process, even when a step's thread hasn't returned."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    code: Any = 1
    try:
        cli.main(prog_name="durable-lite")
    except SystemExit as stop:
        code = stop.code
    if _threads_left():
        print("durable-lite: a sync step hasn't returned; its thread is left behind", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
    sys.exit(code)


def _threads_left() -> bool:
    """Whether steps' threads are still at work: Python would wait for them, however long they take."""
    threads = [one for one in threading.enumerate() if one.name.startswith(_STEP_THREADS)]
    for thread in threads:
        thread.join(_THREAD_GRACE)
    return any(thread.is_alive() for thread in threads)
