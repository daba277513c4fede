"""Who may do what: by one hook, which no route, list or stream goes around."""

from __future__ import annotations

import asyncio
import json

import pytest

from durable_lite.records import RunFilter
from durable_lite.run import Run
from durable_lite.server import NewTrigger, requests, sse
from durable_lite.server.application import OPERATIONS
from durable_lite.server.operation import On
from tests.http.following import follow
from tests.http.support import BODIES, BY_NAME, body_of, delivery

TENANTS = ("a", "b")
LOOKS = {
    "runs.list", "runs.stream", "runs.get", "runs.steps", "runs.logs", "runs.events", "runs.timeline", "runs.children",
    "runs.follow", "tokens.list", "tokens.get", "queues.list", "schedules.list", "jobs.list",
}  # fmt: skip


def who(connection):
    return connection.headers.get("x-who")


def authorize(principal, operation, target):
    """ "admin" may do all, "reader" looks, and a tenant has the runs with its tag."""
    if principal == "admin":
        return True
    if principal == "reader":
        return operation in LOOKS
    tag = f"tenant:{principal}"
    if isinstance(target, Run):
        return tag in target.tags
    if isinstance(target, RunFilter):
        return target._replace(tags=(*target.tags, tag))
    if isinstance(target, NewTrigger):
        if any(other.startswith("tenant:") for other in target.options.get("tags", ())):
            return False
        options = {**target.options, "tags": [*target.options.get("tags", ()), tag]}
        for key in ("idempotency_key", "concurrency_key", "debounce_key"):
            if key in options:
                options[key] = [tag, json.dumps(options[key])]
        return target._replace(options=options)
    return False


# By operation: what a reader gets, and a tenant for what is its own; what is foreign isn't there.
# "-": it needs authority over the whole store.
ROWS = {
    "runs.list": (200, 200), "runs.stream": (200, 200), "runs.trigger": (403, 201),
    "runs.trigger_many": (403, 201), "runs.import": (403, 403), "runs.purge": (403, 403),
    "runs.get": (200, 200), "runs.steps": (200, 200), "runs.logs": (200, 200), "runs.events": (200, 200),
    "runs.timeline": (200, 200),
    "runs.children": (200, 200), "runs.follow": (200, 200), "runs.cancel": (404, 409),
    "runs.resume": (404, 200), "runs.replay": (404, 201), "runs.fork": (404, 201), "runs.export": (404, 409),
    "runs.delete": (404, 204), "tokens.list": (200, 200), "tokens.get": (200, 200),
    "tokens.complete": (404, 200), "tokens.fail": (404, 200), "events.send": (403, 403),
    "webhooks.receive": (200, 200), "queues.list": (200, 403), "queues.pause": (403, 403),
    "queues.resume": (403, 403), "schedules.list": (200, 403), "schedules.pause": (403, 403),
    "schedules.resume": (403, 403), "schedules.delete": (403, 403), "jobs.list": (200, 403),
    "health": (200, 200),
}  # fmt: skip


def hidden(operation):
    """What is answered about a run of somebody else."""
    return 404 if BY_NAME[operation].on in (On.RUN, On.TOKEN) else ROWS[operation][1]


async def asks(asked, role, operation, **given):
    if BY_NAME[operation].streams and BY_NAME[operation].on is On.RUNS:
        headers = {"x-who": role} if role else {}
        return await asked.client.request("HEAD", "/api/stream", headers=headers)
    headers = {"x-who": role} if role else {}
    if operation == "webhooks.receive":
        headers |= delivery(b"{}", asked.app.clock.now())
        given |= {"content": b"{}", "name": "own"}
    return await asked.ask(operation, headers=headers, **{**body_of(operation), **given})


@pytest.mark.parametrize("operation", [one.name for one in OPERATIONS])
async def test_each_role(serving, operation):
    reader, own = ROWS[operation]
    async with serving(authenticate=who, authorize=authorize) as asked:
        for role, of, status in (
            ("reader", "a", reader), ("a", "a", own), ("b", "a", hidden(operation)), ("admin", "b", None),
        ):  # fmt: skip
            place = await asked.place_of(operation, tags=[f"tenant:{of}"])
            response = await asks(asked, role, operation, **place)
            if status is None:
                assert response.status_code not in (401, 403, 404), (role, response.text)
            else:
                assert response.status_code == status, (role, response.text)
        if BY_NAME[operation].on is not On.NOTHING:
            assert (await asks(asked, "", operation)).status_code == 401


