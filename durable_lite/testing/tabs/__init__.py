"""For end-to-end tests: a real Chromium and levers that suspend, crash and starve its tabs.

Each lever looks whether it took effect and else raises `LeverFailed`: a test never goes on with a tab that
was not suspended. Needs Playwright (`durable-lite[e2e]`) and a Chromium, and asyncio to run on.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("playwright") is None:
    raise ModuleNotFoundError('durable_lite.testing.tabs needs playwright: pip install "durable-lite[e2e]"')

from .browser import SuspendableBrowser, suspendable_browser
from .errors import LeverFailed
from .history import come_back, leave
from .lifecycle import freeze, hide, show, thaw
from .processes import crash, kill_renderer, machine_asleep, renderer_pid, sleep_machine
from .pulse import frozen
from .storage import discard_storage, limit_quota
from .waiting import Watch, until, watch

__all__ = [
    "LeverFailed",
    "SuspendableBrowser",
    "Watch",
    "come_back",
    "crash",
    "discard_storage",
    "freeze",
    "frozen",
    "hide",
    "kill_renderer",
    "leave",
    "limit_quota",
    "machine_asleep",
    "renderer_pid",
    "show",
    "sleep_machine",
    "suspendable_browser",
    "thaw",
    "until",
    "watch",
]
