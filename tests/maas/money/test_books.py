"""`glm admin verify`: books in order pass while requests are open, and every kind of damage is named."""

from __future__ import annotations

import asyncio

import pytest

from openglm.maas.money.books import Books, check_books
from tests.maas.money.conftest import USED, Money


async def some_money(money: Money) -> None:
    await money.prices.set("glm", uncached_pico=25_000, output_pico=25_000)
    await money.wallet.top_up("org1", 20_000, idempotency_key="start")
    await money.budgets.set("org1", "org", "org1", "month", 15_000)
    billing = money.billing()
    await billing.settle(await billing.hold(money.ask()), USED, status="ok")
    await billing.hold(money.ask())


def books(money: Money) -> Books:
    return asyncio.run(check_books(money.database))


def test_books_in_order_have_no_faults_while_a_request_is_open(money):
    asyncio.run(some_money(money))
    assert books(money) == Books(transactions=2, accounts=1, open_holds=1, faults=())


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (
            "UPDATE account SET balance = balance + 5 WHERE id = 'wallet:org1'",
            "account wallet:org1: its balance",
        ),
        ("UPDATE account SET held = held + 1 WHERE id = 'wallet:org1'", "account wallet:org1: it says 1001"),
        ("UPDATE hold SET state = 'voided' WHERE state = 'open'", "account wallet:org1: it says 1000"),
        ("UPDATE budget_counter SET held = 0", "says 0 is held, open holds say 1000"),
        ("DELETE FROM account", "account wallet:org1: it says 0"),
    ],
)
def test_damage_is_named(money, damage, named):
    asyncio.run(some_money(money))
    money.database.write_now(lambda tx: tx.run(damage))
    found = books(money)
    assert any(named in fault for fault in found.faults), found.faults
