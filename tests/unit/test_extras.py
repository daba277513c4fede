"""What needs an extra says in one line how to get it when a package of that extra isn't there."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASGI = "from durable_lite import Durable; Durable('memory:').asgi()"
COMMAND = "from durable_lite.cli import main; main()"
CRON = "from durable_lite import Schedule; Schedule('0 9 * * 1')"
FETCH = """
import asyncio
from durable_lite import Context, Durable, job

@job
async def gets(ctx: Context) -> None:
    await ctx.fetch("get", "http://localhost/")

async def main() -> None:
    async with Durable("memory:", jobs=[gets]) as app:
        await (await app.trigger(gets)).result()

asyncio.run(main())
"""
SERVE = "sys.argv = ['durable-lite', 'serve', '--db', 'never.db']; from durable_lite.cli import main; main()"

pytestmark = pytest.mark.skipif(sys.platform == "emscripten", reason="no processes")


@pytest.mark.parametrize(
    ("missing", "code", "said"),
    [
        ("click", COMMAND, "the command needs click and rich: {cli}"),
        ("rich", COMMAND, "the command needs click and rich: {cli}"),
        ("jsonschema_rs", ASGI, "asgi needs jsonschema_rs: {server}"),
        ("starlette", ASGI, "asgi needs starlette: {server}"),
        ("jsonschema_rs", SERVE, "serve needs jsonschema_rs: {server}"),
        ("starlette", SERVE, "serve needs starlette: {server}"),
        ("uvicorn", SERVE, "serve needs uvicorn: {server}"),
        ("httpx", "import durable_lite.client", "durable_lite.client needs httpx: {client}"),
        ("httpx_sse", "import durable_lite.client", "durable_lite.client needs httpx_sse: {client}"),
        ("httpx", FETCH, "fetch: needs httpx: {fetch}"),
        ("cronsim", CRON, "cron: needs cronsim: {schedules}"),
        (
            "playwright",
            "import durable_lite.testing.tabs",
            "durable_lite.testing.tabs needs playwright: {e2e}",
        ),
        (
            "playwright",
            "import durable_lite.testing.tabs.plugin",
            "durable_lite.testing.tabs needs playwright: {e2e}",
        ),
    ],
)
def test_what_lacks_its_extra_says_how_to_get_it(missing, code, said, tmp_path):
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.modules[{missing!r}] = None\n{code}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    extras = {
        name: f'pip install "durable-lite[{name}]"'
        for name in ("cli", "client", "e2e", "fetch", "schedules", "server")
    }
    line = said.format(**extras)
    if code in (COMMAND, SERVE):
        assert done.returncode == 2
        assert done.stderr == f"durable-lite: {line}\n"
    else:
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].endswith(f": {line}"), done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
