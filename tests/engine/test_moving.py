"""A run that leaves one store half done and goes on in another, where it stood."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from durable_lite import (
    Conflict,
    DurableError,
    InvalidDocument,
    Retry,
    RunFailed,
    RunNotFound,
    StepFailed,
    TokenTimeout,
    TooLarge,
    current,
    job,
)
from durable_lite.testing import VirtualClock
from tests.conformance.stores import STORES, opened
from tests.engine.apps import App, Tally, app, types_of

WAYS = [("memory", "sqlite-relaxed"), ("sqlite-relaxed", "memory")]


@pytest.fixture(params=WAYS, ids=["to sqlite", "to memory"])
def make_two(request):
    """Two apps with the same jobs, each on a store of its own kind."""

    @asynccontextmanager
    async def make(*jobs, **options) -> AsyncIterator[tuple[App, App]]:
        clock = VirtualClock()
        here, there = (STORES[name] for name in request.param)
        async with opened(here) as [first], opened(there) as [second]:
            async with app(first, jobs, clock=clock) as a, app(second, jobs, clock=clock, **options) as b:
                yield a, b

    return make


def hangs_once(tally: Tally, name: str):
    """A step that never ends where it is tried first."""

    async def work() -> str:
        tally[name] += 1
        if tally[name] == 1:
            await asyncio.Event().wait()
        return name

    return work


@pytest.mark.live
async def test_a_run_goes_on_at_its_next_step(make_two):
    tally = Tally()

    @job
    async def exports(ctx, pages: int) -> list[str]:
        ctx.on_cancel(lambda: tally.update(["on_cancel"]))
        done = [await ctx.step(f"page-{n}", tally.step(f"page-{n}")) for n in range(pages)]
        ctx.log.info("half")
        ctx.progress(pages, 2 * pages)
        ctx.metadata.set("pages", pages)
        done.append(await ctx.step("hang", hangs_once(tally, "hang")))
        return done + [await ctx.step(f"more-{n}", tally.step(f"more-{n}")) for n in range(pages)]

    async with make_two(exports) as (here, there):
        run = await here.trigger(exports, 3, tags=["a"], priority=2, idempotency_key="k")
        await here.clock.advance("6s")  # a heartbeat has told what there was to tell
        document = await here.export_run(run.id)
        assert (await run.refresh()).status == "MOVED"
        await here.clock.settle()
        assert run.id not in here._worker.executing  # without waiting for a heartbeat

        moved = await there.import_run(document)
        assert (moved.id, moved.status, moved.tags, moved.priority) == (run.id, "PENDING", ("a",), 2)
        await there.clock.settle()  # no time has to pass
        assert await moved.result() == ["page-0", "page-1", "page-2", "hang", "more-0", "more-1", "more-2"]
        assert tally == dict.fromkeys(await moved.result(), 1) | {"hang": 2}
        await moved.refresh()
        assert (moved.status, moved.attempt, moved.metadata) == ("COMPLETED", 1, {"pages": 3})
        assert [line.message for line in await there.logs(run.id)] == ["half"]
        story = [type for type in await types_of(there, run.id) if type != "step.completed"]
        assert story == [
            "run.triggered", "run.claimed", "run.moved", "run.moved", "run.claimed", "run.resumed",
            "run.completed",
        ]  # fmt: skip
        assert (await here.trigger(exports, 3, idempotency_key="k")).status == "MOVED"
        assert (await there.import_run(document)).status == "COMPLETED"


async def test_checkpoints_of_every_kind_come_along(make_two):
    tally = Tally()

    @job
    async def small(ctx) -> str:
        return "small"

    @job
    async def does_it_all(ctx) -> list:
        async def sends():
            await ctx.sleep("nap", "1m")
            await ctx.send_event("send", "paid", {"amount": 5})

        async def has_a_token():
            token = await ctx.create_token("token", timeout="1h")
            return await token.wait()

        paid = ctx.wait_for_event("event", "paid", timeout="1h")
        outputs = [*await asyncio.gather(paid, has_a_token(), sends())]
        await ctx.trigger("trigger", small)
        outputs.append(await ctx.call("call", small))
        assert await ctx.patched("patch")
        return [*outputs, await ctx.step("step", hangs_once(tally, "step"))]

    async with make_two(does_it_all, small) as (here, there):
        run = await here.trigger(does_it_all)
        await here.clock.advance("10s")
        [token] = [one for one in (await here.list_tokens()).tokens if one.kind == "token"]
        await here.complete_token(token.id, "yes")
        await here.clock.advance("2m")
        assert tally == {"step": 1}
        moved = await there.import_run(await here.export_run(run.id))
        assert await there.result(moved) == [{"amount": 5}, "yes", None, "small", "step"]
        kinds = {step.kind for step in await there.steps(moved.id)}
        assert kinds == {"step", "sleep", "token", "wait", "event", "send", "trigger", "call", "patch"}


async def test_a_sleeping_run_wakes_where_it_is(make_two):
    tally = Tally()

    @job
    async def naps(ctx) -> str:
        await ctx.step("before", tally.step("before"))
        await ctx.sleep("nap", "1h")
        return await ctx.step("after", tally.step("after"))

    async with make_two(naps) as (here, there):
        run = await here.trigger(naps)
        await here.clock.advance("10m")
        moved = await there.import_run(await here.export_run(run.id))
        assert (moved.status, moved.ready_at) == ("WAITING", run.created_at + 3600)
        await there.clock.advance("49m")
        assert (await moved.refresh()).status == "WAITING"
        await there.clock.advance("1m")
        assert (await moved.refresh()).status == "COMPLETED"
        assert (await run.refresh()).status == "MOVED"
        assert tally == {"before": 1, "after": 1}
        assert await here.store.next_due() is None


async def test_a_delayed_run_starts_where_it_is(make_two):
    tally = Tally()

    @job
    async def late(ctx) -> str:
        return await ctx.step("one", tally.step("one"))

    async with make_two(late) as (here, there):
        run = await here.trigger(late, delay="1h")
        moved = await there.import_run(await here.export_run(run.id))
        await there.clock.advance("59m")
        assert (moved.status, tally) == ("PENDING", {})
        await there.clock.advance("1m")
        assert await moved.result() == "one"
        assert tally == {"one": 1}


async def test_attempts_go_on_where_they_stood(make_two):
    """Of the run and of a step, each in its back-off, with failures that replay."""
    tally = Tally()

    async def never() -> None:
        tally["never"] += 1
        raise LookupError("never")

    async def flaky() -> str:
        tally["flaky"] += 1
        if tally["flaky"] < 3:
            raise ValueError(f"failure {tally['flaky']}")
        return "flaky"

    hourly = Retry(max_attempts=3, min_delay="1h", max_delay="1h", jitter=False)

    @job(retry=hourly)
    async def tries(ctx) -> str:
        with pytest.raises(LookupError, match="never"):
            await ctx.step("never", never)
        await ctx.options(retry=hourly).step("flaky", flaky)
        tally[f"attempt {ctx.run.attempt}"] += 1
        if ctx.run.attempt < 3:
            raise ValueError(ctx.run.attempt)
        return "done"

    async with make_two(tries) as (here, there):
        run = await here.trigger(tries)
        await here.clock.advance("1m")
        moved = await there.import_run(await here.export_run(run.id))
        assert (tally["flaky"], moved.status) == (1, "WAITING")
        await there.clock.advance("1h1s")
        assert tally["flaky"] == 2
        await there.clock.advance("1h1s")
        assert (tally["flaky"], tally["attempt 1"]) == (3, 1)
        assert tally["never"] == 1  # its failure answered

        back = await here.import_run(await there.export_run(run.id))
        assert (back.status, back.attempt, back.error["message"]) == ("WAITING", 2, "1")
        await here.clock.advance("1h1s")
        assert (tally["attempt 2"], tally["never"]) == (1, 2)
        again = await here.export_run(run.id)
        moved = await there.import_run(again)
        await there.clock.advance("1h1s")
        assert await moved.result() == "done"
        assert tally == {"never": 3, "flaky": 3, "attempt 1": 1, "attempt 2": 1, "attempt 3": 1}
        assert (await moved.refresh()).attempt == 3


async def test_nested_steps_are_entered_again_and_their_inner_ones_are_not(make_two):
    tally = Tally()

    async def outer() -> str:
        tally["outer"] += 1
        inner = await current().step("inner", middle)
        return inner + await current().step("last", hangs_once(tally, "last"))

    async def middle() -> str:
        return await current().step("in/ner", tally.step("innermost"))

    @job
    async def nests(ctx) -> list[str]:
        mapped = await ctx.map("each", tally.step("each", "x"), ["a", "b"], by=str)
        return [await ctx.step("outer", outer), *mapped]

    async with make_two(nests) as (here, there):
        run = await here.trigger(nests)
        await here.clock.settle()
        moved = await there.import_run(await here.export_run(run.id))
        await there.clock.settle()
        assert await moved.result() == ["innermostlast", "x", "x"]
        assert tally == {"outer": 2, "innermost": 1, "last": 2, "each": 2}
        assert {row.path for row in await there.steps(run.id)} == {
            "outer", "outer/inner", "outer/inner/in%2Fner", "outer/last", "each/a", "each/b",
        }  # fmt: skip


async def test_a_stored_failure_is_a_failure_there_too(make_two):
    """With its own class where that is loaded, else as StepFailed."""

    class Local(Exception):
        pass

    async def fails() -> None:
        raise Local("here")

    @job
    async def catches(ctx) -> str:
        try:
            await ctx.step("fails", fails)
        except StepFailed as error:
            await ctx.sleep("nap", "1h")
            return error.type
        return "?"

    async with make_two(catches) as (here, there):
        run = await here.trigger(catches)
        await here.clock.advance("1m")
        moved = await there.import_run(await here.export_run(run.id))
        assert (await there.result(moved)).endswith("Local")


@pytest.mark.live
async def test_a_warm_run_that_comes_back_is_replayed(make_store):
    """The coroutine that was kept doesn't go on: the run has been elsewhere."""
    tally = Tally()

    @job
    async def naps(ctx) -> None:
        tally["job"] += 1
        await ctx.step("one", tally.step("one"))
        await ctx.sleep("nap", "1h")
        await ctx.step("two", tally.step("two"))

    async with make_store() as store, app(store, naps) as durable:
        run = await durable.trigger(naps)
        await durable.clock.advance("1m")
        document = await durable.export_run(run.id)
        await durable.clock.advance("2h")
        assert (tally["two"], (await run.refresh()).status) == (0, "MOVED")
        back = await durable.import_run(document)
        await durable.clock.settle()
        await back.result()
        assert tally == {"job": 2, "one": 1, "two": 1}


