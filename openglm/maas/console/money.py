"""Wallet, top-ups, budgets, plans and invoices in the console. Amounts are exact decimals, as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from openglm.errors import Forbidden, InvalidRequest
from openglm.maas.console.access import Body, House, Seat, one_of, seat
from openglm.maas.identity.audit import Actor
from openglm.maas.money.amounts import decimal_text, nano
from openglm.maas.money.budgets import Budget
from openglm.maas.money.invoices import Invoice, invoice_csv
from openglm.maas.money.payments import Order
from openglm.maas.money.subscriptions import Meter, Subscription
from openglm.maas.money.wallet import Balance

router = APIRouter(tags=["money"])
ORG = "/organisations/{org_id}"
Reader = Annotated[Seat, seat("billing.read")]
Payer = Annotated[Seat, seat("billing.write")]
Amount = Annotated[str, Field(max_length=40, description="of the currency, as 12.50", examples=["12.50"])]
Once = Annotated[
    str, Field(min_length=1, max_length=200, description="any word; the same word books the same deed once")
]
Months = Annotated[int, Field(ge=1, le=120)]


@dataclass(frozen=True, slots=True)
class Money:
    """`balance` includes what is held for running requests; `free` is what a new one may hold."""

    currency: str
    balance: str
    held: str
    debt: str
    free: str


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of a statement."""

    kind: str
    amount: str
    memo: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget and what is spent and held of it. `resets_at` is null for one that never resets."""

    id: str
    scope: str
    target_id: str
    period: str
    limit: str
    spent: str
    held: str
    resets_at: int | None


@dataclass(frozen=True, slots=True)
class PlanOffer:
    name: str
    title: str
    price: str  # a month
    credits: dict[str, int]  # by window
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The running subscriptions, and the windows of the one that counts for whoever asks."""

    subscriptions: tuple[Subscription, ...]
    meters: tuple[Meter, ...]


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    model: str
    kind: str
    is_batch: bool
    requests: int
    input_uncached: int
    cache_read: int
    output: int
    cost: str


@dataclass(frozen=True, slots=True)
class Bill:
    """A month's invoice; `id` is null while it is a draft."""

    id: str | None
    month: str
    currency: str
    lines: tuple[InvoiceLine, ...]
    plans: str
    total: str
    issued_at: int | None


class Code(Body):
    code: Annotated[str, Field(min_length=1, max_length=100)]


class NewOrder(Body):
    amount: Amount
    adapter: Annotated[str, Field(max_length=50)]
    once: Once


@dataclass(frozen=True, slots=True)
class TopUp:
    """An order that the payment provider will confirm; pay at `pay_url`, if it has one."""

    id: str
    amount: str
    adapter: str
    state: str
    pay_url: str | None


class NewBudget(Body):
    scope: Literal["org", "project", "key", "user"]
    target_id: Annotated[str, Field(max_length=100)]
    period: Literal["5h", "day", "week", "month", "total"]
    limit: Amount


class Subscribe(Body):
    plan: Annotated[str, Field(max_length=100)]
    months: Months = 1
    user_id: Annotated[str | None, Field(max_length=100, description="null: every member's")] = None
    once: Once


@router.get(ORG + "/wallet")
async def get_wallet(here: Reader, platform: House) -> Money:
    """What there is, what is held, what is owed."""
    return money(platform, await platform.wallet.balance(here.org_id))


