"""When a schedule ticks: at the times of a cron expression in a time zone, or every so many seconds."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Protocol
from zoneinfo import ZoneInfo

from .brief import described
from .durations import MAX_NAME, seconds
from .errors import DurableError, InvalidOption
from .step import Duration

if TYPE_CHECKING:
    from cronsim import CronSim

__all__ = ["UNREADABLE", "Tick", "Timetable", "cron_spec", "every_spec", "first", "text", "timetable"]

_SHORTEST = 1.0  # seconds
# How far back to look for the last tick; nothing ticks less often than the last says.
_HOUR, _DAY = 3600.0, 86_400.0
_WINDOWS = (_HOUR, _DAY, 32 * _DAY, 366 * _DAY, 9 * 366 * _DAY, 50 * 366 * _DAY)


@dataclass(frozen=True)
class Tick:
    """The payload of a run that a schedule has started. Times are those of the schedule's time zone.

    `timestamp` is when it was to start, whenever it does; `last_timestamp` that of the run before.
    """

    timestamp: datetime
    last_timestamp: datetime | None = None


# What comes of a text that another version of the code has written.
UNREADABLE = (DurableError, ArithmeticError, LookupError, TypeError, ValueError)


class Timetable(Protocol):
    """The ticks of one schedule, in seconds since the epoch."""

    zone: tzinfo

    def after(self, moment: float) -> float:
        """The first tick after a moment."""

    def last(self, moment: float) -> float | None:
        """The last tick at or before a moment."""


def first(spec: str, moment: float) -> float:
    """The first tick at or after a moment; the moment itself, if the text can't be read here."""
    try:
        return timetable(spec).after(math.nextafter(moment, -math.inf))
    except UNREADABLE:
        return moment


def text(moment: float, zone: tzinfo) -> str:
    """A moment as a `Tick` has it in JSON, to be read by whoever."""
    return datetime.fromtimestamp(moment, zone).isoformat()


@lru_cache(maxsize=1000)
def timetable(spec: str) -> Timetable:
    """The timetable of a text that `cron_spec` or `every_spec` gave. Raises `InvalidOption`."""
    fields = json.loads(spec)
    if "every" in fields:
        return _Every(fields["every"])
    return _Cron(fields["cron"], fields["tz"])


def every_spec(every: Duration, option: str) -> str:
    """A tick at each multiple of a duration since the epoch, so that `"1h"` is at every full hour UTC."""
    length = seconds(every, option)
    if length < _SHORTEST:
        raise InvalidOption(option, f"must be at least {_SHORTEST:g} s, got {length:g}")
    return json.dumps({"every": length})


def cron_spec(cron: str, tz: str, option: str) -> str:
    """The times of a cron expression. Raises `InvalidOption` for what never ticks."""
    for name, value in (("cron", cron), ("tz", tz)):
        if not isinstance(value, str) or len(value) > MAX_NAME:
            raise InvalidOption(f"{option}: {name}", f"expected text, got {described(value)}")
    spec = json.dumps({"cron": " ".join(cron.split()), "tz": tz})
    try:
        timetable(spec)
    except InvalidOption as error:
        raise InvalidOption(f"{option}: {error.option}", error.detail) from None
    return spec


class _Every:
    zone: tzinfo = UTC

    def __init__(self, length: float) -> None:
        self._length = length

    def after(self, moment: float) -> float:
        number = math.floor(moment / self._length)
        while number * self._length <= moment:
            number += 1
        return number * self._length

    def last(self, moment: float) -> float:
        number = math.floor(moment / self._length) + 1
        while number * self._length > moment:
            number -= 1
        return number * self._length


@cache
def _simulator() -> type[CronSim]:
    from cronsim import CronSim

    class Ticks(CronSim):
        """cronsim goes from hour to hour by 3600 seconds, from minute to minute by a multiple of 60: where
        clocks change by half an hour it goes on at half past, and passes ticks over.
        """

        def advance_hour(self) -> bool:
            if self.dt.hour in self.hours:
                return False
            self.tick(3600 - 60 * self.dt.minute - self.dt.second)
            return True  # it looks at all of them again

        def advance_minute(self) -> bool:
            if self.dt.minute in self.minutes:
                return False
            target = min((one for one in self.minutes if one > self.dt.minute), default=60)
            self.tick(60 * (target - self.dt.minute) - self.dt.second)
            return True

    return Ticks


class _Cron:
    def __init__(self, cron: str, tz: str) -> None:
        try:
            from cronsim import CronSimError
        except ImportError:
            raise InvalidOption("cron", 'needs cronsim: pip install "durable-lite[schedules]"') from None
        self._cron, self._ticks_from, self.zone = cron, _simulator(), _zone(tz)
        try:
            self.after(0.0)
        except CronSimError as error:
            raise InvalidOption("cron", f"{cron!r:.80}: {error}") from None
        except StopIteration:
            raise InvalidOption("cron", f"{cron!r:.80}: no day is ever like that") from None

    def after(self, moment: float) -> float:
        # In the hour that comes twice an expression may answer with a time of its first half.
        ticks = self._ticks_from(self._cron, datetime.fromtimestamp(math.floor(moment), self.zone))
        return next(at for tick in ticks if (at := tick.timestamp()) > moment)

    def last(self, moment: float) -> float | None:
        for window in _WINDOWS:
            found, at = None, moment - window
            while (at := self.after(at)) <= moment:
                found = at
            if found is not None:
                return found
        return None


def _zone(tz: str) -> tzinfo:
    if tz == "UTC":  # which no list of zones is needed for
        return UTC
    try:
        return ZoneInfo(tz)
    except (KeyError, ValueError, OSError):  # the last: a folder of that name
        pass
    try:
        ZoneInfo("Europe/Rome")
    except KeyError:
        raise InvalidOption(
            "tz", f"{tz!r:.80}: there is no list of time zones here; install tzdata"
        ) from None
    raise InvalidOption("tz", f"no time zone is called {tz!r:.80}")
