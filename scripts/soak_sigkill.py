"""Kill workers with SIGKILL for as long as you like: `python scripts/soak_sigkill.py --rounds 500`.

Two workers on one SQLite file execute batches of runs; at random moments one of them is killed and
started again. After each round every run must have completed with the right output, no stored step may
have been executed again, and the events must have no gap. On a failure the files are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.server.sigkill import Counts, Supervisor, Wrong, check_file, rounds, seed_of


async def soak(given: argparse.Namespace, folder: Path) -> Counts:
    counts, began = Counts(), time.monotonic()
    async with Supervisor(folder, durability=given.durability) as supervisor:
        async for one in rounds(supervisor, random.Random(given.seed), given.rounds, given.runs):
            counts += one
            each = (time.monotonic() - began) / counts.rounds
            left = each * (given.rounds - counts.rounds)
            if sys.stdout.isatty() or counts.rounds % 10 == 0 or left == 0:
                end = "\r" if sys.stdout.isatty() and left else "\n"
                print(f"{counts}; {each:.2f} s each, {left:.0f} s left   ", end=end, flush=True)
    check_file(supervisor.file)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5, help="runs in each round")
    parser.add_argument("--durability", choices=("strict", "relaxed"), default="strict")
    parser.add_argument("--seed", type=int, help="repeats the choices, though not the machine's timing")
    given = parser.parse_args()
    given.seed = seed_of(given.seed)
    folder = Path(tempfile.mkdtemp(prefix="durable-lite-soak-"))
    try:
        counts = asyncio.run(soak(given, folder))
    except (Wrong, TimeoutError) as error:
        print(f"\nFAILED: {error}\nseed {given.seed}; the files are in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(f"all held after {counts.rounds} rounds and {counts.kills} kills")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
