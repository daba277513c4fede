"""Webhooks: a delivery that is verified starts the jobs that are on it, and ends waits, once."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import codec
from .errors import InvalidDelivery, InvalidOption, InvalidSignature, TooLarge, UnknownWebhook
from .job import Job
from .matching import matches
from .on import Webhook
from .ports import Store
from .records import Sent, SentEvent
from .signatures import verify
from .trigger import run_started_by

__all__ = ["Delivery", "receive"]

# Of a delivery's headers those that aren't kept: whoever reads them could be somebody else.
_is_secret = re.compile(r"auth|cookie|hmac|key|passw|secret|signature|token", re.IGNORECASE).search


@dataclass(frozen=True)
class Delivery:
    """The payload of a run that a webhook has started: what came, with header names in lower case.

    `body` is the text as it came, without signatures and credentials among the headers.
    """

    id: str
    webhook: str
    headers: dict[str, str]
    body: str

    def json(self) -> Any:
        """The body, read as JSON. `ValueError` if it is none."""
        return json.loads(self.body)


async def receive(
    store: Store,
    jobs: Iterable[Job[Any, Any]],
    name: str,
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    new_id: Callable[[], str],
    environment: str | None,
    limit: int,
) -> Sent:
    """Verify a delivery, store it once, with a run for each job whose webhook of this name takes it."""
    if not isinstance(body, bytes):
        raise InvalidOption("body", f"expected bytes, as they came, got {type(body).__name__}")
    if not isinstance(headers, Mapping):
        raise InvalidOption("headers", f"expected a dict, got {type(headers).__name__}")
    hooks = [(job, one) for job in jobs for one in job.on if isinstance(one, Webhook) and one.name == name]
    if not hooks:
        raise UnknownWebhook(name)
    if len(body) > limit:
        raise TooLarge(f"webhook {name}", len(body), limit)
    ids, refused = [], []
    for job, hook in hooks:
        try:
            ids.append((job, hook, await _verified(hook, headers, body, now)))
        except InvalidSignature as error:
            refused.append(error)
    if not ids:
        raise refused[0]
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise InvalidDelivery(name, "its body isn't UTF-8") from None
    delivery_id = ids[0][2]
    event_id = f"webhook {name} {delivery_id}"
    kept = {key.lower(): value for key, value in headers.items() if not _is_secret(key)}
    plain = {"id": delivery_id, "webhook": name, "headers": kept}
    payload = codec.encode(plain | {"body": text}, key=f"webhook {name}", limit=limit)
    data = _data(text)
    trigger = {"kind": "webhook", "name": name, "event": event_id, "timestamp": now}
    started = {job.name: job for job, hook, _ in ids if matches(hook.match, data)}
    runs = [
        run_started_by(trigger, new_id(), job, payload if job.payload.takes else "null", now, environment)
        for job in started.values()
    ]
    waits = codec.encode(plain | {"data": data}, key=f"webhook {name}", limit=limit)
    return await store.send_event(SentEvent(event_id, f"webhook.{name}", waits, now), runs)


async def _verified(hook: Webhook, headers: Mapping[str, str], body: bytes, now: float) -> str:
    """The id of a delivery. `InvalidSignature`."""
    if callable(hook.verify):
        found = hook.verify(headers, body)
        id = await found if inspect.isawaitable(found) else found
        if not isinstance(id, str) or not 0 < len(id.encode("utf-8", "replace")) <= 255:
            raise InvalidDelivery(hook.name, "its verify function gave no id of 1 to 255 bytes")
        return id
    return verify(hook.verify, hook.secrets, headers, body, now, hook.tolerance).id


def _data(text: str) -> Any:
    """The body for filters: None where it isn't JSON."""
    try:
        return None if codec.is_too_deep(text) else json.loads(text)
    except ValueError:
        return None
