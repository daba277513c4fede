"""One execution's guarded writes, in order, for as long as the store takes to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from .engine import Engine, resolve
from .errors import StoreUnavailable
from .records import Refusal

__all__ = ["GuardedWrites", "Verb"]

Verb = Callable[..., Awaitable[Refusal | None]]


class GuardedWrites:
    """Calls guarded verbs with back-off while the store is down.

    While one write waits for the store, those after it wait behind it, so that the sequence that is
    stored has no gaps: they are tried again in the order in which they came, and not in that in which
    they failed. `wanted` says whether an answer still matters.
    """

    def __init__(self, engine: Engine, wanted: Callable[[], bool]) -> None:
        self._engine, self._wanted = engine, wanted
        self._number = 0
        self._under_way: dict[int, asyncio.Future[None] | None] = {}  # in order; who waits for its turn
        self._waiting = 0  # while any do, no write may go ahead of them

    async def write(self, verb: Verb, *args: Any) -> Refusal | None:
        """None: written. Raises `StoreError` where trying again can't help."""
        self._number = number = self._number + 1
        self._under_way[number] = None
        try:
            if self._waiting:
                return await self._in_turn(number, verb, args, None)
            try:
                return await verb(*args)
            except StoreUnavailable as error:
                # Until it is through the store is down, whatever beats that need less room may say.
                trying = object()
                self._engine.store_down(error, trying)
                try:
                    return await self._in_turn(number, verb, args, trying)
                finally:
                    self._engine.failing.discard(trying)
        finally:
            del self._under_way[number]
            if self._waiting and (first := next(iter(self._under_way.values()))) is not None:
                resolve(first)

    async def _in_turn(self, number: int, verb: Verb, args: Any, trying: object) -> Refusal | None:
        answers: list[Refusal | None] = []

        async def once() -> None:
            answers.append(await verb(*args))

        self._waiting += 1
        try:
            if next(iter(self._under_way)) != number:
                self._under_way[number] = turn = asyncio.get_running_loop().create_future()
                await turn
            await self._engine.persist(once, self._wanted, trying)
        finally:
            self._waiting -= 1
        return answers[0] if answers else Refusal(None, 0)
