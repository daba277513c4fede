"""Ids that sort by the moment they were made: ULIDs, monotonic within one maker."""

from __future__ import annotations

from .ports import Clock, Entropy

__all__ = ["IdMaker"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
_RANDOM_BITS = 80


class IdMaker:
    """Makes 26 characters of 48 bits of milliseconds and 80 random bits.

    Ids of the same millisecond count up, so that runs triggered together keep their order.
    """

    def __init__(self, clock: Clock, entropy: Entropy) -> None:
        self._clock, self._entropy = clock, entropy
        self._last = 0

    def __call__(self) -> str:
        millis = max(0, int(self._clock.now() * 1000))
        if millis <= self._last >> _RANDOM_BITS:
            number = self._last + 1
        else:
            # One bit short, so that counting up never carries into the milliseconds.
            number = millis << _RANDOM_BITS | self._entropy.bits(_RANDOM_BITS - 1)
        self._last = number
        return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -5, -5))
