"""`web/remote.mjs` against servers that `durable-lite serve` starts: Node runs the tests beside this file."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import brotli
import pytest

from durable_lite import __version__
from tests.web_modules.node import NODE, ROOT

HERE = Path(__file__).parent


@pytest.mark.timeout(170)
@pytest.mark.parametrize("file", sorted(HERE.glob("*.test.mjs")), ids=lambda file: file.name)
def test_in_node(file):
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [NODE, "--test", str(file)],
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=160,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


WEB = ROOT / "web"
BARE = re.compile(r'^(?:import|export) [*{][^;"]* from "([^"./][^"]*)"', re.MULTILINE)


def test_the_package_for_bundlers_has_what_it_names():
    package = json.loads((WEB / "package.json").read_text())
    assert package["version"] == __version__
    named = [path["default"] if isinstance(path, dict) else path for path in package["exports"].values()]
    assert all((WEB / path).is_file() for path in [*named, *package["sideEffects"]])
    assert {"./remote", "./react"} < package["exports"].keys()


def test_the_hooks_are_small_and_alone_need_a_bundler():
    assert len(brotli.compress((WEB / "react.mjs").read_bytes())) <= 2048
    bare = {path.name: BARE.findall(path.read_text("utf-8")) for path in WEB.glob("*.mjs")}
    assert {name: found for name, found in bare.items() if found} == {"react.mjs": ["react"]}
