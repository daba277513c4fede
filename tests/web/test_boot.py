"""Builds boot in a real Pyodide that has their files only, and run a job there."""

import zipfile

import pytest

from durable_lite.web.slim import LEFT_OUT
from tests.web.support import boot, manifest

RUN_A_JOB = """
import json
from durable_lite import Durable
from jobs import squares

async with Durable("memory:", jobs=[squares]) as app:
    run = await app.trigger(squares, 5)
    output = await run.result()
json.dumps(output)
"""

# What jobs use; ZoneInfo needs the wheel tzdata, which is a user's --wheel.
USED = """
asyncio json sqlite3 decimal dataclasses zoneinfo email.message email.policy urllib.parse
urllib.request csv uuid logging logging.handlers logging.config statistics hashlib hmac secrets
datetime re base64 collections contextlib enum fractions functools gzip zipfile tarfile html.parser
http.client http.cookies io itertools math pathlib pickle random shutil string tempfile textwrap
time tomllib traceback types typing unicodedata xml.etree.ElementTree xml.dom.minidom configparser
argparse concurrent.futures ctypes difflib inspect ipaddress mimetypes heapq bisect graphlib
calendar locale pyodide.http pyodide.ffi pyodide.code pyodide.console
"""

WORKS = """
import csv, decimal, email.message, hashlib, io, json, logging, sqlite3, statistics, uuid, zoneinfo
from dataclasses import dataclass
from urllib.parse import urlsplit

@dataclass(frozen=True)
class Point:
    x: int

database = sqlite3.connect(":memory:")
message = email.message.EmailMessage()
message["Subject"] = "Grüße"
message.set_content("ä")
try:
    zoneinfo.ZoneInfo("Nowhere/Land")
    zone = "found"
except zoneinfo.ZoneInfoNotFoundError:
    zone = "not found"
json.dumps([
    database.execute("select json_extract('{\\"a\\": 7}', '$.a')").fetchone()[0],
    str(decimal.Decimal("0.1") + decimal.Decimal("0.2")),
    repr(Point(1)),
    "Subject" in message.as_string(),
    urlsplit("https://a.example/b?c").query,
    list(csv.reader(io.StringIO("a;b"), delimiter=";")),
    len(str(uuid.uuid4())),
    statistics.median([1, 5, 3]),
    hashlib.sha256(b"").hexdigest()[:8],
    [text.encode("utf-8").decode("utf-8").encode(name).decode(name) for text, name in
     [("é", "cp1252"), ("ß", "latin-1"), ("я", "koi8-r"), ("日", "shift_jis"), ("é", "cp437")]],
    zone,
])
"""

IMPORT_ALL = """
import importlib, json, sys, warnings, zipfile
warnings.simplefilter("ignore")
names = {
    name.rpartition(".")[0].replace("/", ".").removesuffix(".__init__")
    for name in zipfile.ZipFile([path for path in sys.path if path.endswith(".zip")][0]).namelist()
    if name.endswith((".py", ".pyc"))
}
found = {}
for name in sorted(names - {"antigravity", "this", "__main__"}):
    if name.endswith("__main__"):
        continue
    try:
        importlib.import_module(name)
        found[name] = None
    except BaseException as error:
        found[name] = f"{type(error).__name__}: {error}"
json.dumps(found)
"""


@pytest.fixture(scope="module", params=["full", "slim"])
def build(request):
    return request.getfixturevalue(request.param)


def test_a_job_runs(build, tmp_path):
    assert boot(build, RUN_A_JOB, tmp_path) == [0, 1, 4, 9, 16]


def test_what_jobs_use_is_there(build, tmp_path):
    imports = f"import {', '.join(USED.split())}\n"
    found = boot(build, imports + WORKS, tmp_path)
    expected = [
        7,
        "0.3",
        "Point(x=1)",
        True,
        "c",
        [["a", "b"]],
        36,
        3,
        "e3b0c442",
        ["é", "ß", "я", "日", "é"],
    ]
    for got, wanted in zip(found, expected, strict=False):
        assert got == wanted or (isinstance(got, str) and got.endswith("Point(x=1)"))
    assert found[-1] == "not found"


def test_nothing_that_stays_needs_what_slim_leaves_out(full, slim, tmp_path):
    whole = boot(full, IMPORT_ALL, tmp_path)
    rest = boot(slim, IMPORT_ALL, tmp_path)
    assert len(whole) - len(rest) > 80
    assert not set(rest) - set(whole)
    broken = {name: error for name, error in rest.items() if error != whole[name]}
    assert not broken


def test_all_that_slim_leaves_out_exists(full):
    with zipfile.ZipFile(full / manifest(full)["stdlib"]["url"]) as archive:
        names = [name.replace(".pyc", ".py") for name in archive.namelist()]
    for reason, paths in LEFT_OUT.items():
        assert reason
        for path in paths:
            assert any(name.startswith(path) if path.endswith("/") else name == path for name in names), path


def test_tracebacks_name_lines_of_the_library(full, tmp_path):
    code = """
import json, traceback
try:
    json.loads("{")
except ValueError as error:
    frame = traceback.extract_tb(error.__traceback__)[-1]
json.dumps([frame.filename, frame.lineno])
"""
    filename, line = boot(full, code, tmp_path)
    assert filename == "/lib/python314.zip/json/decoder.py"
    assert line > 1


def test_ours_are_in_a_traceback_where_they_are(full, tmp_path):
    code = """
import json, durable_lite.durations as module
json.dumps([module.__file__, module.text.__code__.co_filename])
"""
    file, compiled = boot(full, code, tmp_path)
    assert file == f"{compiled}c"
