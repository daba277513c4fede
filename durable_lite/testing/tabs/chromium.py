"""Finds a Chromium and starts it so that its tabs can be suspended: binary, arguments and port."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from . import die_with_parent
from .waiting import until

__all__ = ["command", "find", "start"]

ENVIRONMENT = "DURABLE_LITE_CHROMIUM"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FEATURES = ("--enable-features=", "--disable-features=")

# Every hidden tab is frozen about a second after it was hidden, and thawed for 5 s every 10 minutes.
POLICY_FREEZE = (
    "--enable-features=InfiniteTabsFreezing:num_protected_tabs/0/unfreeze_interval/600s/unfreeze_duration/5s"
)

_QUIET = (
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-dev-shm-usage",
    "--disable-search-engine-choice-screen",
    "--hide-crash-restore-bubble",
    "--password-store=basic",
    "--use-mock-keychain",
    # The address bar's popup is a page of its own: a second of processor time at each start.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup",
)


def find(of_playwright: str | None = None) -> str:
    """The path of a Chromium: what DURABLE_LITE_CHROMIUM names, else one on the PATH, else Playwright's own.

    Raises:
        FileNotFoundError: There is none, or the variable names none.
    """
    named = os.environ.get(ENVIRONMENT)
    for name in [named] if named else _NAMES:
        if path := shutil.which(name):
            return path
    if named:
        raise FileNotFoundError(f"{ENVIRONMENT} names {named}, which can't be executed")
    if of_playwright and os.access(of_playwright, os.X_OK):
        return of_playwright
    raise FileNotFoundError(
        f"No Chromium as {', '.join(_NAMES)} or Playwright's own: install it, or name one in {ENVIRONMENT}"
    )


def command(
    binary: str,
    profile: Path,
    *,
    headless: bool = True,
    args: Iterable[str] = (),
    policy_freeze: bool = False,
) -> list[str]:
    """The command line. Chromium obeys the last `--enable-features` only, so they are made one.

    The same for `--disable-features`.
    """
    wanted = [*_QUIET, *args, *([POLICY_FREEZE] if policy_freeze else [])]
    features = [
        ",".join(arg.removeprefix(flag) for arg in wanted if arg.startswith(flag)) for flag in _FEATURES
    ]
    return [
        binary,
        *(["--headless=new"] if headless else []),
        *(["--no-sandbox"] if _is_root() else []),  # Chromium refuses to start as root with it
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        *(arg for arg in wanted if not arg.startswith(_FEATURES)),
        *(flag + names for flag, names in zip(_FEATURES, features, strict=True) if names),
        "about:blank",
    ]


async def start(
    arguments: list[str], profile: Path, *, timeout: float
) -> tuple[asyncio.subprocess.Process, int]:
    """Start it in a process group of its own. Returns the process and its debugging port.

    Raises:
        RuntimeError: It ended, or opened no port within `timeout` seconds; with the end of what it printed.
    """
    port = profile / "DevToolsActivePort"
    port.unlink(missing_ok=True)
    printed = profile / "chromium-stderr.txt"
    if sys.platform == "linux":  # elsewhere a killed test leaves its browser behind
        wrapper = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]
        arguments = [*wrapper, *arguments]
    with printed.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )

    def opened() -> str | bool:
        if process.returncode is not None:
            raise RuntimeError(f"Chromium ended with {process.returncode}: {_end_of(printed)}")
        lines = port.read_text("ascii").split("\n") if port.exists() else []
        return lines[0] if len(lines) > 1 else False

    try:
        return process, int(await until(opened, timeout=timeout, why="Chromium's debugging port"))
    except BaseException as error:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if isinstance(error, TimeoutError):
            raise RuntimeError(f"Chromium opened no port in {timeout} s: {_end_of(printed)}") from error
        raise


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _end_of(file: Path) -> str:
    return file.read_text("utf-8", "replace")[-2000:].strip() or "it printed nothing"
