"""Live updates: one reader of the store for each run and list that is followed, however many follow it.

A follower has a place in what is kept here, and nothing else: what it can't take in time isn't kept for
it. One that fell too far behind reads a run's events from the store, and gets a list anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..as_json import event_json, run_json, summary_json
from ..errors import StoreError
from ..events import LIVE, EventType, RunEvent
from ..listing import cursor_after
from ..records import Change, RunFilter, RunRow
from ..run import Run
from ..status import FINAL, Status
from .sse import EventStream, frame
from .text import as_text

if TYPE_CHECKING:
    from starlette.requests import Request

    from ..durable import Durable

__all__ = ["Hub"]

logger = logging.getLogger("durable_lite")

_KEPT = 256  # events of a run, and pages of a list
_IN_PROGRESS = 10_000
_BATCH = 64  # events that a follower gets at a time
_PACE_RUN, _PACE_LIST = 0.05, 0.15  # seconds between two looks at the store
_POLL = 5.0  # seconds after which to look all the same
_BACKOFF = 1.0


class Kept(NamedTuple):
    """One frame for all followers, and its number."""

    number: int
    data: bytes


class Followed:
    """Something that is followed; looks at the store when something may have changed, at a pace."""

    def __init__(self, hub: Hub, pace: float) -> None:
        self.hub, self._pace = hub, pace
        self.followers = 0
        self.kept: deque[Kept] = deque(maxlen=_KEPT)
        self.number = 0  # of the newest that was kept
        self.over: bytes | None = None  # the last frame of all
        self._hint, self._woken = asyncio.Event(), asyncio.Event()
        self.ready = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def hint(self) -> None:
        self._hint.set()

    def keep(self, number: int, data: bytes) -> None:
        self.number = number
        self.kept.append(Kept(number, data))

    def wake(self) -> None:
        """All followers look at what there is."""
        woken, self._woken = self._woken, asyncio.Event()
        woken.set()

    def news(self) -> asyncio.Event:
        """Set once there is something that there wasn't when this was asked."""
        return self._woken

    async def look(self) -> None:
        raise NotImplementedError

    async def _watch(self) -> None:
        while self.over is None:
            self._hint.clear()
            try:
                await self.look()
            except StoreError:  # whoever follows hears of it by nothing else than silence
                await asyncio.sleep(_BACKOFF)
                continue
            except Exception:
                logger.exception("can't tell what happens")
                await asyncio.sleep(_BACKOFF)
                continue
            self.ready.set()
            if self.over is not None:
                break
            await asyncio.sleep(self._pace)
            timer = asyncio.get_running_loop().call_later(_POLL, self._hint.set)
            await self._hint.wait()
            timer.cancel()
        self.hub.forget(self)
        self.ready.set()
        self.wake()

    def stop(self) -> None:
        self._task.cancel()


class FollowedRun(Followed):
    """The stored events of one run, and what its executing worker tells while it is in this process."""

    def __init__(self, hub: Hub, run_id: str) -> None:
        self.run_id = run_id
        self.row: RunRow | None = None
        self.live: deque[Kept] = deque(maxlen=_KEPT)
        self.live_number = 0
        super().__init__(hub, _PACE_RUN)

    def hear(self, event: RunEvent) -> None:
        self.live_number += 1
        self.live.append(Kept(self.live_number, frame(as_text(event_json(event)), "event")))
        self.wake()

    async def look(self) -> None:
        store = self.hub.app.store
        row = await store.get_run(self.run_id)
        if row is None:
            self.over = frame(as_text({"run_id": self.run_id}), "gone")
            return
        if self.row is None:  # nobody is further back than the newest
            self.number = max(0, row.seq - _KEPT)
        changed = row != self.row
        while events := await store.read_events(self.run_id, self.number, _KEPT):
            for event in events:
                seq = event.seq or 0
                self.keep(seq, frame(as_text(event_json(event)), "event", str(seq)))
            changed = True
        self.row = row
        if row.status in FINAL:
            self.over = frame(as_text({"status": row.status}), "end")
        if changed:
            self.wake()


class FollowedList(Followed):
    """The newest runs of a filter: which they are, and those that have changed since the last look."""

    def __init__(self, hub: Hub, filter: RunFilter) -> None:
        self.filter = filter
        self.runs: dict[str, dict[str, Any]] = {}
        self.cursor: str | None = None
        self.born = hub.app._new_id()  # the numbers of another one's pages mean nothing here
        super().__init__(hub, _PACE_LIST)

    async def look(self) -> None:
        rows = await self.hub.app.store.list_runs(self.filter)
        runs = {row.id: self._summary(row) for row in rows}
        if runs == self.runs and self.number:
            return
        changed = [run for id, run in runs.items() if run != self.runs.get(id)]
        self.runs = runs
        self.cursor = cursor_after(rows, self.filter.limit)
        self.keep(self.number + 1, self._page(self.number + 1, changed))
        self.wake()

    def _summary(self, row: RunRow) -> dict[str, Any]:
        told = summary_json(row)
        if row.status == Status.EXECUTING:
            told["progress"] = self.hub.progress.get(row.id, told["progress"])
        else:
            self.hub.progress.pop(row.id, None)
        return told

    def whole(self) -> Kept:
        """The page as it is, for who comes new."""
        return Kept(self.number, self._page(self.number, list(self.runs.values()), whole=True))

    def _page(self, number: int, runs: list[dict[str, Any]], whole: bool = False) -> bytes:
        page = {"ids": list(self.runs), "runs": runs, "cursor": self.cursor, "whole": whole}
        return frame(as_text(page), "page", f"{self.born}.{number}")


