"""A job's payload by its annotation: what is accepted, what is reported, what is stored, its schema."""

import base64
import collections
import dataclasses
import datetime as dt
import enum
import json
import typing
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, NotRequired, Required, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_lite.brief import brief
from durable_lite.errors import InvalidOption, InvalidPayload, NotSerializable, TooLarge
from durable_lite.payloads import PayloadType
from tests.unit import annotated

UUID = uuid.UUID(int=7)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Shape(enum.Enum):
    LINE = (1, 2)
    DOT = ()


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Page:
    number: int
    title: str | None = None


@dataclasses.dataclass(frozen=True)
class Export:
    org: str
    pages: int
    rate: float = 1.0
    color: Color = Color.RED
    cover: Page | None = None
    more: list[Page] = dataclasses.field(default_factory=list)
    made: int = dataclasses.field(default=0, init=False)

    def __post_init__(self):
        if self.pages < 0:
            raise ValueError("pages must not be negative")


@dataclasses.dataclass
class Node:
    name: str
    children: "list[Node]" = dataclasses.field(default_factory=list)


T = typing.TypeVar("T")


@dataclasses.dataclass
class Batch(typing.Generic[T]):
    items: list[T]


class Base(TypedDict):
    id: int


class Row(Base, total=False):
    name: str
    when: Required[dt.date]
    tags: NotRequired[list[str]]


def payload_type(annotation: Any, **default: Any) -> PayloadType:
    def fn(ctx, payload): ...

    if default:

        def fn(ctx, payload=default["default"]): ...

    fn.__annotations__ = {"payload": annotation}
    return PayloadType(fn, "a_job")


def problems_of(annotation: Any, value: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidPayload) as caught:
        payload_type(annotation).validate(value)
    assert caught.value.job == "a_job"
    return [tuple(problem) for problem in caught.value.problems]


NOW = dt.datetime(2025, 3, 1, 9, 30, tzinfo=dt.UTC)

ACCEPTED = [
    (Any, {"a": [1, None]}, {"a": [1, None]}),
    (object, 1, 1),
    (dict, {"a": 1}, {"a": 1}),
    (Mapping, {"a": 1}, {"a": 1}),
    (list, [1, "a"], [1, "a"]),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (Mapping[str, list[int]], {"a": [1]}, {"a": [1]}),
    (dict[int, str], {1: "a"}, {1: "a"}),
    (dict[Color, int], {"red": 1}, {Color.RED: 1}),
    (Sequence[int], [1], [1]),
    (Sequence[int], (1,), (1,)),
    (set[int], [1, 1], {1}),
    (frozenset[str], ["a"], frozenset("a")),
    (set, {1}, {1}),
    (tuple, [1, "a"], (1, "a")),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[()], [], ()),
    (str, "a", "a"),
    (int, 2**70, 2**70),
    (float, 1.5, 1.5),
    (float, 1, 1.0),
    (bool, True, True),
    (None, None, None),
    (int | None, None, None),
    (typing.Optional[int], 1, 1),  # noqa: UP045
    (float | int, 1, 1),
    (int | float, 1.0, 1.0),
    (int | bool, True, True),
    (dt.datetime | str, NOW.isoformat(), NOW),
    (str | dt.datetime, NOW.isoformat(), NOW.isoformat()),
    (Literal["a", 1], 1, 1),
    (Literal[Color.RED], "red", Color.RED),
    (Color, "blue", Color.BLUE),
    (Color, Color.BLUE, Color.BLUE),
    (Level, 2, Level.HIGH),
    (Shape, "LINE", Shape.LINE),
    (dt.datetime, "2025-03-01T09:30:00Z", NOW),
    (dt.datetime, NOW, NOW),
    (dt.date, "2025-03-01", dt.date(2025, 3, 1)),
    (dt.timedelta, 90.5, dt.timedelta(seconds=90.5)),
    (dt.timedelta, dt.timedelta(1), dt.timedelta(1)),
    (Decimal, "1.50", Decimal("1.50")),
    (Decimal, 0.1, Decimal("0.1")),
    (Decimal, 3, Decimal(3)),
    (uuid.UUID, str(UUID), UUID),
    (bytes, base64.b64encode(b"\x00\xff").decode(), b"\x00\xff"),
    (bytes, b"raw", b"raw"),
    (typing.Annotated[int, "doc"], 1, 1),
    (typing.NewType("Id", int), 1, 1),
    (Page, {"number": 1}, Page(1)),
    (Page, Page(1, "t"), Page(1, "t")),
    (Page | None, None, None),
    (list[Page], [{"number": 1, "title": "t"}, Page(2)], [Page(1, "t"), Page(2)]),
    (
        Export,
        {"org": "a", "pages": 2, "rate": 2, "color": "blue", "cover": {"number": 1}, "more": [{"number": 2}]},
        Export("a", 2, 2.0, Color.BLUE, Page(1), [Page(2)]),
    ),
    (Node, {"name": "a", "children": [{"name": "b"}]}, Node("a", [Node("b")])),
    (Batch[Page], {"items": [{"number": 1}]}, Batch([Page(1)])),
    (Batch, {"items": [1, "a"]}, Batch([1, "a"])),
    (Row, {"id": 1, "when": "2025-03-01"}, {"id": 1, "when": dt.date(2025, 3, 1)}),
    (
        Row,
        {"id": 1, "name": "n", "when": "2025-03-01", "tags": ["t"]},
        {"id": 1, "name": "n", "when": dt.date(2025, 3, 1), "tags": ["t"]},
    ),
    (Page | Export, {"org": "a", "pages": 1}, Export("a", 1)),
]


