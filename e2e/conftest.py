"""End-to-end tests: a real Chromium, a server that counts, and `async def` tests as everywhere."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from durable_lite.testing.tabs import SuspendableBrowser
from e2e.durable_site import DurableSite, serve
from tests.conftest import pytest_pyfunc_call
from tests.harness import alone

__all__ = ["pytest_pyfunc_call"]

CACHE = Path(__file__).parents[1] / ".cache" / "e2e"

expect.set_options(timeout=20_000)  # what a server tells of comes with its workers' beats

pytest_plugins = ["durable_lite.testing.tabs.plugin"]


# WebAssembly is compiled once, and not again to be faster: no test lives long enough to gain by that.
COMPILED_ONCE = "--js-flags=--liftoff-only"


@pytest.fixture
def suspendable_browser(
    suspendable_browser: Callable[..., AbstractAsyncContextManager[SuspendableBrowser]],
) -> Callable[..., AbstractAsyncContextManager[SuspendableBrowser]]:
    def start(**options: Any) -> AbstractAsyncContextManager[SuspendableBrowser]:
        return suspendable_browser(**options | {"args": [COMPILED_ONCE, *options.get("args", ())]})

    return start


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static build of the test jobs. It begins with the last one, which is kept in `.cache`."""
    from durable_lite.web.build import Plan, build

    with alone(CACHE):
        build(Plan(CACHE / "site", jobs=tuple((Path(__file__).parent / "jobs").glob("*.py")), brotli=False))
        return shutil.copytree(CACHE / "site", tmp_path_factory.mktemp("static") / "site")


@pytest.fixture
def site(built: Path) -> Iterator[DurableSite]:
    """The build of the test jobs, served; it is told what executes."""
    with serve(built) as site:
        yield site


@pytest.fixture(scope="session")
def begin(built: Path) -> Callable[[Path], Path]:
    """Puts a build into a folder, for another to begin with: what is the same isn't made again."""

    def copy(folder: Path) -> Path:
        shutil.copytree(built, folder)
        return folder

    return copy
