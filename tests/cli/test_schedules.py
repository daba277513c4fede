"""`durable-lite schedules`: what a store knows of them, in local time, and a pause for them."""

import json
import re
import time

import pytest

from durable_lite.cli.load import load_jobs
from durable_lite.cli.screen import moment
from durable_lite.records import ScheduleRow
from tests.cli.support import invoke, one_line, parsed, succeed, with_app, write_jobs
from tests.cli.test_safe import harmless

JOBS = """
from durable_lite import Context, Schedule, Tick, job

@job(on=[Schedule("30 2 * * *", tz="Europe/Rome"), Schedule(every="1h", catch_up="all", name="hourly")])
async def report(ctx: Context, tick: Tick) -> str:
    return tick.timestamp.isoformat()

@job(on=Schedule(every="1w", catch_up="none"))
async def tidy(ctx: Context) -> None:
    pass

@job
async def plain(ctx: Context) -> None:
    pass
"""
NIGHTLY = "30 2 * * * Europe/Rome"
HOUR = 3600.0
AT = 4_102_444_800.0  # 2100-01-01T00:00:00Z: at the full hour, and never overdue
NASTY = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[bold red]:smile:[/]\r\n"


def schedule(job="report", name="hourly", **fields):
    given = {"spec": '{"every": 3600.0}', "catch_up": "one", "next_at": AT}
    return ScheduleRow(job, name, **(given | fields))


@pytest.fixture
def put(db):
    """`put(row, …)`: let these be the schedules of their jobs, as a worker tells."""

    def act(*rows):
        async def main(app):
            await app.store.set_schedules(sorted({row.job for row in rows}), rows)

        with_app(db, [], main)

    return act


@pytest.fixture
def work(tmp_path, db):
    """`work()`: a worker tells of its schedules, ticks, executes what is due, and goes."""
    jobs = load_jobs([str(write_jobs(tmp_path, JOBS, "timed_jobs.py"))]).all
    return lambda: with_app(db, jobs, lambda app: app.run_until_idle())


def listed(db):
    """By job and name."""
    return {(row["job"], row["name"]): row for row in parsed("schedules", "list", "--db", db)["schedules"]}


def table_of(db):
    """The lines of the table, cut into columns."""
    lines = succeed("schedules", "list", "--db", db).stdout.splitlines()
    return [re.split(r"\s{2,}", line.strip()) for line in lines]


def runs_of(db):
    return parsed("runs", "list", "--db", db)["runs"]


def started_for(db, run):
    """The moment of the tick that has started a run of `hourly`."""
    trigger = parsed("runs", "show", run["id"], "--db", db)["trigger"]
    assert (trigger["kind"], trigger["name"]) == ("schedule", "hourly")
    return trigger["timestamp"]