def ids(cases: list[Any]) -> list[str]:
    return [f"{index}-{getattr(case[0], '__name__', case[0])}" for index, case in enumerate(cases)]


@pytest.mark.parametrize(("annotation", "value", "expected"), ACCEPTED, ids=ids(ACCEPTED))
class TestAccepted:
    def test_converts(self, annotation, value, expected):
        result = payload_type(annotation).validate(value)
        assert result == expected
        assert type(result) is type(expected)

    def test_what_was_converted_is_accepted_again_unchanged(self, annotation, value, expected):
        known = payload_type(annotation)
        assert known.validate(known.validate(value)) == expected

    def test_is_stored_and_read_back(self, annotation, value, expected):
        known = payload_type(annotation)
        back = known.decode(known.encode(known.validate(value)))
        assert back == expected
        assert type(back) is type(expected)

    def test_has_a_schema_in_json(self, annotation, value, expected):
        schema = payload_type(annotation).json_schema()
        assert json.loads(json.dumps(schema)) == schema
        refs = {part["$ref"] for part in walk(schema) if "$ref" in part}
        assert refs <= {f"#/$defs/{name}" for name in schema.get("$defs", {})}


def is_json(value: Any) -> bool:
    try:
        return json.loads(json.dumps(value)) == value
    except TypeError:
        return False


FROM_A_PAGE = [case for case in ACCEPTED if is_json(case[1])]


@pytest.mark.parametrize(("annotation", "value", "expected"), FROM_A_PAGE, ids=ids(FROM_A_PAGE))
def test_a_page_may_store_plain_json(annotation, value, expected):
    back = payload_type(annotation).decode(json.dumps(value))
    assert back == expected
    assert type(back) is type(expected)


