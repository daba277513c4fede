"""The tests that Node's own runner runs, each file of them as one test."""

import subprocess

import pytest

from tests.web_modules.node import HERE, NODE


@pytest.mark.parametrize("file", sorted(HERE.glob("*.test.mjs")), ids=lambda file: file.name)
def test_in_node(file):
    ended = subprocess.run(
        [NODE, "--test", str(file)], capture_output=True, text=True, encoding="utf-8", timeout=50
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
