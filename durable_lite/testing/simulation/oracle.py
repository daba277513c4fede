"""What must hold at every moment of a simulation, by what the store has carried out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...queues import Queue
from ...records import Change, Claim, NewRun, RunRow, StepRow
from ...status import FINAL, Status
from .process import EPOCH, Called, Process

__all__ = ["Oracle", "Violation"]

_ENOUGH = 50_000  # events; few worlds have a thousand
_GUARDED = frozenset({"save_step", "save_failure", "create_token", "create_children", "settle"})


class Violation(AssertionError):
    """Something that must hold doesn't."""


class Held(NamedTuple):
    """Who may write to a run, by the last claim, and when that was."""

    process: Process
    generation: int
    number: int


class Result(NamedTuple):
    """The stored output of a step, by whom, and when."""

    output: str | None
    holder: Held
    number: int


class Oracle:
    """A model of the store that knows only who holds what, and what was promised."""

    def __init__(self) -> None:
        self.events = 0
        self.violation: Violation | None = None
        self.trace: list[tuple[Any, ...]] = []
        self.holders: dict[str, Held] = {}
        self.claimed: dict[tuple[str, int], Held] = {}  # by run and generation
        self.results: dict[tuple[str, str], Result] = {}
        self.begun: dict[tuple[str, str], int] = {}
        self.wakes: dict[tuple[str, str], float] = {}
        self.generations: dict[str, int] = {}
        self.cancelled: set[str] = set()
        self.ended: dict[str, int] = {}  # when, in events
        self.completed: dict[str, str | None] = {}  # tokens
        self.started_by_events = 0
        self.keys: dict[str, str | None] = {}  # the concurrency key of a run
        self.parents: dict[str, str | None] = {}
        self.limits: dict[str, Queue] = {}
        self.started: set[str] = set()
        self.starts: dict[str, list[float]] = {}  # by queue with a rate
        self.queued: dict[str, str] = {}  # the queue of a run
        self.latest = 0.0  # that any clock has shown
        self._verbs: dict[str, Callable[[Called], None]] = {
            "claim_runs": self._claim_runs,
            "mark_stale": self._mark_stale,
            "resume_run": self._resume_run,
            "fork_run": self._fork_run,
            "finish_token": self._finish_token,
            "create_runs": self._create_runs,
            "send_event": self._send_event,
        }

    def wrong(self, what: str) -> None:
        """It is raised here, where a process may swallow it, and again by `check`."""
        if self.violation is None:
            self.violation = Violation(f"{what} (event {self.events})")
        raise self.violation

    def check(self) -> None:
        """Raise the first violation that there was."""
        if self.violation is not None:
            raise self.violation

    def note(self, *line: Any) -> None:
        self.events += 1
        self.trace.append(line)
        if self.events > _ENOUGH:
            self.wrong("it goes on and on")

    def lines(self) -> list[str]:
        """The trace, as text that is the same for the same seed."""
        return [" ".join([f"{line[0] - EPOCH:9.4f}", *map(_told, line[1:])]) for line in self.trace]

    def hear(self, change: Change) -> None:
        """Somebody ends a run, whoever holds it; it comes before the verb that does so."""
        if change.ended is not None and change.run_id is not None:
            self.holders.pop(change.run_id, None)
            self.ended[change.run_id] = self.events
            if change.ended == Status.CANCELLED:
                self.cancelled.add(change.run_id)

    # What the store has carried out

    def carried_out(self, called: Called) -> None:
        process, verb, arguments, result = called
        self.note(process.clock.now(), process, verb, arguments, result)
        self.latest = max(self.latest, process.clock.now())
        if verb in _GUARDED:
            self._guarded(called)
        elif act := self._verbs.get(verb):
            act(called)

    def _claim_runs(self, called: Called) -> None:
        claims: Sequence[Claim] = called.result
        for claim in claims:
            run = claim.run
            if before := self.holders.get(run.id):
                self.wrong(f"{called.process} claimed {run.id}, which {before.process} holds")
            if run.generation <= self.generations.get(run.id, 0):
                self.wrong(f"{run.id} was claimed under generation {run.generation}, which is an old one")
            self.generations[run.id] = run.generation
            held = Held(called.process, run.generation, self.events)
            self.holders[run.id] = self.claimed[run.id, run.generation] = held
            if run.id in self.cancelled:
                self.wrong(f"{run.id} was claimed though it is cancelled")
            self._check_places(run)
            self._check_rate(run)

    def _check_places(self, run: RunRow) -> None:
        self.queued[run.id] = run.queue
        if run.concurrency_key is not None:
            family = self._family(run.id)
            for other in self.holders:
                if self.keys.get(other) == run.concurrency_key and self._family(other) != family:
                    self.wrong(f"{run.id} and {other} execute, which have the same concurrency key")
        if (queue := self.limits.get(run.queue)) is None or queue.concurrency is None:
            return
        inside = [id for id in self.holders if self.queued.get(id) == run.queue]
        if len(inside) > queue.concurrency:
            self.wrong(f"{len(inside)} runs execute in {queue}")

    def _check_rate(self, run: RunRow) -> None:
        """Of first claims, by the moments at which the store counts them."""
        queue, started = self.limits.get(run.queue), run.started_at
        if queue is None or queue.rate is None or queue.period is None or started is None:
            return
        if run.id in self.started:
            return
        self.started.add(run.id)
        starts = self.starts.setdefault(run.queue, [])
        starts.append(started)
        recent = [at for at in starts if abs(at - started) < queue.period]
        if starts[-2:] != sorted(starts[-2:]):
            self.wrong(f"{run.id} has started in {queue} before others that had")
        if len(recent) > queue.rate:
            self.wrong(f"{len(recent)} runs have started in {queue} within {recent[-1] - recent[0]:.3f} s")

    def _family(self, run_id: str) -> str:
        while (parent := self.parents.get(run_id)) is not None:
            run_id = parent
        return run_id

    def _guarded(self, called: Called) -> None:
        process, verb, arguments, result = called
        run_id, generation = arguments[:2]
        if not (result is None or isinstance(result, list)):
            return  # a refusal
        held = self.holders.get(run_id)
        if held is None or held.generation != generation:
            if verb == "settle" and self._is_repeated(process, run_id, generation):
                return
            self.wrong(f"{verb} of {run_id} by {process} under generation {generation} was carried out")
            return
        if verb == "settle":
            del self.holders[run_id]
            if arguments[2].status in FINAL:
                self.ended[run_id] = self.events
        elif verb in ("save_step", "create_token"):
            self._save_step(arguments[2], held)
        elif verb == "create_children":
            self._children(arguments[2], arguments[3], held)

    def _is_repeated(self, process: Process, run_id: str, generation: int) -> bool:
        """A settle whose answer was lost is said again, and was done."""
        claim = self.claimed.get((run_id, generation))
        return claim is not None and claim.process is process

    def _save_step(self, step: StepRow, held: Held) -> None:
        key = step.run_id, step.path
        if step.state == "waiting":
            if step.wake_at is not None:
                self.wakes[key] = step.wake_at
            return
        if (before := self.results.get(key)) is not None:
            if before.output != step.output:
                self.wrong(f"{key} has two results: {before.output} and {step.output}")
            return
        self.results[key] = Result(step.output, held, self.events)

    def _children(self, step: StepRow, runs: Sequence[NewRun], held: Held) -> None:
        self._new(runs)
        if step.state == "completed":
            self._save_step(step, held)

    def _mark_stale(self, called: Called) -> None:
        for run_id in called.result:
            if self.holders.pop(run_id, None) is None:
                self.wrong(f"{run_id} was marked stale, but nobody holds it")

    def _resume_run(self, called: Called) -> None:
        self.cancelled.discard(called.arguments[0])

    def _fork_run(self, called: Called) -> None:
        new, steps = called.arguments
        held = Held(called.process, 0, self.events)
        for step in steps:
            self.results[new.id, step.path] = Result(step.output, held, self.events)

    def _create_runs(self, called: Called) -> None:
        self._new(called.arguments[0])

    def _send_event(self, called: Called) -> None:
        _, runs = called.arguments
        self._new(runs)
        if called.result.fresh:
            self.started_by_events += len(called.result.runs)

    def _new(self, runs: Sequence[NewRun]) -> None:
        for run in runs:
            self.keys[run.id], self.parents[run.id] = run.concurrency_key, run.parent_id

    def _finish_token(self, called: Called) -> None:
        token_id, state, output, *_ = called.arguments
        if state == "completed":
            if token_id in self.completed and self.completed[token_id] != output:
                self.wrong(f"{token_id} was completed twice")
            self.completed[token_id] = output

    # What happens in the processes

    def begins(self, process: Process, run_id: str, generation: int, path: str) -> int:
        """A step executes there under a generation, which may be an old one; how often it has begun."""
        key = run_id, path
        self.note(process.clock.now(), process, "begins", run_id, generation, path)
        if (stored := self.results.get(key)) is not None:
            claim = self.claimed[run_id, generation]
            if stored.number < claim.number or stored.holder == claim:
                self.wrong(f"{path} of {run_id} executes again in {process}, though its result was stored")
        self.begun[key] = self.begun.get(key, 0) + 1
        return self.begun[key]

    def returned(self, process: Process, run_id: str, path: str, value: Any) -> None:
        """A context call has returned what is stored."""
        result = self.results.get((run_id, path))
        if result is None:
            self.wrong(f"{path} of {run_id} returned {value!r} in {process}, which isn't stored")
        elif json.loads(result.output or "null") != value:
            self.wrong(f"{path} of {run_id} returned {value!r} in {process}, but {result.output} is stored")

    def woke(self, process: Process, run_id: str, path: str) -> None:
        self.latest = max(self.latest, process.clock.now())
        if (due := self.wakes.get((run_id, path))) is not None and self.latest < due - 1e-6:
            self.wrong(f"{path} of {run_id} woke {due - self.latest:.3f} s early in {process}")


def _told(value: Any) -> str:
    """Sets have no order that lasts."""
    if isinstance(value, tuple) and type(value) is tuple:
        return f"({', '.join(map(_told, value))})"
    return repr(sorted(value) if isinstance(value, set | frozenset) else value)