def walk(schema: Any) -> typing.Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for part in schema.values():
            yield from walk(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from walk(part)


REFUSED = [
    (int, "x", [("$", "expected int, got str 'x'")]),
    (int, True, [("$", "expected int, got bool True")]),
    (int, 1.0, [("$", "expected int, got float 1.0")]),
    (int, None, [("$", "expected int, got None")]),
    (int, Level.LOW, [("$", "expected int, got Level <Level.LOW: 1>")]),
    (float, True, [("$", "expected float, got bool True")]),
    (float, "1", [("$", "expected float, got str '1'")]),
    (float, 10**400, [("$", f"expected float, got int {brief(10**400)}")]),
    (bool, 1, [("$", "expected bool, got int 1")]),
    (str, 1, [("$", "expected str, got int 1")]),
    (None, 0, [("$", "expected None, got int 0")]),
    (dict, [], [("$", "expected dict, got list []")]),
    (dict, collections.OrderedDict(), [("$", "expected dict, got OrderedDict OrderedDict()")]),
    (list, (), [("$", "expected list, got tuple ()")]),
    (list[int], "ab", [("$", "expected list[int], got str 'ab'")]),
    (list[int], [1, "x", 2, None], [
        ("$[1]", "expected int, got str 'x'"),
        ("$[3]", "expected int, got None"),
    ]),
    (dict[str, int], {"a": "x", "b c": None}, [
        ("$.a", "expected int, got str 'x'"),
        ("$['b c']", "expected int, got None"),
    ]),
    (dict[str, int], {1: 1}, [("$[1] (the key)", "expected str, got int 1")]),
    (tuple[int, str], [1], [("$", "expected tuple of 2 items, got list [1]")]),
    (tuple[int, str], ["a", 1], [("$[0]", "expected int, got str 'a'"), ("$[1]", "expected str, got int 1")]),
    (int | str, None, [("$", "expected int | str, got None")]),
    (int | None, "x", [("$", "expected int | None, got str 'x'")]),
    (Page | None, {"number": "x"}, [("$.number", "expected int, got str 'x'")]),
    (list[int] | None, ["x"], [("$[0]", "expected int, got str 'x'")]),
    (Literal["a", 1], True, [("$", 'expected "a" | 1, got bool True')]),
    (Color, "green", [("$", 'expected Color ("red" | "blue"), got str \'green\'')]),
    (Level, True, [("$", "expected Level (1 | 2), got bool True")]),
    (dt.datetime, "yesterday", [("$", "expected datetime (as ISO 8601 text), got str 'yesterday'")]),
    (dt.datetime, 0, [("$", "expected datetime (as ISO 8601 text), got int 0")]),
    (dt.date, NOW, [("$", f"expected date (as ISO 8601 text), got datetime {brief(NOW)}")]),
    (dt.timedelta, "5m", [("$", "expected timedelta (as seconds), got str '5m'")]),
    (dt.timedelta, 1e300, [("$", "expected timedelta (as seconds), got float 1e+300")]),
    (dt.timedelta, float("nan"), [("$", "expected timedelta (as seconds), got float nan")]),
    (Decimal, "x", [("$", "expected Decimal (as text or a number), got str 'x'")]),
    (Decimal, True, [("$", "expected Decimal (as text or a number), got bool True")]),
    (Decimal, float("inf"), [("$", "expected Decimal (as text or a number), got float inf")]),
    (uuid.UUID, "7", [("$", "expected UUID (as text), got str '7'")]),
    (bytes, "?", [("$", "expected bytes (as base64 text), got str '?'")]),
    (Page, 1, [("$", "expected Page, got int 1")]),
    (Page, Node("a"), [("$", "expected Page, got Node Node(name='a', children=[])")]),
    (Export, {"org": 1, "pages": "x", "page": 1, "cover": {"title": 1}, "more": [{}]}, [
        ("$.org", "expected str, got int 1"),
        ("$.pages", "expected int, got str 'x'"),
        ("$.page", "Export has no such field"),
        ("$.cover.title", "expected str | None, got int 1"),
        ("$.cover.number", "is missing"),
        ("$.more[0].number", "is missing"),
    ]),
    (Export, {"org": "a", "pages": -1}, [("$", "pages must not be negative")]),
    (Export, {"org": "a", "pages": 1, "made": 1}, [("$.made", "Export has no such field")]),
    (Node, {"name": "a", "children": [{"name": "b", "children": [{}]}]}, [
        ("$.children[0].children[0].name", "is missing"),
    ]),
    (Batch[int], {"items": ["x"]}, [("$.items[0]", "expected int, got str 'x'")]),
    (Row, {"name": 1, "x y": 1}, [
        ("$.name", "expected str, got int 1"),
        ("$['x y']", "Row has no such field"),
        ("$.id", "is missing"),
        ("$.when", "is missing"),
    ]),
    (Row, {1: 2, "id": 1, "when": "2025-03-01"}, [("$[1]", "Row has no such field")]),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "problems"), REFUSED, ids=ids(REFUSED))
