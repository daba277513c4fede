"""Finds the ES modules that come with the package: in an installed wheel, or in the repository.

A wheel carries them in `durable_lite/web/assets/`; `scripts/hatch_build.py` puts them there by the rule
that is written here, and only here.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import InvalidOption
from .join import joined

__all__ = ["ASSETS", "NOT_FOR_PAGES", "REQUIRED", "SUFFIXES", "modules_in", "page_modules"]

ASSETS = "durable_lite/web/assets"
SUFFIXES = (".mjs", ".css", ".d.mts")
DECLARATIONS = "types/"  # where TypeScript writes what it has read from the modules' comments
NOT_FOR_PAGES = frozenset({"dashboard", "demo", "node_modules", "tests"})
# What a page imports first has all the others in it, but for those that it may never need.
ENTRY = "durable-lite.mjs"
APART = ("durable-runs.mjs", "moving.mjs", "outside.mjs", "worker.mjs")
ALSO = ("indexeddb.mjs",)
# A build without one of these isn't complete.
REQUIRED = (ENTRY, *APART, *ALSO)


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
    here = Path(__file__).parent
    folder = next((one for one in (here / "assets", here.parents[1] / "web") if one.is_dir()), None)
    found = {} if folder is None else modules_in(folder)
    if missing := [name for name in REQUIRED if name not in found]:
        raise InvalidOption("durable-lite", f"its installation lacks {', '.join(missing)}; install it again")
    scripts = {name: path.read_text("utf-8") for name, path in found.items() if name.endswith(".mjs")}
    others = {name: path.read_bytes() for name, path in found.items() if name not in scripts}
    made = joined(scripts, ENTRY, APART, ALSO)
    return others | {name: source.encode() for name, source in made.items()}
