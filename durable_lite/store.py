"""The port `Store`: every verb of the places where runs live, and what each promises."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence

from .events import RunEvent
from .records import (
    Beat,
    Change,
    Checkpoint,
    Claim,
    Created,
    Lease,
    LogRow,
    Moved,
    NewEvent,
    NewRun,
    QueueRow,
    QueueState,
    Refusal,
    RunFilter,
    RunRow,
    ScheduleRow,
    Sent,
    SentEvent,
    Settlement,
    StepRow,
    TokenFilter,
    TokenRow,
    TriggerRow,
)

__all__ = ["EVENT_TTL", "VERBS", "Store", "Versions"]

logger = logging.getLogger("durable_lite")

# By the names of jobs; "" are runs without a version.
Versions = Mapping[str, Sequence[str]]

# For so many seconds an event's id is known.
EVENT_TTL = 30 * 86_400.0


class Store(ABC):
    """Where runs live. Every verb is atomic, and one that returns has been committed.

    A guarded verb takes the generation that its caller holds. If the run has another one by now,
    nothing is written and a `Refusal` says what the run is; None means that it was done. Verbs may
    be repeated after an error whose outcome is unknown: a guarded write or a creation that had gone
    through is seen as done. The writes of one run are applied in the order of their calls.

    A verb that can't be carried out now raises `StoreUnavailable`; nothing was written. One that
    never can be raises `StoreError`.
    """

    url: str
    # False: only what happens in this process is announced by `listen`, so workers poll as well.
    announces_all: bool = False

    def __init__(self) -> None:
        self._listeners: dict[Callable[[Change], None], bool] = {}
        self.steps_heard = 0  # listeners that want to know of every step

    def listen(self, callback: Callable[[Change], None], *, steps: bool = True) -> Callable[[], None]:
        """Call `callback` after commits, of mere `steps` too if asked for; a hint, not a log.

        Returns a function that ends it.
        """
        self._listeners[callback] = steps
        self.steps_heard = sum(self._listeners.values())

        def forget() -> None:
            self._listeners.pop(callback, None)
            self.steps_heard = sum(self._listeners.values())

        return forget

    def announce(self, change: Change) -> None:
        """Tell the listeners. Called on the event loop, after the commit."""
        if change.step and not self.steps_heard:
            return
        for callback, steps in tuple(self._listeners.items()):
            if steps or not change.step:
                try:
                    callback(change)
                except Exception:  # the verb has done its work
                    logger.exception("a listener of store %s raised", self.url)

    # Life

    @abstractmethod
    async def open(self) -> None:
        """Create or upgrade the schema and be ready. `SchemaTooNew` if it must not be touched."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what was accepted and let go of the store. Idempotent."""

    # Runs

    @abstractmethod
    async def create_runs(self, runs: Sequence[NewRun]) -> list[Created]:
        """Store all of them or none, each PENDING with the event `run.triggered` at seq 1.

        A live idempotency key (same job, same key, not expired, its run not ended in a status that
        frees it) answers with its run instead. An id that exists already was created by an earlier
        try of this very call.

        A run that is due takes its places: its concurrency key, unless it shares that of an ancestor that
        waits for it, then a slot of its queue. Where one is taken it is QUEUED, unless it goes before a run
        that has the place and was never claimed: then that one is. `on_busy`, where an unfinished run has
        the concurrency key: "skip" answers with one of this job that hasn't started, if there is one,
        "reject" raises `Busy`. A live debounce key (same job) answers with its run: "trailing", while that
        waits for its start, which takes over payload and start; "leading", until `debounce_until`, which
        is moved. The idempotency key of a run that is answered for is one more key of the answering run.
        """

    @abstractmethod
    async def fork_run(self, run: NewRun, steps: Sequence[StepRow]) -> Created:
        """Create a run as `create_runs` does, with these completed steps, whose seqs go from 2 on."""

    @abstractmethod
    async def get_run(self, run_id: str) -> RunRow | None:
        """One run, or None."""

    @abstractmethod
    async def get_runs(self, run_ids: Sequence[str]) -> list[RunRow]:
        """Those of the runs that exist, in the order of their ids as given."""

    @abstractmethod
    async def list_runs(self, filter: RunFilter) -> list[RunRow]:
        """At most `filter.limit` runs, by (created_at, id) descending, after the cursor."""

    # A worker's claim on a run

    @abstractmethod
    async def register_worker(self, worker: str, info: str, now: float) -> str:
        """Announce a worker (`info`: JSON text). Returns how its leases are held: "lease" or "lock"."""

    @abstractmethod
    async def unregister_worker(self, worker: str) -> None:
        """Forget a worker that has let go of its runs."""

    @abstractmethod
    async def gone_workers(self, workers: Collection[str]) -> set[str]:
        """Those of `workers` that are proven gone. Empty where nothing can prove it."""

    @abstractmethod
    async def claim_runs(
        self, worker: str, jobs: Sequence[str], limit: int, now: float, via: str,
        versions: Versions | None = None,
    ) -> list[Claim]:  # fmt: skip
        """Take up to `limit` claimable runs of `jobs` by (priority desc, created_at, id); only those of
        these `versions` of a job, if it has an entry there.

        First whatever has its `expires_at` at or before `now` and hasn't started becomes EXPIRED. Whatever
        has its `ready_at` at or before `now` takes its places as in `create_runs`, and becomes claimable;
        a QUEUED run's `ready_at` is its deadline, and it is TIMED_OUT. Each claim sets
        EXECUTING, worker, generation + 1, and a lease with heartbeat `now`; keeps `started_at`;
        writes `run.claimed`, and `run.resumed` {replayed, gap_ms} where an execution had been
        interrupted (STALE, released, resumed). `recoveries`: after a STALE run whose worker disappeared
        ("heartbeat", "worker gone") it is 1 more than before, but 1 if a checkpoint was stored
        since the last such claim.
        """

    @abstractmethod
    async def lack_connections(self, jobs: Sequence[str]) -> None:
        """Make claimable PENDING runs of these jobs WAITING_ON_CONNECTIONS, which stay claimable."""

    @abstractmethod
    async def next_due(self) -> float | None:
        """The earliest `ready_at` of a run that isn't claimable yet."""

    @abstractmethod
    async def beat(self, worker: str, beats: Sequence[Beat], now: float) -> dict[str, Refusal]:
        """Renew the heartbeats of held runs in one write; returns those that are not held any more."""

    @abstractmethod
    async def leases(self) -> list[Lease]:
        """All leases: as many as there are runs EXECUTING, on whatever worker."""

    @abstractmethod
    async def mark_stale(self, leases: Sequence[Lease], reason: str, now: float) -> list[str]:
        """Make these runs STALE, claimable, generation + 1, with `run.stale` {reason}.

        Each only if its lease is still as given (generation and heartbeat). Returns the ids done.
        """

    @abstractmethod
    async def settle(self, run_id: str, generation: int, settlement: Settlement) -> Refusal | None:
        """Guarded: let go of a run. Ends the lease, writes the events and what was buffered.

        `Conflict` for STALE and MOVED. FAILED, CANCELLED, TIMED_OUT and INVALID_PAYLOAD free the
        idempotency key. PENDING is a release: claimable at once, generation + 1. WAITING with `wakes`
        is due at once if one of them has come already, and else as soon as it comes. The end of a run
        whose parent waits for it may be what wakes that one: so it is for every verb that ends runs.
        """

    # Queues

    @abstractmethod
    async def set_queues(self, queues: Sequence[QueueRow], now: float) -> None:
        """Store the limits of these queues; whether one is paused stays. At once they hold for all runs."""

    @abstractmethod
    async def pause_queue(self, name: str, paused: bool, now: float) -> None:
        """Let no run of a queue start, or go on after a wait, until it isn't paused any more."""

    @abstractmethod
    async def list_queues(self) -> list[QueueState]:
        """All queues that have limits, or are or were paused, by name."""

    # Steps

    @abstractmethod
    async def save_step(self, run_id: str, generation: int, step: StepRow) -> Refusal | None:
        """Guarded: store one step or wait. The hot path: one statement, one commit.

        A completed step has a `seq` and an output, and neither error nor `wake_at`; it is stored once.
        Anything else has no `seq` and no output, and may be stored again for the same path.
        """

    @abstractmethod
    async def save_failure(
        self, run_id: str, generation: int, step: StepRow, event: NewEvent
    ) -> Refusal | None:
        """Guarded: store a step's failure, replacing an earlier one, with its `step.failed` event.

        Failures (failed, retrying) of steps nested under it are removed: a new try tries them again. Of a
        call the children stay known: it becomes of attempt 0, whose failure is void.
        """

    @abstractmethod
    async def load_checkpoints(self, run_id: str) -> list[Checkpoint]:
        """All steps and waits of a run, in one read."""

    @abstractmethod
    async def load_steps(self, run_id: str) -> list[StepRow]:
        """All steps and waits of a run, completed ones in order of `seq`, then the others."""

    # Tokens and children

    @abstractmethod
    async def create_token(
        self, run_id: str, generation: int, step: StepRow, token: TokenRow
    ) -> Refusal | None:
        """Guarded: store a wait and its pending token. An id that exists was stored by an earlier try."""

    @abstractmethod
    async def create_children(
        self, run_id: str, generation: int, step: StepRow, runs: Sequence[NewRun]
    ) -> list[Created] | Refusal:
        """Guarded: create runs as `create_runs` does, and store the step whose `ref` names them.

        Where an idempotency key answered with another run, `ref` names that one.
        """

    @abstractmethod
    async def finish_token(
        self, token_id: str, state: str, output: str | None, error: str | None, now: float
    ) -> TokenRow:
        """Make a pending token "completed" or "failed", and wake its run if it waits for such.

        One that is either already is returned as it is. `TokenNotFound`; `Conflict` if its deadline is
        at or before `now`, and if its run has ended.
        """

    @abstractmethod
    async def read_tokens(self, token_ids: Sequence[str], now: float) -> list[TokenRow]:
        """Those of the tokens that exist, in order; what is pending past its deadline becomes expired."""

    @abstractmethod
    async def list_tokens(self, filter: TokenFilter) -> list[TokenRow]:
        """At most `filter.limit` tokens, by (created_at, id) descending, after the cursor."""

    # Events

    @abstractmethod
    async def set_triggers(self, jobs: Sequence[str], triggers: Sequence[TriggerRow]) -> None:
        """These are all the triggers of these jobs."""

    @abstractmethod
    async def list_triggers(self, kind: str, name: str) -> list[TriggerRow]:
        """The triggers of one kind and name, by job and filter."""

    @abstractmethod
    async def send_event(self, event: SentEvent, runs: Sequence[NewRun]) -> Sent:
        """Create these runs as `create_runs` does, and complete each pending wait for such an event with
        its payload, as `finish_token` does.

        All at once, and only if no event of this id was sent within the last `EVENT_TTL` seconds; else
        nothing is done, and the answer is that of the first time, with `fresh` False.
        """

    # Schedules

    @abstractmethod
    async def set_schedules(self, jobs: Sequence[str], schedules: Sequence[ScheduleRow]) -> None:
        """These are all the schedules of these jobs. One that was there stays as far as it has come, and
        paused if it was; `next_at` is for a new one, and one with another `spec`.
        """

    @abstractmethod
    async def list_schedules(self) -> list[ScheduleRow]:
        """All of them, by job and name."""

    @abstractmethod
    async def pause_schedule(self, job: str, name: str, paused: bool, now: float) -> None:
        """Let a schedule not tick. Once it isn't paused any more it goes on with what comes after `now`."""

    @abstractmethod
    async def tick(
        self, seen: ScheduleRow, next_at: float, last_at: float | None, runs: Sequence[NewRun]
    ) -> bool:
        """Create these runs as `create_runs` does and move the schedule on, if it is still as it was `seen`.

        Else nothing is done, and the answer is False.
        """

    # Steering from outside

    @abstractmethod
    async def cancel_run(self, run_id: str, now: float) -> RunRow:
        """Any unfinished status → CANCELLED, generation + 1. `RunNotFound`, `Conflict` if final.

        So are its unfinished children, and theirs. It wakes nobody that is cancelled with it.
        """

    @abstractmethod
    async def resume_run(self, run_id: str, now: float) -> RunRow:
        """FAILED, TIMED_OUT, CANCELLED, UNRESOLVED_AUTH → PENDING, a new attempt, generation + 1; checkpoints
        stay.

        `recoveries`, `executed`, `output`, `error` and a deadline that has passed are cleared. Takes
        its idempotency key again: `Conflict` if another run has it now. `RunNotFound`; `Conflict` in
        any other status.
        """

    @abstractmethod
    async def move_run(self, run_id: str, now: float) -> RunRow:
        """Any unfinished status → MOVED, generation + 1, with `run.moved` {direction: out, from, ready_at}.

        Its idempotency key stays live; `ready_at` is None if more than time could wake it. A run that is
        MOVED already is returned as it is. `RunNotFound`; `Conflict` in any other final status, if it
        waits for children or has a call that waits, and if an unfinished parent awaits it.
        """

    @abstractmethod
    async def import_run(self, moved: Moved, now: float) -> RunRow:
        """Store a run from elsewhere with all it has, and `run.moved` {direction: in} after it.

        Its generation is above all that it had, here or there; without a `ready_at` it is claimable. A
        run of this id that is MOVED is replaced, with its tokens, if it is an earlier part of the same
        history. One that came by this very `moved` is returned as it is. `Conflict` for any other run of
        this id, and if another run has its idempotency key or one of its tokens.
        """

    @abstractmethod
    async def delete_run(self, run_id: str) -> None:
        """Remove a final run with its steps, events and logs. `RunNotFound`; `Conflict` if unfinished."""

    @abstractmethod
    async def purge(self, before: float, limit: int) -> int:
        """Remove at most `limit` final runs that finished before `before`; returns how many.

        What a run that has not ended may still wait for, its children, stays.
        """

    # Reading what happened

    @abstractmethod
    async def read_events(self, run_id: str, after: int, limit: int) -> list[RunEvent]:
        """Stored events with seq > `after`, in order of seq, completed steps among them, gapless."""

    @abstractmethod
    async def read_logs(self, run_id: str) -> list[LogRow]:
        """The run log by (attempt, time, path, ordinal)."""

    @abstractmethod
    async def set_meta(self, key: str, value: str) -> None:
        """Store a small fact about the store itself, such as a worker's manifest."""

    @abstractmethod
    async def get_meta(self, key: str) -> str | None:
        """Read it back."""


# Used by tests and wrappers that treat all verbs alike.
VERBS: tuple[str, ...] = tuple(
    name
    for name, value in vars(Store).items()
    if getattr(value, "__isabstractmethod__", False) and name not in ("open", "close")
)
