"""The ES modules of `web/`, called from Python: one Node, one line of JSON for each call."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
_installed = ROOT / "node_modules/.bin/node"
NODE = str(_installed) if _installed.exists() else "node"


class Refused(Exception):
    """What JavaScript threw: the name of its class, its message, its own fields."""

    def __init__(self, name: str, message: str, fields: dict[str, Any]) -> None:
        super().__init__(f"{name}: {message}")
        self.name, self.fields = name, fields


class Node:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __call__(self, verb: str, *given: Any) -> Any:
        """The verbs are those of `bridge.mjs`; raises `Refused`."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([verb, *given]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise Refused(**answer["error"])
        return answer["result"]


@contextlib.contextmanager
def running() -> Iterator[Node]:
    command = [NODE, str(HERE / "bridge.mjs")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        yield Node(process)
        process.stdin.close()
