"""Whether the books are in order: the laws of the ledger, over the whole of it, also while requests run.

Each law is read in one statement, which is one moment of the database. What is said of a fault names the row.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from openglm.maas.database import Database


@dataclass(frozen=True, slots=True)
class Books:
    transactions: int
    accounts: int
    open_holds: int
    faults: tuple[str, ...]


async def check_books(database: Database) -> Books:
    counts = await database.read_one(
        "SELECT (SELECT count(*) FROM posting) AS transactions, (SELECT count(*) FROM account) AS accounts,"
        " (SELECT count(*) FROM hold WHERE state = 'open') AS open_holds"
    )
    assert counts is not None, "counts are one row"
    faults = [
        *await _transactions(database),
        *await _balances(database),
        *await _held(database, "SELECT id AS place, held AS amount FROM account", "accounts"),
        *await _held(
            database,
            "SELECT budget_id || ':' || CAST(starts_at AS TEXT) AS place, held AS amount FROM budget_counter",
            "budgets",
        ),
    ]
    return Books(counts["transactions"], counts["accounts"], counts["open_holds"], tuple(faults))


async def _transactions(database: Database) -> list[str]:
    rows = await database.read(
        "SELECT e.tx AS tx, sum(e.amount) AS total, count(p.tx) AS sealed"
        " FROM ledger_entry e LEFT JOIN posting p ON p.tx = e.tx"
        " GROUP BY e.tx HAVING sum(e.amount) <> 0 OR count(p.tx) = 0 ORDER BY e.tx"
    )
    return [
        f"transaction {row['tx']}: its entries sum to {row['total']}"
        if row["total"]
        else f"transaction {row['tx']}: it has entries and no posting"
        for row in rows
    ]


async def _balances(database: Database) -> list[str]:
    """A kept balance is the sum of its entries, and covers what is held; debts are below zero."""
    rows = await database.read(
        "SELECT a.id AS id, a.balance AS balance, a.held AS held, coalesce(e.total, 0) AS total"
        " FROM account a"
        " LEFT JOIN (SELECT account, sum(amount) AS total FROM ledger_entry GROUP BY account) e"
        " ON e.account = a.id WHERE a.balance <> coalesce(e.total, 0)"
        " OR (a.balance < a.held AND substr(a.id, 1, 9) <> 'suspense:') ORDER BY a.id"
    )
    return [
        f"account {row['id']}: its balance is {row['balance']}, its entries sum to {row['total']}"
        if row["balance"] != row["total"]
        else f"account {row['id']}: it holds {row['held']} of {row['balance']}"
        for row in rows
    ]


async def _held(database: Database, places: str, column: str) -> list[str]:
    """What an account or a budget says is held is what open holds say; `column` lists their places."""
    rows = await database.read(
        f"SELECT place, amount, 0 AS is_hold FROM ({places}) p WHERE amount <> 0"
        f" UNION ALL SELECT {column}, amount, 1 FROM hold WHERE state = 'open' AND amount <> 0"
    )
    said: dict[str, int] = {}
    held: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        if row["is_hold"]:
            for place in row["place"].split():
                held[place] += row["amount"]
        else:
            said[row["place"]] = row["amount"]
    return [
        f"{column[:-1]} {place}: it says {said.get(place, 0)} is held, open holds say {held.get(place, 0)}"
        for place in sorted(said.keys() | held.keys())
        if said.get(place, 0) != held.get(place, 0)
    ]
