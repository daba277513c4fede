"""Values go from Python to JavaScript and back as web/values.mjs says."""

import datetime as dt
import json
import math

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from durable_lite import codec
from durable_lite.errors import NotSerializable
from tests.unit.test_codec import ALL, described, shaped, text, values
from tests.web_modules.javascript import decoded, in_order, number, stored, written
from tests.web_modules.node import Refused


class TestFromPython:
    @given(value=values | shaped)
    @settings(max_examples=400)
    @example(value=[2**53 - 1, 2**53, -(2**53), 2**1999, 2**2000, -(2**2001), 10**30, 0.1, 1e22, -0.0])
    @example(value={"__proto__": {"a": 1}, "constructor": (1,)})
    @example(value={"$": {"$": 1}, "v": dt.timedelta(days=-1, microseconds=1)})
    @example(value={"n": 12345678901234567890, "x": 0.12345678901234567, "t": "12345678901234567890"})
    def test_it_is_read_and_written_back(self, node, value):
        stored_text = codec.encode(value, ALL, key="k")
        try:
            seen = codec.as_data(stored_text)
        except NotSerializable:  # a dataclass as a key, which as data is a dict
            assume(False)
        assume("enum:Rights" not in stored_text)  # as data a number, which may be a key twice
        assume('[{"$":"enum:' not in stored_text)  # as a key it makes a Map, and as data a text's plain dict
        read = in_order(node("decode", stored_text))
        assert read == in_order(decoded(seen))
        again = node("again", stored_text)
        codec.decode(again)
        assert in_order(node("decode", again)) == in_order(written(read))

    @pytest.mark.parametrize(
        ("stored_text", "seen"),
        [
            ('{"$":"datetime","v":"2025-03-01T09:30:00Z"}', ["Date", 1740821400000]),
            ('{"$":"dataclass:Page","v":{"n":{"$":"tuple","v":[]}}}', ["Object", [["n", ["Array", []]]]]),
            ('{"$":"model:Page","v":{"n":null}}', ["Object", [["n", None]]]),
            ('{"$":"enum:Color","v":"RED"}', "RED"),
            ('{"$":"map","v":[[{"$":"enum:Color","v":"RED"},null]]}', ["Map", [["RED", None]]]),
            (' [ 1 , "a" ] ', ["Array", [number(1), "a"]]),
            ("[12345678901234567]", ["Array", [["bigint", hex(12345678901234567)]]]),
            (
                "[12345678901234567.0,1234567890123456e1]",
                ["Array", [number(12345678901234568), number(12345678901234560)]],
            ),
        ],
    )
    def test_text(self, node, stored_text, seen):
        assert node("decode", stored_text) == seen

    @pytest.mark.parametrize(
        "stored_text",
        ["", "{", '{"$":"new","v":1}', '{"$":"constructor","v":1}', '{"$":1,"v":1}', '{"$":"tuple"}',
         '{"$":"bytes","v":"?"}', '{"$":"set","v":1}', "[" * 100_000 + '"$"' + "]" * 100_000],
    )  # fmt: skip
    def test_what_cant_be_read(self, node, stored_text):
        with pytest.raises(Refused, match="can't be read") as caught:
            node("decode", stored_text)
        assert caught.value.name == "NotSerializable"
        assert caught.value.fields["path"] == "$"


numbers = st.floats() | st.integers(-(2**60), 2**60).map(float)
scalars = st.one_of(
    st.none(),
    numbers.map(number),
    st.integers().map(lambda value: ["bigint", str(value)]),
    st.sampled_from([2**1999, 2**2000 - 1, 2**2000, 2**9000]).map(lambda value: ["bigint", hex(value)]),
    text.map(decoded),
    st.binary(max_size=9).map(lambda value: ["Uint8Array", value.hex()]),
    st.integers(-62135596800000, 253402300799999).map(lambda value: ["Date", value]),
)
# JavaScript orders keys that are indexes.
names = text.map(decoded).filter(lambda name: not name.isdigit())
hashables = st.recursive(
    # Without True, which for Python is the key 1, and nan, which is a key as often as it is there.
    scalars.filter(lambda told: told != number(math.nan)),
    lambda part: st.lists(part, max_size=3).flatmap(
        lambda data: st.sampled_from([["Array", data], ["Set", data]])
    ),
    max_leaves=4,
)


usual = st.text(st.characters(codec="utf-8")).filter(lambda name: not name.isdigit())


def objects(part, names=names):
    pairs = st.lists(st.tuples(names, part | st.just(["undefined", None])), max_size=4)
    return pairs.map(lambda data: ["Object", [list(pair) for pair in dict(data).items()]])


javascripts = st.recursive(
    scalars | st.booleans(),
    lambda part: (
        st.lists(part, max_size=4).map(lambda data: ["Array", data])
        | st.lists(hashables, max_size=4).map(lambda data: ["Set", data])
        | st.lists(st.tuples(hashables, part), max_size=3).map(
            lambda data: ["Map", [list(pair) for pair in data]]
        )
        | objects(part)
    ),
    max_leaves=12,
)


class TestFromJavaScript:
    @given(told=javascripts)
    @settings(max_examples=400)
    @example(told=["Object", [["$", "tuple"], ["v", ["Array", []]]]])
    @example(told=["Object", [["__proto__", number(1)], ["a", ["undefined", None]]]])
    @example(told=["Array", [number(1e21), number(1e20), number(-0.0), number(2**53), number(5e-324)]])
    def test_python_reads_it(self, node, told):
        written_text = node("encode", told)
        json.loads(written_text, parse_constant=pytest.fail)
        assert described(codec.decode(written_text)) == described(stored(told))

    @given(
        told=st.recursive(
            st.none() | st.booleans() | usual | numbers.map(number),
            lambda part: st.lists(part).map(lambda data: ["Array", data]) | objects(part, usual),
        )
    )
    def test_what_python_has_as_well_has_pythons_text(self, node, told):
        assert node("encode", told) == codec.encode(stored(told), key="k")

    @pytest.mark.parametrize("kind", ["Array", "Object", "Map", "Set", "$"])
    def test_depth(self, node, kind):
        """As deep as JavaScript writes Python reads, also where it has no stack to spare."""
        wrap = {
            "Array": lambda part: ["Array", [part]],
            "Object": lambda part: ["Object", [["a", part]]],
            "Map": lambda part: ["Map", [[None, part]]],
            "Set": lambda part: ["Set", [part]],
            "$": lambda part: ["Object", [["$", part]]],
        }[kind]
        levels, told = 0, None
        while True:
            told = wrap(told)
            try:
                deepest = node("encode", told)
            except Refused as error:
                assert error.name == "NotSerializable"  # noqa: PT017
                assert "more than 200 levels" in str(error)  # noqa: PT017
                break
            levels += 1
        assert levels == {"Array": 200, "Object": 200, "$": 100, "Map": 67, "Set": 100}[kind]
        assert not codec.is_too_deep(deepest)
        codec.encode(codec.decode(deepest), key="k")
