"""Death and signals, on real processes: nothing finished is done again, and the exit codes tell."""

import json
import os
import pty
import select
import signal
import subprocess
import sys

import pytest

from tests.cli.support import PATIENCE, Process, parsed

RUN = ("run", "jobs.py:with-a-hold", "--payload", '{"a": 1}', "--db", "runs.db")
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)


def statuses(db):
    return [run["status"] for run in parsed("runs", "list", "--db", db)["runs"]]


@pytest.fixture
def start(jobs, tmp_path):
    started = []

    def start(*args, **options):
        process = Process(*args, folder=tmp_path, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.__exit__()


class TestKilled:
    def test_the_same_command_goes_on_and_repeats_nothing(self, start, db, tmp_path, effects):
        first = start(*RUN)
        first.wait_for("holding held")
        first.kill()
        assert effects() == ["one", "two", "held"]
        second = start(*RUN)
        assert "going on with it" in second.wait_for("run ")
        told = second.wait_for("resumed after")
        assert "2 finished steps answered from checkpoints" in told
        (tmp_path / "go").touch()
        code, out, err = second.end()
        assert (code, json.loads(out)) == (0, "last")
        assert effects() == ["one", "two", "held", "held", "last"], "only the step in flight is done again"
        assert "2 steps now, 2 before" in err
        assert statuses(db) == ["COMPLETED"]

    def test_a_worker_takes_over(self, start, db, tmp_path, effects):
        first = start(*RUN)
        first.wait_for("holding held")
        first.kill()
        worker = start("worker", "jobs.py", "--db", "runs.db")
        assert "worker gone" in worker.wait_for("run.stale")
        assert "taken over" in worker.wait_for("run.claimed")
        (tmp_path / "go").touch()
        worker.wait_for("run.completed")
        assert effects() == ["one", "two", "held", "held", "last"]


class TestRun:
    @SIGNALS
    def test_the_first_signal_releases(self, start, db, number):
        process = start(*RUN, "--stop-timeout", "0")
        process.wait_for("holding held")
        process.send(number)
        assert number.name in process.wait_for(number.name)
        process.wait_for("is PENDING after 2 steps; the same command goes on with it")
        code, out, _ = process.end()
        assert (code, out) == (128 + number, "")
        assert statuses(db) == ["PENDING"]

    def test_json_after_a_signal(self, start):
        process = start(*RUN, "--stop-timeout", "0", "--json")
        process.wait_for("holding held")
        process.send(signal.SIGINT)
        code, out, _ = process.end()
        assert code == 130
        assert json.loads(out)["status"] == "PENDING"

    def test_what_finishes_in_time_is_not_released(self, start, db, tmp_path):
        process = start(*RUN)
        process.wait_for("holding held")
        process.send(signal.SIGINT)
        process.wait_for("it goes on for 10s at most")
        (tmp_path / "go").touch()
        code, out, _ = process.end()
        assert (code, json.loads(out)) == (0, "last")

    @SIGNALS
    def test_the_second_stops_at_once(self, start, db, number):
        process = start(*RUN, "--stop-timeout", "1h")
        process.wait_for("holding held")
        process.send(number)
        process.wait_for("again stops at once")
        process.send(number)
        assert process.end()[0] == 128 + number
        assert statuses(db) == ["EXECUTING"]

    def test_the_second_stops_at_once_when_the_job_blocks_the_loop(self, start):
        process = start("run", "jobs.py:blocked", "--db", "runs.db")
        process.wait_for("blocking the loop")
        process.send(signal.SIGINT)
        process.send(signal.SIGTERM)  # equal signals may arrive as one
        assert process.end()[0] in (130, 143)

    def test_a_thread_that_does_not_return_is_left_behind(self, start, db):
        process = start("run", "jobs.py:threaded", "--db", "runs.db", "--stop-timeout", "0")
        process.wait_for("in a thread")
        process.send(signal.SIGINT)
        code, _, err = process.end()
        assert code == 130
        assert "its thread is left behind" in err
        assert statuses(db) == ["PENDING"]

    def test_a_wait_takes_no_time_to_stop(self, start, db):
        process = start("run", "jobs.py:naps", "--db", "runs.db")
        process.wait_for("waiting: nap until")
        process.send(signal.SIGTERM)
        assert process.end()[0] == 143
        assert statuses(db) == ["WAITING"]

    def test_cancelled_from_elsewhere(self, start, db):
        process = start(*RUN)
        process.wait_for("holding held")
        run_id = parsed("runs", "list", "--db", db)["runs"][0]["id"]
        canceller = start("runs", "cancel", run_id, "--db", "runs.db")
        assert canceller.end()[0] == 0
        code, out, err = process.end()
        assert (code, out) == (4, "")
        assert "CANCELLED after" in err

    def test_a_run_that_another_worker_executes_is_followed(self, start, tmp_path, effects):
        first = start(*RUN)
        first.wait_for("holding held")
        second = start(*RUN)
        second.wait_for("is EXECUTING: going on with it")
        second.wait_for("another process executes it")
        (tmp_path / "go").touch()
        assert json.loads(first.end()[1]) == "last"
        code, out, _ = second.end()
        assert (code, json.loads(out)) == (0, "last")
        assert effects() == ["one", "two", "held", "last"]


class TestWorker:
    @SIGNALS
    def test_the_first_signal_releases(self, start, db, number):
        starter = start(*RUN, "--stop-timeout", "0")
        starter.wait_for("holding held")
        starter.send(signal.SIGINT)
        starter.end()
        worker = start("worker", "jobs.py", "--db", "runs.db", "--stop-timeout", "0", "--concurrency", "1")
        worker.wait_for("1 run at a time")
        worker.wait_for("begun held")
        worker.send(number)
        worker.wait_for(f"{number.name}: 1 run executing")
        worker.wait_for("run.released")
        worker.wait_for("stopped")
        assert worker.end()[0] == 128 + number
        assert statuses(db) == ["PENDING"]

    def test_the_second_stops_at_once(self, start, db):
        starter = start(*RUN)
        starter.wait_for("holding held")
        starter.kill()
        worker = start("worker", "jobs.py", "--db", "runs.db", "--stop-timeout", "1h")
        worker.wait_for("run.claimed")
        worker.send(signal.SIGTERM)
        worker.wait_for("again stops at once")
        worker.send(signal.SIGTERM)
        assert worker.end()[0] == 143
        assert statuses(db) == ["EXECUTING"]

    def test_its_log(self, start, jobs, db):
        worker = start("worker", "jobs.py", "--db", "runs.db")
        worker.wait_for("worker on sqlite:runs.db for blocked, export, fails, ")
        for job in ("flaky", "fails"):
            assert start("run", f"jobs.py:{job}", "--db", "runs.db").end()[0] in (0, 1)
        worker.send(signal.SIGTERM)
        code, out, err = worker.end()
        assert (code, out) == (143, "")
        assert "SIGTERM: nothing executing; again stops at once" in err


class TestTerminal:
    def test_the_display_and_its_end(self, jobs, tmp_path):
        """On a terminal: a live bar, the cursor comes back after the second signal."""
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-c", "from durable_lite.cli import main; main()", *RUN],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=follower,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
            start_new_session=True,
        )
        os.close(follower)
        seen = b""

        def wait_for(text):
            nonlocal seen
            while text not in seen:
                assert select.select([leader], [], [], PATIENCE)[0], seen
                seen += os.read(leader, 65536)

        try:
            wait_for(b"\x1b[?25l")
            wait_for(b"held")
            process.send_signal(signal.SIGINT)
            wait_for(b"SIGINT: ")
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 130
            assert b"\x1b[?25h" not in seen
            wait_for(b"\x1b[?25h")
        finally:
            process.kill()
            process.wait()
            os.close(leader)
