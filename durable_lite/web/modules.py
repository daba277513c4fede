"""Finds the ES modules that come with the package: in an installed wheel, or in the repository.

A wheel carries them in `durable_lite/web/assets/`; `scripts/hatch_build.py` puts them there by the rule
that is written here, and only here.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import InvalidOption
from .join import joined, joined_apart, without_comments

__all__ = ["ASSETS", "DASHBOARD", "NOT_FOR_PAGES", "REQUIRED", "SUFFIXES", "dashboard_files",
           "dashboard_in", "is_extra", "modules_folder", "modules_in", "page_modules"]  # fmt: skip

ASSETS = "durable_lite/web/assets"
SUFFIXES = (".mjs", ".css", ".d.mts")
DECLARATIONS = "types/"  # where TypeScript writes what it has read from the modules' comments
NOT_FOR_PAGES = frozenset({"dashboard", "demo", "node_modules", "tests"})
# What a page imports first has all the others in it, but for those that it may never need.
ENTRY = "durable-lite.mjs"
APART = ("durable-runs.mjs", "moving.mjs", "outside.mjs", "steering.mjs", "worker.mjs")
ALSO = ("indexeddb.mjs",)
# Over a server's runs a page needs nothing of the tab; React comes from the page.
REMOTE, REACT = "remote.mjs", "react.mjs"
# A build without one of these isn't complete.
REQUIRED = (ENTRY, *APART, *ALSO, REMOTE, REACT)
# The dashboard has a folder of its own, of which a page without it loads nothing. What isn't a module of
# ours, and the one that imports those, stays as it is; `scripts/vendor.py` makes `vendor`.
DASHBOARD = "dashboard/"
DASHBOARD_ENTRY = "durable-dashboard.mjs"
DECLARED = "durable-dashboard.d.mts"
DASHBOARD_PAGE = ("icon.svg", "index.html", "page.mjs")
VENDORED = "html.mjs"
VENDOR = ("LICENSE-htm.txt", "LICENSE-preact.txt", "hooks.mjs", "htm.mjs", "preact.mjs")


def modules_in(folder: Path) -> dict[str, Path]:
    """What a page may import from this folder, by its path there; declarations lie beside their modules."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part in NOT_FOR_PAGES or part.startswith(".") for part in relative.parts)
        if path.is_file() and path.name.endswith(SUFFIXES) and ".test." not in path.name and not hidden:
            found[relative.as_posix().removeprefix(DECLARATIONS)] = path
    return found


def page_modules() -> dict[str, bytes]:
    """The modules of this installation, as a build has them: joined, so that a page loads few files."""
    folder = modules_folder()
    found = {} if folder is None else modules_in(folder)
    if missing := [name for name in REQUIRED if name not in found]:
        raise InvalidOption("durable-lite", f"its installation lacks {', '.join(missing)}; install it again")
    scripts = {name: path.read_text("utf-8") for name, path in found.items() if name.endswith(".mjs")}
    others = {name: path.read_bytes() for name, path in found.items() if name not in scripts}
    made = joined(scripts, ENTRY, APART, ALSO)
    made |= {REMOTE: joined_apart(scripts, REMOTE), REACT: without_comments(scripts[REACT])}
    return others | {name: source.encode() for name, source in made.items()}


def is_extra(name: str) -> bool:
    """Whether a page over a tab that has no dashboard loads nothing of it."""
    return name.startswith(DASHBOARD) or name in (REMOTE, REACT)


def dashboard_in(folder: Path) -> dict[str, Path]:
    """The files of the dashboard in this folder, by their paths there; none if they aren't all there."""
    own = folder / DASHBOARD
    modules = [path.name for path in sorted(own.glob("*.mjs")) if ".test." not in path.name]
    names = [*modules, *DASHBOARD_PAGE, *(f"vendor/{name}" for name in VENDOR)]
    found = {DASHBOARD + name: own / name for name in names}
    if not all(path.is_file() for path in found.values()):
        return {}
    for declared in (one / DECLARED for one in (folder / DECLARATIONS / DASHBOARD, own)):
        if declared.is_file():
            found[DASHBOARD + DECLARED] = declared
    return found


def dashboard_files() -> dict[str, bytes]:
    """The dashboard, as a build has it: a page, and for other pages one module besides those of preact."""
    folder = modules_folder()
    found = {} if folder is None else dashboard_in(folder)
    if folder is None or not found:
        return {}
    scripts = {Path(name).name: path.read_text("utf-8") for name, path in found.items() if _is_ours(name)}
    above = {
        name: path.read_text("utf-8") for name, path in modules_in(folder).items() if name[-4:] == ".mjs"
    }
    entry = joined_apart(above | scripts, DASHBOARD_ENTRY, VENDORED)
    kept = {name: path.read_bytes() for name, path in found.items() if not _is_ours(name)}
    return kept | {DASHBOARD + DASHBOARD_ENTRY: entry.encode()}


def _is_script(name: str) -> bool:
    return name.endswith(".mjs")


def _is_ours(name: str) -> bool:
    """Whether a file of the dashboard is a module that is joined."""
    short = name.removeprefix(DASHBOARD)
    return _is_script(short) and "/" not in short and short not in (VENDORED, *DASHBOARD_PAGE)


def modules_folder() -> Path | None:
    """Where this installation has them."""
    here = Path(__file__).parent
    return next((one for one in (here / "assets", here.parents[1] / "web") if one.is_dir()), None)
