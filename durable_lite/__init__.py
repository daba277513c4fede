"""Durable execution in pure Python: jobs of named steps that survive the death of their process."""

from __future__ import annotations

from .context import Context, RunInfo, current
from .durable import Durable
from .errors import (
    AbortRun,
    Busy,
    ChildFailed,
    Conflict,
    DurableError,
    InvalidDocument,
    InvalidOption,
    InvalidPayload,
    KeyReused,
    NotSerializable,
    RetryAfter,
    RunCancelled,
    RunFailed,
    RunNotFound,
    RunStopped,
    SchemaTooNew,
    StepFailed,
    StepTimeout,
    StoreError,
    StoreUnavailable,
    SyncStepError,
    TokenFailed,
    TokenNotFound,
    TokenTimeout,
    TooLarge,
    UnknownJob,
)
from .events import EventType, RunEvent
from .job import Job, job
from .on import Event
from .queues import Queue
from .retry import Retry
from .run import Run, RunPage
from .status import Status
from .steering import TokenPage
from .step import step
from .tokens import Token

__version__ = "0.1.0"

__all__ = [
    "AbortRun",
    "Busy",
    "ChildFailed",
    "Conflict",
    "Context",
    "Durable",
    "DurableError",
    "Event",
    "EventType",
    "InvalidDocument",
    "InvalidOption",
    "InvalidPayload",
    "Job",
    "KeyReused",
    "NotSerializable",
    "Queue",
    "Retry",
    "RetryAfter",
    "Run",
    "RunCancelled",
    "RunEvent",
    "RunFailed",
    "RunInfo",
    "RunNotFound",
    "RunPage",
    "RunStopped",
    "SchemaTooNew",
    "Status",
    "StepFailed",
    "StepTimeout",
    "StoreError",
    "StoreUnavailable",
    "SyncStepError",
    "Token",
    "TokenFailed",
    "TokenNotFound",
    "TokenPage",
    "TokenTimeout",
    "TooLarge",
    "UnknownJob",
    "current",
    "job",
    "step",
]
