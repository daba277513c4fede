"""Jobs: a named async function with its policies, and the set of them that a worker knows."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Iterable
from types import ModuleType
from typing import Any, Generic, TypeVar, overload

from .connections import Connection
from .durations import count, listed, name_of, optional_seconds
from .errors import InvalidOption, UnknownJob
from .on import Event, Schedule, Webhook
from .payloads import PayloadType
from .queues import Queue
from .retry import Retry
from .shapes import return_shape
from .step import Duration

__all__ = [
    "Job",
    "collect_connections",
    "collect_jobs",
    "collect_queues",
    "described",
    "find_job",
    "job",
    "manifest",
]

P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")
N = TypeVar("N", "Job[Any, Any]", Queue, Connection)
Start = Event | Schedule | Webhook
Auth = Callable[[Any], Awaitable[Any]]
Jobs = Any  # a module, a Job, or any nesting of iterables of them


class Job(Generic[P, R]):
    """What `@job` makes of a function. Policies are read at each claim; runs store none of them."""

    def __init__(
        self,
        fn: Callable[..., Awaitable[R]],
        name: str,
        *,
        retry: Retry | None = None,
        queue: str | Queue = "default",
        version: str | None = None,
        accepts: Iterable[str | None] = (),
        max_duration: Duration = None,
        max_recoveries: int = 5,
        on: Start | Iterable[Start] = (),
        requires: Iterable[str | Connection] = (),
        auth: Auth | None = None,
    ) -> None:
        where = f"job {name!r}"
        if not inspect.iscoroutinefunction(fn):
            raise InvalidOption(where, "a job is an async function: async def …(ctx, payload)")
        if retry is not None and not isinstance(retry, Retry):
            raise InvalidOption(f"{where}: retry", f"expected a Retry, got {type(retry).__name__}")
        self.fn = fn
        self.name = name_of(name, "name of a job")
        self.limits = queue if isinstance(queue, Queue) else None
        self.queue = queue.name if isinstance(queue, Queue) else name_of(queue, f"{where}: queue")
        self.version = None if version is None else name_of(version, f"{where}: version")
        others = listed(accepts, f"{where}: accepts", "versions")
        self.accepts = {self.version, *(one and name_of(one, f"{where}: accepts") for one in others)}
        self.retry = retry or Retry()
        self.max_duration = optional_seconds(max_duration, f"{where}: max_duration")
        self.max_recoveries = count(max_recoveries, f"{where}: max_recoveries", minimum=0)
        self.on = _starts(on, f"{where}: on")
        given = listed(requires, f"{where}: requires", "names")
        self.connections = tuple(one for one in given if isinstance(one, Connection))
        names = [one.name if isinstance(one, Connection) else one for one in given]
        self.requires = tuple(name_of(name, f"{where}: requires") for name in names)
        if auth is not None and not inspect.iscoroutinefunction(auth):
            raise InvalidOption(f"{where}: auth", "expected an async function of the run's facts")
        self.auth = auth
        self.payload = PayloadType(fn, name)
        self.__doc__ = fn.__doc__
        self.__wrapped__ = fn

    @property
    def output(self) -> Any:
        """The shape of what the job returns."""
        return return_shape(self.fn)

    async def call(self, context: Any, payload: Any) -> R:
        """Execute the job's function from the top."""
        return await (self.fn(context, payload) if self.payload.takes else self.fn(context))

    def __repr__(self) -> str:
        return f"<Job {self.name!r}>"


@overload
def job(fn: Callable[[Any], Awaitable[R]], /) -> Job[None, R]: ...
@overload
def job(fn: Callable[[Any, P], Awaitable[R]], /) -> Job[P, R]: ...
@overload
def job(
    name: str | None = None,
    /,
    *,
    retry: Retry | None = None,
    queue: str | Queue = "default",
    version: str | None = None,
    accepts: Iterable[str | None] = (),
    max_duration: Duration = None,
    max_recoveries: int = 5,
    on: Start | Iterable[Start] = (),
    requires: Iterable[str | Connection] = (),
    auth: Auth | None = None,
) -> JobMaker: ...


