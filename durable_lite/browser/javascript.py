"""JavaScript from Python: the package's own modules, and proxies that JavaScript may keep."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import StoreError

__all__ = ["load_module", "proxy"]

_imports = re.compile(r'(?m)^(import [^;]*? from )"\./([\w-]+)\.mjs";')


async def load_module(name: str) -> Any:
    """`web/<name>.mjs`: as the page registered it, else from this package (a guest in another's page).

    Raises `StoreError` outside Pyodide, and where the page's Content-Security-Policy forbids it.
    """
    if sys.platform != "emscripten":
        raise StoreError("indexeddb: is for Pyodide, in a browser; use sqlite: here")
    registered = f"durable_lite_{name}"
    if find_spec(registered) is not None:
        return import_module(registered)
    from pyodide.code import run_js

    try:
        return await run_js("(url) => import(url)")(_as_url(name, {}))
    except Exception as error:
        raise StoreError(
            f"the page doesn't let Python load {name}.mjs ({error}); register it before: "
            f'pyodide.registerJsModule("{registered}", await import("./{name}.mjs"))'
        ) from error


def proxy(function: Callable[..., Any]) -> Any:
    """A function that JavaScript may call until it is destroyed."""
    from pyodide.ffi import create_proxy

    return create_proxy(function)


def _as_url(name: str, seen: dict[str, str]) -> str:
    """A module, with those that it imports inside it, as one URL."""
    if name not in seen:
        source = _imports.sub(lambda found: f'{found[1]}"{_as_url(found[2], seen)}";', _read(f"{name}.mjs"))
        seen[name] = "data:text/javascript;base64," + base64.b64encode(source.encode()).decode()
    return seen[name]


def _read(name: str) -> str:
    """From the package's data, or from the repository that it is installed from."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "web" / "assets", package.parent / "web"):
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8")
    raise StoreError(f"this installation of durable_lite has no {name}")
