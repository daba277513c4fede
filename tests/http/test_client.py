"""`RemoteDurable` over a real server: the verbs of `Durable`, with its values and its errors."""

import asyncio
import datetime as dt
import inspect
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal

import pytest

from durable_lite import (
    Busy,
    Conflict,
    Durable,
    Event,
    InvalidOption,
    InvalidPayload,
    NotSerializable,
    Queue,
    Retry,
    RunFailed,
    RunNotFound,
    Schedule,
    StoreUnavailable,
    TokenNotFound,
    TooLarge,
    UnknownJob,
    job,
)
from durable_lite.client import Forbidden, RemoteDurable, RemoteError, Unauthorized
from durable_lite.server import asgi
from durable_lite.stores.memory import MemoryStore
from durable_lite.testing import FaultyStore
from tests.http.served import Served, served

SLOW = Queue("slow", concurrency=1)


@dataclass
class Order:
    org: str
    at: dt.datetime
    price: Decimal = Decimal("0")


@job
async def order(ctx, payload: Order) -> Order:
    async def taken() -> Order:
        return payload

    return await ctx.step("taken", taken)


@job(retry=Retry.NEVER)
async def broken(ctx):
    raise ValueError("no such page")


@job(queue=SLOW)
async def asks(ctx):
    return await ctx.wait_for_token("approve", timeout="7d")


@job(on=[Event("paid"), Schedule(every="1h", name="hourly")])
async def paid(ctx, payload: dict):
    return payload


@job
async def pages(ctx, payload: int = 3):
    async def page(n):
        return n

    for n in range(payload):
        await ctx.step(f"page-{n}", page, n)
        ctx.log.info("page", n=n)
        ctx.progress(n + 1, payload)
    return payload


JOBS = [order, broken, asks, paid, pages]
NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)


@asynccontextmanager
async def both(jobs=JOBS, store="memory:", schedules=False, **options):
    """A `Durable` that executes, and a client of its server."""
    async with (
        Durable(store, jobs=jobs, schedules=schedules, suspend_grace=0) as app,
        served(app, **options) as server,
    ):
        async with RemoteDurable(server.url, token=options.get("token")) as remote:
            yield app, remote


def test_it_has_the_verbs_of_durable():
    own = {
        "start",
        "stop",
        "pause",
        "look",
        "run_until_idle",
        "store_error",
        "listen",
        "asgi",
    }  # of a process
    ours = {name for name in vars(RemoteDurable) if not name.startswith("_")}
    there = {name for kind in Durable.__mro__ for name in vars(kind) if not name.startswith("_")}
    assert there - ours == own | {"receive_webhook"}
    for name in ours - {"trigger"}:
        theirs, mine = (inspect.signature(getattr(kind, name)) for kind in (Durable, RemoteDurable))
        assert str(theirs) == str(mine), name


async def test_values_come_back_as_what_they_were():
    async with both() as (app, remote):
        given = Order("acme", NOON, Decimal("1.50"))
        run = await remote.trigger(order, given, tags=["a"], priority=3, idempotency_key=["x", 1])
        assert (run.disposition, run.job, run.tags, run.priority) == ("created", "order", ("a",), 3)
        async with RemoteDurable(remote._wire.url) as stranger:  # whose code hasn't the job
            plain = await (await stranger.get_run(run.id)).result(timeout="10s")
            assert plain == {"org": "acme", "at": NOON, "price": Decimal("1.50")}
        assert await run.result(timeout="10s") == given
        assert run.payload == {"org": "acme", "at": NOON, "price": Decimal("1.50")}
        again = await remote.trigger(
            "order", {"org": "acme", "at": NOON, "price": Decimal("1.50")}, idempotency_key=["x", 1]
        )
        assert (again.id, again.disposition) == (run.id, "idempotent")
        assert await again.result() == given  # the job is known here by now
        [step] = await remote.steps(run.id)
        [same] = await app.steps(run.id)
        assert step == same._replace(generation=0, arguments=None)
        told, here = await remote.timeline(run.id), await app.timeline(run.id)
        assert told == here
        assert [one["path"] for one in told["steps"]] == [step.path]


async def test_a_batch_is_all_or_none():
    async with both() as (app, remote):
        runs = await remote.trigger_many(pages, [1, 2, 3])
        assert [await run.result() for run in runs] == [1, 2, 3]
        assert await remote.trigger_many(pages, []) == []
        with pytest.raises(InvalidPayload) as caught:
            await remote.trigger_many("pages", [1, "two"])
        assert caught.value.index == 1
        assert len((await app.list_runs()).runs) == 3


