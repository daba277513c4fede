"""`durable-lite run`, in this process: output, exit codes, the same command again."""

import json

import pytest

from tests.cli.support import invoke, one_line, parsed, succeed, with_app


def ids(db, **filter):
    async def listed(app):
        return [run.id for run in (await app.list_runs(**filter)).runs]

    return with_app(db, [], listed)


class TestOutput:
    def test_the_output_is_the_only_thing_on_stdout(self, jobs, db, effects):
        done = succeed("run", f"{jobs}:export", "--payload", '{"org": "acme", "pages": 3}', "--db", db)
        assert json.loads(done.stdout) == {"rows": 3, "name": "Müller"}
        assert "Müller" in done.stdout
        assert effects() == ["acme 0", "acme 1", "acme 2"]
        assert "completed in" in done.stderr
        assert "3 steps" in done.stderr

    def test_what_the_job_prints_goes_to_stderr(self, jobs, db):
        done = succeed("run", f"{jobs}:prints", "--db", db)
        assert json.loads(done.stdout) == [1, [2, 3]]
        assert "for people" in done.stderr

    def test_json(self, jobs, db):
        told = parsed(
            "run", f"{jobs}:export", "--payload", '{"org": "acme", "pages": 1}', "--db", db, "--tag", "x"
        )
        assert told["status"] == "COMPLETED"
        assert told["disposition"] == "created"
        assert told["output"] == {"rows": 1, "name": "Müller"}
        assert told["error"] is None
        assert told["progress"] == {"current": 1, "total": 1, "message": None}
        assert told["tags"] == ["x"]
        assert told["id"] == ids(db, tag="x")[0]

    def test_json_of_a_failure(self, jobs, db):
        done = invoke("run", f"{jobs}:fails", "--db", db, "--json")
        assert done.exit_code == 1
        told = json.loads(done.stdout)
        assert told["status"] == "FAILED"
        assert told["error"]["type"] == "ValueError"
        assert "no such page" in told["error"]["traceback"]

    def test_progress_in_plain_lines(self, jobs, db):
        done = succeed("run", f"{jobs}:flaky", "--db", db)
        lines = "\n".join(line[9:] for line in done.stderr.splitlines())
        assert "warning: careful attempt=1" in lines
        assert "failed: ValueError: not yet; attempt 2 in " in lines
        assert "step try failed: OSError: first try; again at " in lines
        assert "step try done in" in lines
        assert "waiting: nap until" in lines

    def test_progress_with_numbers(self, jobs, db):
        done = succeed("run", f"{jobs}:export", "--payload", '{"org": "acme", "pages": 2}', "--db", db)
        assert "progress 2/2" in done.stderr
        assert "step page-0 done in" in done.stderr
        assert "\x1b" not in done.stderr


class TestExitCodes:
    def test_failed(self, jobs, db):
        done = invoke("run", f"{jobs}:fails", "--db", db)
        assert done.exit_code == 1
        assert done.stdout == ""
        run_id = ids(db)[0]
        assert "ValueError: no such page" in done.stderr
        assert f"durable-lite runs resume {run_id} --db {db}" in done.stderr
        assert f"durable-lite runs show {run_id} --traceback --db {db}" in done.stderr
        assert "Traceback" not in done.stderr

    def test_invalid_payload(self, jobs, db):
        done = invoke("run", f"{jobs}:export", "--payload", '{"org": 1}', "--db", db)
        assert done.exit_code == 1
        assert "--payload: $.org: " in one_line(done)
        assert "$.pages: " in one_line(done)
        assert not db.exists()

    def test_store_unavailable(self, jobs, tmp_path):
        path = tmp_path / "text.db"
        path.write_text("this is no database, it is a text of some length" * 100)
        done = invoke("run", f"{jobs}:prints", "--db", path)
        assert done.exit_code == 3
        assert str(path) in one_line(done)


