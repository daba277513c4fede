"""The stores: each keeps runs somewhere else, behind the one `Store` port; found by URL."""

from __future__ import annotations

import sys

from ..errors import InvalidOption
from ..ports import Store

__all__ = ["open_url"]


def open_url(url: str, durability: str = "strict") -> Store:
    """The store that a URL names: `memory:`, `sqlite:path` or `sqlite:///path`, `indexeddb:name`."""
    if durability not in ("strict", "relaxed"):
        raise InvalidOption("durability", f'expected "strict" or "relaxed", got {durability!r:.80}')
    scheme, colon, rest = url.partition(":")
    if not colon:
        raise InvalidOption("store", f"{url!r:.80} isn't a URL; a SQLite file is named sqlite:{url:.80}")
    if scheme == "memory":
        from .memory import MemoryStore

        return MemoryStore()
    if scheme == "sqlite":
        from .sqlite import SQLiteStore

        # sqlite:///a.db is relative and sqlite:////a.db absolute, as SQLAlchemy has it.
        return SQLiteStore(
            rest.removeprefix("///") if rest.startswith("///") else rest, durability=durability
        )
    if scheme == "indexeddb":
        if sys.platform != "emscripten":
            raise InvalidOption("store", "indexeddb: is in a browser; use sqlite: here")
        from .indexeddb import IndexedDBStore

        return IndexedDBStore(rest, durability=durability)
    raise InvalidOption("store", f"no store is named {scheme!r}; there are memory:, sqlite: and indexeddb:")
