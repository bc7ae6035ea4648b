"""While the database fails nothing that was delivered is forgotten: an end is tried until it is written."""

from __future__ import annotations

import asyncio

import pytest

from openglm.maas.database import DatabaseDown, connection, open_database
from openglm.messages import Usage
from tests.maas.money.conftest import USED, Money, audited
from tests.maas.outages import outage


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 20)


async def priced(money: Money) -> None:
    await money.prices.set("glm", uncached_pico=25_000, output_pico=25_000)
    await money.wallet.top_up("org1", 100_000, idempotency_key="first")


async def refused_at_least_once(caplog: pytest.LogCaptureFixture) -> None:
    async with asyncio.timeout(20):
        while "is not settled yet" not in caplog.text:
            await asyncio.sleep(0.005)


def reopened(money: Money, url: str) -> None:
    """What the ledger says once the outage is over, read by a stranger."""
    database = open_database(url)
    try:
        audited(database)
        assert not database.read_now("SELECT id FROM hold WHERE state = 'open'")
    finally:
        database.close()


def test_a_settle_that_the_database_does_not_take_is_tried_until_it_does(money, database_url, caplog):
    async def scenario():
        await priced(money)
        billing = money.billing()
        holds = [await billing.hold(money.ask()) for _ in range(8)]
        with outage(database_url):
            ends = [asyncio.create_task(billing.settle(hold, USED, status="ok")) for hold in holds]
            ends.append(asyncio.create_task(billing.void(holds.pop())))
            await refused_at_least_once(caplog)
            gone = ends.pop(0)
            gone.cancel()  # whoever asked has left: the end goes on all the same
            await asyncio.wait([gone])
        await asyncio.gather(*ends)
        await billing.stop()
        assert (await money.wallet.balance("org1")).held_nano == 0
        receipts = [await billing.receipt("org1", hold.id) for hold in holds]
        assert {receipt.cost_nano for receipt in receipts} == {1_000}

    asyncio.run(scenario())
    reopened(money, database_url)


def test_a_stop_waits_for_what_the_database_has_not_taken_yet(money, database_url, caplog):
    async def scenario():
        await priced(money)
        billing = money.billing()
        await billing.start()
        hold = await billing.hold(money.ask())
        with outage(database_url):
            ending = asyncio.create_task(billing.settle(hold, USED, status="ok"))
            await refused_at_least_once(caplog)
            stopping = asyncio.create_task(billing.stop())
            await asyncio.sleep(0)
            assert not stopping.done()
        await stopping
        assert ending.done()
        assert (await ending).cost_nano == 1_000

    asyncio.run(scenario())
    reopened(money, database_url)


def test_a_hold_that_the_database_may_have_taken_is_not_left_open(money, database_url):
    async def scenario():
        await priced(money)
        billing = money.billing()
        with outage(database_url), pytest.raises(DatabaseDown):
            await billing.hold(money.ask(client_request_id="mine"))
        again = await billing.hold(money.ask(client_request_id="mine"))
        await billing.settle(again, USED, status="ok")
        await billing.stop()
        assert (await money.wallet.balance("org1")).held_nano == 0

    asyncio.run(scenario())
    reopened(money, database_url)


def test_what_was_to_be_settled_when_the_process_died_is_settled_by_the_next_one(money, database_url, caplog):
    """The last usage becomes the checkpoint, once anything can be written."""

    async def scenario():
        await priced(money)
        billing = money.billing("dying")
        hold = await billing.hold(money.ask())
        billing.checkpoint(hold.id, Usage(input_uncached=10, output_text=1))
        with outage(database_url):
            ending = asyncio.create_task(billing.settle(hold, USED, status="ok"))
            await refused_at_least_once(caplog)
            assert billing._checkpoints == {hold.id: USED}
            ending.cancel()
        await billing.flush()
        await money.billing("next").recover("dying")
        row = await money.database.read_one("SELECT cost_nano FROM usage_event")
        assert row["cost_nano"] == 1_000

    asyncio.run(scenario())