async def test_what_is_foreign_leaves_no_trace(serving):
    async with serving(authenticate=who, authorize=authorize) as asked:
        a_runs = [await asked.waiting(tags=["tenant:a", "shared"]) for _ in range(3)]
        b_runs = [await asked.waiting(tags=["tenant:b", "shared"]) for _ in range(3)]
        as_b = {"x-who": "b"}
        for query in ({}, {"tag": "shared"}, {"tag": "tenant:a"}, {"search": "tenant:a"}, {"search": "shared"},
                      {"search": a_runs[0][0]}, {"limit": 1}, {"status": "WAITING"}, {"job": "waits"}):  # fmt: skip
            text = (await asked.ask("runs.list", query=query, headers=as_b)).text
            assert not any(id in text for ids in a_runs for id in ids), query
        found = (await asked.ask("runs.list", query={"tag": "shared"}, headers=as_b)).json()["runs"]
        assert {run["id"] for run in found} == {run_id for run_id, _ in b_runs}
        # Neither do cursors of tokens tell of those between.
        tokens, query = [], {"limit": 1}
        while True:
            response = await asked.ask("tokens.list", query=query, headers=as_b)
            assert not any(id in response.text for ids in a_runs for id in ids)
            tokens += response.json()["tokens"]
            if (cursor := response.json()["cursor"]) is None:
                break
            query["cursor"] = cursor
        assert [token["id"] for token in tokens] == [token for _, token in b_runs[::-1]]
        # The same answer as for what never was.
        for id in (a_runs[0][0], "none"):
            for query in ({"run": id},):
                assert await asked.problem("tokens.list", query=query, headers=as_b) == "run_not_found"
        told = [
            (await asked.ask("runs.get", id=id, headers=as_b)).text.replace(id, "…")
            for id in (a_runs[0][0], "none")
        ]
        assert told[0] == told[1]
        token = a_runs[0][1]
        told = [
            (await asked.ask("tokens.get", id=id, headers=as_b)).text.replace(id, "…")
            for id in (token, "none")
        ]
        assert told[0] == told[1]


async def test_children_and_their_tags(serving):
    async with serving(authenticate=who, authorize=authorize) as asked:
        run_id = await asked.run_of("parent", [["tenant:a"], ["tenant:b"], []], tags=["tenant:a"])
        counts = [
            len((await asked.ask("runs.children", id=run_id, headers={"x-who": role})).json()["runs"])
            for role in ("a", "admin", "reader")
        ]
        assert counts == [1, 3, 3]


async def test_a_trigger_gets_its_tag_and_its_keys(serving):
    async with serving(authenticate=who, authorize=authorize, worker=False) as asked:
        for options in ({"idempotency_key": "k"}, {"debounce_key": "k", "debounce_delay": 5}):
            ids = []
            for role in ("a", "b", "a"):
                body = {**BODIES["runs.trigger"], "options": {**options, "tags": ["mine"]}}
                told = (await asked.ask("runs.trigger", body, headers={"x-who": role})).json()
                assert told["tags"] == ["mine", f"tenant:{role}"]
                ids.append(told["id"])
            assert ids[0] == ids[2] != ids[1]


async def test_keys_that_the_hook_leaves_shared_tell_of_no_other_run(serving):
    def careless(principal, operation, target):
        answer = authorize(principal, operation, target)
        return (
            answer._replace(options={**target.options, "tags": answer.options["tags"]})
            if isinstance(answer, NewTrigger)
            else answer
        )

    async with serving(authenticate=who, authorize=careless, strict=True) as asked:
        held, _ = await asked.waiting(tags=["tenant:a"], concurrency_key="c", idempotency_key="k")
        for options, code in (
            ({"concurrency_key": "c", "on_busy": "reject"}, "busy"),
            ({"idempotency_key": "k"}, "conflict"),
        ):
            body = {"job": "waits", "options": options}
            for role, knows in (("b", False), ("a", True)):
                response = await asked.ask("runs.trigger", body, headers={"x-who": role})
                assert (held in response.text) is knows, response.text
                assert knows or response.json()["code"] == code
        body = {"job": "waits", "payload": 1, "options": {"idempotency_key": "k"}}
        for role, knows in (("b", False), ("a", True)):
            response = await asked.ask("runs.trigger", body, headers={"x-who": role})
            assert (response.json()["code"], held in response.text) == ("key_reused", knows)


async def test_a_resume_tells_of_no_other_run(serving):
    async with serving(authenticate=who, authorize=authorize) as asked:
        failed = await asked.run_of("fails", tags=["tenant:a"], idempotency_key="k")
        taken = (await asked.app.trigger("fails", tags=["tenant:b"], idempotency_key="k", delay="1h")).id
        for role, knows in (("a", False), ("admin", True)):
            response = await asked.ask("runs.resume", id=failed, headers={"x-who": role})
            assert (response.json()["code"], taken in response.text) == ("conflict", knows)


@pytest.mark.parametrize("operation", [one.name for one in OPERATIONS if one.on is not On.NOTHING])
@pytest.mark.parametrize("answer", [None, 1, "yes", {}, RunFilter, RuntimeError("a secret")], ids=str)
async def test_a_hook_that_says_nonsense(in_memory, operation, answer):
    broken = []

    def hook(principal, asked_for, target):
        if not broken:
            return True
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with in_memory(authorize=hook) as asked:
        place = await asked.place_of(operation)
        before = (await asked.app.list_runs()).runs
        broken.append(True)
        response = await asks(asked, "", operation, **place)
        assert response.status_code == 500
        assert "secret" not in response.text
        assert [run.id for run in (await asked.app.list_runs()).runs] == [run.id for run in before]


