"""`durable-lite runs watch`: a line for each change, or a live table on a real pseudo-terminal."""

import fcntl
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from rich.console import Console

from durable_lite.cli.load import load_jobs
from durable_lite.cli.watch import _Table
from tests.cli.support import PATIENCE, Process, invoke, one_line, succeed, with_app
from tests.cli.test_progress import ROW
from tests.cli.test_safe import harmless

NASTY = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[bold red]:smile:[/]\r\n"
START = [
    sys.executable,
    "-c",
    "from durable_lite.cli import main; main()",
    "runs",
    "watch",
    "--db",
    "runs.db",
]


@pytest.fixture
def ids(jobs, db):
    """Two PENDING runs, the older one first."""

    async def trigger(app):
        return [(await app.trigger("export", {"org": "a", "pages": n}, tags=["all"])).id for n in (1, 2)]

    return with_app(db, load_jobs([str(jobs)]).all, trigger)


@pytest.fixture
def start(tmp_path):
    started = []

    def start(*args):
        started.append(Process("runs", "watch", "--db", "runs.db", *args, folder=tmp_path))
        return started[-1]

    yield start
    for process in started:
        process.__exit__()


def next_line(process):
    return process.process.stdout.readline()


class TestLines:
    def test_each_run_and_each_change_of_one(self, ids, start, db):
        process = start("--json")
        told = [json.loads(next_line(process)) for _ in ids]
        assert [(run["id"], run["status"]) for run in told] == [(run_id, "PENDING") for run_id in ids]
        succeed("runs", "cancel", ids[0], "--db", db)
        told = json.loads(next_line(process))
        assert (told["id"], told["status"], told["tags"]) == (ids[0], "CANCELLED", ["all"])
        process.send(signal.SIGINT)
        assert process.end() == (130, "", "")

    def test_for_people(self, ids, start, db):
        process = start("--limit", "1")
        assert next_line(process).split()[1:] == ["PENDING", ids[1], "export"]
        succeed("runs", "cancel", ids[1], "--db", db)
        assert next_line(process).split()[1:] == ["CANCELLED", ids[1], "export"]
        process.send(signal.SIGTERM)
        assert process.end() == (143, "", "")

    def test_a_run_that_is_not_one_of_them_any_more(self, ids, start, db):
        process = start("--status", "pending", "--json")
        for _ in ids:
            next_line(process)
        succeed("runs", "cancel", ids[1], "--db", db)
        told = json.loads(next_line(process))
        assert (told["id"], told["status"]) == (ids[1], "CANCELLED")

    def test_filters(self, ids, start, db, jobs):
        async def trigger(app):
            await app.trigger("naps", tags=["all"])
            await app.trigger("export", {"org": "a", "pages": 1}, tags=["all", "more"])
            return (await app.trigger("naps", tags=["all", "more"])).id

        wanted = with_app(db, load_jobs([str(jobs)]).all, trigger)
        process = start("--job", "naps", "--tag", "all", "--tag", "more", "--json")
        assert json.loads(next_line(process))["id"] == wanted

    def test_hostile_text(self, jobs, db, start):
        invoke("run", f"{jobs}:hostile", "--db", db)
        for args in ([], ["--json"]):
            process = start(*args)
            line = next_line(process)
            assert "owned" in line
            assert harmless(line)
            process.kill()

    def test_a_store_that_is_down_for_the_moment(self, ids, start, tmp_path):
        process = start("--interval", "50ms", "--limit", "1")
        next_line(process)
        away = tmp_path / "away"
        away.mkdir()
        for path in tmp_path.glob("runs.db*"):
            shutil.move(path, away)
        assert "trying again" in process.wait_for("store.down: ")
        for path in away.iterdir():
            shutil.move(path, tmp_path)
        process.wait_for("store.up")
        process.send(signal.SIGINT)
        assert process.end()[0] == 130

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--limit", "0"], "Invalid value for '--limit': "),
            (["--interval", "soon"], "Invalid value for '--interval': 'soon' is not a duration"),
        ],
    )
    def test_wrong_options(self, ids, db, arguments, message):
        assert one_line(invoke("runs", "watch", "--db", db, *arguments)).startswith(
            f"durable-lite: {message}"
        )

    def test_without_a_store(self, db):
        done = invoke("runs", "watch", "--db", db)
        assert (done.exit_code, "there is no such file" in one_line(done)) == (3, True)


ERROR = json.dumps({"type": "ValueError", "message": f"no such page {NASTY}"})
HALF = json.dumps({"current": 5, "total": 10, "message": f"page 5 {NASTY}"})
ROWS = [
    ROW._replace(id="1" * 26, status="FAILED", error=ERROR, finished_at=ROW.created_at + 90),
    ROW._replace(id="2" * 26, progress=HALF, job=f"job {NASTY}"),
    ROW._replace(id="3" * 26, status="WAITING_ON_CONNECTIONS", started_at=None),
    ROW._replace(id="4" * 26, status="COMPLETED", progress=json.dumps({"current": 7, "total": None})),
]