def test_refused_with_the_path_to_each_bad_field(annotation, value, problems):
    found = problems_of(annotation, value)
    assert sorted(found) == sorted(problems)


class TestAnAliasThatHoldsItself:
    def test_values(self):
        tree = annotated.tree_of(Color)
        assert payload_type(tree).validate(["red", [["blue"]]]) == [Color.RED, [[Color.BLUE]]]
        assert problems_of(tree, ["red", [["green"]]]) == [
            ("$[1][0][0]", 'expected Color ("red" | "blue") | list[Tree], got str \'green\'')
        ]

    def test_schema(self):
        assert payload_type(annotated.tree_of(Color)).json_schema() == {
            "$ref": "#/$defs/Tree",
            "$defs": {
                "Tree": {
                    "anyOf": [{"enum": ["red", "blue"]}, {"type": "array", "items": {"$ref": "#/$defs/Tree"}}]
                }
            },
        }


class TestLargeAndOdd:
    def test_an_item_that_no_set_can_hold(self):
        ((path, message),) = problems_of(set[Any], [[]])
        assert path == "$"
        assert "unhashable type: 'list'" in message  # Python says it in its own words

    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            (int, "x" * 1_000_000),
            (int, ["x"] * 1_000_000),
            (str, 10**5000),
            (str, {"k" * 1_000_000: 1}),
            (Page, {"k" * 1_000_000: 1}),
            (list[int], ["x"] * 100_000),
            (dict[str, int], {str(n): "x" for n in range(100_000)}),
            (Page, {f"field{n}": 1 for n in range(100_000)}),
            (Color, "x" * 1_000_000),
            (Literal["a"], b"x" * 1_000_000),
            (list[list[int]], [["x"] * 100] * 1000),
        ],
        ids=range(11),
    )
    def test_a_huge_value_has_a_short_message(self, annotation, value):
        with pytest.raises(InvalidPayload) as caught:
            payload_type(annotation).validate(value)
        assert len(str(caught.value)) < 4000
        assert len(caught.value.problems) <= 21

    def test_a_repr_that_fails(self):
        class Odd:
            def __repr__(self):
                raise RuntimeError

        ((path, message),) = problems_of(int, Odd())
        assert (path, message[:21]) == ("$", "expected int, got Odd")

    def test_too_deep(self):
        value: Any = {"name": "a"}
        for _ in range(600):  # two frames each
            value = {"name": "a", "children": [value]}
        ((path, message),) = problems_of(Node, value)
        assert (path, message) == ("$", "nested too deeply")

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5
        )
    )
    def test_any_json_is_accepted_or_refused(self, value):
        for annotation, *_ in ACCEPTED:
            try:
                known = payload_type(annotation)
                known.encode(known.validate(value))
            except InvalidPayload as error:
                assert error.problems  # noqa: PT017


