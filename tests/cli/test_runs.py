"""`durable-lite runs`: listing, showing and steering, without the job's file."""

import json
import os
import sqlite3
import stat

import pytest

from durable_lite.cli import options
from tests.cli.support import invoke, one_line, parsed, succeed, with_app, write_jobs

ROUNDS = """
from durable_lite import Context, job

@job
async def rounds(ctx: Context) -> None:
    for number in range(4):
        await ctx.step(f"step-{number}", str, number)
        await ctx.sleep(f"pause-{number}", "1ms")
"""


@pytest.fixture
def many(jobs, db):
    """Five runs of `export` by pages 1 to 5, tagged, PENDING; their ids in order."""
    from durable_lite.cli.load import load_jobs

    async def trigger(app):
        return [
            (await app.trigger("export", {"org": "a", "pages": n}, tags=[f"n{n}", "all"])).id
            for n in range(1, 6)
        ]

    ids = with_app(db, load_jobs([str(jobs)]).all, trigger)
    jobs.unlink()
    return ids


@pytest.fixture
def failed(jobs, db):
    invoke("run", f"{jobs}:fails", "--db", db)
    return parsed("runs", "list", "--db", db)["runs"][0]["id"]


class TestList:
    def test_pages(self, many, db):
        first = parsed("runs", "list", "--db", db, "--limit", 3)
        second = parsed("runs", "list", "--db", db, "--limit", 3, "--cursor", first["cursor"])
        assert [run["id"] for run in first["runs"] + second["runs"]] == many[::-1]
        assert second["cursor"] is None

    def test_filters(self, many, db):
        succeed("runs", "cancel", many[0], "--db", db)

        def ids(*args):
            return [run["id"] for run in parsed("runs", "list", "--db", db, *args)["runs"]]

        assert ids("--status", "cancelled") == many[:1]
        assert ids("--status", "CANCELLED", "--status", "PENDING") == many[::-1]
        assert ids("--tag", "n3") == [many[2]]
        assert ids("--job", "export", "--tag", "all", "--status", "pending") == many[:0:-1]
        assert ids("--job", "other") == []
        assert ids("--tag", "n3", "--tag", "all") == [many[2]]
        assert ids("--tag", "n3", "--tag", "n2") == []

    def test_search(self, many, db):
        told = parsed("runs", "list", "--db", db, "--search", '"pages":3', "--tag", "all")
        assert [run["id"] for run in told["runs"]] == [many[2]]
        assert (told["searched"], told["cursor"]) == (5, None)
        assert succeed("runs", "list", "--db", db, "--search", "z-z").stdout.startswith(
            "No such runs among the newest 5 in"
        )

    def test_for_people(self, many, db):
        done = succeed("runs", "list", "--db", db, "--limit", 2)
        head, *rows = done.stdout.splitlines()
        assert head.split() == ["RUN", "JOB", "STATUS", "PROGRESS", "CREATED", "TOOK", "TAGS"]
        assert [row.split()[:3] for row in rows] == [[run_id, "export", "PENDING"] for run_id in many[:2:-1]]
        assert "There may be more: --cursor " in done.stderr

    @pytest.mark.parametrize("columns", ["72", "80", "100"])
    def test_ids_and_statuses_are_never_cut(self, many, db, monkeypatch, columns):
        monkeypatch.setenv("COLUMNS", columns)
        shown = succeed("runs", "list", "--db", db).stdout
        assert all(run_id in shown for run_id in many)
        assert shown.count("PENDING") == 5
        assert max(map(len, shown.splitlines())) <= int(columns)

    def test_none(self, many, db):
        assert succeed("runs", "list", "--db", db, "--job", "x").stdout == f"No such runs in sqlite:{db}.\n"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--cursor", "nonsense"], "cursor: 'nonsense' didn't come from list_runs"),
            (["--status", "DONE"], "Invalid value for '--status': 'DONE' is not one of "),
            (["--limit", "0"], "Invalid value for '--limit': "),
        ],
    )
    def test_wrong_options(self, many, db, arguments, message):
        done = invoke("runs", "list", "--db", db, *arguments)
        assert done.exit_code == 2
        assert one_line(done).startswith(f"durable-lite: {message}")


