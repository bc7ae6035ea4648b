"""Budgets: judged with the hold, for every kind of request, and reset on time."""

from __future__ import annotations

import asyncio

import pytest

from openglm.errors import BudgetExhausted, InvalidRequest, NotFound
from tests.maas.money.conftest import DAY, NOVEMBER, USED, Money


async def funded(money: Money) -> None:
    await money.prices.set("glm", uncached_pico=25_000, output_pico=25_000)
    await money.wallet.top_up("org1", 10**9, idempotency_key="t")


@pytest.mark.parametrize("kind", ["chat", "completion", "embedding", "batch", "tool"])
def test_a_budget_stops_every_kind_of_request_at_the_same_point(money, audit, kind):
    async def scenario():
        await funded(money)
        await money.budgets.set("org1", "key", "key1", "total", 3_500)
        billing = money.billing()
        for _ in range(3):
            await billing.settle(await billing.hold(money.ask(kind=kind)), USED, status="ok")
        with pytest.raises(BudgetExhausted) as refused:
            await billing.hold(money.ask(kind=kind))
        assert refused.value.resets_at_ms is None
        await billing.hold(money.ask(kind=kind, key_id="key2"))
        (budget,) = await money.budgets.all("org1")
        assert (budget.spent_nano, budget.held_nano) == (3_000, 0)

    asyncio.run(scenario())
    audit()


def test_scopes_and_resets_are_each_judged(money, audit):
    async def scenario():
        await funded(money)
        for scope, target, period, limit in (
            ("org", "org1", "month", 6_000),
            ("project", "project1", "week", 5_000),
            ("user", "user1", "day", 2_000),
        ):
            await money.budgets.set("org1", scope, target, period, limit)
        billing = money.billing()

        async def spend(**more) -> BudgetExhausted | None:
            try:
                hold = await billing.hold(money.ask(**more))
            except BudgetExhausted as refused:
                return refused
            await billing.settle(hold, USED, status="ok")
            return None

        money.clock.now = NOVEMBER + DAY  # a Monday
        assert await spend() is None
        assert await spend() is None
        assert (await spend()).resets_at_ms == NOVEMBER + 2 * DAY
        for _ in range(3):
            assert await spend(user_id=None) is None
        assert (await spend(user_id=None)).resets_at_ms == NOVEMBER + 8 * DAY
        money.clock.now = NOVEMBER + 8 * DAY
        assert await spend() is None
        assert (await spend()).resets_at_ms == NOVEMBER + 30 * DAY
        money.clock.now = NOVEMBER + 30 * DAY
        assert await spend() is None

    asyncio.run(scenario())
    audit()


def test_a_race_and_a_longer_stream_do_not_pass_a_budget(money, audit):
    async def scenario():
        await funded(money)
        budget = await money.budgets.set("org1", "org", "org1", "day", 5_000)
        billing = money.billing()
        outcomes = await asyncio.gather(
            *(billing.hold(money.ask()) for _ in range(100)), return_exceptions=True
        )
        holds = [hold for hold in outcomes if not isinstance(hold, BaseException)]
        assert len(holds) == 5
        with pytest.raises(BudgetExhausted):
            await billing.extend(holds[0], USED, 1)
        assert (await money.wallet.balance("org1")).held_nano == 5_000
        await money.budgets.set("org1", "org", "org1", "day", 6_000)
        longer = await billing.extend(holds[0], USED, 40)
        await money.budgets.remove("org1", budget.id)
        longer = await billing.extend(longer, USED, 400)
        await billing.settle(longer, USED, status="ok")
        for hold in holds[1:]:
            await billing.void(hold)

    asyncio.run(scenario())
    audit()


def test_budgets_refuse_what_makes_no_sense_and_belong_to_their_org(money):
    async def scenario():
        for wrong in (
            ("team", "x", "day", 1),
            ("org", "org2", "day", 1),
            ("key", "x", "year", 1),
            ("key", "x", "day", -1),
            ("key", "x", "day", 1.5),
        ):
            with pytest.raises(InvalidRequest):
                await money.budgets.set("org1", *wrong)
        for scope in ("project", "key", "user"):
            with pytest.raises(NotFound, match="'nonsense'"):
                await money.budgets.set("org1", scope, "nonsense", "day", 1)
        with pytest.raises(NotFound):
            await money.budgets.set("org2", "key", "key1", "day", 1)
        budget = await money.budgets.set("org1", "key", "key1", "day", 1)
        with pytest.raises(NotFound):
            await money.budgets.remove("org2", budget.id)
        assert await money.budgets.all("org2") == []

    asyncio.run(scenario())
