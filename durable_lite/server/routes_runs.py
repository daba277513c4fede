"""The operations on runs: list, look, trigger, steer, hand over, follow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .. import codec, listing
from ..as_json import event_json, log_json, run_json, step_json, summary_json
from ..errors import InvalidPayload, NotSerializable, Problem
from ..job import find_job
from ..records import NewRun
from ..run import Run
from ..trigger import MAX_TAGS
from . import schemas
from .access import NewTrigger
from .operation import Answer, Call, On, Operation, Schema
from .problems import Refused
from .schemas import ref, told

__all__ = ["RUNS"]

_CHILDREN = 1000
_STANDS = ("conflict", "busy", "key_reused")
_CREATES = ("unknown_job", "invalid_payload")
_VALUES: Mapping[str, Schema] = {
    "values": {
        "type": "string",
        "enum": ["plain", "tagged"],
        "description": "How values are told that JSON hasn't: as plain JSON, or as they are stored.",
    }
}
_FILTER: Mapping[str, Schema] = {
    "status": {"type": "array", "items": schemas.STATUSES, "description": "Any of them."},
    "job": schemas.TEXT,
    "tag": {"type": "array", "items": schemas.TEXT, "maxItems": MAX_TAGS, "description": "All of them."},
    "created_after": schemas.MOMENT,
    "created_before": schemas.MOMENT,
    "limit": {"type": "integer", "minimum": 1, "maximum": schemas.MAX_PAGE},
}
_PAGE: Mapping[str, Schema] = {
    **_FILTER,
    "values": {**_VALUES["values"], "description": "The runs with payload, output and all; and how."},
    "search": {
        "type": "string",
        "minLength": 1,
        "maxLength": 1000,
        "description": "Text in the id, a tag or the payload, of the newest "
        f"{listing.SEARCHED:,} runs that match the rest; `searched` tells at how many it has looked.",
    },
    "cursor": {"type": "string", "maxLength": 300},
}
_AFTER: Mapping[str, Schema] = {
    "after": {**schemas.COUNT, "maximum": 2**53, "description": "Only what has a greater seq."},
    "limit": {"type": "integer", "minimum": 1, "maximum": schemas.MAX_PAGE},
}


async def _list(call: Call) -> Answer:
    found = await listing.list_runs(call.app.store, call.filter, call.query.get("search"))
    whole = "values" in call.query
    rows = [run_json(row, tagged=call.tagged) if whole else summary_json(row) for row in found.rows]
    return Answer({"runs": rows, "cursor": found.cursor, "searched": found.searched})


async def _trigger(call: Call) -> Answer:
    run = (await _created(call))[0]
    return Answer(_as_created(run, call), 201 if run.disposition == "created" else 200)


async def _trigger_many(call: Call) -> Answer:
    return Answer({"runs": [_as_created(run, call) for run in await _created(call)]}, 201)


async def _created(call: Call) -> list[Run[Any]]:
    """All of the call's triggers, or none."""
    new: list[NewRun] = []
    for index, trigger in enumerate(call.triggers):
        try:
            new.append(_new_run(call, trigger))
        except InvalidPayload as error:
            which = index if "payloads" in call.body else None
            raise InvalidPayload(error.job, error.problems, which) from None
    runs = await call.app._create(new)
    for run in runs:
        # It may be another's run that has the key.
        if run.disposition != "created" and not await call.access.to_run("runs.get", run):
            raise Refused("conflict", "a run that isn't yours has the idempotency or the debounce key")
    return runs


def _new_run(call: Call, trigger: NewTrigger) -> NewRun:
    job = find_job(call.app.jobs, trigger.job)
    payload = job.payload.decode(json.dumps(trigger.payload))
    return call.app._new_run(job, payload, trigger.options)


def _as_created(run: Run[Any], call: Call) -> dict[str, Any]:
    return {**run_json(run._row, tagged=call.tagged), "disposition": run.disposition}


async def _get(call: Call) -> Answer:
    return _told(call, call.run)


def _told(call: Call, run: Run[Any]) -> Answer:
    return Answer(run_json(run._row, tagged=call.tagged))


