"""What goes wrong, as `application/problem+json` (RFC 9457) with a code that stays the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import DurableError
from ..problems import code_and_fields

__all__ = ["CODES", "Code", "Refused", "document", "refused"]


class Code(NamedTuple):
    """The status of a problem, and what it is in a few words."""

    status: int
    title: str


CODES = {
    "malformed": Code(400, "The request isn't what it says it is"),
    "invalid_delivery": Code(400, "The delivery can't be taken"),
    "unauthorized": Code(401, "Who asks isn't known"),
    "invalid_signature": Code(401, "The delivery isn't signed well"),
    "forbidden": Code(403, "Who asks may not do this"),
    "cross_origin": Code(403, "A page of another origin may not ask"),
    "not_found": Code(404, "There is nothing here"),
    "run_not_found": Code(404, "No run has this id"),
    "token_not_found": Code(404, "No token has this id"),
    "unknown_job": Code(404, "The server doesn't know this job"),
    "unknown_webhook": Code(404, "No job is on this webhook"),
    "method_not_allowed": Code(405, "This can't be done with it"),
    "conflict": Code(409, "Its status doesn't allow this"),
    "busy": Code(409, "Another run has the concurrency key"),
    "key_reused": Code(409, "The key was used for something else"),
    "too_large": Code(413, "It is too large"),
    "unsupported_type": Code(415, "The body isn't JSON"),
    "host_not_allowed": Code(421, "The server isn't asked by this name"),
    "invalid_request": Code(422, "The request doesn't fit"),
    "invalid_option": Code(422, "An option has a value that it can't have"),
    "invalid_payload": Code(422, "The payload doesn't fit its job"),
    "invalid_document": Code(422, "The document isn't a run's"),
    "not_serializable": Code(422, "The value can't be stored"),
    "rate_limited": Code(429, "Too many requests"),
    "internal": Code(500, "Something went wrong"),
    "store_unavailable": Code(503, "The store can't be reached now"),
}

RETRY_AFTER = {"Retry-After": "1"}


class Refused(Exception):
    """Ends a request with a problem; `more` goes into its document."""

    def __init__(self, code: str, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.code, self.detail, self.more = code, detail, more
        self.status, self.title = CODES[code]
        self.headers = dict(headers or {})


def refused(error: DurableError) -> Refused:
    """What an error of the engine or a store is to who asked. What isn't theirs to know isn't told.

    `fields` is what the error is made of, for a client that raises it again.
    """
    told = code_and_fields(error)
    if told is None:
        return Refused("internal", "the server's log says more")
    code, fields = told
    headers = RETRY_AFTER if code == "store_unavailable" else None
    return Refused(code, str(error), headers, fields=fields)


def document(problem: Refused) -> dict[str, Any]:
    """The problem's JSON."""
    return {
        "type": f"urn:durable-lite:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        **problem.more,
    }
