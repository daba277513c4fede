"""One Node for all tests of a module."""

from collections.abc import Iterator

import pytest

from tests.web_modules.node import Node, running


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with running() as node:
        yield node