async def _steps(call: Call) -> Answer:
    steps = await call.app.steps(call.run.id)
    return Answer({"steps": [step_json(step, tagged=call.tagged) for step in steps]})


async def _logs(call: Call) -> Answer:
    return Answer({"logs": [log_json(line) for line in await call.app.logs(call.run.id)]})


async def _events(call: Call) -> Answer:
    limit = call.query.get("limit", 100)
    events = await call.app.store.read_events(call.run.id, call.query.get("after", 0), limit)
    return Answer({"events": [event_json(event) for event in events]})


async def _timeline(call: Call) -> Answer:
    return Answer(await call.app.timeline(call.run.id))


async def _children(call: Call) -> Answer:
    steps = await call.app.steps(call.run.id)
    ids = [id for step in steps if step.kind in ("trigger", "call") for id in (step.ref or "").split()]
    rows = await call.app.store.get_runs(ids[:_CHILDREN])
    seen = [row for row in rows if await call.access.to_run("runs.get", Run(call.app, row))]
    return Answer({"runs": [summary_json(row) for row in seen]})


async def _stream(call: Call) -> Answer:
    return Answer(stream=call.hub.run_stream(call.run, call.request, call.tagged))


async def _stream_list(call: Call) -> Answer:
    return Answer(stream=call.hub.list_stream(call.filter, call.request))


async def _cancel(call: Call) -> Answer:
    return _told(call, await call.app.cancel(call.run.id))


async def _resume(call: Call) -> Answer:
    return _told(call, await call.app.resume(call.run.id))


async def _replay(call: Call) -> Answer:
    payload = (call.body or {}).get("payload")
    if payload is not None:
        job, text = call.app.jobs.get(call.run.job), json.dumps(payload)
        payload = _data(call.run.job, text) if job is None else job.payload.decode(text)
    run = await call.app.replay(call.run.id, payload)
    return Answer(_as_created(run, call), 201)


def _data(job: str, text: str) -> Any:
    """A payload whose classes aren't known here: who claims the run makes them of it."""
    try:
        return codec.as_data(text)
    except NotSerializable as error:
        raise InvalidPayload(job, [Problem(error.path, error.detail)]) from None


async def _fork(call: Call) -> Answer:
    return Answer(_as_created(await call.app.fork(call.run.id, call.body["from_step"]), call), 201)


async def _delete(call: Call) -> Answer:
    await call.app.delete(call.run.id)
    return Answer(status=204)


async def _export(call: Call) -> Answer:
    return Answer({"document": await call.app.export_run(call.run.id)})


async def _import(call: Call) -> Answer:
    return Answer(run_json((await call.app.import_run(call.body["document"]))._row, tagged=call.tagged), 201)


async def _purge(call: Call) -> Answer:
    older_than, limit = call.body["older_than"], call.body.get("limit", 1000)
    return Answer({"purged": await call.app.purge(older_than=older_than, limit=limit)})


_RUN_LIST = told({"runs": schemas.listed("RunSummary")})
_PAYLOADS: Schema = {"type": "array", "items": schemas.ANYTHING, "minItems": 1, "maxItems": schemas.MAX_BATCH}
_HOW: Mapping[str, Schema] = {"job": schemas.NAME, "options": ref("TriggerOptions")}
_TRIGGER = told({**_HOW, "payload": schemas.ANYTHING}, "payload", "options")
_TRIGGER_MANY = told({**_HOW, "payloads": _PAYLOADS}, "options")
_DOCUMENT = told({"document": {"type": "string", "description": "A run, as export_run gives it."}})
_SSE: Schema = {
    "type": "string",
    "description": "Server-sent events. Each stored event has its seq as id, by which Last-Event-ID goes on; "
    "`run` tells the run as it is now, with its payload where that is new; `end` that it has ended.",
}
_SSE_LIST: Schema = {
    "type": "string",
    "description": "Server-sent events `page`: the ids of the newest runs that match, and those runs that "
    "have changed since the event before; all of them in the first one, and where Last-Event-ID is too old.",
}

