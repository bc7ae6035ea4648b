"""The wallet of an organisation: top-ups, payments, redeem codes, adjustments, and its statement.

Every way in carries a key of its own, and the same key twice is one payment. What an organisation owes (it
used more than it had) is paid first out of what comes in. Redeem codes are kept as hashes only.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openglm.errors import Conflict, InvalidRequest, NotFound, PaymentRequired
from openglm.maas.database import Database, Row, Transaction
from openglm.maas.identity.audit import SYSTEM, Actor, note
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.money import ledger
from openglm.maas.money.amounts import checked_amount, decimal_text
from openglm.maas.money.payments import Order, Payment, PaymentAdapter

CODE_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
CODE_LENGTH = 20  # 100 bits, so that a plain hash is enough
MANY_CODES = 10_000


@dataclass(frozen=True, slots=True)
class Balance:
    """`free` is what new requests may hold; `debt` what was used beyond the wallet."""

    balance_nano: int
    held_nano: int
    debt_nano: int

    @property
    def free_nano(self) -> int:
        return self.balance_nano - self.held_nano


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a statement."""

    tx: str
    kind: str
    amount_nano: int
    memo: str
    created_at_ms: int


class Wallet:
    def __init__(
        self, database: Database, adapters: Sequence[PaymentAdapter] = (), *, clock: Clock = wall_clock
    ):
        self._database = database
        self._adapters = {adapter.name: adapter for adapter in adapters}
        self._clock = clock

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the payment adapters."""
        return tuple(self._adapters)

    async def balance(self, org_id: str) -> Balance:
        rows = await self._database.read(
            "SELECT id, balance, held FROM account WHERE id IN (:wallet, :debt)",
            wallet=ledger.wallet_of(org_id),
            debt=ledger.debt_of(org_id),
        )
        found = {row["id"]: row for row in rows}
        wallet, debt = found.get(ledger.wallet_of(org_id)), found.get(ledger.debt_of(org_id))
        return Balance(
            wallet["balance"] if wallet else 0,
            wallet["held"] if wallet else 0,
            -debt["balance"] if debt else 0,
        )

    async def statement(self, org_id: str, *, limit: int = 100, before_ms: int | None = None) -> list[Entry]:
        """What moved the wallet, newest first."""
        rows = await self._database.read(
            "SELECT e.tx AS tx, p.kind AS kind, e.amount AS amount, p.memo AS memo,"
            " p.created_at AS created_at"
            " FROM posting p JOIN ledger_entry e ON e.tx = p.tx AND e.account = :account"
            " WHERE p.org_id = :org_id AND p.created_at < :before"
            " ORDER BY p.created_at DESC, p.tx DESC LIMIT :limit",
            account=ledger.wallet_of(org_id),
            org_id=org_id,
            before=2**62 if before_ms is None else before_ms,
            limit=max(1, min(limit, 1000)),
        )
        return [Entry(row["tx"], row["kind"], row["amount"], row["memo"], row["created_at"]) for row in rows]

    async def top_up(
        self,
        org_id: str,
        amount_nano: int,
        *,
        idempotency_key: str,
        memo: str = "",
        actor: Actor = SYSTEM,
    ) -> Balance:
        """Credit a wallet by an operator's word. The same key with the same amount is the same top-up."""
        checked_amount(amount_nano)
        now = self._clock()
        order_id = new_id("topup", now)

        def work(tx: Transaction) -> None:
            order, made = _order(
                tx, order_id, org_id, amount=amount_nano, adapter="operator", key=idempotency_key, now=now
            )
            if made:
                _pay(tx, order, memo, now)
                details = {"amount": decimal_text(amount_nano), "once": idempotency_key}
                note(tx, now, actor, "wallet.top_up", org_id, org_id=org_id, details=details)

        await self._database.write(work, durable=True, lock=org_id)
        return await self.balance(org_id)

    async def order(
        self, org_id: str, amount_nano: int, adapter: str, *, idempotency_key: str, actor: Actor = SYSTEM
    ) -> Order:
        """An order that a payment provider will confirm by webhook. The same key is the same order."""
        checked_amount(amount_nano)
        provider = self._adapter(adapter)
        now = self._clock()
        order_id = new_id("topup", now)

        def work(tx: Transaction) -> Order:
            order, made = _order(
                tx, order_id, org_id, amount=amount_nano, adapter=adapter, key=idempotency_key, now=now
            )
            if made:
                details = {"amount": decimal_text(amount_nano), "adapter": adapter}
                note(tx, now, actor, "wallet.order", order.id, org_id=org_id, details=details)
            return order

        order = await self._database.write(work, durable=True, lock=org_id)
        if order.state != "pending" or order.provider_ref:
            return order
        reference, url = await provider.create(order)
        row = await self._database.write(
            lambda tx: tx.one(
                "UPDATE topup_order SET provider_ref = :reference, pay_url = :url WHERE id = :id RETURNING *",
                id=order.id,
                reference=reference,
                url=url,
            ),
            durable=True,
            lock=org_id,
        )
        assert row is not None, "the order was just made"
        return _read_order(row)

    async def webhook(self, adapter: str, headers: Mapping[str, str], body: bytes) -> Order:
        """A provider's notice. The first that says paid credits the wallet; others change nothing."""
        payment = self._adapter(adapter).verify(headers, body)
        now = self._clock()
        ordered = await self._database.read_one(
            "SELECT org_id FROM topup_order WHERE id = :id", id=payment.order_id
        )
        return await self._database.write(
            lambda tx: _notice(tx, adapter, payment, now),
            durable=True,
            lock=ordered["org_id"] if ordered else None,
        )

    async def adjust(
        self, org_id: str, delta_nano: int, *, idempotency_key: str, reason: str, actor: Actor = SYSTEM
    ) -> Balance:
        """Give (a grant) or take (a correction) by an operator's word, with a reason for the statement."""
        checked_amount(abs(delta_nano))
        if not reason:
            raise InvalidRequest("an adjustment needs a reason", param="reason")
        now = self._clock()
        tx_id = f"adjust:{org_id}:{idempotency_key}"

        def work(tx: Transaction) -> None:
            wallet = ledger.wallet_of(org_id)
            old = tx.one("SELECT amount FROM ledger_entry WHERE tx = :tx AND account = 'grants'", tx=tx_id)
            if old is not None:
                if old["amount"] != -delta_nano:
                    raise Conflict("the idempotency key was used for another amount")
                return
            if delta_nano > 0:
                _credit(tx, tx_id, "adjust", org_id, amount=delta_nano, source="grants", memo=reason, now=now)
            elif not ledger.withdraw(tx, wallet, -delta_nano):
                raise PaymentRequired("the wallet has less free than the adjustment takes")
            else:
                entries = {wallet: delta_nano, "grants": -delta_nano}
                ledger.post(tx, tx_id, "adjust", "nano", org_id, entries, now, reason)
            details = {"amount": decimal_text(delta_nano), "reason": reason}
            note(tx, now, actor, "wallet.adjust", org_id, org_id=org_id, details=details)

        await self._database.write(work, durable=True, lock=org_id)
        return await self.balance(org_id)

    async def create_codes(
        self,
        count: int,
        amount_nano: int,
        *,
        label: str = "",
        expires_at_ms: int | None = None,
        actor: Actor = SYSTEM,
    ) -> list[str]:
        """New redeem codes. This is the only time anybody sees them."""
        checked_amount(amount_nano)
        if not 1 <= count <= MANY_CODES:
            raise InvalidRequest(f"count must be in [1, {MANY_CODES}], got {count}", param="count")
        codes = [_new_code() for _ in range(count)]
        now = self._clock()
        rows = [
            {"hash": _hash(code), "label": label, "amount": amount_nano, "expires": expires_at_ms, "now": now}
            for code in codes
        ]

        def work(tx: Transaction) -> None:
            tx.many(
                "INSERT INTO redeem_code (hash, label, amount_nano, expires_at, created_at)"
                " VALUES (:hash, :label, :amount, :expires, :now)",
                rows,
            )
            details = {"count": count, "amount": decimal_text(amount_nano), "label": label}
            note(tx, now, actor, "codes.create", label, org_id=None, details=details)

        await self._database.write(work, durable=True)
        return codes

    async def redeem(self, org_id: str, code: str, *, actor: Actor = SYSTEM) -> Balance:
        """Use a code, once."""
        digest, now = _hash(code), self._clock()

        def work(tx: Transaction) -> None:
            row = tx.one(
                "UPDATE redeem_code SET org_id = :org_id, redeemed_at = :now WHERE hash = :hash"
                " AND redeemed_at IS NULL AND (expires_at IS NULL OR expires_at > :now)"
                " RETURNING amount_nano",
                org_id=org_id,
                now=now,
                hash=digest,
            )
            if row is None:
                old = tx.one("SELECT redeemed_at FROM redeem_code WHERE hash = :hash", hash=digest)
                if old is None:
                    raise NotFound("there is no such code", hint="check it letter by letter")
                raise Conflict("the code was used" if old["redeemed_at"] else "the code has expired")
            _credit(
                tx,
                f"redeem:{digest}",
                "redeem",
                org_id,
                amount=row["amount_nano"],
                source="grants",
                memo="",
                now=now,
            )
            details = {"amount": decimal_text(row["amount_nano"])}
            note(tx, now, actor, "wallet.redeem", org_id, org_id=org_id, details=details)

        await self._database.write(work, durable=True, lock=org_id)
        return await self.balance(org_id)

    def _adapter(self, name: str) -> PaymentAdapter:
        if name not in self._adapters:
            raise NotFound(f"there is no payment adapter {name!r}")
        return self._adapters[name]


