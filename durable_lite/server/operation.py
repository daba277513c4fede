"""One operation of the HTTP API: where it is, on what it needs authority, what it takes and answers.

The table of operations is the only way in: routes, the OpenAPI document and the questions to `authorize`
are made of it. What an operation works on is loaded and authorised before its function is called.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from ..records import RunFilter, TokenRow
from ..run import Run
from .access import Access, NewTrigger

if TYPE_CHECKING:
    from starlette.requests import Request

    from ..durable import Durable
    from .sse import EventStream
    from .streams import Hub

__all__ = ["Answer", "Call", "Handler", "On", "Operation", "Schema"]

Schema = dict[str, Any]


class On(StrEnum):
    """What `authorize` is asked about."""

    RUN = "run"  # the path's {id}
    TOKEN = "token"  # the run of the path's token
    TOKENS = "tokens"  # the runs whose tokens they are, and the query's run
    RUNS = "runs"  # the list that the query describes
    TRIGGER = "trigger"  # what the body is to start
    STORE = "store"  # all there is
    NOTHING = "nothing"  # for anybody, without asking


@dataclass(slots=True)
class Call:
    """One request, checked and authorised."""

    app: Durable
    hub: Hub
    request: Request
    access: Access
    params: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any  # JSON, or bytes
    run: Run[Any] = field(init=False)  # On.RUN and On.TOKEN
    filter: RunFilter = field(init=False)  # On.RUNS and On.TOKENS
    token: TokenRow = field(init=False)  # On.TOKEN
    triggers: list[NewTrigger] = field(init=False)  # On.TRIGGER: one for each payload

    @property
    def tagged(self) -> bool:
        return bool(self.query.get("values") == "tagged")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: JSON, or live updates."""

    body: Any = None
    status: int = 200
    stream: EventStream | None = None


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Operation:
    """See the module."""

    name: str  # "runs.cancel": what `authorize` is told
    method: str
    path: str  # below /api
    summary: str
    on: On
    handle: Handler
    answer: Schema | None  # of the body; None: there is none
    status: int = 200
    also: tuple[int, ...] = ()  # other statuses with the same body
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    raw: bool = False  # the body isn't JSON, and is taken as it is
    streams: bool = False  # answers with server-sent events
    limited: bool = False  # by the rate for guessing
    problems: tuple[str, ...] = ()  # besides those that any operation may have
