"""Values as tagged JSON: what comes back is equal and of the same types, all the way down."""

import collections
import dataclasses
import datetime as dt
import enum
import functools
import inspect
import json
import math
import operator
import re
import sys
import types
import typing
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import durable_lite.codec
import durable_lite.shapes
from durable_lite.brief import brief
from durable_lite.codec import MAX_DEPTH, as_data, decode, encode, is_too_deep
from durable_lite.errors import NotSerializable, TooLarge
from durable_lite.shapes import return_shape, shape_of
from tests.unit import annotated


class Color(enum.Enum):
    RED = "red"
    BLUE = ("blue", 2)
    ALSO_RED = "red"  # noqa: PIE796


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mood(enum.StrEnum):
    GOOD = "good"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float = -0.0


@dataclasses.dataclass(slots=True)
class Box:
    corners: tuple[Point, ...]
    color: Color | None = None
    inner: "list[Box]" = dataclasses.field(default_factory=list)
    tags: dict[Any, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Pair(typing.Generic[T := typing.TypeVar("T")]):
    left: T
    right: T


ALL = shape_of(Box | Point | Color | Level | Mood | Rights)


def described(value: Any) -> str:
    """A text that two values share only if they are equal and of the same types, all the way down."""
    cls = type(value)
    if dataclasses.is_dataclass(value):
        parts = [f"{f.name}={described(getattr(value, f.name))}" for f in dataclasses.fields(value)]
    elif cls in (list, tuple):
        parts = [described(item) for item in value]
    elif cls in (set, frozenset):
        parts = sorted(described(item) for item in value)
    elif cls is dict:
        parts = [f"{described(name)}:{described(item)}" for name, item in value.items()]
    elif cls is dt.datetime:
        parts = [repr(value), str(value.tzinfo), str(value.fold)]
    else:
        parts = [hex(value) if cls is int else repr(value)]
    return f"{cls.__module__}.{cls.__qualname__}({', '.join(parts)})"


def zone_names() -> list[str]:
    try:
        import zoneinfo

        names = ("UTC", "Europe/Rome", "America/New_York", "Australia/Lord_Howe")
        return [name for name in names if zoneinfo.ZoneInfo(name)]
    except (ImportError, LookupError):  # no data, as in a bare Pyodide
        return []


def zones() -> st.SearchStrategy[Any]:
    limit = dt.timedelta(hours=24) - dt.timedelta.resolution
    offsets = st.timedeltas(-limit, limit)
    fixed = st.builds(dt.timezone, offsets) | st.builds(dt.timezone, offsets, st.text(max_size=5))
    if not zone_names():
        return st.none() | fixed
    import zoneinfo

    return st.none() | fixed | st.sampled_from([zoneinfo.ZoneInfo(name) for name in zone_names()])


text = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(
    ["$", "", "\x00", "\ud83d\ude00", "a\udc00\ud800b", "🙂", "\ud800", "v", "tuple"]
)
datetimes = st.builds(
    lambda value, zone, fold: value.replace(tzinfo=zone, fold=fold),
    # A year in from both ends, where an offset would leave the range that Python has.
    st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 12, 31)),
    zones(),
    st.sampled_from([0, 1]),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.builds(operator.lshift, st.integers(-9, 9), st.sampled_from([1995, 1996, 1997, 15_000])),
    st.floats(),
    text,
    st.binary(max_size=20),
    datetimes,
    st.dates(),
    st.timedeltas(),
    st.decimals(allow_nan=True, allow_infinity=True),
    st.sampled_from([Decimal("1E+3"), Decimal("-0.00"), Decimal("sNaN"), Decimal("NaN12")]),
    st.uuids(),
)
members = st.sampled_from([*Color, *Level, *Mood, *Rights, Rights.READ | Rights.WRITE, Rights(0)])


