"""A mail server for tests: aiosmtpd, which says no when it is told to, and can keep its answer to itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

PASSWORD = "s3cr3t/of:acme"


class Mailbox:
    """`do(command, reply)` says what it answers to the next RCPT, DATA …; all else is taken.

    With `hold` it waits for `release` once it has taken a message (or "before" that) and `held` is set.
    """

    def __init__(self, auth: bool = False) -> None:
        self.port, self.auth = 0, auth
        self.mails: list[bytes] = []
        self.commands: list[str] = []
        self.hold = ""
        self.held, self.release, self.answered = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._next: dict[str, list[str]] = {}

    @property
    def url(self) -> str:
        return f"smtp://{'ada:s3cr3t%2Fof%3Aacme@' if self.auth else ''}127.0.0.1:{self.port}"

    def do(self, command: str, *replies: str) -> None:
        self._next[command] = list(replies)

    def _told(self, command: str) -> str | None:
        self.commands.append(command)
        return self._next[command].pop(0) if self._next.get(command) else None

    # What aiosmtpd calls

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if (reply := self._told("MAIL")) is not None:
            return reply
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if (reply := self._told("RCPT")) is not None:
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if (reply := self._told("DATA")) is not None:
            return reply
        if self.hold == "before":
            await self._wait()
        assert isinstance(envelope.content, bytes)
        self.mails.append(envelope.content)
        if self.hold == "after":
            await self._wait()
        return "250 OK"

    async def _wait(self) -> None:
        self.hold = ""
        self.held.set()
        await self.release.wait()

    def authenticator(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ada", PASSWORD.encode())
        self.commands.append("AUTH")
        return AuthResult(success=right and self._told("login") is None, handled=False)


class Server(SMTP):
    """Tells the mailbox when an answer to DATA has been sent, and may break the connection after it."""

    async def push(self, status: Any) -> None:
        await super().push(status)
        mailbox: Mailbox = self.event_handler
        if mailbox.mails and str(status).startswith("250 OK"):
            mailbox.answered.set()

    async def smtp_QUIT(self, arg: str) -> None:
        if self.event_handler._told("QUIT") == "drop":
            self.transport.abort()
        else:
            await super().smtp_QUIT(arg)


@asynccontextmanager
async def mailbox(auth: bool = False) -> AsyncIterator[Mailbox]:
    """One that listens, at `url`."""
    box = Mailbox(auth)

    def protocol() -> Server:
        options = {"authenticator": box.authenticator} if auth else {}
        return Server(box, hostname="mail.example", auth_require_tls=False, **options)

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        box.release.set()
        server.close()
        await server.wait_closed()
