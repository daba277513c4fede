"""One execution's guarded writes, in order, for as long as the store takes to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from .engine import Engine
from .errors import StoreUnavailable
from .records import Refusal

__all__ = ["GuardedWrites", "Verb"]

Verb = Callable[..., Awaitable[Refusal | None]]


class GuardedWrites:
    """Calls guarded verbs with back-off while the store is down.

    While one write waits for the store, those after it wait behind it, so that the sequence that is
    stored has no gaps. `wanted` says whether an answer still matters.
    """

    def __init__(self, engine: Engine, wanted: Callable[[], bool]) -> None:
        self._engine, self._wanted = engine, wanted
        self._turn = asyncio.Lock()
        self._queued = 0  # while there are any, no write may go ahead of them

    async def write(self, verb: Verb, *args: Any) -> Refusal | None:
        """None: written. Raises `StoreError` where trying again can't help."""
        if self._queued:
            return await self._in_turn(verb, args, None)
        try:
            return await verb(*args)
        except StoreUnavailable as error:
            # Until it is through the store is down, whatever beats that need less room may say.
            trying = object()
            self._engine.store_down(error, trying)
            try:
                return await self._in_turn(verb, args, trying)
            finally:
                self._engine.failing.discard(trying)

    async def _in_turn(self, verb: Verb, args: Any, trying: object) -> Refusal | None:
        answers: list[Refusal | None] = []

        async def once() -> None:
            answers.append(await verb(*args))

        self._queued += 1
        try:
            async with self._turn:
                await self._engine.persist(once, self._wanted, trying)
        finally:
            self._queued -= 1
        return answers[0] if answers else Refusal(None, 0)
