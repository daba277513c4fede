"""A trigger of the page makes the row that Python makes, and refuses by name what Python refuses."""

import datetime as dt
import json
import math
import re
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from durable_lite import Retry, job, keys
from durable_lite.durations import seconds
from durable_lite.errors import InvalidOption
from durable_lite.ids import IdMaker
from durable_lite.job import collect_jobs, manifest
from durable_lite.trigger import new_run
from tests.unit.test_durations import BAD
from tests.unit.test_payloads import Page
from tests.web_modules import javascript
from tests.web_modules.node import Refused

NOW = 1_740_821_400.123


@job("import/1", queue="slow", version="2", retry=Retry())
async def import_(ctx, payload: Page): ...


@job
async def export(ctx): ...


@job
async def later(ctx, pages: int = 5): ...


JOBS = collect_jobs([import_, export, later])
MANIFEST = json.loads(manifest(JOBS))


def camel(name: str) -> str:
    return re.sub("_(.)", lambda found: found[1].upper(), name)


def in_javascript(node, options, payload="null", wanted=export, known=MANIFEST):
    told = javascript.given({camel(name): value for name, value in options.items()})
    given = {"id": "an-id", "now": NOW, "job": wanted.name, "manifest": known, "environment": "e1"}
    return node("newRun", {**given, "payload": json.loads(payload), "options": told})


def both(node, options):
    """The row of each, or the option that it refuses."""
    try:
        python = new_run("an-id", NOW, export, "null", options, "e1")._asdict()
    except InvalidOption as error:
        python = camel(error.option)
    refused = None
    try:
        page = in_javascript(node, options)
    except Refused as error:
        refused, page = error, error.fields.get("option")
    if refused:
        assert str(refused).startswith(f"InvalidOption: {page}: ")
        assert len(str(refused)) < 250
    for row in (python, page):
        if isinstance(row, dict):
            row["tags"] = sorted(json.loads(row["tags"]))
    return python, page


MOMENTS = (
    "ready_at", "idempotency_expires_at", "max_duration", "deadline", "expires_at", "debounce_until",
)  # fmt: skip
# Which characters are assigned depends on the version of Unicode, which Python and Node needn't share.
text = st.text(
    st.characters(exclude_categories=("Cn",)) | st.sampled_from(["\uffff", "\U0010ffff"]), max_size=6
)
odd = st.sampled_from([None, True, "", "x", [], -1, 0, -0.0, math.nan, math.inf, 2**31, -(2**31), 1e300, {}])
durations = (
    st.integers(0, 10**6)
    | st.floats(0, 1e6)
    | st.sampled_from(["1h30m", "250ms", "1.5d", "0s", "30d", "5 m"])
)
parts = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats() | text
options = st.fixed_dictionaries(
    {},
    optional={
        "idempotency_key": text | st.lists(parts, max_size=4) | odd,
        "idempotency_ttl": durations | odd,
        "delay": durations | odd,
        "deadline": st.floats(0, 1e10)
        | st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)).map(
            lambda value: value.replace(microsecond=value.microsecond // 1000 * 1000)
        )
        | odd,
        "priority": st.integers(-(2**32), 2**32) | odd,
        "queue": text | odd,
        "max_duration": durations | odd,
        "tags": st.lists(text, max_size=3) | odd.filter(lambda value: value != {}),  # an object has no items
        "scope": st.sampled_from(["global", "run", "attempt", "x"]),
        "concurrency_key": text | st.lists(parts, max_size=4) | odd,
        "on_busy": st.sampled_from(["queue", "skip", "reject", "x", None]),
        "ttl": durations | odd,
    },
)
debounces = st.fixed_dictionaries(
    {"debounce_key": st.sampled_from(["a key", ["a", 1], "", None]), "debounce_delay": durations | odd},
    optional={
        "debounce_mode": st.sampled_from(["trailing", "leading", "x", None]),
        "debounce_max": durations | odd,
        "delay": st.just(0) | durations,
        "deadline": st.just(NOW + 1),
        "ttl": durations,
    },
)


