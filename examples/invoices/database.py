"""Makes the database that the export reads: `python database.py invoices.db --invoices 50000`.

Always the same for the same numbers: several organisations, and whatever real invoices hold that a
CSV file must survive (names in many scripts, quotes, commas, newlines, credit notes below zero).
"""

from __future__ import annotations

import argparse
import random
import sqlite3
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

__all__ = ["ORGANISATION", "generate"]

ORGANISATION = "acme"
"""The organisation that has as many invoices as were asked for; the others have a few."""

_OTHERS = {
    "muller": "Müller & Söhne GmbH",
    "sakura": "さくら商事株式会社",
    "oneill": 'O\'Neill, Byrne "and" Co.',
    "zolw": "Żółw Sp. z o.o.",
    "nile": "شركة النيل للتجارة",
}
_OTHERS_SHARE = 0.04

_SCHEMA = """
CREATE TABLE organisations (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    email TEXT NOT NULL
);
CREATE TABLE invoices (
    id INTEGER PRIMARY KEY,
    organisation_id TEXT NOT NULL REFERENCES organisations (id),
    number TEXT NOT NULL UNIQUE,
    customer TEXT NOT NULL,
    address TEXT NOT NULL,
    issued_on TEXT NOT NULL,
    due_on TEXT NOT NULL,
    paid_on TEXT,
    currency TEXT NOT NULL,
    net_cents INTEGER NOT NULL,
    vat_cents INTEGER NOT NULL,
    note TEXT
);
CREATE INDEX invoices_of ON invoices (organisation_id, id);
"""

_CUSTOMERS = (
    "Ada Lovelace", "Søren Kierkegård", "François Lefèvre", "Zoë O'Brien", "田中太郎", "Анна Ахматова",
    "Γιώργος Παπαδόπουλος", "عمر الخيام", "Łucja Żak", "Nguyễn Văn Minh", 'Bob "Bobby" Tables',
    "Müller, Heinz", "José Ñáñez", "🦊 Fuchs & Partner", "=SUM(A1:A9)", " Leading Space", "Trailing Space ",
)  # fmt: skip
_STREETS = (
    "12 Analytical Row", "Große Straße 7", "Rue de l'Église 3 bis", "5-2-1 Ginza", "ул. Мира 19",
    "Apt 4, \"The Mews\"", "Plaza Mayor 1\nEscalera B", "Nørregade 10\r\nBaghuset",
)  # fmt: skip
_CITIES = ("London", "København", "Zürich", "東京", "Москва", "São Paulo", "Kraków", "القاهرة")
_NOTES = (
    None, None, None, None, "", "net 30", "PO 4711, as agreed", 'says: "paid already"',
    "first line\nsecond line", "tab\there; semicolon", "naïve café ☕", 'ends with a "quote"',
    "1,234.56", "NULL",
)  # fmt: skip
_CURRENCIES = ("EUR", "EUR", "EUR", "USD", "GBP", "JPY", "CHF")
_VAT = (0, 7, 10, 19, 20, 22)
_FIRST_DAY = date(2021, 1, 1)
_DAYS = 1500


def generate(path: str | Path, invoices: int = 50_000, *, seed: int = 1) -> None:
    """Create a new SQLite file with so many invoices of `ORGANISATION`, and some of others."""
    Path(path).unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    try:
        connection.executescript(f"PRAGMA synchronous = OFF; {_SCHEMA}")
        names = {ORGANISATION: "Acme Aktiebolag", **_OTHERS}
        with connection:
            connection.executemany(
                "INSERT INTO organisations VALUES (?, ?, ?)",
                [(key, name, f"accounts@{key}.example") for key, name in names.items()],
            )
            connection.executemany(
                f"INSERT INTO invoices VALUES ({', '.join('?' * 12)})", _rows(invoices, seed)
            )
    finally:
        connection.close()


def _rows(invoices: int, seed: int) -> Iterator[tuple[object, ...]]:
    """Invoices of all organisations, mixed as they were issued; ids have gaps, as real ones do."""
    chance = random.Random(seed)
    uniform, others = chance.random, tuple(_OTHERS)
    days = [(_FIRST_DAY + timedelta(days)).isoformat() for days in range(_DAYS + 120)]
    row_id, left = 0, invoices

    def one_of(values: tuple[object, ...]) -> object:
        return values[int(uniform() * len(values))]

    while left:
        row_id += 1 if uniform() < 0.95 else 7
        owner = ORGANISATION if uniform() >= _OTHERS_SHARE else one_of(others)
        left -= owner == ORGANISATION
        day = int(uniform() * _DAYS)
        net = int(uniform() ** 4 * 5_000_000) + 1
        if uniform() < 0.03:
            net = -net  # a credit note
        yield (
            row_id,
            owner,
            f"{owner}-{row_id:07d}",
            f"{one_of(_CUSTOMERS)}",
            f"{one_of(_STREETS)}\n{one_of(_CITIES)}",
            days[day],
            days[day + 30],
            days[day + int(uniform() * 90)] if uniform() < 0.8 else None,
            one_of(_CURRENCIES),
            net,
            net * _VAT[int(uniform() * len(_VAT))] // 100,
            one_of(_NOTES),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a database of invoices.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--invoices", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    generate(given.path, given.invoices, seed=given.seed)


if __name__ == "__main__":
    main()
