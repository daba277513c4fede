"""Lists that are followed over real sockets: what one knows is what there is."""

from __future__ import annotations

import asyncio
import json
import random
import signal

import pytest

from durable_lite import Context, Durable, job
from durable_lite.server import asgi, streams
from tests.cli.support import Process
from tests.http.following import follow, says, stored, waiting, whole
from tests.http.support import live
from tests.http.test_roles import authorize, who


async def state_of(follower, state):
    """What a page tells, put into what one knows already."""
    event = await follower.next()
    if event is None:
        return None
    page = event.data
    if page["whole"]:
        state.clear()
    state.update({run["id"]: run for run in page["runs"]})
    for gone in set(state) - set(page["ids"]):
        del state[gone]
    assert set(state) == set(page["ids"]), "a run of the page was never told"
    return event.id, page["ids"]


async def listed(url, query=""):
    async with follow(url, f"/api/runs?{query}", Connection="close") as follower:
        body = await follower._reader.read()
    return json.loads(body)["runs"]


class TestOfAList:
    @pytest.mark.parametrize("number", [1, 2])
    @pytest.mark.parametrize("query", ["limit=5", "status=WAITING&limit=5", "tag=odd"])
    async def test_what_one_knows_is_the_list(self, streaming, number, query):
        """Whatever happens, and however often one has to come again."""
        chance = random.Random(number)
        async with streaming(worker=False) as (app, server, url):
            runs = []

            async def change():
                if not runs or chance.random() < 0.5:
                    tags = ["odd"] if chance.random() < 0.5 else []
                    runs.append(await app.trigger(chance.choice(["waits", "fails"]), tags=tags))
                else:
                    run = await chance.choice(runs).refresh()
                    if not run.finished:
                        await app.cancel(run.id)
                    elif chance.random() < 0.5:
                        await app.resume(run.id)
                    else:
                        await app.delete(run.id)
                        runs.remove(next(one for one in runs if one.id == run.id))

            state, last, order = {}, None, []
            for _ in range(6):
                for _ in range(chance.randrange(3)):
                    await change()
                async with follow(url, f"/api/stream?{query}", last) as follower:
                    for _ in range(chance.randrange(1, 4)):
                        await change()
                        told = asyncio.create_task(state_of(follower, state))
                        done, _ = await asyncio.wait([told], timeout=chance.choice([0.005, 0.1]))
                        if done:
                            last, order = told.result()
                        else:
                            told.cancel()
                            await asyncio.wait([told])
                            break  # what was read in part is lost with the connection
            async with follow(url, f"/api/stream?{query}", last) as follower:
                while await listed(url, query) != [state[id] for id in order if id in state]:
                    last, order = await state_of(follower, state)

    async def test_who_comes_again_gets_what_changed_meanwhile(self, streaming):
        """Also where nobody else has followed in between: the numbers begin anew then."""
        async with streaming(worker=False) as (app, server, url):
            run = await app.trigger("waits")
            async with follow(url, "/api/stream") as follower:
                first = await follower.next()
            while server.hub._lists:
                await asyncio.sleep(0.005)
            await app.cancel(run.id)
            async with follow(url, "/api/stream", first.id) as follower:
                event = await follower.next()
                assert [one["status"] for one in event.data["runs"]] == ["CANCELLED"]

    async def test_one_that_is_up_to_date_gets_only_what_changes(self, streaming):
        async with streaming(worker=False) as (app, server, url):
            await app.trigger("waits")
            async with follow(url, "/api/stream") as other, follow(url, "/api/stream") as follower:
                first = await follower.next()
                await other.next()
                async with follow(url, "/api/stream", first.id) as again:
                    run = await app.trigger("fails")
                    events = [await one.next() for one in (follower, again)]
                    assert events[0] == events[1]
                    assert [one["id"] for one in events[0].data["runs"]] == [run.id]
                    assert (len(events[0].data["ids"]), events[0].data["whole"]) == (2, False)

    async def test_progress_of_what_executes_here(self, streaming):
        async with streaming() as (app, server, url):
            run = await app.trigger(says, delay=0.3)
            async with follow(url, "/api/stream") as follower:
                while True:
                    page = (await follower.next()).data
                    if [one for one in page["runs"] if one["progress"]]:
                        break
            await waiting(app, run)

    async def test_a_tenant_sees_its_own(self, streaming):
        async with streaming(worker=False, authenticate=who, authorize=authorize) as (app, server, url):
            runs = [await app.trigger("waits", tags=[f"tenant:{role}"]) for role in ("a", "b")]
            as_b = {"x-who": "b"}
            async with follow(url, "/api/stream", **as_b) as follower:
                assert (await follower.next()).data["ids"] == [runs[1].id]
                await app.cancel(runs[0].id)
                more = await app.trigger("waits", tags=["tenant:b"])
                assert (await follower.next()).data["ids"] == [more.id, runs[1].id]
            async with follow(url, f"/api/runs/{runs[0].id}/stream", **as_b) as follower:
                assert follower.status == 404
            async with follow(url, "/api/stream") as follower:
                assert follower.status == 401


async def test_events_of_a_worker_in_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "_POLL", 3600.0)  # it is told of them
    (tmp_path / "jobs.py").write_text(
        "from durable_lite import job\n\n@job\nasync def remote(ctx, n: int) -> int:\n"
        "    for i in range(n):\n        await ctx.step(f's{i}', str, i)\n    return n\n"
    )
    async with Durable(f"sqlite:{tmp_path}/runs.db", worker=False) as app:
        server = asgi(app)
        async with live(server) as url:
            with Process("worker", "jobs.py", "--db", "runs.db", folder=tmp_path) as process:
                await asyncio.to_thread(process.wait_for, "remote")
                async with Durable(f"sqlite:{tmp_path}/runs.db", [remote_job()], worker=False) as other:
                    async with follow(url, "/api/stream") as follower:
                        assert (await follower.next()).data["ids"] == []
                        run = await other.trigger("remote", 20)
                        target = f"/api/runs/{run.id}/stream"
                        told = await whole(url, target)
                        last = len(await app.store.read_events(run.id, 0, 1000))
                        assert stored(told) == list(range(1, last + 1))
                        assert told[-1].data == {"status": "COMPLETED"}
                        state = {}
                        while [one["status"] for one in state.values()] != ["COMPLETED"]:
                            await state_of(follower, state)
                process.send(signal.SIGTERM)
                await asyncio.to_thread(process.end)


def remote_job():
    @job("remote")
    async def remote(ctx: Context, n: int) -> int:
        raise NotImplementedError

    return remote
