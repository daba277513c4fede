"""Builds that tests look at. They are made by the command, and kept in `.cache` between sessions."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.web.support import CACHE, JOBS, PYODIDE, command


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(420))  # the first build compiles and compresses for a minute


@pytest.fixture(scope="session", autouse=True)
def _needs_pyodide():
    assert (PYODIDE / "pyodide.mjs").exists(), "Pyodide is missing: run `make setup`"
    assert sys.platform != "emscripten"


@pytest.fixture(scope="session")
def full() -> Path:
    """A compressed build with `support.JOBS`; to be read only."""
    with _alone():
        return _built("full")


@pytest.fixture(scope="session")
def slim(full: Path) -> Path:
    with _alone():
        if not (CACHE / "slim").exists():
            shutil.copytree(full, CACHE / "slim")  # what both have isn't compressed twice
        return _built("slim")


@contextmanager
def _alone() -> Iterator[None]:
    """Several pytests share the cache; the first one builds."""
    import fcntl

    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
        yield


def _built(variant: str) -> Path:
    folder = CACHE / variant
    jobs = CACHE / "jobs.py"
    jobs.write_text(JOBS, "utf-8")
    command("web", "build", "--out", folder, "--stdlib", variant, "--pyodide", PYODIDE, jobs)
    return folder


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.py"
    path.write_text(JOBS, "utf-8")
    return path
