"""Builds the demo of the tab into .cache/demo-site and serves it: `make demo-tab`."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from durable_lite.web.build import Heard, Plan, build
from durable_lite.web.serve import Server

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXAMPLE = ROOT / "examples" / "invoices"
PORT = 8000  # always the same: a browser keeps runs by host and port


class Told(Heard):
    def step(self, what: str) -> None:
        print(what, flush=True)


def make(out: Path) -> None:
    """A static build of the example's jobs, and beside it the demo's page as `demo/`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    jobs = (EXAMPLE / "jobs.py", EXAMPLE / "database.py", HERE / "prepare.py")
    build(Plan(out, jobs=jobs, brotli=False), Told())
    page = out / "demo"
    page.mkdir(exist_ok=True)
    for path in HERE.iterdir():
        if path.suffix in {".html", ".css", ".mjs", ".svg"}:
            shutil.copyfile(path, page / path.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=PORT)
    given = parser.parse_args()
    out = ROOT / ".cache" / "demo-site"
    make(out)
    try:
        server = Server(out, "127.0.0.1", given.port, csp=True)
    except OSError as error:
        parser.error(f"port {given.port}: {error.strerror}; name another, with --port")
    with server:
        print(f"\nThe same job in a browser tab: {server.url}demo/\nCtrl-C ends it.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
