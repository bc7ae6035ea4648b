"""Parts of the platform's money on a clock that tests turn by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from openglm.maas.database import Database, Transaction
from openglm.maas.money import Ask, Billing, Budgets, Invoices, ManualPayments, Plans, Prices, Wallet
from openglm.messages import Usage

NOVEMBER = 1_793_491_200_000  # 2026-11-01 00:00 UTC, a Sunday
HOUR = 3_600_000
DAY = 24 * HOUR
PLANS = """
[plans.lite]
title = "Lite"
windows = { 5h = 1000, week = 3000, month = 8000 }
[models."glm-4.6"]
uncached = 1
cached = 0.2
output = 3
[models."glm-5*"]
uncached = 1
output = 1
[[factors]]
models = ["glm-5*"]
from = "14:00"
to = "18:00"
utc_offset = "+08:00"
factor = 3
"""


@dataclass
class Hand:
    """A clock that stands still."""

    now: int = NOVEMBER

    def __call__(self) -> int:
        return self.now


@dataclass
class Money:
    database: Database
    clock: Hand
    prices: Prices
    plans: Plans
    wallet: Wallet
    budgets: Budgets
    invoices: Invoices
    payments: ManualPayments
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    seconds: float = 0.0  # of the clock that only goes forward

    def billing(self, node_id: str = "here", *, database: Database | None = None) -> Billing:
        """A node's billing; with `database`, of a node that has its own connections."""
        if database is None:
            parts = self.database, self.prices, self.plans
        else:
            parts = database, Prices(database, clock=self.clock), Plans(database, clock=self.clock)
        return Billing(*parts, clock=self.clock, ticks=lambda: self.seconds, node_id=node_id)

    def ask(self, **more: Any) -> Ask:
        """By default one call costs exactly 1,000 nano: 10 uncached and 30 output tokens at 25 nano."""
        fields: dict[str, Any] = {
            "request_id": f"req{next(self.numbers)}",
            "org_id": "org1",
            "project_id": "project1",
            "key_id": "key1",
            "user_id": "user1",
            "model": "glm",
            "kind": "chat",
            "prompt_tokens": 10,
            "output_tokens": 30,
        }
        return Ask(**(fields | more))


USED = Usage(input_uncached=10, output_text=20, output_reasoning=10)


def settle(tx: Transaction) -> None:
    """The organisation, project, user and key that requests name, as budgets want to see them."""
    tx.run("INSERT INTO org (id, name, created_at) VALUES ('org1', 'One', 0)")
    tx.run("INSERT INTO app_user (id, email, name, created_at) VALUES ('user1', 'u@example.com', 'U', 0)")
    tx.run("INSERT INTO member (org_id, user_id, role, created_at) VALUES ('org1', 'user1', 'owner', 0)")
    tx.run("INSERT INTO project (id, org_id, name, created_at) VALUES ('project1', 'org1', 'P', 0)")
    tx.run(
        "INSERT INTO api_key (id, org_id, project_id, name, secret_hash, sealed_secret, models, endpoints,"
        " cidrs, created_at) VALUES ('key1', 'org1', 'project1', 'K', '', :sealed, '[]', '[]', '[]', 0)",
        sealed=b"",
    )


@pytest.fixture
def money(database: Database) -> Money:
    clock = Hand()
    database.write_now(settle)
    payments = ManualPayments(b"a secret of sixteen bytes")
    return Money(
        database,
        clock,
        Prices(database, clock=clock),
        Plans(database, clock=clock),
        Wallet(database, [payments], clock=clock),
        Budgets(database, clock=clock),
        Invoices(database, clock=clock),
        payments,
    )


@pytest.fixture
def audit(database: Database) -> Callable[[], None]:
    return lambda: audited(database)


def audited(database: Database) -> None:
    """The laws of the ledger, over the whole of it."""
    read = database.read_now
    assert not read("SELECT tx FROM ledger_entry GROUP BY tx HAVING sum(amount) <> 0")
    assert not read("SELECT tx FROM ledger_entry WHERE tx NOT IN (SELECT tx FROM posting)")
    for account in read("SELECT * FROM account"):
        entries = read(
            "SELECT coalesce(sum(amount), 0) AS total FROM ledger_entry WHERE account = :id", id=account["id"]
        )
        assert account["balance"] == entries[0]["total"], account["id"]
        if not account["id"].startswith("suspense:"):
            assert account["balance"] >= account["held"] >= 0
    held: dict[str, int] = {}
    budgets: dict[str, int] = {}
    for hold in read("SELECT * FROM hold WHERE state = 'open'"):
        for account in hold["accounts"].split():
            held[account] = held.get(account, 0) + hold["amount"]
        for counter in hold["budgets"].split():
            budgets[counter] = budgets.get(counter, 0) + hold["amount"]
    assert {row["id"]: row["held"] for row in read("SELECT * FROM account WHERE held <> 0")} == {
        account: amount for account, amount in held.items() if amount
    }
    assert {
        f"{row['budget_id']}:{row['starts_at']}": row["held"]
        for row in read("SELECT * FROM budget_counter WHERE held <> 0")
    } == {counter: amount for counter, amount in budgets.items() if amount}
    closed = read("SELECT count(*) AS n FROM hold WHERE state <> 'open'")[0]["n"]
    billed = "SELECT count(*) AS n FROM usage_event WHERE request_id IN (SELECT id FROM hold)"
    assert closed == read(billed)[0]["n"]
