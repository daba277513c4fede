"""End-to-end tests: a real Chromium, a server that counts, and `async def` tests as everywhere."""

from collections.abc import Iterator

import pytest

from e2e.site import Site, serve
from tests.conftest import pytest_pyfunc_call

__all__ = ["pytest_pyfunc_call"]

pytest_plugins = ["durable_lite.testing.tabs.plugin"]


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as site:
        yield site
