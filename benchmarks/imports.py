"""What `import durable_lite` costs over what any asyncio program imports."""

from __future__ import annotations

import os
import subprocess
import sys

from .floor import Table

_BASE = "import asyncio, dataclasses, json"
_TIMED = """
import time
{base}
start = time.perf_counter()
import durable_lite
print((time.perf_counter() - start) * 1000)
"""


def run(table: Table, rounds: int) -> None:
    # With bytecode on disk, as after any first run; this machine's shell may forbid writing it.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", _TIMED.format(base=_BASE)]
    figures = [
        float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
        for _ in range(5 + 3 * rounds)
    ][5:]
    table.most("import durable_lite over asyncio, dataclasses, json", 20, figures, "ms")
