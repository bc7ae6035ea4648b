"""What a node that died left open: settled at its checkpoint by another, the rest released."""

from __future__ import annotations

import asyncio
import threading

import pytest

from openglm.errors import Conflict, DuplicateRequest, InvalidRequest, Overloaded
from openglm.maas.money import nodes
from openglm.maas.money.nodes import LEASE_S, Nodes
from openglm.messages import Usage
from tests.maas.money.conftest import PLANS, USED, Money


async def funded(money: Money) -> None:
    await money.prices.set("glm", uncached_pico=25_000, output_pico=25_000)
    await money.wallet.top_up("org1", 10**6, idempotency_key="t")


def test_holds_of_a_dead_node_settle_at_their_checkpoint_and_the_rest_is_released(money, audit):
    async def scenario():
        await funded(money)
        dead, alive = money.billing("dead"), money.billing("alive")
        await dead.beat()
        await alive.beat()
        started, silent, closed = [await dead.hold(money.ask()) for _ in range(3)]
        mine = await alive.hold(money.ask())
        dead.checkpoint(started.id, Usage(input_uncached=10, output_text=1))
        dead.checkpoint(started.id, Usage(input_uncached=10, output_text=6))
        dead.checkpoint(closed.id, USED)
        await dead.settle(closed, USED, status="ok")
        assert await dead.flush() == 1
        dead.checkpoint(started.id, Usage(input_uncached=10, output_text=20))  # lost with the node
        assert await alive.recover(None) == 0
        money.seconds += LEASE_S / 2
        assert await alive.recover(None) == 0
        money.seconds += LEASE_S / 2
        await alive.beat()
        assert await alive.recover(None) == 2
        assert await alive.recover(None) == 0
        receipt = await alive.receipt("org1", started.id)
        assert (receipt.cost_nano, receipt.status, receipt.estimated) == (400, "partial", True)
        assert (await alive.receipt("org1", silent.id)).cost_nano == 0
        assert (await money.wallet.balance("org1")).held_nano == 1_000
        # The dead node was only asleep: nobody else's settle changes the receipt, its own charges the rest.
        assert await alive.settle(started, USED, status="ok") == receipt
        late = await dead.settle(started, USED, status="ok")
        assert (late.cost_nano, late.status, late.estimated) == (1_000, "ok", False)
        assert await dead.settle(started, Usage(), status="partial") == late
        assert await alive.receipt("org1", started.id) == late
        await dead.void(silent)
        assert (await alive.receipt("org1", silent.id)).cost_nano == 0
        await alive.settle(mine, USED, status="ok")
        states = await money.database.read("SELECT state FROM hold ORDER BY id")
        assert [row["state"] for row in states] == ["settled", "recovered", "settled", "settled"]

    asyncio.run(scenario())
    audit()


def test_what_a_node_that_was_only_asleep_charges_late_may_be_a_debt_and_is_charged_once(money, audit):
    async def scenario():
        await funded(money)
        await money.budgets.set("org1", "user", "user1", "day", 10**6)
        asleep, alive = money.billing("asleep"), money.billing("alive")
        hold = await asleep.hold(money.ask(client_request_id="mine"))
        await alive.recover("asleep")
        await money.wallet.adjust("org1", 400 - 10**6, idempotency_key="spent", reason="test")
        receipts = await asyncio.gather(*(asleep.settle(hold, USED, status="ok") for _ in range(5)))
        assert set(receipts) == {receipts[0]}
        assert (receipts[0].cost_nano, receipts[0].debt_nano, receipts[0].balance_nano) == (1_000, 600, 0)
        assert (await money.budgets.all("org1"))[0].spent_nano == 1_000
        with pytest.raises(DuplicateRequest):
            await alive.hold(money.ask(client_request_id="mine"))

    asyncio.run(scenario())
    audit()


def test_a_request_that_was_made_again_meanwhile_is_not_charged_twice(money, audit):
    async def scenario():
        await funded(money)
        asleep, alive = money.billing("asleep"), money.billing("alive")
        hold = await asleep.hold(money.ask(client_request_id="mine"))
        await alive.recover("asleep")
        again = await alive.hold(money.ask(client_request_id="mine"))
        await alive.settle(again, USED, status="ok")
        assert (await asleep.settle(hold, USED, status="ok")).cost_nano == 0
        assert (await money.wallet.balance("org1")).balance_nano == 10**6 - 1_000

    asyncio.run(scenario())
    audit()


def test_what_belongs_to_a_bill_that_nobody_pays_is_not_kept(money, audit):
    """The one that was taken for dead ends first, while another makes the request again."""

    async def scenario():
        await funded(money)
        asleep, alive = money.billing("asleep"), money.billing("alive")
        kept: list[str] = []
        hold = await asleep.hold(money.ask(client_request_id="errand"))
        await alive.recover("asleep")
        again = await alive.hold(money.ask(client_request_id="errand"))
        with pytest.raises(Conflict):
            await asleep.settle(hold, USED, status="ok", also=lambda tx: kept.append("asleep"))
        assert (await money.wallet.balance("org1")).balance_nano == 10**6
        for _ in range(2):  # the second time is that of a commit whose answer was lost
            await alive.settle(again, USED, status="ok", also=lambda tx: kept.append("alive"))
        assert kept == ["alive", "alive"]
        assert (await money.wallet.balance("org1")).balance_nano == 10**6 - 1_000

    asyncio.run(scenario())
    audit()


