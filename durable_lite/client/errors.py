"""Errors of a server, raised here as the classes that they were there."""

from __future__ import annotations

from typing import Any

from .. import problems
from ..errors import DurableError

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


def error_of(status: int, problem: Any) -> DurableError:
    """The error that a problem document tells of."""
    told = problem if isinstance(problem, dict) else {}
    code, detail = told.get("code"), str(told.get("detail") or f"the server answered {status}")
    error = problems.error_of(code, detail, told.get("fields") or {})
    if error is not None:
        return error
    if status in (401, 403):
        return (Unauthorized if status == 401 else Forbidden)(detail, status, code)
    return RemoteError(f"{status}: {detail}", status, code)
