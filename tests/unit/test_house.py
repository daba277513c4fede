"""The rules of the house, read from the syntax tree: what the core may use, and what a module looks like."""

import ast
import json
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "durable_lite"
MODULES = sorted(PACKAGE.rglob("*.py"))
WORLD = ("ports_system.py", "ports_fetch.py")  # the real ports
CORE = [path for path in MODULES if path.parent == PACKAGE and path.name not in WORLD]
BANNED = tuple(
    tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"][
        "flake8-tidy-imports"
    ]["banned-api"]
)
STDLIB = sys.stdlib_module_names | {"annotationlib"}  # since 3.14, imported where it exists
BUILTINS = ("eval", "exec", "compile", "__import__")
MAX_LINES = 400

# The core knows nothing of these, but for the module by which an application opens stores and its server.
OUTSIDE = {path.stem for path in PACKAGE.iterdir() if path not in CORE}
MAY_OPEN_LAZILY = ("durable.py", ("stores", "server"))
MAY_USE_THE_SYSTEM = "durable.py"
# What an extra brings, imported where it is needed.
OPTIONAL = {"timetable.py": {"cronsim"}}


def test_the_core_is_found():
    assert {"errors.py", "ports.py"} <= {path.name for path in CORE}
    assert {"time", "random", "threading", "pickle", "datetime.datetime.now"} <= set(BANNED)


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_the_core_imports_itself_and_the_standard_library(path):
    for imported in imports(path):
        top, *below = imported.name.split(".")
        if top != PACKAGE.name:
            allowed = top in STDLIB or (imported.lazy and top in OPTIONAL.get(path.name, ()))
            assert allowed, f"{path.name}:{imported.line} imports {imported.name}"
        elif below and below[0] in OUTSIDE:
            allowed = (below[0] == "ports_system" and path.name == MAY_USE_THE_SYSTEM) or (
                path.name == MAY_OPEN_LAZILY[0] and below[0] in MAY_OPEN_LAZILY[1] and imported.lazy
            )
            assert allowed, f"{path.name}:{imported.line} is core and imports {imported.name}"


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_the_core_does_not_touch_the_world(path):
    uses = {name for name in names(path) for banned in BANNED if f"{name}.".startswith(f"{banned}.")}
    assert not uses
    assert not uses_of_builtins(path)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_says_in_a_sentence_what_it_is(path):
    docstring = ast.get_docstring(parse(path)) or ""
    first = docstring.split("\n\n")[0]
    assert first.rstrip().endswith("."), f"no first sentence in the docstring: {first!r}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_is_short(path):
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES


def test_public_names_are_there_and_documented():
    import durable_lite

    assert durable_lite.__all__
    for name in durable_lite.__all__:
        value = getattr(durable_lite, name)
        if isinstance(value, type | types.FunctionType):
            own = vars(value).get("__doc__") if isinstance(value, type) else value.__doc__
            assert own, f"{name} has no docstring"
            assert not own.startswith(f"{name}("), f"{name} has only a generated docstring"


@pytest.mark.skipif(sys.platform == "emscripten", reason="no processes")
def test_importing_the_package_imports_only_the_standard_library():
    code = (
        "import json, sys; before = set(sys.modules); import durable_lite; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert loaded - sys.stdlib_module_names == {PACKAGE.name}


class TestTheReaderOfTheSyntaxTree:
    """The checks above prove nothing if their reader overlooks a way to write it."""

    @pytest.mark.parametrize(
        ("source", "name"),
        [
            ("import time", "time"),
            ("import time as t", "time"),
            ("from time import monotonic", "time.monotonic"),
            ("import os\nos.urandom(8)", "os.urandom"),
            ("import datetime as d\nd.datetime.now(d.UTC)", "datetime.datetime.now"),
            ("from datetime import datetime as D\nD.now()", "datetime.datetime.now"),
            ("import uuid\nnew = uuid.uuid4", "uuid.uuid4"),
            ("from concurrent import futures", "concurrent.futures"),
            ("def f():\n    import concurrent.futures", "concurrent.futures"),
        ],
    )
    def test_names(self, tmp_path, source, name):
        assert name in names(written(tmp_path, source))

    def test_a_local_variable_is_not_the_module_of_its_name(self, tmp_path):
        assert not set(names(written(tmp_path, "def f(time):\n    return time.time()")))

    def test_imports(self, tmp_path):
        source = "from .stores import memory\ndef f():\n    from . import stores\n    import durable_lite.cli"
        path = written(tmp_path, source)
        found = [(imported.name, imported.lazy) for imported in imports(path)]
        assert ("durable_lite.stores.memory", False) in found
        assert ("durable_lite.stores", True) in found
        assert ("durable_lite.cli", True) in found

    def test_builtins(self, tmp_path):
        assert uses_of_builtins(written(tmp_path, "run = eval\nexec('1')")) == {"eval", "exec"}


class Import:
    """A module, or a name in one, that a module imports; `lazy` if only inside a function."""

    def __init__(self, name: str, line: int, lazy: bool, bound: str, target: str) -> None:
        self.name, self.line, self.lazy = name, line, lazy
        self.bound, self.target = bound, target  # the local name, and what it stands for


def imports(path: Path) -> Iterator[Import]:
    """Everything that a module directly below the package imports, by absolute name; for types alone is lazy."""
    tree = parse(path)
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.If
    later = (
        one
        for one in ast.walk(tree)
        if isinstance(one, kinds)
        and (not isinstance(one, ast.If) or ast.unparse(one.test) == "TYPE_CHECKING")
    )
    lazy = {id(node) for one in later for node in ast.walk(one)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                bound, target = (alias.asname, alias.name) if alias.asname else (top, top)
                yield Import(alias.name, node.lineno, id(node) in lazy, bound, target)
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1, f"{path.name}:{node.lineno} reaches out of the package"
            module = ".".join(filter(None, [PACKAGE.name if node.level else None, node.module]))
            for alias in node.names:
                name = f"{module}.{alias.name}"
                yield Import(name, node.lineno, id(node) in lazy, alias.asname or alias.name, name)


def names(path: Path) -> Iterator[str]:
    """The full name of everything imported, and of every attribute reached from it."""
    targets = {}
    for imported in imports(path):
        targets[imported.bound] = imported.target
        yield imported.name
    for node in ast.walk(parse(path)):
        attributes = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if attributes and isinstance(node, ast.Name) and node.id in targets:
            yield ".".join([targets[node.id], *reversed(attributes)])


def uses_of_builtins(path: Path) -> set[str]:
    found = {node.id for node in ast.walk(parse(path)) if isinstance(node, ast.Name)}
    return found & set(BUILTINS)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), filename=str(path))


def written(folder: Path, source: str) -> Path:
    path = folder / "module.py"
    path.write_text(source, "utf-8")
    return path
