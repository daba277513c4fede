"""The rows that cross the `Store` port: plain named tuples of text, numbers and None.

Moments are seconds since the epoch (float); durations are seconds. JSON is kept as text: a store
never parses a payload, an output or an error.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "Beat",
    "Change",
    "Checkpoint",
    "Claim",
    "Created",
    "Lease",
    "LogRow",
    "Moved",
    "NewEvent",
    "NewRun",
    "QueueRow",
    "QueueState",
    "Refusal",
    "RunFilter",
    "RunRow",
    "ScheduleRow",
    "Sent",
    "SentEvent",
    "Settlement",
    "StepRow",
    "TokenFilter",
    "TokenRow",
    "TriggerRow",
    "Wakes",
]


class NewRun(NamedTuple):
    """What a trigger stores: what the caller gave, and nothing that the job's policies decide."""

    id: str
    job: str
    version: str | None
    queue: str
    priority: int
    created_at: float
    ready_at: float  # when it may first be claimed: `created_at` plus `delay`
    payload: str
    max_duration: float | None = None
    deadline: float | None = None
    trigger: str = "{}"
    environment: str | None = None
    tags: str = "[]"
    idempotency_key: str | None = None  # canonical JSON of [scope, parts]
    idempotency_expires_at: float | None = None
    parent_id: str | None = None  # the run that started this one
    awaited: int = 0  # 1: its parent waits for its end
    concurrency_key: str | None = None
    on_busy: str = "queue"  # what if another run has the concurrency key: "queue", "skip" or "reject"
    expires_at: float | None = None  # when it ends, if it hasn't started
    debounce_key: str | None = None
    debounce_mode: str = "trailing"  # or "leading"
    debounce_until: float | None = None  # leading: the end of the window; trailing: the latest start


class RunRow(NamedTuple):
    """One run as it is stored."""

    id: str
    job: str
    version: str | None
    status: str
    queue: str
    priority: int
    created_at: float
    ready_at: float | None  # PENDING, WAITING: when it becomes claimable
    claimable: int  # 1: a claim may take it now
    started_at: float | None  # first claim; kept by every later one
    finished_at: float | None
    payload: str
    output: str | None
    error: str | None
    attempt: int  # counts from 1 over the run's whole life
    first_attempt: int  # where the current budget of attempts began: `resume` moves it
    recoveries: int  # claims in a row after a worker disappeared, without a new checkpoint
    recovery_seq: int  # the last checkpoint's seq at the last such claim
    generation: int
    worker: str | None  # who claimed it last
    seq: int  # the last seq as of the last transition; checkpoints may be ahead
    executed: float  # seconds of executing time over all attempts
    last_seen_at: float | None  # the last sign of life of its last execution
    stale_reason: str | None
    max_duration: float | None
    deadline: float | None
    trigger: str
    environment: str | None
    tags: str
    progress: str | None
    metadata: str
    idempotency_key: str | None
    idempotency_expires_at: float | None
    key_live: int  # 1: the idempotency key still answers with this run
    parent_id: str | None
    awaited: int
    remaining: int | None  # WAITING: completed children until it wakes; None: only time wakes it
    interrupted: int  # 1: an execution was cut off, and the next claim says `run.resumed`
    concurrency_key: str | None
    gated: int  # 1: it needs places, in its queue or for its concurrency key, to be claimable
    slot: int  # 1: it has a place in its queue
    key_held: int  # 1: it holds its concurrency key; 2: it shares an ancestor's
    blocked: str | None  # QUEUED: for what it waits, "key" or "queue"
    expires_at: float | None
    debounce_key: str | None
    debounce_until: float | None


class Created(NamedTuple):
    """What became of one `NewRun`: the row, and whether another run stands for it."""

    run: RunRow
    disposition: str  # "created", "idempotent" (its key answered), "coalesced" (debounced, or `skip`)


class QueueRow(NamedTuple):
    """The limits of one queue; None is no limit."""

    name: str
    concurrency: int | None = None
    rate: int | None = None  # first claims in any `period` seconds
    period: float | None = None
    key_scope: str = "run"  # or "execution": waits let go of the concurrency key
    paused: int = 0


class QueueState(NamedTuple):
    """A queue with its limits, and how many runs stand in it."""

    queue: QueueRow
    queued: int  # QUEUED for a place in it
    taken: int  # have a place: executing, stale, or about to be claimed


class Claim(NamedTuple):
    """A claimed run as of the claim, and what it was before."""

    run: RunRow
    status: str  # before the claim: PENDING, WAITING or STALE
    fresh: bool  # never executed before: there is nothing to load


class StepRow(NamedTuple):
    """A step, or a wait, of a run. `seq` is set once it is completed, and is its event's."""

    run_id: str
    path: str
    seq: int | None
    kind: str  # "step", "sleep", "token", "wait", "event", "send", "trigger", "call", "patch"
    state: str  # "completed", "failed", "retrying" or "waiting"
    name: str | None  # the function's name
    arguments: str | None  # digest of the arguments, under strict only
    output: str | None
    error: str | None
    failures: int  # failures recorded in run attempt `attempt`
    attempt: int  # the run's attempt that wrote this row, or 0; a failure of another one is void
    generation: int
    started_at: float
    finished_at: float | None
    wake_at: float | None  # a wait's deadline, a retry's next moment
    title: str | None = None
    ref: str | None = None  # the id of its token, or those of its child runs, one a line


