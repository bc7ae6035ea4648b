"""Whole numbers against a reference in fractions, and the laws of the ledger under any order of events."""

from __future__ import annotations

import asyncio
import random
from fractions import Fraction

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openglm.errors import OpenGLMError
from openglm.maas.database import open_database
from openglm.maas.money import Billing, Budgets, Plans, Price, Prices, Wallet
from openglm.maas.money.plans import Weights, charge
from openglm.messages import Usage
from tests.maas.money.conftest import PLANS, Hand, Money, audited, settle


def some_usage(chance: random.Random) -> Usage:
    """A prompt of which parts were cached, and an answer of which a part was reasoning."""
    prompt, answer = chance.choice((0, 7, 999, 200_000)), chance.choice((0, 1, 333, 131_072))
    prompt, answer = chance.randint(0, prompt), chance.randint(0, answer)
    cached = chance.randint(0, prompt)
    written = chance.randint(0, prompt - cached)
    reasoning = chance.randint(0, answer)
    images = chance.choice((0, 0, 1, 10))
    return Usage(prompt - cached - written, cached, written, answer - reasoning, reasoning, images)


def reference(price: Price, usage: Usage, units: int, batch: bool) -> int:
    """The cost in nano by exact fractions of the currency; `round` is half to even."""
    pico, nano = Fraction(1, 10**12), Fraction(1, 10**9)
    total = (
        (usage.prompt_tokens - usage.cache_read - usage.cache_write) * price.uncached_pico * pico
        + usage.cache_read * price.cached_pico * pico
        + usage.cache_write * price.cache_write_pico * pico
        + usage.completion_tokens * price.output_pico * pico
        + units * price.per_call_nano * nano
        + usage.images * price.per_image_nano * nano
    )
    return round(total * Fraction(price.batch_percent, 100) / nano if batch else total / nano)


def test_a_hundred_thousand_usages_cost_what_exact_fractions_say():
    chance = random.Random(20261124)
    for _ in range(100_000):
        each = [chance.choice((0, 1, 499, 500, 30_000, 1_400_000, 10**9 + 1)) for _ in range(4)]
        per_call, per_image = chance.choice((0, 1, 10**7)), chance.choice((0, 3, 10**8))
        price = Price("m", 1, *each, per_call_nano=per_call, per_image_nano=per_image, batch_percent=50)
        usage, units, batch = some_usage(chance), chance.randint(0, 3), chance.random() < 0.5
        cost = price.charge(usage, units, batch=batch).amount
        assert cost == reference(price, usage, units, batch), (price, usage, units, batch)
        tokens = usage.prompt_tokens, usage.completion_tokens
        most = price.bound(*tokens, units, batch=batch, images=usage.images)
        assert cost <= most


def test_credits_are_what_exact_fractions_say():
    chance = random.Random(7)
    for _ in range(20_000):
        weights = Weights(*(chance.choice((0, 1, 50, 200, 1_000, 3_000)) for _ in range(5)))
        usage, units = some_usage(chance), chance.randint(0, 2)
        factor = chance.choice((500, 1_000, 1_500, 3_000))
        total = (
            usage.input_uncached * weights.uncached
            + usage.cache_read * weights.cached
            + usage.cache_write * weights.cache_write
            + usage.completion_tokens * weights.output
            + units * weights.per_call
        )
        assert charge(weights, usage, units, factor).amount == round(Fraction(total * factor, 10**6))


def test_thousands_of_usages_through_the_database_are_exact(money: Money):
    chance = random.Random(3)

    async def scenario():
        prices = [
            await money.prices.set(
                f"m{number}",
                uncached_pico=chance.randint(1, 2_000_001),
                cached_pico=chance.randint(0, 300_001),
                cache_write_pico=chance.randint(0, 2_000_001),
                output_pico=chance.randint(1, 9_000_001),
                per_call_nano=chance.choice((0, 12_345)),
            )
            for number in range(7)
        ]
        await money.wallet.top_up("org1", 10**17, idempotency_key="t")
        billing, total = money.billing(), 0

        async def one(price: Price, usage: Usage, batch: bool) -> None:
            nonlocal total
            ask = money.ask(
                model=price.model,
                batch=batch,
                prompt_tokens=usage.prompt_tokens,
                output_tokens=usage.completion_tokens,
            )
            hold = await billing.hold(ask)
            receipt = await billing.settle(hold, usage, status="ok")
            assert receipt.cost_nano == reference(price, usage, 1, batch)
            total += receipt.cost_nano

        for _ in range(10):
            await asyncio.gather(
                *(one(chance.choice(prices), some_usage(chance), chance.random() < 0.3) for _ in range(200))
            )
        balance = await money.wallet.balance("org1")
        assert (balance.balance_nano, balance.held_nano) == (10**17 - total, 0)
        revenue = await money.database.read_one(
            "SELECT sum(amount) AS total FROM ledger_entry WHERE account LIKE 'revenue:%'"
        )
        assert revenue["total"] == total

    asyncio.run(scenario())
    audited(money.database)


