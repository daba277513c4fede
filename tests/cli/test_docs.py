"""The documentation of the command, and the command's own help, can't drift from the code."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from durable_lite.cli.exits import Exit
from durable_lite.cli.main import cli
from durable_lite.status import Status
from tests.cli.support import invoke

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "generate_docs.py"


def every_command(command=cli, path=()):
    yield path
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from every_command(inner, (*path, name))


def test_the_generated_parts_are_up_to_date():
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("path", list(every_command()), ids=" ".join)
def test_every_command_has_help_and_a_place_in_the_docs(path):
    done = invoke(*path, "--help")
    assert done.exit_code == 0
    assert done.stdout.startswith("Usage: ")
    assert f"<!-- help: {' '.join(['durable-lite', *path])} -->" in (ROOT / "docs" / "cli.md").read_text(
        "utf-8"
    )


@pytest.mark.parametrize("path", list(every_command()), ids=" ".join)
def test_every_option_says_what_it_does(path):
    command = cli
    for name in path:
        command = command.commands[name]
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{option.name} of {path}"


def test_every_exit_code_is_documented():
    table = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "cli.md").read_text("utf-8"), re.MULTILINE)
    assert [int(code) for code in table] == [int(code) for code in Exit]


def test_every_status_is_documented():
    page = (ROOT / "docs" / "statuses.md").read_text("utf-8")
    assert [status for status in Status if f"| `{status}` |" in page] == list(Status)
    assert "stateDiagram-v2" in page
