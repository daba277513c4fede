"""The command as a whole: its imports, its version, and usage errors in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

import durable_lite
from tests.cli.support import invoke, one_line

ROOT = Path(__file__).parents[2]


def test_the_package_imports_neither():
    code = "import sys, durable_lite, durable_lite.cli; print({'click', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "set()\n"


def test_the_installed_command():
    command = Path(sys.executable).with_name("durable-lite")
    done = subprocess.run([command, "--version"], capture_output=True, text=True)
    assert done.stdout == f"durable-lite {durable_lite.__version__}\n"


def test_no_arguments_show_the_help():
    assert "Usage: durable-lite " in invoke().output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "No such command 'nope'."),
        (["--nope"], "No such option '--nope'."),
        (["run"], "Missing argument 'FILE.py:JOB'."),
        (["run", "jobs.py:export", "--nope"], "No such option '--nope'."),
        (["run", "jobs.py:export", "--db"], "Option '--db' requires an argument."),
        (
            ["run", "jobs.py:export", "--stop-timeout", "soon"],
            "Invalid value for '--stop-timeout': 'soon' is not",
        ),
        (
            ["run", "jobs.py:export", "--durability", "x"],
            "Invalid value for '--durability': 'x' is not one of",
        ),
        (["worker"], "Missing argument 'FILE.py…'."),
        (["worker", "jobs.py", "--concurrency", "0"], "Invalid value for '--concurrency': 0 is not in"),
        (["worker", "jobs.py", "--db", "memory:"], "--db: memory: can't be shared"),
        (["runs", "nope"], "No such command 'nope'."),
        (["runs", "show"], "Missing argument 'ID'."),
        (["runs", "purge"], "Missing option '--older-than'."),
        (["runs", "list", "\x1b[2J"], r"Got unexpected extra argument (\x1b[2J)"),
    ],
)
def test_usage_errors(jobs, arguments, message):
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert one_line(done).startswith(
        f"durable-lite: {message}".replace("No such option '--nope'.", "No such option")
    )
