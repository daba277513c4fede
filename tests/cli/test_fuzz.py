"""Arguments that nobody meant: whatever is typed, the command says what is wrong, and ends."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from durable_lite import Context, Durable, job
from tests.cli.support import invoke
from tests.cli.test_safe import harmless

COMMANDS = [
    *(["runs", verb] for verb in (
        "cancel", "delete", "export", "fork", "import", "list", "purge", "replay", "resume", "show",
    )),
    *(["tokens", verb] for verb in ("list", "complete", "fail")),
    *(["queues", verb] for verb in ("list", "pause", "resume")),
    ["events", "send"],
    ["run"],
]  # fmt: skip
OPTIONS = [
    "--limit", "--cursor", "--status", "--job", "--tag", "--json", "--older-than", "--yes", "--id", "--from",
    "--state", "--run", "--out", "--wait", "--payload", "--key", "--tags", "-h", "--", "-",
]  # fmt: skip
# No option may be guessed that names another file, and no file may be read or written but in the folder.
texts = st.text(st.characters(exclude_categories=[], exclude_characters="\0/\\"), max_size=20)
numbers = st.integers(-(2**70), 2**70).map(str) | st.floats().map(repr)
arguments = st.lists(st.sampled_from(OPTIONS) | texts | numbers, max_size=5)


@job
async def asks(ctx: Context, who: str) -> str:
    return await ctx.wait_for_token("approve", timeout="7d")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a database in which runs wait."""

    async def fill() -> None:
        async with Durable(f"sqlite:{folder / 'runs.db'}", jobs=[asks], durability="relaxed") as app:
            runs = await app.trigger_many(asks, ["a", "b", "c"], tags=["t"])
            while any([(await run.refresh()).status != "WAITING" for run in runs]):
                await asyncio.sleep(0.01)

    folder = tmp_path_factory.mktemp("fuzz")
    asyncio.run(fill())
    return folder


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(command=["runs", "list"], given=["--limit", "9" * 400])
@example(command=["runs", "show"], given=["\ud800"])
@example(command=["events", "send"], given=["paid", "[" * 5000])
@given(command=st.sampled_from(COMMANDS), given=arguments)
def test_any_arguments(command, given, place, monkeypatch):
    monkeypatch.chdir(place)
    done = invoke(*command, *given, "--db", str(place / "runs.db"))
    unexpected = done.exception if not isinstance(done.exception, SystemExit) else None
    assert unexpected is None, (unexpected, given)
    assert 0 <= done.exit_code <= 5
    assert "Traceback" not in done.output
    assert harmless(done.stderr)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_arguments_at_all(command, place):
    done = invoke(*command, "--db", str(place / "runs.db"))
    assert done.exit_code in (0, 2)
    assert "Traceback" not in done.output
