"""Copies preact and htm from node_modules to web/dashboard/vendor, as modules that a page can import.

There is no bundler, an import needs a path, and a strict CSP forbids the inline map that would give
one to a bare "preact".
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FROM = ROOT / "node_modules"
TO = ROOT / "web" / "dashboard" / "vendor"
# By their names there: what they are in node_modules, and how TypeScript knows them.
MODULES = {
    "preact": ("preact/dist/preact.module.js", "preact"),
    "hooks": ("preact/hooks/dist/hooks.module.js", "preact/hooks"),
    "htm": ("htm/dist/htm.module.js", "htm"),
}
LICENCES = {"preact": "preact/LICENSE", "htm": "htm/LICENSE"}
BARE = re.compile(r'(\b(?:from|import)\s*)"([^"./][^"]*)"')
SOURCE_MAP = re.compile(r"\n//# sourceMappingURL=\S*\s*$")


def vendored(source: str) -> str:
    """A module whose bare imports are paths to its neighbours, without the address of its source map."""
    paths = {name: f"./{file}.mjs" for file, (_, name) in MODULES.items()}

    def path(found: re.Match[str]) -> str:
        if found[2] not in paths:
            raise SystemExit(f"scripts/vendor.py knows no module {found[2]!r}")
        return f'{found[1]}"{paths[found[2]]}"'

    return BARE.sub(path, SOURCE_MAP.sub("\n", source))


def main() -> None:
    TO.mkdir(parents=True, exist_ok=True)
    for name, (path, types) in MODULES.items():
        (TO / f"{name}.mjs").write_text(vendored((FROM / path).read_text("utf-8")), "utf-8")
        default = f'export {{ default }} from "{types}";\n' if name == "htm" else ""
        (TO / f"{name}.d.mts").write_text(default or f'export * from "{types}";\n', "utf-8")
    for name, path in LICENCES.items():
        (TO / f"LICENSE-{name}.txt").write_text((FROM / path).read_text("utf-8"), "utf-8")


if __name__ == "__main__":
    main()
