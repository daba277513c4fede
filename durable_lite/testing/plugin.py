"""A pytest plugin: `pytest_plugins = ["durable_lite.testing.plugin"]` in your `conftest.py`.

Its fixtures need no event loop, so they go with any plugin that runs `async def` tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ..job import Jobs
from .harness import Harness

__all__ = ["always_replay", "durable"]


@pytest.fixture(params=[False, True], ids=["once", "replay"])
def always_replay(request: pytest.FixtureRequest) -> bool:
    """Whether each step is followed by a replay from the top: a test with it runs once each way."""
    return bool(request.param)


@pytest.fixture
def durable(always_replay: bool) -> Callable[..., Harness]:
    """`async with durable([job]) as harness`, once as usual and once with `always_replay`."""

    def make(jobs: Jobs, **options: Any) -> Harness:
        return Harness(jobs, **({"always_replay": always_replay} | options))

    return make
