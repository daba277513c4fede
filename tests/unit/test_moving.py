"""Documents of runs on the move: what was written is read, and anything else is refused by its field."""

import copy
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durable_lite import Durable, InvalidDocument, TooLarge, __version__, moving
from durable_lite.codec import MAX_VALUE_BYTES
from durable_lite.events import LIVE, EventType
from durable_lite.records import LogRow, Moved, NewEvent, RunRow, StepRow, TokenRow
from durable_lite.runlog import ENGINE
from durable_lite.status import Status
from durable_lite.stores.memory import MemoryStore
from durable_lite.stores.rows import first_row
from tests import harness
from tests.conformance.build import NOW, event, log, new_run, step, token, wait
from tests.conformance.state import everything

ID = "01jd5nzx9k3v8m2q4w7e6r0t1y"
ERROR = '{"type": "ValueError", "module": "builtins", "message": "no", "args": "[\\"no\\"]", "key": "b"}'
TOKENS = [f"tok_{n:032x}" for n in range(2**127, 2**127 + 6)]
WAIT = {"kind": "sleep", "state": "waiting", "name": None, "error": None, "wake_at": NOW + 9.25}

# A run with something of everything, WAITING for its next attempt.
MOVED = Moved(
    first_row(
        new_run(
            ID, version="2", priority=-3, payload='{"pages": 20}', tags='["a", "é"]', environment="a\x00b",
            deadline=NOW + 900.5, max_duration=60.0, idempotency_key='["global","k"]',
            idempotency_expires_at=NOW + 1e6, trigger='{"kind": "api"}',
        )
    )._replace(
        status=Status.WAITING, ready_at=NOW + 60, claimable=0, started_at=NOW, error=ERROR, attempt=2,
        generation=2, recoveries=1, recovery_seq=3, seq=13, executed=3.5, last_seen_at=NOW + 1, key_live=0,
        progress='{"current": 1, "total": null, "message": "half"}', metadata='{"m": 1}',
    ),
    (
        step("a", 3, ID, arguments="d", title="A & B", output='{"$": "set", "v": []}'),
        step("b%2Fc/%25 é/0", 4, ID),
        step("b", None, ID, error=ERROR),
        step("e", None, ID, error=ERROR, state="failed", wake_at=None),
        step("nap", None, ID, **WAIT),
        step("ask", 7, ID, kind="token", name="token", ref=TOKENS[0], output=f'["{TOKENS[0]}", 1100.0]'),
        step("ask/wait", 8, ID, kind="wait", name="token", ref=TOKENS[0], output='{"yes": 1}'),
        step("heard", 9, ID, kind="event", name="paid", ref=TOKENS[1], output="null"),
        step("begun", 10, ID, kind="trigger", name="other", ref=ID, output="null"),
        step("called", 11, ID, kind="call", name="other", ref=f"{ID}\n{ID}", output="[1, 2]"),
        step("recalled", None, ID, kind="call", error=ERROR, state="failed", wake_at=None, ref=ID),
        wait("signed", ID, kind="event", name="signed", ref=TOKENS[2]),
    ),
    (
        *(event(seq, type) for seq, type in enumerate(["run.triggered", "run.claimed"], start=1)),
        *(event(seq) for seq in (5, 6)),
        event(12, "run.retrying"),
        event(13, "run.moved", '{"direction": "out", "from": "WAITING", "ready_at": 1060.0}', NOW + 2),
    ),
    (
        log(0, ID),
        log(0, ID, path="a", level="error", message="\u2028 \x1b[2J 日本"),
        log(0, ID, path=ENGINE, level="warning"),
    ),
    (
        token(TOKENS[0], ID, path="ask", state="completed", finished_at=NOW + 1, output='{"yes": 1}'),
        token(
            TOKENS[1], ID, path="heard", kind="event", name="paid", match='{"order": 7}', state="completed",
            finished_at=NOW + 1, output="null",
        ),
        token(TOKENS[2], ID, path="signed", kind="event", name="signed", match="{}"),
        token(TOKENS[3], ID, path="a/b%2Fc", state="failed", finished_at=NOW + 2, error=ERROR),
        token(TOKENS[4], ID, path="late", state="expired", finished_at=NOW + 100),
        token(TOKENS[5], ID, path="no step of the run"),
    ),
)  # fmt: skip
GOOD: dict[str, Any] = json.loads(moving.write(MOVED))


