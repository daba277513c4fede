"""The command `durable-lite`: runs jobs, works for others, shows and steers runs. Extra: `cli`."""

from __future__ import annotations

import sys

__all__ = ["main"]

_MISSING = 'durable-lite: the command needs click and rich: pip install "durable-lite[cli]"'


def main() -> None:
    """The entry point. click and rich are imported here and nowhere before."""
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ImportError:
        print(_MISSING, file=sys.stderr)
        sys.exit(2)
    from .main import start

    start()
