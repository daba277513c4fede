"""`durable-lite web`: builds what a static host needs to run jobs in a tab, and serves it to try it out."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ..web.build import Heard, Plan, build
from .exits import Exit, Failure
from .options import json_option
from .safe import json_text, visible
from .screen import Screen, output_console
from .signals import StopSignals

if TYPE_CHECKING:
    from ..web.build import Report

__all__ = ["web"]

_FOLDER = click.Path(path_type=Path)


@click.group()
def web() -> None:
    """Run jobs in a browser's tab: build the static files, and serve them."""


@web.command("build")
@click.argument("jobs", nargs=-1, type=_FOLDER, metavar="[FILE.py]…")
@click.option("--out", type=_FOLDER, required=True, metavar="DIR", help="The folder to write, or to renew.")
@click.option(
    "--pyodide",
    type=_FOLDER,
    metavar="DIR",
    help="Where Pyodide's files are. [default: the nearest node_modules/pyodide]",
)
@click.option(
    "--stdlib",
    type=click.Choice(["full", "slim"]),
    default="full",
    show_default=True,
    help="All of Python's library, or without what is never used in a tab.",
)
@click.option(
    "--wheel", "wheels", type=_FOLDER, multiple=True, metavar="FILE.whl", help="Another package; repeatable."
)
@click.option("--no-br", is_flag=True, help="Compress nothing: quicker, and enough to try it out.")
@click.option("--force", is_flag=True, help="Write into a folder, and over files, that no build has made.")
@json_option("Print what was built as JSON.")
def build_command(
    jobs: tuple[Path, ...],
    out: Path,
    pyodide: Path | None,
    stdlib: Any,
    wheels: tuple[Path, ...],
    no_br: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write everything that a page needs to run the jobs of these files in its tab.

    That is Pyodide, Python's library and durable_lite as byte code, the ES modules, the job files, and
    the manifest by which the page finds them. It takes no other host and no special headers.

    A build that fails changes nothing; the next one repeats only what has changed.
    """
    screen = Screen()
    plan = Plan(out, jobs, pyodide, stdlib, wheels, not no_br, force)
    with _Shown(screen) as shown, _ended_by_sigterm():
        report = build(plan, shown)
    for note in report.notes:
        screen.say(note, "yellow")
    if as_json:
        click.echo(json_text(report.as_json()))
    else:
        _show(report)


@web.command()
@click.argument("folder", type=_FOLDER, metavar="DIR")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8000,
    show_default=True,
    metavar="N",
    help="0 is any free one; but a browser keeps its runs by port.",
)
@click.option("--csp", is_flag=True, help="Send the strictest Content-Security-Policy that works.")
@click.pass_context
def serve(ctx: click.Context, folder: Path, host: str, port: int, csp: bool) -> None:
    """Serve a folder on this machine until SIGINT or SIGTERM, to try a build out.

    Types, compression and caching are as a static host should have them. What isn't found is logged.
    """
    if not folder.is_dir():
        raise Failure(f"DIR: {folder}: there is no such folder")
    ctx.exit(asyncio.run(_serve(folder, host, port, csp)))


async def _serve(folder: Path, host: str, port: int, csp: bool) -> int:
    from ..web.serve import Server  # an HTTP server is of no use to the other commands

    screen = Screen()
    with StopSignals() as signals:
        try:
            server = Server(folder, host, port, csp=csp, told=screen.say)
        except OSError as error:
            hint = "; --port 0 takes a free one" if port else ""
            raise Failure(f"--port: {host}:{port}: {error.strerror or error}{hint}", Exit.FAILED) from None
        except OverflowError as error:
            raise Failure(f"--port: {error}") from None
        with server:
            thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
            thread.start()
            screen.say(f"serving {folder} at {server.url}", "bold", to_copy=True)
            await signals.wait()
            await asyncio.to_thread(server.shutdown)
        screen.say(f"{signals.name}: stopped", "bold")
    return signals.exit_code


class _Shown(Heard, contextlib.AbstractContextManager["_Shown"]):
    """Steps as lines on stderr, and a bar for the compression if that is a terminal."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._sizes: Mapping[str, int] = {}
        self._bar: Progress | None = None

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, what: str) -> None:
        self._screen.say(what)

    def compressing(self, sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        total = sum(sizes.values())
        self._screen.say(f"compressing {len(sizes)} files, {_size(total)}")
        if self._screen.live:
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=self._screen.console, transient=True)
            self._task = self._bar.add_task("brotli", total=total)
            self._bar.start()

    def compressed(self, url: str) -> None:
        if self._bar is not None:
            self._bar.advance(self._task, self._sizes[url])


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does: processes are ended and temporary files removed."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(Exit.TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(report: Report) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("FILE", overflow="fold")
    table.add_column("BYTES", justify="right", no_wrap=True)
    table.add_column("BROTLI", justify="right", no_wrap=True)
    modules = [entry for entry in report.files.values() if entry["kind"] == "module"]
    for url, entry in sorted(report.files.items(), key=lambda item: -item[1]["size"]):
        if entry["kind"] != "module":
            _row(table, visible(url), entry["size"], entry.get("brotli"))
    brotli = sum(entry.get("brotli", entry["size"]) for entry in modules)
    compressed = any("brotli" in entry for entry in modules)
    _row(
        table,
        f"{len(modules)} ES modules",
        sum(entry["size"] for entry in modules),
        brotli if compressed else None,
    )
    _row(table, "a first visit loads", *report.first_download, style="bold")
    console = output_console()
    console.print(table)
    console.print(Text(visible(f"{report.out}: {report.written} files written"), style="dim"), soft_wrap=True)


def _row(table: Table, name: str, size: int, brotli: int | None, style: str = "") -> None:
    table.add_row(Text(name, style=style), f"{size:,}", "" if brotli is None else f"{brotli:,}", style=style)


def _size(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"
