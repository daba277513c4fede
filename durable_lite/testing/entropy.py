"""Randomness that a seed repeats."""

from __future__ import annotations

import random

from ..ports import Entropy

__all__ = ["SeededEntropy"]


class SeededEntropy(Entropy):
    """The same ids and the same jitter for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def uniform(self) -> float:
        return self._random.random()

    def bits(self, count: int) -> int:
        return self._random.getrandbits(count)
