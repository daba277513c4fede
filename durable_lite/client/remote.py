"""`RemoteDurable`: what an application holds of a `Durable` on a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from .. import codec
from ..durations import moment, seconds
from ..errors import InvalidOption, InvalidPayload, RunNotFound
from ..events import RunEvent
from ..job import Job, Jobs, collect_jobs
from ..listing import run_filter
from ..records import LogRow, QueueState, RunRow, ScheduleRow, Sent, StepRow, TokenRow
from ..run import Run, RunPage
from ..status import FINAL
from ..steering import TokenPage
from ..step import Duration
from ..trigger import TriggerOptions
from .rows import log_row, queue_state, run_row, schedule_row, step_row, token_row
from .wire import Wire, place

if TYPE_CHECKING:
    import httpx

__all__ = ["RemoteDurable"]

P = TypeVar("P")
R = TypeVar("R")

_TAGGED = {"values": "tagged"}
_LATE = 2**53  # no run has so many events: only its end is told


class RemoteDurable:
    """A `Durable` on a server: `async with RemoteDurable("https://jobs.example", token=…) as app`.

    It has the verbs of `Durable` and raises what they raise; `RemoteError` if the server can't be reached,
    `Unauthorized` without its token. `jobs`: as far as they are known here payloads are checked before they
    are sent, and `run.result()` is of the job's own type. Needs the extra `client`.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        jobs: Jobs = (),
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.jobs: dict[str, Job[Any, Any]] = collect_jobs(jobs)
        self._wire = Wire(url, token, transport)

    async def __aenter__(self) -> RemoteDurable:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._wire.close()

    def __repr__(self) -> str:
        return f"<RemoteDurable {self._wire.url}>"

    # Triggering

    @overload
    async def trigger(
        self, job: Job[P, R], payload: P | Mapping[str, Any] | None = None, **options: Unpack[TriggerOptions]
    ) -> Run[R]: ...
    @overload
    async def trigger(self, job: str, payload: Any = None, **options: Unpack[TriggerOptions]) -> Run[Any]: ...

    async def trigger(self, job: Any, payload: Any = None, **options: Unpack[TriggerOptions]) -> Run[Any]:
        """As `Durable.trigger`."""
        name = self._known(job)
        body = {"job": name, "payload": self._tree(name, payload), "options": _options(options)}
        return self._created(await self._wire.ask("POST", "/runs", _TAGGED, body))

    async def trigger_many(
        self, job: Any, payloads: Iterable[Any], **options: Unpack[TriggerOptions]
    ) -> list[Run[Any]]:
        """As `Durable.trigger_many`; at most 1,000 at a time."""
        name, trees = self._known(job), []
        for index, payload in enumerate(payloads):
            try:
                trees.append(self._tree(name, payload))
            except InvalidPayload as error:
                raise InvalidPayload(error.job, error.problems, index) from None
        if not trees:
            return []
        body = {"job": name, "payloads": trees, "options": _options(options)}
        told = await self._wire.ask("POST", "/runs/batch", _TAGGED, body)
        return [self._created(one) for one in told["runs"]]

    def _known(self, job: Any) -> str:
        if isinstance(job, Job):
            self.jobs.setdefault(job.name, job)
            return job.name
        if not isinstance(job, str):
            raise InvalidOption("job", f"expected a job or its name, got {job!r:.80}")
        return job

    def _tree(self, name: str, payload: Any) -> Any:
        """A payload as JSON with tags."""
        if (job := self.jobs.get(name)) is not None:
            return json.loads(job.payload.encode(job.payload.validate(payload)))
        return json.loads(codec.encode(payload, key=f"payload of {name}"))

    def _created(self, told: Any) -> Run[Any]:
        return Run(self, run_row(told), told["disposition"])

    # Runs

    async def get_run(self, run_id: str) -> Run[Any]:
        """The handle on a run. `RunNotFound`."""
        return Run(self, await self._existing(run_id))

    async def list_runs(
        self,
        *,
        status: str | Iterable[str] | None = None,
        job: Any = None,
        tag: str | Iterable[str] | None = None,
        search: str | None = None,
        created_after: Any = None,
        created_before: Any = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RunPage:
        """As `Durable.list_runs`; at most 1,000 at a time."""
        wanted = run_filter(
            status=status, job=job, tag=tag, created_after=created_after, created_before=created_before,
            limit=limit, cursor=cursor,
        )  # fmt: skip
        query = {
            "status": wanted.statuses, "job": wanted.job, "tag": wanted.tags, "search": search,
            "created_after": wanted.created_after, "created_before": wanted.created_before, "limit": limit,
            "cursor": cursor,
        }  # fmt: skip
        told = await self._wire.ask("GET", "/runs", {**query, **_TAGGED})
        return RunPage([Run(self, run_row(one)) for one in told["runs"]], told["cursor"], told["searched"])

    async def steps(self, run_id: str) -> list[StepRow]:
        """As `Durable.steps`."""
        told = await self._wire.ask("GET", place("/runs/{}/steps", run_id), _TAGGED)
        return [step_row(run_id, one) for one in told["steps"]]

    async def logs(self, run_id: str) -> list[LogRow]:
        """As `Durable.logs`."""
        told = await self._wire.ask("GET", place("/runs/{}/logs", run_id))
        return [log_row(run_id, number, one) for number, one in enumerate(told["logs"])]

    async def timeline(self, run_id: str) -> dict[str, Any]:
        """As `Durable.timeline`, by the server's clock."""
        told: dict[str, Any] = await self._wire.ask("GET", place("/runs/{}/timeline", run_id))
        return told

    async def cancel(self, run_id: str) -> Run[Any]:
        """As `Durable.cancel`."""
        return await self._steer("/runs/{}/cancel", run_id)

    async def resume(self, run_id: str) -> Run[Any]:
        """As `Durable.resume`."""
        return await self._steer("/runs/{}/resume", run_id)

    async def replay(self, run_id: str, payload: Any = None) -> Run[Any]:
        """As `Durable.replay`."""
        tree = None if payload is None else json.loads(codec.encode(payload, key="payload"))
        body = {} if tree is None else {"payload": tree}
        return self._created(await self._wire.ask("POST", place("/runs/{}/replay", run_id), _TAGGED, body))

    async def fork(self, run_id: str, from_step: str) -> Run[Any]:
        """As `Durable.fork`."""
        body = {"from_step": from_step}
        return self._created(await self._wire.ask("POST", place("/runs/{}/fork", run_id), _TAGGED, body))

    async def export_run(self, run_id: str) -> str:
        """As `Durable.export_run`: from the document another store goes on with it."""
        document: str = (await self._wire.ask("POST", place("/runs/{}/export", run_id)))["document"]
        return document

    async def import_run(self, document: str) -> Run[Any]:
        """As `Durable.import_run`."""
        told = await self._wire.ask("POST", "/runs/import", _TAGGED, {"document": document})
        return Run(self, run_row(told))

    async def delete(self, run_id: str) -> None:
        """As `Durable.delete`."""
        await self._wire.ask("DELETE", place("/runs/{}", run_id))

    async def purge(self, *, older_than: Duration, limit: int = 1000) -> int:
        """As `Durable.purge`."""
        body = {"older_than": seconds(older_than, "older_than", allow_zero=True), "limit": limit}
        purged: int = (await self._wire.ask("POST", "/runs/purge", body=body))["purged"]
        return purged

    async def _steer(self, path: str, run_id: str) -> Run[Any]:
        return Run(self, run_row(await self._wire.ask("POST", place(path, run_id), _TAGGED)))

    # What a handle needs

    async def _existing(self, run_id: str) -> RunRow:
        return run_row(await self._wire.ask("GET", place("/runs/{}", run_id), _TAGGED))

    async def _ended(self, run_id: str, timeout: float | None) -> RunRow:
        try:
            async with asyncio.timeout(timeout):
                while (row := await self._existing(run_id)).status not in FINAL:
                    async with aclosing(self._follow(run_id, _LATE)) as events:
                        async for _ in events:
                            pass
        except TimeoutError:
            raise TimeoutError(f"run {run_id} hasn't ended after {timeout:g} s; it goes on") from None
        return row

    async def _follow(self, run_id: str, after: int) -> AsyncGenerator[RunEvent, None]:
        async with aclosing(self._wire.stream(place("/runs/{}/stream", run_id), after)) as stream:
            async for event, data in stream:
                if event == "gone":
                    raise RunNotFound(run_id)
                if event == "event" and data["seq"] is not None:
                    yield RunEvent(run_id, data["seq"], data["at"], data["type"], data["data"])

    # Events

    async def send_event(self, name: str, payload: Any = None, *, id: str | None = None) -> Sent:
        """As `Durable.send_event`."""
        body = {"name": name, "payload": json.loads(codec.encode(payload, key=f"event {name}"))}
        told = await self._wire.ask("POST", "/events", body=body if id is None else {**body, "id": id})
        return Sent(told["fresh"], tuple(told["runs"]), told["waits"])

    # Queues and schedules

    async def list_queues(self) -> list[QueueState]:
        """As `Durable.list_queues`."""
        return [queue_state(one) for one in (await self._wire.ask("GET", "/queues"))["queues"]]

    async def pause_queue(self, name: str) -> None:
        """As `Durable.pause_queue`."""
        await self._wire.ask("POST", place("/queues/{}/pause", name))

    async def resume_queue(self, name: str) -> None:
        """As `Durable.resume_queue`."""
        await self._wire.ask("POST", place("/queues/{}/resume", name))

    async def list_schedules(self) -> list[ScheduleRow]:
        """As `Durable.list_schedules`."""
        return _schedules(await self._wire.ask("GET", "/schedules"))

    async def pause_schedule(self, job: str, name: str | None = None) -> list[ScheduleRow]:
        """As `Durable.pause_schedule`."""
        return _schedules(await self._wire.ask("POST", "/schedules/pause", body=_which(job, name)))

    async def resume_schedule(self, job: str, name: str | None = None) -> list[ScheduleRow]:
        """As `Durable.resume_schedule`."""
        return _schedules(await self._wire.ask("POST", "/schedules/resume", body=_which(job, name)))

    async def delete_schedules(self, job: str) -> None:
        """As `Durable.delete_schedules`."""
        await self._wire.ask("POST", "/schedules/delete", body={"job": job})

    # Tokens

    async def complete_token(self, token_id: str, value: Any = None) -> TokenRow:
        """As `Durable.complete_token`."""
        body = {"value": json.loads(codec.encode(value, key=f"token {token_id}"))}
        return token_row(await self._wire.ask("POST", place("/tokens/{}/complete", token_id), _TAGGED, body))

    async def fail_token(self, token_id: str, message: str) -> TokenRow:
        """As `Durable.fail_token`."""
        body = {"message": message}
        return token_row(await self._wire.ask("POST", place("/tokens/{}/fail", token_id), _TAGGED, body))

    async def list_tokens(
        self, *, state: str | None = None, run: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> TokenPage:
        """As `Durable.list_tokens`."""
        query = {"state": state, "run": run, "limit": limit, "cursor": cursor, **_TAGGED}
        told = await self._wire.ask("GET", "/tokens", query)
        return TokenPage([token_row(one) for one in told["tokens"]], told["cursor"])


def _schedules(told: Any) -> list[ScheduleRow]:
    return [schedule_row(one) for one in told["schedules"]]


def _which(job: str, name: str | None) -> dict[str, str]:
    return {"job": job} if name is None else {"job": job, "name": name}


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON: durations in seconds, moments since the epoch, lists for what can be counted."""
    told: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or (name == "scope" and value == "global"):
            continue
        if name == "deadline":
            value = moment(value, name)
        elif isinstance(value, timedelta):
            value = value.total_seconds()
        elif isinstance(value, Iterable) and not isinstance(value, str):
            value = list(value)
        told[name] = value
    return told
