"""Requests that Schemathesis makes of the OpenAPI document, sent to a server on a socket of its own.

Half of them are well formed, half are not; half of those at a run or a token name one that is there.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import checks
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode

from durable_lite import Durable
from durable_lite.server import asgi
from tests.http.support import BY_NAME, JOBS, delivery, live

__all__ = ["Fuzz", "server"]

TOKEN = "the token"
# Whether a payload fits a job, or a cursor a list, no schema of ours says: so no positive_data_acceptance.
_CHECKS = [
    checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_headers_conformance, checks.response_schema_conformance, checks.negative_data_rejection,
    checks.missing_required_header, checks.allow_header_conformance,
]  # fmt: skip


@contextmanager
def server(store: str) -> Iterator[str]:
    """A server with a worker and some runs, in a thread; its URL. Its streams end at once."""
    told: dict[str, Any] = {}
    started = threading.Event()

    async def main() -> None:
        async with Durable(store, JOBS, concurrency=2, durability="relaxed") as app:
            for number in range(20):
                await app.trigger("waits", number, tags=["t"])
                await app.trigger("fails")
                await app.trigger("done", {"org": "acme"})
            end = asgi(app, token=TOKEN, token_rate="100000/s")
            async with live(end) as url:
                end.stop_streams()
                told.update(url=url, loop=asyncio.get_running_loop(), stop=asyncio.Event())
                started.set()
                await told["stop"].wait()

    thread = threading.Thread(target=asyncio.run, args=[main()])
    thread.start()
    try:
        assert started.wait(30)
        yield told["url"]
    finally:
        told["loop"].call_soon_threadsafe(told["stop"].set)
        thread.join(30)


class Fuzz:
    """Asks, and counts what is answered. `wrong`: 5xx, and what the document doesn't say."""

    def __init__(self, url: str, number: int) -> None:
        self.url, self._random, self._seed = url, random.Random(number), number
        self.statuses: Counter[int] = Counter()
        self.by_operation: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._session = requests.Session()
        self._session.headers["authorization"] = f"Bearer {TOKEN}"
        self._schema = schemathesis.openapi.from_dict(self._get("/api/openapi.json"))
        self._ids: list[str] = []
        self._tokens: list[str] = []

    def close(self) -> None:
        self._session.close()

    def run(self, each: int) -> None:
        """So many requests for each operation, well formed and not."""
        for found in self._schema.get_all_operations():
            operation = found.ok()
            for mode in GenerationMode:
                self._of(operation, mode, max(1, each // 2))

    def _of(self, operation: Any, mode: GenerationMode, count: int) -> None:
        name = operation.definition.raw["operationId"]
        if mode is GenerationMode.NEGATIVE and name in (
            "queues.list",
            "schedules.list",
            "jobs.list",
            "health",
        ):
            mode = GenerationMode.POSITIVE  # nothing of it can be wrong
        self._look()

        @seed(self._seed)
        @settings(
            max_examples=count, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode), data=st.none())
        def ask(case: Any, data: None) -> None:
            self._ask(name, case)

        with suppress(Unsatisfiable):  # nothing of it can be wrong
            ask()

    def _ask(self, name: str, case: Any) -> None:
        if BY_NAME[name].on in ("run", "token") and self._random.random() < 0.5:
            ids = self._ids if BY_NAME[name].on == "run" else self._tokens
            if ids:
                case.path_parameters = {"id": self._random.choice(ids)}
        headers = {} if self._random.random() < 0.05 else dict(self._session.headers)
        if name == "webhooks.receive" and isinstance(case.body, bytes) and self._random.random() < 0.5:
            case.path_parameters = {"name": "own"}
            headers |= delivery(case.body, time.time(), str(self._random.random())[2:])
        try:
            response = case.call(self.url, self._session, headers=headers, timeout=30)
        except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeError):
            return  # can't be sent
        self.statuses[response.status_code] += 1
        self.by_operation[name] += 1
        try:
            case.validate_response(response, checks=_CHECKS)
        except FailureGroup as group:
            for failure in group.exceptions:
                if "(was array, became string)" in str(failure):
                    continue  # in a query a text is a list of one
                self.wrong.append(
                    f"{name}: {response.status_code} {failure!s:.500}\n{case.as_curl_command():.600}"
                )
        except schemathesis.errors.SchemathesisError as error:
            self.wrong.append(f"{name}: {error!s:.500}")

    def _look(self) -> None:
        """Some ids that are there; pauses are taken back."""
        self._ids = [run["id"] for run in self._get("/api/runs?limit=50")["runs"]]
        self._tokens = [token["id"] for token in self._get("/api/tokens?limit=50")["tokens"]]

    def _get(self, path: str) -> Any:
        response = self._session.get(self.url + path, timeout=30)
        response.raise_for_status()
        return response.json()
