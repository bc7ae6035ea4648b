"""Limits by tier and model: answers in flight, requests and tokens a minute, in simulated time."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openglm.errors import InvalidRequest, NotFound, RateLimited
from openglm.maas.database import Database, open_database
from openglm.maas.identity.caller import Caller
from openglm.maas.limits import Limits, Rate, Rule


class FakeClock:
    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def plain(tmp_path):
    """A database where it does not matter which."""
    opened = open_database(f"sqlite:///{tmp_path / 'openglm.db'}")
    yield opened
    opened.close()


def caller(org: str = "org_a", key: str = "key_a", tier: str = "default") -> Caller:
    return Caller(org, "project", key, tier=tier)


def limits_with(database: Database, clock: FakeClock, *rules: Rule) -> Limits:
    limits = Limits(database, clock=clock)

    async def fill() -> None:
        for rule in rules:
            await limits.rules.put(rule)
        await limits.reload()

    asyncio.run(fill())
    return limits


def test_without_a_rule_everything_enters(plain, clock):
    limits = limits_with(plain, clock)
    slots = [limits.enter(caller(), "glm", 10**9) for _ in range(1000)]
    for slot in slots:
        slot.leave()


def test_concurrency_counts_answers_of_an_org_and_a_model(plain, clock):
    limits = limits_with(plain, clock, Rule(concurrency=2))
    first, second = limits.enter(caller(), "glm", 1), limits.enter(caller(key="key_b"), "glm", 1)
    with pytest.raises(RateLimited) as refused:
        limits.enter(caller(), "glm", 1)
    assert refused.value.kind == "concurrency"
    assert refused.value.retry_after_s > 0
    limits.enter(caller(), "other", 1).leave()
    limits.enter(caller(org="org_b"), "glm", 1).leave()
    first.leave()
    first.leave()
    with limits.enter(caller(), "glm", 1), pytest.raises(RateLimited):
        limits.enter(caller(), "glm", 1)
    second.leave()
    assert not limits._in_flight


def test_requests_come_back_evenly_after_a_burst(plain, clock):
    limits = limits_with(plain, clock, Rule(rpm=6))
    for _ in range(6):
        limits.enter(caller(), "glm", 1).leave()
    with pytest.raises(RateLimited) as refused:
        limits.enter(caller(), "glm", 1)
    assert (refused.value.kind, refused.value.retry_after_s) == ("requests", 10.0)
    clock.now += 9_999
    with pytest.raises(RateLimited):
        limits.enter(caller(), "glm", 1)
    clock.now += 1
    limits.enter(caller(), "glm", 1).leave()
    with pytest.raises(RateLimited):
        limits.enter(caller(), "glm", 1)


def test_unused_tokens_are_given_back_and_more_are_charged(plain, clock):
    limits = limits_with(plain, clock, Rule(tpm=1000))
    limits.enter(caller(), "glm", 900).leave(100)
    limits.enter(caller(), "glm", 900).leave(900)
    with pytest.raises(RateLimited) as refused:
        limits.enter(caller(), "glm", 60)
    assert refused.value.kind == "tokens"
    assert refused.value.retry_after_s == pytest.approx(3.6)
    clock.now += 60_000
    limits.enter(caller(), "glm", 10).leave(1000)
    with pytest.raises(RateLimited):
        limits.enter(caller(), "glm", 10)


def test_a_request_larger_than_a_minute_enters_once_nothing_is_owed(plain, clock):
    limits = limits_with(plain, clock, Rule(tpm=1000))
    limits.enter(caller(), "glm", 5000).leave(5000)
    with pytest.raises(RateLimited) as refused:
        limits.enter(caller(), "glm", 5000)
    assert refused.value.retry_after_s == pytest.approx(300)
    clock.now += 300_000
    limits.enter(caller(), "glm", 5000).leave(5000)


def test_what_one_limit_refuses_is_not_counted_by_the_others(plain, clock):
    limits = limits_with(plain, clock, Rule(concurrency=3, rpm=2), Rule(subject="key", tpm=10))
    limits.enter(caller(), "glm", 10).leave(10)
    for _ in range(5):
        with pytest.raises(RateLimited, match="tokens"):
            limits.enter(caller(), "glm", 10)
    limits.enter(caller(key="another"), "glm", 10).leave(10)  # the second request of the org, not the seventh
    assert not limits._in_flight


def test_the_most_exact_rule_holds(plain, clock):
    limits = limits_with(
        plain,
        clock,
        Rule(concurrency=1),
        Rule(model="glm-4*", concurrency=2),
        Rule(model="glm-4.5", concurrency=3),
        Rule(tier="gold", concurrency=4),
    )

    def room(tier: str, model: str) -> int:
        slots = []
        try:
            while True:
                slots.append(limits.enter(caller(tier=tier), model, 1))
        except RateLimited:
            return len(slots)
        finally:
            for slot in slots:
                slot.leave()

    assert [room("default", model) for model in ("other", "glm-4.6", "glm-4.5")] == [1, 2, 3]
    assert room("gold", "glm-4.5") == 4


def test_rules_are_kept_in_the_table(database, clock):
    limits = limits_with(database, clock, Rule(model="glm-*", rpm=5))

    async def work():
        again = await limits.rules.put(Rule(model="glm-*", rpm=7))
        rules = await limits.rules.list()
        assert [(rule.model, rule.rpm, rule.id) for rule in rules] == [("glm-*", 7, again)]
        await limits.rules.remove(again)
        with pytest.raises(NotFound):
            await limits.rules.remove(again)
        assert not await limits.rules.list()

    asyncio.run(work())


def test_changed_rules_hold_after_a_reload_and_slots_still_leave(plain, clock):
    limits = limits_with(plain, clock, Rule(concurrency=1))

    async def work():
        await limits.start()
        slot = limits.enter(caller(), "glm", 1)
        await limits.rules.put(Rule(concurrency=2))
        await limits.reload()
        limits.enter(caller(), "glm", 1).leave()
        slot.leave()
        assert not limits._in_flight
        await limits.stop()

    asyncio.run(work())


@pytest.mark.parametrize(
    "wrong", [{"rpm": 0}, {"tpm": -1}, {"model": "a*b"}, {"model": ""}, {"subject": "planet"}]
)
def test_rules_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InvalidRequest):
        Rule(**wrong)


@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 50)), max_size=60), st.integers(50, 500))
def test_no_stretch_of_time_brings_more_than_a_burst_and_its_share(asks, per_minute):
    rate, now, admitted = Rate(), 0, []
    for gap_ms, units in asks:
        now += gap_ms
        if not rate.wait_ms("key", units, per_minute, now):
            rate.take("key", units, per_minute, now)
            admitted.append((now, units))
    for start, _ in admitted:
        for end in range(start, start + 60_001, 20_000):
            taken = sum(units for at, units in admitted if start <= at <= end)
            assert taken <= per_minute * (1 + (end - start) / 60_000) + 1e-6


@given(st.integers(1, 1000), st.integers(1, 100), st.integers(0, 60_000))
def test_after_the_said_wait_the_request_enters(per_minute, units, later):
    rate = Rate()
    while not rate.wait_ms("key", units, per_minute, 0):
        rate.take("key", units, per_minute, 0)
    wait = rate.wait_ms("key", units, per_minute, later)
    assert rate.wait_ms("key", units, per_minute, later + wait) == pytest.approx(0, abs=1e-6)


def test_keys_that_owe_nothing_take_no_memory():
    rate = Rate()
    for number in range(20_000):
        rate.take(number, 1, 60, number * 1000.0)
    assert len(rate) < 10_000


def test_entering_and_leaving_takes_microseconds(plain, clock):
    limits = limits_with(plain, clock, Rule(concurrency=9, rpm=10**9, tpm=10**12))
    who = caller()
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(1000):
            limits.enter(who, "glm", 100).leave(50)
        best = min(best, (time.perf_counter() - started) / 1000)
    assert best < 50e-6
