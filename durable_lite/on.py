"""What starts a job besides a trigger, as `@job(on=…)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .durations import name_of, seconds
from .errors import InvalidOption
from .matching import filter_text
from .step import Duration

__all__ = ["Event", "Schedule", "Webhook"]

_CATCH_UP = ("one", "all", "none")


class Event:
    """Events of this name, sent by `send_event`, start the job with their payload.

    `match` is a filter on fields of the payload: `{"org": "acme", "amount": {"gte": 100},
    "country": {"in": ["IT", "DE"]}}`; all must match. A payload that doesn't fit the job leaves a run
    INVALID_PAYLOAD. Raises `InvalidOption`.
    """

    __slots__ = ("match", "name")

    def __init__(self, name: str, *, match: dict[str, Any] | None = None) -> None:
        self.name = name_of(name, "name of an event")
        self.match = filter_text(match, f"Event({name!r}): match")

    def __repr__(self) -> str:
        return f"Event({self.name!r})"


class Schedule:
    """Starts the job at the times of a cron expression, or `every` so often; its payload is a `Tick`.

    * `cron`: five fields as in `crontab`, `"0 9 * * 1"`, or six with seconds first. Needs the extra
      `schedules`. As Debian's cron does it, a time that a change of clocks leaves out comes right after
      it, and one that it brings twice comes once, unless minute or hour begins with `*`.
    * `tz`: the time zone of `cron`, `"Europe/Rome"`; UTC by default.
    * `every`: a duration of at least a second. It ticks at its multiples since the epoch, so `"15m"`
      is at every full quarter of an hour.
    * `catch_up`: what of ticks that passed while no worker was there: `"one"` run for the latest,
      `"all"`, or `"none"`; a tick is one of them after a minute.
    * `name`: by default it says when. One whose time changes under a `name` stays paused, if it was.

    Raises `InvalidOption`.
    """

    __slots__ = ("catch_up", "name", "spec")

    def __init__(
        self,
        cron: str | None = None,
        *,
        every: Duration = None,
        tz: str | None = None,
        catch_up: str = "one",
        name: str | None = None,
    ) -> None:
        from .timetable import cron_spec, every_spec

        if (cron is None) == (every is None):
            raise InvalidOption("Schedule", 'takes either a cron expression or every="15m"')
        if catch_up not in _CATCH_UP:
            raise InvalidOption(
                "Schedule: catch_up", f"{catch_up!r:.80} is none of {', '.join(map(repr, _CATCH_UP))}"
            )
        if cron is None:
            if tz is not None:
                raise InvalidOption("Schedule: tz", "is for cron; every counts from the epoch")
            self.spec, shown = every_spec(every, "Schedule: every"), f"every {every}"
        else:
            self.spec = cron_spec(cron, "UTC" if tz is None else tz, "Schedule")
            shown = cron if tz is None else f"{cron} {tz}"
        self.catch_up = catch_up
        self.name = name_of(shown if name is None else name, "name of a schedule")

    def __repr__(self) -> str:
        return f"Schedule({self.name!r})"


class Webhook:
    """Deliveries to the webhook of this name start the job, once each; its payload is a `Delivery`.

    * `secret`: the text that the sender has given, or several while it is changed.
    * `verify`: how deliveries are signed: `"stripe"`, `"github"` or `"standard"` (Standard Webhooks); by
      default as the name says, else standard. Or a function `(headers, body)`, async or not, that returns
      the delivery's id or raises `InvalidSignature`; then there is no `secret`.
    * `match`: a filter on the body's fields, as `Event` has it.
    * `tolerance`: how far from now a signed time may be.

    Raises `InvalidOption`, without showing the secret.
    """

    __slots__ = ("match", "name", "secrets", "tolerance", "verify")

    def __init__(
        self,
        name: str,
        *,
        secret: str | Iterable[str] | None = None,
        verify: str | Callable[..., Any] | None = None,
        match: dict[str, Any] | None = None,
        tolerance: Duration = "5m",
    ) -> None:
        from .signatures import SCHEMES, check_secret

        self.name = name_of(name, "name of a webhook")
        where = f"Webhook({name!r})"
        self.verify = (name if name in SCHEMES else "standard") if verify is None else verify
        self.match = filter_text(match, f"{where}: match")
        self.tolerance = seconds(tolerance, f"{where}: tolerance")
        self.secrets: tuple[str, ...] = ()
        if callable(self.verify):
            if secret is not None:
                raise InvalidOption(f"{where}: secret", "is for a scheme; your verify function has its own")
            return
        if self.verify not in SCHEMES:
            known = ", ".join(map(repr, SCHEMES))
            raise InvalidOption(f"{where}: verify", f"expected a function or one of {known}")
        listed = isinstance(secret, Iterable) and not isinstance(secret, str | bytes)
        given: tuple[Any, ...] = tuple(secret or ()) if listed else (secret,) if secret else ()
        if not given:
            raise InvalidOption(f"{where}: secret", "is needed: a delivery could be from anybody")
        for one in given:
            try:
                check_secret(self.verify, one)
            except InvalidOption as error:
                raise InvalidOption(f"{where}: secret", error.detail) from None
        self.secrets = given

    def __repr__(self) -> str:
        return f"Webhook({self.name!r})"
