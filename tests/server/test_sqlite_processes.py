"""Several processes on one SQLite file: creating it, waking each other, and proof that one is dead."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from durable_lite.stores import sqlite_workers
from durable_lite.stores.sqlite_workers import WorkerLocks
from tests.conformance.build import NOW, claim, executing, mark_stale, new_run
from tests.unit.sqlite_files import new_path, opened, rows

ROOT = Path(__file__).parents[2]

# Each reads the path from its arguments, says "ready", and does its work once it is told to.
PRELUDE = """
import asyncio, json, os, sys, time
from durable_lite.records import NewRun
from durable_lite.stores.sqlite import SQLiteStore

store = SQLiteStore(sys.argv[1], durability="relaxed")

def ready():
    print("ready", flush=True)
    sys.stdin.readline()

def run(id, **fields):
    return NewRun(id, "job", None, "default", 0, 1000.0, 1000.0, "{}", **fields)
"""


@contextmanager
def process(path, script):
    """A Python of its own that runs `script`; killed at the end."""
    child = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


async def line(child) -> str:
    return (await asyncio.to_thread(child.stdout.readline)).strip()


def tell(child) -> None:
    child.stdin.write("go\n")
    child.stdin.flush()


async def test_processes_that_create_the_file_at_once_all_succeed():
    script = """
ready()
async def main():
    await store.open()
    await store.create_runs([run(f"r{os.getpid()}")])
    await store.close()
    print("done", flush=True)
asyncio.run(main())
"""
    with (
        new_path() as path,
        process(path, script) as a,
        process(path, script) as b,
        process(path, script) as c,
    ):
        for child in (a, b, c):
            assert await line(child) == "ready"
        for child in (a, b, c):
            tell(child)
        assert [await line(child) for child in (a, b, c)] == ["done"] * 3
        assert rows(path, "SELECT count(*) FROM runs") == [(3,)]
        assert len(rows(path, "SELECT name FROM _sqlite_migrations")) == 1


async def test_one_key_in_two_processes_is_one_run():
    script = """
async def main():
    await store.open()
    ready()
    for n in range(50):
        [made] = await store.create_runs([run(f"{os.getpid()}-{n}", idempotency_key=f"key-{n}")])
        print(made.disposition, made.run.id, flush=True)
    await store.close()
asyncio.run(main())
"""
    with new_path() as path:
        async with opened(path):
            pass
        with process(path, script) as a, process(path, script) as b:
            for child in (a, b):
                assert await line(child) == "ready"
            for child in (a, b):
                tell(child)
            for _ in range(50):
                (one, first), (two, second) = [(await line(child)).split() for child in (a, b)]
                assert sorted([one, two]) == ["created", "idempotent"]
                assert first == second
        assert rows(path, "SELECT count(*) FROM runs") == [(50,)]


async def test_many_writers_lose_nothing():
    script = """
from durable_lite.records import StepRow
async def main():
    await store.open()
    mine = sys.argv[1] and f"r{os.getpid()}"
    await store.create_runs([run(mine)._replace(job=mine)])
    await store.claim_runs("w", [mine], 1, 1000.0, "lease")
    ready()
    for n in range(3, 203):
        row = StepRow(mine, f"s{n}", n, "step", "completed", "f", None, "1", None, 0, 1, 1, 1.0, 2.0, None)
        assert await store.save_step(mine, 1, row) is None
    await store.close()
    print("done", flush=True)
asyncio.run(main())
"""
    with new_path() as path:
        async with opened(path):
            pass
        with process(path, script) as a, process(path, script) as b, process(path, script) as c:
            for child in (a, b, c):
                assert await line(child) == "ready"
            for child in (a, b, c):
                tell(child)
            assert [await line(child) for child in (a, b, c)] == ["done"] * 3
        assert rows(path, "SELECT count(*) FROM steps") == [(600,)]
        assert rows(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("durability", ["strict", "relaxed"])
async def test_a_commit_of_another_process_is_noticed_promptly(durability):
    script = """
async def main():
    await store.open()
    for n in range(5):
        ready()
        await store.create_runs([run(f"r{n}")])
        print(time.time(), flush=True)
    await store.close()
