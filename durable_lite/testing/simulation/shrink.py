"""Makes a plan that fails smaller, for as long as it fails: fewer deeds, workers and operations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

from .plan import Plan
from .programs import Program

__all__ = ["shrunk"]


def shrunk(plan: Plan, fails: Callable[[Plan], bool], tries: int = 2000) -> Plan:
    """The smallest that was found in so many `tries`."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(plan):
            if tries <= 0:
                return plan
            tries -= 1
            if fails(candidate):
                plan, smaller = candidate, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    for size in (8, 4, 2, 1):
        for first in range(0, len(plan.deeds), size):
            candidate = copy.deepcopy(plan)
            del candidate.deeds[first : first + size]
            yield candidate
    if len(plan.workers) > 1:
        for number in range(len(plan.workers)):
            candidate = copy.deepcopy(plan)
            del candidate.workers[number]
            yield candidate
    for fact in ("bad_weather", "schedules", "connections"):
        if getattr(plan, fact):
            candidate = copy.deepcopy(plan)
            setattr(candidate, fact, False)
            yield candidate
    for number, deed in enumerate(plan.deeds):
        if deed.kind != "trigger":
            continue
        for program in _shorter(deed.value["program"]):
            candidate = copy.deepcopy(plan)
            candidate.deeds[number].value["program"] = program
            yield candidate
        for option in deed.value["options"]:
            candidate = copy.deepcopy(plan)
            del candidate.deeds[number].value["options"][option]
            yield candidate
    for number, worker in enumerate(plan.workers):
        for option, plain in (("skew", 0.0), ("always_replay", False)):
            if worker[option] != plain:
                candidate = copy.deepcopy(plan)
                candidate.workers[number][option] = plain
                yield candidate


def _shorter(program: Program) -> Iterator[Program]:
    for number, (verb, key, *rest) in enumerate(program):
        before, after = program[:number], program[number + 1 :]
        yield before + after
        if verb in ("nest", "call", "trigger"):
            for inner in _shorter(rest[0]):
                yield [*before, [verb, key, inner], *after]
        elif verb in ("gather", "many"):
            parts = rest[0]
            for index, part in enumerate(parts):
                yield [*before, [verb, key, parts[:index] + parts[index + 1 :]], *after]
                for inner in _shorter(part):
                    yield [*before, [verb, key, [*parts[:index], inner, *parts[index + 1 :]]], *after]