class TestList:
    def test_a_table(self, put, db):
        put(
            schedule(name=NIGHTLY, catch_up="all", last_at=AT - HOUR),
            schedule(catch_up="none", last_at=AT - 2 * HOUR, paused=1),
            schedule("tidy", "weekly"),
        )
        assert table_of(db) == [
            ["JOB", "SCHEDULE", "NEXT", "LAST", "CATCH UP"],
            ["report", NIGHTLY, moment(AT), moment(AT - HOUR), "all"],
            ["report", "hourly", moment(AT - 2 * HOUR), "none", "paused"],
            ["tidy", "weekly", moment(AT), "one"],
        ]

    @pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process can't be set")
    def test_moments_are_local_time(self, put, db, monkeypatch):
        put(schedule(last_at=AT - HOUR))
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "NPT-5:45")
            time.tzset()
            [_, row] = table_of(db)
        time.tzset()
        assert row == ["report", "hourly", "2100-01-01 05:45:00", "2100-01-01 04:45:00", "one"]

    def test_json(self, put, db):
        rows = [schedule(), schedule("tidy", "weekly", catch_up="none", last_at=AT - 5, paused=1)]
        put(*rows)
        assert parsed("schedules", "list", "--db", db) == {"schedules": [row._asdict() for row in rows]}

    def test_what_a_worker_has_told(self, work, db):
        before = time.time()
        work()
        rows = listed(db)
        full = time.time() // HOUR * HOUR
        assert [(*key, row["catch_up"], row["paused"], row["last_at"]) for key, row in rows.items()] == [
            ("report", NIGHTLY, "one", 0, None),
            ("report", "hourly", "all", 0, full if before < full else None),  # it has become a full hour
            ("tidy", "every 1w", "none", 0, None),
        ]
        assert all(before < row["next_at"] < before + 8 * 86_400 for row in rows.values())
        assert rows["report", "hourly"]["next_at"] % HOUR == 0
        assert json.loads(rows["report", NIGHTLY]["spec"]) == {"cron": "30 2 * * *", "tz": "Europe/Rome"}
        assert [line[:3] for line in table_of(db)[1:]] == [
            [job, name, moment(row["next_at"])] for (job, name), row in rows.items()
        ]

    def test_overdue(self, put, db):
        """Nobody has seen to it for more than a minute; where it is paused nobody should."""
        full = time.time() // HOUR * HOUR
        late = full - HOUR
        put(schedule(next_at=late), schedule(name="paused", next_at=late, paused=1), schedule("tidy", "soon"))
        assert table_of(db)[1:] == [
            ["report", "hourly", moment(late), "one", "overdue"],
            ["report", "paused", "one", "paused"],
            ["tidy", "soon", moment(AT), "one"],
        ]

    def test_next_is_a_tick_before_a_worker_has_seen_to_it(self, put, db):
        """What the store has is when to look: the moment of a resumption, or of a worker's start."""
        put(schedule(next_at=AT + 1), schedule(name=NIGHTLY, spec='{"cron": "30 2 * * *", "tz": "UTC"}'))
        found = {name: row["next_at"] for (_, name), row in listed(db).items()}
        assert found == {"hourly": AT + HOUR, NIGHTLY: AT + 2.5 * HOUR}
        a_month_ago = time.time() - 30 * 86_400
        put(schedule(spec='{"every": 6e9}', next_at=a_month_ago))  # next in 2160
        assert table_of(db)[1] == ["report", "hourly", moment(6e9), "one"]

    @pytest.mark.parametrize(
        "spec",
        [
            *("{", "[]", "{}", '{"moon": "full"}', '{"every": 0}', '{"every": "x"}'),
            *('{"cron": "61 * * * *", "tz": "UTC"}', '{"cron": "* * * * *", "tz": "Moon/Sea"}'),
        ],
    )
    def test_one_that_cant_be_read(self, put, db, spec):
        put(schedule(spec=spec, next_at=AT + 1))
        assert table_of(db)[1] == ["report", "hourly", moment(AT + 1), "one"]
        [row] = listed(db).values()
        assert (row["spec"], row["next_at"]) == (spec, AT + 1)

    def test_none(self, put, db):
        put()
        assert succeed("schedules", "list", "--db", db).stdout == f"No job in sqlite:{db} has a schedule.\n"
        assert parsed("schedules", "list", "--db", db) == {"schedules": []}


class TestPauseAndResume:
    def test_one(self, put, db):
        put(schedule(), schedule(name=NIGHTLY), schedule("tidy"))
        for word, said in (("pause", "paused"), ("pause", "paused"), ("resume", "not paused")):
            done = succeed("schedules", word, "report", NIGHTLY, "--db", db)
            assert done.stdout == f"report: {NIGHTLY} is {said}.\n"
            paused = {key: row["paused"] for key, row in listed(db).items()}
            assert paused == {
                ("report", NIGHTLY): int(word == "pause"),
                ("report", "hourly"): 0,
                ("tidy", "hourly"): 0,
            }

    def test_all_of_a_job(self, put, db):
        put(schedule(), schedule(name=NIGHTLY), schedule("tidy"))
        done = succeed("schedules", "pause", "report", "--db", db)
        assert done.stdout == f"report: {NIGHTLY} is paused.\nreport: hourly is paused.\n"
        assert [row["paused"] for row in listed(db).values()] == [1, 1, 0]
        done = succeed("schedules", "resume", "report", "--db", db)
        assert done.stdout == f"report: {NIGHTLY} is not paused.\nreport: hourly is not paused.\n"
        assert [row["paused"] for row in listed(db).values()] == [0, 0, 0]

    def test_what_it_missed_meanwhile_is_not_made_up_for(self, work, put, db):
        """`hourly` makes up for all that nobody saw, but not for this."""
        before = time.time() // HOUR * HOUR  # the last tick
        put(schedule(next_at=before - 2 * HOUR, catch_up="all", paused=1))
        work()
        assert runs_of(db) == []
        succeed("schedules", "resume", "report", "hourly", "--db", db)
        later = {before + HOUR, before + 2 * HOUR}  # the latter if the full hour has come meanwhile
        assert listed(db)["report", "hourly"]["next_at"] in later
        work()
        assert {started_for(db, run) for run in runs_of(db)} <= later

    def test_what_nobody_saw_is(self, work, put, db):
        before = time.time() // HOUR * HOUR
        put(schedule(next_at=before - 2 * HOUR, catch_up="all"))
        work()
        ticks = {started_for(db, run) for run in runs_of(db)}
        assert ticks - {before + HOUR} == {before, before - HOUR, before - 2 * HOUR}