class Checkpoint(NamedTuple):
    """The part of a `StepRow` that replay needs."""

    path: str
    state: str
    name: str | None
    arguments: str | None
    output: str | None
    error: str | None
    failures: int
    attempt: int
    wake_at: float | None
    kind: str
    ref: str | None = None


class NewEvent(NamedTuple):
    """An event that is stored with a transition or a failed step. `data` is JSON text."""

    seq: int
    at: float
    type: str
    data: str


class LogRow(NamedTuple):
    """A line of the run log, unique on (run, attempt, path, ordinal)."""

    run_id: str
    attempt: int
    path: str  # of the step it happened in, "" for the job itself
    ordinal: int
    at: float
    level: str
    message: str
    fields: str


class TokenRow(NamedTuple):
    """An external promise that a run waits for."""

    id: str
    run_id: str
    path: str
    kind: str  # "token": completed by its id; "event": by the next event of that name that matches
    state: str  # "pending", "completed", "failed" or "expired"
    created_at: float
    deadline: float
    finished_at: float | None = None
    output: str | None = None
    error: str | None = None
    name: str | None = None  # of the event
    match: str | None = None  # which of them: JSON text


class TokenFilter(NamedTuple):
    """Which tokens to list; None means any. Newest first."""

    state: str | None = None
    run_id: str | None = None
    cursor: tuple[float, str] | None = None  # (created_at, id) of the last row seen
    limit: int = 50


class TriggerRow(NamedTuple):
    """What starts a job besides `trigger`: events of a name that match."""

    job: str
    kind: str  # "event"
    name: str
    match: str  # JSON text of a filter
    version: str | None
    queue: str


class ScheduleRow(NamedTuple):
    """A schedule that starts a job, and how far it has come."""

    job: str
    name: str
    spec: str  # JSON text that `timetable` reads
    catch_up: str  # "one", "all" or "none" of the ticks at which nobody was there
    next_at: float  # its next tick isn't before this
    last_at: float | None = None  # the last tick that made a run
    paused: int = 0


class SentEvent(NamedTuple):
    """An event that was sent to all that wait for such; its id tells whether it was before."""

    id: str
    name: str
    payload: str
    at: float


class Sent(NamedTuple):
    """What became of an event: whether it is new, the runs that it has started, the waits it has ended."""

    fresh: bool
    runs: tuple[str, ...]
    waits: int


class Moved(NamedTuple):
    """A run on its way from one store to another, with all it has; the last event is its `run.moved`.

    The run's status is PENDING or WAITING: what it is to be where it arrives.
    """

    run: RunRow
    steps: tuple[StepRow, ...]
    events: tuple[NewEvent, ...]
    logs: tuple[LogRow, ...]
    tokens: tuple[TokenRow, ...] = ()


class Lease(NamedTuple):
    """A worker's right to execute a run for one generation."""

    run_id: str
    generation: int
    worker: str
    heartbeat_at: float
    via: str  # "lease", or "lock" where a lock proves the worker alive
    executed: float


class Beat(NamedTuple):
    """What one heartbeat says of one held run, with what was buffered since the last."""

    run_id: str
    generation: int
    executed: float
    progress: str | None = None  # None: unchanged
    metadata: str | None = None
    logs: tuple[LogRow, ...] = ()


class Wakes(NamedTuple):
    """What wakes a WAITING run: any of these tokens, any failed child, all children or any of them."""

    tokens: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    all: bool = False


class Settlement(NamedTuple):
    """How a worker lets go of a run: final, WAITING, or PENDING again when it is released.

    Its event comes after everything that the run has by then.
    """

    status: str
    at: float
    type: str  # of the event
    data: str  # JSON
    attempt: int
    executed: float
    ready_at: float | None = None
    output: str | None = None
    error: str | None = None
    progress: str | None = None
    metadata: str | None = None
    logs: tuple[LogRow, ...] = ()
    wakes: Wakes | None = None  # WAITING: what else than time ends it


class Refusal(NamedTuple):
    """Why a guarded write changed nothing: what the run is now (None: it is gone)."""

    status: str | None
    generation: int


class RunFilter(NamedTuple):
    """Which runs to list; None means any. Newest first."""

    statuses: tuple[str, ...] | None = None
    job: str | None = None
    tags: tuple[str, ...] = ()  # all of them
    created_after: float | None = None
    created_before: float | None = None
    cursor: tuple[float, str] | None = None  # (created_at, id) of the last row seen
    limit: int = 50


class Change(NamedTuple):
    """A hint that something was committed: to which run (None: look), and may it be claimed."""

    run_id: str | None
    claimable: bool
    step: bool = False  # no more than a step or a wait was stored
    ended: str | None = None  # the status by which another than its worker has ended it
