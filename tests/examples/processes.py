"""Worker processes that a test starts, freezes and kills, and what they leave in its folder."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def silent_port() -> Iterator[int]:
    """One that nobody listens on, and nobody else will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


class Worker:
    """A process of `tests.examples.worker`; what it prints and logs is in the folder, too."""

    def __init__(self, module: str, folder: Path, **environment: str) -> None:
        self.output = folder / "output.txt"
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.examples.worker", module, store_of(folder)],
                cwd=ROOT,
                env=without_proxies() | environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )

    def freeze(self) -> None:
        """It executes nothing any more once this returns; what it is sent waits in its sockets."""
        self._process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), f"it ended by itself: {self.output.read_text()}"

    def kill(self) -> None:
        assert self._process.poll() is None, f"it ended by itself: {self.output.read_text()}"
        self._process.kill()
        assert self._process.wait() == -signal.SIGKILL

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()


@contextmanager
def workers(module: str, folder: Path, **environment: str):
    """A function that starts a worker; all are ended with the test."""
    started = []

    def start() -> Worker:
        started.append(Worker(module, folder, **environment))
        return started[-1]

    try:
        yield start
    finally:
        for worker in started:
            worker.end()


def follow(readme: Path, folder: Path, **environment: str) -> str:
    """Do as a README says, in its folder: execute its `durable-lite run`, and return what that prints."""
    [command] = re.findall(r"^    (durable-lite run .*?)\n\n", readme.read_text("utf-8"), re.M | re.S)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = environment | {"PATH": path, "DURABLE_LITE_DB": str(folder / "runs.db")}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=readme.parent,
        env=without_proxies() | given,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def store_of(folder: Path) -> str:
    return f"sqlite:{folder / 'runs.db'}"


def without_proxies() -> dict[str, str]:
    """The environment, for clients that would ask a proxy for this machine, too."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def files_with(text: str, folder: Path) -> set[str]:
    """The files of a folder that have this text in their bytes: of the store, and of what was printed."""
    return {path.name for path in folder.iterdir() if text.encode() in path.read_bytes()}
