"""The retry policy."""

import copy
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_lite import errors
from durable_lite.errors import InvalidOption
from durable_lite.retry import Retry, never_retried


def test_defaults():
    retry = Retry()
    assert (retry.max_attempts, retry.factor, retry.min_delay, retry.max_delay) == (3, 2.0, 1.0, 60.0)
    assert retry.jitter is True
    assert retry.children is False


def test_never_is_one_attempt():
    assert Retry(max_attempts=1) == Retry.NEVER


@pytest.mark.parametrize(
    ("options", "name"),
    [
        *(
            ({"max_attempts": value}, "max_attempts")
            for value in (0, -1, 1.5, 3.0, math.nan, True, "3", None)
        ),
        *(({"factor": value}, "factor") for value in (0, 0.5, -1, math.nan, math.inf, True, "2", None)),
        *(
            ({"min_delay": value}, "min_delay")
            for value in (0, -1, math.nan, math.inf, True, "1", "", "0s", None)
        ),
        *(({"max_delay": value}, "max_delay") for value in (0, -1, math.nan, math.inf, True, "1x", None)),
        *(({"jitter": value}, "jitter") for value in (0, 1, None, "yes", 0.5)),
        *(({"children": value}, "children") for value in (0, 1, None, "yes")),
        ({"min_delay": "2m"}, "min_delay"),
        ({"max_delay": "500ms"}, "min_delay"),
    ],
)
def test_an_option_is_refused_by_name(options, name):
    with pytest.raises(InvalidOption) as caught:
        Retry(**options)
    assert caught.value.option == f"Retry({name})"


def test_delays_grow_up_to_the_cap():
    retry = Retry(factor=3, min_delay="2s", max_delay="1m", jitter=False)
    assert [retry.delay(n, 0.7) for n in (1, 2, 3, 4, 5, 10**400)] == [2, 6, 18, 54, 60, 60]


def test_jitter_spreads_the_capped_delay_too():
    retry = Retry(min_delay="10s", max_delay="10s")
    assert [retry.delay(9, uniform) for uniform in (0.0, 0.5, 0.999)] == [5.0, 7.5, pytest.approx(9.995)]


@given(
    st.integers(1) | st.just(10**400),
    st.floats(0, 1, exclude_max=True),
    st.floats(1, 1e300),
    st.booleans(),
)
def test_a_delay_is_never_out_of_bounds(failures, uniform, factor, jitter):
    retry = Retry(factor=factor, min_delay="100ms", max_delay="1h", jitter=jitter)
    full = Retry(factor=factor, min_delay="100ms", max_delay="1h", jitter=False).delay(failures, uniform)
    delay = retry.delay(failures, uniform)
    assert 0.1 <= full <= 3600
    assert full / 2 <= delay <= full
    assert jitter or delay == full


def test_it_is_a_value():
    one, same = Retry(max_attempts=5, min_delay="500ms"), Retry(max_attempts=5, min_delay=0.5)
    assert one == same
    assert hash(one) == hash(same)
    assert copy.deepcopy(one) == one
    for options in ({"factor": 3}, {"jitter": False}, {"children": True}, {"max_delay": 9}, {"min_delay": 1}):
        assert Retry(**{"max_attempts": 5, "min_delay": 0.5, **options}) != one
    assert one != 5
    assert eval(repr(one), {"Retry": Retry}) == one  # noqa: S307  of our own text


def test_it_is_immutable():
    retry = Retry()
    with pytest.raises(AttributeError, match="immutable"):
        retry.max_attempts = 9
    with pytest.raises(AttributeError):
        retry.unknown = 1
    with pytest.raises(AttributeError):
        del retry.factor
    assert retry == Retry()


@pytest.mark.parametrize(
    "error",
    [
        errors.AbortRun("no"),
        errors.NotSerializable("k", "$", "no"),
        errors.TooLarge("k", 2, 1),
        errors.KeyReused("k"),
        errors.InvalidPayload("job", [("$", "no")]),
        type("Own", (errors.AbortRun,), {})(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_never_retried(error):
    assert never_retried(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        errors.RetryAfter("1s"),
        errors.StepTimeout("k", 1),
        errors.StepFailed("k", "AbortRun", ""),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_others_are_retried(error):
    assert not never_retried(error)
