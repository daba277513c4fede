"""`durable-lite serve`: the HTTP API and the dashboard over a store, with a worker for some job files."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import click

from ..durable import Durable
from ..errors import InvalidOption
from .exits import Exit, Failure
from .load import Loaded, load_jobs
from .observe import observed
from .options import Database, db_option, durability_option, opened, stop_timeout_option
from .screen import Screen, diagnostics, plural
from .signals import StopSignals
from .worker import WorkerLog

__all__ = ["serve"]

_BACKLOG = 2048
_GRACE = 5  # seconds for requests that are under way


class Where(NamedTuple):
    """Where to listen, and who may ask."""

    host: str
    port: int
    token: str | None
    hosts: tuple[str, ...]
    origins: tuple[str, ...]


@click.command()
@click.argument("targets", nargs=-1, metavar="[FILE.py…]")
@db_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, metavar="N", help="0: any."
)
@click.option(
    "--token",
    envvar="DURABLE_LITE_TOKEN",
    show_envvar=True,
    metavar="TEXT",
    help="What clients have to show. Needed for an address that others can reach. Better in the environment: "
    "a command line can be read by all users of a machine.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name by which the server may be asked; may be repeated. By default this machine's own, and "
    "any if there is a token.",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Another site whose pages may ask, such as https://example.org; may be repeated.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=0),
    metavar="N",
    default=10,
    show_default=True,
    help="How many runs to execute at a time; 0: leave them to other workers.",
)
@durability_option
@stop_timeout_option
@click.pass_context
def serve(
    ctx: click.Context,
    targets: tuple[str, ...],
    db: Database,
    host: str,
    port: int,
    token: str | None,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    concurrency: int,
    durability: str,
    stop_timeout: float,
) -> None:
    """Serve the HTTP API and the dashboard until SIGINT or SIGTERM, and execute the jobs of these files.

    Without files it executes nothing: runs can be looked at and steered, and new ones made by a replay.
    What happens to runs here is logged on stderr.
    """
    where = Where(host, port, token, hosts, origins)
    with contextlib.redirect_stdout(sys.stderr):
        loaded = load_jobs(targets) if targets else Loaded({}, ())
        ctx.exit(asyncio.run(_serve(where, loaded, db, concurrency, durability, stop_timeout)))


async def _serve(
    where: Where, loaded: Loaded, db: Database, concurrency: int, durability: str, stop_timeout: float
) -> int:
    for name in ("jsonschema_rs", "starlette", "uvicorn"):
        if find_spec(name) is None:
            raise Failure(f'serve needs {name}: pip install "durable-lite[server]"')
    from ..server import asgi
    from ..server.gate import LOOPBACK, is_loopback

    if where.token is None and not is_loopback(where.host):
        raise Failure(f"--token: needed, as others can reach {where.host}", Exit.USAGE)
    screen = Screen()
    log = WorkerLog(screen)
    executes = bool(loaded.jobs) and concurrency > 0
    with StopSignals() as signals, diagnostics(screen), contextlib.ExitStack() as stack:
        async with opened(db, durability=durability, create=True) as store:
            app = Durable(
                observed(store, log), jobs=loaded.all, worker=executes, concurrency=max(1, concurrency)
            )
            app.listen(log.hear)
            any_host = ("*",) if where.token is not None else (*LOOPBACK, where.host)
            try:
                server = asgi(app, token=where.token, hosts=where.hosts or any_host, origins=where.origins)
            except InvalidOption as error:
                option = {"hosts": "allow-host", "origins": "allow-origin"}.get(error.option, error.option)
                raise Failure(f"--{option}: {error.detail}", Exit.USAGE) from None
            sock = stack.enter_context(_bound(where.host, where.port))
            http = _http(server)
            async with app:
                serving = asyncio.create_task(http.serve([sock]))
                jobs = ", ".join(sorted(loaded.jobs))
                width = f"{plural(concurrency, 'run')} at a time"
                screen.say(f"{store.url}: executing {f'{jobs}, {width}' if executes else 'nothing'}")
                screen.say(f"dashboard at {_url(sock)}  API at {_url(sock)}api/", "bold", to_copy=True)
                await asyncio.wait(
                    [serving, stopped := asyncio.create_task(signals.wait())],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                stopped.cancel()
                log.stopping(signals.name, stop_timeout)
                server.stop_streams()
                http.should_exit = True
                await app.stop(stop_timeout)
                await serving
            screen.say("stopped", "bold")
    return signals.exit_code


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.create_server((host.strip("[]"), port), family=family, backlog=_BACKLOG)
    except OSError as error:
        hint = "; --port 0 takes a free one" if port else ""
        raise Failure(f"--port: {host}:{port}: {error.strerror or error}{hint}", Exit.FAILED) from None
    # asyncio sets TCP_NODELAY only where a socket tells its protocol; without it answers wait for 40 ms.
    return socket.socket(bound.family, bound.type, socket.IPPROTO_TCP, bound.detach())


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _http(server: Any) -> Any:
    import uvicorn

    class Server(uvicorn.Server):
        """Leaves signals to `StopSignals`."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Server(
        uvicorn.Config(
            server, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=_GRACE
        )
    )
