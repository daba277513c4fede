"""The suspension rule by itself: what counts as in flight, what is parked, and when the rule is met."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_lite.inflight import InFlight, Scope
from durable_lite.testing import VirtualClock
from tests import harness

GRACE = 0.05


class Rule:
    """An `InFlight` on a virtual clock, how often it found the rule met, and its parked calls."""

    def __init__(self, grace: float = GRACE) -> None:
        self.clock = VirtualClock()
        self.met = 0
        self.inflight = InFlight(self.clock, grace, self, self._idle)
        self.root = self.inflight.root
        self.parks: list[asyncio.Task[None]] = []

    def _idle(self) -> None:
        self.met += 1

    async def __aenter__(self) -> Rule:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.parks:
            task.cancel()
        await asyncio.gather(*self.parks, return_exceptions=True)

    def step(self, path: str = "step", parent: Scope | None = None) -> Scope:
        """A step starts in `parent`, by default the job itself."""
        self.inflight.enter(parent or self.root)
        return Scope(path, self)

    def ends(self, step: Scope, parent: Scope | None = None) -> None:
        self.inflight.close(step)
        self.inflight.leave(parent or self.root)

    def parked(self, seconds: float, scope: Scope | None = None, path: str = "wait") -> asyncio.Task[None]:
        """A wait, from the start of its call to its end."""
        return self._park(scope or self.root, path, self.clock.now() + seconds)

    def _park(self, scope: Scope, path: str, wake_at: float) -> asyncio.Task[None]:
        async def wait() -> None:
            self.inflight.enter(scope)
            try:
                await self.inflight.park(path, wake_at)
            finally:
                self.inflight.leave(scope)

        self.parks.append(asyncio.ensure_future(wait()))
        return self.parks[-1]


async def test_nothing_in_flight_and_nothing_parked_is_not_idle():
    async with Rule() as rule:
        rule.inflight.touch()
        await rule.clock.advance("1h")
        assert (rule.met, rule.inflight.idle, rule.inflight.busy) == (0, False, 0)


async def test_a_step_in_flight_is_not_idle():
    async with Rule() as rule:
        rule.step()
        assert rule.inflight.busy == 1
        await rule.clock.advance("1h")
        assert rule.met == 0


async def test_a_wait_alone_is_idle_after_the_grace():
    async with Rule() as rule:
        rule.parked(3600)
        await rule.clock.advance(GRACE - 0.001)
        assert (rule.met, rule.inflight.idle) == (0, False)
        await rule.clock.advance(0.002)
        assert (rule.met, rule.inflight.idle) == (1, True)
        await rule.clock.advance("10m")
        assert rule.met == 1


async def test_without_grace_it_is_idle_at_once():
    async with Rule(grace=0) as rule:
        rule.parked(3600)
        await rule.clock.advance(0)
        assert rule.met == 1


async def test_a_wait_beside_a_step_is_idle_once_the_step_has_ended():
    async with Rule() as rule:
        step = rule.step()
        rule.parked(3600)
        await rule.clock.advance("1m")
        assert (rule.met, rule.inflight.busy) == (0, 1)
        rule.ends(step)
        assert rule.inflight.busy == 0
        await rule.clock.advance(GRACE)
        assert rule.met == 1


async def test_a_step_whose_only_call_is_parked_is_parked_itself():
    async with Rule() as rule:
        step = rule.step()
        inner = rule.step("step/inner", step)
        assert rule.inflight.busy == 1
        rule.parked(3600, inner)
        await rule.clock.advance(GRACE)
        assert (rule.met, rule.inflight.busy) == (1, 0)


async def test_a_step_with_a_parked_and_a_busy_call_is_busy():
    async with Rule() as rule:
        step = rule.step()
        rule.parked(3600, step)
        inner = rule.step("step/inner", step)
        await rule.clock.advance("1m")
        assert (rule.met, rule.inflight.busy) == (0, 1)
        rule.ends(inner, step)
        await rule.clock.advance(GRACE)
        assert rule.met == 1


async def test_calls_that_a_step_left_in_flight_count_on():
    async with Rule() as rule:
        rule.parked(3600)
        await rule.clock.settle()
        step = rule.step()
        left = [rule.step(f"step/{number}", step) for number in range(2)]
        assert rule.inflight.busy == 2
        rule.ends(step)
        assert rule.inflight.busy == 2
        await rule.clock.advance("1m")
        assert rule.met == 0
        for inner in left:
            rule.ends(inner, step)
        assert rule.inflight.busy == 0
        await rule.clock.advance(GRACE)
        assert rule.met == 1


async def test_a_wait_that_a_step_left_in_flight_stays_parked():
    async with Rule() as rule:
        step = rule.step()
        wait = rule.parked(60, step)
        await rule.clock.settle()
        rule.ends(step)
        assert (rule.inflight.busy, len(rule.inflight.parked)) == (0, 1)
        await rule.clock.advance(61)
        assert wait.done()
        assert (rule.inflight.busy, len(rule.inflight.parked)) == (0, 0)


async def test_a_failed_attempt_is_closed_and_the_next_has_a_scope_of_its_own():
    async with Rule() as rule:
        first = rule.step()
        first.ordinal = 3
        left = rule.step("step/left", first)
        rule.inflight.close(first)
        second = first.next_attempt()
        assert (second.path, second.ordinal, second.closed, second.active) == ("step", 3, False, 0)
        back_off = asyncio.ensure_future(rule.inflight.park("step", rule.clock.now() + 600))
        rule.parks.append(back_off)
        await rule.clock.settle()
        assert rule.inflight.busy == 1  # what the first attempt left
        rule.ends(left, first)
        assert rule.inflight.busy == 0
        await rule.clock.advance(601)
        assert back_off.done()
        assert rule.inflight.busy == 1
        rule.ends(second)
        assert rule.inflight.busy == 0


async def test_a_call_within_the_grace_starts_it_anew():
    async with Rule() as rule:
        rule.parked(3600)
        for _ in range(5):
            await rule.clock.advance(GRACE * 0.8)
            rule.ends(rule.step())
        assert rule.met == 0
        await rule.clock.advance(GRACE)
        assert rule.met == 1


async def test_so_does_a_call_that_is_answered_at_once():
    async with Rule() as rule:
        rule.parked(3600)
        for _ in range(5):
            await rule.clock.advance(GRACE * 0.8)
            rule.inflight.touch()
        assert rule.met == 0
        await rule.clock.advance(GRACE)
        assert rule.met == 1


async def test_a_call_after_the_grace_takes_it_back():
    async with Rule() as rule:
        rule.parked(3600)
        await rule.clock.advance(GRACE)
        assert rule.inflight.idle
        rule.inflight.touch()
        assert not rule.inflight.idle
        await rule.clock.advance(GRACE)
        assert (rule.met, rule.inflight.idle) == (2, True)
        step = rule.step()
        assert not rule.inflight.idle
        rule.ends(step)


async def test_a_wait_resolves_when_it_is_due_and_not_before():
    async with Rule() as rule:
        wait = rule.parked(10)
        await rule.clock.advance(9.999)
        assert not wait.done()
        await rule.clock.advance(0.002)
        assert wait.done()


async def test_a_wait_that_was_due_long_ago_resolves_at_once():
    async with Rule() as rule:
        wait = rule.parked(-100)
        await rule.clock.settle()
        assert wait.done()


@pytest.mark.parametrize("monotonic", [True, False])
async def test_a_wait_that_came_due_in_a_gap_resolves_soon_after(monotonic):
    """A monotonic clock may stand still while the machine sleeps."""
    async with Rule() as rule:
        wait = rule.parked(3600)
        await rule.clock.jump("2h", monotonic=monotonic)
        await rule.clock.advance("60s")
        assert wait.done()


async def test_a_clock_set_back_wakes_nobody_early():
    async with Rule() as rule:
        wait = rule.parked(10)
        await rule.clock.advance(5)
        rule.clock.set_back(100)
        await rule.clock.advance(104.9)
        assert not wait.done()
        await rule.clock.advance(0.2)
        assert wait.done()


async def test_while_held_nothing_resolves_and_nothing_is_idle():
    async with Rule() as rule:
        wait, later = rule.parked(10), rule.parked(100)
        await rule.clock.advance(GRACE)
        rule.inflight.hold()
        await rule.clock.advance(50)
        assert not wait.done()
        assert (rule.met, rule.inflight.idle) == (1, False)
        rule.inflight.release()
        await rule.clock.settle()
        assert wait.done()
        assert not later.done()
        await rule.clock.advance(GRACE)
        assert rule.met == 2
        await rule.clock.advance(50)
        assert later.done()


async def test_released_before_anything_is_due_it_is_idle_again():
    async with Rule() as rule:
        rule.parked(1000)
        await rule.clock.advance(GRACE)
        rule.inflight.hold()
        await rule.clock.advance(5)
        rule.inflight.release()
        await rule.clock.advance(GRACE)
        assert rule.met == 2


async def test_a_wait_parked_while_held_waits_for_the_release():
    async with Rule() as rule:
        rule.parked(1000)
        await rule.clock.settle()
        rule.inflight.hold()
        wait = rule.parked(5)
        await rule.clock.advance(10)
        assert not wait.done()
        rule.inflight.release()
        await rule.clock.settle()
        assert wait.done()


async def test_the_earliest_wait_says_when_to_wake():
    async with Rule() as rule:
        began = rule.clock.now()
        for seconds in (30, 10, 20):
            rule.parked(seconds)
        await rule.clock.settle()
        assert rule.inflight.earliest() == began + 10
        await rule.clock.advance(11)
        assert rule.inflight.earliest() == began + 20


async def test_a_wait_that_is_cancelled_is_given_up():
    async with Rule() as rule:
        wait = rule.parked(3600)
        await rule.clock.settle()
        wait.cancel()
        await rule.clock.advance("1m")
        assert (rule.inflight.busy, rule.inflight.parked, rule.met) == (0, {}, 0)
        assert not rule.inflight.disturbed


async def test_given_up_while_held_the_run_is_disturbed():
    async with Rule() as rule:
        wait = rule.parked(3600)
        rule.parked(7200)
        await rule.clock.advance(GRACE)
        rule.inflight.hold()
        wait.cancel()
        await rule.clock.settle()
        assert rule.inflight.disturbed


async def test_a_wait_that_is_due_as_the_grace_ends_is_not_idle():
    async with Rule() as rule:
        wait = rule.parked(10)
        await rule.clock.settle()
        idle = []
        rule.inflight._on_idle = lambda: asyncio.get_running_loop().call_soon(
            lambda: idle.append(rule.inflight.idle)
        )
        await rule.clock.jump(20)  # both timers are due
        assert idle == [False]
        assert wait.done()


async def test_dropped_nobody_is_left_parked():
    async with Rule() as rule:
        waits = [rule.parked(100), rule.parked(200)]
        await rule.clock.advance(GRACE)
        rule.inflight.drop()
        await rule.clock.settle()
        assert all(wait.cancelled() for wait in waits)
        assert rule.inflight.parked == {}
        assert rule.inflight.busy == 0


async def test_stopped_it_is_not_idle():
    async with Rule() as rule:
        rule.parked(3600)
        await rule.clock.settle()
        rule.inflight.stop()
        await rule.clock.advance("1m")
        assert rule.met == 0


# Random trees


class Node:
    """What the model knows of a call: a step with its calls, or a wait."""

    def __init__(self, scope: Scope | None, parent: Node | None) -> None:
        self.scope, self.parent = scope, parent
        self.calls: list[Node] = []
        self.wait: asyncio.Task[None] | None = None
        self.closed = False

    def all(self) -> list[Node]:
        return [self, *(node for call in self.calls for node in call.all())]


class Model:
    """Steps and waits entered, parked and left at random, beside the rule that counts them."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.root = Node(rule.root, None)
        self.orphans: list[Node] = []  # what ended steps left in flight

    def nodes(self) -> list[Node]:
        found = self.root.all()[1:]
        for orphan in self.orphans:
            found += orphan.all()
        return found

    def steps(self) -> list[Node]:
        return [node for node in self.nodes() if node.wait is None]

    def busy(self) -> int:
        """Steps that have no call of their own in flight; waits are parked."""
        return sum(1 for node in self.steps() if not node.calls)

    async def act(self, action: str, choice: int) -> None:
        steps = self.steps()
        if action in ("step", "wait"):
            parents = [self.root, *steps]
            parent = parents[choice % len(parents)]
            node = Node(None, parent)
            if action == "step":
                node.scope = self.rule.step("step", parent.scope)
            else:
                node.wait = self.rule.parked(1e6 + choice, parent.scope)
                await asyncio.sleep(0)
            parent.calls.append(node)
        elif action == "end" and steps:
            node = steps[choice % len(steps)]
            self.rule.ends(node.scope, self._scope_around(node))
            self._remove(node)
            self.orphans += node.calls
        elif action == "wake":
            waits = [node for node in self.nodes() if node.wait is not None]
            if waits:
                node = waits[choice % len(waits)]
                next(
                    one for one in self.rule.inflight.parked if one.future is _awaited(node.wait)
                ).future.set_result(None)
                await node.wait
                self._remove(node)

    def _scope_around(self, node: Node) -> Scope:
        assert node.parent is not None
        assert node.parent.scope is not None
        return node.parent.scope

    def _remove(self, node: Node) -> None:
        assert node.parent is not None
        if node in self.orphans:
            self.orphans.remove(node)
        else:
            node.parent.calls.remove(node)