class TestDelete:
    def test_of_a_job_that_is_gone(self, put, work, db):
        put(schedule("gone"), schedule("gone", "daily"), schedule("tidy"))
        assert succeed("schedules", "delete", "gone", "--db", db).stdout == "gone has no schedule.\n"
        assert list(listed(db)) == [("tidy", "hourly")]
        assert succeed("schedules", "delete", "gone", "--db", db).stdout == "gone has no schedule.\n"

    def test_a_worker_tells_of_them_again(self, work, db):
        work()
        before = listed(db)
        succeed("schedules", "delete", "tidy", "--db", db)
        assert list(listed(db)) == [key for key in before if key[0] != "tidy"]
        work()
        assert list(listed(db)) == list(before)


class TestMistakes:
    @pytest.mark.parametrize("word", ["pause", "resume"])
    def test_what_is_not_there_is_named(self, put, db, word):
        put(schedule(), schedule("tidy", "weekly"))
        for job, *name in (["nightly"], ["report", "weekly"], ["report", "hour"], ["", "hourly"]):
            done = invoke("schedules", word, job, *name, "--db", db)
            assert done.exit_code == 2
            assert one_line(done) == (
                f"durable-lite: schedule: job {job!r} has no such schedule"
                " (there are: report: hourly, tidy: weekly)"
            )
        assert [row["paused"] for row in listed(db).values()] == [0, 0]

    def test_nothing_is_there(self, put, db):
        put()
        assert "(there are: none)" in one_line(invoke("schedules", "pause", "report", "--db", db))

    @pytest.mark.parametrize("word", ["pause", "resume", "delete"])
    def test_no_job(self, db, word):
        done = invoke("schedules", word, "--db", db)
        assert done.exit_code == 2
        assert "JOB" in one_line(done)

    @pytest.mark.parametrize("job", ["", "x" * 201, "two\nlines"])
    def test_no_name_of_a_job(self, put, db, job):
        put(schedule())
        done = invoke("schedules", "delete", job, "--db", db)
        assert done.exit_code == 2
        assert "job: expected printable text of 1 to 200 characters" in one_line(done)
        assert len(listed(db)) == 1

    @pytest.mark.parametrize("given", [["list"], ["pause", "report"], ["resume", "report"], ["delete", "x"]])
    def test_no_store(self, db, given):
        done = invoke("schedules", *given, "--db", db)
        assert done.exit_code == 3
        assert f"--db: {db}: there is no such file" in one_line(done)
        assert not db.exists()


class TestHostileText:
    @pytest.fixture(autouse=True)
    def _put(self, put):
        put(
            schedule(NASTY, NASTY, catch_up=NASTY, spec=json.dumps({NASTY: NASTY})),
            schedule("report", NASTY, next_at=AT + 1),
        )

    @pytest.mark.parametrize("color", [False, True])
    def test_the_table(self, db, monkeypatch, color):
        monkeypatch.setenv("COLUMNS", "300")
        if color:
            monkeypatch.setenv("FORCE_COLOR", "1")
        shown = succeed("schedules", "list", "--db", db, color=True).stdout
        assert harmless(re.sub(r"\x1b\[[0-9;]*m", "", shown) if color else shown)
        assert shown.count(r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[bold red]:smile:[/]\r\n") == 4

    def test_json(self, db):
        text = succeed("schedules", "list", "--db", db, "--json").stdout
        assert harmless(text)
        assert {row["name"] for row in json.loads(text)["schedules"]} == {NASTY}

    def test_what_is_said(self, db):
        for word in ("pause", "resume"):
            for job in (NASTY, "report"):
                shown = succeed("schedules", word, job, "--db", db).stdout
                assert harmless(shown)
                assert len(shown.splitlines()) == 1

    def test_mistakes(self, db):
        for given in (["pause", "none"], ["resume", NASTY, "none"], ["pause", "\x1b[2J"], ["delete", NASTY]):
            assert harmless(one_line(invoke("schedules", *given, "--db", db)))
