"""When a heartbeat is too old: by the wall clock at exactly `stale_after`, or unchanged for as long."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_lite.records import Lease
from durable_lite.staleness import LeaseWatch, too_old


def lease(run_id="run", generation=1, worker="worker", heartbeat_at=1000.0, via="lease", executed=0.0):
    return Lease(run_id, generation, worker, heartbeat_at, via, executed)


@pytest.mark.parametrize(
    ("age", "stale"),
    [
        (0, False),
        (29.9, False),
        (30, True),
        (31, True),
        (1e9, True),
        (-1, False),
        (-30, False),
        (-30.1, True),
    ],
)
def test_the_border(age, stale):
    assert too_old(1000.0, 1000.0 + age, 30) is stale


@given(st.floats(-1e10, 1e10), st.floats(-1e5, 1e5), st.floats(0.1, 1e4))
def test_a_fresh_heartbeat_is_within_stale_after_of_now(heartbeat_at, age, stale_after):
    now = heartbeat_at + age
    if abs(now - heartbeat_at) < stale_after:
        assert not too_old(heartbeat_at, now, stale_after)
    if now - heartbeat_at >= stale_after:
        assert too_old(heartbeat_at, now, stale_after)


def test_fresh_leases_are_left_alone():
    watch = LeaseWatch(30)
    assert watch.stale([lease(heartbeat_at=990), lease("other", heartbeat_at=1000)], 1000, 0) == []


def test_the_old_one_is_found_among_others():
    watch = LeaseWatch(30)
    old = lease("old", heartbeat_at=970)
    assert watch.stale([lease("young"), old, lease("also", heartbeat_at=971)], 1000, 0) == [old]


def test_one_seen_for_the_first_time_is_not_unchanged_for_long():
    watch = LeaseWatch(30)
    assert watch.stale([lease()], 1000, 1e6) == []


def test_unchanged_for_stale_after_on_the_monotonic_clock_it_is_stale():
    """However the wall clock was set meanwhile."""
    watch = LeaseWatch(30)
    assert watch.stale([lease()], 1000, 100) == []
    assert watch.stale([lease()], 980, 129.9) == []
    assert watch.stale([lease()], 975, 130) == [lease()]


@pytest.mark.parametrize(
    "sign",
    [{"heartbeat_at": 1000.5}, {"generation": 2}, {"worker": "another"}],
    ids=["heartbeat", "generation", "worker"],
)
def test_a_sign_of_life_starts_the_count_anew(sign):
    watch = LeaseWatch(30)
    watch.stale([lease()], 1000, 100)
    assert watch.stale([lease(**sign)], 1000, 129) == []
    assert watch.stale([lease(**sign)], 1000, 158) == []
    assert watch.stale([lease(**sign)], 1000, 159) == [lease(**sign)]


@pytest.mark.parametrize("no_sign", [{"via": "lock"}, {"executed": 5.0}], ids=["via", "executed"])
def test_what_is_no_heartbeat_is_no_sign_of_life(no_sign):
    watch = LeaseWatch(30)
    watch.stale([lease()], 1000, 100)
    assert watch.stale([lease(**no_sign)], 1000, 130) == [lease(**no_sign)]


def test_a_lease_that_was_gone_in_between_is_a_new_one():
    watch = LeaseWatch(30)
    watch.stale([lease()], 1000, 100)
    watch.stale([], 1000, 110)
    assert watch.stale([lease()], 1000, 131) == []


def test_when_the_next_would_be_stale():
    watch = LeaseWatch(30)
    assert watch.next_stale(1000, 100) is None
    watch.stale([lease(heartbeat_at=990), lease("other", heartbeat_at=999)], 1000, 100)
    assert watch.next_stale(1000, 100) == 20
    assert watch.next_stale(1010, 110) == 10
    assert watch.next_stale(900, 125) == 5  # set back: the monotonic clock counts
    assert watch.next_stale(1020, 120) == 0
    watch.stale([], 1020, 120)
    assert watch.next_stale(1020, 120) is None


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(-100, 100), st.sampled_from(["a", "b", "c"]), st.booleans()),
        max_size=30,
    )
)
def test_no_lease_stays_unchanged_for_longer_than_stale_after(moves):
    """Whatever the wall clock does: silence on the monotonic clock is always found."""
    watch, monotonic, now = LeaseWatch(30), 0.0, 1000.0
    leases = {name: lease(name, heartbeat_at=now) for name in "abc"}
    changed = dict.fromkeys("abc", -math.inf)
    for passed, wall, name, beats in moves:
        monotonic, now = monotonic + passed, now + wall
        if beats:
            leases[name] = leases[name]._replace(heartbeat_at=leases[name].heartbeat_at + 0.25)
            changed[name] = monotonic
        found = {one.run_id for one in watch.stale(leases.values(), now, monotonic)}
        for one in "abc":
            if math.isinf(changed[one]):
                changed[one] = monotonic  # seen for the first time
            silent = monotonic - changed[one] >= 30
            assert (one in found) == (silent or too_old(leases[one].heartbeat_at, now, 30))
