"""Follows one run, wherever it executes: its row and its stored events, as they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..errors import RunNotFound, StoreError
from ..events import RunEvent
from ..ports import Store
from ..records import Change, RunRow
from ..status import FINAL

__all__ = ["Follower"]

_BATCH = 500
_PACE = 0.05  # seconds between two looks: a step may take a microsecond, the eye doesn't
_POLL = 1.0  # seconds without any hint until it looks all the same
_BACKOFF = 1.0


class Follower:
    """Tells each stored event of a run once, in order; `row` is what it was last."""

    def __init__(
        self, store: Store, row: RunRow, told: Callable[[RunEvent], None], looked: Callable[[RunRow], None]
    ) -> None:
        self._store, self.row = store, row
        self._told, self._looked = told, looked
        self._changed = asyncio.Event()
        self._seen = 0

    async def look(self) -> RunRow:
        """Once: the events since the last look, then the row. `RunNotFound` when it was deleted."""
        row = await self._store.get_run(self.row.id)
        if row is None:
            raise RunNotFound(self.row.id)
        more = True
        while more:
            events = await self._store.read_events(row.id, self._seen, _BATCH)
            for event in events:
                self._seen = event.seq or self._seen
                self._told(event)
            more = len(events) == _BATCH
        self.row = row
        self._looked(row)
        return row

    async def follow(self) -> RunRow:
        """Until it has ended. A store that is down is waited for: so does the worker."""
        unlisten = self._store.listen(self._hear)
        try:
            while True:
                self._changed.clear()
                try:
                    if (await self.look()).status in FINAL:
                        return self.row
                except StoreError:
                    await asyncio.sleep(_BACKOFF)
                    continue
                timer = asyncio.get_running_loop().call_later(_POLL, self._changed.set)
                await self._changed.wait()
                timer.cancel()
                await asyncio.sleep(_PACE)
        finally:
            unlisten()

    def nudge(self) -> None:
        """Look soon."""
        self._changed.set()

    def _hear(self, change: Change) -> None:
        if change.run_id in (None, self.row.id):
            self._changed.set()
