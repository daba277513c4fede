"""Connections and credentials: who has them executes, nobody stores them."""

import functools
import json

import pytest

from durable_lite import (
    AbortRun,
    Connection,
    Context,
    Durable,
    InvalidOption,
    Retry,
    RunFailed,
    Status,
    UnresolvedAuth,
    current,
    job,
)
from durable_lite.records import RunFilter
from durable_lite.stores.memory import MemoryStore
from durable_lite.testing import Harness, VirtualClock
from tests.engine.apps import app as make
from tests.engine.support import Process, status

SECRET = "s3cr3t-of-acme"


class Client:
    def __init__(self, name="client"):
        self.name, self.open, self.sent = name, None, []

    async def send(self, text):
        self.sent.append(text)
        return len(self.sent)

    async def __aenter__(self):
        self.open = True
        return self

    async def __aexit__(self, *_):
        self.open = False


@job(requires=["mail"])
async def mails(ctx: Context, text: str) -> int:
    return await ctx.step("send", ctx.connection("mail").send, text)


@job
async def plain(ctx: Context, text: str) -> str:
    return text


async def test_it_waits_until_the_connection_is_there(make_app):
    async with make_app([mails, plain]) as app:
        runs = [await app.trigger(mails, "a", priority=9), await app.trigger(mails, "b")]
        assert await app.outcome(plain, "goes on") == "goes on"
        await app.clock.advance("1h")
        assert {str((await run.refresh()).status) for run in runs} == {"WAITING_ON_CONNECTIONS"}
        app.connections["other"] = object()
        await app.clock.advance("1h")
        assert str((await runs[0].refresh()).status) == "WAITING_ON_CONNECTIONS"
        client = Client()
        app.connections["mail"] = client
        assert [await app.result(run) for run in runs] == [1, 2]
        assert client.sent == ["a", "b"]
        assert client.open is None  # who has made it enters it and leaves it
        del app.connections["mail"]
        last = await app.trigger(mails, "c")
        await app.clock.advance(1)
        assert (await last.refresh()).status == Status.WAITING_ON_CONNECTIONS
        await app.cancel(last.id)


async def test_a_worker_leaves_it_to_one_that_has_it(make_store):
    clock = VirtualClock()
    async with make_store(2) as (here, there), Process(here, clock, mails) as without:
        run = await without.trigger(mails, "a")
        await clock.advance(1)
        assert await status(here, run) == "WAITING_ON_CONNECTIONS"
        async with Process(there, clock, mails) as other:
            other.connections["mail"] = Client()
            assert await without.result(run) == 1
            assert (await there.get_run(run.id)).worker == other._worker.id


@pytest.mark.parametrize("kind", ["function", "coroutine function", "class", "partial", "method"])
async def test_what_makes_a_client_is_called_once_and_its_client_left(make_app, kind):
    made = []

    def remembered(client):
        made.append(client)
        return client

    class Mine(Client):
        def __init__(self):
            super().__init__()
            made.append(self)

        @classmethod
        def make(cls):
            return cls()

    async def connect():
        return remembered(Client())

    factory = {
        "function": lambda: remembered(Client()),
        "coroutine function": connect,
        "class": Mine,
        "partial": functools.partial(remembered, Client()),
        "method": Mine.make,
    }[kind]
    async with make_app(mails) as app:
        app.connections["mail"] = factory
        runs = await app.trigger_many(mails, ["a", "b", "c"])
        assert sorted([await app.result(run) for run in runs]) == [1, 2, 3]
        [client] = made
        assert client.open
    assert client.open is False


async def test_a_connection_may_come_with_the_jobs():
    slack = Connection("slack", Client)

    @job(requires=[slack])
    async def posts(ctx, text: str):
        return await ctx.step("send", ctx.connection("slack").send, text)

    for given in (posts, [posts, slack]):
        async with make(MemoryStore(), given) as app:
            assert await app.outcome(posts, "x") == 1
    with pytest.raises(InvalidOption, match="two connections are named 'slack'"):
        Durable("memory:", jobs=[posts, Connection("slack", Client)])


async def test_a_client_that_cannot_be_made_is_tried_again(make_app):
    tries = []

    def connect():
        tries.append(1)
        if len(tries) < 3:
            raise OSError("not yet")
        return Client()

    async with make_app(mails) as app:
        app.connections["mail"] = connect
        assert await app.outcome(mails, "a") == 1
        app.connections["mail"] = functools.partial(int, "no number")
        run = await app.trigger(mails, "b")
        with pytest.raises(RunFailed, match="no number"):
            await app.result(run)


async def test_only_what_is_required_is_given(make_app):
    @job(requires=["mail"])
    async def curious(ctx):
        ctx.connection("other")

    async with make_app(curious) as app:
        app.connections["mail"] = app.connections["other"] = Client()
        run = await app.trigger(curious)
        with pytest.raises(RunFailed, match=r"requires=\['other'\]"):
            await app.result(run)


