"""Connections: clients of other services, which an application holds and its jobs use by name."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import AsyncExitStack
from typing import Any

from .durations import name_of
from .errors import InvalidOption

__all__ = ["Connection", "Connections"]


class Connection:
    """A connection that a module of jobs brings along: `slack = Connection("slack", make_client)`.

    `client` is a client, or a function or class without arguments that makes one, on its first use: it
    may be async, and what it gives is entered and left if it is an async context manager.
    """

    __slots__ = ("client", "name")

    def __init__(self, name: str, client: Any) -> None:
        self.name, self.client = name_of(name, "name of a connection"), client

    def __repr__(self) -> str:
        return f"Connection({self.name!r})"


class Connections(MutableMapping[str, Any]):
    """The connections of a `Durable` by name: `app.connections["slack"] = client`, or what makes one.

    Runs of a job that `requires` one which isn't here are left to other workers. What is made here is
    closed with the application; a client that was given isn't.
    """

    def __init__(self, changed: Callable[[], object]) -> None:
        self.changed = changed  # called when there is another one
        self._given: dict[str, Any] = {}
        self._made: dict[str, _Made] = {}
        self._stack = AsyncExitStack()

    def __setitem__(self, name: str, client: Any) -> None:
        if client is None:
            raise InvalidOption(f"connections[{name!r}]", "expected a client or a function that makes one")
        self._given[name_of(name, "name of a connection")] = client
        self._made.pop(name, None)
        self.changed()

    def __getitem__(self, name: str) -> Any:
        return self._given[name]

    def __delitem__(self, name: str) -> None:
        del self._given[name]
        self._made.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    def __repr__(self) -> str:
        return f"<Connections {sorted(self._given)}>"

    def has(self, names: Iterable[str]) -> bool:
        """Whether all of them are here."""
        return all(name in self._given for name in names)

    async def clients(self, names: Iterable[str]) -> dict[str, Any]:
        """The clients of these names, made where that is still to be done. `KeyError`: one was removed."""
        return {name: await self._client(name) for name in names}

    async def close(self) -> None:
        """Leave the clients that were made here; they are made anew if they are used again."""
        self._made.clear()
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    async def _client(self, name: str) -> Any:
        client = self._given[name]
        if not _makes_one(client):
            return client
        made = self._made.setdefault(name, _Made())
        async with made.lock:
            if not made.done:
                found = client()
                if inspect.isawaitable(found):
                    found = await found
                if hasattr(found, "__aenter__"):
                    found = await self._stack.enter_async_context(found)
                made.client, made.done = found, True
        return made.client


class _Made:
    """A client that was made, or is being made."""

    def __init__(self) -> None:
        self.lock, self.client, self.done = asyncio.Lock(), None, False


def _makes_one(client: Any) -> bool:
    return inspect.isroutine(client) or inspect.isclass(client) or isinstance(client, functools.partial)
