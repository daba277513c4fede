"""`python -m durable_lite.testing.simulation`: plays many seeds, and makes small what fails."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from .plan import Plan
from .shrink import shrunk
from .world import simulate

COMMAND = "python -m durable_lite.testing.simulation"
_CHUNK = 20  # seeds


class Played(NamedTuple):
    """What became of some seeds: how many events there were, and what failed."""

    seeds: int
    events: int
    failed: dict[int, str]


def play(first: int, count: int) -> Played:
    """Simulate so many seeds, one after the other."""
    _be_quiet()
    events, failed = 0, {}
    for seed in range(first, first + count):
        try:
            events += simulate(Plan.random(seed)).events
        except Exception as error:
            failed[seed] = f"{type(error).__name__}: {error}"
    return Played(count, events, failed)


def _be_quiet() -> None:
    for name in ("durable_lite", "asyncio"):  # they warn of what is done to them
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _fails(plan: Plan) -> bool:
    try:
        simulate(plan)
    except Exception:
        return True
    return False


def _all(first: int, seeds: int, processes: int, stop: bool) -> int:
    began, done, events = time.monotonic(), 0, 0
    failed: dict[int, str] = {}
    starts = range(first, first + seeds, _CHUNK)
    sizes = [min(_CHUNK, first + seeds - start) for start in starts]
    with ProcessPoolExecutor(processes) as pool:
        for played in pool.map(play, starts, sizes):
            done, events = done + played.seeds, events + played.events
            for seed, why in played.failed.items():
                print(f"\rseed {seed}: {why}\n  again: {COMMAND} --seed {seed}", flush=True)
            failed |= played.failed
            if failed and stop:
                pool.shutdown(cancel_futures=True)
                break
            if sys.stderr.isatty():
                bar = "█" * (30 * done // seeds)
                print(f"\r{bar:30} {done:,} of {seeds:,}", end="", file=sys.stderr, flush=True)
    took = time.monotonic() - began
    print(
        f"\n{done:,} seeds from {first:,}, {events / max(done, 1):.0f} events each: {len(failed)} failed; "
        f"{done / took:.0f} seeds/s in {processes} processes"
    )
    return 1 if failed else 0


def _one(plan: Plan, lines: int, smaller: bool) -> int:
    trace: list[str] = []
    try:
        report = simulate(plan, trace)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
    else:
        print(f"{report.runs} runs ended well, after {report.events} events and {report.seconds:.0f} s")
        return 0
    print(*trace[-lines:], why, sep="\n")
    if smaller:
        plan = shrunk(plan, _fails)
        print(f"\nIt fails also with this plan:\n{plan.text()}")
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many worlds to play")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--stop", action="store_true", help="at the first that fails")
    parser.add_argument("--seed", type=int, help="play this one, with its trace if it fails, and shrink it")
    parser.add_argument("--plan", type=Path, help="play what this file says")
    parser.add_argument("--lines", type=int, default=40, help="of the trace")
    given = parser.parse_args()
    if given.seed is None and given.plan is None:
        return _all(given.first, given.seeds, given.processes, given.stop)
    _be_quiet()
    if given.plan is not None:
        return _one(Plan.of(given.plan.read_text("utf-8")), given.lines, smaller=False)
    return _one(Plan.random(given.seed), given.lines, smaller=True)


if __name__ == "__main__":
    raise SystemExit(main())
