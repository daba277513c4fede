"""Stop, kill and start workers at random under many runs: `python scripts/soak_restarts.py --runs 10000`.

Two workers on one SQLite file. In the end every run must have completed with the right output, its step
stored once and executed once, but where a worker was killed or stopped in it. On a failure the files are
kept.
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

from tests.server.restarts import Restarts, play
from tests.server.sigkill import Supervisor, Wrong, seed_of


async def soak(given: argparse.Namespace, folder: Path) -> Restarts:
    def told(left: int) -> None:
        if sys.stdout.isatty():
            print(f"{given.runs - left:,} of {given.runs:,} runs have ended ", end="\r", flush=True)

    async with Supervisor(folder, durability=given.durability) as supervisor:
        return await play(supervisor, random.Random(given.seed), given.runs, told)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--durability", choices=("strict", "relaxed"), default="strict")
    parser.add_argument("--seed", type=int, help="repeats the choices, though not the machine's timing")
    given = parser.parse_args()
    given.seed = seed_of(given.seed)
    folder, began = Path(tempfile.mkdtemp(prefix="durable-lite-soak-")), time.monotonic()
    try:
        found = asyncio.run(soak(given, folder))
    except (Wrong, TimeoutError) as error:
        print(f"\nFAILED: {error}\nseed {given.seed}; the files are in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(
        f"all held: {found.runs:,} runs in {time.monotonic() - began:.0f} s, {found.kills} kills, "
        f"{found.stops} stops, {found.again} steps again"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
