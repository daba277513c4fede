"""Retry: how often failed work is tried again, and after which delay."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from .durations import count, flag, number, seconds, text
from .errors import (
    AbortRun,
    InvalidOption,
    InvalidPayload,
    KeyReused,
    NotSerializable,
    TooLarge,
    UnresolvedAuth,
)

__all__ = ["Retry", "never_retried"]

_NEVER = (AbortRun, NotSerializable, TooLarge, KeyReused, InvalidPayload, UnresolvedAuth)


def never_retried(exc: BaseException) -> bool:
    """Whether an exception fails its run at once, whatever attempts are left."""
    return isinstance(exc, _NEVER)


class Retry:
    """A policy of retries; an immutable value, checked when it is made.

    `max_attempts` includes the first. After the n-th failure the delay is
    `min(max_delay, min_delay * factor ** (n - 1))`; with `jitter` it is drawn evenly between half of
    that and all of it, under the cap too, so that capped delays still spread. `children` says
    whether a failed child run, left uncaught, is tried again.

    Raises `InvalidOption`, which names the option: `Retry(max_attempts)`.
    """

    __slots__ = ("children", "factor", "jitter", "max_attempts", "max_delay", "min_delay")

    NEVER: ClassVar[Retry]
    """One attempt, and no other."""

    max_attempts: int
    factor: float
    min_delay: float
    max_delay: float
    jitter: bool
    children: bool

    def __init__(
        self,
        max_attempts: int = 3,
        factor: float = 2.0,
        min_delay: Any = "1s",
        max_delay: Any = "60s",
        jitter: bool = True,
        children: bool = False,
    ) -> None:
        shortest = seconds(min_delay, "Retry(min_delay)")
        longest = seconds(max_delay, "Retry(max_delay)")
        if shortest > longest:
            more = f"{text(shortest)} is more than max_delay, {text(longest)}"
            raise InvalidOption("Retry(min_delay)", more)
        values = {
            "max_attempts": count(max_attempts, "Retry(max_attempts)"),
            "factor": number(factor, "Retry(factor)", minimum=1.0),
            "min_delay": shortest,
            "max_delay": longest,
            "jitter": flag(jitter, "Retry(jitter)"),
            "children": flag(children, "Retry(children)"),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def delay(self, failures: int, uniform: float) -> float:
        """The seconds to wait after this many failures; `uniform` is a random number in [0, 1)."""
        try:
            full = min(self.max_delay, self.min_delay * self.factor ** (failures - 1))
        except OverflowError:
            full = self.max_delay
        return full / 2 + full / 2 * uniform if self.jitter else full

    def _values(self) -> tuple[Any, ...]:
        return self.max_attempts, self.factor, self.min_delay, self.max_delay, self.jitter, self.children

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Retry) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return (
            f"Retry(max_attempts={self.max_attempts}, factor={self.factor}, "
            f"min_delay={self.min_delay}, max_delay={self.max_delay}, "
            f"jitter={self.jitter}, children={self.children})"
        )

    def __reduce__(self) -> tuple[Any, ...]:  # for copy, which would set attributes
        return Retry, self._values()

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a Retry is immutable; make another one to change {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Retry is immutable; {name} can't be deleted")


Retry.NEVER = Retry(max_attempts=1)
