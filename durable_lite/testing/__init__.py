"""For tests of jobs: a clock that obeys, a store that crashes on cue, and the crash-point runner."""

from __future__ import annotations

from .clock import VirtualClock
from .crashpoints import CrashPointFailure, World, crash_points
from .entropy import SeededEntropy
from .faults import FaultyStore

__all__ = ["CrashPointFailure", "FaultyStore", "SeededEntropy", "VirtualClock", "World", "crash_points"]
