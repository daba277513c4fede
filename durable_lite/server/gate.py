"""The gate before every request: which names the server answers to, and which pages may ask.

A page of another site can make a browser send requests to a server on loopback, and with DNS rebinding
even read its answers. So the `Host` has to be one of the server's names, and an `Origin`, where there is
one, its own or one that is allowed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from ..errors import InvalidOption
from ..web.serve import CSP
from .problems import Refused

__all__ = ["LOOPBACK", "Gate", "is_loopback"]

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

_SAFE = ("GET", "HEAD", "OPTIONS")
_POLICY = (
    f"{CSP}; style-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_ALWAYS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
_CORS = {
    "access-control-allow-methods": "GET, POST, DELETE",
    "access-control-allow-headers": "authorization, content-type, last-event-id",
    "access-control-max-age": "600",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address or a name."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Gate:
    """Checks hosts and origins, and sets the headers that every answer has."""

    def __init__(self, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self.hosts = {_host(host) for host in hosts}
        self.origins = {_origin(origin) for origin in origins}

    @property
    def is_local(self) -> bool:
        return all(is_loopback(host) for host in self.hosts)

    def check(self, scope: MutableMapping[str, Any]) -> None:
        """`Refused` unless who asks may ask at all."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if "*" not in self.hosts and _without_port(host) not in self.hosts:
            raise Refused("host_not_allowed", f"the server isn't called {host!r:.100}")
        origin = headers.get("origin")
        same = f"{scope.get('scheme', 'http')}://{host}".lower()
        if origin is None:
            # A form or an image of another page: browsers that send no Origin tell at least this.
            foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
            if foreign and (scope["method"] not in _SAFE or headers.get("sec-fetch-mode") != "navigate"):
                raise Refused("cross_origin", "another site's page may not ask")
        elif origin.lower() != same and origin.lower() not in self.origins:
            raise Refused("cross_origin", f"a page of {origin!r:.100} may not ask")

    def headers(self, scope: MutableMapping[str, Any], given: MutableHeaders) -> None:
        """What an answer tells a browser besides."""
        for name, value in _ALWAYS.items():
            given.setdefault(name, value)
        origin = Headers(scope=scope).get("origin", "")
        if origin.lower() in self.origins:
            given["access-control-allow-origin"] = origin
            given["access-control-expose-headers"] = "retry-after"
            given["cross-origin-resource-policy"] = "cross-origin"
        if self.origins:
            given.add_vary_header("Origin")

    def preflight(self, scope: MutableMapping[str, Any]) -> dict[str, str] | None:
        """The answer to a browser that asks whether a page of an allowed origin may ask."""
        headers = Headers(scope=scope)
        asks = scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        return dict(_CORS) if asks else None


def _without_port(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()


def _host(host: Any) -> str:
    if not isinstance(host, str) or not host or set(host) & set("/@ \t\r\n"):
        raise InvalidOption("hosts", f"expected names such as example.org, got {host!r:.80}")
    name = host.lower()
    return f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else _without_port(name)


def _origin(origin: Any) -> str:
    parts = urlsplit(origin) if isinstance(origin, str) else None
    bare = parts is not None and parts.netloc and not parts.path and not parts.query
    if parts is None or not bare or parts.scheme not in ("http", "https"):
        raise InvalidOption("origins", f"expected origins such as https://example.org, got {origin!r:.80}")
    return str(origin).lower()
