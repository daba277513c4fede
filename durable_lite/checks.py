"""A check: whether a JSON value fits an annotation, what it becomes, and the JSON Schema that says so."""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import enum
import json
import types
import typing
from typing import Any

from .brief import cut, described, field
from .errors import Problem
from .scalars import scalar_for
from .shapes import aliased, is_model, type_hints_of

__all__ = ["MAX_PROBLEMS", "Check", "Definitions", "Unsupported", "check_for"]

MAX_PROBLEMS = 20
"""A check of a long value stops after this many."""

_LISTS = (list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable)
_SETS = (set, abc.Set, abc.MutableSet)
_DICTS = (dict, abc.Mapping, abc.MutableMapping)
_QUALIFIERS = (typing.Annotated, typing.Required, typing.NotRequired, typing.Final)


class Unsupported(TypeError):
    """An annotation that no JSON value can be checked against."""


class Definitions:
    """The `$defs` of one JSON Schema: each class once, by name."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}
        self._names: dict[int, str] = {}

    def ref(self, check: Fields | Alias) -> dict[str, Any]:
        name = self._names.get(id(check))
        if name is None:
            name = check.label
            while name in self.schemas:  # another class of this name
                name += "_"
            self._names[id(check)] = name
            self.schemas[name] = {}  # a class may hold itself
            self.schemas[name] = check.body(self)
        return {"$ref": f"#/$defs/{name}"}


class Check:
    """Accepts anything; the base of the others."""

    label = "anything"

    def convert(self, value: Any, path: str, problems: list[Problem]) -> Any:
        """What `value` becomes; if it doesn't fit, each reason is appended to `problems`."""
        return value

    def schema(self, defs: Definitions) -> dict[str, Any]:
        return {}

    def misfit(self, value: Any, path: str, problems: list[Problem]) -> None:
        problems.append(Problem(path, f"expected {self.label}, got {described(value)}"))


class Scalar(Check):
    """A value without parts, by one of the converters of `scalars`."""

    def __init__(self, annotation: Any) -> None:
        self.label, self._convert, self._schema = scalar_for(annotation)

    def convert(self, value: Any, path: str, problems: list[Problem]) -> Any:
        try:
            return self._convert(value)
        except (TypeError, ValueError, ArithmeticError):
            return self.misfit(value, path, problems)

    def schema(self, defs: Definitions) -> dict[str, Any]:
        return dict(self._schema)


class Choice(Check):
    """One of a few values: a `Literal`, or an Enum by its members' values (by name, if those aren't JSON)."""

    def __init__(self, choices: list[tuple[Any, Any]], enum_type: type | None = None) -> None:
        self._choices = choices  # (as JSON, the value itself)
        self._type = enum_type
        shown = " | ".join(json.dumps(text, ensure_ascii=False, default=str) for text, _ in choices)
        self.label = cut(f"{enum_type.__name__} ({shown})" if enum_type else shown, 120)

    def convert(self, value: Any, path: str, problems: list[Problem]) -> Any:
        if type(value) is self._type:
            return value
        for text, choice in self._choices:
            if any(type(value) is type(known) and value == known for known in (text, choice)):
                return choice
        return self.misfit(value, path, problems)

    def schema(self, defs: Definitions) -> dict[str, Any]:
        return {"enum": [text for text, _ in self._choices]}


class Items(Check):
    """A list, set or tuple of any length."""

    def __init__(self, make: type | None, item: Check) -> None:
        self._make = make  # None: an abstract sequence, which stays what it is
        self._item = item
        self.label = (
            (make or list).__name__ if type(item) is Check else f"{(make or list).__name__}[{item.label}]"
        )

    def convert(self, value: Any, path: str, problems: list[Problem]) -> Any:
        if type(value) not in (list, self._make or tuple):
            return self.misfit(value, path, problems)
        before = len(problems)
        items: list[Any] = []
        for index, item in enumerate(value):
            items.append(self._item.convert(item, f"{path}[{index}]", problems))
            if len(problems) > MAX_PROBLEMS:
                break
        if len(problems) > before:
            return None
        try:
            return (self._make or type(value))(items)
        except TypeError as error:  # a set's item without a hash
            problems.append(Problem(path, str(error)))

    def schema(self, defs: Definitions) -> dict[str, Any]:
        unique = {"uniqueItems": True} if self._make in (set, frozenset) else {}
        return {"type": "array", "items": self._item.schema(defs), **unique}


