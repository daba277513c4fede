"""Events sent to the memory store: the runs that they start, and the waits that they end."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..matching import matches
from ..ports import EVENT_TTL
from ..records import NewRun, Sent, SentEvent, TriggerRow
from .memory_waits import MemoryWaits

__all__ = ["MemoryEvents"]


class MemoryEvents(MemoryWaits):
    """Verbs on triggers and events."""

    async def set_triggers(self, jobs: Sequence[str], triggers: Sequence[TriggerRow]) -> None:
        kept = [row for row in self._triggers if row.job not in jobs]
        self._triggers = [*kept, *dict.fromkeys(triggers)]

    async def list_triggers(self, kind: str, name: str) -> list[TriggerRow]:
        return sorted(row for row in self._triggers if (row.kind, row.name) == (kind, name))

    async def send_event(self, event: SentEvent, runs: Sequence[NewRun]) -> Sent:
        earlier = self._sent.get(event.id)
        if earlier is not None and earlier[0] > event.at - EVENT_TTL:
            return earlier[1]._replace(fresh=False)
        created, payload = self._create(runs), json.loads(event.payload)
        ended = 0
        for token in list(self._tokens.values()):
            waits = token.kind == "event" and token.name == event.name and token.deadline > event.at
            if waits and token.state == "pending" and matches(token.match or "{}", payload):
                ended += self._finish(token, "completed", event.payload, None, event.at)
        sent = Sent(True, tuple(outcome.run.id for outcome in created), ended)
        self._sent[event.id] = event.at, sent
        return sent
