"""Errors on their way between server and client: by a code that stays the same, and what they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import (
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

__all__ = ["code_and_fields", "error_of"]

# In this order: the first class that fits.
_CODES: tuple[tuple[type[DurableError], str], ...] = (
    (InvalidPayload, "invalid_payload"),
    (InvalidDocument, "invalid_document"),
    (InvalidDelivery, "invalid_delivery"),
    (InvalidOption, "invalid_option"),
    (NotSerializable, "not_serializable"),
    (TooLarge, "too_large"),
    (InvalidSignature, "invalid_signature"),
    (RunNotFound, "run_not_found"),
    (TokenNotFound, "token_not_found"),
    (UnknownJob, "unknown_job"),
    (UnknownWebhook, "unknown_webhook"),
    (KeyReused, "key_reused"),
    (Busy, "busy"),
    (Conflict, "conflict"),
    (StoreUnavailable, "store_unavailable"),
)
_CLASSES = {code: kind for kind, code in _CODES}


def code_and_fields(error: DurableError) -> tuple[str, dict[str, Any]] | None:
    """What a client makes the error of again; None for what isn't its to know."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            if isinstance(error, InvalidPayload):
                problems = [problem._asdict() for problem in error.problems]
                return code, {"job": error.job, "problems": problems, "index": error.index}
            return code, {name: getattr(error, name) for name in error._made_of}
    return None


def error_of(code: Any, detail: str, fields: Mapping[str, Any]) -> DurableError | None:
    """The error again; None for a code of no error, or fields that it isn't made of."""
    if code == "invalid_payload" and {"job", "problems"} <= fields.keys():
        problems = [(one["path"], one["message"]) for one in fields["problems"]]
        return InvalidPayload(fields["job"], problems, fields.get("index"))
    kind = _CLASSES.get(str(code))
    if kind is None or set(kind._made_of) != set(fields):
        return None
    return kind(**fields) if fields else kind(detail)