asyncio.run(main())
"""
    with new_path() as path:
        async with opened(path, durability) as store:
            heard: asyncio.Queue[float] = asyncio.Queue()
            store.listen(lambda change: heard.put_nowait(time.time()), steps=False)
            with process(path, script) as child:
                delays = []
                for _ in range(5):
                    assert await line(child) == "ready"
                    await asyncio.sleep(0.06)
                    while not heard.empty():
                        heard.get_nowait()
                    tell(child)
                    at = await asyncio.wait_for(heard.get(), 10)
                    delays.append(at - float(await line(child)))
            assert min(delays) < 0.2, delays


async def test_listening_costs_next_to_nothing():
    async with opened() as store:
        store.listen(lambda change: None)
        spent = []
        for _ in range(3):  # others of this process may take some, too
            before = time.process_time()
            await asyncio.sleep(0.5)
            spent.append(time.process_time() - before)
        assert min(spent) < 0.025, spent  # measured: 0.0025


# Proof of death

WORKER = """
async def main():
    await store.open()
    print(await store.register_worker("theirs", "{}", 1000.0), flush=True)
    await store.create_runs([run("r")])
    await store.claim_runs("theirs", ["job"], 1, 1000.0, "lock")
    ready()
    await store.close()
    print("closed", flush=True)
    ready()
asyncio.run(main())
"""


async def test_a_killed_worker_is_proven_gone_and_a_living_one_is_not():
    with new_path() as path, process(path, WORKER) as child:
        assert await line(child) == "lock"
        assert await line(child) == "ready"
        async with opened(path) as store:
            assert await store.register_worker("ours", "{}", NOW) == "lock"
            assert await store.gone_workers(["theirs", "ours", "unheard of"]) == set()
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            assert await store.gone_workers(["theirs", "ours", "unheard of"]) == {"theirs"}
            assert await store.gone_workers([]) == set()
            await mark_stale(store, "r", "worker gone")
            [found] = await claim(store, "ours")
            assert found.run.recoveries == 1


async def test_a_worker_that_closed_its_store_is_gone():
    with new_path() as path, process(path, WORKER) as child:
        assert [await line(child), await line(child)] == ["lock", "ready"]
        tell(child)
        assert await line(child) == "closed"
        async with opened(path) as store:
            assert await store.gone_workers(["theirs"]) == {"theirs"}


async def test_a_forked_child_does_not_keep_its_parent_alive():
    script = """
async def main():
    await store.open()
    print(await store.register_worker("theirs", "{}", 1000.0), flush=True)
asyncio.run(main())
read, written = os.pipe()
child = os.fork()
if child == 0:
    os.write(written, b"here")  # what it inherited is closed by now
    time.sleep(60)
os.read(read, 4)
print(child, flush=True)
ready()
"""
    with new_path() as path, process(path, script) as parent:
        assert await line(parent) == "lock"
        fork = int(await line(parent))
        assert await line(parent) == "ready"
        async with opened(path) as store:
            assert await store.gone_workers(["theirs"]) == set()
            os.kill(parent.pid, signal.SIGKILL)
            parent.wait()
            try:
                assert await store.gone_workers(["theirs"]) == {"theirs"}
            finally:
                os.kill(fork, signal.SIGKILL)


async def test_two_stores_of_one_process_see_each_other():
    async with opened() as store, opened(store.path) as other:
        assert await store.register_worker("a", "{}", NOW) == "lock"
        assert await other.register_worker("b", "{}", NOW) == "lock"
        for one in (store, other):
            assert await one.gone_workers(["a", "b"]) == set()
        await other.close()
        assert await store.gone_workers(["a", "b"]) == {"b"}


async def test_slots_are_never_used_again():
    async with opened() as store:
        slots = []
        for name in ("a", "b", "a", "c"):
            await store.register_worker(name, "{}", NOW)
            slots += rows(store.path, f"SELECT slot FROM workers WHERE id = '{name}'")
            await store.unregister_worker(name)
        assert slots == [(1,), (2,), (3,), (4,)]
        assert rows(store.path, "SELECT * FROM workers") == []


async def test_the_dead_are_forgotten_once_they_hold_nothing():
    with new_path() as path:
        async with opened(path) as store:
            await store.register_worker("idle", "{}", NOW)
            await store.register_worker("busy", "{}", NOW)
            await executing(store, worker="busy")
        async with opened(path) as store:
            await store.register_worker("new", "{}", NOW)
            assert rows(path, "SELECT id FROM workers ORDER BY slot") == [("busy",), ("new",)]
            assert await store.gone_workers(["idle", "busy", "new"]) == {"busy"}


async def test_a_new_lock_file_proves_nothing():
    """Somebody removed it while a worker lived: its lock is on the old file."""
    async with opened() as store:
        await store.register_worker("living", "{}", NOW)
        os.unlink(f"{store.path}-workers")
        async with opened(store.path) as other:
            assert await other.register_worker("new", "{}", NOW) == "lock"
            assert await other.gone_workers(["living"]) == set()


async def test_another_machines_worker_is_never_proven_gone(monkeypatch):
    with new_path() as path:
        async with opened(path) as store:
            await store.register_worker("theirs", "{}", NOW)
        monkeypatch.setattr(sqlite_workers, "_kernel", lambda: "another kernel")
        async with opened(path) as store:
            assert await store.gone_workers(["theirs"]) == set()


async def test_a_new_database_beside_an_old_lock_file(monkeypatch):
    with new_path() as path:
        async with opened(path) as store:
            await store.register_worker("a", "{}", NOW)
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                (path.parent / name).unlink()
            async with opened(path) as other:
                assert await other.register_worker("b", "{}", NOW) == "lock"
                assert rows(path, "SELECT slot FROM workers") == [(2,)]


async def test_where_locks_do_not_work_heartbeats_decide(monkeypatch):
    monkeypatch.setattr(sqlite_workers, "_open", lambda path: None)
    with new_path() as path:
        async with opened(path) as store:
            assert await store.register_worker("a", "{}", NOW) == "lease"
        async with opened(path) as store:
            assert await store.gone_workers(["a"]) == set()


def test_locks_that_exclude_nobody_are_found_out(monkeypatch):
    with new_path() as path:
        monkeypatch.setattr(sqlite_workers._DescriptorLocks, "_call", lambda *a: sqlite_workers.fcntl.F_UNLCK)
        locks = WorkerLocks(f"{path}-workers")
        assert locks.identity is None
        assert not locks.take("a", 1)
        locks.close()


async def test_locks_of_whole_processes_work_too(monkeypatch):
    """What macOS and the BSDs have."""
    monkeypatch.setattr(sqlite_workers, "_open", sqlite_workers._ProcessLocks.shared)
    script = (
        "from durable_lite.stores import sqlite_workers as s; s._open = s._ProcessLocks.shared\n" + WORKER
    )
    with new_path() as path, process(path, script) as child:
        assert [await line(child), await line(child)] == ["lock", "ready"]
        async with opened(path) as store, opened(path) as other:
            assert await store.register_worker("a", "{}", NOW) == "lock"
            assert await other.register_worker("b", "{}", NOW) == "lock"
            for one in (store, other):
                assert await one.gone_workers(["a", "b", "theirs"]) == set()
            await other.close()
            assert await store.gone_workers(["a", "b", "theirs"]) == {"b"}
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            assert await store.gone_workers(["a", "b", "theirs"]) == {"b", "theirs"}
    assert sqlite_workers._ProcessLocks._open == {}


# The disk

DISK = """
import resource
from durable_lite.errors import StoreUnavailable

