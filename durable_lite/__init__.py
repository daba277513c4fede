"""Durable execution in pure Python: jobs of named steps that survive the death of their process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .connections import Connection
from .context import Context, RunInfo, current
from .durable import Durable
from .errors import (
    AbortRun,
    Busy,
    ChildFailed,
    Conflict,
    DurableError,
    FetchFailed,
    InvalidDelivery,
    InvalidDocument,
    InvalidOption,
    InvalidPayload,
    InvalidSignature,
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
    UnknownWebhook,
    UnresolvedAuth,
)
from .events import EventType, RunEvent
from .job import Job, job
from .on import Event, Schedule, Webhook
from .queues import Queue
from .retry import Retry
from .run import Run, RunPage
from .status import Status
from .steering import TokenPage
from .step import step
from .tokens import Token

if TYPE_CHECKING:
    from .fetching import Response
    from .timetable import Tick
    from .webhooks import Delivery

__version__ = "0.1.0"

__all__ = [
    "AbortRun",
    "Busy",
    "ChildFailed",
    "Conflict",
    "Connection",
    "Context",
    "Delivery",
    "Durable",
    "DurableError",
    "Event",
    "EventType",
    "FetchFailed",
    "InvalidDelivery",
    "InvalidDocument",
    "InvalidOption",
    "InvalidPayload",
    "InvalidSignature",
    "Job",
    "KeyReused",
    "NotSerializable",
    "Queue",
    "Response",
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
    "Schedule",
    "SchemaTooNew",
    "Status",
    "StepFailed",
    "StepTimeout",
    "StoreError",
    "StoreUnavailable",
    "SyncStepError",
    "Tick",
    "Token",
    "TokenFailed",
    "TokenNotFound",
    "TokenPage",
    "TokenTimeout",
    "TooLarge",
    "UnknownJob",
    "UnknownWebhook",
    "UnresolvedAuth",
    "Webhook",
    "current",
    "job",
    "step",
]


# What most jobs don't need isn't loaded with the package.
_LATER = {"Delivery": ".webhooks", "Response": ".fetching", "Tick": ".timetable"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name], __name__), name)
