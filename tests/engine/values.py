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


class PaymentError(Exception):
    """Its arguments say all, so it is raised again as itself."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(code, detail)
        self.code, self.detail = code, detail


class KeywordError(Exception):
    """Can't be made again from its arguments."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class TalkativeError(Exception):
    """Made again from its arguments it would say something else."""

    def __init__(self, what: str) -> None:
        super().__init__(f"it was {what}")


class UnprintableError(Exception):
    """Nothing can be asked of it."""

    def __str__(self) -> str:
        raise ValueError("not printable")

    __repr__ = __str__


class ForeignCancelled(BaseException):
    """What other frameworks, and test tools, raise past `except Exception`."""
