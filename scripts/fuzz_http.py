"""Ask a server what Schemathesis makes of its OpenAPI document: `python scripts/fuzz_http.py 20000`.

Prints how many requests there were, what was answered, and what was wrong: 5xx, and what the document
doesn't say.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from durable_lite.server.application import OPERATIONS
from tests.http.fuzzing import Fuzz, server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requests", type=int, nargs="?", default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", help="by default a SQLite file that is removed again")
    given = parser.parse_args()
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    number = given.seed
    with tempfile.TemporaryDirectory() as folder, server(given.store or f"sqlite:{folder}/runs.db") as url:
        while (left := given.requests - statuses.total()) > 0:
            fuzz = Fuzz(url, number)
            try:
                fuzz.run(max(2, min(60, -(-left // len(OPERATIONS)))))
            finally:
                fuzz.close()
            statuses += fuzz.statuses
            wrong += fuzz.wrong
            number += 1
            print(f"{statuses.total():,} requests, {len(wrong)} wrong", file=sys.stderr, flush=True)
    print(f"{statuses.total():,} requests from seed {given.seed}")
    for status, count in sorted(statuses.items()):
        print(f"  {status}: {count:,}")
    print(f"5xx: {sum(count for status, count in statuses.items() if status >= 500)}")
    print(f"against the document: {len(wrong)}")
    for one in wrong[:20]:
        print(f"\n{one}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
