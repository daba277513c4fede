"""Documents of runs on the move: JavaScript and Python read and refuse the same ones, for the same field."""

import json
import subprocess

import pytest
from hypothesis import example, given

from durable_lite import __version__, moving
from durable_lite.codec import MAX_VALUE_BYTES
from durable_lite.errors import InvalidDocument
from durable_lite.events import LIVE, EventType
from durable_lite.records import Wakes
from durable_lite.status import Status
from durable_lite.stores.memory import MemoryStore
from tests import harness
from tests.conformance.build import NOW, executing, settlement, token, wait
from tests.unit.test_moving import BAD, GOOD, GOOD_TOO, ID, IDS, TEXTS, damaged, damages, named, unstarted
from tests.web_modules.node import HERE, NODE, Refused


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
        **{name: [row._asdict() for row in rows] for name, rows in moved._asdict().items() if name != "run"},
    }


@pytest.mark.parametrize("name", ["RUN", "STEP", "EVENT", "LOG", "TOKEN"])
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


@pytest.mark.parametrize("name", ["steps", "tokens"])
def test_what_was_not_executed_has_neither_steps_nor_tokens(node, name):
    assert "run" in page(node, unstarted())
    assert page(node, unstarted(**{name: [GOOD[name][4]]})) == "run.started_at"


@pytest.mark.parametrize("text", TEXTS, ids=[text[:10] for text in TEXTS])
def test_no_document_at_all(node, text):
    assert page(node, text) == "document"


@pytest.mark.parametrize("path", [["run", "payload"], ["steps", 1, "output"], ["tokens", 0, "output"]])
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


# To and fro


def through_a_page(text):
    """What a page exports of the run that it has imported, at the moments of `in_python`."""
    command = [NODE, str(HERE / "hand_over.mjs"), str(NOW + 10), str(NOW + 20)]
    run = subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8", timeout=50)
    assert run.returncode == 0, run.stderr
    return alike(run.stdout)


def in_python(text):
    async def hand_over():
        store = MemoryStore()
        run = await store.import_run(moving.read(text, MAX_VALUE_BYTES), NOW + 10)
        return await moving.export_run(store, run.id, NOW + 20)

    return alike(harness.run(hand_over()))


def alike(text):
    """Python writes JSON with spaces in what a store's events say."""
    document = json.loads(text)
    for event in document["events"]:
        event["data"] = json.loads(event["data"])
    return document


def test_a_page_hands_on_what_it_was_given():
    document = through_a_page(json.dumps(GOOD))
    assert document == in_python(json.dumps(GOOD))
    assert (len(document["tokens"]), len(document["steps"])) == (len(GOOD["tokens"]), len(GOOD["steps"]))


def test_a_run_that_waits_for_tokens_passes_through_a_page(node):
    """However many they are."""

    async def export():
        store = MemoryStore()
        await executing(store, ID)
        for n in range(501):
            id = f"tok_{n:032x}"
            made = token(id, ID, path=f"{n}", kind="event", name="paid", match="{}", created_at=NOW + n % 3)
            await store.create_token(ID, 1, wait(f"{n}", ID, ref=id, kind="event"), made)
        await store.settle(ID, 1, settlement(Status.WAITING, wakes=Wakes(tokens=(id,))))
        return await moving.export_run(store, ID, NOW + 5)

    text = harness.run(export())
    assert page(node, text) == claim(text)
    document = through_a_page(text)
    assert document == in_python(text)
    assert (document["run"]["status"], document["run"]["ready_at"]) == ("WAITING", None)
    assert len(document["tokens"]) == 501
