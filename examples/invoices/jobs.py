"""Export an organisation's invoices to a CSV file, page by page, and mail a link to it.

The same file runs on a server and in a browser tab: it needs the standard library, and the paths
that its payload names.

Each step may be cut off anywhere and done again, so each is written to do no harm twice: files appear
whole or not at all, and the mail has a key of its own.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO

from durable_lite import AbortRun, Context, Retry, job, step

__all__ = ["Export", "Exported", "export_invoices"]


@dataclass
class Export:
    """What to export, and where to; the paths are those of the machine that executes the job."""

    organisation: str
    database: str
    folder: str
    outbox: str
    page_size: int = 500
    pause: str = "2s"  # between two pages, to leave the database to others


@dataclass
class Page:
    """Invoices by id, both ends included. Fixed when planned: what is issued later isn't exported."""

    number: int
    first: int
    last: int
    rows: int


@dataclass
class Plan:
    name: str
    email: str
    rows: int
    pages: list[Page]


@dataclass
class Part:
    rows: int
    sha256: str


@dataclass
class Exported:
    """What the job returns."""

    file: str
    rows: int
    sha256: str
    mail: str


COLUMNS = (
    "number", "customer", "address", "issued_on", "due_on", "paid_on", "currency", "net_cents", "vat_cents",
    "note",
)  # fmt: skip

# The file may be locked for a moment: that passes, and the step is tried again. Nothing else does.
PATIENT = Retry(max_attempts=8, min_delay="100ms", max_delay="10s")


@job(queue="exports", retry=Retry(max_attempts=5), max_duration="1h")
async def export_invoices(ctx: Context, export: Export) -> Exported:
    """One step for each page, so that a new start loses one page at most."""
    plan = await ctx.step("plan", make_plan, export)
    ctx.metadata.set("organisation", plan.name)
    ctx.log.info("planned", rows=plan.rows, pages=len(plan.pages))

    parts: list[Part] = []
    rows = 0
    for page in plan.pages:
        parts.append(await ctx.step(f"page-{page.number}", write_part, export, ctx.run.id, page))
        rows += page.rows
        ctx.progress(rows, plan.rows, f"page {page.number} of {len(plan.pages)}")
        await ctx.sleep(f"pause-{page.number}", export.pause)

    done = await ctx.step("join", join_parts, export, ctx.run.id, plan, parts)
    ctx.metadata.set("file", done.file)
    ctx.log.info("written", file=done.file, rows=done.rows)
    await ctx.step("mail", mail_link, export, plan, done, ctx.run.created_at)
    await ctx.step("tidy", remove_parts, export, ctx.run.id)
    return done


# The steps


@step(retry=PATIENT)
def make_plan(export: Export) -> Plan:
    """Cut the organisation's invoices into pages."""
    if export.page_size < 1:
        raise AbortRun(f"page_size: expected at least 1, got {export.page_size}")
    with reading(export.database) as db:
        query = "SELECT name, email FROM organisations WHERE id = ?"
        found = db.execute(query, [export.organisation]).fetchone()
        if found is None:
            raise AbortRun(f"{export.database} has no organisation {export.organisation!r}")
        cuts = db.execute(
            """
            SELECT place / :size + 1, min(id), max(id), count(*) FROM (
                SELECT id, row_number() OVER (ORDER BY id) - 1 AS place
                FROM invoices WHERE organisation_id = :organisation
            ) GROUP BY 1 ORDER BY 1
            """,
            {"size": export.page_size, "organisation": export.organisation},
        ).fetchall()
    name, email = found
    pages = [Page(*cut) for cut in cuts]
    return Plan(name, email, sum(page.rows for page in pages), pages)


@step(retry=PATIENT)
def write_part(export: Export, run_id: str, page: Page) -> Part:
    """Write one page to a file of its own; written again, the file is the same."""
    with reading(export.database) as db:
        rows = db.execute(
            f"SELECT {', '.join(COLUMNS)} FROM invoices "
            "WHERE organisation_id = ? AND id BETWEEN ? AND ? ORDER BY id",
            [export.organisation, page.first, page.last],
        ).fetchall()
    if len(rows) != page.rows:
        raise AbortRun(f"page {page.number} has {len(rows)} invoices now, and had {page.rows} when planned")
    data = as_csv(rows)
    with appearing(part_path(export, run_id, page)) as file:
        file.write(data)
    return Part(len(rows), hashlib.sha256(data).hexdigest())


@step(retry=PATIENT)
def join_parts(export: Export, run_id: str, plan: Plan, parts: list[Part]) -> Exported:
    """Put the parts into one file."""
    path = Path(export.folder) / f"invoices-{run_id}.csv"
    with appearing(path) as file:
        file.write(as_csv([COLUMNS]))
        for page, part in zip(plan.pages, parts, strict=True):
            file.write(part_data(export, run_id, page, part))
    mail = Path(export.outbox) / f"invoices-{run_id}.eml"
    return Exported(str(path), plan.rows, sha256(path), str(mail))


def mail_link(export: Export, plan: Plan, done: Exported, at: float) -> bool:
    """Put the mail into the outbox, unless it is there: its name comes from the run, so there is one."""
    path = Path(done.mail)
    if path.exists():
        return False
    link = Path(done.file).resolve().as_uri()
    mail = EmailMessage()
    mail["Message-ID"] = f"<{path.stem}@durable-lite.example>"
    mail["Date"] = formatdate(at)
    mail["From"] = "exports@durable-lite.example"
    mail["To"] = plan.email
    mail["Subject"] = f"Your invoices: {done.rows:,} rows"
    text = f"Dear {plan.name},\n\nyour export is ready: {link}\n\nsha256 {done.sha256}\n"
    mail.set_content(text, cte="8bit")
    with appearing(path) as file:
        file.write(mail.as_bytes())
    return True


def remove_parts(export: Export, run_id: str) -> None:
    """What isn't there needs no removal."""
    shutil.rmtree(parts_folder(export, run_id), ignore_errors=True)


# What the steps share


@contextmanager
def reading(path: str) -> Iterator[sqlite3.Connection]:
    """The database, to read. A lock is worth another try; no such file or table is not."""
    try:
        uri = f"{Path(path).resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as connection:
            yield connection
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
        raise AbortRun(f"{path}: {error}") from error


@contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """A file that appears whole under its name, on the disk, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    with half.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(half, path)


def as_csv(rows: list[tuple[object, ...]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def part_data(export: Export, run_id: str, page: Page, part: Part) -> bytes:
    """A part as its checkpoint has it: of its file, or, where a run went on without it, written again."""
    path = part_path(export, run_id, page)
    if not path.exists() and write_part(export, run_id, page) != part:
        raise AbortRun(f"the invoices of page {page.number} have changed since they were exported")
    return path.read_bytes()


def parts_folder(export: Export, run_id: str) -> Path:
    return Path(export.folder) / f".{run_id}.parts"


def part_path(export: Export, run_id: str, page: Page) -> Path:
    return parts_folder(export, run_id) / f"{page.number:06}.csv"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
