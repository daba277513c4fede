"""The example of the README: exporting invoices, interrupted wherever that is possible."""

import ast
import csv
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from email import message_from_bytes
from itertools import count
from pathlib import Path

import pytest

from durable_lite import Durable, EventType, RunFailed
from durable_lite.stores import open_url
from durable_lite.testing import crash_points
from examples.invoices import database, jobs

INVOICES, PAGE = 330, 100
FOLDER = Path(jobs.__file__).parent


@pytest.fixture(scope="module")
def invoices(tmp_path_factory):
    path = tmp_path_factory.mktemp("invoices") / "invoices.db"
    database.generate(path, INVOICES)
    return path


def export(invoices: Path, folder: Path, **changes):
    wanted = {
        "organisation": database.ORGANISATION,
        "database": str(invoices),
        "folder": str(folder / "exports"),
        "outbox": str(folder / "outbox"),
        "page_size": PAGE,
        "pause": "1ms",
    }
    return jobs.Export(**wanted | changes)


def rows_of(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def rows_wanted(invoices: Path, organisation: str = database.ORGANISATION) -> list[list[str]]:
    query = f"SELECT {', '.join(jobs.COLUMNS)} FROM invoices WHERE organisation_id = ? ORDER BY id"
    with closing(sqlite3.connect(invoices)) as db:
        rows = db.execute(query, [organisation]).fetchall()
    return [list(jobs.COLUMNS), *(["" if value is None else str(value) for value in row] for row in rows)]


def everything_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


async def test_every_invoice_is_in_the_file_and_one_mail_has_the_link(invoices, tmp_path):
    async with Durable("memory:", [jobs]) as app:
        run = await app.trigger(jobs.export_invoices, export(invoices, tmp_path))
        done = await run.result()
        assert isinstance(done, jobs.Exported)
        assert rows_of(Path(done.file)) == rows_wanted(invoices)
        assert done.rows == INVOICES
        [path] = (tmp_path / "outbox").iterdir()
        mail = message_from_bytes(path.read_bytes())
        assert str(path) == done.mail
        assert run.id in mail["Message-ID"]
        assert Path(done.file).as_uri() in mail.get_payload()

        await run.refresh()
        assert run.progress == {"current": INVOICES, "total": INVOICES, "message": "page 4 of 4"}
        assert run.metadata == {"organisation": "Acme Aktiebolag", "file": done.file}
        assert [line.message for line in await app.logs(run.id)] == ["planned", "written"]
        names = [step.path for step in await app.steps(run.id) if step.kind == "step"]
        assert names == ["plan", "page-1", "page-2", "page-3", "page-4", "join", "mail", "tidy"]
    assert everything_in(tmp_path) == [f"exports/invoices-{run.id}.csv", f"outbox/invoices-{run.id}.eml"]


@pytest.mark.parametrize("organisation", ["muller", "sakura", "oneill", "zolw", "nile"])
async def test_an_organisation_gets_its_own_invoices_only(invoices, tmp_path, organisation):
    async with Durable("memory:", [jobs]) as app:
        run = await app.trigger(jobs.export_invoices, export(invoices, tmp_path, organisation=organisation))
        done = await run.result()
    rows = rows_of(Path(done.file))
    assert rows == rows_wanted(invoices, organisation)
    assert all(row[0].startswith(f"{organisation}-") for row in rows[1:])


@pytest.mark.parametrize(("kind", "always_replay"), [("memory", False), ("memory", True), ("sqlite", False)])
async def test_dying_before_and_after_each_store_call(invoices, tmp_path, monkeypatch, kind, always_replay):
    small, folders, current, sent = tmp_path / "small.db", count(), tmp_path, []
    database.generate(small, 12)
    write = jobs.appearing

    def appearing(path: Path):
        if path.suffix == ".eml":
            sent.append(path)
        return write(path)

    def store():
        nonlocal current
        current = tmp_path / str(next(folders))
        current.mkdir()
        sent.clear()
        return open_url("memory:" if kind == "memory" else f"sqlite:{current / 'durable.db'}", "relaxed")

    async def scenario(world):
        async with world.durable([jobs]) as app:
            wanted = export(small, current, page_size=10, pause="1m")
            run = await app.trigger(jobs.export_invoices, wanted, idempotency_key="today")
            done = await world.clock.run(run.result())
            names = [
                name.replace(run.id, "RUN") for name in everything_in(current) if "durable.db" not in name
            ]
            return names, rows_of(Path(done.file)) == rows, done.rows, done.sha256, len(sent)

    rows = rows_wanted(small)
    monkeypatch.setattr(jobs, "appearing", appearing)
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # no power is lost here
    report = await crash_points(scenario, store=store, always_replay=always_replay)
    names, same, number, _, mails = report.outcome
    assert names == ["exports/invoices-RUN.csv", "outbox/invoices-RUN.eml"]
    assert same
    assert (number, mails) == (12, 1)
    assert report.crashes >= 2 * 6  # there are six steps


def test_a_mail_that_is_in_the_outbox_is_not_sent_again(tmp_path):
    wanted = export(tmp_path / "no.db", tmp_path)
    plan = jobs.Plan("Acme", "accounts@acme.example", 1, [])
    done = jobs.Exported(str(tmp_path / "a.csv"), 1, "", str(tmp_path / "outbox" / "invoices-1.eml"))
    assert jobs.mail_link(wanted, plan, done, 0.0) is True
    before = Path(done.mail).stat()
    assert jobs.mail_link(wanted, plan, done, 0.0) is False
    assert Path(done.mail).stat() == before


async def test_parts_that_are_not_on_this_machine_are_written_again(invoices, tmp_path):
    def lose(event):
        if event.type == EventType.STEP_STARTED and event.data["path"] == "join":
            first, *_ = (tmp_path / "exports").glob(".*.parts/*")
            first.unlink()

    async with Durable("memory:", [jobs]) as app:
        app.listen(lose)
        run = await app.trigger(jobs.export_invoices, export(invoices, tmp_path))
        done = await run.result()
    assert rows_of(Path(done.file)) == rows_wanted(invoices)


async def test_an_invoice_that_changed_meanwhile_is_no_silent_mixture(tmp_path):
    path = tmp_path / "invoices.db"
    database.generate(path, 50)

    def change(event):
        if event.type == EventType.STEP_STARTED and event.data["path"] == "join":
            for part in (tmp_path / "exports").glob(".*.parts/*"):
                part.unlink()
            with closing(sqlite3.connect(path)) as db, db:
                db.execute("UPDATE invoices SET note = 'changed'")

    async with Durable("memory:", [jobs]) as app:
        app.listen(change)
        run = await app.trigger(jobs.export_invoices, export(path, tmp_path))
        with pytest.raises(RunFailed, match="have changed since"):
            await run.result()


async def test_invoices_issued_during_the_export_are_left_to_the_next_one(tmp_path):
    path = tmp_path / "invoices.db"
    database.generate(path, 50)
    wanted = rows_wanted(path)

    def issue(event):
        if event.type == EventType.STEP_STARTED and event.data["path"] == "page-2":
            with closing(sqlite3.connect(path)) as db, db:
                columns = ", ".join(("organisation_id", *jobs.COLUMNS[1:]))
                db.execute(
                    f"INSERT INTO invoices (number, {columns}) "
                    f"SELECT number || '-new', {columns} FROM invoices WHERE organisation_id = 'acme' LIMIT 5"
                )

    async with Durable("memory:", [jobs]) as app:
        app.listen(issue)
        run = await app.trigger(jobs.export_invoices, export(path, tmp_path, page_size=20))
        done = await run.result()
    assert rows_of(Path(done.file)) == wanted
    assert len(rows_wanted(path)) == len(wanted) + 5


async def test_a_locked_database_is_tried_again(tmp_path):
    path = tmp_path / "invoices.db"
    database.generate(path, 20)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")

        def unlock(event):
            if event.type == EventType.STEP_FAILED:
                other.execute("COMMIT")

        async with Durable("memory:", [jobs]) as app:
            run = await app.trigger(jobs.export_invoices, export(path, tmp_path))
            async for event in run.events():
                unlock(event)
            await run.result()
            failed = [event async for event in run.events() if event.type == EventType.STEP_FAILED]
            assert [event.data["error"]["type"] for event in failed] == ["OperationalError"]
            assert run.attempt == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"database": "nowhere.db"}, "unable to open"),
        ({"database": __file__}, "file is not a database"),
        ({"organisation": "nobody"}, "has no organisation 'nobody'"),
        ({"page_size": 0}, "page_size"),
    ],
)
async def test_what_no_other_try_can_help_fails_at_once(invoices, tmp_path, changes, message):
    async with Durable("memory:", [jobs]) as app:
        run = await app.trigger(jobs.export_invoices, export(invoices, tmp_path, **changes))
        with pytest.raises(RunFailed, match=message):
            await run.result()
        assert [step.failures for step in await app.steps(run.id)] == [1]
        assert run.attempt == 1


def test_the_job_needs_the_standard_library_only():
    tree = ast.parse((FOLDER / "jobs.py").read_text())
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add((node.module or "").partition(".")[0])
    assert modules - {"durable_lite"} <= sys.stdlib_module_names


def test_the_database_is_the_same_each_time(tmp_path):
    def content(path):
        database.generate(path, 1000)
        with closing(sqlite3.connect(path)) as db:
            return list(db.iterdump())

    assert content(tmp_path / "a.db") == content(tmp_path / "b.db")


def test_the_demo_kills_twice_and_holds_what_it_claims(tmp_path):
    command = [sys.executable, FOLDER / "demo.py", "--invoices", "5000", "--folder", tmp_path / "demo"]
    demo = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    for text in (
        "kill -9",
        "104 steps executed",
        "0 steps executed again once their result was stored",
        "5,000 rows in the CSV file, 5,000 in the database, the same",
        "1 mail in the outbox, to accounts@acme.example",
        "durable-lite runs show",
    ):
        assert text in demo.stdout
    assert demo.stdout.count("kill -9") == 2
    assert "NO " not in demo.stdout
