"""Hold and settle: exactly once, whoever races, repeats or dies."""

from __future__ import annotations

import asyncio

import pytest

from openglm.errors import (
    Conflict,
    DuplicateRequest,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    PaymentRequired,
)
from openglm.maas.database import open_database
from openglm.messages import Usage
from tests.maas.money.conftest import USED, Money


async def priced(money: Money, balance: int | None = None) -> None:
    await money.prices.set("glm", uncached_pico=25_000, cached_pico=5_000, output_pico=25_000)
    if balance is not None:
        await money.wallet.top_up("org1", balance, idempotency_key="first")


def test_a_request_holds_its_most_and_pays_its_use(money, audit):
    async def scenario():
        await priced(money, 5_000)
        billing = money.billing()
        hold = await billing.hold(money.ask())
        assert hold.amount == 1_000
        assert (await money.wallet.balance("org1")).free_nano == 4_000
        money.clock.now += 1_234
        usage = Usage(input_uncached=4, cache_read=6, output_text=9, output_reasoning=1)
        receipt = await billing.settle(hold, usage, status="ok", ttft_ms=5)
        assert receipt.cost_nano == (4 * 25_000 + 6 * 5_000 + 10 * 25_000) // 1000 == 380
        assert receipt.arithmetic == (
            "4 uncached input x 25000 pico = 100000 pico",
            "6 cached input x 5000 pico = 30000 pico",
            "10 output x 25000 pico = 250000 pico",
            "380000 pico = 380 nano",
        )
        assert receipt.balance_nano == 4_620
        assert (await money.wallet.balance("org1")).free_nano == 4_620
        row = await money.database.read_one("SELECT * FROM usage_event")
        assert (row["ttft_ms"], row["duration_ms"], row["status"]) == (5, 1_234, "ok")
        assert await billing.receipt("org1", hold.id) == receipt
        with pytest.raises(NotFound):
            await billing.receipt("org2", hold.id)

    asyncio.run(scenario())
    audit()


def test_of_two_hundred_at_once_with_money_for_ten_exactly_ten_are_admitted(money, audit):
    async def scenario():
        await priced(money, 10_000)
        nodes = [money.billing(name) for name in ("a", "b")]
        asks = [nodes[number % 2].hold(money.ask()) for number in range(200)]
        holds = await asyncio.gather(*asks, return_exceptions=True)
        admitted = [hold for hold in holds if not isinstance(hold, BaseException)]
        assert len(admitted) == 10
        assert all(isinstance(hold, PaymentRequired) for hold in holds if isinstance(hold, BaseException))
        await asyncio.gather(*(nodes[0].settle(hold, USED, status="ok") for hold in admitted))
        assert (await money.wallet.balance("org1")).balance_nano == 0

    asyncio.run(scenario())
    audit()


def test_two_servers_on_one_database_admit_exactly_what_the_wallet_covers(money, database_url, audit):
    other = open_database(database_url)

    async def scenario():
        await priced(money, 10_000)
        far, here = money.billing("far", database=other), money.billing()
        holds = await asyncio.gather(
            *((far, here)[number % 2].hold(money.ask()) for number in range(200)), return_exceptions=True
        )
        admitted = [hold for hold in holds if not isinstance(hold, BaseException)]
        assert len(admitted) == 10
        both = [node.settle(hold, USED, status="ok") for hold in admitted for node in (far, here)]
        receipts = await asyncio.gather(*both)
        assert receipts[::2] == receipts[1::2]

    asyncio.run(scenario())
    other.close()
    audit()


def test_settling_again_gives_the_same_receipt_and_moves_nothing(money, audit):
    async def scenario():
        await priced(money, 5_000)
        billing = money.billing()
        hold = await billing.hold(money.ask())
        first = await billing.settle(hold, USED, status="ok")
        more = Usage(input_uncached=10, output_text=30, output_reasoning=30)
        again = await asyncio.gather(*(billing.settle(hold, more, status="partial") for _ in range(20)))
        assert again == [first] * 20
        await billing.void(hold)
        assert await money.billing("other").settle(hold, USED, status="ok") == first
        assert (await money.wallet.balance("org1")).balance_nano == 4_000
        with pytest.raises(Conflict):
            await billing.extend(hold, USED, 100)

    asyncio.run(scenario())
    audit()