@router.get(ORG + "/wallet/statement")
async def statement(
    here: Reader,
    platform: House,
    before: Annotated[int | None, Query(ge=0, le=2**53, description="ms UTC; older entries")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[Line]:
    """What was booked, newest first."""
    entries = await platform.wallet.statement(here.org_id, limit=limit, before_ms=before)
    return [Line(one.kind, decimal_text(one.amount_nano), one.memo, one.created_at_ms) for one in entries]


@router.post(ORG + "/wallet/redeem")
async def redeem(body: Code, here: Payer, platform: House) -> Money:
    """Use a redeem code, once."""
    return money(platform, await platform.wallet.redeem(here.org_id, body.code, actor=here.actor))


@router.get(ORG + "/wallet/adapters")
async def list_adapters(here: Reader, platform: House) -> list[str]:
    """The payment adapters that this platform offers."""
    return list(platform.wallet.adapters)


@router.post(ORG + "/wallet/orders", status_code=201)
async def order(body: NewOrder, here: Payer, platform: House) -> TopUp:
    """Order a top-up; the wallet grows when the provider's signed notice comes."""
    made: Order = await platform.wallet.order(
        here.org_id, nano(body.amount), body.adapter, idempotency_key=body.once, actor=here.actor
    )
    return TopUp(made.id, decimal_text(made.amount_nano), made.adapter, made.state, made.pay_url)


@router.post("/payments/{adapter}", status_code=204)
async def payment_notice(adapter: str, request: Request, platform: House) -> None:
    """A payment provider's notice, proven by its signature. For providers, not for browsers."""
    await platform.wallet.webhook(adapter, dict(request.headers), await request.body())


@router.get(ORG + "/budgets")
async def list_budgets(here: Reader, platform: House) -> list[Limit]:
    """All budgets of the organisation."""
    return [_limit(one) for one in await platform.budgets.all(here.org_id)]


@router.put(ORG + "/budgets")
async def set_budget(body: NewBudget, here: Payer, platform: House) -> Limit:
    """Set the budget of a target and period; what was spent in the window stays spent."""
    limit = nano(body.limit)
    made = await platform.budgets.set(
        here.org_id, body.scope, body.target_id, body.period, limit, actor=here.actor
    )
    return _limit(made)


@router.delete(ORG + "/budgets/{budget_id}", status_code=204)
async def remove_budget(budget_id: str, here: Payer, platform: House) -> None:
    """Remove a budget."""
    await platform.budgets.remove(here.org_id, budget_id, actor=here.actor)


@router.get("/plans")
async def list_plans(platform: House) -> list[PlanOffer]:
    """The plans on offer."""
    return [
        PlanOffer(
            plan.name,
            plan.title,
            decimal_text(plan.price_nano),
            dict(plan.windows),
            tuple(name for name, _ in plan.weights),
        )
        for plan in await platform.plans.all()
    ]


@router.get(ORG + "/plan")
async def get_plan(here: Annotated[Seat, seat("usage.read")], platform: House) -> Plan:
    """Subscriptions, and the meters of one's own or the organisation's."""
    return Plan(
        tuple(await platform.plans.subscriptions(here.org_id)),
        tuple(await platform.plans.meters(here.org_id, here.user_id)),
    )


@router.post(ORG + "/subscriptions", status_code=201)
async def subscribe(body: Subscribe, here: Payer, platform: House) -> Subscription:
    """Subscribe to a plan; its price is taken from the wallet."""
    offered = {plan.name: plan for plan in await platform.plans.all()}
    plan = one_of(offered.get(body.plan), "plan", body.plan)
    if not plan.price_nano:
        raise Forbidden(f"the plan {plan.name!r} has no price: operators give it", hint="ask one of them")
    return await add_subscription(platform, here.org_id, body, here.actor)


@router.delete(ORG + "/subscriptions/{subscription_id}", status_code=204)
async def end_subscription(subscription_id: str, here: Payer, platform: House) -> None:
    """End a subscription now; nothing is paid back."""
    await platform.plans.end(here.org_id, subscription_id, actor=here.actor)


@router.get(ORG + "/invoices")
async def list_invoices(here: Reader, platform: House) -> list[Bill]:
    """The invoices that were issued, newest first."""
    return [_bill(one) for one in await platform.invoices.issued(here.org_id)]


@router.get(ORG + "/invoices/{month}")
async def get_invoice(month: str, here: Reader, platform: House) -> Bill:
    """The invoice of a month such as 2026-11, or a draft of it."""
    return _bill(await platform.invoices.month(here.org_id, month))


@router.post(ORG + "/invoices/{month}")
async def issue_invoice(month: str, here: Payer, platform: House) -> Bill:
    """Close a month that has ended. Again gives the same invoice."""
    return _bill(await platform.invoices.issue(here.org_id, month, actor=here.actor))


@router.get(
    ORG + "/invoices/{month}/csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}}
)
async def invoice_table(month: str, here: Reader, platform: House) -> Response:
    """The same as CSV."""
    return Response(invoice_csv(await platform.invoices.month(here.org_id, month)), media_type="text/csv")


async def add_subscription(platform: House, org_id: str, body: Subscribe, actor: Actor) -> Subscription:
    if body.user_id:
        await platform.accounts.membership(org_id, body.user_id)
    return await platform.plans.subscribe(
        org_id, body.plan, idempotency_key=body.once, user_id=body.user_id, months=body.months, actor=actor
    )


def money(platform: House, balance: Balance) -> Money:
    return Money(
        platform.settings.currency,
        decimal_text(balance.balance_nano),
        decimal_text(balance.held_nano),
        decimal_text(balance.debt_nano),
        decimal_text(balance.free_nano),
    )


def positive(text: str, param: str = "amount") -> int:
    """An amount that must be more than nothing, in nano."""
    amount = nano(text, param=param)
    if not amount:
        raise InvalidRequest(f"{param} must be more than 0", param=param)
    return amount


def _limit(one: Budget) -> Limit:
    limit, spent, held = (decimal_text(part) for part in (one.limit_nano, one.spent_nano, one.held_nano))
    return Limit(one.id, one.scope, one.target_id, one.period, limit, spent, held, one.resets_at_ms)


def _bill(one: Invoice) -> Bill:
    return Bill(
        one.id,
        one.month,
        one.currency,
        tuple(
            InvoiceLine(
                line.model,
                line.kind,
                line.is_batch,
                line.requests,
                line.input_uncached,
                line.cache_read,
                line.output,
                decimal_text(line.cost_nano),
            )
            for line in one.lines
        ),
        decimal_text(one.plans_nano),
        decimal_text(one.total_nano),
        one.issued_at_ms,
    )
