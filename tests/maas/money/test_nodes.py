"""Several nodes on one PostgreSQL: no deadlock, nothing twice, whatever their clocks say."""

from __future__ import annotations

import asyncio
import base64
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from openglm.errors import Conflict, DuplicateRequest, NotFound, PlanRefused
from openglm.maas.database import Database, Transaction, open_database
from openglm.maas.money import Billing, Invoices, ManualPayments, Plans, Prices, Wallet
from openglm.maas.platform import Platform
from openglm.maas.responses import Responses
from openglm.maas.responses.store import KEEP_MS
from openglm.maas.secrets import KEY_BYTES
from openglm.maas.settings import Settings
from openglm.messages import Usage
from tests.maas.money.conftest import NOVEMBER, PLANS, USED, Hand, Money, audited
from tests.maas.reliability.counts import count

ORGS = [f"org{number}" for number in range(12)]


def node(url: str, clock: Callable[[], int] | None = None) -> Money:
    """A node of its own: database, caches and clock."""
    database, clock = open_database(url), clock or Hand()
    payments = ManualPayments(b"a secret of sixteen bytes")
    return Money(
        database,
        clock,
        Prices(database, clock=clock),
        Plans(database, clock=clock),
        Wallet(database, [payments], clock=clock),
        None,
        Invoices(database, clock=clock),
        payments,
    )


@pytest.fixture
def nodes(postgres_url: str) -> Iterator[tuple[Money, Money]]:
    here, far = node(postgres_url), node(postgres_url)
    yield here, far
    here.database.close()
    far.database.close()


