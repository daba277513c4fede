"""Python in a real tab without `openTab`: a worker of the page that runs what a test gives it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from durable_lite.testing import tabs
from e2e.durable_site import DurableSite

ROOT = Path(__file__).parents[1]
PACKAGES = ROOT / ".cache/pyodide/site"
BOOTING = 60.0  # seconds

_START = """(push, given) => {
  const worker = new Worker("python-worker.mjs", { type: "module" });
  worker.onmessage = ({ data }) => push(data);
  worker.onerror = event => push({ error: `python-worker.mjs: ${event.message}` });
  worker.postMessage(given);
  return () => worker.terminate();
}"""


def zipped(folder: Path, patterns: Iterable[str] = ("**/*",)) -> bytes:
    """Files of a folder, without what Python or a tool has put there."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(folder).as_posix())
    return data.getvalue()


async def run(
    page: Page, site: DurableSite, code: str, printed: Callable[[str], object] = print, **given: Any
) -> Any:
    """The value of `code`'s last line. Raises `AssertionError` with Python's traceback.

    `watch(what, seconds)` of the JavaScript module `watchdog` says how long it may be silent from now on.
    """
    archives: Mapping[str, bytes] = given.pop("archives", {})
    site.files |= {f"/archives{folder}.zip": data for folder, data in archives.items()}
    given["archives"] = {folder: f"/archives{folder}.zip" for folder in archives}
    what, limit = "the start of Python", BOOTING
    async with tabs.watch(page, _START, {"code": code, **given}) as told:
        while True:
            message = await told.next(timeout=limit, why=what)
            if "out" in message:
                printed(message["out"])
            elif "watch" in message:
                what, limit = message["watch"]
            elif "error" in message:
                raise AssertionError(message["error"])
            else:
                return message["result"]
