"""What the tests of the command share: job files, the command in this process and in one of its own."""

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from durable_lite import Durable
from durable_lite.cli.main import cli

PATIENCE = 30.0

# A step `held-…` says that it has begun and then waits for the file `go`.
JOBS = '''
import asyncio
import pathlib
import time
from dataclasses import dataclass

from durable_lite import AbortRun, Context, Retry, job

HERE = pathlib.Path(__file__).parent


@dataclass
class Export:
    org: str
    pages: int


def effect(text):
    with open(HERE / "effects.txt", "a") as file:
        print(text, file=file)
    return text


async def held(ctx, text):
    effect(text)
    ctx.log.warning(f"holding {text}")
    print(f"begun {text}", flush=True)  # unlike a line of the log, this is said again on replay
    while not (HERE / "go").exists():
        await asyncio.sleep(0.01)
    return text


@job
async def export(ctx: Context, payload: Export) -> dict:
    for page in range(payload.pages):
        await ctx.step(f"page-{page}", effect, f"{payload.org} {page}")
        ctx.progress(page + 1, payload.pages)
    return {"rows": payload.pages, "name": "Müller"}


@job("with-a-hold")
async def hold(ctx: Context, payload: dict) -> str:
    """Two steps, a held one, one more."""
    for name in ("one", "two"):
        await ctx.step(name, effect, name)
    await ctx.step("held", held, ctx, "held")
    return await ctx.step("last", effect, "last")


@job
async def blocked(ctx: Context) -> None:
    """Keeps the event loop from running until it is killed."""
    ctx.log.info("blocking")
    await ctx.step("tell", effect, "tell")
    print("blocking the loop", flush=True)
    while True:
        pass


@job
async def threaded(ctx: Context) -> None:
    def never() -> None:
        ctx.log.info("in a thread")
        while not (HERE / "go").exists():
            time.sleep(0.01)

    await ctx.step("never", never)


@job(retry=Retry.NEVER)
async def fails(ctx: Context) -> None:
    await ctx.step("fine", effect, "fine")
    await ctx.step("bad", bad)


def bad():
    if not (HERE / "go").exists():
        raise ValueError("no such page")
    return effect("bad is good")


@job(retry=Retry(max_attempts=2, min_delay="10ms"))
async def flaky(ctx: Context) -> str:
    ctx.log.warning("careful", attempt=ctx.run.attempt)
    if ctx.run.attempt == 1:
        raise ValueError("not yet")
    await ctx.options(retry=Retry(max_attempts=2, min_delay="10ms")).step("try", again)
    await ctx.sleep("nap", "1s")
    return "done"


@job(retry=Retry(max_attempts=2, min_delay="1s", jitter=False))
async def later(ctx: Context) -> str:
    ctx.log.warning("careful", attempt=ctx.run.attempt)
    if ctx.run.attempt == 1:
        raise ValueError("not yet")
    return "done"


tries = []


def again():
    tries.append(1)
    if len(tries) == 1:
        raise OSError("first try")
    return "done"


@job
async def naps(ctx: Context) -> None:
    await ctx.sleep("nap", "1h")


@job
async def hostile(ctx: Context) -> str:
    nasty = "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202e[bold red]:smile:[/]\\r\\n"
    ctx.log.info(nasty, **{nasty: nasty})
    ctx.progress(1, 2, nasty)
    await ctx.step("[red]key\\u2066[/red]", effect, "x")
    ctx.metadata.set(nasty, nasty)
    raise AbortRun(nasty)


@job
async def prints(ctx: Context) -> list:
    print("for people")
    return [1, (2, 3)]
'''


def write_jobs(folder: Path, source: str = JOBS, name: str = "jobs.py") -> Path:
    path = folder / name
    path.write_text(source, "utf-8")
    return path


def invoke(*args: object, input: str | None = None, **options: Any) -> Result:
    """The command in this process."""
    result = CliRunner().invoke(cli, [str(arg) for arg in args], input=input, **options)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def succeed(*args: object, **options: Any) -> Result:
    result = invoke(*args, **options)
    assert result.exit_code == 0, result.output
    return result


def parsed(*args: object) -> Any:
    """What a command prints with `--json`."""
    return json.loads(succeed(*args, "--json").stdout)


def one_line(result: Result) -> str:
    """The only line of an error; no traceback, nothing on stdout."""
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def with_app(db: Path, jobs: Any, act: Callable[[Durable], Awaitable[Any]], **options: Any) -> Any:
    """`act` on a Durable that executes nothing."""

    async def main() -> Any:
        async with Durable(f"sqlite:{db}", jobs=jobs, worker=False, **options) as app:
            return await act(app)

    return asyncio.run(main())


class Process:
    """The command in a process of its own; its stderr is read line by line."""

    def __init__(self, *args: object, folder: Path, env: dict[str, str] | None = None) -> None:
        code = "from durable_lite.cli import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, args)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._queue.put(line)
        self._queue.put(None)

    def wait_for(self, text: str) -> str:
        """The next line of stderr that holds `text`."""
        while True:
            line = self._queue.get(timeout=PATIENCE)
            assert line is not None, f"it ended without {text!r}:\n{''.join(self.lines)}"
            self.lines.append(line)
            if text in line:
                return line

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.end()

    def end(self) -> tuple[int, str, str]:
        """Its exit code, stdout, and all of stderr."""
        code = self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        self._reader.join(PATIENCE)
        while (line := self._queue.get(timeout=PATIENCE)) is not None:
            self.lines.append(line)
        self._close()
        return code, out, "".join(self.lines)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.send(signal.SIGKILL)
            self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self._close()

    def _close(self) -> None:
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