def deadlocks(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    return row[0]


async def fund(money: Money, amount: int = 10**12) -> None:
    await money.prices.set("glm", uncached_pico=25_000, output_pico=25_000)
    await money.plans.load(PLANS)
    for org_id in ORGS:
        await money.wallet.top_up(org_id, amount, idempotency_key="first")
        await money.plans.subscribe(org_id, "lite", idempotency_key="s")


def test_two_nodes_that_serve_the_same_organisations_never_wait_in_a_ring(nodes, postgres_url):
    """Wallets, plans, extensions and money in, of twelve organisations at once; not one operation is lost."""
    here, far = nodes
    chance = random.Random(5)

    async def client(money: Money, billing: Billing, name: str) -> None:
        for turn in range(count(10, 200)):
            plan, org_id = chance.random() < 0.3, chance.choice(ORGS)
            ask = here.ask(
                request_id=f"{name}-{turn}", org_id=org_id, plan=plan, model="glm-4.6" if plan else "glm",
                prompt_tokens=1, output_tokens=0 if plan else 30,
            )  # fmt: skip
            try:
                hold = await billing.hold(ask)
            except PlanRefused:  # used up
                continue
            if chance.random() < 0.2:
                hold = await billing.extend(hold, Usage(input_uncached=1), 1)
            if chance.random() < 0.1:
                await money.wallet.top_up(org_id, 7, idempotency_key=f"{name}-{turn}")
            await billing.settle(hold, Usage(input_uncached=1), status="ok")

    async def scenario():
        await fund(here)
        both = [(money, money.billing(name)) for money, name in ((here, "here"), (far, "far"))]
        for _, billing in both:
            await billing.beat()
        await asyncio.gather(
            *(client(*one, f"{one[1].node_id}{number}") for one in both for number in range(32))
        )

    before = deadlocks(postgres_url)
    asyncio.run(scenario())
    assert deadlocks(postgres_url) == before
    assert not here.database.read_now("SELECT id FROM hold WHERE state = 'open'")
    audited(here.database)


def test_what_comes_twice_on_two_nodes_counts_once(nodes):
    """R5 with several organisations: settles, client ids, webhooks, codes, subscriptions, invoices."""
    here, far = nodes

    def outcomes(results: list) -> tuple[list, list]:
        failed = [result for result in results if isinstance(result, BaseException)]
        return [result for result in results if not isinstance(result, BaseException)], failed

    async def twice(*works) -> tuple[list, list]:
        return outcomes(await asyncio.gather(*works, return_exceptions=True))

    async def of(org_id: str, code: str) -> None:
        billings = [here.billing("here"), far.billing("far")]
        asks = [here.ask(org_id=org_id, client_request_id="mine") for _ in range(6)]
        (hold,), refused = await twice(*(billings[n % 2].hold(ask) for n, ask in enumerate(asks)))
        assert {type(error) for error in refused} == {DuplicateRequest}
        receipts, _ = await twice(*(billings[n % 2].settle(hold, USED, status="ok") for n in range(6)))
        assert receipts == receipts[:1] * 6
        assert receipts[0].cost_nano == 1_000

        order = await here.wallet.order(org_id, 700, "manual", idempotency_key="o")
        body = b'{"order_id": "%b", "amount_nano": 700, "paid": true}' % order.id.encode()
        headers = {"x-openglm-signature": here.payments.sign(body)}
        wallets = [here.wallet, far.wallet]
        paid, _ = await twice(*(wallets[n % 2].webhook("manual", headers, body) for n in range(6)))
        assert {one.state for one in paid} == {"paid"}
        redeemed, refused = await twice(*(wallets[n % 2].redeem(org_id, code) for n in range(6)))
        assert (len(redeemed), {type(error) for error in refused}) == (1, {Conflict})
        plans = [here.plans, far.plans]
        made, _ = await twice(
            *(plans[n % 2].subscribe(org_id, "paid", idempotency_key="p") for n in range(6))
        )
        assert made == made[:1] * 6
        rivals = [plans[n % 2].subscribe(f"{org_id}-b", "free", idempotency_key=f"r{n}") for n in range(6)]
        made, refused = await twice(*rivals)
        assert (len(made), {type(error) for error in refused}) == (1, {Conflict})
        balance = await here.wallet.balance(org_id)
        assert (balance.balance_nano, balance.held_nano) == (10_000 - 1_000 + 700 + 900 - 50, 0)

    async def scenario():
        text = (
            '[plans.paid]\nprice = "0.00000005"\nwindows = { 5h = 10 }\n[plans.free]\nwindows = { 5h = 10 }'
        )
        await asyncio.gather(here.plans.load(text), far.plans.load(text))
        await here.prices.set("glm", uncached_pico=25_000, output_pico=25_000)
        for org_id in ORGS:
            await here.wallet.top_up(org_id, 10_000, idempotency_key="first")
        codes = await here.wallet.create_codes(len(ORGS), 900)
        await asyncio.gather(*(of(org_id, code) for org_id, code in zip(ORGS, codes, strict=True)))
        # One code for all of them at once: somebody gets it, once.
        (code,) = await here.wallet.create_codes(1, 900)
        won, lost = await twice(
            *((here, far)[n % 2].wallet.redeem(org_id, code) for n, org_id in enumerate(ORGS))
        )
        assert (len(won), {type(error) for error in lost}) == (1, {Conflict})
        with pytest.raises(NotFound):
            await far.billing("x").receipt("org0", "req0")

    asyncio.run(scenario())
    audited(here.database)


def test_a_race_of_two_nodes_for_the_last_money_of_many_is_won_by_ten_each(nodes):
    """R4 with several organisations on two nodes."""
    here, far = nodes

    async def scenario():
        await here.prices.set("glm", uncached_pico=25_000, output_pico=25_000)
        for org_id in ORGS:
            await here.wallet.top_up(org_id, 10_000, idempotency_key="first")
        billings = [here.billing("here"), far.billing("far")]
        asks = [here.ask(org_id=org_id) for _ in range(40) for org_id in ORGS]
        holds = await asyncio.gather(
            *(billings[number // len(ORGS) % 2].hold(ask) for number, ask in enumerate(asks)),
            return_exceptions=True,
        )
        admitted = [hold.org_id for hold in holds if not isinstance(hold, BaseException)]
        assert {org_id: admitted.count(org_id) for org_id in ORGS} == dict.fromkeys(ORGS, 10)

    asyncio.run(scenario())
    audited(here.database)


def test_who_forgets_old_responses_and_who_keeps_new_ones_never_wait_in_a_ring(nodes, postgres_url):
    """One node's group keeps a response of org1, then one of org0; the other deletes old ones of both."""
    here, far = nodes
    ours, theirs = (
        Responses(money.database, node_id=name, clock=money.clock)
        for money, name in ((here, "here"), (far, "far"))
    )
    together, begun, go_on = threading.Event(), threading.Event(), threading.Event()
    runs = []

    def keeping(org_id: str, name: str) -> Callable[[Transaction], None]:
        return theirs.saving(org_id, {"id": name, "status": "completed"}, [], None)

    def first(tx: Transaction) -> None:
        runs.append(1)
        keeping("org1", "new1")(tx)
        begun.set()
        go_on.wait(60)

    def is_waited_for() -> bool:
        with psycopg.connect(postgres_url) as connection:
            row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
            return bool(row[0])

    async def scenario():
        for org_id in ("org0", "org1"):
            await ours.save(org_id, {"id": f"old of {org_id}", "status": "completed"}, [], None)
        here.clock.now += KEEP_MS
        far.clock.now += 1
        far.database.submit(lambda tx: together.wait(60))  # so that both come into one group
        writes = [far.database.submit(first, lock="org1")]
        writes.append(far.database.submit(keeping("org0", "new0"), lock="org0"))
        together.set()
        await asyncio.to_thread(begun.wait, 60)
        forgetting = asyncio.create_task(ours.forget_old())
        while not await asyncio.to_thread(is_waited_for):
            pass
        go_on.set()
        await asyncio.gather(*map(asyncio.wrap_future, writes))
        assert await forgetting == 2

    before = deadlocks(postgres_url)
    asyncio.run(scenario())
    assert deadlocks(postgres_url) == before
    assert len(runs) == 1
    kept = here.database.read_now("SELECT id FROM response ORDER BY id")
    assert [row["id"] for row in kept] == ["new0", "new1"]


@pytest.mark.parametrize("skew_ms", [-3_600_000, -6_000, 6_000, 3_600_000])
def test_a_node_whose_clock_is_wrong_neither_dies_nor_takes_others_for_dead(database_url, skew_ms):
    """Both tick; a stream of the one is alive for the other, and settles at what it really used."""
    here, far = node(database_url), node(database_url, lambda: NOVEMBER + skew_ms)

    async def scenario():
        await here.prices.set("glm", uncached_pico=25_000, output_pico=25_000)
        await here.wallet.top_up("org1", 10**6, idempotency_key="first")
        billings = [here.billing("here"), far.billing("far")]
        holds = []
        for billing in billings:
            await billing.beat()
            holds.append(await billing.hold(here.ask()))
            billing.checkpoint(holds[-1].id, Usage(input_uncached=10))
            await billing.flush()
        for _ in range(12):
            assert [await billing.recover() for billing in billings] == [0, 0]
            here.seconds += 1.0
            far.seconds += 1.0
            for billing in billings:
                await billing.beat()
        for billing, hold in zip(billings, holds, strict=True):
            assert (await billing.settle(hold, USED, status="ok")).cost_nano == 1_000

    try:
        asyncio.run(scenario())
        audited(here.database)
    finally:
        here.database.close()
        far.database.close()


def test_four_nodes_that_start_for_the_first_time_at_once_all_start(
    postgres_url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    open_database(postgres_url).close()
    monkeypatch.setenv("OPENGLM_SECRET_KEY", base64.b64encode(bytes(KEY_BYTES)).decode())  # nodes share it
    failures: list[BaseException] = []
    together = threading.Barrier(4, timeout=60)

    def start(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()

        async def life() -> None:
            platform = Platform(Settings(data=folder, database_url=postgres_url), serves=False)
            together.wait()
            await platform.start()
            await platform.prices.set("glm", output_pico=1)
            await platform.stop()

        try:
            asyncio.run(life())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    database: Database = open_database(postgres_url)
    versions = database.read_now("SELECT version FROM price_version WHERE model = 'glm' ORDER BY version")
    assert [row["version"] for row in versions] == [1, 2, 3, 4]
    assert {row["version"] for row in database.read_now("SELECT version FROM plan_version")} == {1}
    database.close()
