"""Every snippet of the README and the docs is executed, in the order in which a reader meets them.

A block `python NAME.py` is that file; a block `python` is a program; in a `console` block the lines
with `$ ` are commands, and what follows one is contained in what it prints. All of one page share a
folder, and find Pyodide there. `make` is not run here: that would be this very test. What needs a
browser is executed by e2e, what needs a server by `test_server.py`.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples/invoices/README.md"]
IN_A_BROWSER = [ROOT / "docs/testing-tabs.md"]
EXECUTED = [page for page in PAGES if page not in IN_A_BROWSER]
BLOCK = re.compile(r"^```(\w+)(?: ([\w.]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def commands(block: str) -> list[tuple[str, list[str]]]:
    """Commands and the lines that are shown below each."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:].split("    #")[0], []))
        elif found and line.strip():
            found[-1][1].append(line)
    return found


def execute(page: Path, folder: Path) -> None:
    for language, name, text in BLOCK.findall(page.read_text("utf-8")):
        if language == "python":
            path = folder / (name or "program.py")
            path.write_text(text, "utf-8")
            run([sys.executable, str(path)], folder)
        elif language == "console":
            for command, shown in commands(text):
                if command.split()[0] == "make":
                    assert re.search(
                        rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE
                    )
                    continue
                printed = run(["bash", "-c", command], folder)
                assert "\n".join(shown) in printed


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page, tmp_path):
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    execute(page, tmp_path)


def test_there_is_something_to_run():
    assert sum(len(BLOCK.findall(page.read_text("utf-8"))) for page in PAGES) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
