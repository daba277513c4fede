"""Builds that tests look at. They are made by the command, and kept in `.cache` between sessions."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.harness import alone
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
    with alone(CACHE):
        return _built("full")


@pytest.fixture(scope="session")
def slim(full: Path) -> Path:
    with alone(CACHE):
        if not (CACHE / "slim").exists():
            shutil.copytree(full, CACHE / "slim")  # what both have isn't compressed twice
        return _built("slim")


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