def read(document: Any) -> Moved:
    return moving.read(json.dumps(document), MAX_VALUE_BYTES)


def refused(text: str) -> str | None:
    """The path of the field that is wrong."""
    try:
        moving.read(text, MAX_VALUE_BYTES)
    except InvalidDocument as error:
        return error.path if len(str(error)) < 400 and str(error).startswith(f"{error.path}: ") else "?"
    return None


def damaged(path: list[Any], value: Any = ...) -> dict[str, Any]:
    """The document with another value at a place, or with nothing there."""
    document = copy.deepcopy(GOOD)
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return document


def test_what_was_written_is_read():
    assert read(GOOD) == MOVED
    assert moving.write(read(GOOD)) == moving.write(MOVED)


def test_the_document():
    assert list(GOOD) == ["format", "durable_lite", "run", "steps", "events", "logs", "tokens"]
    assert (GOOD["format"], GOOD["durable_lite"]) == (1, __version__)
    assert moving.write(MOVED).isascii()


def test_every_column_travels_or_is_of_one_store_alone():
    own = {"claimable", "finished_at", "output", "worker", "stale_reason", "key_live"}
    own |= {
        "parent_id",
        "awaited",
        "remaining",
        "interrupted",
        "concurrency_key",
        "gated",
        "slot",
        "key_held",
    }
    own |= {"blocked", "expires_at", "debounce_key", "debounce_until"}
    assert set(moving.RUN) == set(RunRow._fields) - own
    tables = {StepRow: moving.STEP, NewEvent: moving.EVENT, LogRow: moving.LOG, TokenRow: moving.TOKEN}
    for row, kinds in tables.items():
        assert list(kinds) == [name for name in row._fields if name != "run_id"]


async def test_the_run_is_what_it_is_to_be():
    """Not EXECUTING, which it was."""
    store = MemoryStore()
    await store.create_runs([new_run(ID, trigger='{"kind": "api"}')])
    await store.claim_runs("w", ["job"], 1, NOW, "lease")
    document = json.loads(await moving.export_run(store, ID, NOW + 1))
    assert (document["run"]["status"], document["run"]["ready_at"]) == ("PENDING", None)
    assert [one["type"] for one in document["events"]] == ["run.triggered", "run.claimed", "run.moved"]
    assert json.dumps(document, separators=(",", ":")) == await moving.export_run(store, ID, NOW + 9)
    read(document)


HALF = "\ud800"
LONG = "x" * 513

