"""Becomes a command that Linux kills when its parent dies: `python die_with_parent.py PARENT COMMAND…`.

A program of its own and not a `preexec_fn`, which warns in a process that has threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before it could be watched
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
