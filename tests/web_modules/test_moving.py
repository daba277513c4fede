"""Documents of runs on the move: JavaScript and Python read and refuse the same ones, for the same field."""

import json

import pytest
from hypothesis import example, given

from durable_lite import __version__, moving
from durable_lite.codec import MAX_VALUE_BYTES
from durable_lite.errors import InvalidDocument
from durable_lite.events import LIVE, EventType
from tests.unit.test_moving import BAD, GOOD, GOOD_TOO, IDS, TEXTS, damaged, damages, named
from tests.web_modules.node import Refused


def page(node, text):
    """What a page reads, or the path of what it refuses."""
    try:
        return node("readDocument", text)
    except Refused as refused:
        if refused.name != "InvalidDocument":
            raise
        return refused.fields["path"]


def claim(text):
    """The same in Python."""
    try:
        moved = moving.read(text, MAX_VALUE_BYTES)
    except InvalidDocument as error:
        return error.path
    return {
        "run": moved.run._asdict(),
        **{name: [row._asdict() for row in getattr(moved, name)] for name in ("steps", "events", "logs")},
    }


@pytest.mark.parametrize("name", ["RUN", "STEP", "EVENT", "LOG"])
def test_the_fields_are_the_same(node, name):
    assert list(node("moving", name).items()) == list(getattr(moving, name).items())


def test_the_version_is_the_package_s(node):
    assert node("moving", "VERSION") == __version__


def test_the_types_of_events_are_the_same(node):
    stored = {type for type in EventType if type not in LIVE} - {EventType.STEP_COMPLETED}
    assert sorted(node("moving", "TYPES")) == sorted(stored)


@pytest.mark.parametrize(("path", "value", "wrong"), BAD, ids=IDS)
def test_a_wrong_field_is_named(node, path, value, wrong):
    assert page(node, json.dumps(damaged(path, value))) == (wrong or named(path))


@pytest.mark.parametrize(("path", "value"), GOOD_TOO, ids=[f"{n}" for n in range(len(GOOD_TOO))])
def test_the_edges_of_what_is_right(node, path, value):
    text = json.dumps(damaged(path, value))
    assert page(node, text) == claim(text)
    assert "run" in page(node, text)


@pytest.mark.parametrize("text", TEXTS, ids=[text[:10] for text in TEXTS])
def test_no_document_at_all(node, text):
    assert page(node, text) == "document"


@pytest.mark.parametrize("path", [["run", "payload"], ["steps", 1, "output"]])
def test_a_value_has_the_limit_of_a_value(node, path):
    most = json.dumps("é" * (MAX_VALUE_BYTES // 2 - 1), ensure_ascii=False)
    assert "run" in page(node, json.dumps(damaged(path, most)))
    with pytest.raises(Refused, match=named(path).replace("[", r"\[")) as caught:
        node("readDocument", json.dumps(damaged(path, most[:-1] + 'x"')))
    assert caught.value.name == "TooLarge"


@given(text=damages())
@example(text=json.dumps(GOOD))
def test_any_damage(node, text):
    assert page(node, text) == claim(text)
