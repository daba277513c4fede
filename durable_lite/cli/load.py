"""Job files: finds the jobs of `jobs.py`, `jobs.py:export` or `package.module:export`.

A file is loaded as an ordinary module under its own name, so that its classes are those that any
other import of it gives.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ..connections import Connection
from ..errors import InvalidOption
from ..job import Job, Jobs, collect_connections, collect_jobs, collect_queues
from ..queues import Queue
from .exits import Failure, detail

__all__ = ["Loaded", "load_job", "load_jobs", "no_such_job"]

AnyJob = Job[Any, Any]


class Loaded(NamedTuple):
    """What a worker is given of job files."""

    jobs: dict[str, AnyJob]
    others: tuple[Queue | Connection, ...]  # queues with limits, and connections, of the same modules

    @property
    def all(self) -> list[AnyJob | Queue | Connection]:
        return [*self.jobs.values(), *self.others]


def load_job(target: str) -> tuple[AnyJob, Loaded]:
    """The one job that `target` names, and all that is in its module."""
    where, name = _split(target)
    module, loaded = _load(where)
    return _pick(where, name, module, loaded.jobs), loaded


def load_jobs(targets: Iterable[str]) -> Loaded:
    """The jobs of several modules; of a target with a name only that one."""
    found: list[AnyJob | Queue | Connection] = []
    for target in targets:
        where, name = _split(target)
        module, loaded = _load(where)
        found += loaded.all if name is None else [_pick(where, name, module, loaded.jobs), *loaded.others]
    return _collect(", ".join(targets), found)


def _collect(where: str, source: Jobs) -> Loaded:
    try:
        others: list[Queue | Connection] = [*collect_queues(source).values()]
        others += collect_connections(source).values()
        return Loaded(collect_jobs(source), tuple(others))
    except InvalidOption as error:
        raise Failure(f"{where}: {detail(error)}") from None


def _split(target: str) -> tuple[str, str | None]:
    """`jobs.py:export` → its place and name; a drive letter's colon is none of ours."""
    where, colon, name = target.rpartition(":")
    if not colon or "/" in name or "\\" in name or name.endswith(".py"):
        return target, None
    if not where or not name:
        raise Failure(f"{target}: expected FILE.py:JOB or MODULE:JOB")
    return where, name


def _load(where: str) -> tuple[ModuleType, Loaded]:
    is_file = where.endswith(".py") or "/" in where or os.sep in where
    module = _load_file(where) if is_file else _load_module(where)
    loaded = _collect(where, module)
    if not loaded.jobs:
        raise Failure(f"{where}: there are no jobs in it; a job is an async function with @job")
    return module, loaded


def _pick(where: str, name: str | None, module: ModuleType, jobs: dict[str, AnyJob]) -> AnyJob:
    """A job by its name, or by the name of its function."""
    if name is None and len(jobs) == 1:
        return next(iter(jobs.values()))
    known = ", ".join(sorted(jobs))
    if name is None:
        raise Failure(f"{where}: which job? there are {known}; say {where}:{min(jobs)}")
    found = jobs.get(name) or getattr(module, name, None)
    if not isinstance(found, Job):
        raise Failure(f"{where}: {no_such_job(name, jobs)}")
    return found


def no_such_job(name: str, jobs: Iterable[str]) -> str:
    known = sorted(jobs)
    return f"no job is named {name!r}; there {'are' if len(known) > 1 else 'is'} {', '.join(known)}"


def _load_file(where: str) -> ModuleType:
    path = Path(where).resolve()
    if not path.is_file():
        raise Failure(f"{where}: {'it is a directory' if path.is_dir() else 'there is no such file'}")
    root, parts = path.parent, [path.stem]
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    if parts[-1] == "__init__":
        parts.pop()
    name = ".".join(parts)
    if not all(part.isidentifier() for part in parts):
        raise Failure(f"{where}: a module can't be named {parts[-1]!r}; rename the file")
    module = _import(where, name, root)
    loaded = getattr(module, "__file__", None)
    if loaded is None or not path.samefile(loaded):
        raise Failure(
            f"{where}: the module name {name!r} is taken by {loaded or 'Python itself'}; rename the file"
        )
    return module


def _load_module(name: str) -> ModuleType:
    return _import(name, name, Path.cwd())


def _import(where: str, name: str, root: Path) -> ModuleType:
    if str(root) not in sys.path[:1]:
        sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise Failure(
                f"{where}: no module is named {error.name!r}; a file is given as {name}.py"
            ) from None
        raise Failure(_import_failed(where, error)) from None
    except SyntaxError as error:
        place = f"{_short(error.filename)}:{error.lineno}" if error.filename else where
        raise Failure(f"{place}: syntax error: {error.msg}") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the file does when it is imported, sys.exit() included
        raise Failure(_import_failed(where, error)) from None


def _import_failed(where: str, error: BaseException) -> str:
    """Where in the user's code it failed, and why: the last place that isn't a library's or ours."""
    place, here = where, Path(__file__).resolve().parent
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        own = "site-packages" not in file.parts and not frame.filename.startswith(
            ("<", sys.base_prefix + os.sep)
        )
        if own and file.is_file() and not file.resolve().is_relative_to(here.parent):
            place = f"{_short(frame.filename)}:{frame.lineno}"
    detail = str(error)
    return f"{place}: can't be imported: {type(error).__name__}{': ' if detail else ''}{detail}"


def _short(filename: str) -> str:
    """A path as one would type it from here."""
    relative = os.path.relpath(filename)
    return filename if relative.startswith("..") else relative
