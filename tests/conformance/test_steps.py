"""`save_step`, `save_failure`, `load_checkpoints`, `load_steps`: what a run has done, once, unchanged."""

import asyncio
import itertools

import pytest

from durable_lite.errors import StoreError
from durable_lite.records import Checkpoint
from durable_lite.status import Status
from tests.conformance.build import NOW, claim, event, executing, get, mark_stale, settle, step, types
from tests.conformance.state import everything

FULL = step(
    "outer/inner", 3, name="pkg.write", arguments="sha256:0", output='{"n": 1.50}',
    failures=2, attempt=4, started_at=NOW + 0.1, finished_at=NOW + 0.2, title="Write",
)  # fmt: skip


async def test_a_step_is_loaded_as_it_was_saved(store):
    before = await executing(store)
    assert await store.save_step("r", 1, FULL) is None
    assert await store.load_steps("r") == [FULL]
    assert await store.load_checkpoints("r") == [
        Checkpoint(
            "outer/inner",
            "completed",
            "pkg.write",
            "sha256:0",
            '{"n": 1.50}',
            None,
            2,
            4,
            None,
            "step",
        )
    ]
    assert await get(store) == before  # a checkpoint touches no row but its own


async def test_a_row_with_nothing_optional(store):
    await executing(store)
    bare = FULL._replace(
        seq=None, kind="sleep", state="waiting", name=None, arguments=None, output=None, error=None,
        failures=0, finished_at=None, wake_at=None, title=None,
    )  # fmt: skip
    await store.save_step("r", 1, bare)
    assert await store.load_steps("r") == [bare]
    assert await store.load_checkpoints("r") == [
        Checkpoint("outer/inner", "waiting", None, None, None, None, 0, 4, None, "sleep")
    ]


async def test_empty_text_is_not_null(store):
    await executing(store)
    empty = step("a", 3, name="", arguments="", output="", title="")
    await store.save_step("r", 1, empty)
    assert await store.load_steps("r") == [empty]


async def test_completed_steps_are_by_seq_and_before_the_others(store):
    await executing(store)
    for path, seq in [("c", 3), ("open", None), ("b", 4), ("a", 5), ("also open", None), ("y", 6), ("z", 7)]:
        await store.save_step("r", 1, step(path, seq))
    steps = await store.load_steps("r")
    assert [found.path for found in steps[:5]] == ["c", "b", "a", "y", "z"]
    assert {found.path for found in steps[5:]} == {"open", "also open"}
    assert {found.path for found in await store.load_checkpoints("r")} == {found.path for found in steps}


async def test_steps_are_of_their_run(store):
    for id in ("r", "s"):
        await executing(store, id)
        await store.save_step(id, 1, step("a", 3, id, output=f'"{id}"'))
    assert [found.output for found in await store.load_steps("s")] == ['"s"']
    assert [found.output for found in await store.load_checkpoints("r")] == ['"r"']
    assert await store.load_steps("never there") == await store.load_checkpoints("never there") == []


async def test_paths_are_exact(store):
    await executing(store)
    paths = ["a", "A", "a ", "a/b", "a%2Fb", "a/b/c", "\u00e1", "a\u0301", "%", "_", "'", "0", "00"]
    for seq, path in enumerate(paths, 3):
        await store.save_step("r", 1, step(path, seq))
    assert [found.path for found in await store.load_steps("r")] == paths


async def test_a_repeated_save_is_seen_as_done(store):
    await executing(store)
    for row in (FULL, step("nap", None, kind="sleep", state="waiting")):
        assert await store.save_step("r", 1, row) is None
        before = await everything(store)
        assert await store.save_step("r", 1, row) is None
        assert await everything(store) == before


async def test_a_repeated_failure_is_seen_as_done(store):
    await executing(store)
    assert await store.save_failure("r", 1, step("a"), event(3)) is None
    before = await everything(store)
    assert await store.save_failure("r", 1, step("a"), event(3)) is None
    assert await everything(store) == before


