"""Run the end-to-end tests again and again, to find those that fail now and then.

`python scripts/repeat_e2e.py 20`, or with arguments for pytest: `… 20 -- e2e/test_tab.py -k freeze`. Each
round is a pytest of its own. One that takes longer than `--limit` is killed with its browsers: it has failed.
In the end it tells how often each test failed; what the failed rounds have printed is kept.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EVERYTHING = ["e2e", "-n", "2", "--maxschedchunk", "1"]
FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
BEGUN = re.compile(r"^(\S+::.+?) *(?:PASSED|FAILED|ERROR|SKIPPED|$)", re.MULTILINE)
COUNTS = re.compile(r"^=+ (.*\d+ \w+.* in [\d.]+s.*?) =+$", re.MULTILINE)


def play(arguments: list[str], limit: float, printed: Path) -> tuple[str, list[str]]:
    """One round: what it came to, and the names of the tests that failed."""
    command = [sys.executable, "-m", "pytest", "-v", *(arguments or EVERYTHING)]
    with printed.open("wb") as file:
        pytest = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    try:
        code: int | None = pytest.wait(limit)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        if pytest.poll() is None:
            os.killpg(pytest.pid, signal.SIGKILL)  # on Linux its browsers die with it
            pytest.wait()
    text = printed.read_text("utf-8", "replace")
    names = FAILED.findall(text)
    if code is None:
        *_, last = ["pytest", *BEGUN.findall(text)]
        return f"killed after {limit:.0f} s", [*names, f"{last} (did not end)"]
    *_, counts = [f"pytest ended with {code}", *COUNTS.findall(text)]
    return counts, names or [f"pytest ended with {code}"] * bool(code)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rounds", type=int, nargs="?", default=10)
    parser.add_argument("--limit", type=float, default=1200, help="seconds that a round may take")
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    given, for_pytest = parser.parse_args(sys.argv[1:at]), sys.argv[at + 1 :]
    folder = Path(tempfile.mkdtemp(prefix="durable-lite-e2e-"))
    failures: Counter[str] = Counter()
    for number in range(1, given.rounds + 1):
        printed, began = folder / f"round-{number}.txt", time.monotonic()
        told, names = play(for_pytest, given.limit, printed)
        failures.update(names)
        took = time.monotonic() - began
        print(f"{number} of {given.rounds}, {took:.0f} s: {'; '.join([told, *names])}", flush=True)
        if not names:
            printed.unlink()
    if not failures:
        folder.rmdir()
        print(f"all held in {given.rounds} rounds")
        return 0
    print(f"\nFAILED in {given.rounds} rounds; what they printed is in {folder}:")
    for name, times in failures.most_common():
        print(f"{times:4} {name}")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
