"""Plans on a clock turned by hand: windows, factors, meters, and a wallet that is never touched."""

from __future__ import annotations

import asyncio

import pytest

from openglm.errors import Conflict, InvalidRequest, NotFound, PaymentRequired, PlanRefused
from openglm.maas.money.periods import calendar_window, cycle, milliseconds, moment
from openglm.maas.money.plans import SHIPPED, plan_from_terms, read_plans
from openglm.messages import Usage
from tests.maas.money.conftest import DAY, HOUR, NOVEMBER, PLANS, Money


async def subscribed(money: Money) -> None:
    await money.plans.load(PLANS)
    await money.plans.subscribe("org1", "lite", user_id="user1", idempotency_key="s1")


def asks(money: Money, **more):
    fields = {"plan": True, "model": "glm-4.6", "prompt_tokens": 100, "output_tokens": 100}
    return money.ask(**(fields | more))


def test_a_plan_settles_in_credits_with_its_arithmetic_and_never_touches_the_wallet(money, audit):
    async def scenario():
        await money.wallet.top_up("org1", 10**9, idempotency_key="t")
        await subscribed(money)
        billing = money.billing()
        hold = await billing.hold(asks(money))
        assert hold.amount == 400
        usage = Usage(input_uncached=33, cache_read=44, output_text=20, output_reasoning=5)
        receipt = await billing.settle(hold, usage, status="ok")
        assert (receipt.credits, receipt.cost_nano, receipt.balance_nano) == (117, 0, None)  # 116.8
        assert receipt.arithmetic == (
            "33 uncached input x 1 = 33",
            "44 cached input x 0.2 = 8.8",
            "25 output x 3 = 75",
            "116.8 x 1 (time of day) = 117 credits",
        )
        assert receipt.price_version == "plan:lite#1"
        assert await billing.settle(hold, usage, status="ok") == receipt
        meters = await money.plans.meters("org1", "user1")
        assert [(meter.period, meter.used, meter.held, meter.limit) for meter in meters] == [
            ("5h", 117, 0, 1000),
            ("week", 117, 0, 3000),
            ("month", 117, 0, 8000),
        ]
        assert meters[0].by_model == (("glm-4.6", 117),)
        assert meters[0].percentage == 12
        assert (await money.wallet.balance("org1")).free_nano == 10**9

    asyncio.run(scenario())
    audit()


def test_windows_run_out_and_reset_on_time(money, audit):
    async def scenario():
        await money.wallet.top_up("org1", 10**12, idempotency_key="t")
        await money.prices.set("*", uncached_pico=1, output_pico=1)
        await subscribed(money)
        billing = money.billing()

        async def spend(times: int) -> PlanRefused | None:
            for _ in range(times):
                try:
                    hold = await billing.hold(asks(money, prompt_tokens=100, output_tokens=300))
                except PlanRefused as refused:
                    return refused
                await billing.settle(hold, Usage(input_uncached=100, output_text=300), status="ok")
            return None

        money.clock.now += HOUR
        opened = money.clock.now
        assert await spend(1) is None
        refused = await spend(1)
        assert (refused.reason, refused.resets_at_ms) == ("5h", opened + 5 * HOUR)
        assert "2026-11-01 06:00:00 UTC" in str(refused)
        money.clock.now = opened + 5 * HOUR - 1
        assert (await spend(1)).reason == "5h"
        money.clock.now += 1
        assert await spend(1) is None
        money.clock.now += 5 * HOUR
        assert await spend(1) is None
        money.clock.now += 5 * HOUR
        refused = await spend(1)  # three of 1,000 in this week
        assert (refused.reason, refused.resets_at_ms) == ("week", NOVEMBER + 7 * DAY)
        money.clock.now = NOVEMBER + 7 * DAY
        for _ in range(3):
            assert await spend(1) is None
            money.clock.now += 5 * HOUR
        money.clock.now = NOVEMBER + 14 * DAY
        for _ in range(2):
            assert await spend(1) is None
            money.clock.now += 5 * HOUR
        refused = await spend(1)  # eight of 1,000 in this month
        assert (refused.reason, refused.resets_at_ms) == ("month", NOVEMBER + 30 * DAY)
        money.clock.now = NOVEMBER + 30 * DAY
        assert (await spend(1)).reason == "expired"
        with pytest.raises(PlanRefused) as none:
            await billing.hold(asks(money, user_id="user2"))
        assert none.value.reason == "none"
        assert (await money.wallet.balance("org1")).free_nano == 10**12

    asyncio.run(scenario())
    audit()