# What is wrong, where, and which field is named (by default that place).
BAD: list[tuple[list[Any], Any, str | None]] = [
    (["format"], ..., None),
    (["format"], 2, None),
    (["format"], True, None),
    (["format"], "1", None),
    (["durable_lite"], 1, None),
    (["more"], 1, None),
    (["steps"], {}, None),
    (["steps"], None, None),
    (["tokens"], {}, None),
    (["tokens"], ..., None),
    (["steps", 1], [], None),
    (["run"], "run", None),
    *((["run", name], ..., None) for name in moving.RUN),
    *((["steps", 1, name], ..., None) for name in moving.STEP),
    *((["events", 1, name], ..., None) for name in moving.EVENT),
    *((["logs", 1, name], ..., None) for name in moving.LOG),
    *((["tokens", 1, name], ..., None) for name in moving.TOKEN),
    *((["run", name], None, None) for name, kind in moving.RUN.items() if not kind.endswith("?")),
    *((["run", name], True, None) for name in moving.RUN),
    *((["steps", 0, name], [], None) for name in moving.STEP),
    *((["events", 0, name], {}, None) for name in moving.EVENT),
    *((["logs", 0, name], None, None) for name in moving.LOG),
    *((["tokens", 0, name], True, None) for name in moving.TOKEN),
    *((["tokens", 0, name], None, None) for name, kind in moving.TOKEN.items() if not kind.endswith("?")),
    (["run", "key_live"], 1, None),
    (["run", "a key"], 1, "run['a key']"),
    (["run", "id"], "01JD5NZX9K3V8M2Q4W7E6R0T1Y", None),
    (["run", "id"], ID[1:], None),
    (["run", "id"], f"{ID}\n", None),
    (["run", "job"], "", None),
    (["run", "job"], "a\nb", None),
    (["run", "job"], "🦆" * 201, None),
    (["run", "queue"], HALF, None),
    (["run", "status"], "EXECUTING", None),
    (["run", "status"], "MOVED", None),
    (["run", "priority"], 2**31, None),
    (["run", "priority"], 0.5, None),
    (["run", "created_at"], "1000", None),
    (["run", "created_at"], 1e12, None),
    (["run", "created_at"], 10**400, None),
    (["run", "executed"], -0.1, None),
    (["run", "max_duration"], -1, None),
    (["run", "started_at"], None, None),
    (["run", "attempt"], 0, None),
    (["steps", 0, "attempt"], -1, None),
    (["run", "first_attempt"], 3, None),
    (["run", "recovery_seq"], 14, None),
    (["run", "generation"], 2**31, None),
    (["run", "seq"], 7, None),
    (["run", "seq"], 2**31 - 1, None),
    (["run", "payload"], "{", None),
    (["run", "payload"], "", None),
    (["run", "payload"], "NaN", None),
    (["run", "payload"], "[" * 203 + "]" * 203, None),
    (["run", "payload"], "\ufeff{}", None),
    (["run", "payload"], {}, None),
    (["run", "trigger"], "[]", None),
    (["run", "environment"], 7, None),
    (["run", "environment"], HALF, None),
    (["run", "tags"], '["a", "a"]', None),
    (["run", "tags"], '["a", 1]', None),
    (["run", "tags"], json.dumps(["x" * 201]), None),
    (["run", "tags"], json.dumps([f"{n}" for n in range(51)]), None),
    (["run", "tags"], '[""]', None),
    (["run", "tags"], '["\\n"]', None),
    (["run", "tags"], '["\\ud800"]', None),
    (["run", "tags"], "{}", None),
    (["run", "progress"], "{}", None),
    (["run", "progress"], '{"current": "1", "total": null, "message": null}', None),
    (["run", "progress"], '{"current": 1, "total": true, "message": null}', None),
    (["run", "metadata"], "null", None),
    (["run", "idempotency_key"], '"k"', None),
    (["run", "idempotency_key"], "[]", None),
    (["run", "idempotency_key"], '["k"]', None),
    (["run", "idempotency_key"], '["global"]', None),
    (["run", "idempotency_key"], '["global", null]', None),
    (["run", "idempotency_key"], '["global", {}]', None),
    (["run", "idempotency_key"], '["global", ""]', None),
    (["run", "idempotency_key"], '["global", []]', None),
    (["run", "idempotency_key"], f'["global", "{ID}", "k"]', None),
    (["run", "idempotency_key"], '["run", "k"]', None),
    (["run", "idempotency_key"], '["run", "k", "k"]', None),
    (["run", "idempotency_key"], f'["run", ["{ID}"], "k"]', None),
    (["run", "idempotency_key"], f'["run", "{ID}", 1, "k"]', None),
    (["run", "idempotency_key"], f'["attempt", "{ID}", "k"]', None),
    (["run", "idempotency_key"], f'["attempt", "{ID}", 0, "k"]', None),
    (["run", "idempotency_key"], f'["attempt", "{ID}", 1.5, "k"]', None),
    (["run", "idempotency_key"], f'["attempt", "{ID}", true, "k"]', None),
    (["run", "idempotency_key"], f'["attempt", "{ID}", 1, 1]', None),
    (["run", "idempotency_key"], f'["attempt", "{ID[1:]}", 1, "k"]', None),
    (["run", "idempotency_key"], f'["call", "{ID}", "k"]', None),
    (["run", "error"], '{"type": "E"}', None),
    (["run", "error"], '{"type": "E", "message": 1}', None),
    (["run", "error"], '{"type": "E", "message": "", "args": "[]"}', None),
    (["run", "error"], "[]", None),
    (["steps", 0, "path"], "", None),
    (["steps", 0, "path"], "a//b", None),
    (["steps", 0, "path"], "a/", None),
    (["steps", 0, "path"], "50%", None),
    (["steps", 0, "path"], ENGINE, None),
    (["steps", 0, "path"], "a\x00", None),
    (["steps", 0, "path"], LONG, None),
    (["steps", 0, "path"], "é" * 257, None),
    (["steps", 0, "path"], "b", "steps[2].path"),
    (["steps", 0, "seq"], None, None),
    (["steps", 0, "seq"], 4, "run.seq"),
    (["steps", 0, "seq"], 2**31 - 1, "run.seq"),
    (["steps", 0, "kind"], "map", None),
    (["steps", 0, "kind"], "token", "steps[0].ref"),
    (["steps", 0, "ref"], HALF, None),
    (["steps", 0, "state"], "failed", "steps[0].error"),
    (["steps", 0, "output"], None, None),
    (["steps", 0, "error"], ERROR, None),
    (["steps", 0, "failures"], -1, None),
    (["steps", 2, "output"], "1", None),
    (["steps", 2, "wake_at"], None, None),
    (["steps", 3, "wake_at"], 1000, None),
    (["steps", 4, "wake_at"], None, None),
    (["steps", 4, "error"], ERROR, None),
    (["steps", 4, "kind"], "step", "steps[4].state"),
    (["steps", 4, "kind"], "call", "steps[4].state"),
    (["steps", 4, "kind"], "token", "steps[4].state"),
    (["steps", 4, "kind"], "event", "steps[4].ref"),
    *((["steps", n, "ref"], None, None) for n in (5, 6, 7, 8, 11)),
    (["steps", 11, "ref"], f"tok_{7:032x}", None),
    (["steps", 11, "ref"], "", None),
    (["steps", 11, "wake_at"], None, None),
    (["steps", 11, "kind"], "wait", "steps[11].state"),
    (["tokens", 2], ..., "steps[11].ref"),
    (["steps", 1], ..., "run.seq"),
    (["events", 0], ..., "run.seq"),
    (["events", 5], ..., "run.seq"),
    (["events", 5, "type"], "run.cancelled", "events"),
    (["events", 0, "type"], "step.completed", None),
    (["events", 0, "type"], "run.log", None),
    (["events", 0, "data"], "[]", None),
    (["events", 0, "seq"], 2, "run.seq"),
    (["logs", 0, "level"], "fatal", None),
    (["logs", 0, "path"], "%2", None),
    (["logs", 1, "path"], "", "logs[1].ordinal"),
    (["logs", 0, "fields"], "1", None),
    (["tokens", 0], [], None),
    (["tokens", 0, "run_id"], ID, None),
    (["tokens", 0, "id"], ID, None),
    (["tokens", 0, "id"], TOKENS[0].upper(), None),
    (["tokens", 0, "id"], TOKENS[0][:-1], None),
    (["tokens", 0, "id"], f"{TOKENS[0]}\n", None),
    (["tokens", 1, "id"], TOKENS[0], None),
    (["tokens", 0, "path"], "", None),
    (["tokens", 0, "path"], "50%", None),
    (["tokens", 0, "kind"], "call", None),
    (["tokens", 0, "kind"], "event", "tokens[0].name"),
    (["tokens", 1, "kind"], "token", "tokens[1].name"),
    (["tokens", 1, "name"], None, None),
    (["tokens", 1, "name"], HALF, None),
    (["tokens", 1, "match"], "[]", None),
    (["tokens", 1, "match"], "{", None),
    (["tokens", 0, "name"], "paid", None),
    (["tokens", 0, "match"], "{}", None),
    (["tokens", 0, "state"], "waiting", None),
    (["tokens", 0, "state"], "pending", "tokens[0].finished_at"),
    (["tokens", 0, "state"], "failed", "tokens[0].error"),
    (["tokens", 0, "state"], "expired", "tokens[0].output"),
    (["tokens", 0, "finished_at"], None, None),
    (["tokens", 0, "output"], None, None),
    (["tokens", 0, "output"], "{", None),
    (["tokens", 0, "error"], ERROR, None),
    (["tokens", 0, "deadline"], "1100", None),
    (["tokens", 0, "created_at"], 1e12, None),
    (["tokens", 2, "finished_at"], NOW, None),
    (["tokens", 2, "output"], "1", None),
    (["tokens", 2, "error"], ERROR, None),
    (["tokens", 3, "error"], None, None),
    (["tokens", 3, "error"], "{}", None),
    (["tokens", 3, "output"], "1", None),
    (["tokens", 3, "finished_at"], None, None),
    (["tokens", 4, "finished_at"], None, None),
    (["tokens", 4, "output"], "1", None),
    (["tokens", 4, "error"], ERROR, None),
]
GOOD_TOO: list[tuple[list[Any], Any]] = [
    (["run", "priority"], 2**31 - 1),
    (["run", "created_at"], 1763683200.123456),
    (["run", "job"], "🦆" * 200),
    (["run", "payload"], "[" * 202 + "]" * 202),
    (["run", "payload"], ' {"b": 1e3, "b": "\\ud800", "c": ' + "1" * 5000 + "} "),
    (["run", "environment"], ""),
    (["run", "generation"], 1.0),
    (["run", "error"], None),
    (["run", "ready_at"], None),
    (["run", "idempotency_key"], None),
    (["run", "idempotency_key"], f'["global",["{ID}",1,null,true,0.5]]'),
    (["run", "idempotency_key"], f'["run","{ID}","k"]'),
    (["run", "idempotency_key"], f'["run","{ID}",["a",1]]'),
    (["run", "idempotency_key"], f'["attempt","{ID}",2,"k"]'),
    (["run", "idempotency_key"], f'["attempt", "{ID}", 2147483647.0, ["k"]]'),
    (["steps", 0, "ref"], "x"),
    (["steps", 9, "ref"], None),
    (["steps", 10, "ref"], None),
    (["tokens", 5], ...),
    (["tokens", 2, "match"], None),
    (["tokens", 2, "name"], ""),
    (["tokens", 2, "deadline"], -5),
    (["tokens", 2, "path"], "x" * 512 + "/" + "%25" * 170),
    (["steps", 0, "path"], "%25" * 170 + "é" + "/" + "x" * 512),
    (["steps", 0, "title"], None),
    (["logs"], []),
    (["durable_lite"], "99"),
]


