"""A shape: the dataclasses, pydantic models and Enums that an annotation allows a value to hold."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import sys
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

__all__ = [
    "MISSING",
    "Member",
    "Shape",
    "aliased",
    "annotation_of",
    "is_model",
    "return_shape",
    "shape_of",
    "type_hints_of",
]

MISSING: Any = object()
"""What `annotation_of` returns for a parameter without an annotation."""

_PLAIN = frozenset(
    {dict, list, tuple, set, frozenset, str, int, float, bool, bytes, None, type(None), Any, object}
    | {"dict", "list", "tuple", "str", "int", "float", "bool", "bytes", "None", "Any", "dict[str, Any]"}
)
_BUILTINS = (dict, list, tuple, set, frozenset, str, int, float, bytes, bytearray)

_resolved: dict[tuple[int, str], tuple[dict[str, Any], Any]] = {}


class Member:
    """One class of a shape: how its instances become plain data, and come back."""

    __slots__ = ("_fields", "args", "cls", "kind", "name")

    def __init__(self, kind: str, cls: type, name: str, args: tuple[Any, ...]) -> None:
        self.kind = kind  # "dataclass", "model" or "enum"
        self.cls = cls
        self.name = name
        self.args = args
        self._fields: Shape | None = MISSING

    @property
    def fields(self) -> Shape | None:
        """The shape of what a dataclass's fields may hold; built on first use, as a class may hold itself."""
        if self._fields is MISSING:
            hints = type_hints_of(self.cls)
            bases = getattr(self.cls, "__orig_bases__", ())
            self._fields = _build((*hints.values(), *bases, *self.args))
        return self._fields

    def dump(self, value: Any) -> Any:
        """The data of an instance: a dataclass's fields, a model's own JSON form, an Enum member's name."""
        if self.kind == "dataclass":
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(self.cls)}
        if self.kind == "model":
            return _dump_model(value)
        return value.value if isinstance(value, enum.Flag) else value.name

    def load(self, data: Any) -> Any:
        """The instance that `dump` gave `data` for; raises whatever the class raises."""
        if self.kind == "dataclass":
            return _load_dataclass(self.cls, data)
        if self.kind == "model":
            return _load_model(self.cls, data)
        if issubclass(self.cls, enum.Flag):
            return self.cls(data)
        return typing.cast("type[enum.Enum]", self.cls)[data]


class Shape:
    """The classes that an annotation names, wherever it names them.

    A stored value says by name which class each part of it has, so a shape needs no structure:
    `dict[str, list[Export]]` and `Export | None` both allow `Export`.
    """

    __slots__ = ("_by_name", "_by_type")

    def __init__(self, members: Iterable[Member]) -> None:
        self._by_type: dict[type, Member] = {member.cls: member for member in members}
        names = [cls.__name__ for cls in self._by_type]
        for member in self._by_type.values():
            if names.count(member.name) > 1:  # two modules' classes of one name
                member.name = f"{member.cls.__module__}.{member.cls.__qualname__}"
        self._by_name: dict[str, Member] = {member.name: member for member in self._by_type.values()}

    def __repr__(self) -> str:
        return f"Shape({', '.join(self._by_name)})"

    def of(self, cls: type) -> Member | None:
        """The member whose instances are exactly of `cls`."""
        return self._by_type.get(cls)

    def named(self, kind: str, name: str) -> Member | None:
        """The member that a stored name means; a lone member of that kind may have been renamed since."""
        member = self._by_name.get(name)
        if member is None and len(self._by_type) == 1:
            (member,) = self._by_type.values()
        return member if member is not None and member.kind == kind else None


# From annotations to shapes.


def shape_of(annotation: Any) -> Shape | None:
    """The shape of an annotation, or None when it names no class that needs one. Cached."""
    try:
        return None if annotation in _PLAIN else _shape_of(annotation)
    except TypeError:  # unhashable, such as Annotated[int, []]
        return _build((annotation,))


@functools.lru_cache(maxsize=1024)
def _shape_of(annotation: Any) -> Shape | None:
    return _build((annotation,))


