"""The Slack example: real requests to a Slack of our own, real workers that are killed."""

import asyncio
import json
import logging
import os
import time
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from durable_lite import Durable, EventType, Retry, RunFailed, Status
from durable_lite.ports_system import SystemClock
from examples.slack import jobs
from tests.examples.processes import files_with, follow, silent_port, store_of, without_proxies, workers
from tests.examples.slack_server import CHANNEL, TOKEN, broken, no, slack, too_many

pytestmark = pytest.mark.timeout(50)

TEXT = "The export is ready."
MESSAGE = {"channel": CHANNEL, "text": TEXT}


@pytest.fixture
def quick(monkeypatch):
    """Tries that follow each other at once; nobody's token but ours, and no proxy."""
    monkeypatch.setattr(jobs.post_message, "retry", Retry(max_attempts=5, min_delay="1ms", max_delay="5ms"))
    monkeypatch.setattr(jobs, "SETTLE", 0.01)
    for name in os.environ.keys() - without_proxies().keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv(jobs.TOKEN, TOKEN)


@asynccontextmanager
async def app(server, folder, **options):
    """A worker in this process, for a store in the folder."""
    async with Durable(store_of(folder), [jobs.post_message], **options) as durable:
        durable.connections["slack"] = partial(client, server)
        yield durable


def idle(server, folder, **options):
    """One that executes when it is told to, as far as it comes."""
    return app(server, folder, worker=False, **options)


def client(server):
    made = jobs.connect()
    made.base_url = server.url
    return made


async def failures(run):
    """What went wrong on the way."""
    return [
        event.data["error"]["message"] async for event in run.events() if event.type == EventType.STEP_FAILED
    ]


@pytest.mark.parametrize("always_replay", [False, True])
async def test_it_is_posted(quick, tmp_path, always_replay):
    async with slack() as server, app(server, tmp_path, always_replay=always_replay) as durable:
        run = await durable.trigger(jobs.post_message, MESSAGE)
        posted = await run.result(timeout="30s")
        [message] = server.channels[CHANNEL]
        assert posted == jobs.Posted(CHANNEL, message["ts"])
        assert message["text"] == TEXT
        assert message["metadata"]["event_payload"] == {"run": run.id, "step": "post"}
        assert not server.count("conversations.history")  # a first try has nothing to find


async def test_the_same_text_again_is_another_message(quick, tmp_path):
    async with slack() as server, app(server, tmp_path) as durable:
        runs = await durable.trigger_many(jobs.post_message, [MESSAGE, MESSAGE])
        posted = [await run.result(timeout="30s") for run in runs]
        assert len({one.ts for one in posted}) == len(server.texts) == 2


class Ahead(SystemClock):
    """An hour later, and a bit more or less."""

    def __init__(self, seconds):
        self.now = lambda: time.time() + 3600 + seconds


async def test_a_429_is_waited_for_in_the_store(quick, tmp_path):
    """By nobody: the worker that was told to wait is gone when the time has come."""
    async with slack() as server:
        server.do("refuse", partial(too_many, "3600"))
        async with idle(server, tmp_path) as durable:
            run = await durable.trigger(jobs.post_message, MESSAGE)
            due = await durable.run_until_idle()
        [told] = server.times("chat.postMessage")
        assert told + 3600 <= due < told + 3610
        async with idle(server, tmp_path, clock=Ahead(-60)) as durable:
            assert await durable.run_until_idle() == due
            row = await durable.store.get_run(run.id)
            assert (row.status, row.ready_at) == (Status.WAITING, due)
        assert len(server.calls) == 1
        async with idle(server, tmp_path, clock=Ahead(60)) as durable:
            await durable.run_until_idle()
            assert await (await durable.get_run(run.id)).result()
        assert server.texts == [TEXT]


@pytest.mark.parametrize(("asked", "delay"), [("7", 7), ("", jobs.LATER), ("soon", jobs.LATER)])
async def test_a_429_says_how_long(quick, tmp_path, asked, delay):
    async with slack() as server, idle(server, tmp_path) as durable:
        server.do("refuse", partial(too_many, asked))
        await durable.trigger(jobs.post_message, MESSAGE)
        due = await durable.run_until_idle()
        [told] = server.times("chat.postMessage")
        assert told + delay <= due < told + delay + 5


