"""Every test of the command has a folder of its own, with a job file, and leaves no module behind."""

import sys
from pathlib import Path

import pytest

from tests.cli.support import write_jobs

_SANE = {"DURABLE_LITE_DB", "COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR"}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in _SANE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    """The job file of `support.JOBS`."""
    return write_jobs(tmp_path)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def effects(tmp_path: Path):
    """A function that gives what the steps did, in order."""

    def read() -> list[str]:
        path = tmp_path / "effects.txt"
        return path.read_text().splitlines() if path.exists() else []

    return read
