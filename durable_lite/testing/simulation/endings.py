"""What must hold once a simulation is over: of the runs, their steps, events, tokens and children."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ...events import EventType, RunEvent
from ...ports import Store
from ...records import RunFilter, RunRow, StepRow, TokenFilter, TokenRow
from ...status import FINAL, Status
from .oracle import Oracle
from .programs import EVERY, expected

__all__ = ["check_the_end"]


class _Ended(NamedTuple):
    run: RunRow
    steps: dict[str, StepRow]
    events: list[RunEvent]


async def check_the_end(store: Store, oracle: Oracle) -> int:
    """Raises `Violation`; returns how many runs there were."""
    found: dict[str, _Ended] = {}
    for run in await store.list_runs(RunFilter(limit=10_000)):
        steps = {step.path: step for step in await store.load_steps(run.id)}
        found[run.id] = _Ended(run, steps, await store.read_events(run.id, 0, 100_000))
    for ended in found.values():
        _check_run(ended, oracle)
        _check_children(ended, found, oracle)
        _check_descent(ended, found, oracle)
    if leases := await store.leases():
        oracle.wrong(f"{leases} are left")
    for queue in await store.list_queues():
        if queue.queued or queue.taken:
            oracle.wrong(f"{queue} has places that nobody has")
    tokens = await store.list_tokens(TokenFilter(limit=10_000))
    for token in tokens:
        _check_token(token, found[token.run_id].steps, oracle)
    _check_sent([ended.run for ended in found.values()], oracle)
    _check_ticks([ended.run for ended in found.values()], oracle)
    return len(found)


def _check_run(ended: _Ended, oracle: Oracle) -> None:
    run, steps, events = ended
    if run.status not in FINAL:
        oracle.wrong(f"{run.id} is stuck: {run.status}")
    if run.id in oracle.cancelled and run.status != Status.CANCELLED:
        oracle.wrong(f"{run.id} was cancelled, and is {run.status}")
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        oracle.wrong(f"the events of {run.id} have gaps")
    done = [event.data["path"] for event in events if event.type == EventType.STEP_COMPLETED]
    if len(done) != len(set(done)):
        oracle.wrong(f"a step of {run.id} was completed twice")
    for path, step in steps.items():
        result = oracle.results.get((run.id, path))
        if step.state == "completed" and (result is None or result.output != step.output):
            oracle.wrong(f"{path} of {run.id}: {step.output} is stored, which nobody wrote")
    more = sum(
        event.type == EventType.RETRYING
        or (event.type == EventType.RESUMED and event.data.get("by") == "request")
        for event in events
    )
    if run.attempt != 1 + more:
        oracle.wrong(f"{run.id} is in attempt {run.attempt} after {more} new ones")
    if run.status == Status.COMPLETED and run.job == "program":
        output, right = json.loads(run.output or "null"), expected(json.loads(run.payload), steps)
        if output != right:
            oracle.wrong(f"{run.id} returned {output}, its steps {right}")


def _check_children(ended: _Ended, found: Mapping[str, _Ended], oracle: Oracle) -> None:
    """A call's output is its child's; whoever was started is there once."""
    for path, step in ended.steps.items():
        if step.kind != "call" or step.state != "completed":
            continue
        ids = (step.ref or "").split("\n")
        outputs: list[Any] = [json.loads(found[id].run.output or "null") for id in ids if id in found]
        output = json.loads(step.output or "null")
        if output not in (outputs, *outputs[:1]):
            oracle.wrong(f"{path} of {ended.run.id} is {output}, its children are {outputs}")


def _check_descent(ended: _Ended, found: Mapping[str, _Ended], oracle: Oracle) -> None:
    """With a cancelled run its children were cancelled: none has ended otherwise since."""
    run, parent = ended.run, found.get(ended.run.parent_id or "")
    if parent is None or parent.run.id not in oracle.cancelled or run.status == Status.CANCELLED:
        return
    if oracle.ended.get(run.id, 0) > oracle.ended[parent.run.id]:
        oracle.wrong(f"{run.id} is {run.status}, though {parent.run.id} was cancelled before")


def _check_token(token: TokenRow, steps: Mapping[str, StepRow], oracle: Oracle) -> None:
    """What it was completed with has reached whoever waits for it."""
    if token.id in oracle.completed and (token.state, token.output) != (
        "completed",
        oracle.completed[token.id],
    ):
        oracle.wrong(f"{token.id} was completed, and is {token.state}: {token.output}")
    step = steps.get(f"{token.path}/wait" if token.kind == "token" else token.path)
    if step is None or step.ref != token.id:
        return  # nobody does
    if step.state == "completed" and (token.state, token.output) != ("completed", step.output):
        oracle.wrong(
            f"{step.path} of {token.run_id} is {step.output}, its token {token.state}: {token.output}"
        )
    if step.state == "failed" and token.state == "completed" and step.attempt:
        oracle.wrong(f"{step.path} of {token.run_id} failed, though its token was completed: {step.error}")


def _check_sent(runs: Sequence[RunRow], oracle: Oracle) -> None:
    """Of each event one run for each job that is on it."""
    started = [(run.job, run.trigger) for run in runs if json.loads(run.trigger).get("kind") == "event"]
    if len(started) != len(set(started)):
        oracle.wrong("an event has started a job twice")
    if len(started) != oracle.started_by_events:
        oracle.wrong(f"events have started {len(started)} runs, not {oracle.started_by_events}")


def _check_ticks(runs: Sequence[RunRow], oracle: Oracle) -> None:
    """Each tick has started one run, none before its time; where all are caught up, none is missing."""
    ticks: dict[str, list[float]] = {}
    for run in runs:
        trigger = json.loads(run.trigger)
        if trigger.get("kind") == "schedule":
            ticks.setdefault(trigger["name"], []).append(trigger["timestamp"])
            if run.created_at < trigger["timestamp"]:
                oracle.wrong(f"{run.id} was started before its time")
    for name, found in ticks.items():
        if len(found) != len(set(found)):
            oracle.wrong(f"a tick of {name} has started two runs")
    every = sorted(ticks.get("all", ()))
    if any(later - tick != EVERY for tick, later in pairwise(every)):
        oracle.wrong(f"ticks are missing: {every}")
