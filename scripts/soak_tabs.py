"""Disturb two tabs at random for as long as you like: `python scripts/soak_tabs.py --rounds 200`.

Two tabs of a real Chromium share a store; they are frozen, crashed, closed, killed, loaded again or put to
sleep while runs execute. Every run must complete, with a gapless history, and no finished step executed
again.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from durable_lite.testing import tabs
from durable_lite.web.build import Plan, build
from e2e.chaos import Chaos
from e2e.durable_site import serve

JOBS = Path(__file__).resolve().parents[1] / "e2e" / "jobs" / "counted.py"


async def soak(rounds: int, seed: int, folder: Path) -> None:
    build(Plan(folder / "site", jobs=(JOBS,), brotli=False))
    began = time.monotonic()
    with serve(folder / "site") as site:
        async with tabs.suspendable_browser(profile=folder / "profile") as browser:
            chaos = Chaos(browser.context, site, random.Random(seed))
            await chaos.open()
            for number in range(rounds):
                await chaos.round(number)
                each = (time.monotonic() - began) / (number + 1)
                print(
                    f"{number + 1} of {rounds} rounds, {each:.1f} s each: {', '.join(chaos.did[-2:])}",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="durable-lite-soak-") as folder:
        asyncio.run(soak(given.rounds, given.seed, Path(folder)))
    print(f"all held after {given.rounds} rounds")


if __name__ == "__main__":
    main()
