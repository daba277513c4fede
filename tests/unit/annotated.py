"""Functions whose annotations are text, for the tests of the codec and of payloads."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from durable_lite.shapes import return_shape

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


@dataclasses.dataclass
class Partly:
    missing: Missing
    point: Point


def before_its_class() -> tuple[Any, Any]:
    def fn() -> list[Later]:
        return [Later()]

    shape = return_shape(fn)

    @dataclasses.dataclass
    class Later: ...

    return fn, shape


class TypeAliasType:
    """What `type X = …` makes, for a Python before 3.12."""

    def __init__(self, name: str) -> None:
        self.__name__ = name
        self.__value__: Any = None


def tree_of(leaf: Any) -> Any:
    """`type Tree = leaf | list[Tree]`."""
    if sys.version_info >= (3, 12):
        scope = {"leaf": leaf}
        exec("type Tree = leaf | list[Tree]", scope)  # noqa: S102 (no syntax of 3.11)
        return scope["Tree"]
    tree = TypeAliasType("Tree")
    tree.__value__ = leaf | list[tree]
    return tree


def takes_late(ctx: Missing, payload: Late) -> None: ...


def takes_missing(ctx: Any, payload: Missing) -> None: ...


@dataclasses.dataclass
class Late:
    points: list[Point]
    after: Late | None = None