def test_an_earlier_turn_that_nobody_pays_is_not_settled_with_the_others(money, audit):
    async def scenario():
        await funded(money)
        asleep, alive = money.billing("asleep"), money.billing("alive")
        first = await asleep.hold(money.ask(client_request_id="errand"))
        await alive.recover("asleep")
        again = await alive.hold(money.ask(client_request_id="errand"))
        last = await asleep.hold(money.ask(client_request_id="errand#2"))
        settle_first = asleep.settling(first, USED, estimated=False, receipts=[])
        with pytest.raises(Conflict):
            await asleep.settle(last, USED, status="ok", also=settle_first)
        await asleep.void(last)
        await alive.void(again)
        assert (await money.wallet.balance("org1")).balance_nano == 10**6

    asyncio.run(scenario())
    audit()


def test_a_hold_that_was_recovered_cannot_grow_and_its_request_may_be_made_again(money, audit):
    async def scenario():
        await funded(money)
        asleep, alive = money.billing("asleep"), money.billing("alive")
        hold = await asleep.hold(money.ask(client_request_id="errand"))
        await alive.recover("asleep")
        with pytest.raises(Overloaded):
            await asleep.extend(hold, USED, 100)
        await asleep.void(hold)
        again = await asleep.hold(money.ask(client_request_id="errand"))
        await asleep.settle(again, USED, status="ok")
        with pytest.raises(Conflict):
            await asleep.extend(again, USED, 100)

    asyncio.run(scenario())
    audit()


def test_who_could_not_look_for_a_while_takes_nobody_for_dead(money, audit):
    """The database was away: nobody could renew a lease, and the first that is back looks."""

    async def scenario():
        await funded(money)
        here, looker = money.billing("here"), money.billing("looker")
        await here.beat()
        hold = await here.hold(money.ask())
        assert await looker.recover() == 0
        money.seconds += LEASE_S + 1
        assert await looker.recover() == 0
        await here.beat()
        assert (await here.extend(hold, USED, 10)).amount > hold.amount
        for _ in range(5):  # it looks again, and this time the other is gone
            money.seconds += LEASE_S / 4
            await looker.recover()
        assert (await looker.receipt("org1", hold.id)).status == "failed"

    asyncio.run(scenario())
    audit()


def test_a_node_that_stops_does_not_wait_for_a_renewal_that_hangs(money, monkeypatch):
    monkeypatch.setattr(nodes, "BEAT_S", 0.001)
    monkeypatch.setattr(nodes, "LEASE_S", 0.1)

    async def scenario():
        node = Nodes(money.database, "node", money.clock, lambda: 0.0)
        held, free = threading.Event(), threading.Event()
        money.database.submit(lambda tx: (held.set(), free.wait(30)))
        await asyncio.to_thread(held.wait)  # what is in the queue from here on is the renewal
        node.keep_beating()
        renewing = node._renewing
        while money.database._queue.empty():
            await asyncio.sleep(0.001)
        await node.rest()
        hung = renewing.is_alive()
        free.set()
        assert hung
        await asyncio.to_thread(renewing.join)

    asyncio.run(scenario())


def test_a_plans_credits_are_charged_late_too(money, audit):
    async def scenario():
        await money.plans.load(PLANS)
        await money.plans.subscribe("org1", "lite", idempotency_key="s", months=1)
        asleep, alive = money.billing("asleep"), money.billing("alive")
        hold = await asleep.hold(money.ask(plan=True, model="glm-4.6"))
        await alive.recover("asleep")
        assert (await asleep.settle(hold, USED, status="ok")).credits == 10 + 3 * 30

    asyncio.run(scenario())
    audit()


def test_a_restart_finds_what_was_left_even_when_it_is_much(money, audit):
    async def scenario():
        await funded(money)
        dead = money.billing("dead")
        await asyncio.gather(*(dead.hold(money.ask()) for _ in range(250)))
        fresh = money.billing("fresh")
        with pytest.raises(InvalidRequest):
            await fresh.recover("fresh")
        await fresh.start()
        assert (await money.wallet.balance("org1")).held_nano == 0
        await fresh.stop()
        assert not await money.database.read("SELECT id FROM money_node")

    asyncio.run(scenario())
    audit()


def test_a_node_known_to_be_dead_need_not_be_waited_for(money, audit):
    async def scenario():
        await funded(money)
        dead, alive = money.billing("dead"), money.billing("alive")
        await dead.beat()
        await dead.hold(money.ask())
        assert await alive.recover("dead") == 1

    asyncio.run(scenario())
    audit()


def test_two_that_recover_and_one_that_settles_make_one_receipt(money, audit):
    async def scenario():
        await funded(money)
        dead = money.billing("dead")
        holds = [await dead.hold(money.ask()) for _ in range(30)]
        for hold in holds:
            dead.checkpoint(hold.id, Usage(input_uncached=10))
        await dead.flush()
        a, b = money.billing("a"), money.billing("b")
        settles = [dead.settle(hold, USED, status="ok") for hold in holds]
        await asyncio.gather(a.recover(None), *settles, b.recover(None))
        rows = await money.database.read("SELECT sum(cost_nano) AS cost, count(*) AS n FROM usage_event")
        assert rows[0]["n"] == 30
        assert (await money.wallet.balance("org1")).balance_nano == 10**6 - rows[0]["cost"]

    asyncio.run(scenario())
    audit()


def test_the_tick_writes_checkpoints_by_itself_and_sooner_after_many_tokens(money):
    async def scenario():
        await funded(money)
        billing = money.billing()
        await billing.start()
        try:
            hold = await billing.hold(money.ask())
            billing.checkpoint(hold.id, Usage(input_uncached=10, output_text=1))
            billing.checkpoint(hold.id, Usage(input_uncached=10, output_text=300))
            async with asyncio.timeout(10):
                while True:
                    rows = await money.database.read("SELECT output_text FROM hold WHERE has_checkpoint = 1")
                    if rows and rows[0]["output_text"] == 300:
                        break
        finally:
            await billing.stop()

    asyncio.run(scenario())