class TestTheFunction:
    def test_no_payload(self):
        known = PayloadType(lambda ctx: None, "a_job")
        assert not known.takes
        assert known.validate(None) is None
        assert known.validate({}) is None
        assert known.decode(known.encode(None)) is None
        with pytest.raises(InvalidPayload, match="takes no payload"):
            known.validate({"a": 1})
        assert known.json_schema() == {"type": ["null", "object"], "maxProperties": 0}

    def test_no_annotation(self):
        known = PayloadType(lambda ctx, payload: None, "a_job")
        assert known.takes
        for value in (None, 1, {"a": (1, NOW)}):
            assert known.decode(known.encode(known.validate(value))) == value
        with pytest.raises(NotSerializable, match="payload of a_job"):
            known.encode(Page(1))
        assert known.json_schema() == {}

    def test_a_default_is_taken_when_none_is_given(self):
        known = payload_type(Page, default=Page(7))
        assert known.validate(None) == Page(7)
        assert known.decode(known.encode(known.validate(None))) == Page(7)
        assert known.validate({"number": 1}) == Page(1)
        assert payload_type(Page | None, default=None).validate(None) is None
        assert problems_of(Page, None) == [("$", "expected Page, got None")]

    def test_further_parameters_need_defaults(self):
        assert PayloadType(lambda ctx, payload, more=1, *args, other=2, **kwargs: None, "a_job").takes
        for fn in (
            lambda: None,
            lambda ctx, payload, more: None,
            lambda ctx, *, more: None,
            lambda **kwargs: None,
        ):
            with pytest.raises(InvalidOption, match="a job takes its context and at most one payload"):
                PayloadType(fn, "a_job")

    def test_a_method(self):
        class Jobs:
            async def run(self, ctx, payload: Page): ...

        assert PayloadType(Jobs().run, "a_job").validate({"number": 1}) == Page(1)

    def test_an_annotation_as_text_may_name_what_comes_later(self):
        known = PayloadType(annotated.takes_late, "a_job")
        value = known.validate({"points": [{"name": "a"}], "after": {"points": []}})
        assert value == annotated.Late([annotated.Point("a")], annotated.Late([]))
        assert known.decode(known.encode(value)) == value

    def test_one_that_cant_be_resolved(self):
        known = PayloadType(annotated.takes_missing, "a_job")
        for use in (lambda: known.validate({}), lambda: known.encode({}), lambda: known.json_schema()):
            with pytest.raises(InvalidOption, match="Missing") as caught:
                use()
            assert caught.value.option == "payload of a_job"

    @pytest.mark.parametrize(
        "annotation",
        [
            complex,
            type,
            collections.OrderedDict,
            collections.deque[int],
            list[complex],
            typing.Callable[[], int],
            7,
        ],
        ids=range(7),
    )
    def test_one_without_a_json_form(self, annotation):
        with pytest.raises(InvalidOption, match="has no JSON form"):
            payload_type(annotation).validate(1)


class TestAField:
    def test_whose_annotation_cant_be_resolved(self):
        with pytest.raises(InvalidOption, match=r"the annotation of Partly\.missing can't be resolved"):
            payload_type(annotated.Partly).validate({})


class TestStored:
    def test_text(self):
        known = payload_type(Export)
        text = known.encode(known.validate({"org": "a", "pages": 1}))
        assert json.loads(text) == {
            "$": "dataclass:Export",
            "v": {
                "org": "a",
                "pages": 1,
                "rate": 1.0,
                "color": {"$": "enum:Color", "v": "RED"},
                "cover": None,
                "more": [],
                "made": 0,
            },
        }

    def test_the_limit(self):
        with pytest.raises(TooLarge, match="payload of a_job"):
            payload_type(str).encode("x" * 100, limit=100)

    @pytest.mark.parametrize(
        "text", ["nothing", '{"org":1}', '{"$":"x","v":1}', '{"$":"dataclass:Other","v":{}}', "[" * 100_000],
        ids=range(5),
    )  # fmt: skip
    def test_a_text_that_doesnt_fit_is_an_invalid_payload(self, text):
        with pytest.raises(InvalidPayload, match="a_job"):
            payload_type(Export).decode(text)


