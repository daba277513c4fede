"""The raw floor: plain `sqlite3` at the same PRAGMAs, and how figures are repeated and shown."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# 200 bytes as JSON, the size of the outputs in every benchmark here.
OUTPUT = {
    "id": 12345,
    "name": "x" * 60,
    "items": [1, 2, 3, 4, 5],
    "ok": True,
    "amount": 12.5,
    "note": "y" * 62,
}
TEXT = json.dumps(OUTPUT, separators=(",", ":"))

SYNCHRONOUS = {"relaxed": "NORMAL", "strict": "FULL"}


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder on a real disk: a temporary file system would make every fsync free."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        yield Path(name)


def raw_connection(path: Path, durability: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={SYNCHRONOUS[durability]}")
    connection.execute("CREATE TABLE steps (id INTEGER PRIMARY KEY, key TEXT, output TEXT)")
    return connection


def raw_inserts(durability: str, count: int, batch: int = 1) -> float:
    """INSERTs a second, `batch` to a transaction."""
    with folder() as where:
        connection = raw_connection(where / "raw.db", durability)
        start = time.perf_counter()
        if batch == 1:
            for i in range(count):
                connection.execute("INSERT INTO steps (key, output) VALUES (?, ?)", (f"step-{i}", TEXT))
        else:
            for i in range(0, count, batch):
                connection.execute("BEGIN IMMEDIATE")
                for k in range(i, i + batch):
                    connection.execute("INSERT INTO steps (key, output) VALUES (?, ?)", (f"step-{k}", TEXT))
                connection.execute("COMMIT")
        elapsed = time.perf_counter() - start
        connection.close()
        return count / elapsed


def pragmas(path: Path) -> str:
    connection = sqlite3.connect(path)
    names = ("journal_mode", "page_size", "wal_autocheckpoint")
    shown = ", ".join(f"{name}={connection.execute(f'PRAGMA {name}').fetchone()[0]}" for name in names)
    connection.close()
    return shown


def spread(values: list[float], digits: int = 0) -> str:
    """`median (lowest to highest)`."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Table:
    """Rows of: what, bar, figure, and whether it was met by the median."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, bool]] = []

    def add(self, what: str, bar: str, figure: str, met: bool) -> None:
        self.rows.append((what, bar, figure, met))
        print(f"{'  ok ' if met else 'SHORT'}  {what}: {figure}   [bar {bar}]", flush=True)

    def ratio(self, what: str, least: float, ratios: list[float]) -> None:
        self.add(what, f">= {least:g}", spread(ratios, 3), statistics.median(ratios) >= least)

    def most(self, what: str, limit: float, values: list[float], unit: str, digits: int = 2) -> None:
        met = statistics.median(values) <= limit
        self.add(what, f"<= {limit:g} {unit}", f"{spread(values, digits)} {unit}", met)

    def to_json(self) -> str:
        names: Any = ("what", "bar", "figure", "met")
        return json.dumps([dict(zip(names, row, strict=True)) for row in self.rows], indent=2)
