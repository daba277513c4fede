"""The examples that talk to other services are for CPython: inside Pyodide there are no sockets."""

import sys

collect_ignore_glob = ["test_*.py"] if sys.platform == "emscripten" else []
