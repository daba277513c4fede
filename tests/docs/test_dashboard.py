"""What docs/dashboard.md tells of sizes, attributes, links and files is so."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import brotli
import pytest

from durable_lite.web.modules import dashboard_files, page_modules
from tests.docs.test_snippets import ROOT
from tests.web_modules.node import NODE

TEXT = (ROOT / "docs/dashboard.md").read_text("utf-8")
WEB = ROOT / "web"
# Prints each address after it was read as a view and written again.
ROUTES = """import { format, parse } from "%s";
const told = process.argv.slice(1).map((hash) => [parse(hash), format(parse(hash))]);
process.stdout.write(JSON.stringify(told));
"""


def size(*modules: bytes) -> int:
    return sum(len(brotli.compress(module)) for module in modules)


def test_sizes():
    own = [data for name, data in dashboard_files().items() if name.endswith(".mjs")]
    pages = page_modules()
    measured = [size(*own), size(pages["remote.mjs"]), size(pages["durable-lite.mjs"])]
    [line] = re.findall(r"\*\*Size\*\*.*", TEXT)
    told = [int(number) * 1000 for number in re.findall(r"(\d+) kB", line)]
    assert told == pytest.approx(measured, rel=0.1)


def test_attributes():
    told = set(re.findall(r"^\| `([a-z]+)(?:=[^`]*)?` \|", TEXT, re.MULTILINE))
    module = (WEB / "dashboard/durable-dashboard.mjs").read_text("utf-8")
    [observed] = re.findall(r"observedAttributes = (\[.*?\])", module)
    assert told == {*json.loads(observed), "full"}
    assert ":host([full])" in (WEB / "dashboard/look.mjs").read_text("utf-8")


def routes(*addresses: str) -> list[Any]:
    module = (WEB / "dashboard/routes.mjs").as_uri()
    command = [NODE, "--input-type=module", "--eval", ROUTES % module, "--", *addresses]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    return list(json.loads(done.stdout))


def test_links_are_views():
    found = re.findall(r"`(#/[^`]+)`", TEXT)
    views = dict(zip(found, routes(*found), strict=True))
    assert {view["view"] for view, _ in views.values()} == {"runs", "run", "queues", "schedules", "tokens"}
    for address, (view, again) in views.items():
        # What isn't understood is left out.
        assert again.replace("%2C", ",") == address, view


def test_files_are_there():
    there = {*page_modules(), *dashboard_files()}
    named = re.findall(r'"(?:\./)?durable/([\w/.-]+)"', TEXT) + re.findall(r"/web/([\w/.-]+\.mjs)", TEXT)
    named += re.findall(r"`(dashboard/[\w.-]+)", TEXT)
    assert len(named) > 4
    assert set(named) <= there
