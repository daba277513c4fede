"""Opening a SQLite file: options, what may be wrong with it, and its schema through the versions."""

import sqlite3
import sys

import pytest

from durable_lite.errors import InvalidOption, SchemaTooNew, StoreError, StoreUnavailable
from durable_lite.status import Status
from durable_lite.stores import open_url, sqlite_connect, sqlite_schema
from durable_lite.stores.sqlite import SQLiteStore
from tests.conformance.build import NOW, bring, create, executing, step
from tests.conformance.state import everything
from tests.unit.sqlite_files import locked, new_path, opened, rows


async def refused(path, **options) -> StoreError:
    """The error of opening `path`, which leaves nothing open behind."""
    store = SQLiteStore(path, **options)
    with pytest.raises(StoreError) as caught:
        await store.open()
    assert str(path) in str(caught.value)
    assert store.connections == ()
    return caught.value


def execute(path, *statements):
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


# Options


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_an_unshared_database_is_no_store(path):
    with pytest.raises(InvalidOption, match="memory:"):
        SQLiteStore(path)


@pytest.mark.parametrize("durability", ["", "STRICT", "full", None])
def test_a_bad_durability_is_an_invalid_option(durability):
    with pytest.raises(InvalidOption) as caught:
        SQLiteStore("a.db", durability=durability)
    assert caught.value.option == "durability"


@pytest.mark.parametrize(("durability", "synchronous"), [("strict", 2), ("relaxed", 1)])
async def test_durability_is_a_pragma(durability, synchronous):
    async with opened(durability=durability) as store:
        for connection in store.connections:
            assert connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA busy_timeout").fetchone() == (0,)


async def test_a_url_names_the_file():
    with new_path() as path:
        store = open_url(f"sqlite:{path}")
        assert store.url == f"sqlite:{path}"
        await store.open()
        await store.close()
        assert path.exists()


async def test_a_file_where_wal_cannot_be_has_another_journal(monkeypatch):
    class NoSharedMemory(sqlite3.Connection):
        def execute(self, statement, *values):
            return super().execute(statement.replace("journal_mode = WAL", "journal_mode"), *values)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=NoSharedMemory, **k))
    async with opened() as store, opened(store.path) as other:
        assert rows(store.path, "PRAGMA journal_mode") == [("delete",)]  # truncate is a connection's own
        await executing(store)
        assert await other.save_step("r", 1, step("a", 3)) is None
        assert len(await store.load_checkpoints("r")) == 1


# What may be wrong with the file


async def test_a_missing_directory_is_named():
    with new_path() as path:
        assert "no directory" in str(await refused(path.parent / "missing" / "a.db"))


async def test_a_directory_is_no_file():
    with new_path() as path:
        assert "is a directory" in str(await refused(path.parent))


async def test_another_kind_of_file_is_refused():
    with new_path() as path:
        path.write_bytes(b"This is a letter, and a long one at that.\n" * 100)
        error = await refused(path)
        assert "not a SQLite database" in str(error)
        assert not isinstance(error, StoreUnavailable)
        assert path.read_bytes().startswith(b"This is a letter")


async def test_a_damaged_file_is_refused():
    with new_path() as path:
        async with opened(path) as store:
            await create(store)
        content = bytearray(path.read_bytes())
        content[100:4000] = b"\xff" * 3900
        path.write_bytes(content)
        assert "damaged" in str(await refused(path))


async def test_tables_of_others_are_left_alone():
    with new_path() as path:
        execute(path, "CREATE TABLE events (what TEXT)", "INSERT INTO events VALUES ('theirs')")
        assert "(events)" in str(await refused(path))
        assert rows(path, "SELECT * FROM events") == [("theirs",)]
        assert rows(path, "SELECT count(*) FROM sqlite_master") == [(1,)]


async def test_a_database_of_others_may_hold_a_store_too():
    with new_path() as path:
        execute(path, "CREATE TABLE invoices (number INTEGER)")
        async with opened(path) as store:
            await create(store)
        assert rows(path, "SELECT count(*) FROM invoices") == [(0,)]


async def test_an_old_sqlite_is_refused(monkeypatch):
    monkeypatch.setattr(sqlite_connect.sqlite3, "sqlite_version_info", (3, 36, 0))
    with new_path() as path, pytest.raises(StoreError, match=r"needs 3\.37\.0 or newer"):
        await SQLiteStore(path).open()


async def test_a_file_that_stays_locked_is_unavailable():
    with new_path() as path:
        execute(path, "PRAGMA journal_mode = WAL", "CREATE TABLE invoices (number INTEGER)")
        with locked(path):  # and setting it up has to write
            error = await refused(path, busy_limit=0.05)
        assert isinstance(error, StoreUnavailable)
        assert "another process has kept the file locked for 0.05 s" in str(error)
        async with opened(path) as store:
            await create(store)