# Tokens


async def token_of(durable, run, path="approval"):
    [found] = [token for token in (await durable.list_tokens(run=run.id)).tokens if token.path == path]
    return found


async def test_a_token_is_completed_where_its_run_is(make_two):
    tally = Tally()

    @job
    async def asks(ctx) -> list[str]:
        token = await ctx.create_token("approval", timeout="7d", type=str)
        await ctx.step("mail", tally.step("mail"))
        return [await token.wait(), await ctx.step("act", tally.step("act"))]

    async with make_two(asks) as (here, there):
        run = await here.trigger(asks)
        await here.clock.advance("1h")
        token = await token_of(here, run)
        moved = await there.import_run(await here.export_run(run.id))
        await there.clock.advance("1d")
        await moved.refresh()
        assert (moved.status, moved.ready_at) == ("WAITING", token.deadline)  # it has looked, and waits on
        with pytest.raises(Conflict, match=f"its run {run.id} is MOVED"):
            await here.complete_token(token.id, "no")
        await there.complete_token(token.id, "yes")
        await there.clock.advance("1s")
        assert await moved.result() == ["yes", "act"]
        assert tally == {"mail": 1, "act": 1}
        assert (await token_of(here, run)).state == "pending"
        assert (await there.complete_token(token.id, "late")).output == '"yes"'