RUNS: tuple[Operation, ...] = (
    Operation("runs.list", "GET", "/runs", "Runs, newest first", On.RUNS, _list, ref("RunPage"), query=_PAGE,
              problems=("invalid_option",)),
    Operation("runs.stream", "GET", "/stream", "The newest runs, live", On.RUNS, _stream_list, _SSE_LIST,
              query=_FILTER, streams=True, problems=("invalid_option",)),
    Operation("runs.trigger", "POST", "/runs", "Trigger a run", On.TRIGGER, _trigger, ref("CreatedRun"), 201,
              also=(200,), query=_VALUES, body=_TRIGGER, problems=(*_CREATES, *_STANDS, "invalid_option")),
    Operation("runs.trigger_many", "POST", "/runs/batch", "A run for each payload, all or none", On.TRIGGER,
              _trigger_many, told({"runs": schemas.listed("CreatedRun")}), 201, query=_VALUES,
              body=_TRIGGER_MANY, problems=(*_CREATES, *_STANDS, "invalid_option")),
    Operation("runs.import", "POST", "/runs/import", "Go on with a run from another store", On.STORE, _import,
              ref("Run"), 201, query=_VALUES, body=_DOCUMENT,
              problems=("conflict", "invalid_document", "too_large")),
    Operation("runs.purge", "POST", "/runs/purge", "Remove runs that finished long ago", On.STORE, _purge,
              told({"purged": schemas.COUNT}),
              body=told({"older_than": schemas.DURATION,
                         "limit": {"type": "integer", "minimum": 1, "maximum": 100_000}}, "limit"),
              problems=("invalid_option",)),
    Operation("runs.get", "GET", "/runs/{id}", "One run", On.RUN, _get, ref("Run"), query=_VALUES),
    Operation("runs.steps", "GET", "/runs/{id}/steps", "Its steps and waits", On.RUN, _steps,
              told({"steps": schemas.listed("Step")}), query=_VALUES),
    Operation("runs.logs", "GET", "/runs/{id}/logs", "Its log", On.RUN, _logs,
              told({"logs": schemas.listed("LogLine")})),
    Operation("runs.events", "GET", "/runs/{id}/events", "Its stored events, in order", On.RUN, _events,
              told({"events": schemas.listed("Event")}), query=_AFTER),
    Operation("runs.timeline", "GET", "/runs/{id}/timeline", "What it was and did until now", On.RUN,
              _timeline, ref("Timeline")),
    Operation("runs.children", "GET", "/runs/{id}/children", "The runs that it has started", On.RUN,
              _children, _RUN_LIST),
    Operation("runs.follow", "GET", "/runs/{id}/stream", "What happens to it, live", On.RUN, _stream, _SSE,
              query={"after": _AFTER["after"], **_VALUES}, streams=True),
    Operation("runs.cancel", "POST", "/runs/{id}/cancel", "Cancel it", On.RUN, _cancel, ref("Run"),
              query=_VALUES, problems=("conflict",)),
    Operation("runs.resume", "POST", "/runs/{id}/resume", "Go on with it after it failed", On.RUN, _resume,
              ref("Run"), query=_VALUES, problems=("conflict",)),
    Operation("runs.replay", "POST", "/runs/{id}/replay", "A new run of its job", On.RUN, _replay,
              ref("CreatedRun"), 201, query=_VALUES,
              body={**told({"payload": schemas.ANYTHING}, "payload"), "description": "May be absent."},
              problems=_CREATES),
    Operation("runs.fork", "POST", "/runs/{id}/fork", "A new run with the checkpoints before a step", On.RUN,
              _fork, ref("CreatedRun"), 201, query=_VALUES, body=told({"from_step": schemas.TEXT}),
              problems=("invalid_option",)),
    Operation("runs.export", "POST", "/runs/{id}/export", "Hand it over: it is MOVED here", On.RUN, _export,
              _DOCUMENT, problems=("conflict",)),
    Operation("runs.delete", "DELETE", "/runs/{id}", "Remove it, finished", On.RUN, _delete, None, 204,
              problems=("conflict",)),
)  # fmt: skip
