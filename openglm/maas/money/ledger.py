"""Double entry: every posting moves amounts between accounts, and its entries sum to zero.

Accounts by name: `wallet:ORG` (what we owe an organisation), `suspense:ORG` (what it used beyond its wallet),
`revenue:MODEL`, `grants`, `payments:ADAPTER`, and for credits `plan-window:SUB:PERIOD:START`,
`plan-limit:PLAN`, `used:PERIOD:MODEL`. The database refuses a posting that does not balance, an entry without
its posting, and any change of either; `post` refuses the first with a clearer word.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from openglm.errors import OpenGLMError
from openglm.maas.database import Transaction

Unit = Literal["nano", "credit"]


def wallet_of(org_id: str) -> str:
    return f"wallet:{org_id}"


def debt_of(org_id: str) -> str:
    return f"suspense:{org_id}"


def post(  # noqa: PLR0917 - the columns of a posting, in their order
    tx: Transaction,
    posting_id: str,
    kind: str,
    unit: Unit,
    org_id: str,
    entries: Mapping[str, int],
    now_ms: int,
    memo: str = "",
) -> None:
    """Write one posting. Entries of zero are left out; a posting of nothing is not written."""
    moved = [(account, amount) for account, amount in entries.items() if amount]
    if sum(amount for _, amount in moved):
        raise OpenGLMError(f"the entries of posting {posting_id!r} do not sum to zero: {dict(moved)}")
    if not moved:
        return
    values: dict[str, object] = {"tx": posting_id}
    for number, (account, amount) in enumerate(moved):
        values[f"account{number}"] = account
        values[f"amount{number}"] = amount
    tx.run(_entries(len(moved)), **values)
    tx.run(
        "INSERT INTO posting (tx, kind, unit, org_id, memo, created_at)"
        " VALUES (:tx, :kind, :unit, :org_id, :memo, :now)",
        tx=posting_id,
        kind=kind,
        unit=unit,
        org_id=org_id,
        memo=memo,
        now=now_ms,
    )


@lru_cache(maxsize=32)
def _entries(count: int) -> str:
    rows = ", ".join(f"(:tx, :account{number}, :amount{number})" for number in range(count))
    return f"INSERT INTO ledger_entry (tx, account, amount) VALUES {rows}"


def add(tx: Transaction, account: str, org_id: str, unit: Unit, *, amount: int, now_ms: int) -> int:
    """Change a kept account that may not exist yet, without conditions; its new balance."""
    # Two steps: where the row exists, an upsert would judge the amount alone against the table's checks.
    tx.run(
        "INSERT INTO account (id, org_id, unit, created_at) VALUES (:id, :org_id, :unit, :now)"
        " ON CONFLICT DO NOTHING",
        id=account,
        org_id=org_id,
        unit=unit,
        now=now_ms,
    )
    row = tx.one(
        "UPDATE account SET balance = balance + :amount WHERE id = :id RETURNING balance",
        id=account,
        amount=amount,
    )
    assert row is not None, "the account was just made"
    return int(row["balance"])


def set_aside(tx: Transaction, account: str, amount: int) -> bool:
    """Hold an amount if the account covers it beside what is held already. The one guard of a balance."""
    return (
        tx.run(
            "UPDATE account SET held = held + :amount WHERE id = :id AND balance - held >= :amount",
            id=account,
            amount=amount,
        )
        == 1
    )


def take(tx: Transaction, account: str, held: int, cost: int) -> tuple[int, int]:
    """Release a hold and take the cost, as far as the account covers it: (taken, balance after)."""
    if cost > held:
        row = tx.one("SELECT balance, held FROM account WHERE id = :id", id=account)
        assert row is not None, "a hold names an account that exists"
        cost = min(cost, row["balance"] - row["held"] + held)
    row = tx.one(
        "UPDATE account SET balance = balance - :cost, held = held - :held WHERE id = :id RETURNING balance",
        id=account,
        cost=cost,
        held=held,
    )
    assert row is not None, "a hold names an account that exists"
    return cost, int(row["balance"])


def withdraw(tx: Transaction, account: str, amount: int) -> bool:
    """Take an amount if nobody's hold needs it."""
    return (
        tx.run(
            "UPDATE account SET balance = balance - :amount WHERE id = :id AND balance - held >= :amount",
            id=account,
            amount=amount,
        )
        == 1
    )
