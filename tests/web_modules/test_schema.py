"""The page's check of a payload against the claim's: what Python takes, the page never refuses."""

import datetime as dt
import enum
import json
import typing
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durable_lite.errors import InvalidPayload
from durable_lite.payloads import PayloadType
from tests.unit import annotated
from tests.unit.test_payloads import (
    FROM_A_PAGE,
    REFUSED,
    Batch,
    Color,
    Export,
    Level,
    Node,
    Page,
    Row,
    Shape,
    ids,
    is_json,
    payload_type,
)
from tests.web_modules import javascript


def accepts(known: PayloadType, text: str) -> bool:
    try:
        known.decode(text)
    except InvalidPayload:
        return False
    return True


def problems(node: Any, known: PayloadType, told: Any) -> list[tuple[str, str]]:
    found = node("problems", json.dumps(known.json_schema()), told)
    return [(one["path"], one["message"]) for one in found]


def sent(value: Any) -> Any:
    """JSON as a page has it, where 1.0 is 1."""
    return javascript.decoded(value)


@pytest.mark.parametrize(("annotation", "value", "expected"), FROM_A_PAGE, ids=ids(FROM_A_PAGE))
def test_what_python_takes_the_page_takes(node, annotation, value, expected):
    assert problems(node, payload_type(annotation), sent(value)) == []


# What a schema doesn't say, or JSON text can't: the claim alone refuses it.
ONLY_THE_CLAIM = [
    (int, 1.0),  # in JavaScript this is 1
    (float, 10**400),
    (dt.datetime, "yesterday"),
    (dt.timedelta, 1e300),
    (dt.timedelta, float("nan")),
    (Decimal, "x"),
    (Decimal, float("inf")),
    (UUID, "7"),
    (bytes, "?"),
    (Export, {"org": "a", "pages": -1}),  # by its __post_init__
]
BY_BOTH = [
    (annotation, value, paths)
    for annotation, value, paths in REFUSED
    if is_json(value)
    and type(value) is not OrderedDict
    and not any(annotation is a and value == v for a, v in ONLY_THE_CLAIM)
]


@pytest.mark.parametrize(("annotation", "value", "found"), BY_BOTH, ids=ids(BY_BOTH))
def test_what_both_refuse_has_the_same_paths(node, annotation, value, found):
    assert sorted({path for path, _ in problems(node, payload_type(annotation), sent(value))}) == sorted(
        {path for path, _ in found}
    )


@pytest.mark.parametrize(("annotation", "value"), ONLY_THE_CLAIM, ids=ids(ONLY_THE_CLAIM))
def test_what_only_the_claim_refuses(node, annotation, value):
    assert problems(node, payload_type(annotation), sent(value)) == []


def test_messages(node):
    known = payload_type(Export)
    value = {"org": 1, "pages": "x", "page": 1, "color": "green", "cover": {"title": 1}, "more": [{}]}
    assert problems(node, known, sent(value)) == [
        ("$.org", "expected string, got number 1"),
        ("$.pages", "expected integer, got string 'x'"),
        ("$.page", "Export has no such field"),
        ("$.color", 'expected "red" | "blue", got string \'green\''),
        ("$.cover.title", "expected string | null, got number 1"),
        ("$.cover.number", "is missing"),
        ("$.more[0].number", "is missing"),
    ]
    assert problems(node, payload_type(Page | int), "x") == [("$", "expected Page | integer, got string 'x'")]


def test_at_most_twenty_and_short(node):
    known = payload_type(list[list[int]])
    found = problems(node, known, sent([["x" * 10_000] * 30] * 30))
    assert len(found) == 20
    assert all(len(message) < 150 for _, message in found)
    assert len(problems(node, payload_type(Page), sent({f"f{n}": 1 for n in range(99)}))) == 20


# Any JSON against any annotation.

