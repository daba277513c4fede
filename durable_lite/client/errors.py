"""Errors of a server, raised here as the classes that they were there."""

from __future__ import annotations

from typing import Any

from ..errors import (
    Busy,
    Conflict,
    DurableError,
    InvalidDelivery,
    InvalidDocument,
    InvalidOption,
    InvalidPayload,
    InvalidSignature,
    KeyReused,
    NotSerializable,
    RunNotFound,
    StoreUnavailable,
    TokenNotFound,
    TooLarge,
    UnknownJob,
    UnknownWebhook,
)

__all__ = ["Forbidden", "RemoteError", "Unauthorized", "error_of"]


class RemoteError(DurableError):
    """The server can't be reached, broke off, or answered what it shouldn't.

    What was asked of it may have been done. `status` and `code` are those of its answer, if there was one.
    """

    def __init__(self, message: str, status: int | None = None, code: str | None = None) -> None:
        self.status, self.code = status, code
        super().__init__(message)


class Unauthorized(RemoteError):
    """The server wants a token, or another one."""


class Forbidden(RemoteError):
    """Whoever this token is for may not do that."""


_CLASSES: dict[str, type[DurableError]] = {
    "busy": Busy,
    "conflict": Conflict,
    "invalid_delivery": InvalidDelivery,
    "invalid_document": InvalidDocument,
    "invalid_option": InvalidOption,
    "invalid_signature": InvalidSignature,
    "key_reused": KeyReused,
    "not_serializable": NotSerializable,
    "run_not_found": RunNotFound,
    "store_unavailable": StoreUnavailable,
    "token_not_found": TokenNotFound,
    "too_large": TooLarge,
    "unknown_job": UnknownJob,
    "unknown_webhook": UnknownWebhook,
}


def error_of(status: int, problem: Any) -> DurableError:
    """The error that a problem document tells of."""
    told = problem if isinstance(problem, dict) else {}
    code, detail = told.get("code"), str(told.get("detail") or f"the server answered {status}")
    fields = told.get("fields") or {}
    if code == "invalid_payload" and {"job", "problems"} <= fields.keys():
        problems = [(one["path"], one["message"]) for one in fields["problems"]]
        return InvalidPayload(fields["job"], problems, fields.get("index"))
    kind = _CLASSES.get(str(code))
    if kind is not None and set(kind._made_of) == set(fields):
        return kind(**fields) if fields else kind(detail)
    if status in (401, 403):
        return (Unauthorized if status == 401 else Forbidden)(detail, status, code)
    return RemoteError(f"{status}: {detail}", status, code)
