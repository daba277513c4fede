"""Queues: how many of their runs may execute at a time, and how many may start in a while."""

from __future__ import annotations

import re
from typing import Any

from .durations import count, name_of, seconds
from .errors import InvalidOption

__all__ = ["Queue", "rate_of"]

_is_rate = re.compile(r"(\d+)/(\d.*|[a-z]+)", re.ASCII).fullmatch
_SCOPES = ("run", "execution")


class Queue:
    """Limits for the runs of one queue, over all workers of a store; a queue without them has none.

    * `concurrency`: so many execute at a time. A run that waits holds no place.
    * `rate`: so many start in any such time, as `"10/s"`, `"100/m"`, `"5/30s"`.
    * `key_scope`: a run holds its `concurrency_key` from its first claim to its end (`"run"`), or only
      while it doesn't wait (`"execution"`).

    Give it to `@job(queue=…)`, or leave it in a module whose jobs a worker is given.
    """

    __slots__ = ("concurrency", "key_scope", "name", "period", "rate")

    def __init__(
        self, name: str, *, concurrency: int | None = None, rate: str | None = None, key_scope: str = "run"
    ) -> None:
        self.name = name_of(name, "name of a queue")
        where = f"Queue({self.name!r})"
        self.concurrency = None if concurrency is None else count(concurrency, f"{where}: concurrency")
        self.rate: int | None = None
        self.period: float | None = None  # seconds
        if rate is not None:
            self.rate, self.period = rate_of(rate, f"{where}: rate")
        if key_scope not in _SCOPES:
            raise InvalidOption(f"{where}: key_scope", f"{key_scope!r:.80} is neither 'run' nor 'execution'")
        self.key_scope = key_scope

    def _values(self) -> tuple[Any, ...]:
        return self.name, self.concurrency, self.rate, self.period, self.key_scope

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Queue) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        limits = [f"concurrency={self.concurrency}"] if self.concurrency is not None else []
        limits += [f"rate='{self.rate}/{self.period:g}s'"] if self.rate is not None else []
        return f"Queue({', '.join([repr(self.name), *limits])})"


def rate_of(value: Any, option: str) -> tuple[int, float]:
    """How many, and in how many seconds."""
    found = _is_rate(value) if isinstance(value, str) else None
    if found is None:
        raise InvalidOption(option, f'expected text such as "10/s", "100/m" or "5/30s", got {value!r:.80}')
    period = found[2] if found[2][0].isdigit() else f"1{found[2]}"
    return count(int(found[1]), option), seconds(period, option)
