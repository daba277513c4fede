"""A store between a worker and the real one that fails, or dies, at a chosen call."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from ..ports import VERBS, Store
from ..records import Change

__all__ = ["Dead", "FaultyStore"]


class Dead(asyncio.CancelledError):
    """The process that made this call is dead."""


class FaultyStore(Store):
    """Passes every verb on to `inner`; `before` and `after` see each call and may raise.

    `before(n, verb, args)` and `after(n, verb, args, result)` are called around the n-th call, from
    1. After `die()` nothing passes any more: what the process still tries is lost, as after SIGKILL.
    """

    def __init__(self, inner: Store) -> None:
        super().__init__()
        self.inner = inner
        self.url, self.announces_all = inner.url, inner.announces_all
        self.calls = 0
        self.dead = False
        self.before: Callable[[int, str, Any], None] = lambda n, verb, args: None
        self.after: Callable[[int, str, Any, Any], None] = lambda n, verb, args, result: None
        self._unlisten = inner.listen(self._pass_on)

    def die(self) -> None:
        self.dead = True
        self._unlisten()

    def _pass_on(self, change: Change) -> None:
        if not self.dead:
            self.announce(change)

    async def open(self) -> None:
        await self.inner.open()

    async def close(self) -> None:
        if not self.dead:
            await self.inner.close()


def _verb(name: str) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(getattr(Store, name))
    async def call(self: FaultyStore, *args: Any, **kwargs: Any) -> Any:
        if self.dead:
            raise Dead
        self.calls += 1
        number = self.calls
        self.before(number, name, args)
        result = await getattr(self.inner, name)(*args, **kwargs)
        if self.dead:  # another call died while this one was on its way
            raise Dead
        self.after(number, name, args, result)
        return result

    return call


for _name in VERBS:
    setattr(FaultyStore, _name, _verb(_name))
FaultyStore.__abstractmethods__ = frozenset()
