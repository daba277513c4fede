"""`indexeddb:`: runs in a database of the browser, shared by all tabs of one origin."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, TypeVar

from .. import errors
from ..errors import Busy, InvalidOption, RunNotFound, StoreError, StoreUnavailable, TokenNotFound
from ..events import RunEvent
from ..ports import Store, Versions
from ..records import (
    Beat,
    Change,
    Checkpoint,
    Claim,
    Created,
    Lease,
    LogRow,
    Moved,
    NewEvent,
    NewRun,
    QueueRow,
    QueueState,
    Refusal,
    RunFilter,
    RunRow,
    ScheduleRow,
    Sent,
    SentEvent,
    Settlement,
    StepRow,
    TokenFilter,
    TokenRow,
    TriggerRow,
)

__all__ = ["IndexedDBStore"]

Row = TypeVar("Row", bound=NamedTuple)
_ERRORS = {
    name: getattr(errors, name) for name in ("Conflict", "StoreError", "StoreUnavailable", "SchemaTooNew")
}
_NOT_FOUND = {"RunNotFound": RunNotFound, "TokenNotFound": TokenNotFound}


class IndexedDBStore(Store):
    """A database `durable-lite:<name>` of this page's origin; in Pyodide only.

    `durability`: "strict" (a write that returned survives a power loss) or "relaxed" (it survives a
    killed browser). `module` is the JavaScript module with the verbs, the page's own where there is
    one: a verb is one transaction, and none survives a Python `await`. `via` says how leases are held
    ("lock" under the tab's Web Lock), and `holds_lock` whether this tab holds it now.
    """

    announces_all = True

    def __init__(
        self,
        name: str,
        *,
        durability: str = "strict",
        module: Any = None,
        via: str = "lease",
        holds_lock: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        if not name:
            raise InvalidOption("store", "a database in the browser needs a name: indexeddb:my-app")
        if durability not in ("strict", "relaxed"):
            raise InvalidOption("durability", f"{durability!r} is neither 'strict' nor 'relaxed'")
        self.name, self.durability, self.url = name, durability, f"indexeddb:{name}"
        self._module, self._via, self._holds_lock = module, via, holds_lock
        self._bridge: Any = None
        self._proxies: tuple[Any, ...] = ()  # to be destroyed
        self._asked: dict[int, asyncio.Future[str]] = {}  # by number
        self._number = 0

    # Life

    async def open(self) -> None:
        if self._bridge is not None:
            return
        from ..browser.javascript import load_module, proxy

        if self._module is None:
            self._module = await load_module("indexeddb")
        self._proxies = proxy(self._answer), proxy(self._hear)
        self._bridge = self._module.connect(self.name, self.durability, *self._proxies)
        try:
            await self._call("open")
        except BaseException:
            self._hang_up()
            raise
        self._bridge.steps = self.steps_heard > 0

    async def close(self) -> None:
        if self._bridge is None:
            return
        try:
            await self._call("close")
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        self._bridge.close()
        self._bridge = None
        for one in self._proxies:
            one.destroy()
        while self._asked:
            _, future = self._asked.popitem()
            if not future.done():
                future.set_exception(StoreUnavailable(f"{self.url}: the store was closed"))

    def listen(self, callback: Callable[[Change], None], *, steps: bool = True) -> Callable[[], None]:
        forget = super().listen(callback, steps=steps)

        def forgotten() -> None:
            forget()
            self._tell_steps()

        self._tell_steps()
        return forgotten

    def _tell_steps(self) -> None:
        if self._bridge is not None:
            self._bridge.steps = self.steps_heard > 0

    def _hear(self, changes: str) -> None:
        for change in json.loads(changes):
            self.announce(Change(**change))

    # Runs

    async def create_runs(self, runs: Sequence[NewRun]) -> list[Created]:
        return _created(await self._call("create_runs", [run._asdict() for run in runs]))

    async def fork_run(self, run: NewRun, steps: Sequence[StepRow]) -> Created:
        created = await self._call("fork_run", run._asdict(), [step._asdict() for step in steps])
        return Created(_row(RunRow, created["run"]), created["disposition"])

    async def get_run(self, run_id: str) -> RunRow | None:
        run = await self._call("get_run", run_id)
        return None if run is None else _row(RunRow, run)

    async def get_runs(self, run_ids: Sequence[str]) -> list[RunRow]:
        return [_row(RunRow, run) for run in await self._call("get_runs", list(run_ids))]

    async def list_runs(self, filter: RunFilter) -> list[RunRow]:
        return [_row(RunRow, run) for run in await self._call("list_runs", filter._asdict())]

    # A worker's claim on a run

    async def register_worker(self, worker: str, info: str, now: float) -> str:
        via: str = await self._call("register_worker", worker, info, now, self._via)
        return via

    async def unregister_worker(self, worker: str) -> None:
        await self._call("unregister_worker", worker)

    async def gone_workers(self, workers: Collection[str]) -> set[str]:
        if not workers or not self._holds_lock():
            return set()  # who holds the lock knows that nobody else does
        return set(await self._call("locking_workers", list(workers)))

    async def claim_runs(
        self, worker: str, jobs: Sequence[str], limit: int, now: float, via: str,
        versions: Versions | None = None,
    ) -> list[Claim]:  # fmt: skip
        wanted = {job: list(of_job) for job, of_job in (versions or {}).items()}
        claims = await self._call("claim_runs", worker, list(jobs), limit, now, via, wanted)
        return [Claim(_row(RunRow, one["run"]), one["status"], one["fresh"]) for one in claims]

    async def lack_connections(self, jobs: Sequence[str]) -> None:
        await self._call("lack_connections", list(jobs))

    async def next_due(self) -> float | None:
        due: float | None = await self._call("next_due")
        return due

    async def beat(self, worker: str, beats: Sequence[Beat], now: float) -> dict[str, Refusal]:
        if not beats:
            return {}
        given = [beat._asdict() | {"logs": [line._asdict() for line in beat.logs]} for beat in beats]
        lost = await self._call("beat", worker, given, now)
        return {run_id: Refusal(**refusal) for run_id, refusal in lost.items()}

    async def leases(self) -> list[Lease]:
        return [_row(Lease, lease) for lease in await self._call("leases")]

    async def mark_stale(self, leases: Sequence[Lease], reason: str, now: float) -> list[str]:
        if not leases:
            return []
        done: list[str] = await self._call("mark_stale", [lease._asdict() for lease in leases], reason, now)
        return done

    async def settle(self, run_id: str, generation: int, settlement: Settlement) -> Refusal | None:
        given = settlement._asdict() | {
            "logs": [line._asdict() for line in settlement.logs],
            "wakes": settlement.wakes and settlement.wakes._asdict(),
        }
        return _refusal(await self._call("settle", run_id, generation, given))

    # Queues

    async def set_queues(self, queues: Sequence[QueueRow], now: float) -> None:
        if queues:
            await self._call("set_queues", [queue._asdict() for queue in queues], now)

    async def pause_queue(self, name: str, paused: bool, now: float) -> None:
        await self._call("pause_queue", name, paused, now)

    async def list_queues(self) -> list[QueueState]:
        found = await self._call("list_queues")
        return [QueueState(_row(QueueRow, one["queue"]), one["queued"], one["taken"]) for one in found]

    # Steps

    async def save_step(self, run_id: str, generation: int, step: StepRow) -> Refusal | None:
        return _refusal(await self._call("save_step", run_id, generation, step._asdict()))

    async def save_failure(
        self, run_id: str, generation: int, step: StepRow, event: NewEvent
    ) -> Refusal | None:
        given = (run_id, generation, step._asdict(), event._asdict())
        return _refusal(await self._call("save_failure", *given))

    async def load_checkpoints(self, run_id: str) -> list[Checkpoint]:
        return [_row(Checkpoint, step) for step in await self._call("load_steps", run_id)]

    async def load_steps(self, run_id: str) -> list[StepRow]:
        return [_row(StepRow, step) for step in await self._call("load_steps", run_id)]

    # Tokens and children

    async def create_token(
        self, run_id: str, generation: int, step: StepRow, token: TokenRow
    ) -> Refusal | None:
        given = (run_id, generation, step._asdict(), token._asdict())
        return _refusal(await self._call("create_token", *given))

    async def create_children(
        self, run_id: str, generation: int, step: StepRow, runs: Sequence[NewRun]
    ) -> list[Created] | Refusal:
        given = (run_id, generation, step._asdict(), [run._asdict() for run in runs])
        answer = await self._call("create_children", *given)
        return Refusal(**answer) if isinstance(answer, dict) else _created(answer)

    async def finish_token(
        self, token_id: str, state: str, output: str | None, error: str | None, now: float
    ) -> TokenRow:
        return _row(TokenRow, await self._call("finish_token", token_id, state, output, error, now))

    async def read_tokens(self, token_ids: Sequence[str], now: float) -> list[TokenRow]:
        return [_row(TokenRow, token) for token in await self._call("read_tokens", list(token_ids), now)]

    async def list_tokens(self, filter: TokenFilter) -> list[TokenRow]:
        return [_row(TokenRow, token) for token in await self._call("list_tokens", filter._asdict())]

    # Events

    async def set_triggers(self, jobs: Sequence[str], triggers: Sequence[TriggerRow]) -> None:
        await self._call("set_triggers", list(jobs), [trigger._asdict() for trigger in triggers])

    async def list_triggers(self, kind: str, name: str) -> list[TriggerRow]:
        return [_row(TriggerRow, row) for row in await self._call("list_triggers", kind, name)]

    async def send_event(self, event: SentEvent, runs: Sequence[NewRun]) -> Sent:
        sent = await self._call("send_event", event._asdict(), [run._asdict() for run in runs])
        return Sent(sent["fresh"], tuple(sent["runs"]), sent["waits"])

    # Schedules

    async def set_schedules(self, jobs: Sequence[str], schedules: Sequence[ScheduleRow]) -> None:
        await self._call("set_schedules", list(jobs), [row._asdict() for row in schedules])

    async def list_schedules(self) -> list[ScheduleRow]:
        return [_row(ScheduleRow, row) for row in await self._call("list_schedules")]

    async def pause_schedule(self, job: str, name: str, paused: bool, now: float) -> None:
        await self._call("pause_schedule", job, name, paused, now)

    async def tick(
        self, seen: ScheduleRow, next_at: float, last_at: float | None, runs: Sequence[NewRun]
    ) -> bool:
        given = (seen._asdict(), next_at, last_at, [run._asdict() for run in runs])
        done: bool = await self._call("tick", *given)
        return done

    # Steering from outside

    async def cancel_run(self, run_id: str, now: float) -> RunRow:
        return _row(RunRow, await self._call("cancel_run", run_id, now))

    async def resume_run(self, run_id: str, now: float) -> RunRow:
        return _row(RunRow, await self._call("resume_run", run_id, now))

    async def move_run(self, run_id: str, now: float) -> RunRow:
        return _row(RunRow, await self._call("move_run", run_id, now))

    async def import_run(self, moved: Moved, now: float) -> RunRow:
        given = {
            "run": moved.run._asdict(),
            "steps": [step._asdict() for step in moved.steps],
            "events": [event._asdict() for event in moved.events],
            "logs": [line._asdict() for line in moved.logs],
            "tokens": [token._asdict() for token in moved.tokens],
        }
        return _row(RunRow, await self._call("import_run", given, now))

    async def delete_run(self, run_id: str) -> None:
        await self._call("delete_run", run_id)

    async def purge(self, before: float, limit: int) -> int:
        count: int = await self._call("purge", before, limit)
        return count

    # Reading what happened

    async def read_events(self, run_id: str, after: int, limit: int) -> list[RunEvent]:
        events = await self._call("read_events", run_id, after, limit)
        return [_row(RunEvent, event | {"data": json.loads(event["data"])}) for event in events]

    async def read_logs(self, run_id: str) -> list[LogRow]:
        return [_row(LogRow, line) for line in await self._call("read_logs", run_id)]

    async def set_meta(self, key: str, value: str) -> None:
        await self._call("set_meta", key, value)

    async def get_meta(self, key: str) -> str | None:
        value: str | None = await self._call("get_meta", key)
        return value

    # What the verbs share

    async def _call(self, verb: str, *given: Any) -> Any:
        """One verb; JSON text in both directions, as nothing else crosses as cheaply."""
        if self._bridge is None:
            raise StoreError(f"{self.url}: the store is not open")
        self._number += 1
        number = self._number
        # Not the loop's own future, which takes another turn of the event loop to count itself out.
        future: asyncio.Future[str] = asyncio.Future(loop=asyncio.get_running_loop())
        self._asked[number] = future
        try:
            self._bridge.ask(number, verb, json.dumps(given))
            answer = json.loads(await future)
        finally:
            self._asked.pop(number, None)
        if isinstance(answer, list):
            return answer[0]
        name, message = answer["name"], answer["message"]
        if name == "Busy":
            raise Busy(answer["key"], answer["id"])
        if missing := _NOT_FOUND.get(name):
            raise missing(answer["id"])
        raise _ERRORS.get(name, StoreUnavailable)(message)

    def _answer(self, number: int, answer: str) -> None:
        future = self._asked.get(number)
        if future is not None and not future.done():
            future.set_result(answer)


def _row(cls: type[Row], record: dict[str, Any]) -> Row:
    return cls._make(map(record.get, cls._fields))


def _created(given: list[dict[str, Any]]) -> list[Created]:
    return [Created(_row(RunRow, one["run"]), one["disposition"]) for one in given]


def _refusal(given: dict[str, Any] | None) -> Refusal | None:
    return None if given is None else Refusal(given["status"], given["generation"])