class TestShow:
    def test_json(self, failed, db):
        told = parsed("runs", "show", failed, "--db", db)
        assert told["status"] == "FAILED"
        assert told["error"]["message"] == "no such page"
        assert [(step["path"], step["state"], step["output"]) for step in told["steps"]] == [
            ("fine", "completed", "fine"),
            ("bad", "failed", None),
        ]
        types = [event["type"] for event in told["events"]]
        assert types == ["run.triggered", "run.claimed", "step.completed", "step.failed", "run.failed"]
        assert [event["seq"] for event in told["events"]] == [1, 2, 3, 4, 5]
        assert told["logs"] == []

    def test_json_can_be_limited(self, failed, db):
        told = parsed("runs", "show", failed, "--db", db, "--limit", 1)
        assert [step["path"] for step in told["steps"]] == ["bad"]
        assert [event["type"] for event in told["events"]] == ["run.failed"]

    def test_the_last_ones_are_those_that_began_last_waits_too(self, tmp_path, db):
        jobs = write_jobs(tmp_path, ROUNDS, "rounds.py")
        run_id = parsed("run", f"{jobs}:rounds", "--db", db)["id"]
        told = parsed("runs", "show", run_id, "--db", db, "--limit", 3)
        assert [step["path"] for step in told["steps"]] == ["pause-2", "step-3", "pause-3"]

    def test_logs(self, jobs, db):
        run_id = parsed("run", f"{jobs}:flaky", "--db", db)["id"]
        logs = parsed("runs", "show", run_id, "--db", db)["logs"]
        assert [(log["attempt"], log["level"], log["message"], log["fields"]) for log in logs] == [
            (1, "warning", "careful", {"attempt": 1}),
            (2, "warning", "careful", {"attempt": 2}),
        ]
        shown = succeed("runs", "show", run_id, "--db", db).stdout
        assert "warning: careful attempt=2" in shown
        assert "done, failed 1×" in shown
        assert "nap" in shown

    def test_for_people(self, failed, db):
        shown = succeed("runs", "show", failed, "--db", db).stdout
        for text in (
            "FAILED",
            "STEPS: 2",
            "EVENTS: 4",
            "ValueError: no such page",
            "--traceback shows where",
        ):
            assert text in shown
        assert "in bad" not in shown

    def test_traceback(self, failed, db):
        shown = succeed("runs", "show", failed, "--db", db, "--traceback").stdout
        assert "in bad" in shown
        assert 'raise ValueError("no such page")' in shown

    @pytest.mark.parametrize("columns", ["80", "120"])
    def test_it_fits(self, failed, db, monkeypatch, columns):
        monkeypatch.setenv("COLUMNS", columns)
        shown = succeed("runs", "show", failed, "--db", db).stdout
        assert max(map(len, shown.splitlines())) <= int(columns)


class TestIds:
    def test_a_beginning_will_do(self, failed, db):
        for length in (4, 10, 20, 25, 26):
            assert parsed("runs", "show", failed[:length], "--db", db)["id"] == failed
        assert parsed("runs", "show", failed.upper(), "--db", db)["id"] == failed

    def test_an_ambiguous_one_will_not(self, many, db):
        common = os.path.commonprefix(many)  # noqa: RUF071  not paths
        done = invoke("runs", "cancel", common, "--db", db)
        assert done.exit_code == 2
        assert f"{common}: several ids begin so, " in one_line(done)

    @pytest.mark.parametrize(
        ("run_id", "message"),
        [
            ("0" * 26, "no run has this id"),
            ("01zz", "no run's id begins so"),
            ("01", "give at least 4 characters of the run's id"),
            ("what?", "no run has this id"),
        ],
    )
    @pytest.mark.parametrize("command", ["show", "cancel", "resume", "replay", "delete"])
    def test_unknown(self, failed, db, command, run_id, message):
        done = invoke("runs", command, run_id, "--db", db)
        assert done.exit_code == 2
        assert one_line(done) == f"durable-lite: {run_id}: {message}"