def test_a_void_costs_nothing_leaves_a_row_and_frees_the_clients_id(money, audit):
    async def scenario():
        await priced(money, 1_000)
        billing = money.billing()
        hold = await billing.hold(money.ask(client_request_id="mine"))
        await billing.void(hold)
        await billing.void(hold)
        late = await billing.settle(hold, USED, status="ok")
        assert (late.cost_nano, late.status) == (0, "void")
        assert (await money.wallet.balance("org1")).free_nano == 1_000
        await billing.hold(money.ask(client_request_id="mine"))

    asyncio.run(scenario())
    audit()


def test_a_clients_request_id_is_taken_while_open_and_after_and_only_in_its_own_org(money, audit):
    async def scenario():
        await priced(money, 10_000)
        await money.wallet.top_up("org2", 10_000, idempotency_key="x")
        billing = money.billing()
        hold = await billing.hold(money.ask(client_request_id="mine"))
        with pytest.raises(DuplicateRequest):
            await billing.hold(money.ask(client_request_id="mine"))
        await billing.settle(hold, USED, status="ok")
        with pytest.raises(DuplicateRequest):
            await billing.hold(money.ask(client_request_id="mine"))
        with pytest.raises(DuplicateRequest):
            await billing.hold(money.ask(request_id=hold.id))
        await billing.hold(money.ask(client_request_id="mine", org_id="org2"))
        many = [billing.hold(money.ask(client_request_id="race")) for _ in range(20)]
        outcomes = await asyncio.gather(*many, return_exceptions=True)
        assert sum(isinstance(outcome, DuplicateRequest) for outcome in outcomes) == 19
        assert (await money.wallet.balance("org1")).held_nano == 1_000

    asyncio.run(scenario())
    audit()


def test_what_costs_more_than_was_held_takes_what_is_free_and_the_rest_is_owed(money, audit):
    async def scenario():
        await priced(money, 2_500)
        billing = money.billing()
        hold, other = [await billing.hold(money.ask()) for _ in range(2)]
        receipt = await billing.settle(hold, Usage(input_uncached=10, output_text=90), status="ok")
        assert (receipt.cost_nano, receipt.debt_nano, receipt.balance_nano) == (2_500, 1_000, 1_000)
        balance = await money.wallet.balance("org1")
        assert (balance.balance_nano, balance.held_nano, balance.debt_nano) == (1_000, 1_000, 1_000)
        await billing.settle(other, USED, status="ok")
        after = await money.wallet.top_up("org1", 5_000, idempotency_key="second")
        assert (after.balance_nano, after.debt_nano) == (4_000, 0)

    asyncio.run(scenario())
    audit()


def test_a_stream_holds_more_as_it_goes_until_the_wallet_is_empty(money, audit):
    async def scenario():
        await priced(money, 2_000)
        billing = money.billing()
        hold = await billing.hold(money.ask())
        assert (await billing.extend(hold, USED, 0)) == hold
        longer = await billing.extend(hold, USED, 40)
        assert longer.amount == 2_000
        with pytest.raises(PaymentRequired):
            await billing.extend(longer, USED, 41)
        receipt = await billing.settle(hold, USED, status="partial")
        assert receipt.cost_nano == 1_000
        assert (await money.wallet.balance("org1")).free_nano == 1_000

    asyncio.run(scenario())
    audit()


def test_a_free_model_needs_no_wallet_and_a_model_without_a_price_is_not_served(money, audit):
    async def scenario():
        billing = money.billing()
        with pytest.raises(ModelNotFound):
            await billing.hold(money.ask(model="glm-4.7-flash"))
        await money.prices.set("glm-4.7-flash")
        hold = await billing.hold(money.ask(model="glm-4.7-flash"))
        receipt = await billing.settle(hold, USED, status="ok")
        assert (hold.amount, receipt.cost_nano, receipt.balance_nano) == (0, 0, None)
        await money.prices.set("*", output_pico=1_000)
        with pytest.raises(PaymentRequired):
            await billing.hold(money.ask(model="anything"))

    asyncio.run(scenario())
    audit()