class Hub:
    """All that is followed on one server."""

    def __init__(self, app: Durable) -> None:
        self.app = app
        self._runs: dict[str, FollowedRun] = {}
        self._lists: dict[RunFilter, FollowedList] = {}
        self._forget: list[Callable[[], None]] = []
        self.progress: dict[str, Any] = {}  # of what executes here: the store has it later
        self.closed = False

    def run_stream(self, run: Run[Any], request: Request, tagged: bool) -> EventStream:
        after = _last_id(request, request.query_params.get("after"))
        return EventStream(lambda send: self._tell_run(run.id, after, tagged, send))

    def list_stream(self, filter: RunFilter, request: Request) -> EventStream:
        last = request.headers.get("last-event-id", "")
        return EventStream(lambda send: self._tell_list(filter, last, send))

    def close(self) -> None:
        """End all that is followed; who follows comes again."""
        self.closed = True
        for followed in (*self._runs.values(), *self._lists.values()):
            followed.stop()
            followed.ready.set()
            followed.wake()

    def forget(self, followed: Followed) -> None:
        """Who comes from now on follows anew: a run that has ended may be resumed."""
        of_all: tuple[dict[Any, Any], ...] = (self._runs, self._lists)
        for followers in of_all:
            for key in [key for key, one in followers.items() if one is followed]:
                del followers[key]

    async def _tell_run(self, run_id: str, after: int, tagged: bool, send: Any) -> None:
        followed = self._runs.get(run_id)
        if followed is None:
            followed = self._runs[run_id] = FollowedRun(self, run_id)
        self._enter(followed)
        try:
            seen, heard = after, followed.live_number
            row: RunRow | None = None
            await followed.ready.wait()
            while not self.closed:
                news, over = followed.news(), followed.over
                if followed.live:  # what was pushed out is lost
                    heard = max(heard, followed.live[0].number - 1)
                heard = await _send_kept(followed.live, heard, send)
                seen = await self._catch_up(followed, seen, send)
                if followed.row is not None and followed.row != row:
                    before, row = row, followed.row
                    known = before is not None and before.payload == row.payload  # and may be large
                    told = run_json(row._replace(payload="null") if known else row, tagged=tagged)
                    if known:
                        del told["payload"]
                    await send(frame(as_text(told), "run"))
                if over is not None:
                    await send(over)
                    return
                await news.wait()
        finally:
            self._leave(followed)

    async def _catch_up(self, followed: FollowedRun, seen: int, send: Any) -> int:
        """Tell the stored events after `seen`; returns the last one told."""
        while seen < followed.number:
            if followed.kept and followed.kept[0].number <= seen + 1:
                seen = await _send_kept(followed.kept, seen, send)
                continue
            events = await self.app.store.read_events(followed.run_id, seen, _BATCH)
            if not events:
                break
            frames = [frame(as_text(event_json(one)), "event", str(one.seq)) for one in events]
            await send(b"".join(frames))
            seen = events[-1].seq or seen
        return seen

    async def _tell_list(self, filter: RunFilter, last: str, send: Any) -> None:
        followed = self._lists.get(filter)
        if followed is None:
            followed = self._lists[filter] = FollowedList(self, filter)
        self._enter(followed)
        try:
            await followed.ready.wait()
            born, _, number = last.partition(".")
            seen = int(number) if born == followed.born and _is_seq(number) else -1
            while not self.closed:
                news = followed.news()
                first = followed.kept[0].number if followed.kept else 0
                if first <= seen + 1 <= followed.number + 1:
                    seen = await _send_kept(followed.kept, seen, send)
                elif followed.number:
                    seen, whole = followed.whole()
                    await send(whole)
                await news.wait()
        finally:
            self._leave(followed)

    # Who follows

    def _enter(self, followed: Followed) -> None:
        followed.followers += 1
        self._listen(True)

    def _leave(self, followed: Followed) -> None:
        followed.followers -= 1
        if not followed.followers:
            followed.stop()
            self.forget(followed)
        self._listen(bool(self._runs or self._lists))

    def _listen(self, on: bool) -> None:
        if on and not self._forget:
            self._forget = [self.app.store.listen(self._changed), self.app.listen(self._hear)]
        elif not on:
            for forget in self._forget:
                forget()
            self._forget = []
            self.progress.clear()

    def _changed(self, change: Change) -> None:
        if change.run_id is None:
            for run in self._runs.values():
                run.hint()
        elif (one := self._runs.get(change.run_id)) is not None:
            one.hint()
        if not change.step:
            self._hint_lists()

    def _hint_lists(self) -> None:
        for one in self._lists.values():
            one.hint()

    def _hear(self, event: RunEvent) -> None:
        if event.run_id is None or event.type not in LIVE:
            return
        if (run := self._runs.get(event.run_id)) is not None:
            run.hear(event)
        if event.type == EventType.PROGRESS and self._lists:
            self.progress[event.run_id] = event.data
            if len(self.progress) > _IN_PROGRESS:  # of runs that no list shows any more
                del self.progress[next(iter(self.progress))]
            self._hint_lists()


async def _send_kept(kept: deque[Kept], seen: int, send: Any) -> int:
    """Tell what is kept after `seen`, until one is missing: some is pushed out while a slow one reads."""
    while kept and kept[0].number <= seen + 1:
        part = [one for one in kept if one.number > seen][:_BATCH]
        if not part:
            break
        await send(b"".join(one.data for one in part))
        seen = part[-1].number
    return seen


def _last_id(request: Request, otherwise: str | None) -> int:
    """The seq after which to go on."""
    given = request.headers.get("last-event-id") or otherwise or "0"
    return int(given) if _is_seq(given) else 0


def _is_seq(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