def test_many_at_once_never_pass_a_window(money, audit):
    async def scenario():
        await subscribed(money)
        nodes = [money.billing(name) for name in ("a", "b")]
        many = [nodes[number % 2].hold(asks(money)) for number in range(50)]
        holds = await asyncio.gather(*many, return_exceptions=True)
        admitted = [hold for hold in holds if not isinstance(hold, BaseException)]
        assert len(admitted) == 2
        assert all(isinstance(hold, PlanRefused) for hold in holds if isinstance(hold, BaseException))
        longer = await nodes[0].extend(admitted[0], Usage(input_uncached=100), 166)
        assert longer.amount == 598
        with pytest.raises(PlanRefused) as refused:
            await nodes[0].extend(longer, Usage(input_uncached=100), 200)
        assert refused.value.reason == "5h"
        # Far more than was held: the window gives what is free, and the rest is forgiven.
        big = await nodes[0].settle(longer, Usage(input_uncached=5_000), status="ok")
        assert (big.credits, big.debt_nano) == (5_000, 0)
        await nodes[0].void(admitted[1])

    asyncio.run(scenario())
    audit()


def test_a_hold_settles_in_the_window_it_was_taken_in(money, audit):
    async def scenario():
        await subscribed(money)
        billing = money.billing()
        hold = await billing.hold(asks(money))
        money.clock.now += 6 * HOUR
        other = await billing.hold(asks(money))
        await billing.settle(hold, Usage(input_uncached=50), status="ok")
        five_hours, week, _ = await money.plans.meters("org1", "user1")
        assert (five_hours.used, five_hours.held, week.used, week.held) == (0, 400, 50, 400)
        await billing.void(other)

    asyncio.run(scenario())
    audit()


def test_the_factor_is_that_of_the_hour_the_request_began(money):
    async def scenario():
        await subscribed(money)
        billing = money.billing()
        money.clock.now = NOVEMBER + 6 * HOUR  # 14:00 in UTC+8
        peak = await billing.hold(asks(money, model="glm-5.1", prompt_tokens=10, output_tokens=0))
        money.clock.now += 4 * HOUR  # 18:00
        late = await billing.hold(asks(money, model="glm-5.1", prompt_tokens=10, output_tokens=0))
        assert (peak.amount, late.amount) == (30, 10)
        receipt = await billing.settle(peak, Usage(input_uncached=10), status="ok")
        assert (receipt.credits, receipt.arithmetic[-1]) == (30, "10 x 3 (time of day) = 30 credits")

    asyncio.run(scenario())


def test_a_model_outside_the_plan_is_refused_and_so_is_a_repeated_id(money):
    async def scenario():
        await subscribed(money)
        billing = money.billing()
        with pytest.raises(PlanRefused) as refused:
            await billing.hold(asks(money, model="other"))
        assert refused.value.reason == "model"

    asyncio.run(scenario())


def test_plans_change_by_versions_and_subscriptions_keep_theirs(money, audit):
    async def scenario():
        assert [plan.version for plan in await money.plans.load(PLANS)] == [1]
        first = await money.plans.subscribe("org1", "lite", idempotency_key="a")
        assert [plan.version for plan in await money.plans.load(PLANS)] == [1]
        dearer = PLANS.replace('title = "Lite"', 'title = "Lite"\nprice = "2"')
        assert [plan.version for plan in await money.plans.load(dearer)] == [2]
        assert await money.plans.subscribe("org1", "lite", idempotency_key="a") == first
        with pytest.raises(Conflict):
            await money.plans.subscribe("org1", "lite", idempotency_key="b")
        with pytest.raises(PaymentRequired):
            await money.plans.subscribe("org2", "lite", idempotency_key="a")
        assert await money.plans.subscriptions("org2") == []
        await money.wallet.top_up("org2", 5 * 10**9, idempotency_key="t")
        bought = await money.plans.subscribe("org2", "lite", idempotency_key="a", months=2)
        assert bought.version == 2
        assert (await money.wallet.balance("org2")).balance_nano == 10**9
        with pytest.raises(NotFound):
            await money.plans.subscribe("org2", "gold", idempotency_key="c")
        with pytest.raises(NotFound):
            await money.plans.end("org1", bought.id)
        await money.plans.end("org2", bought.id)
        assert await money.plans.current("org2", None) is None

    asyncio.run(scenario())
    audit()