@pytest.mark.parametrize(
    ("message", "error", "asked"),
    [
        (MESSAGE, "is_archived", 1),
        (MESSAGE, "msg_too_long", 1),
        (MESSAGE, "something_new", 1),
        (MESSAGE | {"channel": "C0000000000"}, "channel_not_found", 1),
        (MESSAGE | {"channel": "#general"}, "expected an id", 0),
    ],
)
async def test_what_no_other_try_can_help_fails_at_once(quick, tmp_path, message, error, asked):
    async with slack() as server, app(server, tmp_path) as durable:
        if message == MESSAGE:
            server.do("refuse", partial(no, error), times=9)
        run = await durable.trigger(jobs.post_message, message)
        with pytest.raises(RunFailed, match=error):
            await run.result(timeout="30s")
        assert (run.status, run.attempt) == (Status.FAILED, 1)
        assert (len(server.calls), server.texts) == (asked, [])


async def test_a_token_that_slack_does_not_know(quick, tmp_path, monkeypatch):
    monkeypatch.setenv(jobs.TOKEN, "xoxb-0ld")
    async with slack() as server, app(server, tmp_path) as durable:
        run = await durable.trigger(jobs.post_message, MESSAGE)
        with pytest.raises(RunFailed, match="chat.postMessage: invalid_auth"):
            await run.result(timeout="30s")
        assert (run.status, run.attempt) == (Status.FAILED, 1)


@pytest.mark.parametrize(
    ("what", "how", "error"),
    [
        ("refuse", partial(no, "service_unavailable"), "chat.postMessage: service_unavailable"),
        ("refuse", partial(broken, 500), "chat.postMessage: 500"),
        ("refuse", partial(broken, 503), "chat.postMessage: 503"),
        ("drop", "before", "Server disconnected"),
        # From here on it has been posted, and only the answer doesn't say so.
        ("take", partial(no, "internal_error"), "chat.postMessage: internal_error"),
        ("take", partial(broken, 502), "chat.postMessage: 502"),
        ("drop", "after", "Server disconnected"),
    ],
)
async def test_what_passes_is_tried_again_and_posted_once(quick, tmp_path, what, how, error):
    async with slack() as server, app(server, tmp_path) as durable:
        server.do(what, how)
        run = await durable.trigger(jobs.post_message, MESSAGE)
        posted = await run.result(timeout="30s")
        assert await failures(run) == [error]
        [message] = server.channels[CHANNEL]
        assert posted.ts == message["ts"]
        was_posted = what == "take" or how == "after"
        assert server.count("chat.postMessage") == (1 if was_posted else 2)  # not again by the SDK


async def test_nobody_listens(quick, tmp_path):
    with silent_port() as port:
        server = SimpleNamespace(url=f"http://127.0.0.1:{port}/api/")
        async with app(server, tmp_path) as durable:
            run = await durable.trigger(jobs.post_message, MESSAGE)
            with pytest.raises(RunFailed, match="Cannot connect"):
                await run.result(timeout="30s")
            assert run.attempt == 5


async def test_it_is_found_among_others(quick, tmp_path):
    async with slack() as server, app(server, tmp_path) as durable:

        def lost_in_the_crowd():
            [message] = server.channels[CHANNEL]
            other = {"run": message["metadata"]["event_payload"]["run"], "step": "another"}
            for number in range(5):
                metadata = {"event_type": "durable_lite_step", "event_payload": other}
                server.say(TEXT, **({"metadata": metadata} if number % 2 else {}))
            return broken(502)

        server.do("take", lost_in_the_crowd)
        run = await durable.trigger(jobs.post_message, MESSAGE)
        posted = await run.result(timeout="30s")
        assert posted.ts == server.channels[CHANNEL][0]["ts"]
        assert server.count("conversations.history") == 3  # pages
        assert server.count("chat.postMessage") == 1


async def test_whoever_may_not_look_does_not_post_again(quick, tmp_path):
    """It is for a person to say; with the scope the run goes on."""
    async with slack() as server, app(server, tmp_path) as durable:
        server.scopes.remove("channels:history")
        server.do("drop", "after")
        run = await durable.trigger(jobs.post_message, MESSAGE)
        with pytest.raises(RunFailed, match="conversations.history: missing_scope, needs channels:history"):
            await run.result(timeout="30s")
        assert (run.status, run.attempt) == (Status.FAILED, 2)
        server.scopes.add("channels:history")
        await durable.resume(run.id)
        assert await run.result(timeout="30s")
        assert server.texts == [TEXT]


