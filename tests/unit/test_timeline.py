"""What a run was and did, as `tests/timelines.json` has it, and what holds whatever a clock does."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_lite.events import LIVE, EventType, RunEvent
from durable_lite.records import StepRow
from durable_lite.status import Status
from durable_lite.timeline import timeline
from tests.unit.timelines import CASES, SCENARIOS, rows

KNOWN = json.loads(CASES.read_text("utf-8"))


def is_(found, kind):
    return [(span["from"], span["to"]) for span in found["spans"] if span["is"] == kind]


class TestCases:
    @pytest.mark.parametrize("name", list(KNOWN))
    def test_what_a_case_says(self, name):
        assert timeline(*rows(KNOWN[name])) == KNOWN[name]["expected"]

    @pytest.mark.parametrize("name", list(SCENARIOS))
    async def test_a_real_run_leaves_this(self, name):
        assert json.loads(json.dumps(await SCENARIOS[name]())) == KNOWN[name]

    def test_there_is_no_case_that_nothing_makes(self):
        assert list(KNOWN) == list(SCENARIOS)


class TestSpans:
    def test_a_gap_begins_with_the_last_sign_of_life(self):
        """A step that was stored after the last heartbeat is one; a step in which a worker froze isn't."""
        run, steps, events, now = rows(KNOWN["killed between two steps and taken over"])
        stale = next(event for event in events if event.type == EventType.STALE)
        last = max(step.finished_at for step in steps if step.seq < stale.seq)
        before = {**stale.data, "heartbeat_at": last - 0.5}
        events = [event._replace(data=before) if event is stale else event for event in events]
        assert is_(timeline(run, steps, events, now), "gap") == [(last, stale.at)]
        frozen = KNOWN["frozen"]["expected"]
        [gap] = is_(frozen, "gap")
        assert frozen["steps"][-1]["from"] < gap[0] < gap[1] == frozen["steps"][-1]["to"]

    def test_a_gap_without_an_event_of_who_let_go(self):
        run, steps, events, now = rows(KNOWN["frozen"])
        told = [event for event in events if event.type != EventType.STALE]
        assert is_(timeline(run, steps, told, now), "gap") == is_(KNOWN["frozen"]["expected"], "gap")

    @pytest.mark.parametrize("status", [Status.QUEUED, Status.WAITING_ON_CONNECTIONS])
    def test_what_a_run_that_is_due_waits_for(self, status):
        run, *rest = rows(KNOWN["queued"])
        assert [span["is"] for span in timeline(run._replace(status=status), *rest)["spans"]] == [
            status.lower()
        ]

    def test_what_it_waited_for_before_a_claim(self):
        run, steps, events, now = rows(KNOWN["steps one after the other"])
        claim = events[1]._replace(at=run.created_at + 5)
        claim = claim._replace(data={**claim.data, "from": "WAITING_ON_CONNECTIONS"})
        found = timeline(run, steps, [events[0], claim, *events[2:]], now)
        assert is_(found, "waiting_on_connections") == [(run.created_at, run.created_at + 5)]

    def test_a_claim_a_moment_late_is_no_gap(self):
        run, steps, events, now = rows(KNOWN["no worker at the end of a wait"])
        [begin, end], _ = is_(timeline(run, steps, events, now), "gap")
        claim = next(event for event in events if event.at == end)
        for late, gaps in ((1.0, 1), (1.5, 2)):
            moved = [event._replace(at=begin + late) if event is claim else event for event in events]
            assert len(is_(timeline(run, steps, moved, now), "gap")) == gaps

    def test_a_run_that_a_token_woke_was_due_then(self):
        run, steps, events, now = rows(KNOWN["a token and an event"])
        woken = run._replace(ready_at=now - 5)
        [(begin, end)] = is_(timeline(woken, steps, events, now), "gap")
        assert (begin, end) == (now - 5, now)