async def test_events_are_gapless_from_any_place():
    async with both() as (app, remote):
        run = await remote.trigger(pages, 30)
        told = [event async for event in run.events()]
        assert [event.seq for event in told] == list(range(1, len(told) + 1))
        local = [event async for event in (await app.get_run(run.id)).events()]
        assert told == local
        for after in (0, 1, 7, len(told) - 1, len(told)):
            assert [event async for event in run.events(after)] == told[after:]
        lines = await remote.logs(run.id)
        assert [line.fields for line in lines] == [f'{{"n": {n}}}' for n in range(30)]


async def test_a_result_can_be_waited_for_and_given_up():
    async with both() as (app, remote):
        run = await remote.trigger(asks)
        with pytest.raises(TimeoutError, match="it goes on"):
            await run.result(timeout=0.2)
        waiting = asyncio.create_task(run.result())
        [token] = (await remote.list_tokens(state="pending", run=run.id)).tokens
        done = await remote.complete_token(token.id, {"at": NOON})
        assert (done.state, done.run_id) == ("completed", run.id)
        assert await waiting == {"at": NOON}
        assert await (await remote.get_run(run.id)).result(timeout=10) == {"at": NOON}


async def test_runs_are_listed_and_found():
    async with both() as (_, remote):
        runs = [await remote.trigger(pages, n, tags=["t", f"n-{n}"]) for n in range(1, 6)]
        for run in runs:
            await run.result()
        page = await remote.list_runs(status="COMPLETED", job=pages, tag="t", limit=3)
        assert [run.payload for run in page.runs] == [5, 4, 3]
        rest = await remote.list_runs(
            status=["COMPLETED"], job="pages", tag=["t"], limit=3, cursor=page.cursor
        )
        assert ([run.output for run in rest.runs], rest.cursor) == ([2, 1], None)
        assert [run.id for run in (await remote.list_runs(tag=["t", "n-2"])).runs] == [runs[1].id]
        found = await remote.list_runs(search="N-4")
        assert ([run.id for run in found.runs], found.searched) == ([runs[3].id], 5)
        assert (await remote.list_runs(created_after=NOON + dt.timedelta(days=90_000))).runs == []


async def test_runs_are_steered():
    async with both() as (_, remote):
        run = await remote.trigger(broken)
        with pytest.raises(RunFailed, match="no such page"):
            await run.result()
        assert (await remote.resume(run.id)).status in ("PENDING", "EXECUTING")
        with pytest.raises(RunFailed):
            await run.result()
        held = await remote.trigger(asks, delay=dt.timedelta(hours=1))
        assert (await remote.cancel(held.id)).status == "CANCELLED"
        with pytest.raises(Conflict):
            await remote.cancel(held.id)
        first = await remote.trigger(pages, 2)
        await first.result()
        assert await (await remote.replay(first.id, 4)).result() == 4
        assert await (await remote.fork(first.id, "page-1")).result() == 2
        await remote.delete(first.id)
        with pytest.raises(RunNotFound):
            await first.refresh()
        with pytest.raises(RunNotFound):
            await first.result()
        assert await remote.purge(older_than=0) >= 3


async def test_a_run_is_handed_over_between_servers():
    async with both() as (_, here), both() as (_, there):
        run = await here.trigger(asks)
        while (await run.refresh()).status != "WAITING":
            await asyncio.sleep(0.01)
        document = await here.export_run(run.id)
        assert (await run.refresh()).status == "MOVED"
        moved = await there.import_run(document)
        [token] = (await there.list_tokens(run=moved.id)).tokens
        await there.fail_token(token.id, "no")
        with pytest.raises(RunFailed, match="was failed: no"):
            await moved.result()


async def test_events_queues_and_schedules():
    async with both(schedules=True) as (app, remote):
        sent = await remote.send_event("paid", {"org": "a"}, id="e1")
        assert sent.fresh
        assert await (await remote.get_run(sent.runs[0])).result() == {"org": "a"}
        assert not (await remote.send_event("paid", {"org": "a"}, id="e1")).fresh
        await remote.pause_queue("a/b ü")
        assert await remote.list_queues() == await app.list_queues()
        assert [(state.queue.name, state.queue.paused) for state in await remote.list_queues()] == [
            ("a/b ü", 1),
            ("slow", 0),
        ]
        await remote.resume_queue("a/b ü")
        [row] = await remote.list_schedules()
        assert [row] == await app.list_schedules()
        assert [one.paused for one in await remote.pause_schedule("paid")] == [1]
        assert [one.paused for one in await remote.resume_schedule("paid", "hourly")] == [0]
        await remote.delete_schedules("paid")
        assert await remote.list_schedules() == []


