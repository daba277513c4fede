"""A limit on how often somebody may try something."""

from __future__ import annotations

import math
import time
from collections import OrderedDict

from ..queues import rate_of

__all__ = ["Rate"]

_REMEMBERED = 10_000  # who has tried lately


class Rate:
    """At most so many in any such time for each who tries, as `"20/s"`; a bucket that fills up evenly."""

    def __init__(self, rate: str, option: str) -> None:
        self._most, self._period = rate_of(rate, option)
        self._buckets: OrderedDict[object, tuple[float, float]] = OrderedDict()

    def take(self, who: object) -> int | None:
        """None: they may. Else after how many seconds they may again."""
        now = time.monotonic()
        left, at = self._buckets.pop(who, (float(self._most), now))
        left = min(self._most, left + (now - at) * self._most / self._period)
        allowed = left >= 1
        self._buckets[who] = (left - allowed, now)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return None if allowed else math.ceil((1 - left) * self._period / self._most)