async def test_a_wait_is_completed_in_its_place(store):
    await executing(store)
    nap = step("nap", None, kind="sleep", state="waiting", name=None, error=None, failures=0)
    await store.save_step("r", 1, nap)
    done = nap._replace(seq=3, state="completed", finished_at=NOW + 60, wake_at=None, output="null")
    await store.save_step("r", 1, done)
    assert await store.load_steps("r") == [done]


async def test_a_failure_replaces_an_earlier_one_and_keeps_its_event(store):
    await executing(store)
    for n in (1, 2, 3):
        failed = step(
            "a", failures=n, error=f'{{"n": {n}}}', wake_at=NOW + n, state="failed" if n == 3 else "retrying"
        )
        assert (
            await store.save_failure("r", 1, failed, event(2 + n, data=f'{{"n": {n}}}', at=NOW + n)) is None
        )
        assert await store.load_steps("r") == [failed]
    assert [
        (found.seq, found.at, found.type, found.data) for found in await store.read_events("r", 2, 10)
    ] == [(n + 2, NOW + n, "step.failed", {"n": n}) for n in (1, 2, 3)]


async def test_a_success_replaces_a_failure_whose_event_keeps_its_seq(store):
    await executing(store)
    await store.save_failure("r", 1, step("a"), event(3, data='{"path": "a"}'))
    await store.save_step("r", 1, step("b", 4))
    done = step("a", 5, failures=1)
    await store.save_step("r", 1, done)
    assert (await store.load_steps("r"))[1:] == [done]
    found = await store.read_events("r", 2, 10)
    assert [(each.seq, each.type, each.data["path"]) for each in found] == [
        (3, "step.failed", "a"), (4, "step.completed", "b"), (5, "step.completed", "a"),
    ]  # fmt: skip


async def test_a_failure_removes_the_failures_nested_under_it(store):
    """The outer step is tried again, and with it what failed inside; what is done or waits stays."""
    await executing(store)
    await executing(store, "s")
    failures = ["a/b", "a/b/c", "a/b/c/d", "a", "ab", "A/b", "a_/b", "a%/b", "z/a/b"]
    for seq, path in enumerate(failures, 3):
        state = "failed" if seq % 2 else "retrying"
        assert await store.save_failure("r", 1, step(path, state=state), event(seq)) is None
    await store.save_step("r", 1, step("a/done", 12))
    await store.save_step("r", 1, step("a/nap", None, kind="sleep", state="waiting"))
    await store.save_failure("s", 1, step("a/b", None, "s"), event(3))
    before = await everything(store)
    failed = step("a", failures=2)
    for _ in range(2):  # the second is a repeated call
        assert await store.save_failure("r", 1, failed, event(13)) is None
        after = await everything(store)
        stay = {"a", "ab", "A/b", "a_/b", "a%/b", "z/a/b", "a/done", "a/nap"}
        assert {found.path for found in after["r"]["checkpoints"]} == stay
        assert failed in after["r"]["open"]
        assert after["r"]["events"][:-1] == before["r"]["events"]
        assert after["s"] == before["s"]


async def test_a_call_whose_outer_step_failed_knows_its_children(store):
    """Its failure is void; those of them that have completed aren't to be made again."""
    await executing(store)
    calls = {
        path: step(path, None, kind="call", state=state, ref=f"{path} 1\n{path} 2", attempt=2)
        for path, state in {
            "a/failed": "failed",
            "a/b/retrying": "retrying",
            "a/waits": "waiting",
            "z": "failed",
        }.items()
    }
    numbers = itertools.count(3)
    for row in calls.values():
        if row.state == "waiting":
            await store.save_step("r", 1, row)
        else:
            await store.save_failure("r", 1, row, event(next(numbers)))
    for seq in (6, 6, 7):
        await store.save_failure("r", 1, step("a"), event(seq))
        stored = {row.path: row for row in await store.load_steps("r")}
        del stored["a"]
        assert stored == calls | {
            path: calls[path]._replace(attempt=0) for path in ("a/failed", "a/b/retrying")
        }
        assert {one.path: one.ref for one in await store.load_checkpoints("r") if one.ref} == {
            path: row.ref for path, row in calls.items()
        }


