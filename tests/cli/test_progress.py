"""The live display and its lines, fed with events: frames fit, and say what goes on."""

import io
import json
import time

import pytest
from rich.console import Console

from durable_lite.cli.progress import Progress
from durable_lite.cli.screen import Screen
from durable_lite.events import EventType, RunEvent
from durable_lite.records import RunRow
from tests.cli.test_safe import harmless

NOW = time.time()
ROW = RunRow(
    id="0" * 26, job="export", version=None, status="EXECUTING", queue="default", priority=0, created_at=NOW,
    ready_at=None, claimable=0, started_at=NOW, finished_at=None, payload="null", output=None, error=None,
    attempt=1, first_attempt=1, recoveries=0, recovery_seq=0, generation=1, worker="w1", seq=2, executed=0.0,
    last_seen_at=NOW, stale_reason=None, max_duration=None, deadline=None, trigger="{}", environment=None,
    tags="[]", progress=None, metadata="{}", idempotency_key=None, idempotency_expires_at=None, key_live=0,
    parent_id=None, awaited=0, remaining=None, interrupted=0, concurrency_key=None, gated=0, slot=0,
    key_held=0, blocked=None, expires_at=None, debounce_key=None, debounce_until=None,
)  # fmt: skip


@pytest.fixture(autouse=True)
def still(monkeypatch):
    """The time of day stands still."""
    monkeypatch.setattr(time, "time", lambda: NOW)


class Shown:
    """A `Progress` of ours on a terminal, or not on one; what it shows is read as text."""

    def __init__(self, *, width: int = 80, live: bool = True, row: RunRow = ROW) -> None:
        self.screen, self.width = Screen(), width
        self.screen.console = Console(
            file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False
        )
        self.screen.live = live
        self.progress = Progress(self.screen, row)
        self.progress.worker = "w1"
        self.progress.begin()

    def hear(self, type: str, run_id: str | None = ROW.id, **data: object) -> None:
        self.progress.hear(RunEvent(run_id, None, time.time(), type, data))

    def told(self, type: str, **data: object) -> None:
        self.progress.told(RunEvent(ROW.id, 3, time.time(), type, data))

    def looked(self, **changes: object) -> None:
        self.progress.looked(ROW._replace(**changes))

    @property
    def lines(self) -> list[str]:
        return [line[9:] for line in self.screen.console.file.getvalue().splitlines()]

    @property
    def frame(self) -> list[str]:
        console = Console(file=io.StringIO(), width=self.width, force_terminal=True, color_system=None)
        console.print(self.progress.render())
        lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
        assert len(lines) == 2
        assert max(map(len, lines)) <= self.width - 4, "a ^C that is echoed must not wrap"
        assert harmless("".join(lines))
        return lines


