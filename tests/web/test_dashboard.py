"""The dashboard as a build has it: whole, small, and nothing to a page that doesn't use it."""

import re
import subprocess

import brotli
import pytest

from durable_lite.web.join import NotJoinable, joined_apart
from durable_lite.web.modules import dashboard_files, dashboard_in, page_modules
from tests.web.support import ROOT
from tests.web_modules.node import NODE

WHOLE = 60_000  # bytes as brotli: its modules, preact and htm, and what they import
SOURCES = sorted((ROOT / "web/dashboard").glob("*.mjs"))
MARKUP = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc")
IMPORT = re.compile(
    r'^(?:import|export)\b[^;]*?\bfrom\s*"([^"]+)"|^import "([^"]+)";|\bimport\("([^"]+)"\)', re.MULTILINE
)


@pytest.fixture(scope="module")
def files():
    found = dashboard_files()
    assert found, "web/dashboard/vendor isn't there: scripts/vendor.py"
    return found


def test_it_is_small(files):
    sizes = {name: len(brotli.compress(data)) for name, data in files.items() if name.endswith(".mjs")}
    assert sum(sizes.values()) < WHOLE, sizes


def test_what_it_imports_is_there(files):
    there = {*files, *page_modules()}
    assert IMPORT.findall(files["dashboard/vendor/hooks.mjs"].decode()) == [("./preact.mjs", "", "")]
    for name, data in files.items():
        if name.endswith(".mjs"):
            for target in (one for found in IMPORT.findall(data.decode()) for one in found if one):
                assert target.startswith("."), f"{name} imports {target}"
                folder = name.rpartition("/")[0].split("/")
                for part in target.split("/"):
                    if part == "..":
                        folder.pop()
                    elif part != ".":
                        folder.append(part)
                assert "/".join(folder) in there, f"{name} imports {target}"


def test_no_other_module_imports_it():
    for name, data in page_modules().items():
        assert b"dashboard" not in data or name.endswith(".d.mts"), name


def test_the_joined_module_is_one(files, tmp_path):
    """What takes comments away doesn't understand templates inside templates: nothing else may be gone."""
    path = tmp_path / "dashboard.mjs"
    path.write_bytes(files["dashboard/durable-dashboard.mjs"])
    subprocess.run([NODE, "--check", path], check=True)
    for source in SOURCES:
        for closing in re.findall(r"</[\w$\{]*[^>]*>", source.read_text("utf-8")):
            assert "//" not in closing, f"{source.name}: {closing} looks like a comment"


def test_no_module_has_the_name_of_one_above_it():
    """They are joined by their names."""
    assert not {path.name for path in SOURCES} & {path.name for path in (ROOT / "web").glob("*.mjs")}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_it_makes_no_markup_of_text(source):
    text = source.read_text("utf-8")
    assert not MARKUP.search(text)
    assert "dangerously" not in text
    assert len(text.splitlines()) <= 400


def test_without_what_is_vendored_there_is_none(tmp_path):
    for name in ("durable-dashboard.mjs", "html.mjs", "icon.svg", "index.html", "page.mjs"):
        (tmp_path / "dashboard").mkdir(exist_ok=True)
        (tmp_path / "dashboard" / name).touch()
    assert dashboard_in(tmp_path) == {}


def test_a_module_one_folder_up_becomes_a_part():
    modules = {
        "main.mjs": 'import { a } from "../up.mjs";\nimport { h } from "./html.mjs";\nexport const b = h(a);\n',
        "up.mjs": "export const a = 1;\n",
        "html.mjs": 'import h from "bare";\n',
    }
    made = joined_apart(modules, "main.mjs", "html.mjs")
    assert made.startswith('import * as $html from "./html.mjs";\nconst $up = (() => {\n')
    assert "const { a } = $up;\nconst { h } = $html;\n" in made
    assert made.endswith("export { b };\n")
    with pytest.raises(NotJoinable, match=r"imports gone\.mjs"):
        joined_apart({"main.mjs": 'import { a } from "../gone.mjs";\n'}, "main.mjs", "html.mjs")
