"""The server of `durable-lite web serve`, over real sockets."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import brotli
import pytest

from durable_lite.web.serve import CSP, Server
from tests.web.support import COMMAND, attempt, manifest

WASM = "/pyodide/314.0.7/pyodide.asm.wasm"
SECRET = b"secret"


@pytest.fixture
def folder(tmp_path):
    """A site, with a secret beside it and links to both."""
    site = tmp_path / "site"
    (site / "below").mkdir(parents=True)
    (site / "index.html").write_text("<!doctype html>")
    (site / "below" / "index.html").write_text("below")
    (site / "empty").mkdir()
    (site / ".git").mkdir()
    (site / ".git" / "config").write_bytes(SECRET)
    (site / "a b.txt").write_text("spaced")
    for name in (
        "page.mjs",
        "code.wasm",
        "package.whl",
        "all.zip",
        "data.json",
        "jobs.py",
        "style.css",
        "thing.xyz",
    ):
        (site / name).write_text(f"{name} " * 50)
    (tmp_path / "secret.txt").write_bytes(SECRET)
    (tmp_path / "site-2").mkdir()
    (tmp_path / "site-2" / "secret.txt").write_bytes(SECRET)
    (site / "out.txt").symlink_to(tmp_path / "secret.txt")
    (site / "out").symlink_to(tmp_path)
    (site / "in.txt").symlink_to(site / "a b.txt")
    (site / "loop").symlink_to(site / "loop")
    os.mkfifo(site / "pipe")
    return site


@pytest.fixture
def serve():
    running = []

    def serve(folder, **options):
        server = Server(folder, "127.0.0.1", 0, **options)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        running.append((server, thread))
        return server.server_address[1]

    yield serve
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def port(folder, serve):
    return serve(folder)


def ask(port, path, method="GET", **headers):
    """Status, headers and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def raw(port, request):
    """What comes back for these bytes, until the server hangs up or is silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while part := connection.recv(65_536):
            found += part
        return found


class TestTypes:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("page.mjs", "text/javascript; charset=utf-8"),
            ("code.wasm", "application/wasm"),
            ("package.whl", "application/zip"),
            ("all.zip", "application/zip"),
            ("data.json", "application/json"),
            ("jobs.py", "text/x-python; charset=utf-8"),
            ("style.css", "text/css; charset=utf-8"),
            ("thing.xyz", "application/octet-stream"),
        ],
    )
    def test_a_file_has_its_type(self, port, folder, name, kind):
        status, headers, body = ask(port, f"/{name}")
        assert (status, headers["Content-Type"], body) == (200, kind, (folder / name).read_bytes())
        assert headers["X-Content-Type-Options"] == "nosniff"

    def test_a_folder_is_its_index(self, port):
        assert ask(port, "/")[2] == b"<!doctype html>"
        assert ask(port, "/below/")[2] == b"below"
        assert ask(port, "/?x=1")[0] == 200

    def test_a_folder_without_its_slash_redirects(self, port):
        status, headers, _ = ask(port, "/below?x=1")
        assert (status, headers["Location"]) == (301, "below/?x=1")

    @pytest.mark.parametrize("path", ["//below", "//evil.example/..", "///evil.example", "/\\evil.example"])
    def test_a_redirect_stays_here(self, port, path):
        status, headers, _ = ask(port, path)
        assert status in (301, 404)
        assert headers["Location"] in (None, "below/")

    def test_a_folder_without_an_index_is_not_listed(self, port):
        assert ask(port, "/empty/")[0] == 404

    def test_spaces(self, port):
        assert ask(port, "/a%20b.txt")[2] == b"spaced"

    def test_head(self, port):
        status, headers, body = ask(port, "/page.mjs", "HEAD")
        assert (status, headers["Content-Length"], body) == (200, "450", b"")

    def test_other_methods(self, port):
        assert ask(port, "/", "POST", Content_Length="0")[0] == 501

    def test_a_connection_is_used_again(self, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for path, status in (("/page.mjs", 200), ("/none", 404), ("/below", 301), ("/page.mjs", 200)):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert (answer.status, answer.will_close) == (status, False)
        connection.close()


class TestNothingOutside:
    @pytest.mark.parametrize(
        "path",
        [
            "/../secret.txt",
            "/below/../../secret.txt",
            "/%2e%2e/secret.txt",
            "/%2E%2e/secret.txt",
            "/.%2e/secret.txt",
            "/..%2fsecret.txt",
            "/%2e%2e%2fsecret.txt",
            "/..%5csecret.txt",
            "/..\\secret.txt",
            "/%252e%252e/secret.txt",
            "/%c0%ae%c0%ae/secret.txt",
            "/%ff",
            "/../site-2/secret.txt",
            "/out.txt",
            "/out/secret.txt",
            "/out/site-2/secret.txt",
            "/out",
            "/out/",
            "/loop",
            "/pipe",
            "/.git/config",
            "/%2egit/config",
            "/secret.txt%00.html",
            "/index.html%00",
            "/index.html/",
            "/index.html/x",
            "/./index.html",
            "/" + "a" * 300,
            "/" + "a/" * 2_000,
            "/C:/secret.txt",
            "http://127.0.0.1/index.html",
            "*",
            "secret.txt",
        ],
    )
    def test_hostile_paths(self, port, path):
        status, _, body = ask(port, path)
        assert SECRET not in body
        assert status == 404

    def test_absolute_paths(self, port, tmp_path):
        secret = str(tmp_path / "secret.txt")
        for path in (secret, "/" + secret, "//" + secret, secret.replace("/", "%2f")):
            status, _, body = ask(port, path)
            assert (status, SECRET in body) == (404, False)

    def test_a_link_inside_is_followed(self, port):
        assert ask(port, "/in.txt")[2] == b"spaced"

    def test_raw_rubbish(self, port):
        for request in (
            b"GET\r\n\r\n",
            b"GET /\x00 HTTP/1.1\r\n\r\n",
            b"\xff\xfe\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
        ):
            assert SECRET not in raw(port, request)
        assert ask(port, "/")[0] == 200, "it still serves"

    def test_what_is_told_of_is_a_line(self, folder, serve):
        told = []
        ask(serve(folder, told=told.append), "/none%0a%1b")
        assert told == ["404 GET /none%0a%1b"]


class TestBrotli:
    @pytest.fixture
    def folder(self, folder):
        (folder / "page.mjs.br").write_bytes(brotli.compress((folder / "page.mjs").read_bytes()))
        return folder

    @pytest.mark.parametrize(
        "accepts", ["br", "gzip, deflate, br, zstd", "BR", "gzip,br;q=0.5", "br ; q=1.0"]
    )
    def test_who_takes_it_gets_it(self, port, folder, accepts):
        _, headers, body = ask(port, "/page.mjs", Accept_Encoding=accepts)
        assert headers["Content-Encoding"] == "br"
        assert headers["Content-Type"].startswith("text/javascript")
        assert headers["Vary"] == "Accept-Encoding"
        assert headers["Content-Length"] == str(len(body))
        assert brotli.decompress(body) == (folder / "page.mjs").read_bytes()

    @pytest.mark.parametrize("accepts", ["", "gzip", "br;q=0", "br;q=0.00", "brotli", "x-br", "*"])
    def test_who_does_not_gets_the_file(self, port, folder, accepts):
        _, headers, body = ask(port, "/page.mjs", Accept_Encoding=accepts)
        assert headers["Content-Encoding"] is None
        assert headers["Vary"] == "Accept-Encoding"
        assert body == (folder / "page.mjs").read_bytes()

    def test_each_has_its_own_tag(self, port):
        plain = ask(port, "/page.mjs")[1]["ETag"]
        packed = ask(port, "/page.mjs", Accept_Encoding="br")[1]["ETag"]
        assert plain != packed
        assert ask(port, "/page.mjs", Accept_Encoding="br", If_None_Match=plain)[0] == 200

    def test_an_edited_file_outdates_its_sibling(self, port, folder):
        told = (folder / "page.mjs.br").stat()
        os.utime(folder / "page.mjs.br", (told.st_atime, told.st_mtime - 60))
        assert ask(port, "/page.mjs", Accept_Encoding="br")[1]["Content-Encoding"] is None

    def test_a_sibling_that_leads_out_is_not_sent(self, port, folder, tmp_path):
        (folder / "data.json.br").symlink_to(tmp_path / "secret.txt")
        _, headers, body = ask(port, "/data.json", Accept_Encoding="br")
        assert headers["Content-Encoding"] is None
        assert SECRET not in body


class TestCaching:
    def test_what_may_change_is_asked_for_again(self, port, folder):
        _, headers, _ = ask(port, "/page.mjs")
        assert headers["Cache-Control"] == "no-cache"
        for known in (headers["ETag"], f'"other", {headers["ETag"]}', f"W/{headers['ETag']}", "*"):
            status, again, body = ask(port, "/page.mjs", If_None_Match=known)
            assert (status, body, again["ETag"]) == (304, b"", headers["ETag"])
            assert again["Cache-Control"] == "no-cache"
        (folder / "page.mjs").write_text("new")
        status, again, body = ask(port, "/page.mjs", If_None_Match=headers["ETag"])
        assert (status, body) == (200, b"new")
        assert again["ETag"] != headers["ETag"]

    def test_a_build_says_what_is_immutable(self, full, serve):
        port = serve(full)
        for url, entry in manifest(full)["files"].items():
            status, headers, _ = ask(port, f"/{url}", "HEAD", Accept_Encoding="br")
            assert status == 200
            assert ("immutable" in headers["Cache-Control"]) is entry["immutable"]
            assert headers["Content-Encoding"] == ("br" if "brotli" in entry else None)
        assert ask(port, "/durable-lite.json", "HEAD")[1]["Cache-Control"] == "no-cache"
        assert ask(port, WASM, "HEAD")[1]["Content-Type"] == "application/wasm"

    def test_a_build_in_a_folder_of_the_site(self, full, folder, serve):
        (folder / "durable-lite.json").write_bytes((full / "durable-lite.json").read_bytes())
        (folder / "pyodide" / "314.0.7").mkdir(parents=True)
        (folder / "pyodide" / "314.0.7" / "pyodide.asm.wasm").write_bytes(b"x")
        port = serve(folder.parent)
        assert "immutable" in ask(port, f"/site{WASM}")[1]["Cache-Control"]
        assert ask(port, "/site/page.mjs")[1]["Cache-Control"] == "no-cache"


class TestPolicy:
    def test_it_is_sent_with_everything(self, folder, serve):
        port = serve(folder, csp=True)
        for path in ("/", "/page.mjs", "/none", "/below"):
            assert ask(port, path)[1]["Content-Security-Policy"] == CSP

    def test_only_if_asked_for(self, port):
        assert ask(port, "/")[1]["Content-Security-Policy"] is None


class TestCommand:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
    def test_it_says_where_and_stops(self, folder, number):
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", COMMAND, "web", "serve", folder, "--port", "0", "--csp"],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        try:
            line = process.stderr.readline()
            port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", line)[1])
            idle = socket.create_connection(("127.0.0.1", port))
            assert ask(port, "/")[1]["Content-Security-Policy"] == CSP
            assert ask(port, "/none")[0] == 404
            assert "404 GET /none" in process.stderr.readline()
            process.send_signal(number)
            assert process.wait(10) == 128 + number
            assert f"{number.name}: stopped" in process.stderr.read()
            idle.close()
        finally:
            process.kill()
            process.wait()
            process.stderr.close()

    def test_a_port_in_use(self, folder):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            done = attempt("web", "serve", folder, "--port", taken.getsockname()[1])
        assert done.returncode == 1
        assert "--port: 127.0.0.1:" in done.stderr
        assert done.stderr.endswith("--port 0 takes a free one\n")

    def test_no_such_folder(self, tmp_path):
        done = attempt("web", "serve", tmp_path / "none")
        assert (done.returncode, done.stderr) == (
            2,
            f"durable-lite: DIR: {tmp_path / 'none'}: there is no such folder\n",
        )

    def test_a_host_that_is_none(self, folder):
        done = attempt("web", "serve", folder, "--host", "no.such.invalid")
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
