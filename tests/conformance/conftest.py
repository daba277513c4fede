"""Every async test that takes `store` runs once for each store.

`store` is open and has nothing in it: made for this test, under Hypothesis for each example. `other` is
a second handle on the same data, as another worker would have it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator
from importlib.util import find_spec
from typing import Any

import pytest

from tests import harness
from tests.conformance.stores import STORES, Place, opened

pytest.register_assert_rewrite("tests.conformance.build", "tests.conformance.state")

AsyncTest = Callable[..., Coroutine[Any, Any, None]]


@pytest.fixture(scope="session", params=STORES)
def store(request: pytest.FixtureRequest) -> Place:
    module = "durable_lite.stores." + request.param.partition("-")[0]
    if find_spec(module) is None:
        pytest.skip(f"{module} isn't there")
    return STORES[request.param]


@pytest.fixture(scope="session")
def other(store: Place) -> Place:
    return store


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    test = pyfuncitem.obj
    if "store" not in pyfuncitem.funcargs:
        return (yield)
    if (given := getattr(test, "hypothesis", None)) is None:
        pyfuncitem.obj = _opening(test)
        return (yield)
    inner = given.inner_test
    given.inner_test = _in_a_loop(_opening(inner))
    try:
        return (yield)
    finally:
        given.inner_test = inner


def _opening(test: AsyncTest) -> AsyncTest:
    @functools.wraps(test)
    async def run(*, store: Place, **arguments: Any) -> None:
        async with opened(store, 1 + ("other" in arguments)) as handles:
            arguments |= dict(zip(("store", "other"), handles, strict=False))
            await test(**arguments)

    return run


def _in_a_loop(test: AsyncTest) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        harness.run(test(**arguments), timeout=60)

    return run
