"""`python -m benchmarks [name …]`: run benchmarks, print a table, optionally write it as JSON."""

from __future__ import annotations

import argparse
import platform
from importlib import import_module
from pathlib import Path

from .floor import Table

NAMES = (
    "throughput",
    "latency",
    "replay",
    "imports",
    "statements",
    "retained",
    "waiting",
    "waits",
    "queues",
    "http",
    "tab",
    "tab_suspension",
    "dashboard",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which, of {', '.join(NAMES)}; default all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the table here, too")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    print(f"CPython {platform.python_version()}, {platform.system()} {platform.machine()}")
    table = Table()
    for name in arguments.names or NAMES:
        print(f"\n{name}")
        import_module(f".{name}", __package__).run(table, arguments.rounds)
    if arguments.json:
        arguments.json.write_text(table.to_json() + "\n")
    short = [row for row in table.rows if not row[3]]
    print(f"\n{len(table.rows) - len(short)} of {len(table.rows)} bars met")


if __name__ == "__main__":
    main()