async def test_a_429_for_the_history_is_honoured_too(quick, tmp_path):
    async with slack() as server, app(server, tmp_path) as durable:
        server.do("drop", "after")
        server.limited = ["1"]
        run = await durable.trigger(jobs.post_message, MESSAGE)
        await run.result(timeout="30s")
        first, second = server.times("conversations.history")
        assert second >= first + 1
        assert server.texts == [TEXT]


async def test_the_history_gets_time_to_settle(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "SETTLE", 1.0)
    async with slack() as server, app(server, tmp_path) as durable:
        server.do("drop", "after")
        run = await durable.trigger(jobs.post_message, MESSAGE)
        await run.result(timeout="30s")
        [posted], [looked] = server.times("chat.postMessage"), server.times("conversations.history")
        [begin] = [step for step in await durable.steps(run.id) if step.path == "post/begin"]
        assert begin.finished_at <= posted
        assert looked >= float(begin.output) + 1


async def test_what_remains(quick, tmp_path):
    """A history that doesn't show the message yet: it is posted twice, and both say from which step."""
    async with slack() as server, app(server, tmp_path) as durable:
        server.late = True
        server.do("drop", "after")
        run = await durable.trigger(jobs.post_message, MESSAGE)
        await run.result(timeout="30s")
        first, second = server.channels[CHANNEL]
        assert first["metadata"] == second["metadata"]


async def test_without_the_connection_it_waits(quick, tmp_path):
    async with slack() as server, Durable(store_of(tmp_path), [jobs.post_message], worker=False) as durable:
        durable.connections.pop("slack", None)  # of whoever tests with one in the environment
        run = await durable.trigger(jobs.post_message, MESSAGE)
        await durable.run_until_idle()
        assert (await run.refresh()).status == Status.WAITING_ON_CONNECTIONS
        assert not server.calls
        durable.connections["slack"] = partial(client, server)
        await durable.run_until_idle()
        assert await run.result()
        assert server.texts == [TEXT]


async def test_the_token_is_nowhere(quick, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    async with slack() as server, app(server, tmp_path) as durable:
        server.do("drop", "after")
        run = await durable.trigger(jobs.post_message, MESSAGE)
        await run.result(timeout="30s")
        server.do("refuse", partial(no, "is_archived"))
        with pytest.raises(RunFailed):
            await (await durable.trigger(jobs.post_message, MESSAGE)).result(timeout="30s")
        assert files_with(TEXT, tmp_path)  # it would be found
        assert not files_with(TOKEN, tmp_path)
    assert not files_with(TOKEN, tmp_path)
    assert "chat.postMessage" in caplog.text
    assert TOKEN not in caplog.text
    assert TOKEN not in "".join(capfd.readouterr())


async def test_by_the_command_line(tmp_path):
    readme = Path(jobs.__file__).with_name("README.md")
    async with slack() as server:
        printed = await asyncio.to_thread(
            follow, readme, tmp_path, **{jobs.TOKEN: TOKEN, jobs.URL: server.url}
        )
        [message] = server.channels[CHANNEL]
        assert json.loads(printed) == {"channel": CHANNEL, "ts": message["ts"]}


@pytest.mark.parametrize("when", ["before", "after", "answered"])
async def test_killed_in_the_middle_and_posted_once(tmp_path, when):
    """SIGKILL while Slack has not taken the message yet; has, and hasn't said so; has said so."""
    async with slack() as server, Durable(store_of(tmp_path), [jobs], worker=False) as durable:
        server.do("hold", "before" if when == "before" else "after")
        environment = {jobs.TOKEN: TOKEN, jobs.URL: server.url}
        with workers(jobs.__name__, tmp_path, **environment) as start:
            worker = start()
            run = await durable.trigger(jobs.post_message, MESSAGE)
            await server.held.wait()
            if when == "answered":
                worker.freeze()
                server.release.set()
                await server.answered.wait()
            worker.kill()
            assert len(server.texts) == (when != "before")
            start()
            posted = await run.result(timeout="40s")
        [message] = server.channels[CHANNEL]
        assert (posted.ts, message["text"]) == (message["ts"], TEXT)
        assert server.count("chat.postMessage") == (2 if when == "before" else 1)
        assert server.count("conversations.history") == 1
        assert (await run.refresh()).attempt == 1  # a kill is none
    assert files_with(CHANNEL, tmp_path) >= {"output.txt", "runs.db"}  # it would be found
    assert not files_with(TOKEN, tmp_path)
