"""Invoices per organisation and month (UTC), made from usage rows, and the same as CSV.

A month that has ended is issued once and then stored: what was issued never changes. A request belongs to the
month in which it settled.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from openglm.errors import Conflict, NotFound
from openglm.maas.database import Database, Transaction
from openglm.maas.identity.audit import SYSTEM, Actor, note
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.money.amounts import decimal_text
from openglm.maas.money.periods import month_window
from openglm.maas.money.usage_table import ModelUsage, csv_line, usage_by_model

GRACE_MS = 600_000  # after the month, for settles that were under way at its end


@dataclass(frozen=True, slots=True)
class Invoice:
    """`id` and `issued_at_ms` are None for a draft."""

    org_id: str
    month: str
    currency: str
    lines: tuple[ModelUsage, ...]
    plans_nano: int  # subscriptions paid out of the wallet in this month
    id: str | None = None
    issued_at_ms: int | None = None

    @property
    def total_nano(self) -> int:
        return sum(line.cost_nano for line in self.lines) + self.plans_nano


class Invoices:
    def __init__(self, database: Database, *, currency: str = "CNY", clock: Clock = wall_clock):
        self._database = database
        self._currency = currency
        self._clock = clock

    async def month(self, org_id: str, month: str) -> Invoice:
        """The stored invoice of a month, or a draft of it."""
        month_window(month)
        row = await self._database.read_one(
            "SELECT * FROM invoice WHERE org_id = :org_id AND month = :month", org_id=org_id, month=month
        )
        if row is None:
            return await self._draft(org_id, month)
        return _from_text(row["document"])

    async def issue(self, org_id: str, month: str, *, actor: Actor = SYSTEM) -> Invoice:
        """Close a month that has ended. Issuing again gives the same invoice."""
        now = self._clock()
        if now < month_window(month)[1] + GRACE_MS:
            raise Conflict(f"the month {month} has not ended", hint="issue it ten minutes after its end")
        draft = await self._draft(org_id, month)
        document = asdict(draft) | {"id": new_id("invoice", now), "issued_at_ms": now}

        def work(tx: Transaction) -> str:
            made = tx.run(
                "INSERT INTO invoice (id, org_id, month, document, issued_at)"
                " VALUES (:id, :org_id, :month, :document, :now) ON CONFLICT DO NOTHING",
                id=document["id"],
                org_id=org_id,
                month=month,
                document=json.dumps(document, ensure_ascii=False),
                now=now,
            )
            if made:
                details = {"month": month, "total": decimal_text(draft.total_nano)}
                note(tx, now, actor, "invoice.issue", document["id"], org_id=org_id, details=details)
            row = tx.one(
                "SELECT document FROM invoice WHERE org_id = :org_id AND month = :month",
                org_id=org_id,
                month=month,
            )
            assert row is not None, "the invoice was just stored"
            return str(row["document"])

        return _from_text(await self._database.write(work, durable=True))

    async def issued(self, org_id: str) -> list[Invoice]:
        rows = await self._database.read(
            "SELECT document FROM invoice WHERE org_id = :org_id ORDER BY month DESC", org_id=org_id
        )
        return [_from_text(row["document"]) for row in rows]

    async def by_id(self, org_id: str, invoice_id: str) -> Invoice:
        row = await self._database.read_one(
            "SELECT document FROM invoice WHERE org_id = :org_id AND id = :id", org_id=org_id, id=invoice_id
        )
        if row is None:
            raise NotFound("there is no invoice with this id")
        return _from_text(row["document"])

    async def _draft(self, org_id: str, month: str) -> Invoice:
        start, end = month_window(month)
        lines = await usage_by_model(self._database, org_id, start_ms=start, end_ms=end)
        plans = await self._database.read_one(
            "SELECT coalesce(sum(e.amount), 0) AS paid FROM posting p JOIN ledger_entry e ON e.tx = p.tx"
            " WHERE p.org_id = :org_id AND p.kind = 'plan' AND p.unit = 'nano' AND e.amount > 0"
            " AND p.created_at >= :start AND p.created_at < :end",
            org_id=org_id,
            start=start,
            end=end,
        )
        return Invoice(org_id, month, self._currency, tuple(lines), int(plans["paid"]) if plans else 0)


def invoice_csv(invoice: Invoice) -> str:
    """A line for each model and kind, then the plans and the total, in the currency."""
    head = ["month", "model", "kind", "plan", "batch", "requests", "units", "input_uncached", "cache_read"]
    text = [
        csv_line([*head, "cache_write", "output", "images", "credits", f"cost_{invoice.currency.lower()}"])
    ]
    for line in invoice.lines:
        text.append(
            csv_line(
                [
                    invoice.month,
                    line.model,
                    line.kind,
                    int(line.is_plan),
                    int(line.is_batch),
                    line.requests,
                    line.units,
                    line.input_uncached,
                    line.cache_read,
                    line.cache_write,
                    line.output,
                    line.images,
                    line.credits,
                    decimal_text(line.cost_nano),
                ]
            )
        )
    blank = [""] * 11
    text.append(csv_line([invoice.month, "subscriptions", *blank, decimal_text(invoice.plans_nano)]))
    text.append(csv_line([invoice.month, "total", *blank, decimal_text(invoice.total_nano)]))
    return "".join(text)


def _from_text(text: str) -> Invoice:
    document = json.loads(text)
    lines = tuple(ModelUsage(**line) for line in document.pop("lines"))
    return Invoice(lines=lines, **document)
