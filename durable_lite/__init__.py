"""Durable execution in pure Python: jobs of named steps that survive the death of their process."""

from __future__ import annotations

from .context import Context, RunInfo, current
from .durable import Durable
from .errors import (
    AbortRun,
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
    TooLarge,
    UnknownJob,
)
from .events import Event, EventType
from .job import Job, job
from .retry import Retry
from .run import Run, RunPage
from .status import Status
from .step import step

__version__ = "0.1.0"

__all__ = [
    "AbortRun",
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
    "Retry",
    "RetryAfter",
    "Run",
    "RunCancelled",
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
    "TooLarge",
    "UnknownJob",
    "current",
    "job",
    "step",
]
