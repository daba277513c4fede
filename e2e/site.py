"""Serves e2e/pages on a port that it keeps, and counts what is asked for."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

PAGES = Path(__file__).parent / "pages"


class Site:
    """Addresses of pages, and how often each path was asked for."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.hits: Counter[str] = Counter()

    def url(self, page: str) -> str:
        return f"{self.base}/{page}"


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, site: Site, *args: object) -> None:
        self.site = site
        super().__init__(*args, directory=PAGES)  # type: ignore[arg-type]  # the server passes them

    def do_GET(self) -> None:
        self.site.hits[urlsplit(self.path).path] += 1
        super().do_GET()

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # so that hits tell each load
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serve() -> Iterator[Site]:
    site = Site("")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, site)) as server:
        site.base = f"http://localhost:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, name="site", args=(0.05,))
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