def test_a_request_settles_at_the_price_it_was_held_at(money):
    async def scenario():
        await priced(money, 10_000)
        billing = money.billing()
        hold = await billing.hold(money.ask())
        await money.prices.set("glm", uncached_pico=99_000, output_pico=99_000)
        old = await billing.settle(hold, USED, status="ok")
        assert (old.cost_nano, old.price_version) == (1_000, "glm#1")
        new = await billing.settle(await billing.hold(money.ask()), USED, status="ok")
        assert (new.cost_nano, new.price_version) == (3_960, "glm#2")

    asyncio.run(scenario())


def test_batches_pay_half_and_tools_pay_per_call(money, audit):
    async def scenario():
        await priced(money, 100_000)
        await money.prices.set("search", per_call_nano=7_000)
        billing = money.billing()
        batch = await billing.hold(money.ask(kind="batch", batch=True))
        assert (batch.amount, (await billing.settle(batch, USED, status="ok")).cost_nano) == (500, 500)
        tool = await billing.hold(
            money.ask(model="search", kind="tool", units=3, prompt_tokens=0, output_tokens=0)
        )
        assert (await billing.settle(tool, Usage(), status="ok")).cost_nano == 21_000

    asyncio.run(scenario())
    audit()


def test_counts_that_cannot_be_are_refused_and_change_nothing(money, audit):
    async def scenario():
        await priced(money, 5_000)
        billing = money.billing()
        hold = await billing.hold(money.ask())
        for usage in (Usage(input_uncached=-1), Usage(output_text=2**60)):
            with pytest.raises(InvalidRequest):
                await billing.settle(hold, usage, status="ok")
            with pytest.raises(InvalidRequest):
                billing.checkpoint(hold.id, usage)
        with pytest.raises(InvalidRequest):
            money.ask(prompt_tokens=-1)
        with pytest.raises(InvalidRequest):
            money.ask(units=-1)
        assert (await billing.settle(hold, USED, status="ok")).cost_nano == 1_000

    asyncio.run(scenario())
    audit()


def test_another_org_cannot_end_a_hold(money):
    async def scenario():
        await priced(money, 5_000)
        billing = money.billing()
        hold = await billing.hold(money.ask())
        from dataclasses import replace

        stolen = replace(hold, ask=replace(hold.ask, org_id="org2"))
        with pytest.raises(NotFound):
            await billing.settle(stolen, USED, status="ok")
        with pytest.raises(NotFound):
            await billing.extend(stolen, USED, 1)
        assert (await money.wallet.balance("org1")).held_nano == 1_000

    asyncio.run(scenario())


def test_a_settle_is_carried_out_even_if_its_task_is_cancelled(money, audit):
    async def scenario():
        await priced(money, 50_000)
        billing = money.billing()
        holds = [await billing.hold(money.ask()) for _ in range(20)]
        tasks = [asyncio.create_task(billing.settle(hold, USED, status="ok")) for hold in holds]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(billing.settle(hold, Usage(), status="ok") for hold in holds))
        assert (await money.wallet.balance("org1")).balance_nano == 30_000

    asyncio.run(scenario())
    audit()


def test_a_hold_whose_asker_was_cancelled_is_not_left_open(money, audit):
    async def scenario():
        await priced(money, 500_000)
        billing = money.billing()
        tasks = [asyncio.create_task(billing.hold(money.ask())) for _ in range(50)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await money.database.write(lambda tx: None)
        await money.database.write(lambda tx: None, durable=True)
        kept = sum(not task.cancelled() for task in tasks)
        rows = await money.database.read("SELECT id FROM hold WHERE state = 'open'")
        assert len(rows) == kept

    asyncio.run(scenario())
    audit()


def test_a_thousand_settles_at_once_beside_a_long_reader(money, audit):
    async def scenario():
        await priced(money, 2_000_000)
        billing = money.billing()
        holds = await asyncio.gather(*(billing.hold(money.ask()) for _ in range(1_000)))
        reading = asyncio.create_task(
            money.database.read(
                "SELECT count(*) AS n FROM hold a, hold b, (SELECT id FROM hold LIMIT 3) c"
                " WHERE a.amount + b.amount > 0"
            )
        )
        receipts = await asyncio.gather(*(billing.settle(hold, USED, status="ok") for hold in holds))
        assert (await reading)[0]["n"] == 3_000_000
        assert sum(receipt.cost_nano for receipt in receipts) == 1_000_000

    asyncio.run(scenario())
    audit()
