"""Python's values as JavaScript has them, and the other way around, in the words of bridge.mjs."""

import datetime as dt
import json
import math
import re
import struct
from decimal import Decimal
from typing import Any
from uuid import UUID

SAFE = 2**53 - 1
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def number(value: float) -> Any:
    return ["number", "nan" if math.isnan(value) else struct.pack(">d", value).hex()]


def number_of(text: str) -> float:
    return math.nan if text == "nan" else struct.unpack(">d", bytes.fromhex(text))[0]


def joined(text: str) -> str:
    """A text as JavaScript has it: two halves of a pair are one character."""
    return re.sub("[\ud800-\udbff][\udc00-\udfff]", _joined, text)


def _joined(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-be", "surrogatepass").decode("utf-16-be")


def given(value: Any) -> Any:
    """A value to call JavaScript with, made of what both have."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, dt.datetime):
        return ["Date", value.timestamp() * 1000]
    if isinstance(value, dict):
        return ["Object", [[name, given(item)] for name, item in value.items()]]
    return ["Array", [given(item) for item in value]]


def decoded(value: Any, *, key: bool = False) -> Any:
    """What `decode` of web/values.mjs makes of a value; `key`: where -0 is 0, in a Set or as a Map's key."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return joined(value)
    if isinstance(value, int):
        return number(value) if abs(value) <= SAFE else ["bigint", hex(value)]
    if isinstance(value, float):
        return number(0.0 if key and value == 0 else value)
    if isinstance(value, bytes):
        return ["Uint8Array", value.hex()]
    if isinstance(value, dt.datetime):
        offset = value.utcoffset()
        if offset is None:
            return value.replace(fold=0).isoformat()
        local = (value.replace(tzinfo=dt.UTC) - EPOCH) // dt.timedelta(milliseconds=1)
        return ["Date", math.trunc(local - 1000 * offset.total_seconds())]
    if isinstance(value, dt.timedelta):
        return number(value.days * 86_400 + value.seconds + value.microseconds / 1e6)
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, list | tuple):
        return ["Array", [decoded(item) for item in value]]
    if isinstance(value, set | frozenset):
        return ["Set", [item for item, _ in _once([decoded(item, key=True), None] for item in value)]]
    assert isinstance(value, dict)
    if all(isinstance(name, str) and joined(name) == name for name in value):
        return ["Object", [[name, decoded(item)] for name, item in value.items()]]
    return ["Map", _once([decoded(name, key=True), decoded(item)] for name, item in value.items())]


def _once(pairs: Any) -> list[Any]:
    """Two keys of Python may be one of JavaScript: a Decimal and its text, two nans."""
    found: dict[Any, Any] = {}
    for place, (name, item) in enumerate(pairs):
        itself = isinstance(name, list) and name[0] not in ("number", "bigint")
        found[place if itself else json.dumps(name)] = [name, item]
    return list(found.values())


def in_order(told: Any) -> Any:
    """Without the order that JavaScript or a set doesn't keep."""
    if not isinstance(told, list):
        return told
    kind, data = told
    if kind == "Array":
        return [kind, [in_order(item) for item in data]]
    if kind == "Set":
        return [kind, sorted(map(in_order, data), key=json.dumps)]
    if kind == "Map":
        return [kind, [[in_order(name), in_order(item)] for name, item in data]]
    if kind == "Object":
        return [kind, sorted(([name, in_order(item)] for name, item in data), key=json.dumps)]
    return told


def stored(told: Any, *, hashed: bool = False) -> Any:
    """The Python value that `encode` of web/values.mjs writes; `hashed`: in a Set or as a key."""
    if not isinstance(told, list):
        return told
    kind, data = told
    if kind == "number":
        value = number_of(data)
        return int(value) if value.is_integer() and abs(value) <= SAFE else value
    if kind == "bigint":
        return int(data, 0)
    if kind == "Uint8Array":
        return bytes.fromhex(data)
    if kind == "Date":
        return EPOCH + dt.timedelta(milliseconds=data)
    if kind == "Array":
        return (tuple if hashed else list)([stored(item, hashed=hashed) for item in data])
    if kind == "Set":
        return (frozenset if hashed else set)([stored(item, hashed=True) for item in data])
    if kind == "Map":
        return {stored(name, hashed=True): stored(item) for name, item in data}
    return {name: stored(item) for name, item in data if item != ["undefined", None]}


def written(told: Any) -> Any:
    """What `decode` makes of what `encode` wrote: -0 is 0."""
    if not isinstance(told, list):
        return told
    kind, data = told
    if kind == "number":
        return number(number_of(data) + 0.0)
    if kind in ("Array", "Set"):
        return [kind, [written(item) for item in data]]
    if kind in ("Map", "Object"):
        return [kind, [[written(name), written(item)] for name, item in data]]
    return told
