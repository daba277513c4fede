"""The operations on what isn't a run: tokens, events, webhooks, queues, schedules, jobs, health."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from .. import codec
from ..as_json import queue_json, schedule_json, token_json
from ..errors import DurableError
from ..job import described
from ..listing import cursor_after, matches
from ..records import RunFilter, TokenRow
from . import schemas
from .operation import Answer, Call, On, Operation
from .problems import Refused
from .schemas import ref, told

__all__ = ["REST"]

_BATCH = 500
_VALUES = {"values": {"type": "string", "enum": ["plain", "tagged"]}}


# Tokens


async def _tokens(call: Call) -> Answer:
    query, mine = call.query, call.filter
    wanted = {name: query[name] for name in ("state", "run") if name in query}
    limit, cursor = query.get("limit", 50), query.get("cursor")
    rows: list[TokenRow] = []
    while True:
        size = limit if mine == RunFilter() else max(limit, _BATCH)
        page = await call.app.list_tokens(**wanted, limit=size, cursor=cursor)
        cursor = page.cursor
        rows += page.tokens if mine == RunFilter() else await _of_runs(call, page.tokens, mine)
        if cursor is None or len(rows) >= limit:
            break
        await asyncio.sleep(0)  # a long search isn't alone on the event loop
    # The place of the last one that is told: a cursor has the id of a token in it.
    cursor = cursor_after(rows[:limit], limit)
    told = [token_json(row, tagged=call.tagged) for row in rows[:limit]]
    return Answer({"tokens": told, "cursor": cursor})


async def _of_runs(call: Call, tokens: list[TokenRow], mine: RunFilter) -> list[TokenRow]:
    runs = await call.app.store.get_runs(list({row.run_id for row in tokens}))
    ids = {run.id for run in runs if matches(run, mine)}
    return [row for row in tokens if row.run_id in ids]


async def _token(call: Call) -> Answer:
    return _told(call, call.token)


async def _complete(call: Call) -> Answer:
    value = codec.decode(json.dumps((call.body or {}).get("value")), key="value")
    return _told(call, await call.app.complete_token(call.token.id, value))


async def _fail(call: Call) -> Answer:
    return _told(call, await call.app.fail_token(call.token.id, call.body["message"]))


def _told(call: Call, row: TokenRow) -> Answer:
    return Answer(token_json(row, tagged=call.tagged))


# Events and webhooks


async def _send(call: Call) -> Answer:
    given = call.body
    payload = codec.decode(json.dumps(given.get("payload")), key="payload")
    sent = await call.app.send_event(given["name"], payload, id=given.get("id"))
    return Answer(sent._asdict())


async def _webhook(call: Call) -> Answer:
    sent = await call.app.receive_webhook(call.params["name"], dict(call.request.headers), call.body)
    return Answer({"fresh": sent.fresh})  # no more: who delivers isn't who works here


# Queues and schedules


async def _queues(call: Call) -> Answer:
    return Answer({"queues": [queue_json(state) for state in await call.app.list_queues()]})


async def _pause_queue(call: Call) -> Answer:
    await call.app.pause_queue(call.params["name"])
    return await _queues(call)


async def _resume_queue(call: Call) -> Answer:
    await call.app.resume_queue(call.params["name"])
    return await _queues(call)


async def _schedules(call: Call) -> Answer:
    return Answer({"schedules": [schedule_json(row) for row in await call.app.list_schedules()]})


async def _pause_schedule(call: Call) -> Answer:
    rows = await call.app.pause_schedule(call.body["job"], call.body.get("name"))
    return Answer({"schedules": [schedule_json(row) for row in rows]})


async def _resume_schedule(call: Call) -> Answer:
    rows = await call.app.resume_schedule(call.body["job"], call.body.get("name"))
    return Answer({"schedules": [schedule_json(row) for row in rows]})


async def _delete_schedules(call: Call) -> Answer:
    await call.app.delete_schedules(call.body["job"])
    return Answer(status=204)


# The server itself


async def _jobs(call: Call) -> Answer:
    """Those that it knows itself, and those that a worker of the store has told of."""
    known: dict[str, dict[str, Any]] = json.loads(await call.app.store.get_meta("manifest") or "{}")
    known |= described(call.app.jobs)
    fields = ("version", "queue", "payload")
    jobs = [{"name": name, **{one: job.get(one) for one in fields}} for name, job in sorted(known.items())]
    return Answer({"jobs": jobs})


async def _health(call: Call) -> Answer:
    error = call.app.store_error
    if error is None:
        try:
            await call.app.store.next_due()
        except DurableError as caught:
            error = caught
    if error is not None:
        raise Refused("store_unavailable", "the store can't be reached now", {"Retry-After": "1"})
    return Answer({"status": "ok"})


_TOKENS = told({"tokens": schemas.listed("Token"), "cursor": schemas.maybe(schemas.TEXT)})
_QUEUES = told({"queues": schemas.listed("Queue")})
_SCHEDULES = told({"schedules": schemas.listed("Schedule")})
_WHICH = told({"job": schemas.NAME, "name": schemas.NAME}, "name")
_SETTLES = ("conflict", "rate_limited")
_STATES = ["pending", "completed", "failed", "expired"]

REST: tuple[Operation, ...] = (
    Operation("tokens.list", "GET", "/tokens", "Tokens, newest first", On.TOKENS, _tokens, _TOKENS,
              query={"state": {"type": "string", "enum": _STATES}, "run": schemas.ID, **_VALUES,
                     "limit": {"type": "integer", "minimum": 1, "maximum": schemas.MAX_PAGE},
                     "cursor": {"type": "string", "maxLength": 300}},
              problems=("invalid_option", "run_not_found")),
    Operation("tokens.get", "GET", "/tokens/{id}", "One token", On.TOKEN, _token, ref("Token"), query=_VALUES,
              limited=True, problems=("rate_limited",)),
    Operation("tokens.complete", "POST", "/tokens/{id}/complete", "Keep its promise", On.TOKEN, _complete,
              ref("Token"), query=_VALUES, body=told({"value": schemas.ANYTHING}, "value"), limited=True,
              problems=(*_SETTLES, "not_serializable", "too_large")),
    Operation("tokens.fail", "POST", "/tokens/{id}/fail", "Let it fail", On.TOKEN, _fail, ref("Token"),
              query=_VALUES, body=told({"message": schemas.TEXT}), limited=True, problems=_SETTLES),
    Operation("events.send", "POST", "/events", "Send an event, once for its id", On.STORE, _send,
              ref("Sent"),
              body=told({"name": schemas.NAME, "payload": schemas.ANYTHING,
                         "id": {"type": "string", "minLength": 1, "maxLength": 1024}}, "payload", "id"),
              problems=("invalid_option", "not_serializable", "too_large")),
    Operation("webhooks.receive", "POST", "/webhooks/{name}", "Take a delivery, which its signature proves",
              On.NOTHING, _webhook, told({"fresh": schemas.BOOLEAN}), raw=True,
              problems=("unknown_webhook", "invalid_signature", "invalid_delivery", "too_large",
                        "not_serializable")),
    Operation("queues.list", "GET", "/queues", "Queues that have limits, or are or were paused", On.STORE,
              _queues, _QUEUES),
    Operation("queues.pause", "POST", "/queues/{name}/pause", "Let none of its runs start", On.STORE,
              _pause_queue, _QUEUES, problems=("invalid_option",)),
    Operation("queues.resume", "POST", "/queues/{name}/resume", "Let them start", On.STORE, _resume_queue,
              _QUEUES, problems=("invalid_option",)),
    Operation("schedules.list", "GET", "/schedules", "The schedules of all jobs", On.STORE, _schedules,
              _SCHEDULES),
    Operation("schedules.pause", "POST", "/schedules/pause", "Let a job's schedules not tick", On.STORE,
              _pause_schedule, _SCHEDULES, body=_WHICH, problems=("invalid_option",)),
    Operation("schedules.resume", "POST", "/schedules/resume", "Let them tick", On.STORE, _resume_schedule,
              _SCHEDULES, body=_WHICH, problems=("invalid_option",)),
    Operation("schedules.delete", "POST", "/schedules/delete", "Forget those of a job", On.STORE,
              _delete_schedules, None, 204, body=told({"job": schemas.NAME}), problems=("invalid_option",)),
    Operation("jobs.list", "GET", "/jobs", "The jobs that are known", On.STORE, _jobs,
              told({"jobs": schemas.listed("Job")})),
    Operation("health", "GET", "/health", "Whether it works", On.NOTHING, _health,
              told({"status": {"type": "string", "enum": ["ok"]}})),
)  # fmt: skip
