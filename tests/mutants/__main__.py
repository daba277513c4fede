"""`python -m tests.mutants`: makes each deliberate defect in a copy of the package, and tells what caught it.

First the simulation looks for it, then the tests of what has the defect: a store's or the engine's. `--seeds`
says how many worlds, and names of mutants say which of them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
SIMULATION = [sys.executable, "-m", "durable_lite.testing.simulation", "--processes", "1", "--stop"]
PYTEST = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "2", "-p", "no:cacheprovider"]
LONGEST = 600  # seconds
CONFORMANCE, ENGINE = "conformance", "engine"
TESTS = {
    "stores/memory": [
        (CONFORMANCE, ["tests/conformance", "-k", "not sqlite"]),
        (ENGINE, ["tests/engine", "-k", "not sqlite"]),
    ],
    "stores/sqlite": [
        (CONFORMANCE, ["tests/conformance", "-k", "sqlite-relaxed"]),
        ("unit", ["tests/unit", "-k", "sqlite"]),
        (ENGINE, ["tests/engine", "-k", "sqlite"]),
    ],
    "": [
        (ENGINE, ["tests/engine", "-k", "not sqlite"]),
        ("unit", ["tests/unit"]),
        (CONFORMANCE, ["tests/conformance"]),
    ],
}


def mutate(mutant: Mutant, package: Path) -> None:
    """Put the defect into a copy. `ValueError`: what it replaces isn't there exactly once."""
    path = package / mutant.file
    text = path.read_text("utf-8")
    if text.count(mutant.before) != 1:
        raise ValueError(f"{mutant.name}: {mutant.file} has it {text.count(mutant.before)} times")
    path.write_text(text.replace(mutant.before, mutant.after), "utf-8")


def caught_by(mutant: Mutant, seeds: int) -> str | None:
    """What notices this defect; None: nothing."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        for name in ("durable_lite", "tests", "web", "examples"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        mutate(mutant, copy / "durable_lite")
        environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}

        def lines(command: list[str]) -> list[str]:
            """What it printed, if it failed."""
            try:
                done = subprocess.run(
                    command, cwd=copy, env=environment, text=True, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False, timeout=LONGEST,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                print(f"           {' '.join(command)}: no verdict within {LONGEST} s", flush=True)
                return []
            return [line for line in done.stdout.splitlines() if line.strip()] if done.returncode else []

        simulated = not mutant.name.startswith("SQLite")
        if simulated and (told := lines([*SIMULATION, "--seeds", str(seeds)])):
            return f"simulation, {told[0]}"
        for name, paths in next(groups for file, groups in TESTS.items() if mutant.file.startswith(file)):
            if told := lines([*PYTEST, *paths]):
                return (
                    f"{name}, {next((one for one in told if one.startswith(('FAILED', 'ERROR'))), told[-1])}"
                )
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="only those whose names have one of these texts")
    parser.add_argument("--seeds", type=int, default=400)
    given = parser.parse_args()
    chosen = [one for one in MUTANTS if not given.names or any(name in one.name for name in given.names)]
    missed = 0
    for number, mutant in enumerate(chosen, 1):
        began = time.monotonic()
        found = caught_by(mutant, given.seeds)
        missed += found is None
        print(f"{number:3} of {len(chosen)}  {mutant.name} ({time.monotonic() - began:.0f} s)")
        print(f"           {'caught by ' + found[:200] if found else 'NOT CAUGHT'}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
