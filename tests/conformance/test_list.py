"""`list_runs`: filters, order and paging."""

import json
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from durable_lite.records import RunFilter
from durable_lite.status import Status
from tests.conformance.build import CLAIMABLE_LAST, NOW, bring, claim, create, new_run, settle

TAGS = ["a", "b", "ab", "%", "_", '"', "'", "[]", "é", "A", "a b", "1"]


async def ids(store, **fields):
    return [row.id for row in await store.list_runs(RunFilter(**fields))]


async def test_newest_first(store):
    for id, at in [("b", NOW), ("a", NOW + 1), ("c", NOW), ("d", NOW - 1), ("a2", NOW)]:
        await create(store, id, created_at=at)
    assert await ids(store) == ["a", "c", "b", "a2", "d"]
    assert await ids(store, limit=2) == ["a", "c"]
    assert await ids(store, limit=0) == []


async def test_nothing_there(store):
    assert await store.list_runs(RunFilter()) == []
    assert await store.get_run("r") is None


async def test_a_listed_run_is_the_run(store):
    row = await bring(store, Status.WAITING, tags='["a"]', idempotency_key="[]", deadline=NOW + 0.1)
    assert await store.list_runs(RunFilter()) == [row] == [await store.get_run("r")]


async def test_the_default_limit(store):
    await store.create_runs([new_run(f"{n:03}") for n in range(60)])
    assert await ids(store) == [f"{n:03}" for n in range(59, 9, -1)]


async def test_by_status(store):
    for status in CLAIMABLE_LAST:
        await bring(store, status, f"a {status}")
    for status in Status:
        assert await ids(store, statuses=(status,)) == [f"a {status}"]
    assert await ids(store, statuses=(Status.WAITING, Status.FAILED)) == ["a WAITING", "a FAILED"]
    assert await ids(store, statuses=()) == await ids(store, statuses=("a",)) == []
    assert len(await ids(store, statuses=tuple(Status))) == len(Status)


async def test_by_tag(store):
    for n, tag in enumerate(TAGS):
        await create(store, f"{n:02}", tags=json.dumps([tag, "all"]))
    await create(store, "none")
    await create(store, "raw", tags=json.dumps(["é", "x"], ensure_ascii=False))
    for n, tag in enumerate(TAGS):
        assert await ids(store, tags=(tag,)) == (["raw"] if tag == "é" else []) + [f"{n:02}"], tag
    assert len(await ids(store, tags=("all",))) == len(TAGS)
    assert (
        await ids(store, tags=("al",))
        == await ids(store, tags=("",))
        == await ids(store, tags=("al%",))
        == []
    )


async def test_a_tag_twice_lists_its_run_once(store):
    await create(store, tags='["a", "b", "a"]')
    assert await ids(store, tags=("a",)) == ["r"]


async def test_by_job(store):
    for job in ("job", "Job", "job2"):
        await create(store, job, job=job)
    assert await ids(store, job="job") == ["job"]
    assert await ids(store, job="jo%") == await ids(store, job="") == []


async def test_moments_are_bounds_that_are_left_out(store):
    for n in range(5):
        await create(store, str(n), created_at=NOW + n)
    assert await ids(store, created_after=NOW + 1) == ["4", "3", "2"]
    assert await ids(store, created_before=NOW + 3) == ["2", "1", "0"]
    assert await ids(store, created_after=NOW + 1, created_before=NOW + 3) == ["2"]
    assert await ids(store, created_after=NOW + 1, created_before=NOW + 2) == []


async def test_a_cursor_need_not_be_of_a_run_that_is_there(store):
    for id in "abcd":
        await create(store, id)
    assert await ids(store, cursor=(NOW, "c")) == ["b", "a"]
    assert await ids(store, cursor=(NOW, "bb")) == ["b", "a"]
    assert await ids(store, cursor=(NOW + 1, "")) == ["d", "c", "b", "a"]
    assert await ids(store, cursor=(NOW, "")) == await ids(store, cursor=(NOW - 1, "z")) == []


async def test_paging_is_steady_while_runs_are_added(store):
    for n in range(6):
        await create(store, f"{n}", created_at=NOW + n)
    page = await store.list_runs(RunFilter(limit=3))
    await create(store, "new", created_at=NOW + 10)
    last = page[-1]
    assert await ids(store, limit=10, cursor=(last.created_at, last.id)) == ["2", "1", "0"]


# Any runs, any filter, any page: against the plain reading of the filter


class Made(NamedTuple):
    status: str
    job: str
    tags: tuple[str, ...]
    age: int


made = st.builds(
    Made,
    status=st.sampled_from(["PENDING", "EXECUTING", "COMPLETED", "FAILED", "CANCELLED"]),
    job=st.sampled_from(["x", "y"]),
    tags=st.lists(st.sampled_from(TAGS[:6]), max_size=3).map(tuple),
    age=st.integers(0, 4),
)
moment = st.none() | st.integers(-1, 5).map(lambda age: NOW - age)
filters = st.builds(
    RunFilter,
    statuses=st.none()
    | st.lists(st.sampled_from(["PENDING", "EXECUTING", "COMPLETED", "FAILED"])).map(tuple),
    job=st.none() | st.sampled_from(["x", "y", "z"]),
    tags=st.lists(st.sampled_from(TAGS[:6]), max_size=3).map(tuple),
    created_after=moment,
    created_before=moment,
    limit=st.integers(1, 7),
)


@settings(max_examples=settings.default.max_examples // 4)
@given(runs=st.lists(made, max_size=15), queries=st.lists(filters, min_size=1, max_size=5))
async def test_any_filter_pages_through_what_it_means(store, runs, queries):
    await store.create_runs(
        [
            new_run(f"{n:02}", job=run.job, tags=json.dumps(run.tags), created_at=NOW - run.age)
            for n, run in enumerate(runs)
        ]
    )
    await claim(store, jobs=("x", "y"))
    for n, run in enumerate(runs):
        if run.status != "EXECUTING":
            await settle(store, f"{n:02}", Status(run.status))
    for query in queries:
        expected = [
            (NOW - run.age, f"{n:02}")
            for n, run in enumerate(runs)
            if (query.statuses is None or run.status in query.statuses)
            and (query.job is None or run.job == query.job)
            and set(query.tags) <= set(run.tags)
            and (query.created_after is None or NOW - run.age > query.created_after)
            and (query.created_before is None or NOW - run.age < query.created_before)
        ]
        found, cursor = [], None
        while page := await store.list_runs(query._replace(cursor=cursor)):
            assert len(page) <= query.limit
            assert len(page) == query.limit or not await store.list_runs(
                query._replace(cursor=(page[-1].created_at, page[-1].id))
            )
            cursor = (page[-1].created_at, page[-1].id)
            found.append(page)
            assert len(found) <= len(expected)
        assert [(row.created_at, row.id) for page in found for row in page] == sorted(expected, reverse=True)
