"""A job's payload, by its annotation: checked, stored as text, read back, described as JSON Schema."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from . import codec
from .checks import MAX_PROBLEMS, Check, Definitions, Fields, Unsupported, check_for
from .errors import InvalidOption, InvalidPayload, NotSerializable, Problem
from .shapes import MISSING, Shape, annotation_of, shape_of

__all__ = ["PayloadType"]


class PayloadType:
    """The payload that a job's function takes: its second parameter, after the context.

    `takes` says whether there is one. The annotation is resolved on first use, so it may name what
    is defined further down.
    """

    __slots__ = ("_check", "_fn", "_has_default", "_shape", "default", "job", "parameter", "takes")

    def __init__(self, fn: Callable[..., Any], job: str) -> None:
        """Raises `InvalidOption` when the function can't be called with a context and a payload."""
        self.job = job
        self._fn = fn
        self._check: Check | None = None
        self._shape: Shape | None = None
        parameters = list(_signature(fn).parameters.values())
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        others = [p for p in [*positional[2:], *parameters] if p not in positional[:2]]
        needed = [
            p.name for p in others if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        ]
        if not positional or needed:
            wanted = "a job takes its context and at most one payload: (ctx) or (ctx, payload)"
            raise InvalidOption(f"job {job!r}", f"{wanted}, not {_signature(fn)}")
        self.takes = len(positional) > 1
        self.parameter = positional[1].name if self.takes else ""
        self._has_default = self.takes and positional[1].default is not inspect.Parameter.empty
        self.default: Any = positional[1].default if self._has_default else None

    def validate(self, value: Any) -> Any:
        """The payload as the job takes it, from JSON data or from the thing itself; None: not given.

        Raises `InvalidPayload`, with the path to each bad field.
        """
        if value is None and self._has_default:
            return self.default
        if not self.takes:
            if value is None or value == {}:
                return None
            raise InvalidPayload(self.job, [Problem("$", "this job takes no payload")])
        problems: list[Problem] = []
        try:
            converted = self._checked().convert(value, "$", problems)
        except RecursionError:
            problems = [Problem("$", "nested too deeply")]
        if len(problems) > MAX_PROBLEMS:
            problems = [*problems[:MAX_PROBLEMS], Problem("$", "and more problems")]
        if problems:
            raise InvalidPayload(self.job, problems)
        return converted

    def encode(self, value: Any, *, limit: int = codec.MAX_VALUE_BYTES) -> str:
        """The text that is stored for a payload that `validate` gave.

        Raises `NotSerializable` or `TooLarge`.
        """
        self._checked()
        return codec.encode(value, self._shape, key=f"payload of {self.job}", limit=limit)

    def decode(self, text: str) -> Any:
        """The payload of a stored text: of `encode`, or plain JSON that a page wrote without Python.

        Raises `InvalidPayload`.
        """
        self._checked()
        try:
            value = codec.decode(text, self._shape, key=f"payload of {self.job}")
        except NotSerializable as error:
            raise InvalidPayload(self.job, [Problem(error.path, error.detail)]) from None
        return self.validate(value)

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema (draft 2020-12) of the payload's JSON form."""
        if not self.takes:
            return {"type": ["null", "object"], "maxProperties": 0}
        check, defs = self._checked(), Definitions()
        schema = check.body(defs) if isinstance(check, Fields) else check.schema(defs)
        return {**schema, "$defs": defs.schemas} if defs.schemas else schema

    def _checked(self) -> Check:
        if self._check is None:
            try:
                annotation = annotation_of(self._fn, self.parameter) if self.takes else MISSING
                self._check = Check() if annotation is MISSING else check_for(annotation)
            except Unsupported as error:
                raise InvalidOption(f"payload of {self.job}", str(error)) from None
            except Exception as error:  # resolving evaluates the user's annotation
                why = f"its annotation can't be resolved: {type(error).__name__}: {error}"
                raise InvalidOption(f"payload of {self.job}", why) from error
            self._shape = shape_of(annotation)
        return self._check


def _signature(fn: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        import annotationlib

        return inspect.signature(fn, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(fn)