async def test_errors_are_those_of_durable():
    async with both() as (app, remote):
        for wrong, kind in [
            (remote.get_run("nobody"), RunNotFound),
            (remote.complete_token("nobody", 1), TokenNotFound),
            (remote.trigger("nothing"), UnknownJob),
            (remote.trigger(order, {"org": 1}), InvalidPayload),
            (remote.trigger("pages", "x" * 10), InvalidPayload),
            (remote.trigger(paid, {"x": object()}), NotSerializable),
            (remote.trigger(paid, {"x": "x" * (5 << 20)}), TooLarge),
            (remote.trigger(pages, delay="soon"), InvalidOption),
            (remote.trigger(pages, delai=1), RemoteError),
            (remote.list_runs(limit=0), InvalidOption),
            (remote.list_runs(cursor="x"), InvalidOption),
            (remote.import_run("{}"), ValueError),
        ]:
            with pytest.raises(kind) as caught:
                await wrong
            assert str(caught.value)
        held = await remote.trigger(asks, concurrency_key="k", delay="1h")
        with pytest.raises(Busy) as caught:
            await remote.trigger(asks, concurrency_key="k", on_busy="reject")
        assert (caught.value.run_id, caught.value.key) == (held.id, '"k"')
        with pytest.raises(InvalidOption) as caught:
            await remote.trigger(pages, delay="soon")
        assert caught.value.option == "delay"
        assert (await app.list_runs()).runs[0].id == held.id


async def test_a_store_that_is_down_says_so():
    def down(number, verb, args):
        raise StoreUnavailable("the disk is full")

    store = FaultyStore(MemoryStore())
    await store.open()
    async with Durable(store, jobs=JOBS, worker=False) as app, served(app) as server:
        async with RemoteDurable(server.url) as remote:
            store.before = down
            with pytest.raises(StoreUnavailable):
                await remote.get_run("x")


def away(asked):
    """What a proxy says whose server isn't there."""

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 502, "headers": []})
        await send({"type": "http.response.body", "body": b"<h1>Bad Gateway</h1>"})
        asked.set()

    return application


async def test_text_of_any_script_takes_its_own_room():
    async with both() as (app, remote):
        text = "ü" * 1_500_000
        assert await (await remote.trigger(paid, {"x": text})).result() == {"x": text}
        half = {"x": "\ud800"}  # of a character, which UTF-8 hasn't
        assert await (await remote.trigger(paid, half)).result() == half


async def test_a_token_is_needed_and_may_not_be_enough():
    def only_looking(principal, operation, target):
        return operation in ("runs.list", "runs.get")

    async with Durable("memory:", jobs=JOBS, worker=False) as app:
        async with served(app, token="s3cret", authorize=only_looking) as server:
            for wrong in (None, "other", "s3cret2"):
                async with RemoteDurable(server.url, token=wrong) as remote:
                    with pytest.raises(Unauthorized) as caught:
                        await remote.list_runs()
                    assert caught.value.code == "unauthorized"
            async with RemoteDurable(server.url, token="s3cret") as remote:
                assert (await remote.list_runs()).runs == []
                with pytest.raises(Forbidden):
                    await remote.trigger(pages)


async def test_no_server_is_an_error_and_one_that_comes_back_is_waited_for():
    with pytest.raises(InvalidOption):
        RemoteDurable("localhost:8000")
    async with RemoteDurable("http://127.0.0.1:9") as remote:
        with pytest.raises(RemoteError, match="ConnectError"):
            await remote.get_run("x")
    async with Durable("memory:", jobs=JOBS, suspend_grace=0) as app:
        server = Served(asgi(app))
        await server.start()
        async with RemoteDurable(server.url) as remote:
            run = await remote.trigger(asks)
            seen = []

            async def follow():
                async for event in run.events():
                    seen.append(event.seq)

            following, waiting = asyncio.create_task(follow()), asyncio.create_task(run.result())
            while len(seen) < 3:
                await asyncio.sleep(0.01)
            await server.stop()
            [token] = (await app.list_tokens()).tokens
            await app.complete_token(token.id, "while it was away")
            asked = asyncio.Event()
            proxy = Served(away(asked), server.port)
            await proxy.start()
            await asked.wait()
            await proxy.stop()
            again = Served(asgi(app), server.port)
            await again.start()
            assert await waiting == "while it was away"
            await following
            assert seen == list(range(1, len(seen) + 1))
            await again.stop()
