"""A step in flight: what to do, its task, and the callers that wait for its output."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from .inflight import Scope
from .records import NewRun, TokenRow
from .shapes import Shape, return_shape
from .step import StepOptions, function_name, is_async, options_of

__all__ = ["StepCall", "Stored"]


class Stored(NamedTuple):
    """What a wait returns: its output as it is to be stored, and what is created along with it."""

    text: str
    run: NewRun | None = None
    token: TokenRow | None = None


class StepCall:
    """One step, or one wait that is stored like a step, from its first call to its checkpoint."""

    __slots__ = (
        "abandoned", "args", "cut_off", "error", "fn", "kind", "kwargs", "left", "name", "options", "output",
        "own", "parent", "path", "ref", "saving", "shape", "task", "timed_out", "waiters",
    )  # fmt: skip

    def __init__(
        self, path: str, fn: Callable[..., Any], args: Any, kwargs: Any, options: StepOptions, parent: Scope,
        kind: str = "step", name: str | None = None, shape: Shape | None = None,
    ) -> None:  # fmt: skip
        self.path, self.fn, self.args, self.kwargs = path, fn, args, kwargs
        self.kind, self.options = kind, options_of(fn, options)
        self.name = function_name(fn) if name is None else name
        self.shape = return_shape(fn) if kind == "step" else shape
        self.ref: str | None = None  # what it waits for, or has started, outside the run
        self.parent = parent
        self.own = Scope(path, parent.owner, sync=not is_async(fn))
        self.task: Any = None  # until its first part has run, and for good if that was all
        self.waiters: list[asyncio.Future[None]] = []
        self.output: str | None = None
        self.error: Callable[[], BaseException] | None = None
        self.left = False  # the last caller that waited went away
        self.saving = False  # its result is on its way to the store: too late to cancel
        self.timed_out = False
        self.abandoned = False  # a sync function runs on, but nobody wants its result
        self.cut_off = False  # abandoned amid calls of its own: what it still returns is made without them

    def cancel(self) -> None:
        if not self.saving:
            self.abandoned = True
            self.cut_off |= self.own.active > 0
            if self.task is not None:  # else its first part is running: `_start` cancels it
                self.task.cancel()

    def answer(self, output: str) -> None:
        self.output = output
        self._wake()

    def fail(self, make: Callable[[], BaseException]) -> None:
        self.error = make
        self._wake()

    def _wake(self) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)

    def drop(self) -> None:
        for waiter in self.waiters:
            waiter.cancel()
