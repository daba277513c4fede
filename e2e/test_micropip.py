"""Packages that a page has micropip install, from its own origin: by URL, with what they need."""

import zipfile
from pathlib import Path

import pytest

from durable_lite.web.build import Plan, build
from e2e.durable_site import serve
from e2e.tab import ended, opened, trigger
from e2e.test_tab import failure
from tests.web.support import own_wheel

SITE = Path(__file__).parents[1] / ".cache/pyodide/site"
JOBS = """\
from durable_lite import Context, job

import greetings


@job
async def greets(ctx: Context) -> str:
    return await ctx.step("greet", greetings.greet)
"""
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def micropip(tmp_path):
    """Its wheel again, of what pip has installed."""
    [info] = SITE.glob("micropip-*.dist-info")
    path = tmp_path / f"{info.stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in [*SITE.glob("micropip/**/*.py"), *info.iterdir()]:
            archive.write(file, file.relative_to(SITE))
    return path


@pytest.fixture
def jobs(tmp_path):
    (tmp_path / "greeting_jobs.py").write_text(JOBS)
    return (tmp_path / "greeting_jobs.py",)


async def test_what_a_package_needs_comes_along(suspendable_context, begin, tmp_path, micropip, jobs):
    out = begin(tmp_path / "site")
    build(Plan(out, jobs=jobs, wheels=(micropip,), brotli=False))
    with serve(out) as site:
        needed = f"words @ {site.base}/words-1.0-py3-none-any.whl"
        own_wheel(out, "words", source="HELLO = 'hello'\n")
        greets = "import words\n\nasync def greet():\n    return words.HELLO\n"
        own_wheel(out, "greetings", [needed], source=greets)
        async with suspendable_context() as context:
            url = f"{site.base}/greetings-1.0-py3-none-any.whl"
            page = await opened(context, site, packages=[url], micropip=True)
            found = await ended(page, await trigger(page, "greets"))
            assert found["output"] == '"hello"'


async def test_a_build_without_micropip_is_told(suspendable_context, begin, tmp_path, jobs):
    out = begin(tmp_path / "site")
    build(Plan(out, jobs=jobs, brotli=False))
    with serve(out) as site:
        async with suspendable_context() as context:
            page = await opened(context, site, packages=["greetings"], micropip=True)
            await trigger(page, "greets")
            found = await failure(page)
            assert found["kind"] == "setup"
            assert "durable-lite web build --wheel micropip-" in found["message"]
