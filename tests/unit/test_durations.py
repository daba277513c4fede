"""Durations, moments and numbers as users write them."""

import datetime as dt
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_lite import durations
from durable_lite.brief import brief
from durable_lite.errors import InvalidOption

UTC = dt.UTC


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (0.25, 0.25),
        (dt.timedelta(minutes=1, milliseconds=500), 60.5),
        ("90s", 90.0),
        ("5m", 300.0),
        ("24h", 86_400.0),
        ("3d", 259_200.0),
        ("1w", 604_800.0),
        ("1h30m", 5_400.0),
        ("250ms", 0.25),
        ("1w2d3h4m5s6ms", 788_645.006),
        ("1m1ms", 60.001),
        ("1.5h", 5_400.0),
        ("0h5m", 300.0),
    ],
)
def test_seconds(value, expected):
    result = durations.seconds(value, "x")
    assert result == pytest.approx(expected, rel=1e-12)
    assert type(result) is float


BAD = [
    "",
    " ",
    "5",
    "s",
    "5 m",
    " 5m",
    "5m\n",
    "5M",
    "5x",
    "5min",
    "-5m",
    "+5m",
    "1e3s",
    ".5s",
    "5.s",
    "30m1h",
    "1m1m",
    "٣m",
    "nan",
    "inf",
    "infs",
    "1" * 5000 + "s",
    -1,
    -0.001,
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    10**5000,
    1e300,
    "99999999w",
    True,
    False,
    None,
    b"5m",
    [5],
    Decimal(5),
    5j,
    dt.timedelta(seconds=-1),
    dt.timedelta.max,
    dt.datetime(2025, 1, 1, tzinfo=UTC),
]


@pytest.mark.parametrize("value", BAD, ids=brief)
@pytest.mark.parametrize("allow_zero", [False, True])
def test_anything_else_is_refused_by_name(value, allow_zero):
    with pytest.raises(InvalidOption) as caught:
        durations.seconds(value, "ttl", allow_zero=allow_zero)
    assert caught.value.option == "ttl"
    assert str(caught.value).startswith("ttl: ")
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("zero", [0, 0.0, -0.0, "0s", "0h0m", dt.timedelta(0)])
def test_zero_is_refused_unless_allowed(zero):
    with pytest.raises(InvalidOption, match="more than zero"):
        durations.seconds(zero, "delay")
    assert repr(durations.seconds(zero, "delay", allow_zero=True)) == "0.0"


def test_optional_seconds():
    assert durations.optional_seconds(None, "ttl") is None
    assert durations.optional_seconds("2s", "ttl") == 2.0
    with pytest.raises(InvalidOption, match="ttl"):
        durations.optional_seconds(0, "ttl")
    assert durations.optional_seconds(0, "ttl", allow_zero=True) == 0.0


@given(st.text())
def test_any_text_is_a_duration_or_refused(value):
    try:
        assert durations.seconds(value, "x", allow_zero=True) >= 0
    except InvalidOption as error:
        assert error.option == "x"  # noqa: PT017


def test_count():
    assert durations.count(1, "n") == 1
    assert durations.count(0, "n", minimum=0) == 0
    assert durations.count(10**20, "n") == 10**20


@pytest.mark.parametrize(
    "value", [0, -1, 1.0, 1.5, math.nan, math.inf, True, "1", None, Decimal(1), -(10**5000), [1]], ids=brief
)
def test_count_refuses(value):
    with pytest.raises(InvalidOption) as caught:
        durations.count(value, "concurrency")
    assert caught.value.option == "concurrency"


def test_count_below_its_minimum():
    with pytest.raises(InvalidOption, match="at least 0"):
        durations.count(-1, "warm_runs", minimum=0)


def test_number():
    assert durations.number(1, "factor", minimum=1) == 1.0
    assert type(durations.number(1, "factor")) is float
    assert durations.number(0, "factor") == 0.0


@pytest.mark.parametrize(
    "value", [0.99, -1, math.nan, math.inf, -math.inf, True, "2", None, 10**400], ids=brief
)
def test_number_refuses(value):
    with pytest.raises(InvalidOption) as caught:
        durations.number(value, "factor", minimum=1)
    assert caught.value.option == "factor"


def test_moment():
    aware = dt.datetime(2025, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert durations.moment(aware, "when") == 1_735_682_400.0
    assert durations.moment(12, "when") == 12.0
    assert durations.moment(-1.5, "when") == -1.5


def test_a_moment_needs_a_timezone():
    with pytest.raises(InvalidOption, match="no timezone; add one") as caught:
        durations.moment(dt.datetime(2025, 1, 1), "when")
    assert caught.value.option == "when"


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, 1e300, 10**400, True, "2025-01-01", None, dt.date(2025, 1, 1), dt.timedelta(1)],
    ids=brief,
)
def test_other_moments_are_refused(value):
    with pytest.raises(InvalidOption) as caught:
        durations.moment(value, "deadline")
    assert caught.value.option == "deadline"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-0.0, "0s"),
        (0.25, "250ms"),
        (0.0005, "0.5ms"),
        (0.9999999, "1s"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59.9999, "1m"),
        (60, "1m"),
        (90, "1m30s"),
        (90.4, "1m30s"),
        (5400, "1h30m"),
        (86_400 * 7, "7d"),
        (90_061, "1d1h1m1s"),
        (-90, "-1m30s"),
        (math.inf, "infs"),
    ],
)
def test_text(seconds, text):
    assert durations.text(seconds) == text


@given(st.integers(1, 10**9))
def test_text_of_whole_seconds_reads_back(seconds):
    assert durations.seconds(durations.text(seconds), "x") == seconds
