"""Random jobs: a program is plain data, which one job interprets; what it returns follows from its steps.

A program is a list of operations, each a list of a verb, a key, and what belongs to the verb:

* `["step", key, failures]`: fails so often, and is tried again.
* `["nest", key, program]`: a step with a program inside. `["gather", key, programs]`: side by side.
* `["sleep", key, seconds]`, `["token", key, seconds]`, `["event", key, seconds, name]`: waits.
* `["call", key, program]`, `["many", key, programs]`, `["trigger", key, program]`: other runs.
* `["patched", key]`: whether it is new here; no code changes, so it always is.
* `["send", key, name]`: an event. `["raise", key, attempts]`: the run fails in its first attempts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Protocol

from ...context import Context, current
from ...errors import ChildFailed, TokenFailed, TokenTimeout
from ...job import Job, job
from ...on import Event, Schedule
from ...records import StepRow
from ...retry import Retry

__all__ = [
    "EVERY",
    "NAMES",
    "OUTSIDE",
    "SCHEDULES",
    "Program",
    "Stage",
    "Wrong",
    "expected",
    "make_jobs",
    "random_program",
]

Program = list[Any]
NAMES = ("paid", "closed")  # of events
OUTSIDE = "outside"  # a connection
EVERY = 3.0
SCHEDULES = (
    Schedule(every=EVERY, catch_up="all", name="all"),
    Schedule(every=EVERY, catch_up="one", name="one"),
)
_AGAIN = Retry(max_attempts=9, min_delay="1s", max_delay="4s", jitter=False)


class Wrong(RuntimeError):
    """What a program raises on purpose."""


class Stage(Protocol):
    """What the world outside knows of the steps that are executed in one process."""

    async def perform(self, run_id: str, generation: int, path: str) -> int:
        """A step executes under a generation, and takes its time; how often it has begun."""
        ...

    def returned(self, run_id: str, path: str, value: Any) -> None:
        """A context call has returned a value."""
        ...

    def woke(self, run_id: str, path: str) -> None:
        """A sleep is over."""
        ...


def random_program(random: Random, depth: int = 2, size: int = 3, *, waits: bool = True) -> Program:
    """Some operations. Deep inside there are no children, and no gathers of gathers."""
    verbs = ["step"] * 6 + ["sleep"] * 2
    if waits:
        verbs += ["token", "event", "send", "patched"]
    if depth:
        verbs += ["nest", "gather", "call", "trigger", "many"]
    if depth == 2:
        verbs += ["raise"]
    program: Program = []
    for number in range(random.randint(1, size)):
        verb = random.choice(verbs)
        key = f"{verb}{number}"
        if verb == "step":
            program.append([verb, key, max(0, random.randint(-4, 2))])
        elif verb == "sleep":
            program.append([verb, key, random.choice([0.01, 1, 4])])
        elif verb == "token":
            program.append([verb, key, random.choice([1, 6, 20])])
        elif verb == "event":
            program.append([verb, key, random.choice([3, 15]), random.choice(NAMES)])
        elif verb == "send":
            program.append([verb, key, random.choice(NAMES)])
        elif verb == "patched":
            program.append([verb, key, None])
        elif verb == "raise":
            program.append([verb, key, random.randint(1, 2)])
        elif verb in ("gather", "many"):
            parts = [random_program(random, depth - 1, 2, waits=waits) for _ in range(random.randint(2, 3))]
            program.append([verb, key, parts])
        else:
            program.append([verb, key, random_program(random, depth - 1, 2, waits=waits)])
    return program


def make_jobs(stage: Callable[[], Stage], schedules: bool, connections: bool) -> list[Job[Any, Any]]:
    """The jobs that interpret programs; `stage` is that of the process that executes one."""

    @job("program", retry=_AGAIN, requires=[OUTSIDE] if connections else ())
    async def program(ctx: Context, payload: list) -> list:  # type: ignore[type-arg]  # as people write
        return await _all(payload, "")

    @job("on-closed", on=Event("closed"))
    async def on_closed(ctx: Context, payload: dict) -> str:  # type: ignore[type-arg]  # as people write
        return await ctx.step("note", perform, "note")

    @job("ticks", on=SCHEDULES if schedules else ())
    async def ticks(ctx: Context, payload: dict) -> str:  # type: ignore[type-arg]  # as people write
        return await ctx.step("work", perform, "work")

    async def perform(path: str, failures: int = 0) -> str:
        execution = current()._execution
        number = await stage().perform(execution.run_id, execution.generation, path)
        if number <= failures:
            raise Wrong(f"{path} #{number}")
        return f"{path} #{number}"

    async def _all(operations: Program, prefix: str) -> list[Any]:
        return [await _one(operation, prefix) for operation in operations]

    async def _one(operation: list[Any], prefix: str) -> Any:
        ctx, (verb, key, what, *rest) = current(), operation
        run_id, path = ctx.run.id, prefix + key
        value: Any = None
        if verb == "step":
            value = await ctx.options(retry=_AGAIN).step(key, perform, path, what)
        elif verb == "nest":
            value = await ctx.options(retry=_AGAIN).step(key, _all, what, f"{path}/")
        elif verb == "gather":
            parts = [_part(part, prefix, f"{key}.{n}.") for n, part in enumerate(what)]
            return await asyncio.gather(*(_all(part, prefix) for part in parts))
        elif verb == "sleep":
            await ctx.sleep(key, what)
            stage().woke(run_id, path)
        elif verb == "patched":
            value = await ctx.patched(key)
        elif verb in ("token", "event"):
            try:
                if verb == "token":
                    value = await ctx.wait_for_token(key, timeout=what)
                else:
                    value = await ctx.wait_for_event(key, rest[0], timeout=what)
            except (TokenTimeout, TokenFailed) as error:
                return type(error).__name__
        elif verb in ("call", "many"):
            try:
                value = await (ctx.call if verb == "call" else ctx.call_many)(key, program, what)
            except ChildFailed:
                return "ChildFailed"
        elif verb == "trigger":
            await ctx.trigger(key, program, what)
            return "triggered"
        elif verb == "send":
            await ctx.send_event(key, what, {"from": path})
            return "sent"
        elif ctx.run.attempt <= what:
            raise Wrong(f"{path} in attempt {ctx.run.attempt}")
        stage().returned(run_id, _answer(verb, path), value)
        return value

    return [program, on_closed, ticks]


def _answer(verb: str, path: str) -> str:
    """Where what an operation returned is stored."""
    return f"{path}/wait" if verb == "token" else path


def _part(operations: Program, prefix: str, name: str) -> Program:
    """The same with keys of its own: side by side no two are alike."""
    return [[verb, f"{name}{key}", *rest] for verb, key, *rest in operations]


def expected(program: Program, steps: Mapping[str, StepRow], prefix: str = "") -> list[Any]:
    """What a run that has completed returned, by what is stored of it. `KeyError`: a step is missing."""
    outputs: list[Any] = []
    for verb, key, what, *_ in program:
        path = prefix + key
        if verb == "gather":
            parts = [_part(part, prefix, f"{key}.{n}.") for n, part in enumerate(what)]
            outputs.append([expected(part, steps, prefix) for part in parts])
        elif verb in ("raise", "sleep"):
            outputs.append(None)
        elif verb in ("trigger", "send"):
            assert steps[path].state == "completed"
            outputs.append("triggered" if verb == "trigger" else "sent")
        else:
            row = steps[_answer(verb, path)]
            if row.state != "completed" and row.error is None:
                raise KeyError(row.path)
            outputs.append(json.loads(row.error)["type"] if row.error else json.loads(row.output or "null"))
    return outputs
