"""Every error that durable_lite raises, and the two that a job raises to steer its retries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

__all__ = [
    "AbortRun",
    "Busy",
    "ChildFailed",
    "Conflict",
    "DurableError",
    "FetchFailed",
    "InvalidDelivery",
    "InvalidDocument",
    "InvalidOption",
    "InvalidPayload",
    "InvalidSignature",
    "KeyReused",
    "NotSerializable",
    "Problem",
    "RetryAfter",
    "RunCancelled",
    "RunFailed",
    "RunNotFound",
    "RunStopped",
    "SchemaTooNew",
    "StepFailed",
    "StepTimeout",
    "StoreError",
    "StoreUnavailable",
    "SyncStepError",
    "TokenFailed",
    "TokenNotFound",
    "TokenTimeout",
    "TooLarge",
    "UnknownJob",
    "UnknownWebhook",
    "UnresolvedAuth",
]


class DurableError(Exception):
    """Base of all errors of durable_lite that user code may catch."""

    _made_of: ClassVar[tuple[str, ...]] = ()

    def __reduce__(self) -> Any:
        """How to make it again: from these attributes, and not from the message that they gave."""
        given = tuple(getattr(self, name) for name in self._made_of)
        return (type(self), given) if given else super().__reduce__()


# What a job raises to steer its retries.


class AbortRun(DurableError):
    """Raised by a job or a step: the run fails at once, whatever attempts are left."""


class RetryAfter(DurableError):
    """Raised by a job or a step: try again after `delay`, which no `max_delay` cuts.

    `delay` is a duration: seconds, a `timedelta`, or a string such as `"30s"`.
    """

    _made_of = ("delay", "message")

    def __init__(self, delay: Any, message: str = "") -> None:
        from .durations import seconds  # errors stay importable from everywhere

        self.delay = seconds(delay, "RetryAfter(delay)")
        self.message = message or f"asked to retry after {self.delay:g} s"
        super().__init__(self.message)


class UnresolvedAuth(DurableError):
    """Raised by a job's auth resolver: there are no credentials for this run, which ends UNRESOLVED_AUTH.

    The message is stored. What else a resolver raises is tried again as the job's `Retry` says, and of it
    no more is stored than its class.
    """


# What an option, a key, a value or a payload may do wrong.


class InvalidOption(DurableError, ValueError):
    """An option has a value that it can't have; the message names the option."""

    _made_of = ("option", "detail")

    def __init__(self, option: str, detail: str) -> None:
        self.option, self.detail = option, detail
        super().__init__(f"{option}: {detail}")


class InvalidDocument(DurableError, ValueError):
    """A document isn't one that `export_run` gave; nothing was stored. `path` is the field: `logs[3].at`."""

    _made_of = ("path", "detail")

    def __init__(self, path: str, detail: str) -> None:
        self.path, self.detail = path, detail
        super().__init__(f"{path}: {detail}")


class InvalidDelivery(DurableError, ValueError):
    """A delivery to a webhook is signed well, but can't be taken; nothing was stored."""

    _made_of = ("webhook", "detail")

    def __init__(self, webhook: str, detail: str) -> None:
        self.webhook, self.detail = webhook, detail
        super().__init__(f"delivery to webhook {webhook!r}: {detail}")


class InvalidSignature(DurableError):
    """A delivery isn't from whoever has the secret, or not of now; `detail` says what is wrong with it."""

    _made_of = ("detail",)

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


class UnknownWebhook(DurableError, LookupError):
    """No job is on a webhook of this name."""

    _made_of = ("webhook",)

    def __init__(self, webhook: str) -> None:
        self.webhook = webhook
        super().__init__(f"no job is on a webhook {webhook!r:.80}")


class NotSerializable(DurableError, TypeError):
    """A value can't be stored as tagged JSON; nothing was stored.

    `key` is the step's path (or what else the value was for), `path` the place inside
    the value, such as `$.rows[3].when`.
    """

    _made_of = ("key", "path", "detail")

    def __init__(self, key: str, path: str, detail: str) -> None:
        self.key, self.path, self.detail = key, path, detail
        super().__init__(f"{key}: {path}: {detail}")


class TooLarge(DurableError, ValueError):
    """A value is larger than `max_value_bytes` once encoded; nothing was stored."""

    _made_of = ("key", "size", "limit")

    def __init__(self, key: str, size: int, limit: int) -> None:
        self.key, self.size, self.limit = key, size, limit
        super().__init__(
            f"{key}: {size:,} bytes once encoded, over the limit of {limit:,} (max_value_bytes); "
            "store the data elsewhere and return a reference to it"
        )


class KeyReused(DurableError):
    """Under `strict`: a key was used again with another function, arguments or payload."""


class Problem(NamedTuple):
    """One bad field of a payload: where it is (`$.pages`) and what is wrong with it."""

    path: str
    message: str


class InvalidPayload(DurableError, ValueError):
    """A payload doesn't fit its job's annotation; `problems` has the path to each bad field."""

    def __init__(
        self, job: str, problems: Sequence[Problem | tuple[str, str]], index: int | None = None
    ) -> None:
        self.job = job
        self.problems = [Problem(*problem) for problem in problems]
        self.index = index
        where = f"payloads[{index}] of {job}" if index is not None else f"payload of {job}"
        super().__init__(f"{where}: " + "; ".join(f"{p.path}: {p.message}" for p in self.problems))

    def __reduce__(self) -> Any:
        return type(self), (self.job, [list(problem) for problem in self.problems], self.index)


