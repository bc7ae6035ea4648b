"""Old usage rows go in small writes; what accountants need stays."""

from __future__ import annotations

import asyncio

import pytest

from openglm.errors import InvalidRequest
from openglm.maas.database import Database, Transaction
from openglm.maas.money import Invoices
from openglm.maas.operate import retention
from openglm.maas.operate.retention import CHUNK, DAY_MS, delete_older

NOW = 1_000 * DAY_MS
ROW = (
    "INSERT INTO usage_event (request_id, org_id, project_id, key_id, model, kind, is_plan, is_batch, units,"
    " input_uncached, cache_read, cache_write, output_text, output_reasoning, cost_nano, debt_nano, credits,"
    " tariff, arithmetic, status, estimated, created_at) VALUES (:id, 'o', 'p', 'k', 'm', 'chat', 0, 0, 1,"
    " 1, 0, 0, 1, 0, 1, 0, 0, 't', '', 'ok', 0, :at)"
)
HOLD = (
    "INSERT INTO hold (id, org_id, project_id, key_id, model, kind, node_id, state, is_plan, is_batch, units,"
    " tariff, factor_permille, amount, accounts, budgets, created_at, closed_at) VALUES (:id, 'o', 'p', 'k',"
    " 'm', 'chat', 'n', :state, 0, 0, 1, 't', 1000, 0, '', '', 1, :closed)"
)


async def forget(database: Database, days: int) -> dict[str, int]:
    clock = lambda: NOW  # noqa: E731
    return await delete_older(database, Invoices(database, clock=clock), days, clock=clock)


def fill(database: Database, count: int) -> None:
    """Rows one day apart from now back, a third of them strangers' ids in no order of time."""
    rows = [{"id": f"{'z' if n % 3 else 'a'}{n:06}", "at": NOW - n * DAY_MS // 10} for n in range(count)]
    database.write_now(lambda tx: tx.many(ROW, rows))


def test_only_rows_older_than_asked_are_deleted(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAGE", 97)
    fill(database, 1_500)
    deleted = asyncio.run(forget(database, 100))
    left = [row["created_at"] for row in database.read_now("SELECT created_at FROM usage_event")]
    assert deleted["usage_event"] == 1_500 - len(left)
    assert len(left) == 1_001
    assert min(left) == NOW - 100 * DAY_MS
    assert asyncio.run(forget(database, 100))["usage_event"] == 0


def test_an_open_hold_stays_however_old(database: Database) -> None:
    rows = [
        {"id": "open", "state": "open", "closed": None},
        {"id": "closed", "state": "settled", "closed": 1},
        {"id": "fresh", "state": "settled", "closed": NOW},
    ]
    database.write_now(lambda tx: tx.many(HOLD, rows))
    assert asyncio.run(forget(database, 62))["hold"] == 1
    assert {row["id"] for row in database.read_now("SELECT id FROM hold")} == {"open", "fresh"}


def test_no_write_deletes_more_than_a_chunk(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(database, 2_500)
    sizes: list[int] = []
    run = Transaction.run

    def counted(self: Transaction, sql: str, **parameters: object) -> int:
        touched = run(self, sql, **parameters)
        if sql.startswith("DELETE"):
            sizes.append(touched)
        return touched

    monkeypatch.setattr(Transaction, "run", counted)
    asyncio.run(forget(database, 62))
    assert max(sizes) <= CHUNK
    assert sum(sizes) == 2_500 - 621


@pytest.mark.parametrize("days", [0, -1, 61, True, 62.5])
def test_rows_that_an_invoice_may_need_are_not_deleted(database: Database, days: int) -> None:
    with pytest.raises(InvalidRequest, match="at least 62"):
        asyncio.run(forget(database, days))


def test_the_invoices_of_months_whose_rows_go_are_issued_from_them_first(database: Database) -> None:
    invoices = Invoices(database, clock=lambda: NOW)
    fill(database, 2_500)
    months = ["1972-01", "1972-02", "1972-03", "1972-06"]
    before = {month: asyncio.run(invoices.month("o", month)) for month in months}
    asyncio.run(forget(database, 150))
    for month in months[:3]:
        after = asyncio.run(invoices.month("o", month))
        assert after.id is not None, month
        assert (after.lines, after.total_nano) == (before[month].lines, before[month].total_nano)
    assert asyncio.run(invoices.month("o", "1972-06")) == before["1972-06"]
    assert len(asyncio.run(invoices.issued("o"))) == 4