annotations = [
    *(Any, dict, list, str, int, float, bool, None, int | None, str | int | None, list[int], set[int]),
    *(dict[str, int], Mapping[str, list[int]], dict[int, str], dict[Color, int], Sequence[int | str]),
    *(frozenset[str], tuple[int, str], tuple[int, ...], tuple[()], Literal["a", 1, True, None], Color, Level),
    *(
        Shape,
        Page,
        Page | None,
        list[Page],
        Node,
        Batch[Page],
        Batch[int],
        Row,
        Page | Export,
        list[int] | Page,
    ),
    *(annotated.tree_of(int), dict[str, Page | list[int]], typing.Annotated[int, "doc"]),
    *(Export,),
]
types = [payload_type(annotation) for annotation in annotations]
keys = st.sampled_from(
    ["a", "number", "title", "name", "children", "items", "org", "pages", "more", "id", "when", "red", "1"]
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.integers()
    | st.floats(-5, 5).filter(lambda value: not value.is_integer())
    | st.sampled_from(["a", "red", "LINE", "x", "2025-03-01", ""])
)
documents = st.recursive(
    leaves,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(keys, part, max_size=3),
    max_leaves=6,
)
likely = st.fixed_dictionaries(
    {},
    optional={
        "number": st.integers() | st.none(),
        "title": st.text(max_size=2) | st.none(),
        "name": st.text(max_size=2),
        "children": st.lists(st.fixed_dictionaries({"name": st.text(max_size=2)}), max_size=2),
        "items": st.lists(st.integers() | st.fixed_dictionaries({"number": st.integers()}), max_size=2),
        "org": st.text(max_size=2),
        "pages": st.integers(0, 5),
        "id": st.integers(),
        "when": st.just("2025-03-01"),
        "tags": st.lists(st.text(max_size=1), max_size=2),
    },
)


@given(value=documents | likely, index=st.integers(0, len(types) - 1))
@example(value={"id": 1, "when": "soon"}, index=annotations.index(Row))
def test_any_json(node, value, index):
    known = types[index]
    text = json.dumps(value)
    page = problems(node, known, sent(value)) == []
    claim = accepts(known, text)
    if claim:
        assert page
    elif page:
        assert annotations[index] is Row or annotations[index] in (Page | Export, Export)
        assert "when" in text or "pages" in text  # no date; less than none


# Pydantic: it also converts, which no schema says; where the types are right both agree.


class Kind(enum.Enum):
    A = "a"
    B = "b"


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int = pydantic.Field(ge=1, le=9)


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    tricks: tuple[str, int] | None = None


class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    name: str = pydantic.Field(min_length=2, max_length=4, pattern=r"^[a-z🙂]+$")
    count: int = pydantic.Field(gt=0, lt=10)
    pet: Cat | Dog = pydantic.Field(discriminator="kind")
    kind: Kind = Kind.A
    sizes: list[float] = pydantic.Field(default=[], min_length=1, max_length=2)
    when: dt.datetime | None = None
    by: dict[str, Cat] = {}
    colors: set[str] = set()
    inner: "list[Order]" = []


GOOD: dict[str, Any] = {"name": "ab", "count": 1, "pet": {"kind": "cat", "lives": 9}}


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        ({}, []),
        ({"name": "🙂🙂🙂🙂"}, []),
        ({"name": "a"}, ["$.name"]),
        ({"name": "abcde"}, ["$.name"]),
        ({"name": "AB"}, ["$.name"]),
        ({"count": 0}, ["$.count"]),
        ({"count": 10}, ["$.count"]),
        ({"count": 1.5}, ["$.count"]),
        ({"count": None}, ["$.count"]),
        ({"pet": {"kind": "dog"}}, []),
        ({"pet": {"kind": "dog", "tricks": ["a", 1], "more": 1}}, []),
        ({"pet": {"kind": "dog", "tricks": ["a"]}}, ["$.pet"]),
        ({"pet": {"kind": "cow"}}, ["$.pet"]),
        ({"pet": {"kind": "cat", "lives": 10}}, ["$.pet"]),
        ({"kind": "b"}, []),
        ({"kind": "c"}, ["$.kind"]),
        ({"sizes": []}, ["$.sizes"]),
        ({"sizes": [1, 2.5]}, []),
        ({"sizes": [1, 2, 3]}, ["$.sizes"]),
        ({"when": "2025-03-01T00:00:00Z"}, []),
        ({"by": {"x": {"kind": "cat", "lives": 1}}}, []),
        ({"by": {"x": {"kind": "cat"}}}, ["$.by.x.lives"]),
        ({"colors": ["a", "a"]}, []),
        ({"inner": [GOOD]}, []),
        ({"inner": [{**GOOD, "count": 77}]}, ["$.inner[0].count"]),
        ({"other": 1}, ["$.other"]),
    ],
    ids=str,
)
def test_pydantic(node, change, paths):
    known = payload_type(Order)
    value = {**GOOD, **change}
    found = {
        path.partition(".pet.")[0] + (".pet" if ".pet." in path else "")
        for path, _ in problems(node, known, sent(value))
    }
    assert sorted(found) == paths
    assert accepts(known, json.dumps(value)) is (not paths)


