"""Callbacks share turns of a loop that would spend one on each."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_lite.browser.turns import Turns


class Browser(asyncio.AbstractEventLoop):
    """A loop whose turns and timers are played by hand."""

    def __init__(self) -> None:
        self.soon: list = []
        self.timers: list = []
        self.now = 0.0
        self.turns = Turns(self, clock=lambda: self.now)
        self.failures: list = []

    def call_soon(self, callback, *args, context=None):
        self.soon.append((callback, args))

    def call_later(self, delay, callback, *args, context=None):
        self.timers.append((self.now + delay, callback, args))

    def call_exception_handler(self, context):
        self.failures.append(context["exception"])

    def get_debug(self):
        return False

    def play(self) -> int:
        """Turns until nothing is asked for; how many."""
        count = 0
        while self.soon:
            callback, args = self.soon.pop(0)
            callback(*args)
            count += 1
        return count

    def passes(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, callback, args in due:
            callback(*args)


@pytest.fixture
def browser():
    return Browser()


def test_what_is_ready_and_what_that_makes_ready_share_a_turn(browser):
    ran = []

    def first():
        ran.append(1)
        browser.call_soon(lambda: (ran.append(3), browser.call_soon(ran.append, 4)))

    browser.call_soon(first)
    browser.call_soon(ran.append, 2)
    assert browser.play() == 1
    assert ran == [1, 2, 3, 4]
    browser.call_soon(ran.append, 5)
    assert browser.play() == 1


def test_a_long_turn_ends_and_another_one_goes_on(browser):
    ran = []

    def slow(number):
        browser.now += 0.003
        ran.append(number)

    for number in range(6):
        browser.call_soon(slow, number)
    assert browser.play() == 3
    assert ran == list(range(6))


def test_one_that_is_cancelled_does_not_run_and_one_that_fails_harms_no_other(browser):
    ran = []
    browser.call_soon(ran.append, 1).cancel()
    browser.call_soon(lambda: 1 / 0)
    browser.call_soon(ran.append, 2)
    browser.play()
    assert ran == [2]
    assert [type(error) for error in browser.failures] == [ZeroDivisionError]


def test_an_exit_leaves_the_others_their_turn(browser):
    ran = []

    def leave():
        raise SystemExit

    browser.call_soon(leave)
    browser.call_soon(ran.append, 1)
    with pytest.raises(SystemExit):
        browser.play()
    browser.play()
    assert ran == [1]


def test_others_go_on_while_one_waits_within_its_turn(browser):
    """As `run_sync` does: JavaScript runs meanwhile, and with it the loop's timers."""
    ran = []

    def waits(name, seconds):
        ran.append(f"{name} begins")
        browser.call_soon(ran.append, f"called by {name}")
        while seconds > 0:
            browser.passes(0.005)
            browser.play()
            seconds -= 0.005
        ran.append(f"{name} ends")

    browser.call_soon(waits, "a", 0.1)
    browser.call_soon(ran.append, "beside")
    browser.call_soon(waits, "b", 0.05)
    browser.call_soon(ran.append, "last")
    browser.play()
    begins, ends = ran.index("a begins"), ran.index("a ends")
    assert (
        begins < ran.index("beside") < ran.index("b begins") < ran.index("last") < ran.index("b ends") < ends
    )
    assert ran.count("last") == ran.count("called by a") == ran.count("called by b") == 1
    browser.call_soon(ran.append, "after")
    browser.play()
    assert ran[-1] == "after"


def test_nothing_is_watched_once_nothing_is_ready(browser):
    browser.call_soon(lambda: None)
    browser.play()
    browser.passes(1)
    assert not browser.timers
    assert not browser.soon


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 0.006)), max_size=12))
def test_each_runs_once_and_in_order(works):
    browser, ran, made = Browser(), [], []

    def work(number, children, took):
        ran.append(number)
        browser.now += took
        for _ in range(children):
            made.append(len(made))
            browser.call_soon(work, made[-1], 0, took)

    for children, took in works:
        made.append(len(made))
        browser.call_soon(work, made[-1], children, took)
    browser.play()
    assert ran == sorted(made)
    browser.passes(1)
    assert not browser.soon
