"""When schedules tick: cron expressions over changes of clocks, and multiples of a duration."""

import datetime as dt
import json
import math
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_lite import InvalidOption, Schedule, Tick
from durable_lite.payloads import PayloadType
from durable_lite.timetable import text, timetable

ROME = ZoneInfo("Europe/Rome")
MOMENTS = st.floats(1.0e9, 2.2e9)


def ticks(schedule, first, count):
    """So many ticks after a local time, as local times."""
    times = timetable(schedule.spec)
    at = dt.datetime.fromisoformat(first).replace(tzinfo=times.zone).timestamp()
    found = []
    for _ in range(count):
        at = times.after(at)
        found.append(text(at, times.zone))
    return found


@pytest.mark.parametrize(
    ("cron", "first", "expected"),
    [
        # Spring: 2:00 to 3:00 isn't there. What was to be then comes right after, and once.
        ("30 2 * * *", "2026-03-28T12:00", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]),
        ("0 2,3 * * *", "2026-03-28T12:00", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]),
        ("0 * * * *", "2026-03-29T01:30", ["2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"]),
        # Autumn: 2:00 to 3:00 is there twice. What has its time comes once, what comes each hour each hour.
        ("30 2 * * *", "2026-10-24T12:00", ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]),
        (
            "0 * * * *",
            "2026-10-25T01:30",
            ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"],
        ),
        ("0 9 * * 1", "2026-11-22T10:00", ["2026-11-23T09:00:00+01:00", "2026-11-30T09:00:00+01:00"]),
        ("0 9 L * *", "2028-02-01T00:00", ["2028-02-29T09:00:00+01:00", "2028-03-31T09:00:00+02:00"]),
        ("*/20 * * * * *", "2026-01-01T00:00", ["2026-01-01T00:00:20+01:00", "2026-01-01T00:00:40+01:00"]),
    ],
)
def test_cron(cron, first, expected):
    assert ticks(Schedule(cron, tz="Europe/Rome"), first, len(expected)) == expected


@pytest.mark.parametrize(
    ("cron", "first", "expected"),
    [
        # 2:00 is 1:30 again in April, and 2:30 in October.
        ("15 */5 * * *", "2026-04-05T00:30", ["2026-04-05T05:15:00+10:30", "2026-04-05T10:15:00+10:30"]),
        ("15 */5 * * *", "2026-10-04T00:30", ["2026-10-04T05:15:00+11:00", "2026-10-04T10:15:00+11:00"]),
        (
            "45 * * * *",
            "2026-04-05T01:00",
            ["2026-04-05T01:45:00+11:00", "2026-04-05T01:45:00+10:30", "2026-04-05T02:45:00+10:30"],
        ),
        ("15 * * * *", "2026-10-04T01:00", ["2026-10-04T01:15:00+10:30", "2026-10-04T03:15:00+11:00"]),
        ("0 35 1 * * *", "2026-10-04T01:36", ["2026-10-05T01:35:00+11:00"]),
    ],
)
def test_clocks_that_change_by_half_an_hour(cron, first, expected):
    assert ticks(Schedule(cron, tz="Australia/Lord_Howe"), first, len(expected)) == expected


def test_every():
    assert ticks(Schedule(every="15m"), "2026-01-01T00:07", 2) == [
        "2026-01-01T00:15:00+00:00",
        "2026-01-01T00:30:00+00:00",
    ]


CRONS = st.sampled_from(
    ["* * * * *", "30 2 * * *", "*/30 2 * * *", "0 2,3 * * *", "15 */5 * * *", "45 * * * *", "0 35 1 * * *",
     "0 0 29 2 *", "0 12 1 */3 *", "59 23 L * *", "0 3 * * 0#1"]
)  # fmt: skip
ZONES = st.sampled_from(
    ["UTC", "Europe/Rome", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia",
     "America/Havana"]
)  # fmt: skip
# Around the hours in which clocks change, too.
CHANGES = [
    dt.datetime(2026, 3, 29, 1, tzinfo=dt.UTC),
    dt.datetime(2026, 10, 25, 1, tzinfo=dt.UTC),
    *(dt.datetime(2026, month, day, 15, 0, tzinfo=dt.UTC) for month, day in ((4, 4), (10, 3))),  # Lord Howe's
]
NEAR = st.builds(
    lambda change, hours: change.timestamp() + 3600 * hours, st.sampled_from(CHANGES), st.floats(-30, 30)
)


