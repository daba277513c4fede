"""The static build that is measured in a real Chromium."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

__all__ = ["measure_in_tabs"]


def measure_in_tabs(measure: Callable[[Path, Path], Coroutine[Any, Any, None]]) -> None:
    """Call it with a build of `tab_jobs.py` and a folder for profiles, which are gone afterwards."""
    from durable_lite.web.build import Plan, build

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "site"
        build(Plan(out, jobs=(Path(__file__).parent / "tab_jobs.py",), brotli=False))
        asyncio.run(measure(out, Path(folder)))
