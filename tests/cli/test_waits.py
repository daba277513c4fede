"""`durable-lite tokens`, `queues`, `events` and `runs fork`, on what runs wait for."""

import json
import signal
import time

import pytest

from tests.cli.support import Process, invoke, one_line, parsed, succeed, with_app, write_jobs

JOBS = """
from durable_lite import Context, Event, Queue, job

narrow = Queue("narrow", concurrency=2, rate="90/m")

@job
async def approve(ctx: Context, name: str) -> object:
    await ctx.step("before", len, name)
    return await ctx.wait_for_token("ok", timeout="7d")

@job(queue=narrow, on=Event("paid", match={"org": "acme"}))
async def book(ctx: Context, payload: dict) -> dict:
    return payload

drips = Queue("drips", concurrency=1)

@job(queue="drips")
async def drip(ctx: Context, _: None) -> int:
    return 1

@job
async def dun(ctx: Context, org: str) -> dict:
    return await ctx.wait_for_event("paid", "paid", match={"org": org}, timeout="7d")
"""


@pytest.fixture
def jobs(tmp_path):
    return write_jobs(tmp_path, JOBS, "waiting_jobs.py")


@pytest.fixture
def app_of(jobs, db):
    """`app_of(act)`: let `act(app)` do something, and what is ready be executed."""
    from durable_lite.cli.load import load_jobs

    def act(do):
        async def main(app):
            result = await do(app)
            await app.run_until_idle()
            return result

        return with_app(db, load_jobs([str(jobs)]).all, main)

    return act


@pytest.fixture
def waiting(app_of):
    async def trigger(app):
        ids = []
        for name in ("first", "second"):
            ids.append((await app.trigger("approve", name)).id)
            await app.run_until_idle()  # the token of the first is the first token
        return ids

    return app_of(trigger)


def run_of(db, id):
    return parsed("runs", "show", id, "--db", db)


class TestTokens:
    def test_list(self, waiting, db):
        page = parsed("tokens", "list", "--db", db, "--limit", 1)
        rest = parsed("tokens", "list", "--db", db, "--limit", 1, "--cursor", page["cursor"])
        rows = page["tokens"] + rest["tokens"]
        assert [row["run_id"] for row in rows] == waiting[::-1]
        assert {row["state"] for row in rows} == {"pending"}
        [one] = parsed("tokens", "list", "--db", db, "--run", waiting[0])["tokens"]
        assert one == rows[1]
        shown = succeed("tokens", "list", "--db", db).stdout
        assert all(row["id"] in shown and row["run_id"] in shown for row in rows)
        assert succeed("tokens", "list", "--db", db, "--state", "failed").stdout.startswith(
            "No failed tokens"
        )

    @pytest.mark.parametrize(("given", "value"), [([], None), (['{"a": 1}'], {"a": 1}), (["true"], True)])
    def test_complete(self, waiting, app_of, db, given, value):
        token = parsed("tokens", "list", "--db", db, "--run", waiting[0])["tokens"][0]["id"]
        said = succeed("tokens", "complete", token, *given, "--db", db).stdout
        assert said == f"{token} of run {waiting[0]} (ok) is completed.\n"
        assert "is completed" in succeed("tokens", "fail", token, "too late", "--db", db).stdout

        async def nothing(app):
            return None

        app_of(nothing)
        assert run_of(db, waiting[0])["output"] == value
        assert run_of(db, waiting[1])["status"] == "WAITING"

    def test_fail(self, waiting, app_of, db):
        token = parsed("tokens", "list", "--db", db, "--run", waiting[0])["tokens"][0]["id"]
        succeed("tokens", "fail", token, "not today", "--db", db)
        assert "not today" in succeed("tokens", "list", "--db", db, "--all").stdout

        async def nothing(app):
            return None

        app_of(nothing)
        assert "not today" in run_of(db, waiting[0])["error"]["message"]

    def test_mistakes(self, waiting, db):
        token = parsed("tokens", "list", "--db", db)["tokens"][0]["id"]
        assert "no token has the id" in one_line(invoke("tokens", "complete", "tok_none", "--db", db))
        assert "VALUE: not JSON" in one_line(invoke("tokens", "complete", token, "{", "--db", db))
        assert "MESSAGE" in one_line(invoke("tokens", "fail", token, "", "--db", db))
        assert "cursor" in one_line(invoke("tokens", "list", "--cursor", "x", "--db", db))
        succeed("runs", "cancel", waiting[1], "--db", db)
        assert "CANCELLED" in one_line(invoke("tokens", "complete", token, "--db", db))


