"""What an execution holds besides its run, in memory only: clients of connections, and credentials."""

from __future__ import annotations

from typing import Any

from .connections import Connections
from .errors import DurableError, InvalidOption
from .job import Job
from .records import RunRow
from .runinfo import RunInfo

__all__ = ["Holdings"]


class Holdings:
    """Of one execution; nothing of it is stored or logged."""

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}
        self._auth: Any = None
        self.unresolved = False  # the auth resolver has failed

    async def take(self, job: Job[Any, Any], run: RunRow, connections: Connections) -> None:
        """Raises what a factory raises, and `UnresolvedAuth` or what the auth resolver raises."""
        try:
            self._clients = await connections.clients(job.requires)
        except KeyError as error:
            raise DurableError(f"connection {error} is not here any more") from None
        if job.auth is None:
            return
        self.unresolved = True
        try:
            self._auth = await job.auth(RunInfo.of(run))
        except DurableError:
            raise
        except Exception as error:  # its message may have a secret in it
            raise DurableError(f"the auth resolver failed: {type(error).__name__}") from None
        self.unresolved = False

    def client(self, name: str) -> Any:
        try:
            return self._clients[name]
        except KeyError:
            raise InvalidOption("connection", f"the job doesn't say requires=[{name!r}]") from None

    def auth(self, job: Job[Any, Any]) -> Any:
        if job.auth is None:
            raise InvalidOption("auth", f"job {job.name!r} has no auth resolver")
        return self._auth