def named(path: list[Any]) -> str:
    return "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in path)[1:]


IDS = [f"{n} {named(path)}" for n, (path, *_) in enumerate(BAD)]


@pytest.mark.parametrize(("path", "value", "wrong"), BAD, ids=IDS)
def test_a_wrong_field_is_named(path, value, wrong):
    assert refused(json.dumps(damaged(path, value))) == (wrong or named(path))


@pytest.mark.parametrize(
    ("path", "value"), GOOD_TOO, ids=[f"{n} {named(path)}" for n, (path, _) in enumerate(GOOD_TOO)]
)
def test_the_edges_of_what_is_right(path, value):
    document = damaged(path, value)
    assert moving.write(read(document)) == moving.write(read(json.loads(moving.write(read(document)))))


def unstarted(**fields: Any) -> str:
    """The document of a run that nobody has executed, but for these fields."""
    run = GOOD["run"] | {"status": "PENDING", "started_at": None, "seq": 1, "recovery_seq": 0}
    moved = GOOD["events"][-1] | {"seq": 1}
    return json.dumps(GOOD | {"run": run, "steps": [], "events": [moved], "logs": [], "tokens": []} | fields)


@pytest.mark.parametrize("name", ["steps", "tokens"])
def test_what_was_not_executed_has_neither_steps_nor_tokens(name):
    assert refused(unstarted()) is None
    assert refused(unstarted(**{name: [GOOD[name][4]]})) == "run.started_at"


