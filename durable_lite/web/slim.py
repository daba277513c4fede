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
        "socketserver.py",
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
        *(
            f"encodings/cp{page}.py"
            for page in (
                "037 1006 1026 1125 1140 273 424 500 720 737 775 855 856 857 860 861 862 863 864 865 869 875"
            ).split()
        ),
        *(
            f"encodings/{name}.py"
            for name in (
                "hp_roman8 johab koi8_t kz1048 mac_arabic mac_croatian mac_farsi mac_greek mac_iceland "
                "mac_latin2 mac_romanian mac_turkish palmos ptcp154 tis_620"
            ).split()
        ),
    ),
}

_PATHS = tuple(path for paths in LEFT_OUT.values() for path in paths)
_FOLDERS = tuple(path for path in _PATHS if path.endswith("/"))
_FILES = frozenset(_PATHS) - frozenset(_FOLDERS)


def is_left_out(path: str) -> bool:
    return path in _FILES or path.startswith(_FOLDERS)