def _order(
    tx: Transaction, order_id: str, org_id: str, *, amount: int, adapter: str, key: str, now: int
) -> tuple[Order, bool]:
    """The order of a key, and whether it was made just now."""
    if not key or len(key) > 200:
        raise InvalidRequest("an idempotency key must have 1 to 200 characters", param="idempotency_key")
    made = tx.run(
        "INSERT INTO topup_order (id, org_id, idempotency_key, amount_nano, adapter, state, created_at)"
        " VALUES (:id, :org_id, :key, :amount, :adapter, 'pending', :now) ON CONFLICT DO NOTHING",
        id=order_id,
        org_id=org_id,
        key=key,
        amount=amount,
        adapter=adapter,
        now=now,
    )
    row = tx.one(
        "SELECT * FROM topup_order WHERE org_id = :org_id AND idempotency_key = :key", org_id=org_id, key=key
    )
    assert row is not None, "the order was just made, or is there"
    if (row["amount_nano"], row["adapter"]) != (amount, adapter):
        raise Conflict("the idempotency key was used for another amount or another way to pay")
    return _read_order(row), bool(made)


def _notice(tx: Transaction, adapter: str, payment: Payment, now: int) -> Order:
    row = tx.one(
        "SELECT * FROM topup_order WHERE id = :id AND adapter = :adapter",
        id=payment.order_id,
        adapter=adapter,
    )
    if row is None:
        raise NotFound("there is no order with this id")
    order = _read_order(row)
    if payment.paid and payment.amount_nano != order.amount_nano:
        raise Conflict(f"the order is for {order.amount_nano} nano, the notice says {payment.amount_nano}")
    if payment.paid:
        _pay(tx, order, "", now)
    else:
        tx.run("UPDATE topup_order SET state = 'failed' WHERE id = :id AND state = 'pending'", id=order.id)
    after = tx.one("SELECT * FROM topup_order WHERE id = :id", id=order.id)
    assert after is not None, "orders are never deleted"
    return _read_order(after)