class TestSteps:
    def test_a_sleep_that_the_end_of_its_run_cut_short_is_not_over(self):
        found = KNOWN["cancelled while it waited"]
        assert found["now"] > found["steps"][-1]["wake_at"]
        assert (found["expected"]["steps"][-1]["is"], found["expected"]["steps"][-1]["to"]) == (
            "waiting",
            None,
        )

    def test_a_step_begins_before_what_is_in_it(self):
        """Its row says when its last try began, which was after what an earlier one had done."""
        run, steps, events, now = rows(KNOWN["nested and parallel steps"])
        later = [
            step._replace(started_at=step.finished_at) if step.path == "outer" else step for step in steps
        ]
        assert (
            timeline(run, later, events, now)["steps"]
            == KNOWN["nested and parallel steps"]["expected"]["steps"]
        )

    def test_a_failure_of_an_earlier_attempt_is_not_its_begin(self):
        [_, step] = KNOWN["failed and resumed"]["expected"]["steps"]
        assert step["to"] - step["from"] == 8


# Whatever the times and the data are

moments = st.floats(0, 100) | st.integers(0, 100)
values = (
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers()
    | st.text(max_size=9)
    | st.lists(st.text(max_size=3), max_size=5)
)
names = st.sampled_from(
    ["worker", "generation", "attempt", "from", "reason", "heartbeat_at", "gap_ms", "replayed", "waits", "error",
     "code", "direction", "path", "retry_at", "parent", "by"]
)  # fmt: skip
data = st.dictionaries(
    names, values | st.dictionaries(st.sampled_from(["type", "message"]), values), max_size=4
)
types = st.sampled_from([type for type in EventType if type not in LIVE]) | st.text(max_size=5)
paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
states = st.sampled_from(["completed", "failed", "retrying", "waiting"])


@st.composite
def histories(draw):
    run, *_ = rows(KNOWN["it still executes"])
    created, finished = draw(moments), draw(st.none() | moments)
    run = run._replace(created_at=created, finished_at=finished, status=draw(st.sampled_from(list(Status))))
    told = draw(st.lists(st.tuples(moments, types, data), max_size=12))
    events = [RunEvent(run.id, seq, at, str(type), given) for seq, (at, type, given) in enumerate(told, 1)]
    steps = []
    for path in draw(st.lists(paths, max_size=6, unique=True)):
        state, started, ended = draw(states), draw(moments), draw(moments)
        over = ended if state in ("completed", "failed") else None
        steps.append(
            StepRow(run.id, path, draw(st.integers(1, 15)) if state == "completed" else None, "step", state, None, None,
                    None, None, draw(st.integers(0, 2)), draw(st.integers(1, 3)), 1, started, over, draw(st.none() | moments))
        )  # fmt: skip
    return run, steps, events, draw(moments)


@given(histories())
def test_spans_have_no_holes_and_everything_is_within(history):
    found = timeline(*history)
    begin, end = found["from"], found["to"]
    edges = [begin, *(span["to"] for span in found["spans"])]
    assert [span["from"] for span in found["spans"]] == edges[:-1]
    assert edges == sorted(edges)
    assert edges[-1] == end
    for step in found["steps"]:
        over = end if step["to"] is None else step["to"]
        assert begin <= step["from"] <= over <= end
        assert (step["to"] is None) == (step["is"] in ("waiting", "retrying"))
    order = [(step["from"], step["path"]) for step in found["steps"]]
    assert order == sorted(order)
    begun = {step["path"]: (place, step["depth"]) for place, step in enumerate(found["steps"])}
    for path, (place, depth) in begun.items():
        above = [one for one in begun if path.startswith(f"{one}/")]
        assert depth == len(above)
        assert all(begun[one][0] < place for one in above)
    assert all(begin <= mark["at"] <= end and len(mark["text"]) <= 100 for mark in found["marks"])
    run, steps, events, now = history
    assert [mark["seq"] for mark in found["marks"]] == [
        e.seq for e in events if e.type != EventType.STEP_COMPLETED
    ]
    assert timeline(run, steps[::-1], events[::-1], now) == found
    json.dumps(found, allow_nan=False)
