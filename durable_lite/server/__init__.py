"""The HTTP API of a `Durable`, live updates, and the dashboard: one ASGI application."""

from __future__ import annotations

from ..records import RunFilter
from .access import Authenticate, Authorize, NewTrigger
from .application import asgi
from .options import ServerOptions

__all__ = ["Authenticate", "Authorize", "NewTrigger", "RunFilter", "ServerOptions", "asgi"]
