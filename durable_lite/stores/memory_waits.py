"""What a run of the memory store can wait for besides time: its tokens and its children."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import TokenNotFound
from ..records import Change, Created, NewRun, Refusal, RunRow, StepRow, TokenFilter, TokenRow, Wakes
from ..status import FINAL, Status
from .memory_runs import MemoryRuns
from .rows import answered, is_same, token_expired, tokens_run_ended

__all__ = ["MemoryWaits"]


class MemoryWaits(MemoryRuns):
    """Verbs on tokens and children."""

    async def create_token(
        self, run_id: str, generation: int, step: StepRow, token: TokenRow
    ) -> Refusal | None:
        if refusal := self._refusal(run_id, generation):
            return refusal
        self._store_step(run_id, step)
        self._tokens.setdefault(token.id, token)
        self.announce(Change(run_id, claimable=False, step=True))
        return None

    async def create_children(
        self, run_id: str, generation: int, step: StepRow, runs: Sequence[NewRun]
    ) -> list[Created] | Refusal:
        if refusal := self._refusal(run_id, generation):
            return refusal
        stored = self._steps[run_id].get(step.path)
        if stored and is_same(stored, step):
            children = [self._runs[id] for id in (stored.ref or "").split("\n") if id in self._runs]
            if len(children) == len(runs):
                return answered(runs, children)
        self._check_seq(run_id, step)
        created = self._create(runs)
        ref = "\n".join(outcome.run.id for outcome in created)
        self._store_step(run_id, step._replace(ref=ref))
        self.announce(Change(run_id, claimable=False, step=True))
        return created

    async def finish_token(
        self, token_id: str, state: str, output: str | None, error: str | None, now: float
    ) -> TokenRow:
        token = self._tokens.get(token_id)
        if token is None:
            raise TokenNotFound(token_id)
        if token.state in ("completed", "failed"):
            return token
        if token.state == "expired" or token.deadline <= now:
            raise token_expired(token)
        run = self._runs[token.run_id]
        if run.status in FINAL:
            raise tokens_run_ended(token, run.status)
        self._finish(token, state, output, error, now)
        return self._tokens[token_id]

    def _finish(self, token: TokenRow, state: str, output: str | None, error: str | None, now: float) -> bool:
        """End a pending token, unless its run has ended; whether it did."""
        run = self._runs[token.run_id]
        if run.status in FINAL:
            return False
        self._tokens[token.id] = token._replace(state=state, output=output, error=error, finished_at=now)
        woken = run.status == Status.WAITING and run.remaining is not None
        if woken:
            self._wake(run.id, now)
        self.announce(Change(run.id, claimable=woken))
        return True

    async def read_tokens(self, token_ids: Sequence[str], now: float) -> list[TokenRow]:
        found = [self._tokens[id] for id in token_ids if id in self._tokens]
        for token in found:
            if token.state == "pending" and token.deadline <= now:
                self._tokens[token.id] = token._replace(state="expired", finished_at=now)
        return [self._tokens[token.id] for token in found]

    async def list_tokens(self, filter: TokenFilter) -> list[TokenRow]:
        f = filter
        found = [
            token
            for token in self._tokens.values()
            if (f.state is None or token.state == f.state)
            and (f.run_id is None or token.run_id == f.run_id)
            and (f.cursor is None or (token.created_at, token.id) < f.cursor)
        ]
        found.sort(key=lambda token: (token.created_at, token.id), reverse=True)
        return found[: f.limit]

    def _outlook(self, wakes: Wakes) -> tuple[bool, int]:
        """Whether what is waited for has come, and how many completed children are still missing."""
        tokens = [self._tokens.get(id) for id in wakes.tokens]
        children: list[RunRow | None] = [self._runs.get(id) for id in dict.fromkeys(wakes.children)]
        completed = sum(child is not None and child.status == Status.COMPLETED for child in children)
        left = (len(children) if wakes.all else 1) - completed
        came = any(token is None or token.state != "pending" for token in tokens)
        ended = any(child is None or child.status in FINAL - {Status.COMPLETED} for child in children)
        return came or ended or (left <= 0 and bool(children)), max(left, 0)
