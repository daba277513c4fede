"""IndexedDB where it is at home: the tests of tests/ that are about it, in a worker of a real Chromium."""

import asyncio
import os

import pytest

from e2e.python import PACKAGES, ROOT, run, zipped

PACKAGE = ("durable_lite/**/*.py", "web/*.mjs")
TESTS = ("pyproject.toml", "tests/*.py", "tests/conformance/*.py", "tests/browser/*.py", "tests/pyodide/*.py")

# A durability is one option of a write transaction: strict is asked what writes steps and ends. What draws
# many examples (test_any_…) asks the store's own code, which is the same on Node.
WANTED = {
    "relaxed": "guest or indexeddb-relaxed and not test_any_",
    "strict": "indexeddb-strict and (test_steps or test_guard or test_settle) and not test_any_",
}
# Each test with its first parameters, in a third of the time; Node is asked them all. `all`: here, too.
EACH = os.environ.get("CONFORMANCE", "once")
PYTEST = """
import os, sys
sys.path[:0] = ["/packages", "/project/tests/pyodide"]
os.chdir("/project")

import plugin, pytest

class Once:
    @pytest.hookimpl(trylast=True)  # after -k
    def pytest_collection_modifyitems(self, config, items):
        chosen = {item.nodeid.partition("[")[0]: item for item in reversed(items)}.values()
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = [item for item in items if item in chosen]

plugins = [plugin, Once()] if os.environ["EACH"] == "once" else [plugin]
options = ["-p", "no:cacheprovider", "--durations=5", "--hypothesis-profile=few", "-k", os.environ["WANTED"]]
int(pytest.main([*options, "tests/conformance", "tests/browser"], plugins=plugins))
"""
ENVIRONMENT = {
    "COLUMNS": "100",
    "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
}
MODULES = {"durable_lite_indexeddb": "/indexeddb.mjs"}

GUEST = """
import sys
sys.path.insert(0, "/project")
from durable_lite import Context, Durable, job

@job
async def greets(ctx: Context, name: str) -> str:
    return await ctx.step("greet", "Hello, {}".format, name)

async with Durable("indexeddb:guest", jobs=[greets]) as app:
    result = await (await app.trigger(greets, "guest")).result()
result
"""
CSP = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'"


@pytest.fixture
def opened(suspendable_context, site):
    async def open_page(context):
        page = await context.new_page()
        await page.goto(f"{site.base}/plain.html")
        return page

    return open_page


@pytest.mark.timeout(480)
async def test_conformance(suspendable_context, site, opened):
    """Both durabilities at once, each in a browser of its own: half of the time is waiting for IndexedDB."""
    if not PACKAGES.is_dir():
        pytest.fail("The packages for Pyodide are missing: run `make setup`")
    archives = {"/packages": zipped(PACKAGES), "/project": zipped(ROOT, PACKAGE + TESTS)}

    async def told(durability):
        printed = []
        env = ENVIRONMENT | {"DURABILITIES": durability, "WANTED": WANTED[durability], "EACH": EACH}
        async with suspendable_context() as context:
            page = await opened(context)
            given = {"archives": archives, "modules": MODULES, "env": env}
            code = await run(page, site, PYTEST, printed.append, **given)
        text = "".join(printed)
        print(f"{durability}:\n{text}")
        return code and ("".join(text.rpartition("= short test summary info =")[1:])[-5000:] or text)

    if failures := [one for one in await asyncio.gather(*map(told, WANTED)) if one]:
        pytest.fail("\n".join(failures), pytrace=False)


@pytest.mark.timeout(120)
async def test_a_guest_in_anothers_page(suspendable_context, site, opened):
    archives = {"/project": zipped(ROOT, PACKAGE)}
    async with suspendable_context() as context:
        page = await opened(context)
        assert await run(page, site, GUEST, archives=archives) == "Hello, guest"
        names = await page.evaluate("indexedDB.databases().then(found => found.map(one => one.name))")
        assert names == ["durable-lite:guest"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("also", ["", " 'unsafe-eval'"], ids=["no eval", "no data: URLs"])
async def test_a_guest_under_a_strict_policy_is_told_what_to_do(suspendable_context, site, opened, also):
    site.headers["Content-Security-Policy"] = CSP.replace(" 'wasm-unsafe-eval'", " 'wasm-unsafe-eval'" + also)
    archives = {"/project": zipped(ROOT, PACKAGE)}
    async with suspendable_context() as context:
        page = await opened(context)
        with pytest.raises(AssertionError, match="StoreError: the page doesn't let Python load") as caught:
            await run(page, site, GUEST, archives=archives)
        fix = 'pyodide.registerJsModule("durable_lite_indexeddb", await import("./indexeddb.mjs"))'
        assert fix in str(caught.value)
        assert await run(page, site, GUEST, archives=archives, modules=MODULES) == "Hello, guest"


@pytest.mark.timeout(120)
async def test_python_that_is_silent_for_too_long_is_named(suspendable_context, site, opened):
    code = "from watchdog import watch\nwatch('a loop', 1)\nwhile True: pass"
    async with suspendable_context() as context:
        with pytest.raises(TimeoutError, match="a loop: not within 1 s"):
            await run(await opened(context), site, code)
