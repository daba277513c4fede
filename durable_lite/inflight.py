"""The suspension rule: which context calls of a run are in flight, which are parked, and when to suspend.

A run suspends when at least one wait is parked, no other context call is in flight, and none
starts for the grace period. Only context calls count: a plain `await` in the job is invisible here.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from .ports import TICK, Clock, Timer

__all__ = ["InFlight", "Scope", "Wait"]

# A timer is looked at again after this many seconds: monotonic clocks stop while a machine sleeps.
_RECHECK = 60.0


class Scope:
    """Where in a run a context call happens: the job itself (path ""), or a step.

    A step with calls of its own in flight counts by those calls; without, it counts by itself.
    """

    __slots__ = ("active", "closed", "ordinal", "owner", "path", "prefix", "sync")

    def __init__(self, path: str, owner: object, *, sync: bool = False) -> None:
        self.path = path
        self.owner = owner  # the execution
        self.prefix = f"{path}/" if path else ""
        self.sync = sync
        self.active = 0
        self.ordinal = 0  # of the next log line
        self.closed = False

    def next_attempt(self) -> Scope:
        """The scope of the same step's next attempt; this one is to be closed."""
        scope = Scope(self.path, self.owner, sync=self.sync)
        scope.ordinal = self.ordinal
        return scope


class Wait:
    """One parked wait: a future that resolves when `wake_at` has come, and never raises."""

    __slots__ = ("future", "path", "timer", "wake_at")

    def __init__(self, path: str, wake_at: float, future: asyncio.Future[None]) -> None:
        self.path, self.wake_at, self.future = path, wake_at, future
        self.timer: Timer | None = None


class InFlight:
    """Counts the context calls of one execution and calls `on_idle` when the rule is met."""

    def __init__(self, clock: Clock, grace: float, owner: object, on_idle: Callable[[], object]) -> None:
        self._clock, self._grace, self._on_idle = clock, grace, on_idle
        self.busy = 0
        self.parked: dict[Wait, None] = {}
        self.root = Scope("", owner)
        self._timer: Timer | None = None
        self._held = False
        self._quiet = False  # the grace period is over
        self.disturbed = False  # a wait was given up while the run was suspended

    @property
    def idle(self) -> bool:
        """Whether the rule is met: not if a wait was due in the very moment when the grace was over."""
        return self._quiet and not any(wait.future.done() for wait in self.parked)

    def touch(self) -> None:
        """A context call was answered at once; the grace period starts anew."""
        if self._timer is not None or self._quiet:
            self.stop()
            self._check()

    def enter(self, scope: Scope) -> None:
        """A context call starts in `scope`."""
        if self._timer is not None or self._quiet:
            self.stop()
        scope.active += 1
        if scope.active > 1 or scope is self.root:
            self.busy += 1  # else the call takes over the count of its step

    def leave(self, scope: Scope) -> None:
        """That call has ended."""
        scope.active -= 1
        if scope.active or scope is self.root or scope.closed:
            self.busy -= 1
        self._check()

    def close(self, scope: Scope) -> None:
        """A step has ended; calls that it left in flight count by themselves from here on."""
        scope.closed = True
        if scope.active:
            self.busy += 1

    async def park(self, path: str, wake_at: float, future: asyncio.Future[None] | None = None) -> None:
        """Within a call that was entered: wait for `wake_at` without counting as in flight.

        Or until whoever gave the `future` resolves it; that must not be while the run is suspended.
        """
        wait = Wait(path, wake_at, future or asyncio.get_running_loop().create_future())
        self.parked[wait] = None
        self.busy -= 1
        if not self._held:
            self._arm(wait)
        self._check()
        try:
            await wait.future
        finally:
            if wait.timer is not None:
                wait.timer.cancel()
            del self.parked[wait]
            self.disturbed |= self._held
            self.stop()
            self.busy += 1

    def earliest(self) -> float:
        """When the first parked wait is due."""
        return min(wait.wake_at for wait in self.parked)

    def hold(self) -> None:
        """The run is suspended: nothing resolves until `release`."""
        self._held = True
        self.stop()
        for wait in self.parked:
            if wait.timer is not None:
                wait.timer.cancel()
                wait.timer = None

    def release(self) -> None:
        """The run was claimed again: what is due resolves, the rest waits on."""
        self._held = False
        for wait in self.parked:
            self._arm(wait)
        self._check()

    def stop(self) -> None:
        """No suspension for now."""
        self._quiet = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def drop(self) -> None:
        """The run ends here: tasks that nobody awaits are not left parked."""
        self.stop()
        for wait in self.parked:
            wait.future.cancel()

    def _check(self) -> None:
        if self.busy == 0 and self.parked and self._timer is None and not self._held:
            self._timer = self._clock.call_later(self._grace, self._idle)

    def _idle(self) -> None:
        self._timer = None
        if self.busy == 0 and self.parked and not self._held:
            self._quiet = True
            self._on_idle()

    def _arm(self, wait: Wait) -> None:
        wait.timer = None
        if wait.future.done() or wait.wake_at == math.inf:
            return
        remaining = wait.wake_at - self._clock.now()
        if remaining <= 0:
            wait.future.set_result(None)
        else:
            wait.timer = self._clock.call_later(min(max(remaining, TICK), _RECHECK), lambda: self._arm(wait))
