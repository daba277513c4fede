"""What pytest lacks inside Pyodide: the option and the marker of pytest-timeout, which needs threads.

The limit itself is kept by the watchdog, which is outside: a thread of Node's that ends the process, or
who started the browser. An async test that merely waits too long fails by itself before that (see
tests/harness.py).
"""

import pytest
from watchdog import watch  # a module of run.mjs, or of e2e/pages/python-worker.mjs

# More than a test may take: reading the tests and, the first time, compiling all that they import.
COLLECTING = 180
GRACE = 15


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("timeout", "seconds that one test may take")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "timeout(seconds): seconds that this test may take")
    watch("collecting the tests", COLLECTING)


def pytest_runtest_protocol(item: pytest.Item) -> None:
    marker = item.get_closest_marker("timeout")
    seconds = float(marker.args[0] if marker else item.config.getini("timeout"))
    watch(item.nodeid, seconds + GRACE)


def pytest_sessionfinish() -> None:
    watch("the end of the session", COLLECTING)
