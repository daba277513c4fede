"""The command `durable-lite`: runs jobs, works for others, shows and steers runs. Extra: `cli`."""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]

_MISSING = 'durable-lite: the command needs click and rich: pip install "durable-lite[cli]"'


def main() -> None:
    """The entry point. click and rich are imported by what follows and nowhere before."""
    if None in map(find_spec, ("click", "rich")):
        print(_MISSING, file=sys.stderr)
        sys.exit(2)
    from .main import start

    start()