TEXTS = ["", "{", "[]", "null", '"document"', "NaN", "[" * 100_000, '{"format": 1', "{}{}", "\ufeff{}"]


@pytest.mark.parametrize("text", TEXTS, ids=[text[:10] for text in TEXTS])
def test_no_document_at_all(text):
    assert refused(text) == "document"


@pytest.mark.parametrize("given", [None, b"{}", {}, 1])
def test_what_is_no_text(given):
    with pytest.raises(InvalidDocument, match="document: expected JSON text, got "):
        moving.read(given, MAX_VALUE_BYTES)


@pytest.mark.parametrize("path", [["run", "payload"], ["steps", 1, "output"], ["tokens", 0, "output"]])
def test_a_value_has_the_limit_of_a_value(path):
    fits = damaged(path, json.dumps("é" * 50, ensure_ascii=False))
    text = json.dumps(fits)
    moving.read(text, 102)
    with pytest.raises(TooLarge) as caught:
        moving.read(text, 101)
    assert (caught.value.key, caught.value.size, caught.value.limit) == (named(path), 102, 101)


def test_every_stored_event_may_be_in_a_document():
    for type in set(EventType) - LIVE - {EventType.STEP_COMPLETED}:
        read(damaged(["events", 0, "type"], str(type)))


# Any damage.