async def test_what_was_completed_before_answers_there(make_two):
    """Also if the run had not heard of it yet."""

    @job
    async def asks(ctx) -> str:
        return await ctx.wait_for_token("approval", timeout="7d")

    async with make_two(asks) as (here, there):
        run = await here.trigger(asks)
        await here.clock.advance("1h")
        await here.complete_token((await token_of(here, run)).id, "yes")
        moved = await there.import_run(await here.export_run(run.id))
        assert await there.result(moved) == "yes"


async def test_a_token_has_its_deadline_there(make_two):
    over = []

    @job
    async def asks(ctx) -> None:
        try:
            await ctx.wait_for_token("approval", timeout="7d")
        except TokenTimeout:
            over.append(ctx.run.attempt)
            await ctx.sleep("nap", "1h")

    async with make_two(asks) as (here, there):
        run = await here.trigger(asks)
        await here.clock.advance("1d")
        moved = await there.import_run(await here.export_run(run.id))
        await there.clock.advance(6 * 86_400 - 10)
        assert over == []
        await there.clock.advance("20s")
        assert over == [1]
        document = await there.export_run(run.id)
        assert (await token_of(there, run)).state == "expired"
        back = await here.import_run(document)  # over the token that had been here
        assert (await token_of(here, run)).state == "expired"
        await here.clock.advance("1h")
        assert (await back.refresh()).status == "COMPLETED"
        assert (await moved.refresh()).status == "MOVED"
        assert over == [1, 1]  # a job is replayed, and gets the stored failure