def return_shape(fn: Callable[..., Any]) -> Shape | None:
    """The shape of a function's return annotation; None without one, or when it can't be resolved."""
    if isinstance(fn, type):
        return shape_of(fn)
    try:
        if type(fn) is types.FunctionType and fn.__annotations__.get("return") in _PLAIN:
            return None  # most functions: they stop here
    except (NameError, TypeError):
        pass  # another annotation that can't be resolved; one that can't be hashed
    try:
        return shape_of(annotation_of(fn, "return"))
    except Exception:  # resolving evaluates the user's annotation
        return None


def annotation_of(fn: Callable[..., Any], name: str) -> Any:
    """A function's annotation for one parameter or for `"return"`, resolved; `MISSING` without one.

    Raises what evaluating it raises (`NameError` for a name that its module doesn't have).
    """
    fn = _function(fn)
    try:
        annotation = getattr(fn, "__annotations__", {}).get(name, MISSING)
    except NameError:  # Python >= 3.14 evaluates all of them here, and another one may be at fault
        annotation = _forward_annotations(fn).get(name, MISSING)
    if type(annotation) is not str and not _has_names(annotation):
        return annotation
    while hasattr(fn, "__wrapped__"):
        fn = fn.__wrapped__
    scope: dict[str, Any] = getattr(fn, "__globals__", {})
    if type(annotation) is not str:
        return _evaluate(annotation, scope, _enclosing(fn))
    if isinstance(scope.get(annotation), type):
        return scope[annotation]
    found = _resolved.get((id(scope), annotation))
    if found is not None:
        return found[1]
    enclosing = _enclosing(fn)
    resolved = _evaluate(annotation, scope, enclosing)
    if not enclosing:  # a name of an enclosing function may mean another class at each call
        if len(_resolved) >= 1024:
            _resolved.clear()
        _resolved[id(scope), annotation] = (scope, resolved)  # holding the scope keeps its id its own
    return resolved


