#!/usr/bin/env python3
"""Writes what the documentation takes from the code: `--help` texts, and tables of statuses and of the API.

`docs/cli.md` is written by hand but for the blocks between `<!-- help: COMMAND -->` and `<!-- end -->`, and
`docs/server.md` but for those of `<!-- table: NAME -->`; `docs/statuses.md` is written whole. With `--check`
nothing is written: exit 1 if something is stale.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from durable_lite import problems
from durable_lite.cli.main import cli
from durable_lite.client.errors import error_of
from durable_lite.server.application import OPERATIONS
from durable_lite.server.operation import On
from durable_lite.server.problems import CODES
from durable_lite.status import FINAL, RESUMABLE, TRANSITIONS, Status, mermaid

DOCS = Path(__file__).parents[1] / "docs"
WIDTH = 100
BLOCK = re.compile(r"<!-- help: (.+?) -->\n.*?<!-- end -->", re.DOTALL)
TABLE = re.compile(r"<!-- table: (.+?) -->\n.*?<!-- end -->", re.DOTALL)

MEANINGS = {
    Status.PENDING: "created, resumed or released; waits for a worker, or for its `delay`",
    Status.QUEUED: "due, but its concurrency key is taken, or its queue full or paused",
    Status.WAITING_ON_CONNECTIONS: "no worker has a connection that its job `requires`",
    Status.EXECUTING: "a worker holds it and sends heartbeats",
    Status.STALE: "its worker is gone, or silent for `stale_after`; any worker may take it",
    Status.WAITING: "a durable wait, a token, an event, a child, a back-off; it holds no slot and no memory",
    Status.COMPLETED: "its job returned; the output is stored",
    Status.FAILED: "no attempt is left, or the job raised `AbortRun`",
    Status.CANCELLED: "somebody cancelled it",
    Status.TIMED_OUT: "`max_duration` or `deadline` has passed, or its workers died, `max_recoveries` times",
    Status.EXPIRED: "its `ttl` passed before it started",
    Status.INVALID_PAYLOAD: "its payload doesn't fit the job's annotation",
    Status.UNRESOLVED_AUTH: "its job's `auth` resolver got no credentials for it",
    Status.MOVED: "handed over to another store; it may come back",
}

ASKED = {
    On.RUN: "the `Run`",
    On.TOKEN: "the `Run` that waits for it",
    On.TOKENS: "a `RunFilter`, of the runs whose tokens they are; with `?run=` that `Run`, too",
    On.RUNS: "a `RunFilter`",
    On.TRIGGER: "a `NewTrigger`",
    On.STORE: "None: the whole store",
    On.NOTHING: "nothing: it is open to all",
}


def commands(command: click.Command = cli, path: str = "durable-lite") -> Iterator[tuple[str, click.Command]]:
    """Every command, with what one types to call it."""
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from commands(command.commands[name], f"{path} {name}")


def help_text(path: str, command: click.Command) -> str:
    """What `--help` prints."""
    context = None
    for word in path.split():
        settings = cli.context_settings if context is None else {}
        current = cli if context is None else context.command.commands[word]
        context = click.Context(current, info_name=word, parent=context, **settings)
        context.terminal_width = context.max_content_width = WIDTH
    text = command.get_help(context)
    return "\n".join(line.rstrip() for line in text.splitlines())


def cli_page(text: str) -> str:
    """`docs/cli.md` with every block as the code has it; every command must have one."""
    known = dict(commands())
    found = BLOCK.findall(text)
    if sorted(found) != sorted(known):
        different = sorted(set(found) ^ set(known)) or sorted({one for one in found if found.count(one) > 1})
        raise SystemExit(f"docs/cli.md: no block, more than one, or no such command: {', '.join(different)}")

    def block(match: re.Match[str]) -> str:
        return (
            f"<!-- help: {match[1]} -->\n```text\n{help_text(match[1], known[match[1]])}\n```\n<!-- end -->"
        )

    return BLOCK.sub(block, text)


def operations_table() -> str:
    """The operations of the HTTP API, in the order of its table."""
    rows = [
        f"| `{one.method} /api{one.path}` | `{one.name}` | {one.summary} | {ASKED[one.on]} |"
        for one in OPERATIONS
    ]
    return "\n".join(
        ["| request | operation | what it does | `authorize` is asked about |", "|---|---|---|---|", *rows]
    )


def problems_table() -> str:
    """The codes of errors, and what a client in Python raises for each."""
    rows = []
    for code, (status, title) in CODES.items():
        kind = problems._CLASSES.get(code) or type(error_of(status, {"code": code}))
        rows.append(f"| `{code}` | {status} | {title} | `{kind.__name__}` |")
    return "\n".join(["| `code` | status | title | `RemoteDurable` raises |", "|---|---|---|---|", *rows])


TABLES = {"operations": operations_table, "problems": problems_table}


def server_page(text: str) -> str:
    """`docs/server.md` with every table as the code has it."""
    if sorted(TABLE.findall(text)) != sorted(TABLES):
        raise SystemExit(f"docs/server.md: each of these has to be there once: {', '.join(TABLES)}")
    return TABLE.sub(
        lambda match: f"{match[0].partition(chr(10))[0]}\n{TABLES[match[1]]()}\n<!-- end -->", text
    )


def statuses_page() -> str:
    """`docs/statuses.md`."""
    rows = []
    for status in Status:
        after = ", ".join(f"`{to}`" for to in TRANSITIONS[status]) or "nothing"
        end = "yes, unless resumed" if status in RESUMABLE else "yes" if status in FINAL else ""
        rows.append(f"| `{status}` | {MEANINGS[status]} | {end} | {after} |")
    return f"""# Statuses of a run

Generated by `scripts/generate_docs.py` from `durable_lite/status.py`, the one table of legal
transitions, which every store enforces.

| status | meaning | final | may become |
|---|---|---|---|
{chr(10).join(rows)}

```mermaid
{mermaid().rstrip()}
```
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if something is stale")
    check = parser.parse_args().check
    cli_md, server_md, statuses_md = (DOCS / f"{name}.md" for name in ("cli", "server", "statuses"))
    pages = {
        cli_md: cli_page(cli_md.read_text("utf-8")),
        server_md: server_page(server_md.read_text("utf-8")),
        statuses_md: statuses_page(),
    }
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"docs/{path.name} {'is stale: python scripts/generate_docs.py' if check else 'written'}")
        if not check:
            path.write_text(pages[path], "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