STEP = st.one_of(
    st.tuples(st.just("hold"), st.integers(0, 60), st.booleans()),
    st.tuples(st.just("extend"), st.integers(0, 9), st.integers(0, 200)),
    st.tuples(st.just("checkpoint"), st.integers(0, 9), st.integers(0, 90)),
    st.tuples(st.just("settle"), st.integers(0, 9), st.integers(0, 90)),
    st.tuples(st.just("void"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("recover"), st.just(0), st.just(0)),
    st.tuples(st.just("top up"), st.integers(1, 2_000), st.just(0)),
    st.tuples(st.just("wait"), st.integers(0, 200_000_000), st.just(0)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEP, max_size=40))
def test_no_order_of_events_breaks_a_law_of_the_ledger(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("ledger") / "openglm.db"
    with_laws(f"sqlite:///{path}", steps)


def test_a_long_walk_of_random_events_keeps_the_laws_on_both_databases(database_url):
    chance = random.Random(11)
    kinds = ["hold"] * 4 + ["extend", "checkpoint", "settle", "settle", "void", "recover", "top up", "wait"]
    steps = [(chance.choice(kinds), chance.randint(0, 60), chance.randint(0, 90)) for _ in range(400)]
    with_laws(database_url, steps)


def with_laws(url: str, steps: list[tuple[str, int, int]]) -> None:
    database, clock = open_database(url), Hand()
    database.write_now(settle)
    money = Money(
        database,
        clock,
        Prices(database, clock=clock),
        Plans(database, clock=clock),
        Wallet(database, clock=clock),
        Budgets(database, clock=clock),
        None,
        None,
    )
    try:
        asyncio.run(walk(money, steps))
        audited(database)
    finally:
        database.close()


async def walk(money: Money, steps: list[tuple[str, int, int]]) -> None:
    await money.prices.set("glm", uncached_pico=24_900, cached_pico=1_300, output_pico=25_100)
    await money.plans.load(PLANS)
    await money.plans.subscribe("org1", "lite", idempotency_key="s", months=3)
    await money.wallet.top_up("org1", 4_000, idempotency_key="first")
    await money.budgets.set("org1", "user", "user1", "day", 6_000)
    dying, other = money.billing("dying"), money.billing("other")
    holds, receipts = [], {}
    for number, (step, first, second) in enumerate(steps):
        billing: Billing = (dying, other)[number % 2]
        hold = holds[first % len(holds)] if holds else None
        usage = Usage(input_uncached=5, cache_read=5, output_text=second)
        try:
            if step == "hold":
                plan = bool(second % 2)
                ask = money.ask(output_tokens=first, plan=plan, model="glm-4.6" if plan else "glm")
                holds.append(await dying.hold(ask))
            elif step == "top up":
                await money.wallet.top_up("org1", first + 1, idempotency_key=f"t{number}")
            elif step == "wait":
                money.clock.now += first * 1_000
            elif step == "recover":
                await dying.flush()
                await other.recover("dying")
            elif hold is None:
                continue
            elif step == "extend":
                await billing.extend(hold, usage, second)
            elif step == "checkpoint":
                dying.checkpoint(hold.id, usage)
            elif step == "void":
                await billing.void(hold)
            elif step == "settle":
                receipt = await billing.settle(hold, usage, status="ok")
                # The dying node's also corrects what was recovered of it; after that, nothing changes.
                assert billing is other or receipts.setdefault(hold.id, receipt) == receipt
        except OpenGLMError:
            pass  # refused; the laws are judged below all the same
        if number % 10 == 0:
            audited(money.database)