def _pay(tx: Transaction, order: Order, memo: str, now: int) -> None:
    """Mark an order as paid, once. A notice of payment is believed even after one of failure."""
    if tx.run(
        "UPDATE topup_order SET state = 'paid', paid_at = :now WHERE id = :id AND state <> 'paid'",
        id=order.id,
        now=now,
    ):
        source = f"payments:{order.adapter}"
        _credit(
            tx, order.id, "top-up", order.org_id, amount=order.amount_nano, source=source, memo=memo, now=now
        )


def _credit(
    tx: Transaction, tx_id: str, kind: str, org_id: str, *, amount: int, source: str, memo: str, now: int
) -> None:
    """Money in: debts first, the rest into the wallet."""
    wallet, debtor = ledger.wallet_of(org_id), ledger.debt_of(org_id)
    ledger.add(tx, wallet, org_id, "nano", amount=amount, now_ms=now)
    row = tx.one("SELECT balance FROM account WHERE id = :id", id=debtor)
    repaid = 0
    if row is not None and row["balance"] < 0:
        free = tx.one("SELECT balance - held AS free FROM account WHERE id = :id", id=wallet)
        assert free is not None, "the wallet was just made"
        repaid = min(amount, -row["balance"], free["free"])
        ledger.add(tx, debtor, org_id, "nano", amount=repaid, now_ms=now)
        ledger.add(tx, wallet, org_id, "nano", amount=-repaid, now_ms=now)
    entries = {source: -amount, wallet: amount - repaid, debtor: repaid}
    ledger.post(tx, tx_id, kind, "nano", org_id, entries, now, memo)


def _read_order(row: Row) -> Order:
    return Order(
        row["id"],
        row["org_id"],
        row["amount_nano"],
        row["adapter"],
        row["state"],
        row["provider_ref"],
        row["pay_url"],
    )


def _new_code() -> str:
    letters = "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
    return "-".join(letters[start : start + 5] for start in range(0, CODE_LENGTH, 5))


def _hash(code: str) -> str:
    """Of the code as people type it: dashes, spaces and case do not matter."""
    letters = "".join(code.split()).replace("-", "").upper()
    return hashlib.sha256(letters.encode()).hexdigest()