def _awaited(task: asyncio.Task[None]):
    """The future in which a parked call stands."""
    frame = task.get_coro()
    while frame.cr_await is not None and hasattr(frame.cr_await, "cr_await"):
        frame = frame.cr_await
    return frame.cr_frame.f_locals["wait"].future


@given(
    st.lists(st.tuples(st.sampled_from(["step", "wait", "end", "wake"]), st.integers(0, 1000)), max_size=40)
)
def test_busy_is_the_number_of_unparked_leaves(actions):
    async def main() -> None:
        async with Rule() as rule:
            model = Model(rule)
            for action, choice in actions:
                await model.act(action, choice)
                assert rule.inflight.busy == model.busy() >= 0
                assert len(rule.inflight.parked) == sum(node.wait is not None for node in model.nodes())
            # The rule is met exactly when only waits are left.
            await rule.clock.advance(2 * GRACE)
            assert rule.inflight.idle == (model.busy() == 0 and bool(rule.inflight.parked))
            while steps := model.steps():
                await model.act("end", len(steps) - 1)
                assert rule.inflight.busy == model.busy() >= 0
            await rule.clock.advance(2 * GRACE)
            assert rule.inflight.busy == 0
            assert rule.inflight.idle == bool(rule.inflight.parked)

    harness.run(main())
