"""Joins ES modules into one file for each entry, without comments: a page then loads one, not twenty.

Each module becomes a function of its own, so that its names stay its own. Only what our modules use is
understood: named imports and exports, each on lines of its own, from modules beside them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

__all__ = ["NotJoinable", "joined", "joined_apart", "without_comments"]

# Text, templates and regular expressions come first, so that nothing inside them looks like a comment.
_TOKEN = re.compile(
    r"""
    (?P<kept> "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | `(?:\\.|[^`\\])*`
      | (?<=[(,=:!&|?;{}\[]) \s* /(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\[\n])+/ )
    | (?P<comment> [ ]* (?: /\*.*?\*/ [ ]? | //[^\n]* ) )
    """,
    re.VERBOSE | re.DOTALL,
)
_IMPORT = re.compile(r'^import (?:\* as (\w+)|\{([^}]*)\}) from "\./([\w-]+\.mjs)";\n', re.MULTILINE)
_REEXPORT = re.compile(r'^export \{([^}]*)\} from "\./([\w-]+\.mjs)";\n', re.MULTILINE)
_EXPORTS = re.compile(r"^export \{([^}]*)\};\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
_UP = re.compile(r'^((?:import|export) (?:\* as \w+|\{[^}]*\}) from ")\.\./([\w-]+\.mjs";)$', re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


class NotJoinable(ValueError):
    """A module has a form of import or export that isn't understood; the message says which."""


def without_comments(source: str) -> str:
    """The same program without comments and empty lines."""

    def replaced(found: re.Match[str]) -> str:
        text = found["comment"]
        if text is None:
            return found[0]
        before = found.string[: found.start()].rpartition("\n")[2]
        # An indentation stays; so does one space between two words.
        return " " * (len(text) - len(text.lstrip(" "))) if not before.strip() or text[0] == " " else ""

    lines = (line.rstrip() for line in _TOKEN.sub(replaced, source).split("\n"))
    return "".join(f"{line}\n" for line in lines if line)


def joined(
    modules: Mapping[str, str], entry: str, apart: Collection[str], also: Collection[str]
) -> dict[str, str]:
    """What becomes of `modules` (their sources by file name): `entry` with all that it imports; those
    `apart`, which find the entry's modules there; and those that are in the entry and can `also` be
    imported by their own names. Modules that nobody reaches are left out. Raises NotJoinable.
    """
    order: list[str] = []
    _visit(entry, modules, order, ())
    parts = [_wrapped(name, modules[name]) for name in order[:-1]]
    body, names = _body(modules[entry])
    inner = "".join(f'export {{ {_variable(name)} as "{name}" }};\n' for name in order[:-1])
    exports = f"export {{ {', '.join(sorted(names))} }};\n"
    made = {entry: "".join(parts) + body + exports + inner}
    for name in apart:
        made[name] = _outside(modules[name], entry, set(order[:-1]))
    for name in also:
        taken = f'import {{ "{name}" as joined }} from "./{entry}";\n'
        made[name] = f"{taken}export const {{ {', '.join(_body(modules[name])[1])} }} = joined;\n"
    return {name: without_comments(source) for name, source in made.items()}


def joined_apart(modules: Mapping[str, str], entry: str, beside: str = "") -> str:
    """`entry` with all that it imports, alone: what is one folder up (`"../name.mjs"`) becomes a part of it,
    too. It is among `modules` by its name. The module `beside` it stays as it is.
    """
    plain = {name: _UP.sub(r"\1./\2", source) for name, source in modules.items()} | {beside: ""}
    order: list[str] = []
    _visit(entry, plain, order, ())
    parts = [_wrapped(name, plain[name]) for name in order[:-1] if name != beside]
    body, names = _body(plain[entry])
    whole = f'import * as {_variable(beside)} from "./{beside}";\n' if beside in order else ""
    exports = f"export {{ {', '.join(sorted(names))} }};\n"
    return without_comments(whole + "".join(parts) + body + exports)


def _visit(name: str, modules: Mapping[str, str], order: list[str], path: tuple[str, ...]) -> None:
    if name in path:
        raise NotJoinable(f"modules import one another: {' > '.join((*path, name))}")
    if name not in modules:
        raise NotJoinable(f"{path[-1] if path else 'the entry'} imports {name}, which isn't there")
    if name in order:
        return
    source = modules[name]
    for found in [*_IMPORT.finditer(source), *_REEXPORT.finditer(source)]:
        _visit(found[found.re.groups], modules, order, (*path, name))
    order.append(name)


def _variable(name: str) -> str:
    return "$" + name.removesuffix(".mjs").replace("-", "_")


def _taken(found: re.Match[str]) -> str:
    """An import, as constants of the module's object."""
    whole, named, module = found.groups()
    renamed = (re.sub(r"\s+as\s+", ": ", one) for one in _names(named or ""))
    target = whole or f"{{ {', '.join(renamed)} }}"
    return f"const {target} = {_variable(module)};\n"


def _names(listed: str) -> list[str]:
    return [one.strip() for one in listed.split(",") if one.strip()]


def _body(source: str) -> tuple[str, list[str]]:
    """A module's text without its imports and exports, and the names that it exports."""
    names: list[str] = []
    imported = {
        name for found in _IMPORT.finditer(source) for name in re.findall(r"(\w+)\s*(?:,|$)", found[2] or "")
    }

    def reexported(found: re.Match[str]) -> str:
        if " as " in found[1]:
            raise NotJoinable(f"renamed: {found[0].strip()}")
        names.extend(_names(found[1]))
        new = [one for one in _names(found[1]) if one not in imported]
        return f"const {{ {', '.join(new)} }} = {_variable(found[2])};\n" if new else ""

    def exported(found: re.Match[str]) -> str:
        names.extend(_names(found[1]))
        return ""

    def declared(found: re.Match[str]) -> str:
        names.append(found[1])
        return ""

    source = _IMPORT.sub(_taken, source)
    source = _REEXPORT.sub(reexported, source)
    source = _EXPORTS.sub(exported, source)
    source = _EXPORT.sub(declared, source)
    if other := _OTHER.search(source):
        raise NotJoinable(f"not understood: {other[0]}")
    return source, names


def _wrapped(name: str, source: str) -> str:
    body, names = _body(source)
    return f"const {_variable(name)} = (() => {{\n{body}return {{ {', '.join(names)} }};\n}})();\n"


def _outside(source: str, entry: str, inner: set[str]) -> str:
    """A module of its own that finds joined ones in the entry."""

    def replaced(found: re.Match[str]) -> str:
        if found[3] not in inner:
            return found[0]
        variable = _variable(found[3])
        return f'import {{ "{found[3]}" as {variable} }} from "./{entry}";\n{_taken(found)}'

    return _IMPORT.sub(replaced, source)
