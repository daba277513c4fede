"""Who asks, and what they may: the hooks of an application, asked for each operation before it is done."""

from __future__ import annotations

import hashlib
import hmac
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from starlette.requests import HTTPConnection

from ..errors import DurableError, InvalidOption
from ..records import RunFilter
from ..run import Run
from .problems import Refused

__all__ = ["Access", "Authenticate", "Authorize", "NewTrigger", "Policy", "Target"]


class NewTrigger(NamedTuple):
    """What is to be triggered: a job's name, its payload as plain data, and the options of `trigger`."""

    job: str
    payload: Any
    options: Mapping[str, Any]


L = TypeVar("L", RunFilter, NewTrigger)

# A run, a list of runs, a trigger; None: what concerns the whole store.
Target = Run[Any] | RunFilter | NewTrigger | None

# Who asks; None: nobody that is known.
Authenticate = Callable[[HTTPConnection], Any | Awaitable[Any]]

# May they? Of a list, or a trigger, also what is left of it: a narrower filter, a trigger with a tag.
Authorize = Callable[[Any, str, Target], Any | Awaitable[Any]]


class Policy:
    """How a server tells who asks and what they may."""

    def __init__(
        self, token: str | None, authenticate: Authenticate | None, authorize: Authorize | None
    ) -> None:
        if token is not None and (not isinstance(token, str) or not token.strip()):
            raise InvalidOption("token", "must be text, and not empty")
        if token is not None and authenticate is not None:
            raise InvalidOption("token", "authenticate says already who may ask")
        for name, hook in (("authenticate", authenticate), ("authorize", authorize)):
            if hook is not None and not callable(hook):
                raise InvalidOption(name, f"expected a function, got {hook!r:.80}")
        self._token = None if token is None else _digest(token)
        self._authenticate, self._authorize = authenticate, authorize

    @property
    def is_open(self) -> bool:
        """Whether anybody may ask."""
        return self._token is None and self._authenticate is None

    @property
    def has_hooks(self) -> bool:
        """Whether who may do what can change."""
        return self._authenticate is not None or self._authorize is not None

    async def access(self, connection: HTTPConnection) -> Access:
        """What who asks may do. `Refused` if they aren't known."""
        principal: Any = None
        if self._authenticate is not None:
            principal = await _answer(self._authenticate(connection))
        elif self._token is not None:
            scheme, _, given = connection.headers.get("authorization", "").partition(" ")
            if scheme.lower() == "bearer" and hmac.compare_digest(_digest(given.strip()), self._token):
                principal = "token"
        if principal is None and not self.is_open:
            raise Refused("unauthorized", "a token is needed", {"WWW-Authenticate": "Bearer"})
        return Access(principal, self._authorize)


class Access:
    """What one principal may do. Each question goes to the application's `authorize`, if it has one."""

    def __init__(self, principal: Any, authorize: Authorize | None) -> None:
        self.principal, self._authorize = principal, authorize

    async def to_run(self, operation: str, run: Run[Any]) -> bool:
        return await self._ask(operation, run) is True

    async def to_runs(self, operation: str, filter: RunFilter) -> RunFilter:
        """What is left of the list. `Refused` if nothing is."""
        return await self._left(operation, filter)

    async def to_trigger(self, operation: str, trigger: NewTrigger) -> NewTrigger:
        """What is to be triggered. `Refused`."""
        return await self._left(operation, trigger)

    async def to_store(self, operation: str) -> None:
        if await self._ask(operation, None) is not True:
            raise _forbidden(operation)

    async def _left(self, operation: str, given: L) -> L:
        answer: L | bool = await self._ask(operation, given)
        if isinstance(answer, bool):
            if not answer:
                raise _forbidden(operation)
            return given
        return answer

    async def _ask(self, operation: str, target: Target) -> Any:
        if self._authorize is None:
            return True
        answer = await _answer(self._authorize(self.principal, operation, target))
        if answer is True or answer is False:
            return answer
        kind = type(target)
        if kind in (RunFilter, NewTrigger) and isinstance(answer, kind):
            return answer
        raise DurableError(f"authorize answered {answer!r:.80} for {operation}: neither True nor False")


async def _answer(given: Any) -> Any:
    return await given if inspect.isawaitable(given) else given


def _digest(token: str) -> bytes:
    """Of one length whatever the token, so that a comparison tells nothing about it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _forbidden(operation: str) -> Refused:
    return Refused("forbidden", f"{operation} isn't allowed")
