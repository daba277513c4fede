"""What SQLite's result codes mean for whoever called: which `StoreError`, in words that name the file."""

from __future__ import annotations

import os
import sqlite3

from ..errors import StoreError, StoreUnavailable

__all__ = ["explain", "is_busy", "is_damaged", "locked_too_long"]

_CORRUPT = {
    sqlite3.SQLITE_NOTADB: "is not a SQLite database (or it is encrypted)",
    sqlite3.SQLITE_CORRUPT: "is a damaged SQLite database",
}
_UNAVAILABLE = {
    sqlite3.SQLITE_READONLY: "is read-only",
    sqlite3.SQLITE_FULL: "can't grow: the disk (or the quota) is full",
    sqlite3.SQLITE_IOERR: "can't be read or written: the disk reports an error or is full",
    sqlite3.SQLITE_PERM: "can't be opened: permission denied",
    sqlite3.SQLITE_NOMEM: "can't be written: out of memory",
    sqlite3.SQLITE_PROTOCOL: "can't be locked",
    sqlite3.SQLITE_INTERRUPT: "was interrupted",
    sqlite3.SQLITE_BUSY: "is locked by another process",
    sqlite3.SQLITE_LOCKED: "is locked by another connection",
}


def _code(error: BaseException) -> int:
    """The primary result code; 0 for what isn't SQLite's."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_busy(error: BaseException) -> bool:
    """Whether somebody else has the lock, so that trying again is all there is to do."""
    return _code(error) == sqlite3.SQLITE_BUSY


def is_damaged(error: BaseException) -> bool:
    """Whether the file is no database, or not a sound one: trying again won't help."""
    return _code(error) in _CORRUPT


def locked_too_long(path: str, seconds: float) -> StoreUnavailable:
    return StoreUnavailable(f"{path}: another process has kept the file locked for {seconds:g} s")


def explain(error: Exception, path: str) -> Exception:
    """`error` as a `StoreError` that says what is wrong with `path`; what isn't SQLite's, as it is."""
    if isinstance(error, (UnicodeEncodeError, OverflowError)):
        return StoreError(f"{path}: SQLite can't store this value: {error}")
    if not isinstance(error, sqlite3.Error):
        return error
    code, name = _code(error), getattr(error, "sqlite_errorname", type(error).__name__)
    if code == sqlite3.SQLITE_CANTOPEN:
        return _cant_open(path)
    if code in _CORRUPT:
        return StoreError(f"{path} {_CORRUPT[code]}")
    if code in _UNAVAILABLE:
        return StoreUnavailable(f"{path} {_UNAVAILABLE[code]} ({name})")
    return StoreError(f"{path}: {error} ({name})")


def _cant_open(path: str) -> StoreError:
    """SQLite doesn't say why it can't open a file; the file system does."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        return StoreError(f"{path}: there is no directory {folder}")
    if os.path.isdir(path):
        return StoreError(f"{path} is a directory, not a database file")
    if os.path.exists(path) and not os.access(path, os.R_OK):
        return StoreError(f"{path} can't be read: permission denied")
    if not os.access(folder, os.W_OK):
        return StoreUnavailable(f"{path}: its directory {folder} is read-only")
    return StoreUnavailable(f"{path} can't be opened (SQLITE_CANTOPEN)")
