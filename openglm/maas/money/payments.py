"""How money comes in from outside: an adapter makes orders with a provider and reads its webhooks.

An adapter knows one provider's wire and secrets, and nothing of the ledger. `ManualPayments` is the one that
ships: an operator, or a test, signs the notice with a shared secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from openglm.errors import InvalidRequest, Unauthorized


@dataclass(frozen=True, slots=True)
class Order:
    """A top-up that somebody is asked to pay. `state` is pending, paid or failed."""

    id: str
    org_id: str
    amount_nano: int
    adapter: str
    state: str
    provider_ref: str | None = None
    pay_url: str | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """What a provider's notice says about an order."""

    order_id: str
    amount_nano: int
    paid: bool
    provider_ref: str | None = None


class PaymentAdapter(Protocol):
    name: str

    async def create(self, order: Order) -> tuple[str | None, str | None]:
        """Make the order with the provider: its reference and the address to pay at. May be asked twice."""
        ...

    def verify(self, headers: Mapping[str, str], body: bytes) -> Payment:
        """Read a webhook; Unauthorized unless its signature is the provider's."""
        ...


class ManualPayments:
    """Orders that a person marks as paid, by a notice `{"order_id", "amount_nano", "paid"}` with an
    HMAC-SHA256 of the body in `x-openglm-signature`."""

    name = "manual"

    def __init__(self, secret: bytes):
        if len(secret) < 16:
            raise InvalidRequest(f"the payment secret must have at least 16 bytes, got {len(secret)}")
        self._secret = secret

    async def create(self, order: Order) -> tuple[str | None, str | None]:
        return f"manual-{order.id}", None

    def sign(self, body: bytes) -> str:
        return hmac.new(self._secret, body, hashlib.sha256).hexdigest()

    def verify(self, headers: Mapping[str, str], body: bytes) -> Payment:
        given = next((value for name, value in headers.items() if name.lower() == "x-openglm-signature"), "")
        if not hmac.compare_digest(given.encode(), self.sign(body).encode()):
            raise Unauthorized("the signature of the payment notice is not ours", reason="rejected")
        try:
            notice = json.loads(body)
            order_id, amount, paid = notice["order_id"], notice["amount_nano"], notice["paid"]
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidRequest(
                "a payment notice must be JSON with order_id, amount_nano and paid"
            ) from error
        if not isinstance(order_id, str) or type(amount) is not int or not isinstance(paid, bool):
            raise InvalidRequest("order_id must be text, amount_nano a whole number, paid true or false")
        return Payment(order_id, amount, paid, notice.get("provider_ref"))
