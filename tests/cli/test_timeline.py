"""`durable-lite runs show --timeline`: bars at their places in time, in any width, with and without colour."""

import io
import json
import re
import signal

import pytest
from rich.cells import cell_len
from rich.console import Console

from durable_lite.cli.timeline import show_timeline
from durable_lite.timeline import timeline
from tests.cli.support import Process, invoke, parsed, succeed
from tests.cli.test_safe import harmless
from tests.unit.timelines import CASES, rows

KNOWN = json.loads(CASES.read_text("utf-8"))
LOOKS = "·┄█─░»×=✗▸"
NOTE = re.compile(r" {2,}(✗\d+ )?((failed|retrying|waiting) ?)?(\d\S*)?$")


def drawn(
    name, width=90, limit=50, encoding="utf-8", edit=lambda run, steps, events, now: (run, steps, events, now)
):
    """The lines of a case, on a terminal without colour."""
    run, steps, events, now = edit(*rows(KNOWN[name]))
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(
        file=file, width=width, force_terminal=True, color_system=None, emoji=False, markup=False
    )
    show_timeline(console, run, timeline(run, steps, events, now), events, limit)
    file.flush()
    return [line.rstrip() for line in file.buffer.getvalue().decode(encoding).splitlines()]


def bars(lines):
    """The drawn part of each line, by its name."""
    axis = next(line for line in lines if "╷" in line)
    start = axis.index("╷")
    end = next(number for number, line in enumerate(lines) if not line and number > lines.index(axis))
    found = {}
    for line in lines[lines.index(axis) + 1 : end]:
        shift = cell_len(line[:start]) - start  # of a wide character
        found[line[: start - shift].strip()] = NOTE.sub("", line[start - shift :])
    return found


def legend(lines):
    return "   ".join(lines[len(lines) - lines[::-1].index("") :])


class TestBars:
    def test_one_after_the_other(self):
        found = bars(drawn("steps one after the other"))
        assert set(found["run"]) == {"█"}
        assert len(found["first"]) == pytest.approx(len(found["run"]) * 3 / 11, abs=1)
        assert found["second"].strip() == "█" * (len(found["run"]) - len(found["first"]) + 1)

    def test_what_is_within_is_below_and_indented(self):
        lines = drawn("nested and parallel steps")
        names = [line.split("█")[0].rstrip() for line in lines[5:12]]
        assert names[:3] == ["outer (All of it)", "  a", "  b%2Fc"]

    def test_a_gap_is_seen_without_colour(self):
        lines = drawn("frozen")
        found = bars(lines)
        assert set(found["run"]) == set(found["◆ second"]) == {"█", "░"}
        assert "░ nobody was at it 10m (suspended)" in legend(lines)

    @pytest.mark.parametrize("width", [30, 80, 140])
    def test_what_is_too_short_for_a_column_has_one(self, width):
        """Two executions of a second in an hour, and a gap of a second."""

        def edit(run, steps, events, now):
            began = run.created_at
            stale = events[1]._replace(
                seq=3, at=began + 900, type="run.stale", data={"heartbeat_at": began + 899}
            )
            again = events[1]._replace(seq=4, at=began + 900)
            return (
                run._replace(finished_at=None, status="EXECUTING"),
                [],
                [*events[:2], stale, again],
                began + 3600,
            )

        assert bars(drawn("it still executes", width, edit=edit))["run"].count("░") == 1
        run = bars(drawn("children", width))["run"]
        assert run[0] == run[-1] == "█"
        assert set(run[1:-1]) == {"─"}

    def test_tries_and_their_back_off(self):
        lines = drawn("a failed try and its retry")
        bar = bars(lines)["page"].strip()
        assert bar.count("✗") == 2
        assert set(bar) == {"✗", "─", "█"}, "while it backs off nothing is done"
        assert any(line.startswith("page") and "✗2 16s" in line for line in lines)
        [waits] = [line for line in drawn("a step that is to be tried again") if line.startswith("page")]
        assert waits.endswith("▸  ✗1 retrying")

    def test_waits_are_thin(self):
        lines = drawn("a durable sleep that is over and one that is not")
        found = bars(lines)
        assert set(found["nap"]) == {"─"}
        assert found["long"].strip()[-1] == "▸"
        assert any(line.endswith("waiting") for line in lines)
        assert "▸ not over yet" in legend(lines)

    @pytest.mark.parametrize(
        ("name", "looks", "words"),
        [
            ("never started", "·", "· pending 3.0s"),
            ("queued", "┄", "┄ queued 5.0s"),
            ("moved out and in", "█─»", "» moved away 4.0s"),
            ("failed and resumed", "█×", "× failed 1h"),
            ("released and resumed by another worker", "█░", "░ nobody was at it 20s (released)"),
        ],
    )
    def test_what_a_run_was(self, name, looks, words):
        lines = drawn(name)
        assert set(bars(lines)["run"]) == set(looks)
        assert words in legend(lines)

    @pytest.mark.parametrize("name", list(KNOWN))
    def test_the_legend_explains_what_there_is_and_nothing_else(self, name):
        lines = drawn(name)
        picture, said = "\n".join(lines[: -1 - lines[::-1].index("")]), legend(lines)
        for look in f"{LOOKS}◆":
            assert (f"{look} " in said) == (look in picture), look