# The schema


async def test_opening_twice_changes_nothing():
    with new_path() as path:
        async with opened(path) as store:
            await bring(store, Status.STALE)
            before = await everything(store)
        schema = rows(path, "SELECT type, name, sql FROM sqlite_master ORDER BY name")
        applied = rows(path, "SELECT * FROM _sqlite_migrations")
        async with opened(path) as store, opened(path) as other:
            await store.open()
            assert await everything(store) == await everything(other) == before
        assert rows(path, "SELECT type, name, sql FROM sqlite_master ORDER BY name") == schema
        assert rows(path, "SELECT * FROM _sqlite_migrations") == applied


async def test_a_current_schema_needs_no_sqlite_utils(monkeypatch):
    """It costs 100 ms to import, on the way from a restart to the first step."""
    with new_path() as path:
        async with opened(path):
            pass
        monkeypatch.setitem(sys.modules, "sqlite_utils", None)
        async with opened(path) as store:
            await create(store)


async def test_creating_one_without_sqlite_utils_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlite_utils", None)
    with new_path() as path:
        assert "sqlite-utils" in str(await refused(path))


async def test_a_newer_schema_that_this_code_may_use_is_used():
    with new_path() as path:
        async with opened(path) as store:
            await create(store)
        execute(
            path,
            "ALTER TABLE runs ADD COLUMN later TEXT",
            "UPDATE meta SET value = '99' WHERE key = 'schema'",
        )
        async with opened(path) as store:
            await create(store, "s", created_at=NOW + 1)
            assert [run.id for run in (await everything(store))["runs"]] != []
        assert rows(path, "SELECT value FROM meta WHERE key = 'schema'") == [("99",)]


async def test_a_newer_schema_that_this_code_must_not_touch_is_refused():
    with new_path() as path:
        async with opened(path):
            pass
        execute(
            path,
            "UPDATE meta SET value = '99'",
            "DROP TABLE tags",  # whatever else has changed
        )
        before = path.read_bytes()
        error = await refused(path)
        assert isinstance(error, SchemaTooNew)
        assert "upgrade durable_lite" in str(error)
        assert path.read_bytes() == before


async def test_an_upgrade_keeps_what_is_there(monkeypatch):
    original = sqlite_schema._migrations

    def one_more():
        migrations = original()

        @migrations()
        def second(db):
            db.execute("ALTER TABLE runs ADD COLUMN later TEXT")
            sqlite_schema._note(db, schema=2, min_reader=1)

        return migrations

    with new_path() as path:
        async with opened(path) as store:
            await bring(store, Status.FAILED)
            before = await everything(store)
        monkeypatch.setattr(sqlite_schema, "SCHEMA", 2)
        monkeypatch.setattr(sqlite_schema, "_migrations", one_more)
        async with opened(path) as store:
            assert await everything(store) == before
        monkeypatch.undo()
        assert rows(path, "SELECT value FROM meta ORDER BY key") == [("1",), ("2",)]
        async with opened(path) as store:  # the older code goes on
            assert await everything(store) == before


async def test_an_upgrade_that_fails_leaves_nothing(monkeypatch):
    original = sqlite_schema._migrations

    def broken():
        migrations = original()

        @migrations()
        def second(db):
            db.execute("CREATE TABLE half (done TEXT)")
            db.execute("INSERT INTO nowhere VALUES (1)")

        return migrations

    monkeypatch.setattr(sqlite_schema, "_migrations", broken)
    with new_path() as path:
        await refused(path)
        assert rows(path, "SELECT count(*) FROM sqlite_master") == [(0,)]
        monkeypatch.undo()
        async with opened(path) as store:
            await create(store)


async def test_the_stores_own_facts_are_not_for_callers():
    async with opened() as store:
        with pytest.raises(StoreError):
            await store.set_meta("min_reader", "99")


async def test_people_can_read_it():
    with new_path() as path:
        async with opened(path) as store:
            await executing(store, tags='["nightly"]')
            await store.save_step("r", 1, step("a", 3))
        assert rows(path, "SELECT id, status, created, started, finished FROM runs_readable") == [
            ("r", "EXECUTING", "1970-01-01T00:16:40.000Z", "1970-01-01T00:16:40.000Z", None)
        ]
        assert rows(path, "SELECT path, finished, seconds FROM steps_readable") == [
            ("a", "1970-01-01T00:16:40.500Z", 0.5)
        ]
        types = [type for (type,) in rows(path, "SELECT type FROM events_readable ORDER BY seq")]
        assert types == ["run.triggered", "run.claimed", "step.completed"]
        assert rows(path, "SELECT tag, run_id FROM tags") == [("nightly", "r")]
