"""What every test gets: `async def` tests run, each in an event loop's turn of its own.

An async resource is not a fixture here but a context manager that the test enters by itself
(`async with open_store() as store:`), so that it lives and dies in the test's own loop; a fixture may
hand out the function that makes it.
"""

import inspect
import signal

import pytest
from hypothesis import settings

from durable_lite.testing.plugin import always_replay, durable
from tests import harness

__all__ = ["always_replay", "durable", "pytest_pyfunc_call"]

# Shared machines and WebAssembly are too uneven for a deadline on each example.
settings.register_profile("tests", deadline=None)
settings.register_profile("few", deadline=None, max_examples=20)  # where each takes long
settings.load_profile("tests")

# A job in the background of a shell has it ignored, and so would every process that tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    marker = pyfuncitem.get_closest_marker("timeout")
    timeout = float(marker.args[0] if marker else pyfuncitem.config.getini("timeout"))
    harness.run(pyfuncitem.obj(**arguments), timeout=timeout)
    return True