@pytest.mark.parametrize("wrong", [RunFilter(), NewTrigger("done", None, {})], ids=["filter", "trigger"])
async def test_a_hook_may_narrow_only_what_it_is_asked_about(in_memory, wrong):
    async with in_memory(authorize=lambda *_: wrong) as asked:
        run_id = await asked.run_of("fails")
        assert await asked.problem("runs.get", id=run_id) == "internal"
        assert await asked.problem("queues.list") == "internal"
        other = "runs.trigger" if isinstance(wrong, RunFilter) else "runs.list"
        assert await asked.problem(other, **body_of(other)) == "internal"


async def test_async_hooks(serving):
    async def authenticate(connection):
        await asyncio.sleep(0)
        return who(connection)

    async def may(*asked):
        await asyncio.sleep(0)
        return authorize(*asked)

    async with serving(authenticate=authenticate, authorize=may) as asked:
        run_id = await asked.run_of("fails", tags=["tenant:a"])
        statuses = [
            (await asked.ask("runs.get", id=run_id, headers={"x-who": role} if role else {})).status_code
            for role in ("a", "b", "admin", "")
        ]
        assert statuses == [200, 404, 200, 401]


async def test_hooks_are_told_what_is_asked(serving):
    heard = []

    def hook(principal, operation, target):
        heard.append((principal, operation, target))
        return True

    async with serving(token="t", headers={"authorization": "Bearer t"}, authorize=hook) as asked:
        run_id = await asked.run_of("fails", tags=["x"])
        await asked.ask("runs.get", id=run_id)
        await asked.ask("runs.list", query={"tag": "x", "limit": 3})
        body = {"job": "done", "payloads": [{"org": "a"}, {"org": "b"}], "options": {"priority": 3}}
        await asked.ask("runs.trigger_many", body)
        await asked.ask("queues.pause", name="narrow")
    run, runs, first, second, store = heard
    assert (run[:2], run[2].id, run[2].job) == (("token", "runs.get"), run_id, "fails")
    assert runs == ("token", "runs.list", RunFilter(tags=("x",), limit=3))
    assert first == ("token", "runs.trigger_many", NewTrigger("done", {"org": "a"}, {"priority": 3}))
    assert second[2].payload == {"org": "b"}
    assert store == ("token", "queues.pause", None)


class TestStreamsAreAskedAgain:
    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch):
        monkeypatch.setattr(sse, "ASKED_AGAIN", 0.05)

    @pytest.mark.parametrize("target", ["/api/stream", "/api/runs/{id}/stream"])
    @pytest.mark.parametrize("lost", ["principal", "authority"])
    async def test_who_loses_authority_hears_no_more(self, streaming, target, lost):
        has, asked = {"principal", "authority"}, []

        def may(principal, operation, _):
            asked.append(operation)
            return "authority" in has

        def known(connection):
            return who(connection) if "principal" in has else None

        async with streaming(worker=False, authenticate=known, authorize=may) as (app, _, url):
            run = await app.trigger("counts", 1)
            place = target.format(id=run.id)
            async with follow(url, place, **{"x-who": "a"}) as follower:
                await follower.until("run" if "{id}" in target else "page")
                while len(asked) < 4:  # it goes on while they may
                    await asyncio.sleep(0.01)
                has.remove(lost)
                assert await follower.next() is None
            async with follow(url, place, **{"x-who": "a"}) as follower:
                assert follower.status == (401 if lost == "principal" else 404 if "{id}" in target else 403)

    async def test_a_list_that_has_become_narrower_comes_again(self, streaming):
        tags = ("a",)

        async with streaming(
            worker=False, authenticate=who, authorize=lambda *asked: asked[2]._replace(tags=tags)
        ) as (app, _, url):
            await app.trigger("counts", 1, tags=["a"])
            async with follow(url, "/api/stream", **{"x-who": "a"}) as follower:
                [page] = await follower.until("page")
                assert len(page.data["ids"]) == 1
                tags = ("a", "b")
                assert await follower.next() is None
            async with follow(url, "/api/stream", **{"x-who": "a"}) as follower:
                [page] = await follower.until("page")
                assert page.data["ids"] == []

    @pytest.mark.parametrize("how", ["raises", "hangs"])
    async def test_a_hook_that_breaks_ends_it(self, streaming, caplog, monkeypatch, how):
        monkeypatch.setattr(requests, "_PATIENCE", 0.05)
        broken = False

        async def may(*_):
            if broken and how == "raises":
                raise OSError("the hook's database is gone")
            if broken:
                await asyncio.sleep(3600)
            return True

        async with streaming(worker=False, authenticate=who, authorize=may) as (app, _, url):
            async with follow(url, "/api/stream", **{"x-who": "a"}) as follower:
                await follower.until("page")
                broken = True
                assert await follower.next() is None
        [record] = [one for one in caplog.records if one.name == "durable_lite"]
        assert "nobody can say whether it may go on" in record.message
