"""What one execution waits for besides time: tokens that others complete, and child runs that end.

A parked wait is looked at when the store tells of a change, and by the store itself in the transaction
that suspends the run; so what comes at any moment is seen.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from .engine import resolve
from .inflight import Scope
from .ports import Timer
from .records import RunRow, TokenRow, Wakes
from .status import FINAL, Status

if TYPE_CHECKING:
    from .execution import Execution

__all__ = ["Waits"]

# Hints come in swarms, one for each child that ends; seconds between two looks.
_PAUSE = 0.02


class _Wait:
    """One wait: for a token, or for children; `come` once what it waits for is there."""

    __slots__ = ("children", "come", "future", "path", "rows", "seen", "token", "token_row")

    def __init__(self, path: str, token: str | None, children: tuple[str, ...]) -> None:
        self.path, self.token, self.children = path, token, children
        self.come = False
        self.seen = False  # looked at since the run goes on
        self.future: asyncio.Future[None] | None = None  # while it is parked
        self.token_row: TokenRow | None = None
        self.rows: list[RunRow] = []

    def missing(self) -> tuple[str, ...]:
        """The children that had not completed when they were looked at last."""
        completed = {row.id for row in self.rows if row.status == Status.COMPLETED}
        return tuple(id for id in dict.fromkeys(self.children) if id not in completed)

    def see(self, tokens: dict[str, TokenRow], runs: dict[str, RunRow]) -> None:
        self.seen = True
        if self.token is not None:
            self.token_row = tokens.get(self.token)
            self.come = self.token_row is None or self.token_row.state != "pending"
        else:
            self.rows = [runs[id] for id in self.children if id in runs]
            ended = [row.status for row in self.rows if row.status in FINAL]
            lost = len(self.rows) < len(self.children)  # deleted
            self.come = lost or len(ended) == len(self.children) or any(s != Status.COMPLETED for s in ended)
        if self.come and self.future is not None:
            resolve(self.future)


class Waits:
    """The waits of one execution."""

    def __init__(self, execution: Execution) -> None:
        self._execution, self._engine = execution, execution.engine
        self._inflight = execution.inflight
        self._open: dict[_Wait, None] = {}
        self._wanted = False
        self._counts = False  # a look that is to come counts as in flight
        self._looking: asyncio.Task[None] | None = None
        self._pause: Timer | None = None

    async def token(self, scope: Scope, path: str, token_id: str, deadline: float) -> TokenRow | None:
        """The token once it isn't pending any more, at its deadline at the latest; None: it was deleted."""
        wait = _Wait(path, token_id, ())
        await self._until_come(scope, wait, deadline)
        return wait.token_row

    async def children(self, scope: Scope, path: str, ids: tuple[str, ...]) -> list[RunRow]:
        """These runs once all have completed or one has ended otherwise; those that exist."""
        wait = _Wait(path, None, ids)
        await self._until_come(scope, wait, math.inf)
        return wait.rows

    def wakes(self) -> Wakes | None:
        """What is to wake the run if it is suspended now."""
        if not self._open:
            return None
        tokens = tuple(wait.token for wait in self._open if wait.token is not None)
        of_children = [wait.missing() for wait in self._open if wait.token is None]
        # Several waits for children go on one by one, a lone one goes on when it has all.
        return Wakes(tokens, tuple(id for ids in of_children for id in ids), all=len(of_children) == 1)

    def look(self, *, now: bool = False) -> None:
        """Something may have come. Looks of the same moment are one, and others a little apart.

        `now`: the run was woken, and is not suspended again before it has seen what for.
        """
        self._wanted = bool(self._open)
        if now:
            for wait in self._open:
                wait.seen = False
            if self._pause is not None:
                self._pause.cancel()
                self._pause = None
        self._count()
        if self._wanted and self._looking is None and self._pause is None:
            self._looking = self._execution.loop.create_task(self._look())

    def close(self) -> None:
        """The execution has ended."""
        self._open.clear()
        self._counts = False
        if self._pause is not None:
            self._pause.cancel()
        if self._looking is not None:
            self._looking.cancel()

    async def _until_come(self, scope: Scope, wait: _Wait, deadline: float) -> None:
        self._inflight.enter(scope)
        self._open[wait] = None
        try:
            while not wait.come:
                wait.future = self._execution.loop.create_future()
                self.look()
                await self._inflight.park(wait.path, deadline, wait.future)
                wait.future = None
                if not wait.come:  # its time is up, which the store decides
                    await self._read([wait])
        finally:
            self._open.pop(wait, None)
            self._count()
            self._inflight.leave(scope)

    def _count(self) -> None:
        """However slow the store is: what has come is seen before the run is suspended."""
        counts = any(not wait.seen for wait in self._open)
        if counts and not self._counts:
            self._inflight.enter(self._inflight.root)
        elif self._counts and not counts:
            self._inflight.leave(self._inflight.root)
        self._counts = counts

    async def _look(self) -> None:
        try:
            self._wanted = False
            await self._read(list(self._open))
        finally:
            self._looking = None
            self._count()
        if self._open:
            self._pause = self._engine.clock.call_later(_PAUSE, self._pause_over)

    def _pause_over(self) -> None:
        self._pause = None
        if self._wanted:
            self.look()

    async def _read(self, waits: list[_Wait]) -> None:
        store, now = self._engine.store, self._engine.clock.now()
        token_ids = [wait.token for wait in waits if wait.token is not None]
        run_ids = [id for wait in waits for id in wait.children]
        tokens: list[TokenRow] | None = []
        runs: list[RunRow] | None = []
        if token_ids:
            tokens = await self._engine.persist(lambda: store.read_tokens(token_ids, now), self._wants)
        if run_ids:
            runs = await self._engine.persist(lambda: store.get_runs(run_ids), self._wants)
        if tokens is None or runs is None or not self._execution.running:
            return  # suspended or stopped meanwhile: whoever goes on looks again
        by_id, rows = {token.id: token for token in tokens}, {run.id: run for run in runs}
        for wait in waits:
            wait.see(by_id, rows)

    def _wants(self) -> bool:
        return self._execution.running
