"""Every operation succeeds, with an answer as its schema says."""

from __future__ import annotations

import json

import pytest

from durable_lite.server.application import OPERATIONS
from tests.http.support import BODIES, delivery

# How each operation succeeds.


async def _list(asked):
    ids = [await asked.run_of("done", {"org": org}, tags=[org]) for org in ("acme", "b", "acme")]
    told = (await asked.ask("runs.list", query={"tag": "acme", "limit": 1})).json()
    assert [run["id"] for run in told["runs"]] == [ids[2]]
    told = (await asked.ask("runs.list", query={"tag": "acme", "cursor": told["cursor"]})).json()
    assert ([run["id"] for run in told["runs"]], told["cursor"]) == ([ids[0]], None)
    told = (await asked.ask("runs.list", query={"search": "ACME"})).json()
    assert ([run["id"] for run in told["runs"]], told["searched"]) == ([ids[2], ids[0]], 3)
    told = (await asked.ask("runs.list", query={"status": ["FAILED", "COMPLETED"], "job": "done"})).json()
    assert len(told["runs"]) == 3
    told = (await asked.ask("runs.list", query={"status": "FAILED"})).json()
    assert told["runs"] == []
    after = (await asked.app.get_run(ids[0])).created_at
    told = (
        await asked.ask("runs.list", query={"created_after": after, "created_before": after + 900})
    ).json()
    assert [run["id"] for run in told["runs"]] == [ids[2], ids[1]]


