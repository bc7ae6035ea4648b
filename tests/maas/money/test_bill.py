"""One hold and its one end, whatever happens in between."""

from __future__ import annotations

import asyncio

import pytest

from openglm.maas.money import Bill
from tests.maas.money.conftest import USED, Money


async def opened(money: Money) -> Bill:
    await money.prices.set("glm", uncached_pico=25_000, output_pico=25_000)
    await money.wallet.top_up("org1", 5_000, idempotency_key="first")
    return await money.billing().bill(money.ask())


async def ended(money: Money) -> tuple[str, int]:
    """Its status and what is left of 5,000."""
    await money.database.write(lambda tx: None, durable=True)
    row = await money.database.read_one("SELECT status FROM usage_event")
    balance = await money.wallet.balance("org1")
    assert balance.held_nano == 0
    return row["status"], balance.balance_nano


def test_what_was_used_is_settled_and_without_a_word_the_hold_is_void(money, audit):
    async def scenario():
        async with await opened(money) as bill:
            bill.used(USED)
        assert bill.receipt.cost_nano == 1_000
        assert await ended(money) == ("ok", 4_000)
        async with await money.billing().bill(money.ask()) as bill:
            pass
        assert bill.receipt is None
        assert (await money.wallet.balance("org1")).free_nano == 4_000

    asyncio.run(scenario())
    audit()


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
def test_work_that_breaks_off_pays_for_what_it_had_used_and_its_error_goes_on(money, audit, told, error):
    async def work() -> None:
        async with await opened(money) as bill:
            if told:
                bill.used(USED)
            raise error

    async def scenario():
        with pytest.raises(error):
            await work()
        assert await ended(money) == (("partial", 4_000) if told else ("void", 5_000))

    asyncio.run(scenario())
    audit()


def test_what_cannot_be_kept_is_not_charged(money, audit):
    def refuse(tx):
        raise RuntimeError("there is no room for it")

    async def scenario():
        with pytest.raises(RuntimeError):
            async with await opened(money) as bill:
                bill.used(USED, also=refuse)
        assert await ended(money) == ("void", 5_000)

    asyncio.run(scenario())
    audit()
