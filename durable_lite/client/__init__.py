"""A `Durable` on a server, over its HTTP API: the same verbs, from anywhere."""

from __future__ import annotations

from .errors import Forbidden, RemoteError, Unauthorized
from .remote import RemoteDurable

__all__ = ["Forbidden", "RemoteDurable", "RemoteError", "Unauthorized"]
