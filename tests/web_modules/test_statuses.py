"""What web/statuses.mjs and web/records.mjs say is what Python says, field by field."""

import re

import pytest

from durable_lite import records, status
from durable_lite.records import NewRun, RunRow
from durable_lite.status import Status
from tests.conformance.build import new_run
from tests.web_modules.node import ROOT

TYPES = (ROOT / "web/records.mjs").read_text("utf-8")
PYTHON = {
    "string": "str",
    "boolean": "bool",
    "null": "None",
    "Moment": "float",
    "Moment, string": "float, str",
}
# The others have the same name.
SAME = {"Run": "RunRow", "Step": "StepRow", "LogLine": "LogRow", "Token": "TokenRow", "Queue": "QueueRow"}


def test_transitions(node):
    expected = {old: [str(new) for new in targets] for old, targets in status.TRANSITIONS.items() if old}
    assert {old: set(news) for old, news in node("statuses", "TRANSITIONS").items()} == {
        old: set(news) for old, news in expected.items()
    }


@pytest.mark.parametrize("name", ["RESUMABLE", "FINAL", "KEEPS_KEY"])
def test_groups_of_statuses(node, name):
    found = node("statuses", name)
    assert sorted(found) == sorted(getattr(status, name))


def typedefs() -> dict[str, dict[str, tuple[str, bool]]]:
    """Each record's fields, with what Python would call their type, and whether one may be left out."""
    found = {}
    for block in re.findall(r"/\*\*.*?\*/", TYPES, re.S):
        if head := re.search(r"@typedef \{object\} (\w+)", block):
            fields = re.findall(r"@property \{(.+?)\} (\[?)(\w+)", block)
        elif head := re.search(r"@typedef \{\{(.+?)\}\} (\w+)", block):
            fields = [(kind, "", name) for name, kind in re.findall(r"(\w+): ([^,]+)", head[1])]
        else:
            continue
        found[head[head.lastindex]] = {
            name: (in_python(kind), bool(left_out)) for kind, left_out, name in fields
        }
    return found


def in_python(kind: str) -> str:
    parts = []
    for part in kind.split(" | "):
        plain = part.removesuffix("[]").strip("[]")
        name = PYTHON.get(plain) or SAME.get(plain, plain)
        parts.append(
            f"tuple[{name}, ...]" if part.endswith("[]") else f"tuple[{name}]" if "," in part else name
        )
    return " | ".join(parts)


@pytest.mark.parametrize("name", sorted(typedefs()))
def test_a_record(name):
    fields = typedefs()[name]
    if name == "StoredEvent":  # a row of the events' store: a `NewEvent` and whose it is
        assert list(fields) == ["run_id", *records.NewEvent._fields]
        return
    python = getattr(records, SAME.get(name, name))
    assert list(fields) == list(python._fields)
    for field, (kind, left_out) in fields.items():
        expected = python.__annotations__[field]
        expected = getattr(expected, "__forward_arg__", expected)
        if kind.split(" | ")[0] == "number":
            assert re.sub(r"\b(int|float)\b", "number", expected) == kind
        else:
            assert expected == kind, field
        assert not left_out or field in python._field_defaults


def test_no_record_is_missing():
    there = {SAME.get(name, name) for name in typedefs()}
    only_python = {"Created", "Claim", "Checkpoint"}  # made of what the verbs answer
    assert there == set(records.__all__) - only_python | {"StoredEvent"}


def test_the_first_row_of_a_run(node):
    given = new_run("r")
    row = node("firstRow", given._asdict())
    assert sorted(row) == sorted(RunRow._fields)
    least = {name: value for name, value in given._asdict().items() if name not in NewRun._field_defaults}
    assert node("firstRow", least) == row
    assert row["status"] == Status.PENDING
