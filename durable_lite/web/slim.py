"""What `--stdlib slim` leaves out of the standard library, and why: the only list of it.

Nothing that stays may import at its top what goes; a test imports every module of both in Pyodide.
"""

from __future__ import annotations

__all__ = ["LEFT_OUT", "is_left_out"]

# Reason → paths in the archive: a folder ends with a slash.
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "a tab starts no processes and no other interpreters": (
        "concurrent/futures/interpreter.py",
        "concurrent/futures/process.py",
        "concurrent/interpreters/",
        "multiprocessing/",
        "pty.py",
    ),
    "a tab has no sockets: HTTP goes through fetch": (
        "ftplib.py",
        "http/server.py",
        "imaplib.py",
        "mailbox.py",
        "netrc.py",
        "poplib.py",
        "smtplib.py",
        "wsgiref/",
        "xmlrpc/",
    ),
    "a tab has no terminal": (
        "_pyrepl/",
        "bdb.py",
        "cmd.py",
        "fileinput.py",
        "optparse.py",
        "pdb.py",
        "pydoc.py",
        "tty.py",
    ),
    "tests and measurements are made before one deploys": (
        "cProfile.py",
        "doctest.py",
        "profile.py",
        "pstats.py",
        "trace.py",
        "unittest/",
    ),
    "tools for Python's source and byte code: there is neither in a tab": (
        "compileall.py",
        "modulefinder.py",
        "pickletools.py",
        "py_compile.py",
        "pyclbr.py",
        "symtable.py",
        "tabnanny.py",
        "zipapp.py",
    ),
    "only used when its C twin is missing": ("_pydatetime.py", "_pyio.py"),
    "for other systems": (
        "asyncio/proactor_events.py",
        "asyncio/windows_events.py",
        "asyncio/windows_utils.py",
        "ctypes/_aix.py",
        "ctypes/macholib/",
        "ctypes/wintypes.py",
        "encodings/_win_cp_codecs.py",
        "encodings/mbcs.py",
        "encodings/oem.py",
        "nturl2path.py",
    ),
    "commands and jokes": (
        "__hello__.py",
        "__phello__/",
        "antigravity.py",
        "asyncio/__main__.py",
        "asyncio/tools.py",
        "json/__main__.py",
        "json/tool.py",
        "sqlite3/__main__.py",
        "sysconfig/__main__.py",
        "this.py",
        "zipfile/__main__.py",
    ),
    # Those of the web and of ZIP files stay: https://encoding.spec.whatwg.org/#names-and-labels
    "character sets of mainframes, DOS and old Macs, which the web's Encoding Standard doesn't know": (
        "encodings/cp037.py",
        "encodings/cp1006.py",
        "encodings/cp1026.py",
        "encodings/cp1125.py",
        "encodings/cp1140.py",
        "encodings/cp273.py",
        "encodings/cp424.py",
        "encodings/cp500.py",
        "encodings/cp720.py",
        "encodings/cp737.py",
        "encodings/cp775.py",
        "encodings/cp855.py",
        "encodings/cp856.py",
        "encodings/cp857.py",
        "encodings/cp860.py",
        "encodings/cp861.py",
        "encodings/cp862.py",
        "encodings/cp863.py",
        "encodings/cp864.py",
        "encodings/cp865.py",
        "encodings/cp869.py",
        "encodings/cp875.py",
        "encodings/hp_roman8.py",
        "encodings/johab.py",
        "encodings/koi8_t.py",
        "encodings/kz1048.py",
        "encodings/mac_arabic.py",
        "encodings/mac_croatian.py",
        "encodings/mac_farsi.py",
        "encodings/mac_greek.py",
        "encodings/mac_iceland.py",
        "encodings/mac_latin2.py",
        "encodings/mac_romanian.py",
        "encodings/mac_turkish.py",
        "encodings/palmos.py",
        "encodings/ptcp154.py",
        "encodings/tis_620.py",
    ),
}

_PATHS = tuple(path for paths in LEFT_OUT.values() for path in paths)
_FOLDERS = tuple(path for path in _PATHS if path.endswith("/"))
_FILES = frozenset(_PATHS) - frozenset(_FOLDERS)


def is_left_out(path: str) -> bool:
    return path in _FILES or path.startswith(_FOLDERS)