class TestSchema:
    @pytest.mark.parametrize(
        ("annotation", "schema"),
        [
            (int, {"type": "integer"}),
            (list[str], {"type": "array", "items": {"type": "string"}}),
            (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
            (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
            (
                dict[Color, Any],
                {"type": "object", "propertyNames": {"enum": ["red", "blue"]}},
            ),
            (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
            (Literal["a", 1], {"enum": ["a", 1]}),
            (dt.datetime, {"type": "string", "format": "date-time"}),
            (
                tuple[int, str],
                {
                    "type": "array",
                    "prefixItems": [{"type": "integer"}, {"type": "string"}],
                    "minItems": 2,
                    "maxItems": 2,
                },
            ),
            (
                Row,
                {
                    "title": "Row",
                    "type": "object",
                    "properties": {
                        "id": {"type": "integer"},
                        "name": {"type": "string"},
                        "when": {"type": "string", "format": "date"},
                        "tags": {"type": "array", "items": {"type": "string"}},
                    },
                    "required": ["id", "when"],
                    "additionalProperties": False,
                },
            ),
        ],
        ids=range(10),
    )
    def test_schema(self, annotation, schema):
        assert payload_type(annotation).json_schema() == schema

    def test_a_class_that_holds_itself_and_another_one(self):
        schema = payload_type(Node).json_schema()
        assert schema["title"] == "Node"
        assert schema["properties"]["children"] == {"type": "array", "items": {"$ref": "#/$defs/Node"}}
        assert schema["$defs"]["Node"]["required"] == ["name"]

    def test_two_classes_of_one_name(self):
        other = dataclasses.make_dataclass("Page", [("text", str)])
        schema = payload_type(dict[str, Page | other]).json_schema()
        assert schema["additionalProperties"] == {
            "anyOf": [{"$ref": "#/$defs/Page"}, {"$ref": "#/$defs/Page_"}]
        }
        assert list(schema["$defs"]["Page_"]["properties"]) == ["text"]


class TestPydantic:
    @pytest.fixture
    def pydantic(self):
        return pytest.importorskip("pydantic")

    @pytest.fixture
    def model(self, pydantic):
        class Item(pydantic.BaseModel):
            number: int = pydantic.Field(gt=0, alias="no")

        class Order(pydantic.BaseModel):
            model_config = pydantic.ConfigDict(extra="forbid", strict=True)
            day: dt.date
            items: list[Item] = pydantic.Field(default_factory=list)

        return Order

    def test_converts_and_comes_back(self, model):
        known = payload_type(model)
        value = known.validate({"day": "2025-03-01", "items": [{"no": 1}]})
        assert value == model(day=dt.date(2025, 3, 1), items=[{"no": 1}])
        assert known.validate(value) is value
        assert known.decode(known.encode(value)) == value
        assert known.decode('{"day":"2025-03-01","items":[{"no":1}]}') == value

    def test_what_only_python_can_give(self, model):
        assert payload_type(model).validate({"day": dt.date(2025, 3, 1)}) == model(day=dt.date(2025, 3, 1))

    def test_problems(self, model):
        found = problems_of(dict[str, model], {"a": {"items": [{"no": 0}, {}], "x y": 1}})
        assert [path for path, _ in found] == ["$.a.day", "$.a.items[0].no", "$.a.items[1].no", "$.a['x y']"]
        assert found[0][1] == "Field required"

    def test_a_huge_value_has_a_short_message(self, model):
        with pytest.raises(InvalidPayload) as caught:
            payload_type(model).validate({"day": "x" * 10**6, "items": [{}] * 10**4})
        assert len(str(caught.value)) < 4000

    def test_schema(self, model):
        schema = payload_type(list[model]).json_schema()
        assert schema["items"]["required"] == ["day"]
        assert schema["$defs"]["Item"]["properties"]["no"]["exclusiveMinimum"] == 0
