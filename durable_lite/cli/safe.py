"""Text that came from a run, made harmless for a terminal: no control character gets through.

A step's key, a log line, an error's message and a payload are whatever somebody wrote into them. In
`rich` they are shown as `Text`, which knows no markup; here their characters are made visible.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from typing import Any

__all__ = ["block", "json_text", "line", "visible"]

# Zero-width (non-)joiners belong to the spelling of many languages, and move no cursor.
_HARMLESS = "\u200c\u200d"
_HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, formats (bidi overrides), surrogates, separators
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_unusual = re.compile("[^\x20-\x7e]")


def visible(text: str) -> str:
    r"""The text on one line: `\x1b` for an escape, `\n` for a newline, `\u202e` for an override."""
    return _unusual.sub(_show, text)


def line(text: str, width: int) -> str:
    """`visible`, cut to `width` characters."""
    shown = visible(text[: width + 1])
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def block(text: str) -> str:
    """`visible`, but newlines stay and tabs become spaces: for tracebacks."""
    return "\n".join(visible(one) for one in text.expandtabs(4).split("\n"))


def json_text(value: Any) -> str:
    """A JSON document in which control characters are escaped, and what stdout can't encode as well."""
    text = _unusual.sub(_escape, json.dumps(value, indent=2, ensure_ascii=False))
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=2)
    return text


def _is_harmful(character: str) -> bool:
    return unicodedata.category(character) in _HARMFUL and character not in _HARMLESS


def _show(match: re.Match[str]) -> str:
    character = match[0]
    if not _is_harmful(character):
        return character
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape(match: re.Match[str]) -> str:
    # A newline can only be the document's own: those in strings are escaped already.
    character = match[0]
    return json.dumps(character)[1:-1] if character != "\n" and _is_harmful_in_json(character) else character


def _is_harmful_in_json(character: str) -> bool:
    return unicodedata.category(character) in _HARMFUL
