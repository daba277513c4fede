"""Verbs that meet on one run: one of them comes first, the other sees what it did."""

import asyncio

import pytest

from durable_lite.errors import Conflict
from durable_lite.records import Beat, Refusal, Wakes
from durable_lite.status import FINAL, Status
from tests.conformance.build import (
    EVENT_OF,
    NOW,
    bring,
    claim,
    event,
    executing,
    get,
    log,
    new_run,
    promise,
    settle,
    settlement,
    spawn,
    step,
    types,
)
from tests.conformance.state import everything

ROUNDS = 12


async def meet(n, *calls):
    """Run the calls at once, in another order each round. What each returned or raised, in their order."""
    order = [*calls[n % len(calls) :], *calls[: n % len(calls)]]
    tasks = {call: asyncio.ensure_future(call) for call in order}
    answers = await asyncio.gather(*(tasks[call] for call in calls), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, Conflict):
            raise answer
    return answers


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.TIMED_OUT])
async def test_cancel_and_settle_have_one_outcome(store, other, status):
    for n in range(ROUNDS):
        id = f"{n:02}"
        await executing(store, id)
        cancelled, settled = await meet(n, other.cancel_run(id, NOW), store.settle(id, 1, settlement(status)))
        row = await get(store, id)
        final = [kind for kind in await types(store, id) if kind in EVENT_OF.values()]
        if settled is None:
            assert isinstance(cancelled, Conflict)
            assert (row.status, row.generation, final) == (status, 1, [EVENT_OF[status]])
        else:
            assert settled == Refusal("CANCELLED", 2)
            assert (row, row.status, final) == (cancelled, "CANCELLED", ["run.cancelled"])
    await everything(store)


async def test_cancel_and_wait_end_cancelled(store, other):
    for n in range(ROUNDS):
        id = f"{n:02}"
        await executing(store, id)
        cancelled, settled = await meet(
            n, other.cancel_run(id, NOW), store.settle(id, 1, settlement(Status.WAITING))
        )
        assert await get(store, id) == cancelled
        assert cancelled.status == "CANCELLED"
        assert settled in (None, Refusal("CANCELLED", 2))
        assert (await types(store, id)).count("run.cancelled") == 1
    await everything(store)


async def test_cancel_and_checkpoints(store, other):
    """A checkpoint either came before or isn't there: none appears on a cancelled run."""
    for n in range(ROUNDS):
        id = f"{n:02}"
        await executing(store, id)
        steps = [store.save_step(id, 1, step(f"s{seq}", seq, id)) for seq in range(3, 9)]

        async def others(steps=steps):  # their calls come after those of the first ones
            return await asyncio.gather(*steps[3:])

        [*before, cancelled, late] = await meet(0, *steps[:3], other.cancel_run(id, NOW), others())
        row = await get(store, id)
        assert row == cancelled
        done = [answer is None for answer in [*before, *late]]
        assert [found.path for found in await store.load_steps(id)] == [
            f"s{seq}" for seq, went in zip(range(3, 9), done, strict=True) if went
        ]
        assert all(answer in (None, Refusal("CANCELLED", 2)) for answer in [*before, *late])
        assert (await types(store, id))[-1] == "run.cancelled"
    await everything(store)


async def test_two_sweepers_and_a_beat(store, other):
    """The beat saves the run, or comes too late; and one sweeper at most marks it."""
    for n in range(ROUNDS):
        id = f"{n:02}"
        await executing(store, id)
        seen = [lease for lease in await store.leases() if lease.run_id == id]
        marked, also, lost = await meet(
            n,
            store.mark_stale(seen, "heartbeat", NOW + 40),
            other.mark_stale(seen, "worker gone", NOW + 40),
            store.beat("w", [Beat(id, 1, 5.0, '"p"', None, (log(0, id),))], NOW + 40),
        )
        row = await get(store, id)
        if row.status == "EXECUTING":
            assert (marked, also, lost) == ([], [], {})
            assert (row.progress, len(await store.read_logs(id))) == ('"p"', 1)
        else:
            assert sorted([marked, also]) == [[], [id]]
            assert lost == {id: Refusal("STALE", 2)}
            assert (row.progress, await store.read_logs(id)) == (None, [])
            assert (await types(store, id)).count("run.stale") == 1
            await store.cancel_run(id, NOW)
    await everything(store)


async def test_a_late_result_and_a_sweep(store, other):
    """The result of a finished step counts if nobody took the run, else it is not there."""
    for n in range(ROUNDS):
        id = f"{n:02}"
        await executing(store, id)
        seen = [lease for lease in await store.leases() if lease.run_id == id]

        async def results(id=id):
            return await asyncio.gather(
                store.save_step(id, 1, step("a", 3, id)),
                store.save_failure(id, 1, step("b", None, id), event(4)),
            )

        (answer, failed), marked = await meet(n, results(), other.mark_stale(seen, "heartbeat", NOW + 40))
        assert marked == [id]
        assert {found.path for found in await store.load_steps(id)} == {
            path for path, refusal in (("a", answer), ("b", failed)) if refusal is None
        }
        await everything(store)
        await store.cancel_run(id, NOW)


