"""The manifest `durable-lite.json`, by which a page's modules find everything else.

Every `url` is relative to the manifest. Format 1:

    {
      "format": 1,
      "durable_lite": "0.1.0",                      the version of the wheel and of the modules
      "pyodide": {"version": "314.0.7", "url": "pyodide/314.0.7/"},       for indexURL
      "stdlib": {"url": "python/stdlib-full-….zip",                       for stdLibURL
                 "variant": "full", "bytecode": true},
      "lock": {"info": {…}, "packages": {"durable-lite": {…}, …}},        for lockFileContents
      "packages": ["durable-lite", …],                                    for packages: all of them
      "jobs": [{"name": "jobs.py", "url": "jobs/…/jobs.py"}],             to be written into the tab's
                                                                          file system and imported
      "files": {"pyodide/314.0.7/pyodide.mjs":
                 {"kind": "pyodide", "size": 17931, "sha256": "…", "brotli": 6453, "immutable": true}}
    }

`lock` has file names relative to the manifest as well, so `loadPyodide` gets the manifest's folder as
`packageBaseUrl` (in a browser its URL, on Node its path as `packageCacheDir`):

    const base = new URL(".", manifestUrl).href;
    await loadPyodide({
      indexURL: new URL(manifest.pyodide.url, base).href,
      stdLibURL: new URL(manifest.stdlib.url, base).href,
      lockFileContents: manifest.lock,
      packageBaseUrl: base,
      packages: manifest.packages,
    });

`files` is all there is but the manifest itself: `kind` is pyodide, stdlib, wheel, module, job or extra
(the dashboard, and what is for the runs of a server: other pages don't load it); `size` is in bytes;
`brotli` is the size of its sibling with `.br`, and absent without one; an `immutable` file never has
other bytes under its URL, so caches may keep it for ever. `made_from` is for the next build, which makes
again only what follows from other sources.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from .pyodide import Pyodide
from .wheel import Wheel

__all__ = ["FORMAT", "NAME", "File", "Old", "lock", "read_manifest", "short_hash"]

NAME = "durable-lite.json"
FORMAT = 1
_HASH_LENGTH = 12


@dataclass(frozen=True)
class File:
    """A file of the output."""

    url: str
    data: bytes
    kind: str
    immutable: bool = True
    made_from: str | None = None

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def entry(self, brotli: int | None) -> dict[str, Any]:
        """What the manifest says of it."""
        entry: dict[str, Any] = {"kind": self.kind, "size": len(self.data), "sha256": self.sha256}
        if brotli is not None:
            entry["brotli"] = brotli
        entry["immutable"] = self.immutable
        if self.made_from is not None:
            entry["made_from"] = self.made_from
        return entry


def short_hash(data: bytes) -> str:
    """For URLs."""
    return hashlib.sha256(data).hexdigest()[:_HASH_LENGTH]


def lock(pyodide: Pyodide, wheels: Iterable[tuple[Wheel, File]]) -> dict[str, Any]:
    """Pyodide's lock file, with nothing but these wheels: it installs them while it boots."""
    packages = {
        wheel.name: {
            "name": wheel.name,
            "version": wheel.version,
            "file_name": file.url,
            "install_dir": "site",
            "sha256": file.sha256,
            "package_type": "package",
            "imports": list(wheel.imports),
            "depends": [],
            "unvendored_tests": False,
        }
        for wheel, file in wheels
    }
    return {"info": dict(pyodide.info), "packages": packages}


@dataclass(frozen=True, slots=True)
class Old:
    """What an earlier build left: its manifest, as far as it can be trusted."""

    files: dict[str, dict[str, Any]]


def read_manifest(folder: Path) -> Old | None:
    """The manifest in this folder, or None if there is none that a build has written."""
    try:
        data = json.loads((folder / NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not isinstance(data.get("format"), int):
        return None
    files = data.get("files")
    if not isinstance(files, dict):
        return None
    known = {url: entry for url, entry in files.items() if _stays_inside(url) and isinstance(entry, dict)}
    return Old(known)


def _stays_inside(url: str) -> bool:
    parts = PurePosixPath(url).parts
    return bool(parts) and not url.startswith("/") and ".." not in parts and not set(url) & set("\\:\0")
