"""Values to text and back: JSON, with a tag `{"$": kind, "v": …}` for whatever JSON can't say.

The kinds: `tuple`, `set`, `frozenset`, `bytes`, `datetime`, `date`, `timedelta`, `decimal`, `uuid`,
`map` (a dict with keys that aren't strings), `dict` (a dict with the key `"$"`), `float` (nan, inf),
`int` (too long for decimal text), `str` (a surrogate pair in two halves), and by the annotation
`dataclass:Name`, `model:Name`, `enum:Name`. What comes back is equal and of the same types all the
way down, so a first execution and its replay can't differ. Values are stored by exact type: a
subclass would come back as its base, and is refused. Nothing is ever imported or built by a stored
name: a class comes from the annotation, or not at all.
"""

from __future__ import annotations

import binascii
import dataclasses
import enum
import functools
import itertools
import json
import re
import sys
from collections.abc import Callable
from typing import Any

from .brief import brief, cut, field
from .errors import NotSerializable, TooLarge
from .shapes import Shape, is_model

__all__ = ["MAX_DEPTH", "MAX_VALUE_BYTES", "as_data", "decode", "encode", "is_too_deep"]

MAX_VALUE_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 200
"""Levels of JSON; a tag is a level too."""

_NO_STACK_CHECK = sys.platform == "emscripten"
"""There Python's own JSON reader ends the whole interpreter, not with a `RecursionError`."""

_SCALARS = frozenset({str, int, float, bool, type(None)})
_LONG_INT = 2000  # bits; Python reads and writes decimal text only up to a limit that users may lower
_HALVES = re.compile("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])")  # JSON would join them into one character

# What is left are brackets; a text is not JSON if a quote is left.
_not_brackets = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^][{}"]+', re.DOTALL)

_encoder = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))


def _compiled(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """What `encoder.encode` does, without building its C part anew for each value."""
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    text: Any = getattr(json.encoder, "encode_basestring", None)
    write = make(None, encoder.default, text, None, ":", ",", False, False, False)
    return lambda value: "".join(write(value, 0))


_dumps = _compiled(_encoder)
_dumps_ascii = json.JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":")).encode
_decoder: Any = json.JSONDecoder()  # `scan_once` is missing from its type


def _loads(text: str) -> Any:
    """What was encoded here has no white space around it; other JSON takes the long way."""
    try:
        value, end = _decoder.scan_once(text, 0)
    except StopIteration:
        return _decoder.decode(text)
    return value if end == len(text) else _decoder.decode(text)


_AS_DATA = Shape(())  # no class at all


class _Refused(Exception):
    """A value that can't be stored; `path` grows, inner part first, while it unwinds."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        self.path: list[str] = []


def encode(value: Any, shape: Shape | None = None, *, key: str, limit: int = MAX_VALUE_BYTES) -> str:
    """The text of a value. `shape` has the classes that its annotation allows; `key` is for errors.

    Raises `NotSerializable` with the path to what can't be stored, or `TooLarge` above `limit` bytes.
    """
    text = None
    try:
        if _is_plain(value, MAX_DEPTH):
            text = _dumps(value)
            size = len(text) if text.isascii() else len(text.encode())
    except (ValueError, RecursionError):  # nan, inf, a long int, surrogates, a deep stack
        text = None
    if text is None:
        text, size = _encode_tagged(value, shape, key)
    if size > limit:
        raise TooLarge(key, size, limit)
    return text


def decode(text: str, shape: Shape | None = None, *, key: str = "stored value") -> Any:
    """The value of a text that `encode` gave. Raises `NotSerializable` when it can't be rebuilt."""
    if _NO_STACK_CHECK and is_too_deep(text):
        raise NotSerializable(key, "$", "the stored text is nested too deeply")
    try:
        plain = _loads(text)
        return _untag(plain, shape) if '"$"' in text else plain
    except _Refused as error:
        detail = error.detail
    except RecursionError:
        detail = "the stored text is nested too deeply"
    except Exception as error:  # a damaged text, or a class that no longer takes its data
        detail = f"the stored text can't be read: {type(error).__name__}: {error}"
    raise NotSerializable(key, "$", detail)


def as_data(text: str) -> Any:
    """The value of a text for those who don't know its classes: a dataclass or model as a dict of its
    fields, an Enum by its member's name."""
    return decode(text, _AS_DATA)