class TestAgain:
    def test_a_completed_run_is_done_anew(self, jobs, db):
        command = ("run", f"{jobs}:export", "--payload", '{"org": "acme", "pages": 1}', "--db", db)
        first, second = parsed(*command), parsed(*command)
        assert first["id"] != second["id"]

    @pytest.mark.parametrize("payload", ['{"pages": 2, "org": "a"}', ' {"org":"a","pages":2} '])
    def test_an_unfinished_run_of_the_same_payload_is_gone_on_with(self, jobs, db, payload):
        async def trigger(app):
            return (await app.trigger(jobs_of(jobs)["export"], {"org": "a", "pages": 2})).id

        run_id = with_app(db, list(jobs_of(jobs).values()), trigger)
        done = succeed("run", f"{jobs}:export", "--payload", payload, "--db", db, "--json")
        assert json.loads(done.stdout)["id"] == run_id
        assert json.loads(done.stdout)["disposition"] == "resumed"
        assert f"run {run_id} of export is PENDING: going on with it" in done.stderr

    def test_another_payload_is_another_run(self, jobs, db):
        async def trigger(app):
            return (await app.trigger("export", {"org": "a", "pages": 2}, delay="1h")).id

        run_id = with_app(db, list(jobs_of(jobs).values()), trigger)
        told = parsed("run", f"{jobs}:export", "--payload", '{"org": "b", "pages": 2}', "--db", db)
        assert told["id"] != run_id

    def test_new(self, jobs, db):
        async def trigger(app):
            return (await app.trigger("export", {"org": "a", "pages": 2}, delay="1h")).id

        run_id = with_app(db, list(jobs_of(jobs).values()), trigger)
        told = parsed("run", f"{jobs}:export", "--payload", '{"org": "a", "pages": 2}', "--new", "--db", db)
        assert told["id"] != run_id
        assert told["disposition"] == "created"

    def test_a_failed_run_is_not_gone_on_with_but_told_of(self, jobs, db, tmp_path, effects):
        command = ("run", f"{jobs}:fails", "--db", db)
        invoke(*command)
        first = ids(db)[0]
        done = invoke(*command)
        assert (
            f"the last such run FAILED; to go on with that one instead: durable-lite runs resume {first}"
            in done.stderr
        )
        assert len(ids(db)) == 2
        succeed("runs", "resume", first, "--db", db)
        (tmp_path / "go").touch()
        done = succeed(*command, "--json")
        assert json.loads(done.stdout)["id"] == first
        assert effects() == ["fine", "fine", "bad is good"], "the resumed run repeats no finished step"

    def test_the_environment_names_the_database(self, jobs, db):
        succeed("run", f"{jobs}:prints", env={"DURABLE_LITE_DB": str(db)})
        assert len(ids(db)) == 1
        failed = invoke("run", f"{jobs}:fails", env={"DURABLE_LITE_DB": str(db)})
        assert "--db" not in failed.stderr

    def test_a_url_names_a_store(self, jobs):
        assert json.loads(succeed("run", f"{jobs}:prints", "--db", "memory:").stdout)[0] == 1

    def test_others_of_the_job_are_told_of(self, jobs, db):
        async def trigger(app):
            return (await app.trigger("export", {"org": "a", "pages": 2})).id

        other = with_app(db, list(jobs_of(jobs).values()), trigger)
        done = succeed("run", f"{jobs}:export", "--payload", '{"org": "b", "pages": 2}', "--db", db)
        assert f"run {other} of export was unfinished too" in done.stderr


class TestPayload:
    EXPECTED = ("acme 0",)

    def test_from_a_file(self, jobs, db, tmp_path, effects):
        (tmp_path / "payload.json").write_text('{"org": "acme", "pages": 1}')
        succeed("run", f"{jobs}:export", "--payload", "@payload.json", "--db", db)
        assert effects() == list(self.EXPECTED)

    def test_from_stdin(self, jobs, db, effects):
        succeed("run", f"{jobs}:export", "--payload", "-", "--db", db, input='{"org": "acme", "pages": 1}')
        assert effects() == list(self.EXPECTED)

    def test_as_runs_show_prints_it(self, jobs, db, effects):
        told = parsed("run", f"{jobs}:export", "--payload", '{"org": "acme", "pages": 1}', "--db", db)
        again = parsed("run", f"{jobs}:export", "--payload", json.dumps(told["payload"]), "--db", db)
        assert again["payload"] == told["payload"]
        assert effects() == list(self.EXPECTED * 2)

    @pytest.mark.parametrize(
        ("payload", "message"),
        [
            ("{", "--payload: not JSON: line 1, column 2: "),
            ("", "--payload: not JSON: line 1, column 1: "),
            ('{"a": NaN}', "--payload: not JSON: NaN"),
            ("@nowhere.json", "--payload: nowhere.json: No such file"),
            ("@.", "--payload: .: Is a directory"),
            ("@latin.json", "--payload: latin.json: not UTF-8"),
            ("[" * 100_000, "--payload: not JSON: "),
        ],
    )
    def test_that_is_none(self, jobs, db, tmp_path, payload, message):
        (tmp_path / "latin.json").write_bytes(b'"M\xfcller"')
        done = invoke("run", f"{jobs}:export", "--payload", payload, "--db", db)
        assert done.exit_code == 2
        assert one_line(done).startswith(f"durable-lite: {message}")


def jobs_of(path):
    from durable_lite.cli.load import load_jobs

    return load_jobs([str(path)]).jobs
