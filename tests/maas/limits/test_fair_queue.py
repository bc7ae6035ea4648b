"""The fair queue: tenants take turns, lines are bounded, and whoever gives up leaves no trace."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openglm.errors import Overloaded
from openglm.maas.limits import FairQueue


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def enter_all(queue: FairQueue, tenants: str, order: list[str]) -> list[asyncio.Task]:
    async def one(tenant: str) -> None:
        await queue.enter(tenant)
        order.append(tenant)

    return [asyncio.create_task(one(tenant)) for tenant in tenants]


def test_tenants_take_turns_however_much_one_sends():
    async def work():
        queue, order = FairQueue(1), []
        await queue.enter("a")
        enter_all(queue, "aaaaabbc", order)
        await settle()
        for _ in range(8):
            queue.leave(order[-1] if order else "a")
            await settle()
        queue.leave(order[-1])
        assert "".join(order) == "abcabaaa"
        assert (queue.taken, queue.waiting) == (0, 0)

    asyncio.run(work())


def test_a_full_line_refuses_the_greedy_and_takes_the_modest():
    async def work():
        queue, order = FairQueue(1, most_waiting=3), []
        await queue.enter("a")
        greedy = enter_all(queue, "aaa", order)
        await settle()
        with pytest.raises(Overloaded):
            await queue.enter("a")
        modest = enter_all(queue, "b", order)
        await settle()
        assert isinstance(greedy[2].exception(), Overloaded)
        assert queue.waiting == 3
        for tenant in ("a", "a", "b", "a"):
            queue.leave(tenant)
            await settle()
        assert order == ["a", "b", "a"]
        assert modest[0].done()
        assert (queue.taken, queue.waiting) == (0, 0)

    asyncio.run(work())


def test_whoever_waits_too_long_is_told():
    async def work():
        queue = FairQueue(1, longest_wait_s=0.01)
        await queue.enter("a")
        with pytest.raises(Overloaded, match="waited too long"):
            await queue.enter("b")
        assert (queue.taken, queue.waiting) == (1, 0)

    asyncio.run(work())


def test_one_that_is_cancelled_as_it_gets_its_place_passes_it_on():
    async def work():
        queue, order = FairQueue(1), []
        await queue.enter("a")
        first, second = enter_all(queue, "bc", order)
        await settle()
        queue.leave("a")  # b has its place, and does not know yet
        first.cancel()
        await settle()
        assert order == ["c"]
        assert second.done()
        queue.leave("c")
        assert (queue.taken, queue.waiting) == (0, 0)

    asyncio.run(work())


def test_more_places_let_the_waiting_in():
    async def work():
        queue, order = FairQueue(1), []
        await queue.enter("a")
        enter_all(queue, "abc", order)
        await settle()
        queue.places = None
        queue.admit()
        await settle()
        assert sorted(order) == ["a", "b", "c"]

    asyncio.run(work())


def test_no_tenant_has_more_than_its_share_and_a_free_place_waits_for_nobody_else():
    async def work():
        queue, order = FairQueue(4, each=2), []
        enter_all(queue, "aaaaa", order)
        await settle()
        assert (order, queue.waiting) == (["a", "a"], 3)
        enter_all(queue, "bcb", order)
        await settle()
        assert "".join(order) == "aabc"  # though a waited before them
        queue.leave("c")
        await settle()
        assert "".join(order) == "aabcb"  # a has its share, b had not
        queue.leave("b")
        await settle()
        assert (queue.taken, queue.waiting) == (3, 3)
        for tenant in "aabaaa":
            queue.leave(tenant)
            await settle()
        assert "".join(order) == "aabcbaaa"
        assert (queue.taken, queue.waiting) == (0, 0)

    asyncio.run(work())


@given(
    st.integers(1, 3),
    st.sampled_from([None, 1, 2]),
    st.lists(st.tuples(st.sampled_from(["enter", "leave", "cancel"]), st.sampled_from("abc")), max_size=60),
)
def test_no_place_is_lost_or_given_twice_whatever_happens(places, each, moves):
    async def work():
        queue = FairQueue(places, each=each, most_waiting=8)
        tasks: list[asyncio.Task] = []
        inside: list[str] = []

        async def one(tenant: str) -> None:
            await queue.enter(tenant)
            inside.append(tenant)

        for number, (move, tenant) in enumerate(moves):
            if move == "enter":
                tasks.append(asyncio.create_task(one(tenant)))
            elif move == "leave" and inside:
                queue.leave(inside.pop(number % len(inside)))
            elif move == "cancel" and tasks:
                tasks[number % len(tasks)].cancel()
            if number % 3:  # sometimes two moves happen before anybody notices
                await settle()
        await settle()
        assert queue.taken == len(inside) <= places
        assert all(inside.count(tenant) <= (each or places) for tenant in inside)
        assert queue.waiting == sum(not task.done() for task in tasks) <= 8
        assert not queue.waiting or each or queue.taken == places
        while inside:
            queue.leave(inside.pop())
            await settle()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (queue.taken, queue.waiting) == (0, 0)

    asyncio.run(work())
