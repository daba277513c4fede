"""Proof of death: each worker of one machine holds a lock on its own byte of `<database>-workers`.

The kernel lets go of a lock when its holder dies, however it dies. So a byte that is free proves the
worker gone, if the lock was taken on this very file, under this very kernel: `identity` says so.
"""

from __future__ import annotations

import os
import random
import struct
import sys
import weakref
from typing import ClassVar, Protocol

if sys.platform != "win32":
    import fcntl

__all__ = ["WorkerLocks"]


class _LockFile(Protocol):
    """One open lock file; its bytes are locked on behalf of this object."""

    fd: int

    def take(self, byte: int) -> bool: ...

    def release(self, byte: int) -> None: ...

    def is_free(self, byte: int) -> bool: ...

    def close(self) -> None: ...


class WorkerLocks:
    """The locks of the workers that one store registered."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: _LockFile | None = None
        self._opened = False
        self._identity: str | None = None
        self._held: dict[str, int] = {}

    @property
    def identity(self) -> str | None:
        """Which file on which kernel the locks are on; None where locks prove nothing."""
        if not self._opened:
            self._opened = True
            self._file = _open(self._path)
            if self._file is not None:
                self._identity = f"{_kernel()}:{os.fstat(self._file.fd).st_ino}"
        return self._identity

    def take(self, worker: str, slot: int) -> bool:
        self.release(worker)
        if self._file is None or not self._file.take(slot):
            return False
        self._held[worker] = slot
        return True

    def release(self, worker: str) -> None:
        slot = self._held.pop(worker, None)
        if slot is not None and self._file is not None:
            self._file.release(slot)

    def is_gone(self, slot: int, identity: str | None) -> bool:
        """Whether the worker that registered with this slot and identity is proven gone."""
        if identity is None or identity != self.identity or slot in self._held.values():
            return False
        return self._file is not None and self._file.is_free(slot)

    def close(self) -> None:
        for worker in tuple(self._held):
            self.release(worker)
        if self._file is not None:
            self._file.close()
        self._file, self._opened, self._identity = None, False, None


def _kernel() -> str:
    """Names the running kernel: locks of another machine on a shared file are not to be seen."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return os.uname().nodename


def _open(path: str) -> _LockFile | None:
    if sys.platform in ("win32", "emscripten", "wasi"):
        return None
    try:
        if hasattr(fcntl, "F_OFD_SETLK") and sys.platform == "linux" and struct.calcsize("P") == 8:
            return _DescriptorLocks.working(path)
        return _ProcessLocks.shared(path)
    except OSError:
        return None


class _DescriptorLocks:
    """Linux: a lock belongs to the open file, so two stores of one process exclude each other too."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        _FILES.add(self)

    @classmethod
    def working(cls, path: str) -> _DescriptorLocks | None:
        """An open file whose locks were seen to work between two descriptors, else None."""
        mine, other = cls(path), cls(path)
        byte = 2**61 + random.getrandbits(60)  # far from every slot, and from other tests like this
        works = mine.take(byte) and not other.is_free(byte) and not other.take(byte)
        mine.release(byte)
        works = works and other.is_free(byte)
        other.close()
        if works:
            return mine
        mine.close()
        return None

    def take(self, byte: int) -> bool:
        try:
            self._call(fcntl.F_OFD_SETLK, fcntl.F_WRLCK, byte)
        except OSError:
            return False
        return True

    def release(self, byte: int) -> None:
        self._call(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, byte)

    def is_free(self, byte: int) -> bool:
        try:
            return self._call(fcntl.F_OFD_GETLK, fcntl.F_WRLCK, byte) == fcntl.F_UNLCK
        except OSError:
            return False

    def _call(self, command: int, type: int, byte: int) -> int:
        """fcntl with a `struct flock` (type, whence, start, length, pid); returns the type in its answer."""
        flock = struct.pack("hhqqi0q", type, os.SEEK_SET, byte, 1, 0)
        answer: int = struct.unpack_from("h", fcntl.fcntl(self.fd, command, flock))[0]
        return answer

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class _ProcessLocks:
    """Elsewhere: a lock belongs to the process, and closing any descriptor of the file drops it.

    So a process has one descriptor for each file, and remembers which bytes it holds.
    """

    _open: ClassVar[dict[tuple[int, int], _ProcessLocks]] = {}

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._users = 0
        self._held: set[int] = set()
        _FILES.add(self)

    @classmethod
    def shared(cls, path: str) -> _ProcessLocks:
        try:
            found = cls._open.get(_inode(os.stat(path)))
        except FileNotFoundError:
            found = None
        if found is None:
            found = cls(path)
            cls._open[_inode(os.fstat(found.fd))] = found
        found._users += 1
        return found

    def take(self, byte: int) -> bool:
        if byte in self._held or not self._try(byte):
            return False
        self._held.add(byte)
        return True

    def release(self, byte: int) -> None:
        self._held.discard(byte)
        fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, byte)

    def is_free(self, byte: int) -> bool:
        if byte in self._held or not self._try(byte):
            return False
        fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, byte)
        return True

    def _try(self, byte: int) -> bool:
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._users -= 1
        if self._users == 0 and self.fd >= 0:
            self._open.pop(_inode(os.fstat(self.fd)), None)
            os.close(self.fd)
            self.fd = -1


def _inode(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


# A forked child shares its parent's open files, and would keep a dead parent's locks alive.
_FILES: weakref.WeakSet[_DescriptorLocks | _ProcessLocks] = weakref.WeakSet()


def _close_all() -> None:
    for file in tuple(_FILES):
        if file.fd >= 0:
            os.close(file.fd)
            file.fd = -1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