@pytest.mark.parametrize("status", sorted(FINAL))
async def test_resume_delete_and_purge_of_one_run(store, other, status):
    for n in range(ROUNDS // 4):
        id = f"{n:02}"
        await bring(store, status, id)
        await asyncio.gather(
            store.resume_run(id, NOW), other.delete_run(id), store.purge(NOW + 1, 10), return_exceptions=True
        )
        seen = await everything(store, id)
        if seen[id]["run"] is None:
            assert not any(seen[id].values())
        else:
            assert seen[id]["run"].status == "PENDING"
            assert seen[id]["events"][-1].type == "run.resumed"
            await store.cancel_run(id, NOW)


async def test_two_resumes_start_one_attempt(store, other):
    for n in range(ROUNDS):
        id = f"{n:02}"
        await bring(store, Status.FAILED, id)
        answers = await meet(n, store.resume_run(id, NOW), other.resume_run(id, NOW))
        assert [isinstance(answer, Conflict) for answer in answers].count(True) == 1
        assert (await get(store, id)).attempt == 2
        await claim(store)
        await store.cancel_run(id, NOW)


async def test_a_claim_and_a_cancel(store, other):
    for n in range(ROUNDS):
        id = f"{n:02}"
        await bring(store, Status.PENDING, id)
        won, cancelled = await meet(n, claim(store), other.cancel_run(id, NOW))
        assert await get(store, id) == cancelled
        assert (cancelled.status, cancelled.generation) == ("CANCELLED", 1 + len(won))
    await everything(store)


async def test_what_a_run_waits_for_comes_as_it_parts(store, other):
    """A token, and the ends of two children: whichever of them is last finds that the parent is to wake."""
    for n in range(ROUNDS):
        id, children = f"{n:02}", [f"{n:02}-a", f"{n:02}-b"]
        await executing(store, id)
        await promise(store, f"t{id}", id)
        await spawn(store, *children, parent=id)
        await claim(store)
        if n % 2:
            wakes = Wakes(children=(*children,), all=True)
            comes = [store.settle(children[0], 1, settlement(Status.COMPLETED, at=NOW + 5))]
            comes.append(other.settle(children[1], 1, settlement(Status.COMPLETED, at=NOW + 5)))
        else:
            wakes = Wakes(tokens=(f"t{id}",))
            comes = [other.finish_token(f"t{id}", "completed", "1", None, NOW + 5)]
        waits = settlement(Status.WAITING, ready_at=None, wakes=wakes)
        answers = await meet(n // 2, *comes, store.settle(id, 1, waits))
        assert not any(isinstance(answer, Refusal | Conflict) for answer in answers)
        row = await get(store, id)
        assert row.ready_at in (NOW, NOW + 5)
        assert [found.run.id for found in await claim(store, now=NOW + 5)] == [id]
        await store.cancel_run(id, NOW)
    await everything(store)


async def test_a_token_has_one_outcome(store, other):
    for n in range(ROUNDS):
        id = f"{n:02}"
        await executing(store, id)
        made = await promise(store, id, id)
        completed, failed, [read] = await meet(
            n,
            store.finish_token(id, "completed", "1", None, NOW + 5),
            other.finish_token(id, "failed", None, "{}", NOW + 6),
            other.read_tokens([id], made.deadline),
        )
        [token] = await store.read_tokens([id], NOW)
        if token.state == "expired":
            assert isinstance(completed, Conflict)
            assert isinstance(failed, Conflict)
        else:
            assert completed == failed == token
        assert read == token


async def test_a_token_and_a_cancel(store, other):
    for n in range(ROUNDS):
        id = f"{n:02}"
        await executing(store, id)
        made = await promise(store, id, id)
        await settle(store, id, Status.WAITING, wakes=Wakes(tokens=(id,)))
        finished, cancelled = await meet(
            n, store.finish_token(id, "completed", "1", None, NOW + 5), other.cancel_run(id, NOW)
        )
        assert await get(store, id) == cancelled
        assert await store.read_tokens([id], NOW) == [made if isinstance(finished, Conflict) else finished]
        assert await store.next_due() is None


async def test_a_cancel_and_new_children(store, other):
    """No child escapes: it is cancelled too, or was never there."""
    for n in range(ROUNDS):
        id, child = f"{n:02}", f"{n:02}-a"
        await executing(store, id)
        made, new = step("call", None, id), new_run(child, parent_id=id, awaited=1)
        created, cancelled = await meet(
            n, store.create_children(id, 1, made, [new]), other.cancel_run(id, NOW)
        )
        assert cancelled.status == "CANCELLED"
        if isinstance(created, Refusal):
            assert await store.get_run(child) is None
        else:
            assert (await get(store, child)).status == "CANCELLED"
    await everything(store)


async def test_all_verbs_at_once_leave_a_store_that_holds(store, other):
    """Nothing waits for another for ever, and what is left is in order."""
    for n in range(ROUNDS):
        await executing(store, f"{n:02}")
    leases = await store.leases()
    ids = [lease.run_id for lease in leases]
    await asyncio.gather(
        *(store.save_step(id, 1, step("a", 3, id)) for id in ids),
        *(other.cancel_run(id, NOW) for id in ids[::3]),
        other.mark_stale(leases[1::3], "heartbeat", NOW + 40),
        store.beat("w", [Beat(id, 1, 1.0, '"p"') for id in ids], NOW + 5),
        claim(other, "v"),
        *(handle.get_run(id) for id in ids for handle in (store, other)),
        *(handle.read_events(id, 0, 100) for id in ids for handle in (store, other)),
        other.purge(NOW + 100, 2),
        store.next_due(),
    )
    await everything(store, *ids)
