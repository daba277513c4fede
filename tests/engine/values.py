"""Types that steps return; annotations find them here."""

import enum
from dataclasses import dataclass, field


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: int


@dataclass
class Drawing:
    points: list[Point]
    colour: Colour = Colour.RED
    notes: dict[int, tuple[str, ...]] = field(default_factory=dict)


class Unknown:
    """Nothing knows how to store this."""