async def test_tokens_come_back_with_their_run(make_two):
    @job
    async def asks(ctx) -> list[str]:
        tokens = [await ctx.create_token(f"{n}", timeout="7d") for n in range(2)]
        first = await tokens[0].wait()
        last = await ctx.create_token("last", timeout="7d")
        return [first, await tokens[1].wait(), await last.wait()]

    async with make_two(asks) as (here, there):
        run = await here.trigger(asks)
        await here.clock.advance("1h")
        await there.import_run(await here.export_run(run.id))
        await there.complete_token((await token_of(there, run, "0")).id, "a")
        await there.clock.advance("1s")
        back = await here.import_run(await there.export_run(run.id))
        await here.clock.advance("1s")
        for path, value in (("last", "c"), ("1", "b")):
            assert (await back.refresh()).status == "WAITING"
            await here.complete_token((await token_of(here, run, path)).id, value)
            await here.clock.advance("1s")
        assert await back.result() == ["a", "b", "c"]


async def test_a_nap_beside_a_token_is_no_longer(make_two):
    """The run looks at once, for the token's sake, and sleeps on."""
    tally = Tally()

    @job
    async def both(ctx) -> list:
        async def naps():
            await ctx.sleep("nap", "2h")
            return await ctx.step("awake", tally.step("awake"))

        async def asks():
            return await ctx.wait_for_token("approval", timeout="7d")

        return list(await asyncio.gather(naps(), asks()))

    async with make_two(both) as (here, there):
        run = await here.trigger(both)
        await here.clock.advance("1h")
        moved = await there.import_run(await here.export_run(run.id))
        await there.clock.advance("59m")
        assert tally == {}
        await there.clock.advance("61s")
        assert tally == {"awake": 1}
        await there.complete_token((await token_of(there, run)).id, "yes")
        assert await there.result(moved) == ["awake", "yes"]


# Children


@job
async def double(ctx, number: int) -> int:
    await ctx.sleep("nap", "1h")
    return 2 * number


async def refs_of(durable, run):
    return {row.path: row.ref for row in await durable.steps(run.id)}


async def test_what_children_gave_comes_along_and_they_do_not(make_two):
    @job
    async def parent(ctx) -> list:
        begun = await ctx.trigger("begun", double, 1, idempotency_key="k")
        outputs = [await ctx.call("one", double, 2), await ctx.call_many("many", double, [3, 4])]
        await ctx.sleep("nap", "1h")
        return [begun, *outputs, await ctx.call("none", double, 5)]

    async with make_two(parent, double) as (here, there):
        run = await here.trigger(parent)
        await here.clock.advance("30m")
        for at in ("one", "many"):
            with pytest.raises(Conflict, match=f"run {run.id} waits for child runs, which can't come along"):
                await here.export_run(run.id)
            for child in (await refs_of(here, run))[at].split("\n"):
                with pytest.raises(Conflict, match=f"run {child} is awaited by run {run.id}"):
                    await here.export_run(child)
            await here.clock.advance("1h")
        assert (await run.refresh()).status == "WAITING"
        moved = await there.import_run(await here.export_run(run.id))
        begun, *outputs = await there.result(moved)
        assert outputs == [4, [6, 8], 10]
        assert begun == (await refs_of(here, run))["begun"] == (await refs_of(there, run))["begun"]
        assert len((await here.list_runs(job=double)).runs) == 4
        [child] = (await there.list_runs(job=double)).runs
        assert (await refs_of(there, run))["none"] == child.id


async def test_a_child_that_was_only_started_moves_by_itself(make_two):
    @job
    async def parent(ctx) -> str:
        run_id = await ctx.trigger("begun", double, 1, idempotency_key=["k", 1])
        await ctx.trigger("again", double, 2, idempotency_key="k", scope="attempt")
        await ctx.sleep("nap", "1d")
        return run_id

    async with make_two(parent, double) as (here, there):
        run = await here.trigger(parent)
        await here.clock.advance("30m")
        children = (await here.list_runs(job=double)).runs
        assert len(children) == 2
        for child in children:
            moved = await there.import_run(await here.export_run(child.id))
            assert await there.result(moved) in (2, 4)
            assert (await there.store.get_run(child.id)).parent_id is None
            assert (await child.refresh()).status == "MOVED"
        assert await here.result(run) in [child.id for child in children]