_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(
        ["PENDING", "WAITING", "waiting", "completed", "{}", "[]", "1", '{"type": "", "message": ""}']
    ),
    st.sampled_from(["token", "event", "call", "pending", "expired", '["global",[1]]', *TOKENS[1:4]]),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.sampled_from(["path", "seq", "x", "é", "a b"]), st.integers(0, 3), max_size=2),
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for name, one in inner for place in [(*path, name), *_places(one, (*path, name))]]


@st.composite
def damages(draw: st.DrawFn) -> str:
    """The text of a document that differs in one to three places, or isn't whole."""
    document = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(_places(document)))
        inner: Any = document
        for name in path:
            inner = inner[name]
        how = draw(st.sampled_from(["change", "change", "change", "take from", "delete", "twice", "add"]))
        if how == "change":
            inner[last] = draw(_values)
        elif how == "take from":  # another place's value
            other: Any = GOOD
            for name in draw(st.sampled_from(_places(GOOD))):
                other = other[name]
            inner[last] = copy.deepcopy(other)
        elif how == "delete":
            del inner[last]
        elif isinstance(inner, list):
            inner.append(copy.deepcopy(inner[last]))
        else:
            inner[draw(st.sampled_from(["x", "a b", "é", "seq", "output"]))] = draw(_values)
        if not _places(document):
            break
    text = json.dumps(document, ensure_ascii=draw(st.booleans()))
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


@given(text=damages())
@example(text=json.dumps(GOOD))
def test_damage_is_refused_and_nothing_is_written_or_it_does_no_harm(text):
    """What is read, however odd, can be stored, written and read again."""

    async def take_in() -> None:
        store = MemoryStore()
        async with Durable(store, worker=False) as app:
            try:
                run = await app.import_run(text)
            except InvalidDocument:
                assert await everything(store, ID) == await everything(MemoryStore(), ID)
                return
            await everything(store)
            again, moved = read(json.loads(await app.export_run(run.id))), read(json.loads(text))
            assert again.run.payload == moved.run.payload
            assert sorted(again.steps) == sorted(moved.steps)
            assert sorted(again.tokens) == sorted(moved.tokens)

    harness.run(take_in())