class TestQueues:
    def test_limits_pause_and_resume(self, app_of, db):
        async def trigger(app):
            await app.start()
            await app.stop()
            await app.pause_queue("default")
            return [(await app.trigger("book", {"n": n})).id for n in range(4)]

        ids = app_of(trigger)
        assert {run_of(db, id)["status"] for id in ids} == {"COMPLETED"}
        rows = {row["name"]: row for row in parsed("queues", "list", "--db", db)["queues"]}
        assert (rows["narrow"]["concurrency"], rows["narrow"]["rate"], rows["narrow"]["period"]) == (
            2,
            90,
            60,
        )
        assert (rows["default"]["paused"], rows["narrow"]["paused"]) == (1, 0)
        assert succeed("queues", "pause", "narrow", "--db", db).stdout == "narrow is paused; 0 QUEUED.\n"

        async def held(app):
            return (await app.trigger("book", {"n": 5})).id

        id = app_of(held)
        assert run_of(db, id)["status"] == "QUEUED"
        assert "for a place in queue narrow" in succeed("runs", "show", id, "--db", db).stdout
        shown = succeed("queues", "list", "--db", db).stdout
        assert [line.split() for line in shown.splitlines() if line.startswith("narrow")] == [
            ["narrow", "2", "90/m", "0", "1", "paused"]
        ]
        assert "not paused; 0 QUEUED" in succeed("queues", "resume", "narrow", "--db", db).stdout

    def test_the_limits_of_a_file_hold_for_jobs_that_name_the_queue(self, jobs, db):
        succeed("run", f"{jobs}:drip", "--db", db)
        found = {row["name"]: row["concurrency"] for row in parsed("queues", "list", "--db", db)["queues"]}
        assert found == {"narrow": 2, "drips": 1}

    def test_none(self, waiting, db, tmp_path):
        async def nothing(app):
            return None

        with_app(tmp_path / "other.db", [], nothing)
        assert "No queue in" in succeed("queues", "list", "--db", tmp_path / "other.db").stdout


class TestEvents:
    def test_send(self, app_of, db):
        async def trigger(app):
            return (await app.trigger("dun", "acme")).id

        waits = app_of(trigger)
        payload = json.dumps({"org": "acme", "amount": 5})
        said = succeed("events", "send", "paid", payload, "--id", "e1", "--db", db).stdout
        [book] = parsed("runs", "list", "--job", "book", "--db", db)["runs"]
        assert said == f"paid is sent; 1 run started: {book['id']}; 1 wait ended.\n"
        again = succeed("events", "send", "paid", payload, "--id", "e1", "--db", db).stdout
        assert "was sent before" in again
        document = json.loads(succeed("events", "send", "paid", "--db", db, "--json").stdout)
        assert document == {"fresh": True, "runs": [], "waits": 0}

        async def nothing(app):
            return None

        app_of(nothing)
        assert run_of(db, waits)["output"] == run_of(db, book["id"])["output"] == {"org": "acme", "amount": 5}

    def test_mistakes(self, waiting, db):
        assert "PAYLOAD: not JSON" in one_line(invoke("events", "send", "paid", "{", "--db", db))
        assert "name of an event" in one_line(invoke("events", "send", "", "--db", db))


class TestFork:
    def test_fork(self, waiting, app_of, db):
        said = succeed("runs", "fork", waiting[0], "ok", "--db", db).stdout
        [id, *_] = said.split()
        assert f"a fork of {waiting[0]} with 1 step of it" in said

        async def nothing(app):
            return None

        app_of(nothing)
        assert len(parsed("tokens", "list", "--run", id, "--db", db)["tokens"]) == 1
        assert "no step 'none'" in one_line(invoke("runs", "fork", waiting[0], "none", "--db", db))


CONNECTED = """
from durable_lite import Connection, Context, job

mail = Connection("mail", lambda: "a client")

@job(requires=["mail"])
async def sends(ctx: Context) -> str:
    return await ctx.step("send", lambda: f"{ctx.connection('mail')} {ctx.idempotency_key.partition('/')[2]}")

@job(requires=["nobody's"])
async def lacks(ctx: Context) -> None:
    pass
"""


class TestConnections:
    def test_those_of_the_file(self, tmp_path, db):
        jobs = write_jobs(tmp_path, CONNECTED, "connected_jobs.py")
        assert json.loads(succeed("run", f"{jobs}:sends", "--db", db).stdout) == "a client send"

    def test_one_that_is_missing_is_told(self, tmp_path, db):
        jobs = write_jobs(tmp_path, CONNECTED, "lacking_jobs.py")
        with Process("run", f"{jobs}:lacks", "--db", db, folder=tmp_path) as command:
            command.wait_for("waiting for a worker that is connected to nobody's, which lacks requires")
            while [run["status"] for run in parsed("runs", "list", "--db", db)["runs"]] != [
                "WAITING_ON_CONNECTIONS"
            ]:
                time.sleep(0.05)
            command.send(signal.SIGTERM)
            command.end()
        [run] = parsed("runs", "list", "--db", db)["runs"]
        assert run["status"] == "WAITING_ON_CONNECTIONS"
        assert "no worker has what its job requires" in succeed("runs", "show", run["id"], "--db", db).stdout
