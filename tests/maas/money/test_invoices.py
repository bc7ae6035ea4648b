"""Invoices and CSV from usage rows."""

from __future__ import annotations

import asyncio
import csv
import io

import pytest

from openglm.errors import Conflict, InvalidRequest, NotFound
from openglm.maas.money import invoice_csv, usage_by_model, usage_csv, usage_rows
from openglm.maas.money.invoices import GRACE_MS
from openglm.messages import Usage
from tests.maas.money.conftest import DAY, NOVEMBER, USED, Money


async def used(money: Money, times: int, **more) -> None:
    billing = money.billing()
    for _ in range(times):
        money.clock.now += 1
        await billing.settle(await billing.hold(money.ask(**more)), USED, status="ok")


async def funded(money: Money) -> None:
    await money.prices.set("glm", uncached_pico=25_000, output_pico=25_000)
    for org in ("org1", "org2"):
        await money.wallet.top_up(org, 10**6, idempotency_key="t")


def test_an_invoice_sums_the_month_and_never_changes_once_issued(money):
    async def scenario():
        await funded(money)
        await used(money, 3)
        await used(money, 2, batch=True, kind="batch")
        await used(money, 1, org_id="org2")
        draft = await money.invoices.month("org1", "2026-11")
        assert (draft.id, draft.total_nano, len(draft.lines)) == (None, 4_000, 2)
        with pytest.raises(Conflict):
            await money.invoices.issue("org1", "2026-11")
        money.clock.now = NOVEMBER + 31 * DAY
        await used(money, 1)
        issued = await money.invoices.issue("org1", "2026-11")
        assert issued.lines == draft.lines
        assert await money.invoices.issue("org1", "2026-11") == issued
        assert await money.invoices.month("org1", "2026-11") == issued
        assert await money.invoices.issued("org1") == [issued]
        assert await money.invoices.by_id("org1", issued.id) == issued
        with pytest.raises(NotFound):
            await money.invoices.by_id("org2", issued.id)
        table = list(csv.DictReader(io.StringIO(invoice_csv(issued))))
        assert [(row["model"], row["requests"], row["cost_cny"]) for row in table] == [
            ("glm", "2", "0.000001"),
            ("glm", "3", "0.000003"),
            ("subscriptions", "", "0"),
            ("total", "", "0.000004"),
        ]
        assert (await money.invoices.month("org1", "2026-12")).total_nano == 1_000
        for wrong in ("2026-13", "202611", "2026-1", "x"):
            with pytest.raises(InvalidRequest):
                await money.invoices.month("org1", wrong)

    asyncio.run(scenario())


def test_the_export_has_every_row_once_in_pages_and_no_formulas(money, monkeypatch):
    monkeypatch.setattr("openglm.maas.money.usage_table.PAGE", 4)

    async def scenario():
        await funded(money)
        await used(money, 9, project_id="=cmd()")
        await used(money, 2, org_id="org2")
        text = "".join([part async for part in usage_csv(money.database, "org1")])
        table = list(csv.DictReader(io.StringIO(text)))
        assert len({row["request_id"] for row in table}) == len(table) == 9
        assert table[0]["project_id"] == "'=cmd()"
        assert (table[0]["created_at"], table[0]["cost"]) == (
            "2026-11-01T00:00:00.001+00:00",
            "0.000001",
        )
        page = await usage_rows(money.database, "org1", limit=2)
        rest = await usage_rows(
            money.database, "org1", after=(page[-1]["created_at"], page[-1]["request_id"])
        )
        assert len(rest) == 7
        (line,) = await usage_by_model(money.database, "org1", user_id="user1")
        assert (line.requests, line.output, line.cost_nano) == (9, 270, 9_000)
        assert await usage_by_model(money.database, "org1", user_id="nobody") == []

    asyncio.run(scenario())


@pytest.mark.parametrize("issued_first", [True, False])
def test_what_is_charged_late_is_invoiced_once_in_whatever_month(money, audit, issued_first):
    """A node was taken for dead at the end of October, and its request ends in November."""

    async def scenario():
        money.clock.now = NOVEMBER - 60_000
        await funded(money)
        asleep, alive = money.billing("asleep"), money.billing("alive")
        hold = await asleep.hold(money.ask(units=1))
        asleep.checkpoint(hold.id, Usage(input_uncached=10, output_text=20))
        await asleep.flush()
        await alive.recover("asleep")
        money.clock.now = NOVEMBER + GRACE_MS
        if issued_first:
            assert (await money.invoices.issue("org1", "2026-10")).total_nano == 750
        late = await asleep.settle(hold, USED, status="ok")
        assert (late.cost_nano, late.usage, late.status) == (1_000, USED, "ok")
        assert await asleep.settle(hold, USED, status="ok") == late
        assert await alive.receipt("org1", hold.id) == late
        money.clock.now = NOVEMBER + 31 * DAY
        months = [await money.invoices.issue("org1", month) for month in ("2026-10", "2026-11")]
        assert [month.total_nano for month in months] == ([750, 250] if issued_first else [1_000, 0])
        lines = [line for month in months for line in month.lines]
        assert (sum(line.output for line in lines), sum(line.units for line in lines)) == (30, 1)
        assert (await money.wallet.balance("org1")).balance_nano == 10**6 - 1_000

    asyncio.run(scenario())
    audit()


def test_a_failed_request_has_a_row_too(money):
    async def scenario():
        await funded(money)
        billing = money.billing()
        await billing.void(await billing.hold(money.ask()))
        await billing.settle(
            await billing.hold(money.ask()), Usage(output_text=1), status="failed", estimated=True
        )
        rows = await usage_rows(money.database, "org1")
        assert [(row["status"], row["estimated"], row["cost_nano"]) for row in rows] == [
            ("void", 0, 0),
            ("failed", 1, 25),
        ]

    asyncio.run(scenario())
