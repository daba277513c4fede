"""The e-mail example: real SMTP to a server of our own, real workers that are killed."""

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from durable_lite import Durable, EventType, Retry, RunFailed, Status
from examples.email import jobs
from tests.examples.processes import files_with, follow, silent_port, store_of, workers
from tests.examples.smtp_server import PASSWORD, mailbox

pytestmark = pytest.mark.timeout(50)

MAIL = {
    "sender": "Exports <exports@acme.example>",
    "to": "ada@example.org",
    "subject": "Your export, Zoë",
    "text": "Dear Zoë,\n\nit is ready.\n.\nThe line above is a dot.\n",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Tries that follow each other at once."""
    monkeypatch.setattr(jobs.send_mail, "retry", Retry(max_attempts=5, min_delay="1ms", max_delay="5ms"))


@asynccontextmanager
async def app(url, folder, **options):
    async with Durable(store_of(folder), [jobs.send_mail], **options) as durable:
        durable.connections["smtp"] = jobs.Mailer(url)
        yield durable


async def failures(run):
    """What went wrong on the way."""
    return [event.data["error"] async for event in run.events() if event.type == EventType.STEP_FAILED]


@pytest.mark.parametrize("auth", [False, True])
async def test_it_is_sent(tmp_path, auth):
    async with mailbox(auth) as box, app(box.url, tmp_path) as durable:
        run = await durable.trigger(jobs.send_mail, MAIL)
        sent = await run.result(timeout="30s")
        [mail] = [message_from_bytes(one, policy=policy.default) for one in box.mails]
        assert mail["Message-ID"] == sent.message_id == f"<{run.id}.send@acme.example>"
        assert {name: mail[name] for name in ("From", "To", "Subject")} == {
            "From": MAIL["sender"],
            "To": MAIL["to"],
            "Subject": MAIL["subject"],
        }
        assert mail.get_content().replace("\r\n", "\n") == MAIL["text"]
        assert ("AUTH" in box.commands) == auth


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("MAIL", "421 4.3.2 shutting down"),
        ("RCPT", "450 4.2.1 come back later"),
        ("RCPT", "451 4.7.1 greylisted"),
        ("DATA", "452 4.3.1 disk full"),
    ],
)
async def test_what_passes_is_tried_again(tmp_path, command, reply):
    async with mailbox() as box, app(box.url, tmp_path) as durable:
        box.do(command, reply, reply)
        run = await durable.trigger(jobs.send_mail, MAIL)
        await run.result(timeout="30s")
        assert len(box.mails) == 1
        assert len(await failures(run)) == 2


async def test_nobody_listens(tmp_path):
    with silent_port() as port:
        async with app(f"smtp://127.0.0.1:{port}", tmp_path) as durable:
            run = await durable.trigger(jobs.send_mail, MAIL)
            with pytest.raises(RunFailed, match="SMTPConnectError"):
                await run.result(timeout="30s")
            assert run.attempt == 5


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("MAIL", "550 5.7.1 not from you"),
        ("RCPT", "550 5.1.1 no such user"),
        ("DATA", "554 5.6.0 spam"),
        ("login", "no"),  # 535
    ],
)
async def test_what_the_server_will_not_take_fails_at_once(tmp_path, command, reply):
    async with mailbox(auth=command == "login") as box, app(box.url, tmp_path) as durable:
        box.do(command, *[reply] * 9)
        run = await durable.trigger(jobs.send_mail, MAIL)
        with pytest.raises(RunFailed, match="535" if command == "login" else reply.partition(" ")[2]):
            await run.result(timeout="30s")
        assert (run.status, run.attempt, box.mails) == (Status.FAILED, 1, [])


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "nobody"},
        {"to": ""},
        {"to": "ada@example.org, bob@example.org"},
        {"sender": ""},
        {"subject": "Hello\nBcc: everybody@example.org"},
    ],
)
async def test_what_is_no_message_fails_at_once(tmp_path, changes):
    async with mailbox() as box, app(box.url, tmp_path) as durable:
        run = await durable.trigger(jobs.send_mail, MAIL | changes)
        with pytest.raises(RunFailed, match="can't be written as a message"):
            await run.result(timeout="30s")
        assert (run.status, run.attempt, box.commands) == (Status.FAILED, 1, [])


async def test_an_address_that_the_server_has_no_letters_for(tmp_path):
    async with mailbox() as box, app(box.url, tmp_path) as durable:
        run = await durable.trigger(jobs.send_mail, MAIL | {"to": "zoë@example.org"})
        with pytest.raises(RunFailed, match="SMTPUTF8"):
            await run.result(timeout="30s")
        assert (run.status, run.attempt) == (Status.FAILED, 1)


async def test_once_taken_it_is_sent_whatever_becomes_of_the_connection(tmp_path):
    async with mailbox() as box, app(box.url, tmp_path) as durable:
        box.do("QUIT", "drop")
        run = await durable.trigger(jobs.send_mail, MAIL)
        await run.result(timeout="30s")
        assert (len(box.mails), await failures(run)) == (1, [])


async def test_without_the_connection_it_waits(tmp_path):
    async with mailbox() as box, Durable(store_of(tmp_path), [jobs.send_mail], worker=False) as durable:
        durable.connections.pop("smtp", None)  # of whoever tests with one in the environment
        run = await durable.trigger(jobs.send_mail, MAIL)
        await durable.run_until_idle()
        assert (await run.refresh()).status == Status.WAITING_ON_CONNECTIONS
        durable.connections["smtp"] = jobs.Mailer(box.url)
        await durable.run_until_idle()
        assert await run.result()
        assert len(box.mails) == 1


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("smtp://127.0.0.1:2525", {"hostname": "127.0.0.1", "port": 2525, "start_tls": None}),
        ("smtp://mail.example", {"hostname": "mail.example", "port": None, "start_tls": None}),
        ("smtp://a:b@mail.example:587", {"username": "a", "password": "b", "start_tls": True}),
        ("smtps://a%40b:c%2Fd@mail.example", {"username": "a@b", "password": "c/d", "use_tls": True}),
        ("smtp://a:b@localhost", {"username": "a", "start_tls": None}),
    ],
)
def test_a_password_goes_over_tls(url, options):
    assert jobs.Mailer(url).options.items() >= options.items()


@pytest.mark.parametrize(
    "url", ["", f"http://a:{PASSWORD}@x", f"smtp://a:{PASSWORD}@x", "smtp://[", "smtp://"]
)
def test_a_wrong_url_is_not_quoted(url):
    with pytest.raises(ValueError, match="SMTP_URL: expected") as wrong:
        jobs.Mailer(url)
    assert "s3cr3t" not in str(wrong.value)
    assert wrong.value.__context__ is None  # the parser's words quote it, too


async def test_the_password_is_nowhere(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    async with mailbox(auth=True) as box, app(box.url, tmp_path) as durable:
        await (await durable.trigger(jobs.send_mail, MAIL)).result(timeout="30s")
        box.do("login", *["no"] * 9)
        with pytest.raises(RunFailed):
            await (await durable.trigger(jobs.send_mail, MAIL)).result(timeout="30s")
        assert files_with("ada@example.org", tmp_path)  # it would be found
        assert not files_with("s3cr3t", tmp_path)
    assert not files_with("s3cr3t", tmp_path)
    assert "s3cr3t" not in caplog.text
    assert "s3cr3t" not in "".join(capfd.readouterr())


async def test_by_the_command_line(tmp_path):
    readme = Path(jobs.__file__).with_name("README.md")
    async with mailbox() as box:
        printed = await asyncio.to_thread(follow, readme, tmp_path, **{jobs.URL: box.url})
        [mail] = box.mails
        assert json.loads(printed) == {"message_id": message_from_bytes(mail)["Message-ID"]}


@pytest.mark.parametrize("when", ["before", "after", "answered"])
async def test_killed_in_the_middle_and_sent_again(tmp_path, when):
    """SIGKILL while the server has not taken the mail yet; has, and hasn't said so; has said so.

    It arrives at least once, and no copy differs from another by a byte. That it arrives once is more
    than SMTP can promise: once it is taken, the second worker has no way to know.
    """
    async with mailbox(auth=True) as box, Durable(store_of(tmp_path), [jobs], worker=False) as durable:
        box.hold = "before" if when == "before" else "after"
        with workers(jobs.__name__, tmp_path, **{jobs.URL: box.url}) as start:
            worker = start()
            run = await durable.trigger(jobs.send_mail, MAIL)
            await box.held.wait()
            if when == "answered":
                worker.freeze()
                box.release.set()
                await box.answered.wait()
            worker.kill()
            assert len(box.mails) == (when != "before")
            start()
            sent = await run.result(timeout="40s")
        assert len(box.mails) == (1 if when == "before" else 2)
        [mail] = set(box.mails)
        assert message_from_bytes(mail)["Message-ID"] == sent.message_id
        assert (await run.refresh()).attempt == 1  # a kill is none
    assert "runs.db" in files_with("ada@example.org", tmp_path)  # it would be found
    assert not files_with("s3cr3t", tmp_path)