async def test_credentials_are_got_for_each_run_and_whenever_it_goes_on(make_store):
    asked = []

    async def credentials(run):
        asked.append((run.tags, run.attempt))
        return {"token": f"{SECRET}-{len(asked)}"}

    seen = []

    @job(auth=credentials)
    async def works(ctx: Context):
        seen.append(ctx.auth["token"])
        await ctx.step("one", len, ctx.auth["token"])
        await ctx.sleep("nap", "1h")
        seen.append(ctx.auth["token"])
        return await ctx.step("two", len, ctx.auth["token"])

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, works) as process:
        run = await process.trigger(works, tags=["acme"])
        assert await process.result(run) == len(SECRET) + 2
        assert len(asked) >= 2
        assert {tags for tags, _ in asked} == {("acme",)}
        assert seen[-1] == f"{SECRET}-{len(asked)}"
        await nothing_stored(store, process)


async def nothing_stored(store, process):
    """Neither the secret nor a part of it, in whatever a store can be asked for."""
    for row in await store.list_runs(RunFilter(limit=100)):
        stored = [
            row,
            await store.load_steps(row.id),
            await store.read_events(row.id, 0, 1000),
            await store.read_logs(row.id),
        ]
        assert SECRET not in repr(stored)
    assert SECRET not in repr(process.told)


@pytest.mark.parametrize(
    ("error", "attempts", "message"),
    [
        (UnresolvedAuth("acme has revoked its consent"), 1, "acme has revoked its consent"),
        (OSError(f"GET https://auth?key={SECRET}: 503"), 3, "the auth resolver failed: OSError"),
        (AbortRun("never"), 1, "never"),
    ],
)
async def test_credentials_that_are_not_to_be_had(make_store, caplog, error, attempts, message):
    tries, works = [], [False]

    async def credentials(run):
        tries.append(run.id)
        if not works[0]:
            raise error
        return SECRET

    @job(auth=credentials, retry=Retry(max_attempts=3))
    async def needs(ctx):
        return await ctx.step("use", lambda: ctx.auth == SECRET)

    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, needs) as process:
        run = await process.finished(await process.trigger(needs, idempotency_key="once"))
        assert (run.status, len(tries)) == (Status.UNRESOLVED_AUTH, attempts)
        row = await store.get_run(run.id)
        assert json.loads(row.error)["message"] == message
        assert not row.key_live
        await nothing_stored(store, process)
        assert SECRET not in caplog.text
        with pytest.raises(RunFailed, match="UNRESOLVED_AUTH"):
            await process.result(run)
        works[0] = True
        assert await process.result(await process.resume(run.id)) is True
        await nothing_stored(store, process)


async def test_a_job_that_fails_after_it_had_its_credentials_has_failed(make_app):
    async def credentials(run):
        return SECRET

    @job(auth=credentials, retry=Retry.NEVER)
    async def fails(ctx):
        raise ValueError("no")

    async with make_app(fails) as app:
        assert (await app.finished(await app.trigger(fails))).status == Status.FAILED


async def test_a_job_without_a_resolver_has_no_credentials(make_app):
    @job(retry=Retry.NEVER)
    async def asks(ctx):
        return ctx.auth

    async with make_app(asks) as app:
        run = await app.trigger(asks)
        with pytest.raises(RunFailed, match="job 'asks' has no auth resolver"):
            await app.result(run)


def test_mistakes_are_named():
    async def works(ctx):
        pass

    app = Durable("memory:")
    for wrong, message in [
        (lambda: job(requires="mail")(works), "job 'works': requires: expected a list of names, got 'mail'"),
        (lambda: job(requires=[5])(works), "job 'works': requires"),
        (lambda: job(requires=[""])(works), "job 'works': requires"),
        (lambda: job(auth=len)(works), "job 'works': auth: expected an async function"),
        (lambda: Connection("", Client), "name of a connection"),
        (lambda: app.connections.__setitem__("", Client), "name of a connection"),
        (lambda: app.connections.__setitem__("mail", None), r"connections\['mail'\]: expected a client"),
    ]:
        with pytest.raises(InvalidOption, match=message):
            wrong()
    app.connections["mail"] = SECRET
    assert SECRET not in repr(app.connections)


@pytest.mark.parametrize("jobs", [[mails], []])
async def test_a_worker_that_can_take_up_nothing_has_nothing_to_do(make_store, jobs):
    clock = VirtualClock()
    async with make_store() as store, Process(store, clock, *jobs) as process:
        async with Durable(store, mails, worker=False, clock=clock) as outside:
            run = await outside.trigger(mails, "late", delay="10s")
            await clock.advance(11)
            assert await status(store, run) == ("WAITING_ON_CONNECTIONS" if jobs else "PENDING")
            before = len(process.verbs)
            await clock.advance("1h")
            assert len(process.verbs) - before < 100


async def test_the_harness_has_one_set_of_them():
    async with Harness(mails) as harness:
        run = await harness.trigger(mails, "a")
        await harness.advance(1)
        assert (await run.refresh()).status == Status.WAITING_ON_CONNECTIONS
        harness.app.connections["mail"] = Client()
        assert await harness.result(run) == 1
        await harness.crash()
        assert await harness.result(await harness.trigger(mails, "b")) == 2


async def test_a_resolver_is_outside_of_the_run(make_app):
    async def credentials(run):
        return await current().step("stored", lambda: SECRET)

    @job(auth=credentials, retry=Retry.NEVER)
    async def works(ctx):
        return 1

    async with make_app(works) as app:
        run = await app.finished(await app.trigger(works))
        assert run.status == Status.UNRESOLVED_AUTH
        assert await app.steps(run.id) == []
