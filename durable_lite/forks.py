"""A fork: a new run of the same job and payload that has the checkpoints before a chosen step."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import InvalidOption
from .keys import is_under
from .records import StepRow

__all__ = ["forked"]


def forked(steps: Sequence[StepRow], path: str, run_id: str) -> list[StepRow]:
    """The completed steps that were stored before that of `path`, as those of another run.

    Without what it is nested in, and what is nested in it. A token that is still waited for stays with
    its run. `InvalidOption` if the run has no such step.
    """
    chosen = next((step for step in steps if step.path == path), None)
    if chosen is None:
        raise InvalidOption("from_step", f"the run has no step {path!r:.80}")
    before = [
        step
        for step in steps
        if step.seq is not None
        and (chosen.seq is None or step.seq < chosen.seq)
        and not is_under(step.path, path)
        and not is_under(path, step.path)
    ]
    paths = {step.path for step in before}
    kept = [step for step in before if step.kind != "token" or f"{step.path}/wait" in paths]
    return [
        step._replace(run_id=run_id, seq=number, attempt=1, generation=0, failures=0)
        for number, step in enumerate(kept, 2)
    ]