class TestAxis:
    @pytest.mark.parametrize("width", [40, 80, 140, 300])
    @pytest.mark.parametrize("length", [0, 0.004, 0.7, 9, 61, 4000, 90_000, 3e6, 3e10])
    def test_ticks(self, width, length):
        def edit(run, steps, events, now):
            return run._replace(finished_at=None), [], [], run.created_at + length

        lines = drawn("never started", width, edit=edit)
        assert max(map(len, lines[2:])) <= width
        ticks = lines[3].split()
        assert ticks[0] == "╷0s"
        assert len(ticks) <= width // 6
        assert len(ticks) > 1 or width == 40 or not length


class TestFits:
    @pytest.mark.parametrize("width", [30, 60, 80, 140])
    @pytest.mark.parametrize("name", list(KNOWN))
    def test_in_any_width(self, name, width):
        assert max(cell_len(line) for line in drawn(name, width)[2:]) <= width

    def test_ascii(self):
        lines = drawn("released and resumed by another worker", encoding="ascii")
        assert "* first   #" in "\n".join(lines)
        assert "% nobody was at it 20s (released)   * from a checkpoint" in lines[-1]

    def test_the_last_steps(self):
        lines = drawn("killed between two steps and taken over", limit=2)
        assert [line.split("  ")[0] for line in lines[4:8]] == [
            "run",
            "◆ page-3",
            "",
            "The last 2 of 5 steps (--limit)",
        ]
        assert "long" in lines[6]


class TestCommand:
    def test_a_killed_run_that_was_taken_over(self, jobs, tmp_path, db):
        run = ("run", "jobs.py:with-a-hold", "--payload", "{}", "--db", "runs.db")
        with Process(*run, folder=tmp_path) as first:
            first.wait_for("holding held")
            first.send(signal.SIGKILL)
            first.process.wait()
        (tmp_path / "go").touch()
        with Process(*run, "--json", folder=tmp_path) as second:
            run_id = json.loads(second.end()[1])["id"]
        shown = succeed("runs", "show", run_id, "--timeline", "--db", db).stdout
        lines = shown.splitlines()
        assert lines[0] == f"with-a-hold {run_id} COMPLETED"
        assert max(map(len, lines)) <= 100, "of what isn't a terminal"
        assert "\x1b" not in shown
        kept = [line.split()[1] for line in lines if line.startswith("◆") and "checkpoint" not in line]
        assert kept == ["one", "two"]
        assert "░" in next(line for line in lines if line.startswith("run"))
        assert "(worker gone)" in shown

    def test_json(self, jobs, db):
        run_id = parsed("run", f"{jobs}:flaky", "--db", db)["id"]
        told = parsed("runs", "show", run_id, "--timeline", "--db", db)
        assert list(told) == ["from", "to", "spans", "steps", "marks"]
        assert [step["path"] for step in told["steps"]] == ["try", "nap"]
        assert "retry: ValueError" in [span["why"] for span in told["spans"]]
        assert told["marks"][0]["text"] == "triggered"
        few = parsed("runs", "show", run_id, "--timeline", "--db", db, "--limit", 1)
        assert (few["steps"], few["marks"]) == (told["steps"][-1:], told["marks"][-1:])
        assert few["spans"] == told["spans"]

    @pytest.mark.parametrize("color", [False, True])
    def test_hostile_text(self, jobs, db, monkeypatch, color):
        if color:
            monkeypatch.setenv("FORCE_COLOR", "1")
        invoke("run", f"{jobs}:hostile", "--db", db)
        run_id = parsed("runs", "list", "--db", db)["runs"][0]["id"]
        shown = succeed("runs", "show", run_id, "--timeline", "--db", db).stdout
        assert r"[red]key\u2066" in shown
        assert harmless(shown, also="\n\x1b" if color else "\n")
        assert ("\x1b[" in shown) == color
        told = succeed("runs", "show", run_id, "--timeline", "--json", "--db", db).stdout
        assert harmless(told)
