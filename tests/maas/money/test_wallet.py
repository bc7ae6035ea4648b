"""Money in: top-ups, webhooks, codes and corrections, each once."""

from __future__ import annotations

import asyncio
import json

import pytest

from openglm.errors import Conflict, InvalidRequest, NotFound, OpenGLMError, PaymentRequired, Unauthorized
from openglm.maas.money import ledger
from openglm.maas.money.amounts import decimal_text, half_even, nano
from tests.maas.money.conftest import DAY


def test_a_top_up_with_the_same_key_is_one_top_up(money, audit):
    async def scenario():
        many = [money.wallet.top_up("org1", 500, idempotency_key="k") for _ in range(10)]
        assert {balance.balance_nano for balance in await asyncio.gather(*many)} == {500}
        with pytest.raises(Conflict):
            await money.wallet.top_up("org1", 501, idempotency_key="k")
        assert (await money.wallet.top_up("org2", 501, idempotency_key="k")).balance_nano == 501
        for amount in (0, -1, 10**19, 1.5, True):
            with pytest.raises(InvalidRequest):
                await money.wallet.top_up("org1", amount, idempotency_key="x")
        (entry,) = await money.wallet.statement("org1")
        assert (entry.kind, entry.amount_nano) == ("top-up", 500)

    asyncio.run(scenario())
    audit()


def test_a_webhook_that_comes_twice_pays_once(money, audit):
    async def scenario():
        order = await money.wallet.order("org1", 700, "manual", idempotency_key="o")
        assert await money.wallet.order("org1", 700, "manual", idempotency_key="o") == order
        assert (await money.wallet.balance("org1")).balance_nano == 0

        def notice(**more):
            fields = {"order_id": order.id, "amount_nano": 700, "paid": True}
            body = json.dumps(fields | more).encode()
            return {"X-OpenGLM-Signature": money.payments.sign(body)}, body

        for wrong, error in (
            (notice(amount_nano=7), Conflict),
            (notice(order_id="topup_x"), NotFound),
            (notice(paid="yes"), InvalidRequest),
            (({"x-openglm-signature": "0" * 64}, notice()[1]), Unauthorized),
            (({}, notice()[1]), Unauthorized),
        ):
            with pytest.raises(error):
                await money.wallet.webhook("manual", *wrong)
        assert (await money.wallet.webhook("manual", *notice(paid=False))).state == "failed"
        many = [money.wallet.webhook("manual", *notice()) for _ in range(10)]
        assert {paid.state for paid in await asyncio.gather(*many)} == {"paid"}
        assert (await money.wallet.webhook("manual", *notice(paid=False))).state == "paid"
        assert (await money.wallet.balance("org1")).balance_nano == 700
        with pytest.raises(NotFound):
            await money.wallet.webhook("stripe", *notice())

    asyncio.run(scenario())
    audit()


def test_a_code_is_redeemed_once_and_its_text_is_not_stored(money, audit):
    async def scenario():
        code, other = await money.wallet.create_codes(2, 900, expires_at_ms=money.clock.now + DAY)
        rows = await money.database.read("SELECT * FROM redeem_code")
        assert all(code not in str(tuple(row)) and code.replace("-", "") not in row["hash"] for row in rows)
        typed = [money.wallet.redeem(f"org{number % 2}", f" {code.lower()} ") for number in range(10)]
        outcomes = await asyncio.gather(*typed, return_exceptions=True)
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 9
        with pytest.raises(NotFound):
            await money.wallet.redeem("org1", "ABCDE-ABCDE-ABCDE-ABCDE")
        money.clock.now += DAY
        with pytest.raises(Conflict, match="expired"):
            await money.wallet.redeem("org1", other)

    asyncio.run(scenario())
    audit()


def test_an_adjustment_never_takes_what_is_held(money, audit):
    async def scenario():
        await money.prices.set("glm", uncached_pico=25_000, output_pico=25_000)
        await money.wallet.adjust("org1", 1_500, idempotency_key="a", reason="welcome")
        await money.wallet.adjust("org1", 1_500, idempotency_key="a", reason="welcome")
        await money.billing().hold(money.ask())
        with pytest.raises(PaymentRequired):
            await money.wallet.adjust("org1", -501, idempotency_key="b", reason="error")
        after = await money.wallet.adjust("org1", -500, idempotency_key="b", reason="error")
        assert (after.balance_nano, after.free_nano) == (1_000, 0)
        with pytest.raises(Conflict):
            await money.wallet.adjust("org1", -400, idempotency_key="b", reason="error")
        with pytest.raises(InvalidRequest):
            await money.wallet.adjust("org1", -400, idempotency_key="c", reason="")

    asyncio.run(scenario())
    audit()


def test_the_ledger_refuses_what_does_not_balance_in_code_and_in_the_database(money, audit):
    async def scenario():
        await money.wallet.top_up("org1", 500, idempotency_key="k")
        write = money.database.write
        with pytest.raises(OpenGLMError, match="sum to zero"):
            await write(lambda tx: ledger.post(tx, "t", "x", "nano", "o", {"a": 1, "b": -2}, 0))
        entry = "INSERT INTO ledger_entry (tx, account, amount) VALUES (:tx, 'a', 1)"
        posting = (
            "INSERT INTO posting (tx, kind, unit, org_id, created_at) VALUES ('t', 'x', 'nano', 'org1', 0)"
        )
        sealed = (await money.database.read_one("SELECT tx FROM posting"))["tx"]
        for statements in (
            [entry],
            [entry, posting],
            [posting],
            ["UPDATE ledger_entry SET amount = 7"],
            ["DELETE FROM ledger_entry"],
            ["UPDATE posting SET memo = 'x'"],
            ["DELETE FROM posting"],
            ["UPDATE account SET balance = -1"],
            ["UPDATE account SET held = balance + 1"],
        ):

            def work(tx, statements=statements):
                for statement in statements:
                    tx.run(statement, **({"tx": "t"} if ":tx" in statement else {}))

            with pytest.raises(Exception, match=r"zero|append-only|(?i:constraint)"):
                await write(work)
        with pytest.raises(Exception, match="sealed"):
            await write(lambda tx: tx.run(entry, tx=sealed))

    asyncio.run(scenario())
    audit()


def test_rounding_is_half_to_even_and_text_is_exact():
    assert [half_even(n, 1000) for n in (0, 499, 500, 501, 1500, 2500, 2501)] == [0, 0, 0, 1, 2, 2, 3]
    assert [decimal_text(amount) for amount in (0, 1, 10**9, 1_500_000_000, -25 * 10**8)] == [
        "0",
        "0.000000001",
        "1",
        "1.5",
        "-2.5",
    ]
    assert nano("12.000000001") == 12_000_000_001
    for text in ("x", "-1", "nan", "inf", "0.0000000001"):
        with pytest.raises(InvalidRequest):
            nano(text)