@given(given=options | debounces)
@settings(max_examples=600)
@example(given={"delay": 60, "deadline": NOW + 1})
@example(given={"tags": ["b", "a", "b"], "queue": "q" * 200, "priority": -(2**31) + 1})
@example(given={"queue": "q" * 201})
@example(given={"queue": "🙂" * 200})
@example(given={"tags": "a"})
@example(given={"tags": ["𝄞" * 200, *map(str, range(49))]})
@example(given={"tags": ["𝄞" * 201]})
@example(given={"tags": [*map(str, range(51))]})
@example(
    given={"delay": "5m", "idempotency_key": ["é", 1.0, -0.0, 0.1, 1e21, True, None], "idempotency_ttl": "1h"}
)
@example(
    given={"concurrency_key": ["é", 1.0], "on_busy": "reject", "ttl": "5m", "delay": 60, "deadline": NOW + 1}
)
@example(given={"on_busy": "skip"})
@example(
    given={"debounce_key": "k", "debounce_delay": 5, "debounce_max": 60, "ttl": "1m", "deadline": NOW + 1}
)
@example(given={"debounce_key": "k", "debounce_delay": 5, "debounce_mode": "leading", "ttl": 1})
@example(given={"debounce_key": "k", "debounce_delay": 5, "debounce_mode": "leading", "debounce_max": 60})
@example(given={"debounce_key": "k", "debounce_delay": 5, "debounce_max": 4})
@example(given={"debounce_key": "k", "debounce_delay": 5, "delay": 1})
@example(given={"debounce_key": "k"})
@example(given={"debounce_max": 5})
def test_a_row(node, given):
    python, page = both(node, given)
    if isinstance(python, dict) and isinstance(page, dict):
        for name in MOMENTS:
            assert page[name] == (python[name] and pytest.approx(python.pop(name), rel=1e-14))
            python[name] = page[name]
        assert page == python
    else:
        # 2.0 and 0.0 are integers for JavaScript.
        whole = isinstance(given.get("priority"), float)
        assert page == python or (whole and python == "priority")


def test_python_has_the_same_options(node):
    from durable_lite.trigger import TriggerOptions

    for name in TriggerOptions.__annotations__:
        with pytest.raises(Refused, match=f"InvalidOption: {camel(name)}: "):
            in_javascript(node, {name: [[]]})
    with pytest.raises(Refused, match="InvalidOption: delayed: trigger has no such option"):
        in_javascript(node, {"delayed": 1})


class TestJobs:
    def test_of_the_manifest(self, node):
        row = in_javascript(node, {}, '["Object", [["number", ["number", "3ff0000000000000"]]]]', import_)
        assert (row["queue"], row["version"], row["payload"]) == ("slow", "2", '{"number":1}')
        assert in_javascript(node, {"queue": "fast"}, '["undefined", null]', import_)["queue"] == "fast"

    def test_a_bad_payload(self, node):
        with pytest.raises(Refused) as caught:
            in_javascript(node, {}, '["Object", [["number", "x"]]]', import_)
        assert (
            str(caught.value)
            == "InvalidPayload: payload of import/1: $.number: expected integer, got string 'x'"
        )
        assert caught.value.fields["job"] == "import/1"
        assert caught.value.fields["problems"] == [
            {"path": "$.number", "message": "expected integer, got string 'x'"}
        ]

    @pytest.mark.parametrize("payload", ["null", '["undefined", null]'])
    def test_a_payload_that_isnt_given_may_have_a_default(self, node, payload):
        row = in_javascript(node, {}, payload, later)
        assert row["payload"] == "null"
        assert later.payload.decode(row["payload"]) == 5

    @pytest.mark.parametrize("name", ["imports", "toString", ""])
    def test_unknown(self, node, name):
        with pytest.raises(Refused, match=r"UnknownJob: .* \(known: export, import/1, later\)"):
            node("newRun", {"id": "i", "now": NOW, "job": name, "manifest": MANIFEST})
        with pytest.raises(Refused, match=r"UnknownJob: .* \(known: none\)"):
            node("newRun", {"id": "i", "now": NOW, "job": name, "manifest": {}})

    def test_without_a_manifest(self, node):
        row = in_javascript(node, {}, '["Array", []]', import_, None)
        assert (row["queue"], row["version"], row["payload"]) == ("default", None, "[]")
        with pytest.raises(Refused, match="InvalidOption: job: expected printable text"):
            node("newRun", {"id": "i", "now": NOW, "job": ""})

    def test_too_large(self, node):
        half = json.dumps("é" * (2**21 - 1))
        assert in_javascript(node, {}, half, import_, None)["payload"]
        with pytest.raises(Refused, match="TooLarge: payload of import/1: "):
            in_javascript(node, {}, json.dumps("é" * 2**21), import_, None)

    def test_not_serializable(self, node):
        with pytest.raises(Refused, match=r"NotSerializable: payload of import/1: \$\[0\]: "):
            in_javascript(node, {}, '["Array", [["undefined", null]]]', import_)


