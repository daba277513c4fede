"""A static server to try a build out: the right types, brotli, caching, and nothing outside its folder."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import socket
import socketserver
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from .manifest import NAME, Old, read_manifest
from .output import BR

__all__ = ["CSP", "TYPES", "Server"]

# Enough for Pyodide; a worker has the policy of its own response.
CSP = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'"

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".gif": "image/gif",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".py": "text/x-python; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".whl": "application/zip",
    ".woff2": "font/woff2",
    ".zip": "application/zip",
}
_IDLE = 30.0  # seconds after which a silent connection is closed
_YEAR = 365 * 86_400
_SLACK = 2.0  # seconds: what unpacks a folder may write a file after its compressed sibling
_INDEX = "index.html"


class Server(ThreadingHTTPServer):
    """Serves `folder` until `shutdown`; `told` hears a line for each request that found nothing."""

    daemon_threads = True
    block_on_close = False  # an idle connection doesn't hold it up

    def __init__(
        self,
        folder: Path,
        host: str,
        port: int,
        *,
        csp: bool = False,
        told: Callable[[str], None] | None = None,
    ) -> None:
        self.folder, self.csp, self.told = folder.resolve(strict=True), csp, told
        self._manifests: dict[Path, tuple[int, Old | None]] = {}
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer asks the DNS for a name nobody needs

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}/" if ":" in str(host) else f"http://{host!s}:{port}/"

    def is_immutable(self, path: Path) -> bool:
        """Whether the manifest of the build that `path` belongs to says so."""
        for above in path.parents:
            if (manifest := self._manifest(above / NAME)) is not None:
                entry = manifest.files.get(path.relative_to(above).as_posix(), {})
                return entry.get("immutable") is True
            if above == self.folder:
                break
        return False

    def _manifest(self, path: Path) -> Old | None:
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            return None
        known = self._manifests.get(path)
        if known is None or known[0] != changed:
            known = self._manifests[path] = (changed, read_manifest(path.parent))
        return known[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that hangs up is nothing to report."""


class _Found(NamedTuple):
    """What a request gets: an open file, and what it is."""

    file: BinaryIO
    size: int
    etag: str
    is_brotli: bool
    changed: float


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "durable-lite", ""
    timeout = _IDLE
    server: Server

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self._resolve()
        if path is None:
            return self._refuse(HTTPStatus.NOT_FOUND)
        is_folder = self.path.partition("?")[0].endswith("/")
        if path.is_dir():
            if not is_folder:
                return self._redirect()
            path /= _INDEX
        elif is_folder:
            return self._refuse(HTTPStatus.NOT_FOUND)
        if not self._is_inside(path):
            return self._refuse(HTTPStatus.NOT_FOUND)
        found = _open(path, self._takes_brotli())
        if found is None:
            return self._refuse(HTTPStatus.NOT_FOUND)
        with found.file:
            self._send(path, found)

    def _resolve(self) -> Path | None:
        """The path that is asked for; None if it can't be one, or leads out of the folder."""
        target = self.path.partition("?")[0].partition("#")[0]
        if not target.startswith("/"):
            return None
        try:
            # Decoded after it is cut: an encoded slash makes no new part.
            parts = [unquote_to_bytes(part).decode() for part in target.split("/") if part]
        except UnicodeDecodeError:
            return None
        if any(set(part) & set("/\\:\0") or _is_hidden(part) for part in parts):
            return None
        path = self.server.folder.joinpath(*parts)
        return path if self._is_inside(path) else None

    def _is_inside(self, path: Path) -> bool:
        """Whether it is there, and in the folder when links are followed."""
        try:
            return path.resolve(strict=True).is_relative_to(self.server.folder)
        except (OSError, RuntimeError, ValueError):
            return False

    def _takes_brotli(self) -> bool:
        for coding in self.headers.get("Accept-Encoding", "").lower().split(","):
            name, *parameters = (part.strip() for part in coding.split(";"))
            if name == "br":
                return not any(part.replace(" ", "").rstrip("0") in ("q=", "q=0.") for part in parameters)
        return False

    def _send(self, path: Path, found: _Found) -> None:
        same = self._knows(found.etag)
        self.send_response(HTTPStatus.NOT_MODIFIED if same else HTTPStatus.OK)
        self._common(path)
        self.send_header("ETag", found.etag)
        self.send_header("Vary", "Accept-Encoding")
        self.send_header("Last-Modified", formatdate(found.changed, usegmt=True))
        if not same:
            self.send_header("Content-Type", TYPES.get(path.suffix.lower(), "application/octet-stream"))
            self.send_header("Content-Length", str(found.size))
            if found.is_brotli:
                self.send_header("Content-Encoding", "br")
        self.end_headers()
        if not same and self.command != "HEAD":
            shutil.copyfileobj(found.file, self.wfile)

    def _knows(self, etag: str) -> bool:
        given = self.headers.get("If-None-Match", "")
        known = (one.strip().removeprefix("W/") for one in given.split(","))
        return given.strip() == "*" or etag in known

    def _common(self, path: Path | None = None) -> None:
        immutable = path is not None and self.server.is_immutable(path)
        self.send_header("Cache-Control", f"public, max-age={_YEAR}, immutable" if immutable else "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.server.csp:
            self.send_header("Content-Security-Policy", CSP)

    def _redirect(self) -> None:
        """To the folder itself: what its page names is relative to it. Never to another host."""
        path, mark, query = self.path.partition("?")
        name = quote(unquote_to_bytes(path.rstrip("/").rpartition("/")[2]))
        self.send_response(HTTPStatus.MOVED_PERMANENTLY)
        self._common()
        self.send_header("Location", f"{name}/{mark}{query}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _refuse(self, status: HTTPStatus) -> None:
        if self.server.told is not None:
            self.server.told(f"{status.value} {self.command} {self.path}")
        body = f"{status.value} {status.phrase}\n".encode()
        self.send_response(status)
        self._common()
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Only what found nothing is told, by `_refuse`."""


def _is_hidden(part: str) -> bool:
    return part.startswith(".") and part != ".well-known"  # .git and such, but also ..


def _open(path: Path, brotli: bool) -> _Found | None:
    """The file, or its compressed sibling if that is wanted and not older."""
    try:
        raw = path.stat()
        sibling = path.with_name(path.name + BR)
        if brotli and sibling.is_file() and not sibling.is_symlink():
            compressed = sibling.stat()
            if compressed.st_mtime >= raw.st_mtime - _SLACK:
                return _found(sibling.open("rb"), is_brotli=True)
        return _found(path.open("rb")) if S_ISREG(raw.st_mode) else None
    except OSError:
        return None


def _found(file: io.BufferedReader, is_brotli: bool = False) -> _Found:
    told = os.fstat(file.fileno())
    # Of the file that is open: a build may put another in its place meanwhile.
    state = f"{told.st_size}-{told.st_mtime_ns}-{told.st_ino}-{is_brotli}"
    etag = f'"{hashlib.sha256(state.encode()).hexdigest()[:20]}"'
    return _Found(file, told.st_size, etag, is_brotli, told.st_mtime)