def type_hints_of(cls: type) -> dict[str, Any]:
    """The annotations of a class's fields, resolved; those that can't be are left out."""
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except Exception:  # one bad annotation must not take the others with it
        hints: dict[str, Any] = {}
        scope = vars(sys.modules.get(cls.__module__, typing))
        fields = {f.name: f.type for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
        for name, annotation in fields.items():
            try:
                hints[name] = _evaluate(annotation, scope, {cls.__name__: cls})
            except Exception:
                continue
        return hints


def aliased(annotation: Any) -> Any:
    """What a `NewType` or an alias (`type X = …`) stands for; None for any other annotation."""
    if isinstance(annotation, typing.NewType):
        return annotation.__supertype__
    return annotation.__value__ if type(annotation).__name__ == "TypeAliasType" else None


def is_model(cls: Any) -> bool:
    """Whether a class is a pydantic model; pydantic itself is never imported here."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    return base is not None and isinstance(cls, type) and issubclass(cls, base) and cls is not base


def _function(fn: Any) -> Any:
    while True:
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif hasattr(fn, "__func__"):
            fn = fn.__func__
        elif hasattr(fn, "__code__") or hasattr(fn, "__wrapped__") or isinstance(fn, type):
            return fn
        elif hasattr(type(fn).__call__, "__code__"):
            return type(fn).__call__
        else:
            return fn


def _forward_annotations(fn: Any) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(fn, format=annotationlib.Format.FORWARDREF)
    return {}


def _enclosing(fn: Any) -> dict[str, Any]:
    """The names that a function uses from the functions around it."""
    names = zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True) if hasattr(fn, "__code__") else ()
    found = {}
    for name, cell in names:
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _has_names(annotation: Any) -> bool:
    """Whether an annotation holds names as text, which only its function's module can resolve."""
    if isinstance(annotation, (str, typing.ForwardRef)):
        return True
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return False
    try:
        return _args_have_names(annotation)
    except TypeError:  # unhashable
        return True


@functools.lru_cache(maxsize=1024)
def _args_have_names(annotation: Any) -> bool:
    if typing.get_origin(annotation) is typing.Literal:
        return False
    return any(_has_names(arg) for arg in typing.get_args(annotation))


def _evaluate(annotation: Any, scope: dict[str, Any], names: dict[str, Any] | None) -> Any:
    def holder() -> None: ...

    holder.__annotations__ = {"x": annotation}
    return typing.get_type_hints(holder, scope, names, include_extras=True)["x"]


def _build(annotations: Iterable[Any]) -> Shape | None:
    members: dict[type, Member] = {}
    _collect(annotations, members, [])
    return Shape(members.values()) if members else None


def _collect(annotations: Iterable[Any], members: dict[type, Member], seen: list[Any]) -> None:
    for annotation in annotations:
        if isinstance(annotation, enum.Enum):  # inside a Literal
            annotation = type(annotation)
        if any(annotation is other for other in seen):
            continue  # an alias or a TypedDict that holds itself
        seen.append(annotation)
        origin = typing.get_origin(annotation)
        args = typing.get_args(annotation)
        cls = origin if isinstance(origin, type) else annotation
        kind = _kind(cls)
        if kind:
            first = members.get(cls)
            members[cls] = Member(kind, cls, cls.__name__, (*(first.args if first else ()), *args))
        elif typing.is_typeddict(cls):
            _collect(type_hints_of(cls).values(), members, seen)
        if isinstance(annotation, (list, tuple)):  # the parameters of a Callable
            _collect(annotation, members, seen)
        _collect((*args, aliased(annotation)), members, seen)


def _kind(cls: Any) -> str | None:
    if not isinstance(cls, type):
        return None
    if issubclass(cls, enum.Enum):
        return "enum" if cls.__members__ else None
    if is_model(cls):
        return "model"
    if dataclasses.is_dataclass(cls) and not issubclass(cls, _BUILTINS):
        return "dataclass"
    return None


# Instances to data and back.


def _load_dataclass(cls: type, data: dict[str, Any]) -> Any:
    fields = dataclasses.fields(cls)
    unset = dataclasses.MISSING
    missing = [
        f.name for f in fields if f.name not in data and f.default is unset and f.default_factory is unset
    ]
    if missing:
        raise ValueError(f"{cls.__name__} has new fields without a default: {', '.join(missing)}")
    if _has_own_init(cls):
        value = cls(**{f.name: data[f.name] for f in fields if f.init and f.name in data})
    else:
        value = object.__new__(cls)
    for f in fields:  # whatever __post_init__ made of them, the stored values count
        if f.name in data:
            object.__setattr__(value, f.name, data[f.name])
        elif not hasattr(value, f.name):
            default = f.default if f.default_factory is unset else f.default_factory()
            object.__setattr__(value, f.name, default)
    return value


@functools.lru_cache(maxsize=1024)
def _has_own_init(cls: Any) -> Any:
    """Whether `cls(**fields)` makes an instance: dataclass's own `__init__`, and no `InitVar` to invent."""
    known: Any = cls
    init_vars = [f for f in known.__dataclass_fields__.values() if "INITVAR" in repr(f._field_type)]
    return known.__dataclass_params__.init and all(f.default is not dataclasses.MISSING for f in init_vars)


def _dump_model(value: Any) -> Any:
    cls: Any = type(value)
    data = json.loads(value.model_dump_json(by_alias=not _by_name(cls), round_trip=True, warnings="error"))
    if _load_model(cls, data) != value:
        raise ValueError(f"{cls.__name__} doesn't come back equal from its own JSON form")
    return data


def _load_model(cls: Any, data: Any) -> Any:
    options = {"by_alias": True, "by_name": True} if _by_name(cls) else {}
    return cls.model_validate_json(json.dumps(data), **options)  # a strict model reads dates from JSON only


@functools.lru_cache(maxsize=1024)
def _by_name(cls: Any) -> Any:
    return "by_name" in cls.model_validate_json.__kwdefaults__  # pydantic >= 2.11