def frame(width, rows=ROWS, height=30, problem="", encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(
        file=file, width=width, force_terminal=True, color_system=None, emoji=False, markup=False
    )
    shown = _Table(console, f"sqlite:{NASTY}")
    shown._rows = rows
    console.print(shown.frame(ROW.created_at + 7200, height, problem))
    file.flush()
    lines = file.buffer.getvalue().decode(encoding).splitlines()
    assert harmless("".join(lines))
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    return [line.rstrip() for line in lines]


class TestFrames:
    @pytest.mark.parametrize(
        ("width", "columns"),
        [
            (160, "RUN JOB STATUS PROGRESS AGE TOOK ERROR"),
            (118, "RUN JOB STATUS PROGRESS AGE TOOK"),
            (105, "RUN JOB STATUS PROGRESS AGE"),
            (100, "RUN JOB STATUS PROGRESS"),
            (80, "JOB STATUS PROGRESS"),
            (50, "JOB STATUS"),
            (20, "JOB STATUS"),
        ],
    )
    def test_a_narrow_terminal_does_without_what_is_of_least_use(self, width, columns):
        lines = frame(width)
        if width >= 50:
            assert lines[0].split() == columns.split()
        assert ("ValueError" in "".join(lines)) == ("PROGRESS" in columns), (
            "an error is shown where it can be"
        )

    def test_what_it_says(self):
        head, failed, executing, waiting, completed, _, foot = frame(160)
        assert "1m30s  ValueError: no such page" in failed
        assert re.search(r"━{5}─{5} 5/10 page 5", executing)
        assert executing.split()[-2:] == ["2h", "2h"]
        assert waiting.split() == ["3" * 26, "export", "WAITING_ON_CONNECTIONS", "2h"]
        assert " 7 " in completed
        assert foot[9:].strip() == "1 WAITING_ON_CONNECTIONS  1 EXECUTING  1 COMPLETED  1 FAILED"

    def test_more_than_the_terminal_has_lines_for(self):
        lines = frame(160, height=5)
        assert len(lines) == 5
        assert lines[-1].endswith("2 more don't fit")

    def test_none(self):
        assert "no such runs in sqlite:" in frame(160, rows=[])[-1]

    def test_a_store_that_is_down(self):
        assert "the store is down: it is locked" in frame(160, problem="it is locked\x1b[2J")[-1]

    def test_ascii(self):
        assert (
            "#####----- 5/10"
            in frame(
                160, rows=[ROW._replace(progress=HALF.partition(', "message')[0] + "}")], encoding="ascii"
            )[1]
        )


class Terminal:
    """The command on a pseudo-terminal of 100 columns and 12 lines."""

    def __init__(self, folder, *args):
        self.leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 100, 0, 0))
        env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [*START, *args], cwd=folder, stdin=follower, stdout=follower, stderr=follower,
            env={**env, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}, start_new_session=True,
        )  # fmt: skip
        os.close(follower)
        self.seen = ""

    def wait_for(self, text, after=""):
        until = time.monotonic() + PATIENCE
        while text not in self.seen.partition(after)[2] if after else text not in self.seen:
            assert select.select([self.leader], [], [], until - time.monotonic())[0], self.seen
            try:
                self.seen += os.read(self.leader, 65536).decode("utf-8", "replace")
            except OSError:  # its other end is closed
                assert text in self.seen, self.seen

    def frames(self):
        """What was on the whole screen, as text, frame after frame."""
        drawn = self.seen.partition("\x1b[?1049l")[0].split("\x1b[H")
        return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", one) for one in drawn]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.leader)


class TestTerminal:
    def test_it_follows_until_ctrl_c(self, ids, tmp_path, db):
        with Terminal(tmp_path) as terminal:
            terminal.wait_for(" 2 PENDING")
            assert "\x1b[?1049h" in terminal.seen
            assert "\x1b[?25l" in terminal.seen
            succeed("runs", "cancel", ids[0], "--db", db)
            terminal.wait_for("CANCELLED")
            terminal.process.send_signal(signal.SIGINT)
            assert terminal.process.wait(PATIENCE) == 130
            terminal.wait_for("\x1b[?1049l")
            terminal.wait_for("\x1b[?25h")
            terminal.wait_for("1 PENDING  1 \x1b[35mCANCELLED", after="\x1b[?1049l")
        assert not re.search(r"\x1b\[[0-9]*[JK]", terminal.seen), "what is erased before it is drawn flickers"
        full = [one for one in terminal.frames() if one.count("export") == 2]
        assert len(full) >= 2
        assert all(one.count("\n") == 11 for one in full), "each frame overwrites every line"
        last = terminal.seen.rpartition("\x1b[?1049l")[2]
        assert all(run_id in last for run_id in ids), "the last frame stays, to copy from"

    def test_a_store_that_is_down(self, ids, tmp_path):
        with Terminal(tmp_path, "--interval", "50ms") as terminal:
            terminal.wait_for(ids[0])
            for path in tmp_path.glob("runs.db*"):
                path.rename(path.with_name(f"away-{path.name}"))
            terminal.wait_for("the store is down: ")
            terminal.process.send_signal(signal.SIGINT)
            assert terminal.process.wait(PATIENCE) == 130

    def test_json_is_for_programs_there_too(self, ids, tmp_path):
        with Terminal(tmp_path, "--json") as terminal:
            terminal.wait_for(ids[1])
            assert "\x1b" not in terminal.seen


def test_it_wakes_for_what_another_process_stores(ids, start, db):
    """With an interval that would be too long."""
    process = start("--interval", "1h", "--json", "--limit", "1")
    next_line(process)
    succeed("runs", "cancel", ids[1], "--db", db)
    assert json.loads(next_line(process))["status"] == "CANCELLED"