async def test_a_call_that_failed_starts_all_children_again_elsewhere_and_not_at_home(make_two):
    tally = Tally()

    @job(retry=Retry.NEVER)
    async def child(ctx, name: str) -> str:
        tally[name] += 1
        if name == "bad" and tally[name] == 1:
            raise ValueError(name)
        return name

    @job(retry=Retry(max_attempts=2, min_delay="1h", max_delay="1h", jitter=False, children=True))
    async def parent(ctx) -> list[str]:
        return await ctx.call_many("many", child, ["good", "bad"])

    async with make_two(parent, child) as (here, there):
        for elsewhere in (False, True):
            tally.clear()
            run = await here.trigger(parent)
            await here.clock.advance("30m")
            assert ((await run.refresh()).status, run.attempt) == ("WAITING", 2)
            where = there if elsewhere else here
            moved = await where.import_run(await here.export_run(run.id))
            assert await where.result(moved) == ["good", "bad"]
            assert tally == {"good": 1 + elsewhere, "bad": 2}


async def test_whoever_waits_hears_that_it_has_gone(make_two):
    @job
    async def naps(ctx) -> None:
        await ctx.sleep("nap", "1h")

    async with make_two(naps) as (here, _):
        run = await here.trigger(naps)
        await here.clock.settle()
        waiting = asyncio.ensure_future(run.result())
        await here.clock.settle()
        await here.export_run(run.id)
        with pytest.raises(RunFailed) as caught:
            await waiting
        assert caught.value.status == "MOVED"


async def test_what_can_not_move(make_two):
    @job
    async def quick(ctx) -> str:
        return "done"

    async with make_two(quick) as (here, there):
        run = await here.trigger(quick)
        await here.clock.settle()
        with pytest.raises(Conflict, match="COMPLETED and can't become MOVED"):
            await here.export_run(run.id)
        with pytest.raises(RunNotFound):
            await there.export_run(run.id)
        later = await here.trigger(quick, delay="1h")
        document = await here.export_run(later.id)
        for verb in (here.cancel, here.resume):
            with pytest.raises(Conflict):
                await verb(later.id)
        with pytest.raises(InvalidDocument, match="run.job: is missing"):
            await there.import_run(document.replace('"job":"quick",', ""))
        assert (await there.list_runs()).runs == []
        await here.delete(later.id)
        with pytest.raises(RunNotFound):
            await here.export_run(later.id)


async def test_an_app_s_own_limit_of_a_value(make_two):
    @job
    async def takes(ctx, text: str) -> None: ...

    async with make_two(takes, max_value_bytes=100) as (here, there):
        document = await here.export_run((await here.trigger(takes, "x" * 100, delay="1h")).id)
        with pytest.raises(TooLarge, match=r"run\.payload: 102 bytes"):
            await there.import_run(document)
        assert (await there.list_runs()).runs == []
        assert (await here.import_run(document)).status == "PENDING"


async def test_its_key_is_taken_there(make_two):
    @job
    async def late(ctx) -> None: ...

    async with make_two(late) as (here, there):
        run, holder = [await one.trigger(late, delay="1h", idempotency_key=["a", 1]) for one in (here, there)]
        document = await here.export_run(run.id)
        with pytest.raises(Conflict, match=rf'{holder.id} has its idempotency key \["global",\["a",1\]\]'):
            await there.import_run(document)
        await there.cancel(holder.id)
        assert (await there.import_run(document)).id == run.id


async def test_a_job_that_is_not_known_there_waits_for_who_does(make_store):
    @job
    async def late(ctx) -> str:
        return "done"

    async with make_store() as first, make_store() as second:
        async with app(first, late) as here, app(second, []) as there:
            run = await here.trigger(late, delay="1h")
            document = await here.export_run(run.id)
            await there.clock.advance("2h")
            assert (await there.import_run(document)).status == "PENDING"
            await there.clock.advance("1h")
            assert (await there.get_run(run.id)).status == "PENDING"


async def test_a_closed_app_neither_exports_nor_imports(make_store):
    async with make_store() as store, app(store, []) as durable:
        pass
    with pytest.raises(DurableError, match="isn't open"):
        await durable.export_run("r")
    with pytest.raises((DurableError, InvalidDocument)):
        await durable.import_run("{}")
