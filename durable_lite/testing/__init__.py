"""For tests of jobs: a harness, a clock that obeys, a store that fails on cue, the crash-point runner."""

from __future__ import annotations

from .clock import VirtualClock
from .crashpoints import CrashPointFailure, World, crash_points
from .entropy import SeededEntropy
from .faults import FaultyStore
from .harness import Harness, Snapshot

__all__ = [
    "CrashPointFailure",
    "FaultyStore",
    "Harness",
    "SeededEntropy",
    "Snapshot",
    "VirtualClock",
    "World",
    "crash_points",
]
