"""Finished runs leave by age: a few in each transaction, and none while there is other work to do."""

from __future__ import annotations

from collections.abc import Callable

from .engine import Engine

__all__ = ["Retention"]

# Runs in one transaction; seconds between two of them, and at most between two looks.
_BATCH, _PAUSE, _LONGEST = 100, 0.25, 3600.0


class Retention:
    """Purges what finished longer ago than `retain` seconds."""

    def __init__(self, engine: Engine, retain: float, busy: Callable[[], bool]) -> None:
        self._engine, self._retain, self._busy = engine, retain, busy

    async def run(self) -> None:
        """Until it is cancelled."""
        store, clock = self._engine.store, self._engine.clock
        while True:
            removed: int | None = _BATCH
            while removed == _BATCH:
                if not self._busy():
                    removed = await self._engine.persist(
                        lambda: store.purge(clock.now() - self._retain, _BATCH)
                    )
                await clock.sleep(_PAUSE)
            await clock.sleep(min(self._retain / 10, _LONGEST))