class Positions(Check):
    """A tuple with one check for each position."""

    def __init__(self, items: list[Check]) -> None:
        self._items = items
        self.label = f"tuple of {len(items)} items"

    def convert(self, value: Any, path: str, problems: list[Problem]) -> Any:
        if type(value) not in (list, tuple) or len(value) != len(self._items):
            return self.misfit(value, path, problems)
        pairs = enumerate(zip(self._items, value, strict=True))
        return tuple([check.convert(item, f"{path}[{index}]", problems) for index, (check, item) in pairs])

    def schema(self, defs: Definitions) -> dict[str, Any]:
        size = len(self._items)
        prefix = {"prefixItems": [check.schema(defs) for check in self._items]} if size else {}
        return {"type": "array", **prefix, "minItems": size, "maxItems": size}


class Mapping(Check):
    """A dict of any keys."""

    def __init__(self, key: Check, item: Check) -> None:
        self._key, self._item = key, item
        self.label = "dict"

    def convert(self, value: Any, path: str, problems: list[Problem]) -> Any:
        if type(value) is not dict:
            return self.misfit(value, path, problems)
        converted = {}
        for name, item in value.items():
            where = path + field(name)
            key = self._key.convert(name, f"{where} (the key)", problems)
            converted[key] = self._item.convert(item, where, problems)
            if len(problems) > MAX_PROBLEMS:
                break
        return converted

    def schema(self, defs: Definitions) -> dict[str, Any]:
        item, key = self._item.schema(defs), self._key.schema(defs)
        names = {} if key in ({}, {"type": "string"}) else {"propertyNames": key}
        return {"type": "object", **({"additionalProperties": item} if item else {}), **names}


class Either(Check):
    """A union: the first member that fits; of numbers and the like, the one that changes nothing."""

    def __init__(self, members: list[Check]) -> None:
        self._members = members
        self.label = cut(" | ".join(dict.fromkeys(member.label for member in members)), 120)

    def convert(self, value: Any, path: str, problems: list[Problem]) -> Any:
        fits: list[Any] = []
        deeper: list[list[Problem]] = []
        for member in self._members:
            trial: list[Problem] = []
            converted = member.convert(value, path, trial)
            if not trial:
                if converted is value or type(value) is str:
                    return converted
                fits.append(converted)
            elif all(problem.path != path for problem in trial):
                deeper.append(trial)
        if fits:
            return fits[0]
        if len(deeper) == 1:  # it is meant for this member: say what is wrong inside
            problems.extend(deeper[0])
            return None
        return self.misfit(value, path, problems)

    def schema(self, defs: Definitions) -> dict[str, Any]:
        return {"anyOf": [member.schema(defs) for member in self._members]}


class Alias(Check):
    """A `type X = …`, which may hold itself."""

    def __init__(self, name: str) -> None:
        self.label = name
        self.target = Check()  # filled later

    def convert(self, value: Any, path: str, problems: list[Problem]) -> Any:
        return self.target.convert(value, path, problems)

    def schema(self, defs: Definitions) -> dict[str, Any]:
        return defs.ref(self)

    def body(self, defs: Definitions) -> dict[str, Any]:
        return self.target.schema(defs)


class Fields(Check):
    """A dataclass or a TypedDict."""

    def __init__(self, cls: type, is_dict: bool) -> None:
        self._cls = cls
        self._is_dict = is_dict
        self.label = cls.__name__
        self.checks: dict[str, Check] = {}  # filled later, as a class may hold itself
        self.required: set[str] = set()

    def convert(self, value: Any, path: str, problems: list[Problem]) -> Any:
        if type(value) is self._cls and not self._is_dict:
            return value
        if type(value) is not dict:
            return self.misfit(value, path, problems)
        before = len(problems)
        converted: dict[str, Any] = {}
        for name, item in value.items():
            check = self.checks.get(name) if type(name) is str else None
            if check is None:
                problems.append(Problem(path + field(name), f"{self.label} has no such field"))
            else:
                converted[name] = check.convert(item, path + field(name), problems)
            if len(problems) > MAX_PROBLEMS:
                return None
        for name in self.checks:
            if name in self.required and name not in value:
                problems.append(Problem(path + field(name), "is missing"))
        if len(problems) > before or self._is_dict:
            return converted
        try:
            return self._cls(**converted)
        except Exception as error:  # what __post_init__ raises is a verdict on the value
            problems.append(Problem(path, cut(str(error) or type(error).__name__, 200)))

    def schema(self, defs: Definitions) -> dict[str, Any]:
        return defs.ref(self)

    def body(self, defs: Definitions) -> dict[str, Any]:
        """The schema itself, not a reference to it."""
        required = [name for name in self.checks if name in self.required]
        return {
            "title": self.label,
            "type": "object",
            "properties": {name: check.schema(defs) for name, check in self.checks.items()},
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }


class Model(Check):
    """A pydantic model, by its own rules."""

    def __init__(self, cls: Any) -> None:
        self._cls = cls
        self.label = cls.__name__

    def convert(self, value: Any, path: str, problems: list[Problem]) -> Any:
        if type(value) is self._cls:
            return value
        try:
            try:
                text = json.dumps(value)
            except (TypeError, ValueError):  # given in Python, with values that JSON doesn't have
                return self._cls.model_validate(value)
            return self._cls.model_validate_json(text)
        except ValueError as error:  # pydantic's ValidationError is one
            for found in error.errors(include_url=False, include_context=False):  # type: ignore[attr-defined]  # optional
                where = path + "".join(field(name) for name in found["loc"])
                problems.append(Problem(where, cut(found["msg"], 200)))

    def schema(self, defs: Definitions) -> dict[str, Any]:
        schema: dict[str, Any] = self._cls.model_json_schema(ref_template="#/$defs/{model}")
        for name, definition in schema.pop("$defs", {}).items():
            defs.schemas.setdefault(name, definition)
        return schema


# From annotations to checks.


def check_for(annotation: Any) -> Check:
    """The check of an annotation; raises `Unsupported`."""
    return _check(annotation, {}, {})


def _check(annotation: Any, made: dict[Any, Check], bound: dict[Any, Any]) -> Check:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)

    def part(index: int) -> Check:
        return _check(args[index], made, bound) if index < len(args) else Check()

    if annotation in (Any, object):
        return Check()
    if isinstance(annotation, typing.TypeVar):
        return _check(bound.get(annotation, annotation.__bound__ or Any), made, bound)
    if isinstance(annotation, typing.NewType):
        return _check(aliased(annotation), made, bound)
    if aliased(annotation) is not None:
        if annotation not in made:
            made[annotation] = alias = Alias(annotation.__name__)
            alias.target = _check(aliased(annotation), made, bound)
        return made[annotation]
    if origin in _QUALIFIERS or getattr(origin, "__name__", "") == "ReadOnly":
        return part(0)
    if origin in (typing.Union, types.UnionType):
        return Either([_check(arg, made, bound) for arg in args])
    if origin is typing.Literal:
        return Choice([(arg.value if isinstance(arg, enum.Enum) else arg, arg) for arg in args])
    cls = origin or annotation
    if cls is tuple and args and args[-1] is not Ellipsis:
        return Positions([_check(arg, made, bound) for arg in args])
    if annotation == tuple[()]:
        return Positions([])
    if cls in _LISTS:
        return Items(list if cls is list else None, part(0))
    if cls in _SETS or cls in (frozenset, tuple):
        return Items(set if cls in _SETS else cls, part(0))
    if cls in _DICTS:
        return Mapping(part(0), part(1))
    return _class_check(annotation, cls, args, made, bound)


def _class_check(
    annotation: Any, cls: Any, args: Any, made: dict[Any, Check], bound: dict[Any, Any]
) -> Check:
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        members = list(cls)
        plain = all(type(member.value) in (str, int, float, bool) for member in members)
        return Choice([(member.value if plain else member.name, member) for member in members], cls)
    if is_model(cls):
        return Model(cls)
    is_dict = typing.is_typeddict(cls)
    if not is_dict and not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        try:
            return Scalar(annotation)
        except KeyError:
            raise Unsupported(f"{annotation!r} has no JSON form") from None
    if annotation in made:
        return made[annotation]
    made[annotation] = check = Fields(cls, is_dict)
    inner = dict(zip(getattr(cls, "__parameters__", ()), (bound.get(arg, arg) for arg in args), strict=False))
    hints = type_hints_of(cls)
    if is_dict:
        names = list(hints)
        qualified = {name: typing.get_origin(hint) for name, hint in hints.items()}
        check.required = {
            name
            for name in names
            if qualified[name] is not typing.NotRequired
            and (name in cls.__required_keys__ or qualified[name] is typing.Required)
        }
    else:
        fields = [known for known in dataclasses.fields(cls) if known.init]
        names = [known.name for known in fields]
        unset = dataclasses.MISSING
        check.required = {f.name for f in fields if f.default is unset and f.default_factory is unset}
    for name in names:
        if name not in hints:
            raise Unsupported(f"the annotation of {cls.__name__}.{name} can't be resolved")
        check.checks[name] = _check(hints[name], made, inner)
    return check
