"""Deletion of old rows, a little at a time: memory stays flat and live requests never wait long.

Readers look through a table in key order, a page at a time, and only the keys of old rows go to the writer.
What accountants need stays: the ledger, invoices and the audit log are never deleted, and a month's invoice
is issued before the first of its rows goes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter

from openglm.errors import InvalidRequest
from openglm.maas.database import Database, Transaction
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.money.invoices import Invoices
from openglm.maas.money.periods import moment

DAY_MS = 24 * 3600 * 1000
LEAST_DAYS = 62  # so that the months of all rows that go have ended
PAGE = 500  # rows that a reader looks at in one go
CHUNK = 100  # rows of one write
REST = 3.0  # after each write, in lengths of that write: benches/retention.py says what live requests feel


@dataclass(frozen=True, slots=True)
class Kept:
    """A table whose rows may go: its key, the time that counts, and which rows must stay at any age."""

    table: str
    key: str
    time: str
    stays: str = "0"
    is_billed: bool = False  # invoices are made from its rows


TABLES = (
    Kept("usage_event", "request_id", "created_at", is_billed=True),
    Kept("hold", "id", "closed_at", "CASE WHEN state = 'open' THEN 1 ELSE 0 END"),
)


async def delete_older(
    database: Database, invoices: Invoices, days: int, *, clock: Clock = wall_clock
) -> dict[str, int]:
    """Delete usage rows and closed holds older than so many days; returns how many of each."""
    if isinstance(days, bool) or not isinstance(days, int) or days < LEAST_DAYS:
        raise InvalidRequest(
            f"days must be at least {LEAST_DAYS}, got {days!r}",
            param="days",
            hint="the invoices of months that have not ended are made from these rows",
        )
    before = clock() - days * DAY_MS
    return {kept.table: await _delete(database, invoices, kept, before) for kept in TABLES}


async def _delete(database: Database, invoices: Invoices, kept: Kept, before: int) -> int:
    deleted, after = 0, ""
    issued: set[tuple[str, str]] = set()
    while True:
        rows = await database.read(
            f"SELECT {kept.key} AS id, org_id, {kept.time} AS at, {kept.stays} AS stays FROM {kept.table}"
            f" WHERE {kept.key} > :after ORDER BY {kept.key} LIMIT :page",
            after=after,
            page=PAGE,
        )
        old = [row for row in rows if row["at"] is not None and row["at"] < before and not row["stays"]]
        if kept.is_billed:
            for org_id, month in sorted(
                {(row["org_id"], f"{moment(row['at']):%Y-%m}") for row in old} - issued
            ):
                await invoices.issue(org_id, month)
                issued.add((org_id, month))
        keys = [row["id"] for row in old]
        for start in range(0, len(keys), CHUNK):
            began = perf_counter()
            deleted += await _delete_keys(database, kept, keys[start : start + CHUNK])
            await asyncio.sleep(REST * (perf_counter() - began))
        if len(rows) < PAGE:
            return deleted
        after = rows[-1]["id"]


async def _delete_keys(database: Database, kept: Kept, keys: list[str]) -> int:
    names = ", ".join(f":k{number}" for number in range(len(keys)))
    values = {f"k{number}": key for number, key in enumerate(keys)}

    def work(tx: Transaction) -> int:
        return tx.run(f"DELETE FROM {kept.table} WHERE {kept.key} IN ({names})", **values)

    return await database.write(work)
