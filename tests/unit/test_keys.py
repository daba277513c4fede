"""Step keys, their paths, and idempotency keys."""

import enum
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_lite import keys
from durable_lite.errors import InvalidOption

CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
good = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=120)


class Name(enum.StrEnum):
    EXPORT = "export/1"


@pytest.mark.parametrize("key", ["page-1", "a.b:c_d", "Grüße", "日本", "a b", "🙂", "x" * 512, "é" * 256])
def test_a_usual_key_is_its_own_segment(key):
    assert keys.escape(key) == key
    assert type(keys.escape(key)) is str


@pytest.mark.parametrize(
    ("key", "segment"),
    [("a/b", "a%2Fb"), ("50%", "50%25"), ("%2F", "%252F"), ("/", "%2F"), (Name.EXPORT, "export%2F1")],
)
def test_slash_and_percent_are_escaped(key, segment):
    assert keys.escape(key) == segment
    assert keys.unescape(segment) == key
    assert type(keys.escape(key)) is str


@given(good)
def test_unescape_undoes_escape(key):
    segment = keys.escape(key)
    assert "/" not in segment
    assert keys.unescape(segment) == key


@given(good, good)
def test_different_keys_have_different_segments(one, other):
    assert (keys.escape(one) == keys.escape(other)) is (one == other)


@pytest.mark.parametrize("code", CONTROLS)
def test_a_control_character_is_refused(code):
    with pytest.raises(InvalidOption, match=f"U\\+{code:04X}") as caught:
        keys.escape(f"a{chr(code)}")
    assert caught.value.option == "key"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "empty"),
        ("a\n", r"U\+000A"),
        ("\ud800", r"U\+D800"),
        ("x" * 513, "513 bytes"),
        ("é" * 257, "514 bytes"),
        (7, "expected a string, got int 7"),
        (None, "expected a string, got None"),
        (b"a", "expected a string, got bytes"),
        (["a"], "expected a string, got list"),
    ],
)
def test_a_key_is_text_of_1_to_512_bytes(key, message):
    with pytest.raises(InvalidOption, match=message) as caught:
        keys.escape(key)
    assert caught.value.option == "key"
    assert len(str(caught.value)) < 200


@given(st.lists(good, min_size=1, max_size=5))
def test_split_undoes_join(names):
    path = ""
    for name in names:
        path = keys.join(path, name)
    assert keys.split(path) == names


def test_the_run_itself_has_the_empty_path():
    assert keys.join("", "a") == "a"
    assert keys.join("a", "b/c") == "a/b%2Fc"
    assert keys.split("") == []


@pytest.mark.parametrize(
    ("path", "parent", "inside"),
    [
        ("a/b", "a", True),
        ("a/b/c", "a", True),
        ("a/b/c", "a/b", True),
        ("a", "a", False),
        ("ab", "a", False),
        ("a%2Fb", "a", False),
        ("a", "a/b", False),
        ("a", "", True),
        ("", "", False),
    ],
)
def test_is_under(path, parent, inside):
    assert keys.is_under(path, parent) is inside


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ("acme", '"acme"'),
        (["acme"], '["acme"]'),
        (("acme", 1, True, None, 1.5), '["acme",1,true,null,1.5]'),
        (["a", 1.0, -0.0], '["a",1,0]'),
        (["é", 'q"', "\x00\n"], '["é","q\\"","\\u0000\\n"]'),
        ([""], '[""]'),
    ],
)
def test_canonical(parts, text):
    assert keys.canonical(parts) == text


def test_a_list_and_a_tuple_are_one_key_but_other_types_are_not():
    assert keys.canonical(["a", 1]) == keys.canonical(("a", 1))
    assert len({keys.canonical(parts) for parts in (["1"], [1], [True], "1", [1.5], [None])}) == 6


@given(
    st.lists(st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")), min_size=1)
)
def test_canonical_text_is_json_of_the_parts(parts):
    try:
        text = keys.canonical(parts)
    except InvalidOption as error:
        assert "1,024" in str(error)  # noqa: PT017 (only a long key may fail)
    else:
        assert json.loads(text) == parts


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("", "empty"),
        ([], "empty"),
        ((), "empty"),
        (7, "expected a string or a list"),
        (None, "expected a string or a list"),
        ({"a": 1}, "expected a string or a list"),
        (["a", ["b"]], "part 1"),
        (["a", {"b": 1}], "part 1"),
        ([b"a"], "part 0"),
        ([Name.EXPORT], "part 0"),
        ([float("nan")], "canonical"),
        ([float("inf")], "canonical"),
        ([10**5000], "canonical"),
        (["\ud800"], "canonical"),
        (["x" * 1025], "1,024"),
        ("é" * 512, "1,026 bytes"),
    ],
)
def test_other_idempotency_keys_are_refused(parts, message):
    with pytest.raises(InvalidOption, match=message) as caught:
        keys.canonical(parts)
    assert caught.value.option == "idempotency_key"
    assert len(str(caught.value)) < 250
