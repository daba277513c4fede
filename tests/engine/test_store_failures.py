"""A store that fails under a worker: back-off, one event each way, and nothing lost or done twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager

import pytest

from durable_lite import Retry, Schedule, Status, StoreUnavailable, Tick, job
from durable_lite.ports import VERBS
from durable_lite.records import Change
from durable_lite.stores.memory import MemoryStore
from durable_lite.testing import FaultyStore, VirtualClock
from tests.engine.apps import Tally
from tests.engine.support import Process, forever, status, story


def failing(process, verb, times, when):
    """Fail so many calls of a verb from now on; returns what is counted."""
    counted = Counter()

    def hook(name, args):
        if name == verb:
            counted["calls"] += 1
            if counted["calls"] <= times:
                counted["failed"] += 1
                raise StoreUnavailable("the disk is on holiday")

    setattr(process, when, hook)
    return counted


def refuse(*verbs):
    """A hook that fails these verbs."""

    def hook(name, args):
        if name in verbs:
            raise StoreUnavailable("gone")

    return hook


@contextmanager
def timers(clock):
    """How many timers are set in here: a loop that is hot sets one after the other."""
    count, set_timer = Counter(), clock.call_later

    def call_later(seconds, callback):
        count["timers"] += 1
        return set_timer(seconds, callback)

    clock.call_later = call_later
    yield lambda: count["timers"]
    del clock.call_later


WORKER_VERBS = [
    "claim_runs", "next_due", "beat", "leases", "mark_stale", "settle", "save_step", "save_failure",
    "load_checkpoints", "read_logs", "gone_workers", "create_token", "read_tokens", "create_children",
    "get_runs", "list_triggers", "send_event", "list_schedules", "tick",
    "lack_connections",
]  # fmt: skip


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb", WORKER_VERBS)
async def test_a_store_that_fails_for_a_while(make_store, verb, when):
    """Whatever call it is, and whether it was carried out or not: nothing is lost or done twice."""
    tally, clock = Tally(), VirtualClock()

    async def flaky():
        tally["flaky"] += 1
        if tally["flaky"] == 1:
            raise OSError("once")
        return "flaky"

    @job
    async def child(ctx, number: int):
        return number

    @job
    async def works(ctx, number: int):
        first = await ctx.step("first", tally.step(f"first-{number}"), number)
        if number == 1:
            assert await ctx.call_many("children", child, [5, 6]) == [5, 6]
            token = await ctx.create_token("token", timeout="1h")
            await outside.complete_token(token.id)
            assert await token.wait() is None
            await ctx.send_event("told", "told", number)
        if number == 0:
            retry = Retry(max_attempts=2, min_delay="2s", max_delay="2s", jitter=False)
            await ctx.options(retry=retry).step("flaky", flaky)
        await ctx.sleep("nap", "20s")
        both = await asyncio.gather(
            ctx.step("second", tally.step(f"second-{number}")), ctx.step("third", clock.sleep, 12)
        )
        return [first, both[0]]

    @job(on=Schedule(every="10s", catch_up="all"))
    async def ticks(ctx, tick: Tick):
        return tick.timestamp.timestamp()

    @job(requires=["mail"])
    async def mails(ctx):
        return ctx.connection("mail")

    async with (
        make_store() as store,
        Process(store, clock, works, child, ticks, mails, concurrency=4, warm_runs=1) as process,
        Process(store, clock, worker=False) as outside,
    ):
        runs, counted = [], None
        if verb in ("mark_stale", "gone_workers"):  # somebody died
            async with Process(store, clock, works) as dead:
                await process.stop()
                await dead.trigger(works, 5)
                await clock.settle()
                await dead.buried()
            runs = (await process.list_runs(job=works)).runs
            await process.start()
            counted = failing(process, verb, 5, when)
        counted = counted or failing(process, verb, 5, when)
        runs = [*await process.trigger_many(works, range(5)), *runs]
        for number, run in enumerate(runs):
            assert await process.result(run) == [f"first-{number}", f"second-{number}"]
            types = await story(store, run)
            assert types.count("run.completed") == 1
        sent = await process.trigger(mails)
        await clock.advance(1)
        process.connections["mail"] = "sent"
        assert await process.result(sent) == "sent"
        assert counted["failed"] >= 1
        assert [
            len((await process.list_runs(job=child)).runs),
            len((await process.list_tokens()).tokens),
        ] == [2, 1]
        assert all(count == 1 for name, count in tally.items() if name.startswith("second"))
        if counted["failed"]:
            downs, ups = process.heard("store.down"), process.heard("store.up")
            assert 1 <= len(downs) <= 5
            assert len(ups) == len(downs)
            assert "holiday" in downs[0].data["message"]
        assert process.store_error is None
        found = [run for run in (await process.list_runs()).runs if run.job != "ticks"]
        assert {str(run.status) for run in found} == {"COMPLETED"}
        ticked = [await process.result(run) for run in (await process.list_runs(job=ticks)).runs]
        first, last = min(ticked), max(ticked)
        assert sorted(ticked) == [first + 10 * number for number in range(round((last - first) / 10) + 1)]
        assert len(ticked) > 1


async def test_heartbeats_that_fail_for_a_while(make_store):
    clock = VirtualClock()

    @job
    async def works(ctx):
        ctx.log.info("before")
        await ctx.step("slow", clock.sleep, 60)
        return "well"

    async with make_store() as store, Process(store, clock, works) as process:
        run = await process.trigger(works)
        counted = failing(process, "beat", 3, "before")
        await clock.advance("12s")
        assert counted["failed"] == 2
        assert isinstance(process.store_error, StoreUnavailable)
        assert await process.logs(run.id) == []
        assert await process.result(run) == "well"
        assert len(process.heard("store.down")) == len(process.heard("store.up")) == 1
        assert [row.message for row in await process.logs(run.id)] == ["before"]
        assert "run.stale" not in await story(store, run)


@pytest.mark.parametrize("verb", ["claim_runs", "next_due", "save_step", "settle"])
async def test_a_store_that_is_down_for_an_hour(make_store, verb):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx):
        await ctx.step("slow", clock.sleep, 5.5)
        return await ctx.step("work", tally.step("work"))

    async with make_store() as store, Process(store, clock, works) as process:
        down = [True]

        def hook(name, args):
            if name == verb and down[0]:
                raise StoreUnavailable("gone")

        process.before = hook
        run = await process.trigger(works)
        await clock.advance("1m")
        calls = process.store.calls
        assert isinstance(process.store_error, StoreUnavailable)
        await clock.advance("1h")
        assert process.store.calls - calls < 3600  # 5 s of back-off, and what else there is to do
        assert len(process.heard("store.down")) == 1
        assert process.heard("store.up") == []
        down[0] = False
        assert await process.result(run) == "work"
        await clock.advance("10s")
        assert len(process.heard("store.up")) == 1
        assert process.store_error is None
        types = await story(store, run)
        assert types.count("run.completed") == 1
        assert tally["work"] <= 2


async def test_a_beat_in_the_middle_of_a_try_is_no_sign_that_the_store_is_up(make_store):
    """A full disk has room for beats, and refuses a step slowly."""
    clock, down = VirtualClock(), [True]

    @job
    async def works(ctx):
        return await ctx.step("work", str, "well")

    async with make_store() as store, Process(store, clock, works) as process:
        save_step = process.store.save_step

        async def slow(*args):
            await clock.sleep(4)
            if down[0]:
                raise StoreUnavailable("full")
            return await save_step(*args)

        process.store.save_step = slow
        run = await process.trigger(works)
        await clock.advance("1m")
        assert (len(process.heard("store.down")), len(process.heard("store.up"))) == (1, 0)
        down[0] = False
        assert await process.result(run) == "well"
        await clock.advance("10s")
        assert (len(process.heard("store.down")), len(process.heard("store.up"))) == (1, 1)
        assert process.store_error is None


async def test_everything_down_for_ten_minutes_costs_no_more_than_the_back_off(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx, number: int):
        await ctx.step("slow", clock.sleep, 5.5)
        return await ctx.step("work", tally.step("work"))

    async with make_store() as store, Process(store, clock, works) as process:
        runs = await process.trigger_many(works, range(8))
        await clock.advance("1s")

        def hook(name, args):
            raise StoreUnavailable("gone")

        process.before = hook
        calls = process.store.calls
        await clock.advance("10m")
        assert process.store.calls - calls < 20 * 600 / 2.5
        assert len(process.heard("store.down")) == 1
        process.before = lambda name, args: None
        for run in runs:
            assert await process.result(run) == "work"
            await story(store, run)
        assert len(process.heard("store.up")) == 1


async def test_a_sweep_that_fails_is_tried_now_and_then(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx):
        tally["job"] += 1
        await ctx.step("work", forever)

    async with make_store() as store, Process(store, clock, works, stop_timeout=0) as process:
        async with Process(store, clock, works) as dead:
            await process.stop()
            run = await dead.trigger(works)
            await clock.settle()
            await process.start()
            await dead.buried()
        await clock.advance("10s")
        process.before = refuse("leases", "mark_stale")
        with timers(clock) as set_:
            calls = process.store.calls
            await clock.advance("10m")
        assert process.store.calls - calls <= 700
        assert set_() <= 2000
        assert len(process.heard("store.down")) == 1
        assert tally["job"] == 1
        process.before = lambda name, args: None
        await clock.advance("2s")
        assert tally["job"] == 2
        assert len(process.heard("store.up")) == 1
        assert await status(store, run) == Status.EXECUTING


@pytest.mark.parametrize("when", ["before", "after"])
async def test_parallel_steps_leave_no_gap_in_the_sequence(make_store, when):
    tally, clock = Tally(), VirtualClock()

    async def quick(number: int) -> int:
        tally[f"step-{number}"] += 1
        await clock.sleep(1 + number % 3)
        if number == 7:
            raise OSError("no")
        return number

    @job
    async def works(ctx):
        results = await asyncio.gather(
            *(ctx.step(f"step-{number}", quick, number) for number in range(20)), return_exceptions=True
        )
        return [str(one) if isinstance(one, OSError) else one for one in results]

    async with make_store() as store, Process(store, clock, works) as process:
        failed = Counter()

        def hook(name, args):
            if name in ("save_step", "save_failure") and failed[args[2].path] < 1 + len(args[2].path) % 3:
                failed[args[2].path] += 1
                raise StoreUnavailable("hiccup")

        setattr(process, when, hook)
        run = await process.trigger(works)
        output = await process.result(run)
        assert output == [*range(7), "no", *range(8, 20)]
        assert set(tally.values()) == {1}
        types = await story(store, run)
        assert types.count("step.completed") == 19
        assert types.count("step.failed") == 1


async def test_writes_that_fail_are_tried_again_in_their_order_and_not_as_they_failed():
    """Else one that is refused before its turn waits for the one before it, which waits behind it."""
    failures = []

    class LateFailure(MemoryStore):
        async def save_step(self, run_id, generation, step):
            if step.path == "first" and not failures:
                while not failures:
                    await asyncio.sleep(0)
                failures.append("first")
                raise StoreUnavailable("after a while")
            try:
                return await super().save_step(run_id, generation, step)
            except StoreUnavailable:
                failures.append(step.path)
                raise

    @job
    async def works(ctx):
        return await asyncio.gather(*(ctx.step(name, str, name) for name in ("first", "second", "third")))

    store = LateFailure()
    async with Process(store, VirtualClock(), works) as process:
        run = await process.trigger(works)
        assert await process.result(run) == ["first", "second", "third"]
        assert failures == ["second", "first"]
        assert [step.path for step in await store.load_steps(run.id)] == ["first", "second", "third"]


@pytest.mark.parametrize("lost", [1, 3])
async def test_a_claim_whose_answer_was_lost_is_found_again(make_store, lost):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx):
        return await ctx.step("work", tally.step("work"))

    async with make_store() as store, Process(store, clock, works) as process:
        counted = failing(process, "claim_runs", lost, "after")
        began = clock.now()
        run = await process.trigger(works)
        await clock.settle()
        assert counted["failed"] == 1
        assert await process.result(run) == "work"
        assert clock.now() - began < 30
        assert tally == {"work": 1}
        row = await store.get_run(run.id)
        assert row.recoveries == 0


async def test_an_error_in_one_run_leaves_the_rest_of_its_batch_alone(make_store):
    tally, clock = Tally(), VirtualClock()

    @job(retry=Retry.NEVER)
    async def works(ctx, number: int):
        await ctx.step("work", tally.step(f"work-{number}"))
        await ctx.sleep("nap", "1m")
        return number

    async with make_store() as store, Process(store, clock, works, warm_runs=0) as process:
        runs = await process.trigger_many(works, range(6))
        await clock.advance("1s")

        def hook(name, args):
            if name == "load_checkpoints" and args[0] == runs[2].id:
                raise RuntimeError("a bug of the store's")

        process.before = hook
        for number, run in enumerate(runs):
            if number != 2:
                assert await process.result(run) == number
        process.before = lambda name, args: None
        assert await process.result(runs[2]) == 2
        assert set(tally.values()) == {1}


async def test_stopping_while_the_store_is_down_comes_to_an_end(make_store):
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx):
        await ctx.step("first", tally.step("first"))
        await ctx.step("slow", clock.sleep, 3)
        return await ctx.step("last", tally.step("last"))

    async with make_store() as store:
        async with Process(store, clock, works, stop_timeout="10s") as process:
            run = await process.trigger(works)
            await clock.settle()

            def hook(name, args):
                raise StoreUnavailable("gone")

            process.before = hook
            began = clock.now()
        assert clock.now() - began <= 31
        assert await status(store, run) == Status.EXECUTING
        async with Process(store, clock, works) as second:
            assert await second.result(run) == "last"
            assert tally["first"] == 1


async def test_starting_on_a_store_that_is_down_says_so():
    clock = VirtualClock()
    process = Process(MemoryStore(), clock)

    def hook(name, args):
        raise StoreUnavailable("gone")

    process.before = hook
    with pytest.raises(StoreUnavailable, match="gone"):
        await process.start()
    process.before = lambda name, args: None
    async with process:
        assert process.store_error is None


async def test_a_direct_call_gets_the_stores_error():
    clock = VirtualClock()

    @job
    async def works(ctx):
        return 1

    async with Process(MemoryStore(), clock, works) as process:

        def hook(name, args):
            if name == "create_runs":
                raise StoreUnavailable("gone")

        process.before = hook
        with pytest.raises(StoreUnavailable, match="gone"):
            await process.trigger(works)
        assert (await process.list_runs()).runs == []


def test_every_verb_of_the_store_that_a_worker_calls_is_failed_here():
    from_outside = {
        "create_runs", "get_run", "list_runs", "load_steps", "cancel_run", "resume_run", "move_run",
        "import_run", "delete_run", "purge", "read_events", "get_meta", "finish_token", "list_tokens",
        "fork_run", "list_queues", "pause_queue", "pause_schedule",
    }  # fmt: skip
    at_start_or_stop = {
        "register_worker", "unregister_worker", "set_meta", "set_queues", "set_triggers", "set_schedules",
    }  # fmt: skip
    assert set(VERBS) == {*WORKER_VERBS} | from_outside | at_start_or_stop


async def test_a_faulty_store_passes_everything_on():
    """The tests above prove nothing if the store between them and the real one invents failures."""
    store = FaultyStore(MemoryStore())
    await store.open()
    assert await store.leases() == []
    assert await store.next_due() is None
    assert store.calls == 2
    await store.close()


class LosesAClaim(MemoryStore):
    """The answer to the first claim is lost, and while its worker looks for what it has got it claims again."""

    def __init__(self):
        super().__init__()
        self.claims, self.again, self.looked = 0, asyncio.Event(), 0

    async def claim_runs(self, *args):
        self.claims += 1
        number = self.claims
        found = await super().claim_runs(*args)
        if number == 1:
            raise StoreUnavailable("the answer was lost")
        if number == 3:
            self.again.set()
            for _ in range(50):
                await asyncio.sleep(0)
        return found

    async def leases(self):
        found = await super().leases()
        if found and self.claims == 2:
            self.looked += 1
            self.announce(Change(None, claimable=True))
            await self.again.wait()
        return found


async def test_a_lost_claim_is_found_though_its_worker_claims_again_meanwhile():
    """Seed 2512 of the simulation: it looked once, and left the run to the next day."""

    @job
    async def works(ctx):
        return "done"

    clock, store = VirtualClock(), LosesAClaim()
    async with Process(store, clock, works, worker=False) as outside:
        run = await outside.trigger(works)
        async with Process(store, clock, works) as process:
            assert await process.result(run) == "done"
            assert clock.monotonic() < 60
        assert store.looked == 1
        assert "run.stale" in await story(store, run)


@pytest.mark.parametrize("done", ["before", "after"])
async def test_a_claim_that_fails_is_not_tried_again_by_a_worker_that_is_paused(make_store, done):
    """A tab that has let go of the lock meanwhile must not claim; what it has claimed unknowingly isn't lost."""
    tally, clock = Tally(), VirtualClock()

    @job
    async def works(ctx):
        return await ctx.step("work", tally.step("work"))

    async with make_store() as store, Process(store, clock, works) as process:
        await clock.settle()
        failing(process, "claim_runs", 1, done)
        run = await process.trigger(works)
        await clock.settle()
        process.pause()
        await clock.advance("1h")
        claimed = Status.PENDING if done == "before" else Status.EXECUTING
        assert (await store.get_run(run.id)).status == claimed
        process.pause(False)
        assert await process.result(run) == "work"
        assert tally == {"work": 1}