async def main():
    await store.open()
    await store.create_runs([run("before")])
    size = os.path.getsize(sys.argv[1] + "-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, resource.RLIM_INFINITY))
    failed = []
    for n in range(10):
        try:
            await store.create_runs([run(f"a{n}"), run(f"b{n}")._replace(payload="x" * 5_000)])
        except StoreUnavailable as error:
            failed.append(str(error))
    assert failed and all(sys.argv[1] in message for message in failed), failed
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.create_runs([run("after")])
    await store.close()
    print(json.dumps(failed), flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("durability", ["strict", "relaxed"])
async def test_a_full_disk_leaves_nothing_half_written(durability):
    with new_path() as path:
        async with opened(path):
            pass
        with process(path, DISK.replace("store.open()", f"open_as({durability!r})", 1).replace(
            "async def main", "async def open_as(d):\n    global store\n"
            "    store = SQLiteStore(sys.argv[1], durability=d)\n    await store.open()\nasync def main", 1
        )) as child:  # fmt: skip
            failed = json.loads(await line(child))
            assert "disk" in failed[0]
        ids = {id for (id,) in rows(path, "SELECT id FROM runs")}
        assert {"before", "after"} <= ids
        assert {f"b{id[1:]}" for id in ids if id[0] == "a" and id != "after"} <= ids
        assert len(ids) < 22
        assert rows(path, "SELECT count(*) FROM events") == [(len(ids),)]
        assert rows(path, "PRAGMA integrity_check") == [("ok",)]


READ_ONLY = """
from durable_lite.errors import StoreError

if os.getuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)

async def main():
    try:
        await store.open()
    except StoreError as error:
        print(json.dumps([type(error).__name__, str(error)]), flush=True)
    else:
        print('["opened", ""]', flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("file", "folder", "error", "words"),
    [
        (0o444, 0o777, "StoreUnavailable", "is read-only"),
        (0o000, 0o777, "StoreError", "can't be read"),
        (0o666, 0o555, "StoreUnavailable", "read-only"),
        (None, 0o555, "StoreUnavailable", "its directory"),
        (0o666, 0o777, "opened", ""),
    ],
)
async def test_what_may_not_be_written_says_so_at_open(file, folder, error, words):
    with new_path() as path:
        if file is not None:
            async with opened(path) as store:
                await store.create_runs([new_run()])
            path.chmod(file)
        path.parent.chmod(folder)
        try:
            with process(path, READ_ONLY) as child:
                found, message = json.loads(await line(child))
        finally:
            path.parent.chmod(0o777)
        assert found == error
        assert words in message
        assert error == "opened" or str(path) in message