async def _trigger(asked):
    body = {**BODIES["runs.trigger"], "options": {"idempotency_key": ["k", 1], "tags": ["a"]}}
    first = await asked.ask("runs.trigger", body)
    again = await asked.ask("runs.trigger", body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert [one.json()["disposition"] for one in (first, again)] == ["created", "idempotent"]
    assert first.json()["id"] == again.json()["id"]
    assert first.json()["payload"] == {"org": "acme", "pages": 1}


async def _trigger_many(asked):
    payloads = [{"org": str(number)} for number in range(3)]
    told = (await asked.ask("runs.trigger_many", {"job": "done", "payloads": payloads})).json()
    assert [run["payload"]["org"] for run in told["runs"]] == ["0", "1", "2"]


async def _import(asked):
    run_id = (await asked.app.trigger("done", {"org": "acme"}, delay="1h")).id
    document = (await asked.ask("runs.export", id=run_id)).json()["document"]
    assert (await asked.ask("runs.get", id=run_id)).json()["status"] == "MOVED"
    told = (await asked.ask("runs.import", {"document": document})).json()
    assert (told["id"], told["status"]) == (run_id, "PENDING")


async def _purge(asked):
    run_id = await asked.run_of("done", {"org": "acme"})
    assert (await asked.ask("runs.purge", {"older_than": 0, "limit": 1})).json() == {"purged": 1}
    assert await asked.problem("runs.get", id=run_id) == "run_not_found"


async def _get(asked):
    run_id = await asked.run_of("done", {"org": "acme", "pages": 2})
    plain = (await asked.ask("runs.get", id=run_id)).json()
    assert (plain["status"], plain["output"]) == ("COMPLETED", {"org": "acme", "when": [2]})
    assert plain["metadata"] == {"span": [1, 2]}
    tagged = (await asked.ask("runs.get", query={"values": "tagged"}, id=run_id)).json()
    assert tagged["output"]["when"] == {"$": "tuple", "v": [2]}


async def _steps(asked):
    told = (await asked.ask("runs.steps", id=await asked.run_of("fails"))).json()["steps"]
    assert [(step["path"], step["state"]) for step in told] == [("fine", "completed"), ("bad", "failed")]
    waiting = (await asked.ask("runs.steps", id=(await asked.waiting())[0])).json()["steps"]
    assert [(step["path"], step["kind"]) for step in waiting] == [("approval", "token")]


async def _timeline(asked):
    told = (await asked.ask("runs.timeline", id=await asked.run_of("fails"))).json()
    assert sorted((step["path"], step["is"], step["depth"]) for step in told["steps"]) == [
        ("bad", "failed", 0), ("fine", "completed", 0),
    ]  # fmt: skip
    assert told["spans"][-1]["is"] == "executing"
    assert told["from"] == told["spans"][0]["from"] <= told["spans"][-1]["to"] == told["to"]
    assert told["marks"][0]["type"] == "run.triggered"


async def _logs(asked):
    run_id = await asked.run_of("done", {"org": "acme"})
    [line] = (await asked.ask("runs.logs", id=run_id)).json()["logs"]
    assert (line["message"], line["fields"]) == ("all pages", {"rows": 1, "ratio": "inf"})


async def _events(asked):
    run_id = await asked.run_of("done", {"org": "acme", "pages": 3})
    whole = (await asked.ask("runs.events", id=run_id)).json()["events"]
    assert [event["seq"] for event in whole] == list(range(1, len(whole) + 1))
    part = (await asked.ask("runs.events", query={"after": 2, "limit": 2}, id=run_id)).json()["events"]
    assert part == whole[2:4]


async def _children(asked):
    run_id = await asked.run_of("parent", [["x"], []])
    children = (await asked.ask("runs.children", id=run_id)).json()["runs"]
    assert [(run["job"], run["tags"]) for run in children] == [("done", ["x"]), ("done", [])]


async def _follow(asked):
    run_id = await asked.run_of("done", {"org": "acme"})
    text = (await asked.ask("runs.follow", id=run_id)).text
    events = (await asked.ask("runs.events", id=run_id)).json()["events"]
    told = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    assert [json.loads(line) for line in told[: len(events)]] == events
    assert text.endswith('event: end\ndata: {"status":"COMPLETED"}\n\n')


async def _stream(asked):
    response = await asked.client.request("HEAD", "/api/stream")  # streams themselves: test_streams
    assert response.headers["content-type"].startswith("text/event-stream")


async def _cancel(asked):
    run_id, _ = await asked.waiting()
    assert (await asked.ask("runs.cancel", id=run_id)).json()["status"] == "CANCELLED"


async def _resume(asked):
    run_id = await asked.run_of("fails")
    assert (await asked.ask("runs.resume", id=run_id)).json()["status"] == "PENDING"


async def _replay(asked):
    run_id = await asked.run_of("done", {"org": "acme"}, tags=["t"])
    same = (await asked.ask("runs.replay", id=run_id)).json()
    assert (same["payload"]["org"], same["tags"], same["disposition"]) == ("acme", ["t"], "created")
    other = (await asked.ask("runs.replay", {"payload": {"org": "b"}}, id=run_id)).json()
    assert other["payload"] == {"org": "b", "pages": 1}


async def test_a_replay_of_an_unknown_job_takes_values_that_json_has_not(serving):
    async with serving() as asked:
        run_id = await asked.run_of("done", {"org": "acme"})
        asked.app.jobs.clear()  # as a server that only looks
        asked.app._executes = False
        given = {
            "org": "b",
            "pages": 2,
            "when": {"$": "tuple", "v": [1, {"$": "datetime", "v": "2026-03-01T12:30:00+00:00"}]},
        }
        made = (
            await asked.ask("runs.replay", {"payload": given}, id=run_id, query={"values": "tagged"})
        ).json()
        assert made["payload"] == given
        bad = await asked.ask("runs.replay", {"payload": {"$": "strange", "v": 1}}, id=run_id)
        assert (bad.status_code, bad.json()["code"]) == (422, "invalid_payload")


async def _fork(asked):
    run_id = await asked.run_of("fails")
    told = (await asked.ask("runs.fork", {"from_step": "bad"}, id=run_id)).json()
    steps = (await asked.ask("runs.steps", id=told["id"])).json()["steps"]
    assert [step["path"] for step in steps] == ["fine"]


async def _delete(asked):
    run_id = await asked.run_of("fails")
    assert (await asked.ask("runs.delete", id=run_id)).status_code == 204
    assert await asked.problem("runs.get", id=run_id) == "run_not_found"


async def _tokens(asked):
    ids = [(await asked.waiting())[1] for _ in range(3)]
    told = (await asked.ask("tokens.list", query={"limit": 2})).json()
    rest = (await asked.ask("tokens.list", query={"cursor": told["cursor"], "state": "pending"})).json()
    assert [token["id"] for token in told["tokens"] + rest["tokens"]] == ids[::-1]
    run_id, mine = await asked.waiting()
    assert [
        one["id"] for one in (await asked.ask("tokens.list", query={"run": run_id})).json()["tokens"]
    ] == [mine]


async def _token(asked):
    run_id, token_id = await asked.waiting()
    told = (await asked.ask("tokens.get", id=token_id)).json()
    assert (told["run_id"], told["state"]) == (run_id, "pending")


async def _complete(asked):
    run_id, token_id = await asked.waiting()
    value = {"$": "tuple", "v": [1, 2]}
    told = (
        await asked.ask("tokens.complete", {"value": value}, query={"values": "tagged"}, id=token_id)
    ).json()
    assert (told["state"], told["output"]) == ("completed", value)
    assert await asked.app.result(run_id) == (1, 2)


async def _fail(asked):
    run_id, token_id = await asked.waiting()
    assert (await asked.ask("tokens.fail", {"message": "no"}, id=token_id)).json()["state"] == "failed"
    assert (await asked.app.finished(run_id)).error["type"] == "TokenFailed"


async def _send(asked):
    body = {"name": "paid", "payload": {"a": 1}, "id": "one"}
    told = [(await asked.ask("events.send", body)).json() for _ in range(2)]
    assert [one["fresh"] for one in told] == [True, False]


async def _webhook(asked):
    body = '{"name":"Müller"}'.encode()
    headers = delivery(body, asked.app.clock.now())
    told = [await asked.ask("webhooks.receive", content=body, headers=headers, name="own") for _ in range(2)]
    assert [one.json() for one in told] == [{"fresh": True}, {"fresh": False}]
    [run] = (await asked.app.list_runs(job="hooked")).runs
    assert await asked.app.result(run) == {"name": "Müller"}


async def _queues(asked):
    [queue] = (await asked.ask("queues.list")).json()["queues"]
    assert (queue["name"], queue["concurrency"], queue["paused"]) == ("narrow", 1, False)


async def _pause_queue(asked):
    for name in ("narrow", "with/a slash"):
        queues = (await asked.ask("queues.pause", name=name)).json()["queues"]
        assert {queue["name"]: queue["paused"] for queue in queues}[name]


async def _resume_queue(asked):
    await asked.app.pause_queue("narrow")
    [queue] = (await asked.ask("queues.resume", name="narrow")).json()["queues"]
    assert not queue["paused"]


async def _schedules(asked):
    [row] = (await asked.ask("schedules.list")).json()["schedules"]
    assert (row["job"], row["name"], row["paused"]) == ("ticks", "hourly", False)


async def _pause_schedule(asked):
    [row] = (await asked.ask("schedules.pause", {"job": "ticks", "name": "hourly"})).json()["schedules"]
    assert row["paused"]


async def _resume_schedule(asked):
    await asked.app.pause_schedule("ticks")
    [row] = (await asked.ask("schedules.resume", {"job": "ticks"})).json()["schedules"]
    assert not row["paused"]


async def _delete_schedules(asked):
    assert (await asked.ask("schedules.delete", {"job": "ticks"})).status_code == 204
    assert (await asked.ask("schedules.list")).json() == {"schedules": []}


async def _jobs(asked):
    jobs = (await asked.ask("jobs.list")).json()["jobs"]
    assert [one["name"] for one in jobs] == sorted(asked.app.jobs)
    [one] = [one for one in jobs if one["name"] == "done"]
    assert one["payload"]["required"] == ["org"]


async def _health(asked):
    assert (await asked.ask("health")).json() == {"status": "ok"}


SUCCEEDS = {
    "runs.list": _list, "runs.stream": _stream, "runs.trigger": _trigger, "runs.trigger_many": _trigger_many,
    "runs.import": _import, "runs.purge": _purge, "runs.get": _get, "runs.steps": _steps, "runs.logs": _logs,
    "runs.events": _events, "runs.timeline": _timeline, "runs.children": _children, "runs.follow": _follow, "runs.cancel": _cancel,
    "runs.resume": _resume, "runs.replay": _replay, "runs.fork": _fork, "runs.export": _import,
    "runs.delete": _delete, "tokens.list": _tokens, "tokens.get": _token, "tokens.complete": _complete,
    "tokens.fail": _fail, "events.send": _send, "webhooks.receive": _webhook, "queues.list": _queues,
    "queues.pause": _pause_queue, "queues.resume": _resume_queue, "schedules.list": _schedules,
    "schedules.pause": _pause_schedule, "schedules.resume": _resume_schedule,
    "schedules.delete": _delete_schedules, "jobs.list": _jobs, "health": _health,
}  # fmt: skip


@pytest.mark.parametrize("operation", [one.name for one in OPERATIONS])
async def test_it_succeeds(serving, operation):
    async with serving() as asked:
        await SUCCEEDS[operation](asked)
