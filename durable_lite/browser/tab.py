"""The worker's side of a tab: a `Durable` that claims, rests and wakes as the page's main thread says."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from ..durable import Durable
from ..errors import StoreUnavailable
from ..events import RunEvent
from ..job import described
from ..records import Created, NewRun, Refusal, Settlement, StepRow, TokenRow
from ..stores.indexeddb import IndexedDBStore
from .turns import Turns

__all__ = ["BadJobFile", "Tab", "start"]

_TELL_AFTER = 0.03  # seconds

Post = Callable[[str, str], object]  # what happened, and JSON text that says more


class _FilesFirst(IndexedDBStore):
    """Writes the tab's files before each checkpoint, so that what a step wrote survives with it."""

    def __init__(self, save: Callable[[], Awaitable[None]], *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._save = save

    async def save_step(self, run_id: str, generation: int, step: StepRow) -> Refusal | None:
        if step.seq is not None:
            await self._saved()
        return await super().save_step(run_id, generation, step)

    async def create_token(
        self, run_id: str, generation: int, step: StepRow, token: TokenRow
    ) -> Refusal | None:
        await self._saved()
        return await super().create_token(run_id, generation, step, token)

    async def create_children(
        self, run_id: str, generation: int, step: StepRow, runs: Sequence[NewRun]
    ) -> list[Created] | Refusal:
        await self._saved()
        return await super().create_children(run_id, generation, step, runs)

    async def settle(self, run_id: str, generation: int, settlement: Settlement) -> Refusal | None:
        await self._saved()
        return await super().settle(run_id, generation, settlement)

    async def _saved(self) -> None:
        try:
            await self._save()  # saves take turns there
        except Exception as error:
            raise StoreUnavailable(f"the tab's files can't be saved: {error}") from error


class BadJobFile(Exception):
    """A job file can't be imported; the message says where and why, for whoever wrote the page."""


class Tab:
    """One worker of one tab. The methods are called by `worker.mjs`."""

    def __init__(
        self,
        given: dict[str, Any],
        jobs: list[ModuleType],
        post: Post,
        save_files: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._post = post
        self._leads = False  # until the page says so
        kind = IndexedDBStore if save_files is None else partial(_FilesFirst, save_files)
        self.store = kind(
            given["store"],
            durability=given["durability"],
            via=given["via"],
            holds_lock=lambda: self._leads,
        )
        self.app = Durable(self.store, jobs, **given["options"])
        self._told: list[RunEvent] = []
        self.app.listen(self._hear)

    async def start(self) -> str:
        """Open the store and start the worker, which waits for `lead`; what it tells of its jobs (JSON)."""
        await self.store.open()
        self.app.pause()
        await self.app.start()
        known, has = described(self.app.jobs), self.app.connections.has
        return json.dumps(
            {name: one | {"executes": has(self.app.jobs[name].requires)} for name, one in known.items()}
        )

    def lead(self, on: bool) -> None:
        """Whether this tab holds the lock: only then it claims."""
        self._leads = on
        self.app.pause(not on)

    def beat(self) -> None:
        """The page was hidden: perhaps the last that we hear."""
        self.app.look()

    async def stop(self) -> None:
        """Release what executes, and let go of the store."""
        await self.app.stop(0)
        await self.app.close()
        await self.store.close()

    def _hear(self, event: RunEvent) -> None:
        """Tell the page soon: a message for each would cost as much as the step that it tells of."""
        if not self._told:
            asyncio.get_running_loop().call_later(_TELL_AFTER, self._tell)
        self._told.append(event)

    def _tell(self) -> None:
        told, self._told = self._told, []
        self._post("events", json.dumps([event._asdict() for event in told]))


async def start(given: str, post: Post, save_files: Callable[[], Awaitable[None]] | None = None) -> Tab:
    """The tab that `given` (JSON text) describes. `BadJobFile` if a job file can't be imported.

    `save_files` writes the folder that survives, if there is one.
    """
    options = json.loads(given)
    Turns(asyncio.get_running_loop())
    return Tab(options, [load(path) for path in options["jobs"]], post, save_files)


def load(path: str) -> ModuleType:
    """Import a Python file as the module of its name, with its folder on the path."""
    file = Path(path)
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(file.stem)
    except BaseException as error:  # whatever a module does when it is imported
        raise BadJobFile(_why(file, error)) from error


def _why(file: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        where = f"{Path(error.filename or file.name).name}, line {error.lineno}"
        return f"{where}: {type(error).__name__}: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    where = f"{file.name}, line {frames[-1].lineno}" if frames else file.name
    hint = ""
    if isinstance(error, ModuleNotFoundError) and error.name:
        hint = f' (is {error.name.partition(".")[0]} in Pyodide? else name its wheel in "packages")'
    return f"{where}: {type(error).__name__}: {error}{hint}"