@given(st.builds(Schedule, CRONS, tz=ZONES), MOMENTS | NEAR)
def test_the_last_and_the_next_tick_are_neighbours(schedule, moment):
    holds(timetable(schedule.spec), moment)


@given(st.floats(1.0, 1e7) | st.sampled_from([1.0, 60.0, 3600.0, 86_400.0, 0.1 + 1]), MOMENTS)
def test_multiples_are_neighbours(every, moment):
    times = timetable(Schedule(every=every).spec)
    holds(times, moment)
    assert times.after(moment) - times.last(moment) == pytest.approx(every)


def holds(times, moment):
    last, following = times.last(moment), times.after(moment)
    assert last <= moment < following
    assert times.after(last) == following
    assert times.last(following) == following
    assert times.last(math.nextafter(following, 0)) == last
    assert times.after(math.nextafter(last, 0)) == last


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "takes either a cron expression or every="),
        ({"cron": "* * * * *", "every": "1m"}, "takes either"),
        ({"cron": "every day"}, "Schedule: cron: 'every day': Wrong number of fields"),
        ({"cron": "61 * * * *"}, "Schedule: cron: '61 * * * *': Bad minute"),
        ({"cron": "0 0 30 2 *"}, "Schedule: cron"),
        ({"cron": 5}, "Schedule: cron: expected text"),
        ({"cron": "* " * 500}, "Schedule: cron: expected text"),
        ({"cron": "* * * * *", "tz": "Europe/Nowhere"}, "no time zone is called 'Europe/Nowhere'"),
        ({"cron": "* * * * *", "tz": "../../etc/passwd"}, "no time zone is called"),
        ({"cron": "* * * * *", "tz": ROME}, "Schedule: tz: expected text"),
        ({"every": "1h", "tz": "UTC"}, "Schedule: tz: is for cron"),
        ({"every": "0.5s"}, "Schedule: every: must be at least 1 s"),
        ({"every": "soon"}, "Schedule: every: 'soon' is not a duration"),
        ({"every": math.nan}, "Schedule: every"),
        ({"every": "1h", "catch_up": "some"}, "Schedule: catch_up: 'some' is none of 'one', 'all', 'none'"),
        ({"every": "1h", "name": ""}, "name of a schedule"),
    ],
)
def test_mistakes_are_named(given, message):
    with pytest.raises(InvalidOption) as caught:
        Schedule(**given)
    assert message in str(caught.value)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_read_or_refused(cron, tz):
    for options in ({"cron": cron}, {"cron": "0 0 * * *", "tz": tz}):
        try:
            spec = Schedule(**options, name="x").spec
        except InvalidOption:
            continue
        assert timetable(spec).after(0.0) > 0
        assert set(json.loads(spec)) == {"cron", "tz"}


def test_names():
    shown = [
        Schedule("0 9 * * 1").name,
        Schedule("0 9 * * 1", tz="Europe/Rome").name,
        Schedule(every="15m").name,
        Schedule(every=dt.timedelta(hours=1)).name,
        Schedule(every=90, name="often").name,
    ]
    assert shown == ["0 9 * * 1", "0 9 * * 1 Europe/Rome", "every 15m", "every 1:00:00", "often"]


def test_a_tick_is_read_from_what_a_ticker_writes():
    async def works(ctx, tick: Tick):
        pass

    at = dt.datetime(2026, 3, 29, 3, tzinfo=ROME)
    written = json.dumps({"timestamp": text(at.timestamp(), ROME), "last_timestamp": None})
    assert PayloadType(works, "works").decode(written) == Tick(at, None)
