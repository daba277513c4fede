"""What a lever raises that did not move anything."""

from __future__ import annotations

__all__ = ["LeverFailed"]


class LeverFailed(Exception):
    """A lever was pulled and the browser did not do what it stands for; the message says why.

    A test that goes on after this would test a tab that was never suspended.
    """