@pytest.mark.parametrize("width", [40, 80, 120])
class TestFrames:
    def test_a_bar(self, width):
        shown = Shown(width=width)
        shown.hear(EventType.STEP_STARTED, path="page-3", name="jobs.write_page", failures=0)
        shown.hear(EventType.PROGRESS, current=5, total=20, message=None)
        assert "5/20 25%" in shown.frame[0]
        assert "page-3 (write_page)" in shown.frame[1]

    def test_numbers_without_a_total(self, width):
        shown = Shown(width=width)
        shown.hear(EventType.PROGRESS, current=1234567, total=None, message="counting")
        assert "1,234,567" in shown.frame[0]
        assert "counting" in shown.frame[1]

    def test_more_than_the_total_is_no_error(self, width):
        shown = Shown(width=width)
        for current, total in ((7, 5), (0, 0), (0.5, 0.25)):
            shown.hear(EventType.PROGRESS, current=current, total=total, message=None)
            assert "/" in shown.frame[0]

    def test_many_steps(self, width):
        shown = Shown(width=width)
        for index in range(10):
            shown.hear(EventType.STEP_STARTED, path=f"s{index}", name=None, failures=0)
        assert "s7, s8, s9, and 7 more" in shown.frame[1]

    def test_steps_that_are_over(self, width, monkeypatch):
        shown = Shown(width=width)

        def at(seconds: float) -> None:
            monkeypatch.setattr(time, "time", lambda: NOW + seconds)

        for index in range(3):
            at(index)
            shown.hear(EventType.STEP_STARTED, path=f"s{index}", name=None, failures=0)
        shown.hear(EventType.METADATA, set={})
        shown.hear(EventType.STEP_FAILED, path="s2", error={"type": "E", "message": ""}, retry_at=None)
        assert "s0, s1" in shown.frame[1]
        at(0.5)  # what is stored is told later than what is live
        shown.told(EventType.STEP_FAILED, path="s1", error={"type": "E", "message": ""}, retry_at=NOW + 1)
        shown.told(EventType.RETRYING, ready_at=NOW + 1, error={"type": "E", "message": ""}, attempt=2)
        assert "s0" not in shown.frame[1]
        assert "s1" in shown.frame[1]
        at(3)
        shown.told(EventType.STALE, reason="suspended", worker="w1", heartbeat_at=NOW)
        assert "s1" not in shown.frame[1]

    def test_a_countdown(self, width):
        shown = Shown(width=width)
        shown.told(EventType.WAITING, ready_at=NOW + 60, waits=["pause-3"])
        shown.looked(status="WAITING", ready_at=NOW + 42.4)
        assert "waiting for pause-3: 42s left" in shown.frame[1]

    def test_a_retry(self, width):
        shown = Shown(width=width)
        error = {"type": "ValueError", "message": "\x1b[2Jno"}
        shown.told(EventType.RETRYING, ready_at=NOW + 60, error=error, attempt=2)
        shown.looked(status="WAITING", ready_at=NOW + 42.4)
        assert "failed, trying again: 42s left" in shown.frame[1]

    def test_hostile_text(self, width):
        shown = Shown(width=width, row=ROW._replace(job="\x1b[2J[red]job"))
        shown.hear(EventType.STEP_STARTED, path="\x1b[2J[red]key\n", name="\x07", failures=0)
        shown.hear(EventType.PROGRESS, current=1, total=2, message="\x9b31m\r\n[/]")
        assert r"\x1b[2J" in shown.frame[0] + shown.frame[1]


class TestLines:
    def test_a_store_that_is_down(self):
        shown = Shown()
        shown.hear(EventType.STORE_DOWN, run_id=None, message="runs.db can't grow: the disk is full")
        assert "the store is down: runs.db can't grow" in shown.frame[1]
        shown.hear(EventType.STORE_UP, run_id=None)
        assert shown.lines == ["store.down: runs.db can't grow: the disk is full; trying again", "store.up"]
        assert "down" not in shown.frame[1]

    def test_a_freeze(self):
        shown = Shown()
        shown.told(EventType.STALE, reason="suspended", worker="w1", heartbeat_at=NOW - 100)
        shown.told(EventType.RESUMED, replayed=12, gap_ms=100_000)
        shown.looked()
        assert shown.lines[0].startswith("stale: this process was frozen; the run goes on from")
        assert "resumed after 1m40s: 12 finished steps answered from checkpoints" in " ".join(shown.lines)

    def test_live_lines_and_stored_ones_are_in_the_order_of_time(self):
        shown = Shown()
        shown.hear(EventType.LOG, level="info", message="second", fields={"n": 1}, path="step")
        shown.progress.told(RunEvent(ROW.id, 2, NOW - 1, EventType.STALE, {"reason": "first"}))
        assert shown.lines == []
        shown.looked()
        assert [line.split(";")[0] for line in shown.lines[:1]] == ["stale: first"]
        assert shown.lines[-1] == "step: second n=1"

    def test_a_step_each_or_a_number_of_them(self):
        shown = Shown(live=False)
        for count in (2, 100):
            for index in range(count):
                shown.told(EventType.STEP_COMPLETED, path=f"s{index}", name="f", started_at=time.time())
            shown.looked()
        assert shown.lines == ["step s0 done in 0s", "step s1 done in 0s", "100 steps done"]

    def test_what_the_bar_shows_is_no_line_as_well(self):
        shown = Shown()
        shown.told(EventType.STEP_COMPLETED, path="s", name="f", started_at=time.time())
        shown.hear(EventType.PROGRESS, current=1, total=1, message=None)
        shown.looked()
        assert shown.lines == []

    def test_stored_progress_of_another_worker(self):
        shown = Shown()
        shown.told(EventType.CLAIMED, worker="w2", generation=2, attempt=1, **{"from": "STALE"})
        progress = json.dumps({"current": 3, "total": 4, "message": None})
        shown.looked(worker="w2", progress=progress)
        assert "3/4 75%" in shown.frame[0]
        assert shown.lines == ["another process executes it; following it here"]