class TestKeys:
    @given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
    @settings(max_examples=300)
    @example(
        [
            0.1,
            1.0,
            -0.0,
            1e21,
            1e16,
            1e15,
            9007199254740991.0,
            9007199254740992.0,
            -9007199254740994.0,
            123456.789,
        ]
    )
    @example(
        [1e-4, 1e-5, 1.5e-5, 1e-7, 5e-324, sys.float_info.max, -1e-6, 12345678901234567890.0, 1e100, 0.3]
    )
    def test_numbers(self, node, values):
        assert node("canonical", javascript.given(values)) == keys.canonical(values)

    @given(st.lists(st.integers(-(10**30), 10**30), min_size=1, max_size=9))
    def test_integers(self, node, values):
        assert node("canonical", ["Array", [["bigint", str(value)] for value in values]]) == keys.canonical(
            values
        )

    @given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=200))
    @example('\x00\x1f\x7f\u2028"\\/\b\f\n\r\t')
    @example("é" * 511)
    def test_text(self, node, value):
        assert node("canonical", value) == keys.canonical(value)
        if len(value) < 200:
            assert node("canonical", ["Array", [value]]) == keys.canonical([value])

    @pytest.mark.parametrize(
        "told",
        ["", "é" * 512, "\ud800", "x" * 1023, ["Array", []], ["Array", ["\udc00"]], ["Object", []], None, True,
         ["Array", [["Array", []]]], ["Array", [["undefined", None]]], ["Array", [javascript.number(math.nan)]],
         ["Array", ["x" * 1021]], ["Array", [["Date", 0]]], ["bigint", "1"], ["Array", [["bigint", hex(10**1025)]]]],
    )  # fmt: skip
    def test_refused(self, node, told):
        with pytest.raises(Refused) as caught:
            node("canonical", told)
        assert caught.value.fields["option"] == "idempotencyKey"
        assert len(str(caught.value)) < 250


class TestDurations:
    @given(
        st.tuples(
            *[st.none() | st.integers(0, 999).map(str) | st.decimals(0, 99, places=3).map(str)] * 6
        ).map(
            lambda amounts: "".join(
                f"{amount}{unit}"
                for amount, unit in zip(amounts, ("w", "d", "h", "m", "s", "ms"), strict=True)
                if amount
            )
        )
    )
    def test_text(self, node, value):
        # Python rounds the sum once.
        if value:
            assert node("seconds", value, True) == pytest.approx(
                seconds(value, "x", allow_zero=True), rel=1e-15
            )

    @given(st.floats(0, 3e10) | st.integers(0, 3 * 10**10))
    def test_numbers(self, node, value):
        assert node("seconds", javascript.number(value), True) == seconds(value, "x", allow_zero=True)

    @given(st.text(st.sampled_from("0123456789.wdhms -+e"), max_size=8))
    def test_any_text(self, node, value):
        try:
            expected = seconds(value, "x")
        except InvalidOption as error:
            with pytest.raises(Refused) as caught:
                node("seconds", value, False)
            assert caught.value.fields["option"] == error.option  # noqa: PT017
        else:
            assert node("seconds", value, False) == pytest.approx(expected, rel=1e-15)

    @pytest.mark.parametrize(
        "value", [value for value in BAD if isinstance(value, str | float | bool | None)], ids=repr
    )
    @pytest.mark.parametrize("zero", [False, True])
    def test_refused(self, node, value, zero):
        with pytest.raises(Refused, match="^InvalidOption: x: ") as caught:
            node("seconds", javascript.given(value), zero)
        assert len(str(caught.value)) < 250

    @pytest.mark.parametrize("value", [0, "0s", -0.0])
    def test_zero(self, node, value):
        assert node("seconds", javascript.given(value), True) == 0
        with pytest.raises(Refused, match="more than zero"):
            node("seconds", javascript.given(value), False)


class _Fixed:
    def __init__(self, now):
        self._now = now

    def now(self):
        return self._now

    def bits(self, count):
        return 2**count - 1


class TestIds:
    def test_as_pythons(self, node):
        (made,) = node("makeId", [NOW])
        expected = IdMaker(_Fixed(NOW), _Fixed(NOW))()
        assert re.fullmatch("[0-9a-hjkmnp-tv-z]{26}", made)
        assert made[:10] == expected[:10]
        assert made <= expected

    def test_they_sort_as_they_were_made(self, node):
        moments = [NOW + 10 + (n // 100) / 1000 for n in range(2000)] + [NOW, 0, -1]
        made = node("makeId", moments)
        assert made == sorted(made)
        assert len(set(made)) == len(moments)
        assert made[1999][:10] == IdMaker(_Fixed(moments[1999]), _Fixed(0))()[:10]
        # Every bit of chance is used, but for the one that counting needs.
        alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
        (later,) = node("makeId", [NOW + 100])
        assert {
            char for made in node("makeId", [NOW + 200 + n for n in range(400)]) for char in made[11:]
        } == set(alphabet)
        assert later > made[-1]