def test_the_shipped_plans_have_three_tiers_and_three_windows():
    import json

    plans = read_plans(SHIPPED.read_text())
    assert set(plans) == {"lite", "pro", "max"}
    plan = plan_from_terms("lite", 1, json.dumps(plans["lite"]))
    assert [period for period, _ in plan.windows] == ["month", "week", "5h"]
    assert plan.weights_of("glm-4.5-air").uncached == 300
    assert plan.factor_at("glm-5.1", NOVEMBER + 7 * HOUR) == 3_000
    assert plan.factor_at("glm-5.1", NOVEMBER) == 2_000


@pytest.mark.parametrize(
    "text",
    [
        "plans = 3 3",
        "",
        "[plans.a]",
        "[plans.a]\nwindows = { 5h = 0 }",
        "[plans.a]\nwindows = { day = 1 }",
        "[plans.a]\nwindows = { 5h = 1 }\ncolour = 1",
        "[plans.a]\nwindows = { 5h = 1 }\n[models.m]\noutput = 0.0001",
        "[plans.a]\nwindows = { 5h = 1 }\n[models.m]\noutput = -1",
        "[plans.a]\nwindows = { 5h = 1 }\n[[factors]]\nfactor = 2\nfrom = '14:00'",
        "[plans.a]\nwindows = { 5h = 1 }\n[[factors]]\nfactor = 2\nfrom = '25:00'\nto = '03:00'",
    ],
)
def test_plans_with_a_mistake_are_refused(text):
    with pytest.raises(InvalidRequest):
        read_plans(text)


def test_windows_of_time_hold_their_moment_and_follow_each_other():
    for now in range(NOVEMBER, NOVEMBER + 400 * DAY, 7 * HOUR + 11):
        for period in ("5h", "day", "week", "month"):
            start, end = calendar_window(period, now)
            assert start <= now < end
            assert calendar_window(period, end)[0] == end
        for period in ("week", "month"):
            start, end = cycle(period, NOVEMBER + 30 * DAY, now)
            assert start <= now < end
    assert moment(calendar_window("week", NOVEMBER)[0]).isoformat() == "2026-10-26T00:00:00+00:00"
    january = milliseconds(moment(NOVEMBER).replace(month=1, day=31))
    ends = [cycle("month", january, january + days * DAY)[1] for days in (0, 30, 60)]
    assert [moment(end).day for end in ends] == [28, 31, 30]


def test_a_clock_that_jumped_ahead_and_back_leaves_one_window_in_charge(money, audit):
    """R13."""

    async def scenario():
        await subscribed(money)
        billing = money.billing()
        money.clock.now += HOUR
        one = await billing.hold(asks(money))
        await billing.settle(one, Usage(input_uncached=100), status="ok")
        money.clock.now += 3 * DAY
        two = await billing.hold(asks(money))
        await billing.settle(two, Usage(input_uncached=7), status="ok")
        money.clock.now -= 3 * DAY
        three = await billing.hold(asks(money))
        await billing.settle(three, Usage(input_uncached=20), status="ok")
        meters = await money.plans.meters("org1", "user1")
        assert (meters[0].period, meters[0].used) == ("5h", 120)
        money.clock.now -= 5  # as clocks are set by a hair every day
        await billing.hold(asks(money))
        windows = await money.database.read("SELECT period FROM plan_window WHERE period = '5h'")
        assert len(windows) == 2

    asyncio.run(scenario())
    audit()