@pytest.mark.parametrize(
    "change", [{"count": "5"}, {"count": True}, {"sizes": ["1.5"]}, {"when": 1740787200}], ids=str
)
def test_what_pydantic_converts_the_page_refuses(node, change):
    value = {**GOOD, **change}
    assert accepts(payload_type(Order), json.dumps(value))
    assert problems(node, payload_type(Order), sent(value))


# Values that JSON doesn't have: stored with tags, which the claim reads.

DATE = ["Date", 1740821400000]
BYTES = ["Uint8Array", "00ff"]


@pytest.mark.parametrize(
    ("annotation", "told", "page"),
    [
        (dt.datetime, DATE, True),
        (dt.date, DATE, False),
        (str, DATE, False),
        (dict, DATE, False),
        (bytes, BYTES, True),
        (str, BYTES, False),
        (list, BYTES, False),
        (set[int], ["Set", [javascript.number(1)]], True),
        (set[int], ["Set", ["x"]], False),
        (list[int], ["Set", [javascript.number(1)]], False),
        (dict, ["Set", []], False),
        (dict[int, str], ["Map", [[javascript.number(1), "a"]]], True),
        (dict[int, str], ["Map", [["1", "a"]]], False),
        (dict[str, int], ["Map", [["a", javascript.number(1)]]], True),
        (Page, ["Map", [["number", javascript.number(1)]]], True),
        (Page, ["Map", [["title", "t"]]], False),
        (int, ["bigint", str(2**80)], True),
        (float, ["bigint", "1"], True),
        (str, ["bigint", "1"], False),
        (int, javascript.number(2.0**60), False),
        (float, javascript.number(2.0**60), True),
        (float, javascript.number(float("nan")), True),
        (Any, ["Map", []], True),
        (dict, ["Array", []], False),
        (Page, ["Object", [["number", javascript.number(1)], ["title", ["undefined", None]]]], True),
        (Page, ["Object", [["number", ["undefined", None]]]], False),
        (Order, ["Object", [*javascript.decoded(GOOD)[1], ["when", DATE]]], True),
    ],
    ids=str,
)
def test_values_with_a_tag(node, annotation, told, page):
    known = payload_type(annotation)
    assert (problems(node, known, told) == []) is page
    assert accepts(known, node("encode", told)) is page


def test_a_job_without_a_payload(node):
    async def job(ctx): ...

    known = PayloadType(job, "a_job")
    for told, page in [
        (None, True),
        (["Object", []], True),
        (javascript.given({"a": 1}), False),
        ("", False),
    ]:
        assert (problems(node, known, told) == []) is page
        assert accepts(known, node("encode", told)) is page


@pytest.mark.parametrize(
    ("schema", "value", "bad"),
    [
        (True, 1, False),
        (False, 1, True),
        ({"new": 1, "type": "newer", "format": "x"}, 1, False),
        ({"pattern": "(?P<a>x)"}, "y", False),
        ({"pattern": "^é"}, "éa", False),
        ({"$ref": "https://example.org/x"}, 1, False),
        ({"$ref": "#/$defs/missing"}, 1, False),
        ({"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": {"type": "null"}}}, 1, True),
        ({"items": {"$ref": "#"}, "type": "array"}, [[], [[]]], False),
        ({"items": {"$ref": "#"}, "type": "array"}, [[], [1]], True),
        ({"$ref": "#"}, 1, True),  # it never ends
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, 3, True),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 1, False),
        ({"const": {"a": [1]}}, {"a": [1]}, False),
        ({"const": None}, 0, True),
        ({"enum": [1, "a"]}, True, True),
        ({"prefixItems": [{"type": "null"}], "items": False}, [None], False),
        ({"prefixItems": [{"type": "null"}], "items": False}, [None, None], True),
        ({"properties": {"toString": {"type": "null"}}, "required": ["valueOf"]}, {"valueOf": 1}, False),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"toString": 1}, True),
        ({"propertyNames": {"maxLength": 1}}, {"ab": 1}, True),
        ({"patternProperties": {"^x": {}}, "additionalProperties": False}, {"x": 1}, False),
        ({"minProperties": 1}, {}, True),
        ({"minLength": 2}, "🙂", True),
        ({"exclusiveMinimum": 1}, 1, True),
        ({"exclusiveMaximum": 1}, 1, True),
        ({"minimum": 1, "minLength": 9, "minItems": 9, "required": ["a"]}, True, False),
    ],
    ids=str,
)
def test_keywords(node, schema, value, bad):
    assert bool(node("problems", json.dumps(schema), sent(value))) is bad