@pytest.mark.parametrize("outer", ["a_b", "a%b", "a[b]", "a*b", "a?b", "a\\b", "é", "a'b"])
async def test_what_is_nested_is_told_by_exact_text(store, outer):
    await executing(store)
    paths = [f"{outer}/in", "axb/in", "ab/in", f"{outer}x/in", f"x{outer}/in", outer.upper() + "/in"]
    for seq, path in enumerate(paths, 3):
        await store.save_failure("r", 1, step(path), event(seq))
    await store.save_failure("r", 1, step(outer), event(9))
    assert {found.path for found in await store.load_steps("r")} == {outer, *paths[1:]}


async def test_a_failure_is_replaced_in_a_later_attempt(store):
    await executing(store)
    await store.save_failure("r", 1, step("a", state="failed"), event(3))
    await settle(store, "r", Status.WAITING, attempt=2)
    [found] = await claim(store, now=NOW + 60)
    assert [each.attempt for each in await store.load_checkpoints("r")] == [1]  # void now, but there
    done = step("a", found.run.seq + 1, attempt=2, generation=2)
    assert await store.save_step("r", 2, done) is None
    assert await store.load_steps("r") == [done]


async def test_concurrent_steps_are_all_stored(store):
    """As of `gather` in one job; each is acknowledged for itself."""
    await executing(store)
    rows = [step(f"{seq:03}", seq) for seq in range(3, 53)]
    assert await asyncio.gather(*(store.save_step("r", 1, row) for row in rows)) == [None] * 50
    assert await store.load_steps("r") == rows


async def test_concurrent_writes_of_many_runs_fail_each_for_itself(store):
    """Some of them hold their run, some don't any more: whatever shares a commit."""
    ids = [f"{n:02}" for n in range(20)]
    for id in ids:
        await executing(store, id)
    for id in ids[::2]:
        await mark_stale(store, id)
    answers = await asyncio.gather(*(store.save_step(id, 1, step("a", 3, id)) for id in ids))
    assert [answer and answer.status for answer in answers] == ["STALE", None] * 10
    for id, answer in zip(ids, answers, strict=True):
        assert (await store.load_steps(id) == []) == (answer is not None)


async def test_a_seq_that_is_taken_is_an_error_and_the_first_step_stays(store):
    run = await executing(store)
    first = step("first", run.seq + 1, output="1")
    assert await store.save_step("r", run.generation, first) is None
    with pytest.raises(StoreError, match="another step"):
        await store.save_step("r", run.generation, step("second", run.seq + 1, output="2"))
    assert await store.load_steps("r") == [first]


async def test_an_error_of_one_of_many_steps_is_its_own(store):
    """Those that are saved at the same time may share a transaction."""
    runs = [await executing(store, id) for id in ("a", "b", "c")]
    taken = step("taken", runs[1].seq + 1, run_id="b")
    assert await store.save_step("b", runs[1].generation, taken) is None
    rows = [step("new", run.seq + 1, run_id=run.id) for run in runs]
    answers = await asyncio.gather(
        *(store.save_step(run.id, run.generation, row) for run, row in zip(runs, rows, strict=True)),
        return_exceptions=True,
    )
    assert answers[0] is answers[2] is None
    assert isinstance(answers[1], StoreError)
    assert [await store.load_steps(id) for id in ("a", "b", "c")] == [[rows[0]], [taken], [rows[2]]]


async def test_a_checkpoint_is_seen_by_others_once_it_returned(store, other):
    await executing(store)
    for seq in range(3, 23):
        await store.save_step("r", 1, step(f"s{seq}", seq))
        assert await types(other) == ["run.triggered", "run.claimed"] + ["step.completed"] * (seq - 2)


async def test_a_checkpoint_leaves_the_lease_alone(store):
    await executing(store)
    before = await store.leases()
    await store.save_step("r", 1, step("a", 3, finished_at=NOW + 100))
    await store.save_failure("r", 1, step("b"), event(4, at=NOW + 100))
    assert await store.leases() == before
