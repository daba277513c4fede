"""Schemathesis finds no 5xx and nothing that the document doesn't say: a small part of `scripts/fuzz_http.py`.

In a process of its own: its plugin for pytest slows down all other tests, and isn't loaded here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_http.py"


@pytest.mark.timeout(180)
def test_the_document_holds():
    done = subprocess.run(
        [sys.executable, SCRIPT, "600"], capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5xx: 0" in done.stdout
    for status in ("200", "201", "204", "404", "422"):
        assert f"  {status}: " in done.stdout, done.stdout