def is_too_deep(text: str) -> bool:
    """Whether JSON text is nested deeper than anything that `encode` gives."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    steps = (1 if bracket in "[{" else -1 for bracket in _not_brackets.sub("", text))
    return max(itertools.accumulate(steps), default=0) > MAX_DEPTH + 2  # a tag of a value without parts


def _is_plain(value: Any, depth: int) -> bool:
    """Whether JSON says it all: the hot path. Floats and text are left to the JSON encoder to refuse."""
    cls = type(value)
    if cls is dict:
        if depth <= 0 or "$" in value:
            return False
        for name, item in value.items():
            if type(name) is not str or (type(item) not in _SCALARS and not _is_plain(item, depth - 1)):
                return False
        return True
    if cls is list:
        if depth <= 0:
            return False
        for item in value:  # noqa: SIM110 (twice as fast as all)
            if type(item) not in _SCALARS and not _is_plain(item, depth - 1):
                return False
        return True
    return cls in _SCALARS


# With tags: values to JSON.


def _encode_tagged(value: Any, shape: Shape | None, key: str) -> tuple[str, int]:
    try:
        tree = _tag(value, shape, MAX_DEPTH)
        text = _dumps(tree)
        try:
            return text, len(text.encode())
        except UnicodeEncodeError:  # a lone surrogate, which has no UTF-8
            text = _dumps_ascii(tree)
            return text, len(text)
    except _Refused as error:
        path, detail = "$" + "".join(reversed(error.path)), error.detail
    except RecursionError:
        path, detail = "$", "nested too deeply for the stack that is left"
    raise NotSerializable(key, path, detail)


def _tag(value: Any, shape: Shape | None, depth: int) -> Any:
    cls = type(value)
    if cls is str:
        halves = None if value.isascii() else _HALVES.split(value)
        return value if halves is None or len(halves) == 1 else {"$": "str", "v": halves}
    if cls is bool or value is None:
        return value
    if cls is int:
        return value if value.bit_length() <= _LONG_INT else {"$": "int", "v": hex(value)}
    if cls is float:
        return value if value - value == 0 else {"$": "float", "v": repr(value)}
    if depth <= 0:
        raise _Refused(f"nested too deeply (more than {MAX_DEPTH} levels), or holds itself")
    if cls is dict:
        return _tag_dict(value, shape, depth)
    if cls is list:
        return _tag_items(value, shape, depth - 1)
    if cls is tuple:
        return {"$": "tuple", "v": _tag_items(value, shape, depth - 2)}
    if cls is set or cls is frozenset:
        items = _tag_items(value, shape, depth - 2, "[*]")
        return {"$": cls.__name__, "v": sorted(items, key=_dumps)}
    member = shape.of(cls) if shape is not None else None
    if member is not None:
        try:
            data = member.dump(value)
            if member.kind == "dataclass":
                data = _tag_values(data, member.fields, depth - 2)
            elif member.kind == "model":
                data = _tag(data, None, depth - 1)
        except (_Refused, RecursionError):
            raise
        except Exception as error:  # the user's class decides what
            raise _Refused(f"{type(error).__name__}: {cut(str(error), 300)}") from None
        return {"$": f"{member.kind}:{member.name}", "v": data}
    dump = _kinds().dumps.get(cls)
    if dump is None:
        raise _Refused(_why_not(value))
    return {"$": cls.__name__.lower(), "v": dump(value)}


def _tag_dict(value: dict[Any, Any], shape: Shape | None, depth: int) -> Any:
    if all(type(name) is str and (name.isascii() or not _HALVES.search(name)) for name in value):
        if "$" in value:
            return {"$": "dict", "v": _tag_values(value, shape, depth - 2)}
        return _tag_values(value, shape, depth - 1)
    pairs = []
    for name, item in value.items():
        try:
            pairs.append([_tag(name, shape, depth - 3), _tag(item, shape, depth - 3)])
        except _Refused as error:
            error.path.append(field(name))
            raise
    return {"$": "map", "v": pairs}


def _tag_values(value: dict[str, Any], shape: Shape | None, depth: int) -> dict[str, Any]:
    tagged = {}
    for name, item in value.items():
        try:
            tagged[name] = _tag(item, shape, depth)
        except _Refused as error:
            error.path.append(field(name))
            raise
    return tagged


def _tag_items(value: Any, shape: Shape | None, depth: int, where: str = "") -> list[Any]:
    tagged = []
    for item in value:
        try:
            tagged.append(_tag(item, shape, depth))
        except _Refused as error:
            error.path.append(where or f"[{len(tagged)}]")
            raise
    return tagged


def _why_not(value: Any) -> str:
    cls = type(value)
    name = cls.__qualname__
    for kind, found in (
        ("an Enum", isinstance(value, enum.Enum)),
        ("a pydantic model", is_model(cls)),
        ("a dataclass", dataclasses.is_dataclass(cls)),
    ):
        if found:
            how = f"annotate the return type (-> {name}), or the payload, so that it can be restored"
            return f"{name} is {kind}: {how}"
    if hasattr(cls, "__await__"):
        return f"a {name} is not a value: await it first"
    for base in (dict, list, tuple, set, frozenset, str, int, float, bytes, *_kinds().dumps):
        if isinstance(value, base):
            return (
                f"{cls.__module__}.{name} is a subclass of {base.__name__} and would come back as one: "
                f"return {base.__name__}(…) itself"
            )
    if cls.__module__ == "numpy":
        return f"numpy.{name} can't be stored: return {'.tolist()' if name == 'ndarray' else '.item()'} of it"
    return f"{cls.__module__}.{name} can't be stored as JSON: return plain values, a dataclass or an Enum"


# With tags: JSON to values.


def _untag(tree: Any, shape: Shape | None) -> Any:
    cls = type(tree)
    if cls is list:
        return [_untag(item, shape) for item in tree]
    if cls is not dict:
        return tree
    if "$" not in tree:
        return {name: _untag(item, shape) for name, item in tree.items()}
    kind, data = tree["$"], tree["v"]
    if kind == "tuple":
        return tuple([_untag(item, shape) for item in data])
    if kind == "dict":
        return {name: _untag(item, shape) for name, item in data.items()}
    if kind == "map":
        return {_untag(name, shape): _untag(item, shape) for name, item in data}
    if kind == "set":
        return {_untag(item, shape) for item in data}
    if kind == "frozenset":
        return frozenset([_untag(item, shape) for item in data])
    load = _kinds().loads.get(kind)
    if load is not None:
        return load(data)
    kind, colon, name = kind.partition(":")
    if not colon:
        raise _Refused(f"the stored text has a tag that this version doesn't know: {brief(kind)}")
    if shape is _AS_DATA:
        return _untag(data, shape)
    member = shape.named(kind, name) if shape is not None else None
    if member is None:
        raise _Refused(f"a {kind} {name} was stored, but the annotation names no such class")
    if kind == "dataclass":
        data = {name: _untag(item, member.fields) for name, item in data.items()}
    elif kind == "model":
        data = _untag(data, None)
    return member.load(data)


# The kinds of the standard library's own values.


class _Kinds:
    """How to dump and load each kind; made on first need, as these modules are slow to import."""

    def __init__(self) -> None:
        import datetime as dt
        from decimal import Decimal
        from uuid import UUID

        self.dumps: dict[type, Callable[[Any], Any]] = {
            bytes: lambda value: binascii.b2a_base64(value, newline=False).decode(),
            dt.datetime: _dump_datetime,
            dt.date: dt.date.isoformat,
            dt.timedelta: lambda value: [value.days, value.seconds, value.microseconds],
            Decimal: str,
            UUID: str,
        }
        self.loads: dict[str, Callable[[Any], Any]] = {
            "bytes": lambda data: binascii.a2b_base64(data, strict_mode=True),
            "datetime": _load_datetime,
            "date": dt.date.fromisoformat,
            "timedelta": lambda data: dt.timedelta(*data),
            "decimal": Decimal,
            "uuid": UUID,
            "float": float,
            "int": lambda data: int(data, 16),
            "str": "".join,
        }


_kinds = functools.cache(_Kinds)


def _dump_datetime(value: Any) -> Any:
    """ISO text; with what that leaves out, `{"at": text, "fold": 1, "zone": "Europe/Rome", "name": "X"}`."""
    from datetime import timezone

    extra: dict[str, Any] = {"fold": 1} if value.fold else {}
    zone, offset = value.tzinfo, value.utcoffset()
    if offset is not None and offset.microseconds:  # Python's reader takes less than a second for none
        extra["offset"] = [offset.days, offset.seconds, offset.microseconds]
    if type(zone) is timezone:
        if zone.tzname(None) != timezone(offset).tzname(None):
            extra["name"] = zone.tzname(None)
    elif zone is not None:
        if type(zone) is not getattr(sys.modules.get("zoneinfo"), "ZoneInfo", None) or zone.key is None:
            name = f"{type(zone).__module__}.{type(zone).__qualname__}"
            raise _Refused(f"a datetime with a {name} can't be stored: use a timezone or a named ZoneInfo")
        extra["zone"] = zone.key
    return {"at": value.isoformat(), **extra} if extra else value.isoformat()


def _load_datetime(data: Any) -> Any:
    from datetime import datetime, timedelta, timezone

    if type(data) is str:
        return datetime.fromisoformat(data)
    value = datetime.fromisoformat(data["at"]).replace(fold=data.get("fold", 0))
    if "offset" in data:
        value = value.replace(tzinfo=timezone(timedelta(*data["offset"])))
    if "name" in data:
        offset = value.utcoffset()
        assert offset is not None
        return value.replace(tzinfo=timezone(offset, data["name"]))
    if "zone" in data:
        try:
            from zoneinfo import ZoneInfo

            zone = ZoneInfo(data["zone"])
        except (ImportError, LookupError, ValueError, OSError):  # no such zone here: its offset is kept
            return value
        zoned = value.replace(tzinfo=zone)
        # Other rules here than where it was stored: the moment counts, not the clock on the wall.
        return zoned if zoned.utcoffset() == value.utcoffset() else value.astimezone(zone)
    return value