def job(name: Any = None, /, **policies: Any) -> Any:
    """Make a job of an async function `(ctx, payload)`; its name is the function's unless given.

    * `retry`: of the whole run, by default 3 attempts; finished steps aren't done again.
    * `queue`: the queue its runs wait in, by name or as a `Queue` with limits.
    * `version`: stored with each run, as `ctx.run.version`. `accepts`: which others a worker takes up,
      that takes up `versions="known"` only; None is no version.
    * `max_duration`: awake executing time over all attempts; then the run is `TIMED_OUT`.
    * `max_recoveries`: claims in a row after a worker died, without a new checkpoint; then the run
      is `TIMED_OUT` with the code `poison`.
    * `on`: what starts it besides a trigger: an `Event`, a `Schedule`, a `Webhook`, or several.
    * `requires`: connections that it uses, by name or as `Connection`; a worker without them leaves its
      runs to others, and while nobody has them they are WAITING_ON_CONNECTIONS.
    * `auth`: an async function of `ctx.run` that gets the credentials for a run, as `ctx.auth`, whenever it
      starts or goes on; they are never stored. If it fails the run ends UNRESOLVED_AUTH.

    Raises `InvalidOption` naming what is wrong.
    """
    if callable(name):
        return Job(name, getattr(name, "__name__", type(name).__name__))
    return JobMaker(None if name is None else name_of(name, "name of a job"), policies)


class JobMaker:
    """What `@job(…)` with options is, before it is given the function."""

    def __init__(self, name: str | None, policies: dict[str, Any]) -> None:
        self._name, self._policies = name, policies

    @overload
    def __call__(self, fn: Callable[[Any], Awaitable[R]], /) -> Job[None, R]: ...
    @overload
    def __call__(self, fn: Callable[[Any, P], Awaitable[R]], /) -> Job[P, R]: ...

    def __call__(self, fn: Any, /) -> Any:
        name = self._name or str(getattr(fn, "__name__", type(fn).__name__))
        return Job(fn, name, **self._policies)


def collect_jobs(source: Jobs) -> dict[str, Job[Any, Any]]:
    """The jobs of modules, jobs, and lists of them, by name. Two jobs of one name are an error."""
    return _by_name(_walk(source, Job), "jobs")


def collect_queues(source: Jobs) -> dict[str, Queue]:
    """The queues with limits of modules and jobs, by name. Two that differ under one name are an error."""
    of_jobs = (job.limits for job in _walk(source, Job) if job.limits is not None)
    return _by_name([*_walk(source, Queue), *of_jobs], "different queues")


def collect_connections(source: Jobs) -> dict[str, Connection]:
    """The connections of modules and jobs, by name. Two of one name are an error."""
    of_jobs = (connection for job in _walk(source, Job) for connection in job.connections)
    return _by_name([*_walk(source, Connection), *of_jobs], "connections")


def find_job(jobs: dict[str, Job[Any, Any]], wanted: Job[Any, Any] | str) -> Job[Any, Any]:
    """A job by itself or by name; `UnknownJob` lists the names there are."""
    name = wanted.name if isinstance(wanted, Job) else wanted
    found = jobs.get(name) if isinstance(name, str) else None
    if found is None or (isinstance(wanted, Job) and found is not wanted):
        known = ", ".join(sorted(jobs)) or "none"
        raise UnknownJob(f"job {name!r} isn't among the jobs given to Durable (known: {known})")
    return found


def described(jobs: dict[str, Job[Any, Any]]) -> dict[str, dict[str, Any]]:
    """What a worker tells of its jobs, so that a page without Python can check a payload."""
    return {
        name: {"version": one.version, "queue": one.queue, "payload": one.payload.json_schema()}
        for name, one in sorted(jobs.items())
    }


def manifest(jobs: dict[str, Job[Any, Any]]) -> str:
    """The same as the text that it publishes."""
    return json.dumps(described(jobs), sort_keys=True)


def _by_name(given: Iterable[N], what: str) -> dict[str, N]:
    found: dict[str, N] = {}
    for one in given:
        if found.setdefault(one.name, one) != one:
            raise InvalidOption("jobs", f"two {what} are named {one.name!r}")
    return found


def _starts(on: Any, option: str) -> tuple[Start, ...]:
    given = tuple(on) if isinstance(on, Iterable) and not isinstance(on, str) else (on,)
    if bad := [one for one in given if not isinstance(one, Start)]:
        raise InvalidOption(option, f"expected Event(…), Schedule(…) or Webhook(…), got {bad[0]!r:.80}")
    names = [one.name for one in given if isinstance(one, Schedule)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InvalidOption(option, f"two schedules are named {twice[0]!r}")
    return given


def _walk(source: Any, kind: type[T]) -> Iterable[T]:
    if isinstance(source, kind):
        yield source
    elif isinstance(source, ModuleType):
        # A job imported from another module under a second name is still one job.
        yield from {id(value): value for value in vars(source).values() if isinstance(value, kind)}.values()
    elif isinstance(source, Iterable) and not isinstance(source, str | bytes):
        for inner in source:
            yield from _walk(inner, kind)
    elif not isinstance(source, Job | Queue | Connection):
        raise InvalidOption("jobs", f"expected modules, @job functions or queues, got {source!r:.80}")
