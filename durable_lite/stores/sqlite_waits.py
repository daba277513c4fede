"""Tokens and children in a SQLite store: each verb inside its transaction, as in `sqlite_writes`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ..errors import TokenNotFound
from ..records import Change, Created, NewRun, Refusal, StepRow, TokenRow
from ..status import FINAL, Status
from . import sqlite_statements as sql
from .rows import answered, token_expired, tokens_run_ended
from .sqlite_create import create_runs
from .sqlite_rows import existing_run, find, refusal
from .sqlite_waking import wake
from .sqlite_writes import save_step

__all__ = ["create_children", "create_token", "expire_tokens", "finish", "finish_token"]

Cursor = sqlite3.Cursor
Changes = tuple[Change, ...]


def create_token(
    cursor: Cursor, run_id: str, generation: int, step: StepRow, token: TokenRow
) -> tuple[Refusal | None, Changes]:
    refused, changes = save_step(cursor, run_id, generation, step)
    if refused is None:
        cursor.execute(sql.CREATE_TOKEN, token)
    return refused, changes


def create_children(
    cursor: Cursor, run_id: str, generation: int, step: StepRow, runs: Sequence[NewRun]
) -> tuple[list[Created] | Refusal, Changes]:
    now = refusal(cursor, run_id)
    if now != (Status.EXECUTING, generation):
        return now, ()
    if found := cursor.execute(sql.CHILDREN_OF_STEP, step._asdict()).fetchone():
        children = [row for id in found[0].split("\n") if (row := find(cursor, id))]
        if len(children) == len(runs):
            return answered(runs, children), ()
    created, changes = create_runs(cursor, runs)
    step = step._replace(ref="\n".join(outcome.run.id for outcome in created))
    refused, more = save_step(cursor, run_id, generation, step)
    assert refused is None
    return created, changes + more


def finish_token(
    cursor: Cursor, token_id: str, state: str, output: str | None, error: str | None, now: float
) -> tuple[TokenRow, Changes]:
    found = cursor.execute(sql.GET_TOKEN, (token_id,)).fetchone()
    if found is None:
        raise TokenNotFound(token_id)
    token = TokenRow._make(found)
    if token.state in ("completed", "failed"):
        return token, ()
    if token.state == "expired" or token.deadline <= now:
        raise token_expired(token)
    status = existing_run(cursor, token.run_id).status
    if status in FINAL:
        raise tokens_run_ended(token, status)
    return finish(cursor, token, state, output, error, now)


def finish(
    cursor: Cursor, token: TokenRow, state: str, output: str | None, error: str | None, now: float
) -> tuple[TokenRow, Changes]:
    """End a pending token, whose run has not ended."""
    run = existing_run(cursor, token.run_id)
    cursor.execute(sql.FINISH_TOKEN, (state, output, error, now, token.id))
    if woken := run.status == Status.WAITING and run.remaining is not None:
        wake(cursor, run.id, now)
    finished = token._replace(state=state, output=output, error=error, finished_at=now)
    return finished, (Change(run.id, claimable=woken),)


def expire_tokens(cursor: Cursor, tokens: Sequence[TokenRow], now: float) -> tuple[None, Changes]:
    """Those that are still pending."""
    for token in tokens:
        cursor.execute(sql.EXPIRE_TOKEN, (now, token.id))
    return None, ()
