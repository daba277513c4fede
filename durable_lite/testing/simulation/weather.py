"""What a store does to those who use it: it takes time, is busy, loses answers and hints."""

from __future__ import annotations

from random import Random

from ...errors import StoreUnavailable

__all__ = ["Weather"]


class Weather:
    """Of one simulation, for all its processes; `clear` when nothing goes wrong any more."""

    def __init__(
        self, *, slow: float, busy: float, lost: float, deaf: float, echo: float, announces_all: bool
    ) -> None:
        self.slow, self.busy, self.lost, self.deaf, self.echo = slow, busy, lost, deaf, echo
        self.announces_all = announces_all

    @classmethod
    def random(cls, random: Random) -> Weather:
        bad = random.random() < 0.7
        told = random.random() < 0.5
        return cls(
            slow=random.choice([0.0, 0.1, 0.5]),
            busy=random.choice([0.01, 0.1]) if bad else 0.0,
            lost=random.choice([0.01, 0.1]) if bad else 0.0,
            deaf=0.0 if told else random.choice([0.1, 0.5]),
            echo=random.choice([0.0, 0.3]),
            announces_all=told,
        )

    @classmethod
    def fine(cls) -> Weather:
        return cls(slow=0.0, busy=0.0, lost=0.0, deaf=0.0, echo=0.0, announces_all=True)

    def clear(self) -> None:
        self.slow = self.busy = self.lost = self.deaf = 0.0

    def way(self, random: Random) -> float:
        """How long a call or its answer is on its way, in seconds."""
        chance = random.random()
        if chance < 0.7:
            return 0.0
        return random.random() * (2.0 if chance > 1 - 0.02 * self.slow else 0.01)

    def refuse(self, random: Random, verb: str) -> None:
        if self.busy and random.random() < self.busy:
            raise StoreUnavailable(f"{verb}: busy")

    def lose(self, random: Random, verb: str) -> None:
        if self.lost and random.random() < self.lost:
            raise StoreUnavailable(f"{verb}: the answer was lost")

    def hints(self, random: Random) -> list[float]:
        """After how long each a change is told: never, once or twice; most at once."""
        if self.deaf and random.random() < self.deaf:
            return []
        times = 2 if self.echo and random.random() < self.echo else 1
        return [max(0.0, random.random() - 0.7) * 0.03 for _ in range(times)]
