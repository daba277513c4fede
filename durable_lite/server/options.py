"""The options of a server, as a type: what `asgi` and `Durable.asgi` take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from .access import Authenticate, Authorize

__all__ = ["ServerOptions"]


class ServerOptions(TypedDict, total=False):
    """See `asgi`."""

    token: str | None
    authenticate: Authenticate | None
    authorize: Authorize | None
    hosts: Iterable[str]
    origins: Iterable[str]
    token_rate: str
    max_body: int | None
    dashboard: bool