class UnknownJob(DurableError, LookupError):
    """A job isn't among those that this `Durable` was given."""


# How a run or a step ended.


class StepFailed(DurableError):
    """A step's stored failure whose own class can't be rebuilt; `type` is that class's name."""

    _made_of = ("key", "type", "message")

    def __init__(self, key: str, type: str, message: str) -> None:
        self.key, self.type, self.message = key, type, message
        super().__init__(f"step {key!r} failed: {type}: {message}")


class FetchFailed(DurableError, ConnectionError):
    """`ctx.fetch`: there was no answer, or none but such as ask to be tried again (`status`).

    `request` is its method and address without the query; `delay` what the answer's `Retry-After` asked for.
    """

    _made_of = ("request", "status", "detail", "delay")

    def __init__(self, request: str, status: int | None, detail: str, delay: float | None = None) -> None:
        self.request, self.status, self.detail, self.delay = request, status, detail, delay
        super().__init__(f"{request}: {detail}")


class StepTimeout(DurableError, TimeoutError):
    """A step took longer than its `timeout`, counted in awake time."""

    _made_of = ("key", "seconds")

    def __init__(self, key: str, seconds: float) -> None:
        self.key, self.seconds = key, seconds
        super().__init__(f"step {key!r} took longer than its timeout of {seconds:g} s")


class ChildFailed(DurableError):
    """`ctx.call`: the child run ended without a result. `error` has the fields of a stored error.

    A job that doesn't catch it fails without another attempt, unless its `Retry(children=True)`.
    """

    _made_of = ("run_id", "job", "status", "error")

    def __init__(self, run_id: str, job: str, status: str, error: dict[str, Any] | None = None) -> None:
        self.run_id, self.job, self.status, self.error = run_id, job, str(status), error or {}
        what = ": ".join(str(self.error[k]) for k in ("type", "message") if self.error.get(k))
        super().__init__(f"child run {run_id} of {job} ended {status}" + (f": {what}" if what else ""))


class TokenTimeout(DurableError, TimeoutError):
    """Nobody completed a token, or no event that matches came, before its `timeout` was over."""

    _made_of = ("key", "token_id")

    def __init__(self, key: str, token_id: str) -> None:
        self.key, self.token_id = key, token_id
        super().__init__(f"{key!r} was not completed in time (token {token_id})")


class TokenFailed(DurableError):
    """A token was failed from outside, with this message."""

    _made_of = ("key", "token_id", "message")

    def __init__(self, key: str, token_id: str, message: str) -> None:
        self.key, self.token_id, self.message = key, token_id, message
        super().__init__(f"{key!r} was failed: {message} (token {token_id})")


class RunFailed(DurableError):
    """`run.result()`: the run ended without a result; `status` says how, `error` why.

    `error` has the fields of a stored error: `type`, `message`, and where they are known
    `code`, `key` and `traceback`.
    """

    _made_of = ("run_id", "status", "error")

    def __init__(self, run_id: str, status: str, error: dict[str, Any] | None) -> None:
        self.run_id, self.status, self.error = run_id, status, error or {}
        what = ": ".join(str(self.error[k]) for k in ("type", "message") if self.error.get(k))
        super().__init__(f"run {run_id} ended {status}" + (f": {what}" if what else ""))


class RunCancelled(DurableError):
    """Raised by `ctx.raise_if_cancelled()` once the run has been cancelled."""


class RunNotFound(DurableError, LookupError):
    """No run has this id."""

    _made_of = ("run_id",)

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"no run has the id {run_id!r}")


class TokenNotFound(DurableError, LookupError):
    """No token has this id."""

    _made_of = ("token_id",)

    def __init__(self, token_id: str) -> None:
        self.token_id = token_id
        super().__init__(f"no token has the id {token_id!r}")


class Conflict(DurableError):
    """The run's status doesn't allow this operation."""


class Busy(Conflict):
    """`on_busy="reject"`: an unfinished run has the concurrency key; nothing was stored."""

    _made_of = ("key", "run_id")

    def __init__(self, key: str, run_id: str) -> None:
        self.key, self.run_id = key, run_id
        super().__init__(f"run {run_id} has the concurrency key {key}")


class SyncStepError(DurableError, RuntimeError):
    """A sync step called something that only an async one may await."""

    def __init__(self, call: str) -> None:
        super().__init__(
            f"ctx.{call} can't be used from a sync step: it has to be awaited on the event loop. "
            "Make the step function async, or call this from the job"
        )


class RunStopped(asyncio.CancelledError):
    """The engine has stopped this run here; let it pass.

    Every context call raises this after a stop (the run suspended, was cancelled, or its lease
    was lost), and touches no store. It is a `CancelledError`, so `except Exception` doesn't catch
    it. Code that does catch it can't go on: whatever the job returns now is dropped. Clean up with
    a step after `except Exception`, not in `finally`.
    """


# What a store may do wrong.


class StoreError(DurableError):
    """A store can't do what was asked of it, and trying again won't help."""


class StoreUnavailable(StoreError):
    """A store can't be reached or written now (locked, full, read-only, gone); nothing was written.

    A worker backs off and tries again; a direct call of yours gets this error.
    """


class SchemaTooNew(StoreError):
    """The store was written by a newer durable_lite that this one must not touch."""
