"""Send an e-mail by SMTP, with the same Message-ID however often it is sent.

SMTP takes no idempotency key, and there is nothing to look at before sending again: a process that dies
after the server has taken the message, and before the step's result is stored, sends it twice.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote, urlsplit

import aiosmtplib

from durable_lite import AbortRun, Connection, Context, Retry, current, job

__all__ = ["Mail", "Mailer", "Sent", "send_mail"]

URL = "SMTP_URL"  # an environment variable
TIMEOUT = 60.0  # seconds to connect
# RFC 5321 gives a server ten minutes to take a message. Who hangs up sooner and tries again sends it twice.
PATIENCE = 600.0

# Some servers turn strangers away at first, to see whether they come back: give them half a day.
PATIENT = Retry(max_attempts=20, min_delay="10s", max_delay="1h")


@dataclass
class Mail:
    """To one address: of several, some may be refused, and the others would get it again."""

    sender: str
    to: str
    subject: str
    text: str


@dataclass
class Sent:
    message_id: str


class Mailer:
    """Sends each message over a connection of its own, as servers close those that are idle.

    `url` is smtp://user:password@host:587 or smtps://…:465, its parts percent-encoded. A password goes
    over TLS, or to this machine.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if host is None or parts.scheme not in ("smtp", "smtps"):
            raise ValueError(f"{URL}: expected smtp://… or smtps://…")  # not what it is: it has a password
        secure = parts.username is not None and host not in ("localhost", "127.0.0.1", "::1")
        self.options: dict[str, Any] = {"hostname": host, "port": port, "timeout": TIMEOUT}
        if parts.scheme == "smtps":
            self.options["use_tls"] = True
        else:
            self.options["start_tls"] = True if secure else None  # None: if the server has it
        if parts.username is not None:
            self.options["username"] = unquote(parts.username)
            self.options["password"] = unquote(parts.password or "")

    async def send(self, message: EmailMessage) -> None:
        async with aiosmtplib.SMTP(**self.options) as server:
            await server.send_message(message, timeout=PATIENCE)


# A worker without the variable knows the connection's name only, and leaves these runs to one that has it.
# With a wrong one it doesn't start.
smtp: Connection | str = Connection("smtp", Mailer(os.environ[URL])) if URL in os.environ else "smtp"


@job(requires=[smtp], retry=PATIENT)
async def send_mail(ctx: Context, mail: Mail) -> Sent:
    """One step; a real job does something before and after it."""
    return await ctx.step("send", send, mail)


async def send(mail: Mail) -> Sent:
    """Send it. Done again, it is the same message to the last byte."""
    ctx = current()
    message = compose(mail, f"{ctx.run.id}.send", ctx.run.created_at)
    mailer: Mailer = ctx.connection("smtp")
    try:
        await mailer.send(message)
    except (aiosmtplib.SMTPException, ValueError) as error:
        if is_final(error):
            raise AbortRun(f"{type(error).__name__}: {error}") from None
        raise
    return Sent(str(message["Message-ID"]))


def compose(mail: Mail, key: str, at: float) -> EmailMessage:
    """The message; its id and its date are those of the run, and not of the try."""
    message = EmailMessage()
    try:
        message["From"], message["To"], message["Subject"] = mail.sender, mail.to, mail.subject
        [sender], [to] = message["From"].addresses, message["To"].addresses
        if not (sender.domain and to.domain):
            raise ValueError("an address without a domain")
    except (ValueError, IndexError) as error:  # also a line break, which would be a header of its own
        raise AbortRun(f"can't be written as a message: {error}") from None
    message["Message-ID"] = f"<{key}@{sender.domain}>"
    message["Date"] = formatdate(at)
    message.set_content(mail.text)
    return message


def is_final(error: Exception) -> bool:
    """Whether the server has said no (5xx), or the message can't be sent as it is."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return all(one.code >= 500 for one in error.recipients)
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return error.code >= 500
    return isinstance(error, aiosmtplib.SMTPNotSupported | ValueError)
