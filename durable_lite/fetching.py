"""`ctx.fetch`: an HTTP request as a step, tried again where that helps, and its answer as it was recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from .durations import count, listed
from .errors import FetchFailed, InvalidOption, TooLarge
from .inflight import Scope
from .retry import Retry
from .step import StepOptions

if TYPE_CHECKING:
    from .execution import Execution

__all__ = ["Answer", "Fetch", "Request", "Response", "fetch", "request_of", "retry_after", "rule_of"]

# Of an answer's headers those that are recorded as "[redacted]".
REDACTED = frozenset(
    {"set-cookie", "set-cookie2", "authorization", "proxy-authorization", "www-authenticate", "x-api-key"}
)
RETRY_ON = (408, 425, 429, "5xx")
_TIMEOUT, _LONGEST_WAIT = 30.0, 7 * 86_400.0
_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_value = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch


class Request(NamedTuple):
    """What is sent: headers as (name, value), `content` as bytes."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes | None = None

    @property
    def shown(self) -> str:
        """Method and address, without what may be secret in it: user, password, query."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return f"{self.method} {urlunsplit((parts.scheme, host, parts.path, '', ''))}"


@dataclass(frozen=True)
class Response:
    """An answer as it was recorded: `headers` by their names in lower case; `body` is text if it is UTF-8."""

    status: int
    url: str
    headers: dict[str, str]
    body: str | bytes

    @property
    def ok(self) -> bool:
        """Whether the status is 200 to 299."""
        return 200 <= self.status <= 299

    @property
    def content(self) -> bytes:
        """The body as it came."""
        return self.body.encode() if isinstance(self.body, str) else self.body

    @property
    def text(self) -> str:
        """The body as text; what isn't UTF-8 is replaced."""
        return self.body if isinstance(self.body, str) else self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body, read as JSON. `ValueError` if it is none."""
        return json.loads(self.body)


class Answer(NamedTuple):
    """What the port gives: everything as it came."""

    status: int
    url: str
    headers: tuple[tuple[str, str], ...]
    content: bytes


Fetch = Callable[[Request, int], Coroutine[Any, Any, Answer]]
"""The port: sends a request, and reads at most so many bytes of the answer and one part more.

Raises `FetchFailed` if there is none.
"""


class FetchRule(NamedTuple):
    """What is done with an answer."""

    retry_on: tuple[int | str, ...]
    redact: frozenset[str]
    limit: int

    def again(self, status: int) -> bool:
        return status in self.retry_on or f"{status // 100}xx" in self.retry_on


async def fetch(
    execution: Execution, scope: Scope, path: str, options: StepOptions, request: Request, rule: FetchRule
) -> Response:
    """The step of this path."""
    engine = execution.engine

    async def send(request: Request, rule: FetchRule) -> Response:
        answer = await engine.send(request, rule.limit)
        if rule.again(answer.status):
            values = [value for name, value in answer.headers if name.lower() == "retry-after"]
            delay = retry_after(values[0], engine.clock.now()) if values else None
            raise FetchFailed(request.shown, answer.status, f"answered {answer.status}", delay)
        if len(answer.content) > rule.limit:
            raise TooLarge(path, len(answer.content), rule.limit)
        return recorded(answer, rule)

    defaults = StepOptions(Retry(), _TIMEOUT, request.shown)
    found: Response = await execution.calls.step(
        scope, path, send, (request, rule), {}, options.over(defaults), name="fetch"
    )
    return found


def recorded(answer: Answer, rule: FetchRule) -> Response:
    """What is stored of an answer."""
    redacted = REDACTED | rule.redact
    headers: dict[str, str] = {}
    for name, value in ((name.lower(), value) for name, value in answer.headers):
        value = "[redacted]" if name in redacted else value
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    try:
        body: str | bytes = answer.content.decode()
    except UnicodeDecodeError:
        body = answer.content
    parts = urlsplit(answer.url)
    url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return Response(answer.status, url, headers, body)


def request_of(
    method: Any, url: Any, headers: Any, content: Any, data: Any, idempotency_key: str | None
) -> Request:
    """A request of what a job has given. Raises `InvalidOption`."""
    if not isinstance(method, str) or not _token(method):
        raise InvalidOption("method", f"{method!r:.80} is no HTTP method")
    if not isinstance(url, str) or not _is_address(url):
        raise InvalidOption("url", "expected the text of an http or https address; in a tab also a path, /…")
    if headers is not None and not isinstance(headers, Mapping):
        raise InvalidOption("headers", f"expected a dict, got {type(headers).__name__}")
    given = dict(headers or {})
    for name, value in given.items():
        if not isinstance(name, str) or not _token(name):
            raise InvalidOption("headers", f"{name!r:.80} is no name of a header")
        if not isinstance(value, str) or not _value(value):
            raise InvalidOption(f"headers[{name!r}]", "expected printable text")
    if content is not None and data is not None:
        raise InvalidOption("content", "takes either content or json")
    names = {name.lower() for name in given}
    if data is not None:
        try:
            content = json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise InvalidOption("json", str(error)) from None
        if "content-type" not in names:
            given["Content-Type"] = "application/json"
    if isinstance(content, str):
        content = content.encode()
    if content is not None and not isinstance(content, bytes):
        raise InvalidOption("content", f"expected text or bytes, got {type(content).__name__}")
    if idempotency_key is not None and "idempotency-key" not in names:
        given["Idempotency-Key"] = idempotency_key
    return Request(method.upper(), url, tuple(given.items()), content)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        if not parts.scheme and not parts.netloc:
            return parts.path.startswith("/")
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def rule_of(retry_on: Any, redact: Any, max_bytes: Any, limit: int) -> FetchRule:
    """What is to be done with an answer, of what a job has given. Raises `InvalidOption`."""
    statuses = listed(RETRY_ON if retry_on is None else retry_on, "retry_on", "statuses")
    for status in statuses:
        if status not in ("3xx", "4xx", "5xx") and not (type(status) is int and 300 <= status <= 599):
            raise InvalidOption("retry_on", f'{status!r:.80} is no status from 300 to 599, nor "4xx", "5xx"')
    names = listed(redact, "redact", "names")
    if bad := [name for name in names if not isinstance(name, str)]:
        raise InvalidOption("redact", f"{bad[0]!r:.80} is no name of a header")
    size = limit if max_bytes is None else count(max_bytes, "max_bytes")
    return FetchRule(statuses, frozenset(name.lower() for name in names), min(size, limit))


def retry_after(value: str | None, now: float) -> float | None:
    """The seconds that a `Retry-After` header asks for: a number of them, or a date."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        delay = float(value[:12])
    else:
        from email.utils import parsedate_to_datetime

        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        delay = moment.timestamp() - now
    return min(max(delay, 0.0), _LONGEST_WAIT) or None