class TestSteering:
    def status(self, db, run_id):
        return parsed("runs", "show", run_id, "--db", db)["status"]

    def test_cancel(self, many, db):
        assert "is CANCELLED" in succeed("runs", "cancel", many[0], "--db", db).stdout
        assert self.status(db, many[0]) == "CANCELLED"
        done = invoke("runs", "cancel", many[0], "--db", db)
        assert done.exit_code == 1
        assert "is CANCELLED" in one_line(done)

    def test_resume(self, failed, db):
        told = succeed("runs", "resume", failed, "--db", db).stdout
        assert f"To execute it: durable-lite worker FILE.py --db {db}" in told
        assert self.status(db, failed) == "PENDING"
        assert invoke("runs", "resume", failed, "--db", db).exit_code == 1

    def test_replay_needs_no_job(self, many, db):
        told = succeed("runs", "replay", many[1], "--db", db).stdout
        new = parsed("runs", "show", told.split()[0], "--db", db)
        old = parsed("runs", "show", many[1], "--db", db)
        assert (new["status"], new["payload"], new["tags"]) == ("PENDING", old["payload"], ["all", "n2"])
        assert new["trigger"] == {"kind": "replay", "of": many[1]}

    def test_replay_with_another_payload(self, many, db):
        payload = '{"org": "b", "pages": 7}'
        told = succeed("runs", "replay", many[1], "--db", db, "--payload", payload).stdout
        assert parsed("runs", "show", told.split()[0], "--db", db)["payload"] == json.loads(payload)

    def test_replay_with_the_job_checks_the_payload(self, many, db, tmp_path):
        write_jobs(tmp_path)
        done = invoke("runs", "replay", many[1], "jobs.py", "--db", db, "--payload", '{"org": 1}')
        assert done.exit_code == 1
        assert one_line(done).startswith("durable-lite: --payload: $.org: ")
        assert len(parsed("runs", "list", "--db", db)["runs"]) == 5
        succeed("runs", "replay", many[1], "jobs.py", "--db", db)
        assert len(parsed("runs", "list", "--db", db)["runs"]) == 6

    def test_replay_with_a_file_without_the_job(self, many, db, tmp_path):
        write_jobs(tmp_path, "from durable_lite import job\n@job\nasync def other(ctx): ...", "more.py")
        done = invoke("runs", "replay", many[1], "more.py", "--db", db)
        assert done.exit_code == 2
        assert one_line(done) == "durable-lite: more.py: no job is named 'export'; there is other"

    def test_delete(self, failed, db):
        done = invoke("runs", "delete", failed, "--db", db)
        assert done.exit_code == 2
        assert "--yes" in one_line(done)
        assert f"{failed} of fails (FAILED" in succeed("runs", "delete", failed, "--yes", "--db", db).stdout
        assert invoke("runs", "show", failed, "--db", db).exit_code == 2

    @pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("", 1)])
    def test_delete_asks(self, failed, db, monkeypatch, answer, code):
        monkeypatch.setattr("durable_lite.cli.steer.asks", lambda: True)
        done = invoke("runs", "delete", failed, "--db", db, input=answer)
        assert done.exit_code == code
        assert f"Delete {failed} of fails (FAILED" in done.output
        assert "Traceback" not in done.output
        assert (invoke("runs", "show", failed, "--db", db).exit_code == 0) is bool(code)

    def test_an_unfinished_run_is_not_deleted(self, many, db):
        done = invoke("runs", "delete", many[0], "--yes", "--db", db)
        assert done.exit_code == 1
        one_line(done)
        assert self.status(db, many[0]) == "PENDING"

    def test_purge(self, many, db, monkeypatch):
        monkeypatch.setattr("durable_lite.cli.steer._BATCH", 2)
        for run_id in many[:4]:
            succeed("runs", "cancel", run_id, "--db", db)
        assert "0 runs removed" in succeed("runs", "purge", "--older-than", "1h", "--db", db).stdout
        done = succeed("runs", "purge", "--older-than", "0", "--limit", 1, "--db", db)
        assert done.stdout == "1 run removed, finished more than 0s ago.\n"
        assert "3 runs removed" in succeed("runs", "purge", "--older-than", "0", "--db", db).stdout
        assert [run["id"] for run in parsed("runs", "list", "--db", db)["runs"]] == many[4:]

    @pytest.mark.parametrize("length", ["soon", "-1d", "", "nan", "1e9", "³"])
    def test_purge_wants_a_duration(self, many, db, length):
        done = invoke("runs", "purge", "--older-than", length, "--db", db)
        assert done.exit_code == 2
        assert "'--older-than'" in one_line(done)


class TestStore:
    """Every command that steers says what is wrong with the file, in a line, with exit code 3."""

    COMMANDS = pytest.mark.parametrize(
        "command",
        [["list"], ["show", "01zz"], ["cancel", "01zz"], ["purge", "--older-than", "1d"]],
        ids=lambda command: command[0],
    )

    def refused(self, db, command):
        done = invoke("runs", *command, "--db", db)
        assert done.exit_code == 3
        assert str(db) in one_line(done)
        return one_line(done)

    @COMMANDS
    def test_missing(self, db, command):
        assert "there is no such file" in self.refused(db, command)
        assert not db.exists()

    @COMMANDS
    def test_not_a_database(self, db, command):
        db.write_bytes(b"not a database, and long enough to show it " * 100)
        assert "is not a SQLite database" in self.refused(db, command)

    def test_another_database(self, db):
        with sqlite3.connect(db) as connection:
            connection.execute("CREATE TABLE runs (id)")
        connection.close()
        done = invoke("runs", "list", "--db", db)
        assert done.exit_code == 3
        one_line(done)

    def test_locked(self, many, db, monkeypatch):
        monkeypatch.setattr(options, "BUSY_LIMIT", 0.2)
        other = sqlite3.connect(db, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            assert "another process has kept the file locked" in self.refused(db, ["cancel", many[0]])
        finally:
            other.close()

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_read_only(self, many, db):
        db.chmod(stat.S_IRUSR)
        assert "is read-only" in self.refused(db, ["cancel", many[0]])

    def test_memory(self):
        done = invoke("runs", "list", "--db", "memory:")
        assert done.exit_code == 2
        assert one_line(done) == "durable-lite: --db: memory: is empty in every new process; name a file"

    @pytest.mark.parametrize("url", ["indexeddb:x", "mysql://x/y", ""])
    def test_no_store(self, url):
        done = invoke("runs", "list", "--db", url)
        assert done.exit_code == 2
        one_line(done)