def hashable_only(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def usable(value: Any) -> bool:
        try:
            hash(value)  # a signalling NaN has none
        except TypeError:
            return False
        return True

    return st.recursive(
        leaves.filter(usable),
        lambda part: st.lists(part, max_size=3).map(tuple) | st.frozensets(part, max_size=3),
        max_leaves=4,
    )


def containers(part: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(part, max_size=4),
        st.lists(part, max_size=4).map(tuple),
        st.dictionaries(text, part, max_size=4),
        st.dictionaries(keys, part, max_size=3),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
    )


plain_keys = hashable_only(scalars)
values = st.recursive(scalars, lambda part: containers(part, plain_keys), max_leaves=12)

points = st.builds(Point, st.floats(), st.floats())
all_keys = hashable_only(scalars | members | points)
shaped = st.recursive(
    scalars | members | points,
    lambda part: (
        containers(part, all_keys)
        | st.builds(
            Box,
            st.lists(points, max_size=2).map(tuple),
            st.none() | st.sampled_from(list(Color)),
            st.builds(list),
            st.dictionaries(st.integers(), scalars, max_size=2),
        )
    ),
    max_leaves=8,
)


def has_nan(value: Any) -> bool:
    return "nan" in described(value).lower()


class TestEverySupportedValue:
    @given(values)
    @settings(max_examples=300)
    def test_comes_back_the_same(self, value):
        stored = encode(value, key="k")
        back = decode(stored)
        assert described(back) == described(value)
        assert has_nan(value) or back == value
        assert described(value) == described(decode(encode(back, key="k")))

    @given(shaped)
    @settings(max_examples=200)
    def test_comes_back_the_same_with_classes_from_an_annotation(self, value):
        back = decode(encode(value, ALL, key="k"), ALL)
        assert described(back) == described(value)
        assert has_nan(value) or back == value

    @given(values)
    def test_is_json_in_utf_8(self, value):
        stored = encode(value, key="k")
        stored.encode()
        json.loads(stored, parse_constant=pytest.fail)

    @given(
        st.frozensets(st.integers() | st.text(max_size=3) | st.tuples(st.booleans()), max_size=6),
        st.randoms(),
    )
    def test_a_set_has_one_text(self, value, random):
        items = list(value)
        random.shuffle(items)
        assert encode(value, key="k") == encode(frozenset(items), key="k")

    @given(
        st.recursive(
            st.none() | st.integers() | st.text(), lambda p: st.lists(p) | st.dictionaries(st.text(), p)
        )
    )
    def test_plain_json_is_stored_as_it_is(self, value):
        stored = encode(value, key="k")
        assert ("$" in stored) or json.loads(stored) == value
        assert decode(stored) == value

    def test_shared_parts_are_no_cycle(self):
        part = [1]
        assert decode(encode([part, part, {"a": part}], key="k")) == [[1], [1], {"a": [1]}]

    def test_an_alias_of_an_enum_member_is_that_member(self):
        assert decode(encode(Color.ALSO_RED, ALL, key="k"), ALL) is Color.RED

    def test_the_order_of_a_dict_is_kept(self):
        value = {"b": 1, "a": {2: 1, 1: 2}, "$": 0}
        back = decode(encode(value, key="k"))
        assert list(back) == ["b", "a", "$"]
        assert list(back["a"]) == [2, 1]


class TestText:
    """What is stored is read by people and by JavaScript: these texts don't change."""

    @pytest.mark.parametrize(
        ("value", "stored"),
        [
            ({"a": [1, 2.0, -0.0, True, None, "é"]}, '{"a":[1,2.0,-0.0,true,null,"é"]}'),
            ((1, (2,)), '{"$":"tuple","v":[1,{"$":"tuple","v":[2]}]}'),
            ({3, 1, 2}, '{"$":"set","v":[1,2,3]}'),
            (frozenset(), '{"$":"frozenset","v":[]}'),
            (b"\x00\xff", '{"$":"bytes","v":"AP8="}'),
            (dt.date(2025, 3, 1), '{"$":"date","v":"2025-03-01"}'),
            (dt.datetime(2025, 3, 1, 9), '{"$":"datetime","v":"2025-03-01T09:00:00"}'),
            (dt.datetime(2025, 3, 1, 9, tzinfo=dt.UTC), '{"$":"datetime","v":"2025-03-01T09:00:00+00:00"}'),
            (
                dt.datetime(2025, 3, 1, 9, fold=1, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")),
                '{"$":"datetime","v":{"at":"2025-03-01T09:00:00+01:00","fold":1,"name":"CET"}}',
            ),
            (
                dt.datetime(2025, 3, 1, tzinfo=dt.timezone(dt.timedelta(microseconds=1))),
                '{"$":"datetime","v":{"at":"2025-03-01T00:00:00+00:00:00.000001","offset":[0,0,1]}}',
            ),
            (dt.timedelta(days=-1, microseconds=5), '{"$":"timedelta","v":[-1,0,5]}'),
            (Decimal("1.50"), '{"$":"decimal","v":"1.50"}'),
            (uuid.UUID(int=1), '{"$":"uuid","v":"00000000-0000-0000-0000-000000000001"}'),
            ({1: "a"}, '{"$":"map","v":[[1,"a"]]}'),
            ({"$": 1, "a": (1,)}, '{"$":"dict","v":{"$":1,"a":{"$":"tuple","v":[1]}}}'),
            (math.inf, '{"$":"float","v":"inf"}'),
            ([-math.inf, math.nan], '[{"$":"float","v":"-inf"},{"$":"float","v":"nan"}]'),
            ("a\ud800", '"a\\ud800"'),
            ("é\ud83d\ude00", '{"$":"str","v":["\\u00e9\\ud83d","\\ude00"]}'),
        ],
    )
    def test_kind(self, value, stored):
        assert encode(value, key="k") == stored
        assert described(decode(stored)) == described(value)

    @pytest.mark.parametrize(
        ("value", "stored"),
        [
            (Color.RED, '{"$":"enum:Color","v":"RED"}'),
            (Color.BLUE, '{"$":"enum:Color","v":"BLUE"}'),
            (Rights.READ | Rights.WRITE, '{"$":"enum:Rights","v":3}'),
            (Point(1.0), '{"$":"dataclass:Point","v":{"x":1.0,"y":-0.0}}'),
            (
                {Level.LOW: [Mood.GOOD]},
                '{"$":"map","v":[[{"$":"enum:Level","v":"LOW"},[{"$":"enum:Mood","v":"GOOD"}]]]}',
            ),
        ],
    )
    def test_kind_of_a_class(self, value, stored):
        assert encode(value, ALL, key="k") == stored
        assert decode(stored, ALL) == value


class TestTimeZones:
    @pytest.fixture
    def rome(self):
        if "Europe/Rome" not in zone_names():
            # Without zone data there is nothing to keep; the fall-back has its own test below.
            return dt.timezone(dt.timedelta(hours=2))
        import zoneinfo

        return zoneinfo.ZoneInfo("Europe/Rome")

    @pytest.mark.parametrize("fold", [0, 1])
    def test_an_hour_that_comes_twice(self, rome, fold):
        value = dt.datetime(2025, 10, 26, 2, 30, tzinfo=rome, fold=fold)
        back = decode(encode(value, key="k"))
        assert back.tzinfo is rome or back.tzinfo == rome
        assert (back, back.fold, back.utcoffset()) == (value, fold, value.utcoffset())

    def test_a_zone_that_is_unknown_here_leaves_its_offset(self):
        stored = '{"$":"datetime","v":{"at":"2025-07-01T12:00:00+02:00","zone":"Nowhere/City"}}'
        back = decode(stored)
        assert back == dt.datetime(2025, 7, 1, 10, tzinfo=dt.UTC)
        assert back.utcoffset() == dt.timedelta(hours=2)

    def test_where_the_rules_differ_the_moment_counts(self, rome):
        stored = '{"$":"datetime","v":{"at":"2025-07-01T12:00:00+05:00","zone":"Europe/Rome"}}'
        assert decode(stored) == dt.datetime(2025, 7, 1, 7, tzinfo=dt.UTC)

    def test_any_other_tzinfo_is_refused(self):
        class Odd(dt.tzinfo):
            def utcoffset(self, when):
                return dt.timedelta(0)

        with pytest.raises(NotSerializable, match="Odd") as caught:
            encode({"when": dt.datetime(2025, 1, 1, tzinfo=Odd())}, key="k")
        assert caught.value.path == "$.when"


async def coroutine() -> None: ...


class Slotted:
    __slots__ = ()


Named = collections.namedtuple("Named", "a b")


def generator():
    yield 1


class SubDict(dict): ...


class SubDatetime(dt.datetime): ...


class NumpyLike(float):
    """What numpy's float64 is to the codec."""


REFUSED = [
    collections.OrderedDict(a=1),
    collections.defaultdict(list),
    collections.Counter("a"),
    SubDict(a=1),
    SubDatetime(2025, 1, 1),
    NumpyLike(1.0),
    type("SubStr", (str,), {})("a"),
    type("SubInt", (int,), {})(1),
    type("SubList", (list,), {})(),
    Named(1, 2),
    bytearray(b"a"),
    memoryview(b"a"),
    range(3),
    generator(),
    map(str, ()),
    {}.keys(),
    types.MappingProxyType({}),
    object(),
    Slotted(),
    Slotted,
    print,
    1j,
    Ellipsis,
    NotImplemented,
    ValueError("x"),
    dt.time(1, 2),
    Point(1.0),
    Box(()),
    Color.RED,
    Level.LOW,
    Mood.GOOD,
    Rights.READ,
]


WRAPS: dict[str, tuple[Callable[[Any], Any], int]] = {  # and the levels of JSON that each makes
    "list": (lambda value: [value], 1),
    "dict": (lambda value: {"a": value}, 1),
    "tuple": (lambda value: (value,), 2),
    "map": (lambda value: {1: value}, 3),
}


class TestWhatCantBeStored:
    @pytest.mark.parametrize(
        "value", REFUSED, ids=[f"{i}-{type(value).__name__}" for i, value in enumerate(REFUSED)]
    )
    def test_is_refused_with_its_place(self, value):
        with pytest.raises(NotSerializable) as caught:
            encode({"rows": [1, {"when": (0, value)}]}, key="outer/inner")
        assert (caught.value.key, caught.value.path) == ("outer/inner", "$.rows[1].when[1]")
        assert caught.value.detail in str(caught.value)
        with pytest.raises(NotSerializable) as caught:
            encode(value, key="k")
        assert caught.value.path == "$"

    @pytest.mark.parametrize("value", [Point(1.0), Color.RED, Level.LOW, Mood.GOOD], ids=repr)
    def test_a_class_asks_for_an_annotation(self, value):
        with pytest.raises(NotSerializable, match=rf"annotate the return type \(-> {type(value).__name__}\)"):
            encode([value], shape_of(Box), key="k") if type(value) is not Color else encode([value], key="k")

    def test_numpy_values_say_how(self):
        for name, method in (("int64", ".item()"), ("ndarray", ".tolist()")):
            with pytest.raises(NotSerializable, match=rf"numpy\.{name} .*{re.escape(method)}"):
                encode(type(name, (), {"__module__": "numpy"})(), key="k")

    def test_a_coroutine_asks_to_be_awaited(self):
        forgotten = coroutine()
        with pytest.raises(NotSerializable, match="await it"):
            encode([forgotten], key="k")
        forgotten.close()

    def test_a_future_asks_to_be_awaited(self):
        class Future:
            def __await__(self): ...

        with pytest.raises(NotSerializable, match="Future is not a value: await it"):
            encode(Future(), key="k")

    @pytest.mark.parametrize(
        ("value", "path"),
        [
            ({"a b": object()}, "$['a b']"),
            ({"1": object()}, "$['1']"),
            ({"x" * 100: object()}, "$['" + "x" * 27),
            ({1: object()}, "$[1]"),
            ({(1, Slotted): 1}, "$[(1, "),
            ({"$": object()}, "$['$']"),
            ({"naïve": object()}, "$.naïve"),
            ({"a": {1, Slotted}}, "$.a[*]"),
            ([[[object()]]], "$[0][0][0]"),
        ],
    )
    def test_paths(self, value, path):
        with pytest.raises(NotSerializable) as caught:
            encode(value, key="k")
        assert caught.value.path.startswith(path)
        assert len(str(caught.value)) < 300

    def test_a_field_of_a_dataclass_has_a_path(self):
        with pytest.raises(NotSerializable) as caught:
            encode([Box((Point(object()),))], ALL, key="k")
        assert caught.value.path == "$[0].corners[0].x"

    @pytest.mark.parametrize("wrap", [wrap for wrap, _ in WRAPS.values()], ids=WRAPS)
    def test_a_value_that_holds_itself_or_is_too_deep(self, wrap):
        deep: Any = 1
        for _ in range(MAX_DEPTH + 1):
            deep = wrap(deep)
        with pytest.raises(NotSerializable, match="nested too deeply"):
            encode(deep, key="k")
        cycle: list[Any] = []
        cycle.append(wrap(cycle))
        with pytest.raises(NotSerializable, match="holds itself"):
            encode(cycle, key="k")

    @pytest.mark.parametrize(("wrap", "levels"), WRAPS.values(), ids=WRAPS)
    def test_the_deepest_value_that_is_stored_comes_back(self, wrap, levels):
        deep: Any = 1
        for _ in range(MAX_DEPTH // levels):
            deep = wrap(deep)
        assert decode(encode(deep, key="k")) == deep

    def test_too_little_stack_is_an_error_of_the_value(self):
        deep: Any = 1
        for _ in range(MAX_DEPTH // 2):
            deep = (deep,)
        stored = encode(deep, key="k")
        assert decode(stored) == deep

        def refused_below(frames: int, attempt: Callable[[], Any]) -> str:
            if frames > 0:
                return refused_below(frames - 1, attempt)
            with pytest.raises(NotSerializable) as caught:
                attempt()
            return str(caught.value)

        frames = sys.getrecursionlimit() - len(inspect.stack(0)) - 60  # and 100 would be needed
        assert "nested too deeply" in refused_below(frames, lambda: encode(deep, key="k"))
        assert "nested too deeply" in refused_below(frames, lambda: decode(stored))


class TestDepthOfText:
    """Measured before reading where Python's reader would not survive it."""

    @given(values)
    def test_what_is_stored_is_not_too_deep(self, value):
        assert not is_too_deep(encode(value, key="k"))

    @pytest.mark.parametrize("wrap", [wrap for wrap, _ in WRAPS.values()], ids=WRAPS)
    def test_not_even_the_deepest(self, wrap):
        deep: Any = dt.datetime(2025, 1, 1, fold=1)
        while True:
            try:
                stored = encode(deep, key="k")
            except NotSerializable:
                break
            assert not is_too_deep(stored)
            deep = wrap(deep)
        assert stored.count("[") + stored.count("{") > MAX_DEPTH - 5

    @pytest.mark.parametrize(
        ("text", "deep"),
        [
            ("[" * 203, True),
            ("[" * 202 + "]" * 202, False),
            ('{"a":' * 203, True),
            ('["]]]]]]]]",' * 203, True),
            ('["\\"]]]]]]]]",' * 203, True),
            ("[],{}," * 1000, False),
            ('"' + "[" * 1000 + '"', False),
            ('["' + '\\"[{' * 1000 + '"]', False),
        ],
        ids=range(8),
    )
    def test_strings_do_not_count(self, text, deep):
        assert is_too_deep(text) is deep


class TestSize:
    def test_the_limit_is_in_bytes_of_utf_8(self):
        assert encode("é" * 4, key="k", limit=10) == '"éééé"'
        with pytest.raises(TooLarge) as caught:
            encode("é" * 5, key="step", limit=10)
        assert (caught.value.key, caught.value.size, caught.value.limit) == ("step", 12, 10)

    def test_it_holds_for_tagged_values(self):
        with pytest.raises(TooLarge):
            encode((1, 2, 3), key="k", limit=20)
        assert encode((1,), key="k", limit=23)

    def test_surrogates_count_as_escaped(self):
        assert len(encode("\ud800", key="k", limit=8)) == 8
        with pytest.raises(TooLarge):
            encode("\ud800", key="k", limit=7)

    def test_the_default_is_4_mib(self):
        encode("x" * (4 * 1024 * 1024 - 2), key="k")
        with pytest.raises(TooLarge):
            encode("x" * (4 * 1024 * 1024 - 1), key="k")


class TestDecoding:
    @pytest.mark.parametrize(
        "stored",
        [
            "",
            "nothing",
            "[1",
            "[" * 100_000,
            '{"$":"tuple","v":' * 5_000,
            '{"$":"tuple"}',
            '{"$":"nothing","v":1}',
            '{"$":5,"v":1}',
            '{"$":[],"v":1}',
            '{"$":"bytes","v":"?"}',
            '{"$":"date","v":"2025-13-01"}',
            '{"$":"decimal","v":"x"}',
            '{"$":"map","v":[[[],1]]}',
            '{"$":"set","v":[[]]}',
            '{"$":"timedelta","v":[1e300,0,0]}',
            '{"$":"dataclass:Point","v":{"x":1}}',
            '{"$":"os:system","v":"echo"}',
        ],
        ids=range(17),
    )
    def test_a_damaged_text_is_an_error_with_its_key(self, stored):
        with pytest.raises(NotSerializable) as caught:
            decode(stored, key="outer/step")
        assert caught.value.key == "outer/step"

    def test_nothing_is_built_by_its_stored_name(self):
        stored = encode(Point(1.0), shape_of(Point), key="k")
        for shape in (None, shape_of(Color), shape_of(Point | Box) and shape_of(Box | Color)):
            with pytest.raises(NotSerializable, match="Point"):
                decode(stored, shape)

    def test_a_lone_class_may_have_been_renamed(self):
        stored = encode(Point(1.0), shape_of(Point), key="k").replace("Point", "OldPoint")
        assert decode(stored, shape_of(list[Point])) == Point(1.0)
        with pytest.raises(NotSerializable, match="OldPoint"):
            decode(stored, shape_of(Point | Box))


class TestDataclasses:
    def test_a_field_with_a_default_may_be_new_and_another_gone(self):
        @dataclasses.dataclass
        class Now:
            a: int
            b: list[int] = dataclasses.field(default_factory=lambda: [7])
            c: int = dataclasses.field(default=3, init=False)

        assert decode('{"$":"dataclass:Now","v":{"a":1,"old":2}}', shape_of(Now)) == Now(1)

    def test_a_new_field_without_a_default_is_an_error(self):
        with pytest.raises(NotSerializable, match="x"):
            decode('{"$":"dataclass:Point","v":{}}', shape_of(Point))

    def test_post_init_runs_and_the_stored_values_count(self):
        @dataclasses.dataclass
        class Grown:
            size: int
            total: int = dataclasses.field(default=0, init=False)

            def __post_init__(self):
                self.size += 1
                self.helper = "made"

        value = Grown(1)
        value.total = 9
        back = decode(encode(value, shape_of(Grown), key="k"), shape_of(Grown))
        assert (back, back.helper) == (value, "made")

    def test_one_with_an_argument_that_is_no_field(self):
        @dataclasses.dataclass(frozen=True)
        class Scaled:
            size: int
            by: dataclasses.InitVar[int]

            def __post_init__(self, by):
                object.__setattr__(self, "size", self.size * by)

        assert decode(encode(Scaled(2, 3), shape_of(Scaled), key="k"), shape_of(Scaled)) == Scaled(2, 3)

    def test_a_subclass_of_the_annotated_class_is_refused(self):
        @dataclasses.dataclass(frozen=True)
        class Deeper(Point):
            z: float = 0.0

        with pytest.raises(NotSerializable, match="Deeper"):
            encode(Deeper(1.0), shape_of(Point), key="k")

    def test_a_generic_one(self):
        shape = shape_of(Pair[Color] | Pair[Point])
        for value in (Pair(Color.RED, Color.BLUE), Pair(Point(1.0), Point(2.0))):
            assert decode(encode(value, shape, key="k"), shape) == value
        with pytest.raises(NotSerializable) as caught:
            encode(Pair(1, Level.LOW), shape, key="k")
        assert caught.value.path == "$.right"

    def test_two_classes_of_one_name(self):
        shape, turned = shape_of(Point | annotated.Point), shape_of(annotated.Point | Point)
        for value in (Point(1.0), annotated.Point("a")):
            stored = encode(value, shape, key="k")
            assert stored == encode(value, turned, key="k")
            for back in (decode(stored, shape), decode(stored, turned)):
                assert type(back) is type(value)
                assert back == value

    def test_one_field_whose_annotation_is_unknown(self):
        shape = shape_of(annotated.Partly)
        value = annotated.Partly([1], annotated.Point("a"))
        assert decode(encode(value, shape, key="k"), shape) == value

    def test_a_new_field_where_no_init_fills_it(self):
        @dataclasses.dataclass(init=False)
        class Bare:
            a: int
            b: list[int] = dataclasses.field(default_factory=lambda: [7])

        back = decode('{"$":"dataclass:Bare","v":{"a":1}}', shape_of(Bare))
        assert (back.a, back.b) == (1, [7])


class Row(typing.TypedDict):
    color: typing.Required[Color]
    more: "typing.NotRequired[list[Row]]"


Id = typing.NewType("Id", Point)


class TestShapes:
    @pytest.mark.parametrize(
        "annotation",
        [
            Point,
            Point | None,
            typing.Optional[Point],  # noqa: UP045
            list[Point],
            dict[str, list[Point]],
            dict[Point, int],
            tuple[int, Point],
            tuple[Point, ...],
            set[Point],
            Sequence[Point],
            Mapping[str, Point],
            typing.Annotated[Point, "doc"],
            typing.Annotated[list[Point], []],
            Awaitable[Point],
            Coroutine[Any, Any, list[Point]],
            Callable[[Point], int],
            Id,
            typing.Final[Point],
        ],
        ids=range(18),
    )
    def test_a_class_is_found_wherever_it_is(self, annotation):
        shape = shape_of(annotation)
        value = {"a": [Point(1.0)]}
        assert decode(encode(value, shape, key="k"), shape) == value

    @pytest.mark.parametrize(
        "annotation",
        [None, int, dict, Any, list[int], dict[str, Any], typing.Literal["Point"], enum.Enum, NotImplemented],
        ids=brief,
    )
    def test_others_need_none(self, annotation):
        assert shape_of(annotation) is None

    def test_a_literal_of_enum_members(self):
        shape = shape_of(typing.Literal[Color.RED, 1])
        assert decode(encode(Color.RED, shape, key="k"), shape) is Color.RED

    def test_typed_dicts(self):
        value = {"color": Color.RED, "more": [{"color": Color.BLUE}]}
        shape = shape_of(list[Row])
        assert decode(encode([value], shape, key="k"), shape) == [value]

    def test_an_alias_that_holds_itself(self):
        shape = shape_of(annotated.tree_of(Color))
        assert decode(encode([[Color.RED]], shape, key="k"), shape) == [[Color.RED]]

    def test_it_is_cached(self):
        assert shape_of(list[Point]) is shape_of(list[Point])


def gives_point() -> Point: ...


class Methods:
    def method(self) -> "list[Color]": ...

    def __call__(self) -> Point: ...


class TestReturnShape:
    def finds(self, fn: Any, value: Any) -> bool:
        shape = return_shape(fn)
        return shape is not None and type(decode(encode(value, shape, key="k"), shape)) is type(value)

    @pytest.mark.parametrize(
        ("fn", "value"),
        [
            (gives_point, Point(1.0)),
            (functools.partial(gives_point), Point(1.0)),
            (functools.wraps(gives_point)(lambda: None), Point(1.0)),
            (Methods().method, Color.RED),
            (Methods.method, Color.RED),
            (Methods(), Point(1.0)),
            (Point, Point(1.0)),
            (annotated.gives_point, annotated.Point("a")),
            (annotated.gives_points, annotated.Point("a")),
            (annotated.gives_point_soon, annotated.Point("a")),
            (annotated.gives_quoted, annotated.Point("a")),
            (functools.wraps(annotated.gives_points)(lambda: None), annotated.Point("a")),
            (annotated.despite_another_name, annotated.Point("a")),
        ],
        ids=range(13),
    )
    def test_found(self, fn, value):
        assert self.finds(fn, value)
        assert self.finds(fn, value)  # and from the cache

    @pytest.mark.parametrize(
        "fn",
        [
            lambda: 1,
            print,
            len,
            dict,
            annotated.gives_dict,
            annotated.gives_unknown,
            annotated.gives_nothing,
            7,
        ],
    )
    def test_none(self, fn):
        assert return_shape(fn) is None

    def test_a_function_made_again_with_another_local_class(self):
        made = [annotated.local() for _ in range(2)]
        assert made[0][1] is not made[1][1]
        for fn, cls in made:
            assert self.finds(fn, cls(1))

    def test_a_class_that_is_defined_later(self):
        fn, shape = annotated.before_its_class()
        assert shape is None
        assert self.finds(fn, fn()[0])

    def test_a_class_defined_again_is_the_new_one(self):
        scope: dict[str, Any] = {"__name__": __name__, "dataclass": dataclasses.dataclass}
        define = "@dataclass\nclass Export:\n    n: int\n"
        exec("from __future__ import annotations\ndef fn() -> Export: ...\n" + define, scope)  # noqa: S102
        assert self.finds(scope["fn"], scope["Export"](1))
        exec(define, scope)  # noqa: S102
        assert self.finds(scope["fn"], scope["Export"](1))


class TestPydantic:
    @pytest.fixture
    def pydantic(self):
        return pytest.importorskip("pydantic")

    def there_and_back(self, value, annotation=None):
        shape = shape_of(annotation or type(value))
        back = decode(encode([value], shape, key="k"), shape)[0]
        assert type(back) is type(value)
        assert back == value
        return back

    def test_a_model_comes_back_by_its_annotation(self, pydantic):
        class Item(pydantic.BaseModel):
            when: dt.datetime
            price: Decimal
            colors: set[Color]
            extra: dict[str, Any]

        class Order(pydantic.BaseModel):
            items: list[Item]
            note: str | None = pydantic.Field(default=None, alias="theNote")
            url: pydantic.HttpUrl = pydantic.HttpUrl("https://example.com")

        item = Item(when="2025-01-01T00:00:00Z", price="1.50", colors=["red"], extra={"$": [1]})
        back = self.there_and_back(Order(items=[item], theNote="x"), Order | None)
        assert back.items[0].colors == {Color.RED}

    def test_a_model_in_a_dataclass(self, pydantic):
        class Item(pydantic.BaseModel):
            n: int

        Holder = dataclasses.make_dataclass("Holder", [("item", Item)])
        self.there_and_back(Holder(Item(n=1)))

    def test_a_strict_and_a_root_model(self, pydantic):
        class Strict(pydantic.BaseModel, strict=True, frozen=True):
            day: dt.date
            raw: bytes = b"a"

        self.there_and_back(Strict(day=dt.date(2025, 1, 1)))
        self.there_and_back(pydantic.RootModel[list[Strict]]([Strict(day=dt.date(2025, 1, 1))]))

    def test_without_an_annotation_it_is_refused(self, pydantic):
        class Item(pydantic.BaseModel):
            n: int

        with pytest.raises(NotSerializable, match="annotate the return type"):
            encode({"a": Item(n=1)}, key="k")

    def test_a_model_that_its_own_json_changes_is_refused(self, pydantic):
        class Loose(pydantic.BaseModel):
            anything: Any = None
            secret: pydantic.SecretStr = pydantic.SecretStr("")

        for value in (
            Loose(anything=(1, 2)),
            Loose(anything=Decimal(1)),
            Loose(secret=pydantic.SecretStr("x")),
        ):
            with pytest.raises(NotSerializable, match="Loose") as caught:
                encode({"a": value}, shape_of(Loose), key="k")
            assert caught.value.path == "$.a"


def test_slow_modules_are_imported_on_need_only():
    for module in (durable_lite.codec, durable_lite.shapes):
        assert not {"datetime", "decimal", "uuid", "zoneinfo", "pydantic"} & set(vars(module))


def test_as_data_needs_no_class():
    value = [Color.RED, Point(1, 2), {"a": (1, 2)}]
    text = encode(value, shape_of(list[Color | Point | dict[str, Any]]), key="k")
    assert as_data(text) == ["RED", {"x": 1, "y": 2}, {"a": (1, 2)}]
    with pytest.raises(NotSerializable):
        decode(text)
