"""A static build of the test jobs, on a server that is told what executes."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

HERE = Path(__file__).parent
TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm", ".whl": "application/zip"}


class DurableSite:
    """Where the build is served, and what jobs have told: `told["name/begin/3"]` is a count."""

    def __init__(self) -> None:
        self.base = ""
        self.told: Counter[str] = Counter()
        self.headers: dict[str, str] = {}
        self.files: dict[str, bytes] = {}  # served besides, by path
        self.closing = threading.Event()

    def url(self, **options: Any) -> str:
        """The page that opens a tab with these options of `openTab`."""
        return f"{self.base}/tab.html#{quote(json.dumps(options))}"

    def executed(self, name: str, what: str = "begin") -> list[int]:
        """How often each step of a run was executed, in order of the steps."""
        prefix = f"{name}/{what}/"
        told = [*self.told.items()]  # requests are counted meanwhile
        counts = {int(key.removeprefix(prefix)): n for key, n in told if key.startswith(prefix)}
        return [counts.get(i, 0) for i in range(max(counts, default=-1) + 1)]


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | TYPES
    protocol_version = "HTTP/1.1"

    def __init__(self, site: DurableSite, folder: Path, *args: Any) -> None:
        self.site = site
        super().__init__(*args, directory=folder)  # type: ignore[arg-type]  # the server passes them

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/tell/"):
            self.site.told[unquote(path.removeprefix("/tell/"))] += 1
            self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path.startswith("/hang/"):
            self._hang(path.removeprefix("/hang/"))
        elif path in self.site.files:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.site.files[path])))
            self.send_header("Content-Type", self.guess_type(path))
            self.end_headers()
            self.wfile.write(self.site.files[path])
        else:
            super().do_GET()

    def _hang(self, name: str) -> None:
        """Answers nothing; notes that it was asked, and when the client has gone away."""
        self.site.told[f"{name}/begin/0"] += 1
        self.connection.settimeout(0.1)
        while not self.site.closing.is_set():
            try:
                if not self.connection.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self.site.told[f"{name}/gone"] += 1
        self.close_connection = True

    def translate_path(self, path: str) -> str:
        name = urlsplit(path).path.lstrip("/")
        own = HERE / "pages" / name
        return str(own) if name and own.is_file() else super().translate_path(path)

    def end_headers(self) -> None:
        for name, value in self.site.headers.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a killed browser hangs up


@contextmanager
def serve(folder: Path) -> Iterator[DurableSite]:
    site = DurableSite()
    with _Server(("127.0.0.1", 0), partial(_Handler, site, folder)) as server:
        site.base = f"http://localhost:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, name="site", args=(0.05,))
        thread.start()
        try:
            yield site
        finally:
            site.closing.set()
            server.shutdown()
            thread.join()
