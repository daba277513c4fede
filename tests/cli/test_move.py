"""`durable-lite runs export|import`: a run goes on from one file to another, in the middle."""

import json

import pytest

from tests.cli.support import invoke, one_line, parsed, succeed, with_app


@pytest.fixture
def there(tmp_path):
    return tmp_path / "there.db"


@pytest.fixture
def waiting(jobs, db):
    """A run that has failed once and waits for its next attempt; its id."""
    from durable_lite.cli.load import load_jobs

    async def trigger(app):
        run = await app.trigger("later")
        await app.run_until_idle()
        return run.id

    return with_app(db, load_jobs([str(jobs)]).all, trigger)


def status(run_id, db):
    return parsed("runs", "show", run_id, "--db", db)["status"]


def test_through_a_file(waiting, jobs, db, there, tmp_path):
    file = tmp_path / "run.json"
    done = succeed("runs", "export", waiting[:20], "--db", db, "--out", file)
    assert done.stdout == (
        f"{waiting} of later is MOVED. To go on with it: durable-lite runs import {file}\n"
    )
    assert status(waiting, db) == "MOVED"
    done = succeed("runs", "import", file, "--db", there)
    assert done.stdout.startswith(
        f"{waiting} of later is WAITING. To execute it: durable-lite worker FILE.py --db "
    )
    done = succeed("run", f"{jobs}:later", "--db", there)
    assert json.loads(done.stdout) == "done"
    told = parsed("runs", "show", waiting, "--db", there)
    assert (told["status"], told["attempt"]) == ("COMPLETED", 2)
    assert [log["attempt"] for log in told["logs"]] == [1, 2]
    assert "run.moved" in succeed("runs", "show", waiting, "--db", there).stdout
    assert "MOVED" in succeed("runs", "list", "--db", db, "--status", "moved").stdout


def test_through_a_pipe_and_twice(waiting, db, there):
    document = succeed("runs", "export", waiting, "--db", db).stdout
    assert json.loads(document)["run"]["id"] == waiting
    assert document.isascii()
    assert succeed("runs", "export", waiting, "--db", db).stdout == document
    for _ in range(2):
        succeed("runs", "import", "-", "--db", there, input=document)
    assert [run["id"] for run in parsed("runs", "list", "--db", there)["runs"]] == [waiting]
    succeed("runs", "import", "-", "--db", db, input=document)  # and it is back
    assert status(waiting, db) == "WAITING"


def test_a_file_that_is_there_is_not_lost(waiting, db, tmp_path):
    file = tmp_path / "precious.json"
    file.write_text("precious")
    done = invoke("runs", "export", waiting, "--db", db, "--out", file)
    assert done.exit_code == 2
    assert one_line(done) == f"durable-lite: --out: {file}: File exists"
    assert file.read_text() == "precious"
    assert status(waiting, db) == "WAITING"


def test_an_export_that_fails_leaves_no_file(waiting, db, tmp_path):
    file = tmp_path / "run.json"
    succeed("runs", "cancel", waiting, "--db", db)
    done = invoke("runs", "export", waiting, "--db", db, "--out", file)
    assert done.exit_code == 1
    assert one_line(done) == f"durable-lite: run {waiting} is CANCELLED and can't become MOVED"
    assert not file.exists()


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"{}", 1, "format: is missing"),
        (b"", 1, "document: not JSON: "),
        (b'{"format": 2}', 1, "format: this durable_lite reads format 1, got float 2.0"),
        (b"\xff", 2, "not UTF-8: "),
        (None, 2, "No such file or directory"),
    ],
)
def test_what_is_no_document(there, tmp_path, content, code, message):
    file = tmp_path / "run.json"
    if content is not None:
        file.write_bytes(content)
    done = invoke("runs", "import", file, "--db", there)
    assert done.exit_code == code
    assert one_line(done).startswith(f"durable-lite: {file}: {message}")


def test_a_conflict(waiting, db, there):
    document = succeed("runs", "export", waiting, "--db", db).stdout
    succeed("runs", "import", "-", "--db", there, input=document)
    succeed("runs", "export", waiting, "--db", there)
    done = invoke("runs", "import", "-", "--db", there, input=document)
    assert done.exit_code == 1
    assert one_line(done) == f"durable-lite: run {waiting} can't be imported: it has moved on from here since"


def test_there_is_no_importing_into_memory(waiting, db):
    document = succeed("runs", "export", waiting, "--db", db).stdout
    done = invoke("runs", "import", "-", "--db", "memory:", input=document)
    assert done.exit_code == 2
    assert "memory: is empty in every new process" in one_line(done)
