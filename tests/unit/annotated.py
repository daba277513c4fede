"""Functions whose annotations are text, for the tests of the codec and of payloads."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nowhere import Missing


@dataclasses.dataclass
class Point:
    name: str


def gives_point() -> Point: ...


def gives_points() -> dict[str, list[Point]]: ...


def gives_point_soon() -> Awaitable[Point]: ...


def gives_quoted() -> list["Point"]: ...  # noqa: UP037


def despite_another_name(other: Missing) -> Point: ...


def gives_dict() -> dict: ...


def gives_unknown() -> list[Missing]: ...


def gives_nothing() -> None: ...


def local() -> tuple[Callable[[], Any], Any]:
    @dataclasses.dataclass
    class Local:
        n: int

    def fn() -> list[Local]:
        return [Local(1)]

    return fn, Local


def takes_late(ctx: Missing, payload: Late) -> None: ...


def takes_missing(ctx: Any, payload: Missing) -> None: ...


@dataclasses.dataclass
class Late:
    points: list[Point]
    after: Late | None = None
