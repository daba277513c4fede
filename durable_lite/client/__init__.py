"""A `Durable` on a server, over its HTTP API: the same verbs, from anywhere."""

from __future__ import annotations

from importlib.util import find_spec

if lacking := [name for name in ("httpx", "httpx_sse") if find_spec(name) is None]:
    raise ModuleNotFoundError(f'durable_lite.client needs {lacking[0]}: pip install "durable-lite[client]"')

from .errors import Forbidden, RemoteError, Unauthorized
from .remote import RemoteDurable

__all__ = ["Forbidden", "RemoteDurable", "RemoteError", "Unauthorized"]
