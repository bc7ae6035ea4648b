"""`glm admin` over money: wallets, codes, prices, plans, budgets, usage."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from openglm.commands.admin import Amount, Org, admin, budget, invoice, plan, price, wallet
from openglm.commands.office import Office, moment, org_of
from openglm.errors import InvalidRequest

if TYPE_CHECKING:
    from openglm.maas.platform import Platform

Once = Annotated[
    str | None, Parameter(help="any word; the same word books the same payment once; default: a new one")
]


@wallet.command(name="show")
def show_wallet(*, org: Org = None, office: Office = Office()) -> None:
    """Show the balance, what is held for running requests, and the latest entries."""

    async def work(platform: Platform) -> None:
        from openglm.maas.money.amounts import decimal_text

        org_id = (await org_of(platform, org)).id
        balance = await platform.wallet.balance(org_id)
        office.say(
            {
                "currency": platform.settings.currency,
                "balance": decimal_text(balance.balance_nano),
                "held": decimal_text(balance.held_nano),
            }
        )

    office.run(work)


@wallet.command(name="top-up")
def top_up(amount: Amount, /, *, org: Org = None, once: Once = None, office: Office = Office()) -> None:
    """Book money that has come in some other way."""

    async def work(platform: Platform) -> None:
        from openglm.maas.ids import new_id
        from openglm.maas.money.amounts import decimal_text, nano

        org_id = (await org_of(platform, org)).id
        balance = await platform.wallet.top_up(
            org_id, nano(amount), idempotency_key=once or new_id("topup"), memo="glm admin"
        )
        office.say({"balance": decimal_text(balance.balance_nano)})

    office.run(work)


@wallet.command(name="codes")
def create_codes(amount: Amount, /, *, count: int = 1, label: str = "", office: Office = Office()) -> None:
    """Make redeem codes and show them, this once."""

    async def work(platform: Platform) -> None:
        from openglm.maas.money.amounts import nano

        codes = await platform.wallet.create_codes(count, nano(amount), label=label)
        office.show([{"code": code} for code in codes], ("code",))

    office.run(work)


@price.command(name="set")
def set_price(
    name: Annotated[str, Parameter(help="a model, a tool such as search_std, or * for all others")],
    /,
    *,
    input_: Annotated[str, Parameter(name="--input", help="per million uncached tokens")] = "0",
    output: Annotated[str, Parameter(help="per million tokens")] = "0",
    cached: Annotated[str | None, Parameter(help="per million cached tokens; default: as input")] = None,
    per_call: Annotated[str, Parameter(help="for each request")] = "0",
    per_image: Annotated[str, Parameter(help="for each image that a request makes")] = "0",
    training: Annotated[
        str | None, Parameter(help="per million trained tokens; default: not offered")
    ] = None,
    office: Office = Office(),
) -> None:
    """Set a price from now on. Requests that run settle at the price they began with."""

    async def work(platform: Platform) -> None:
        made = await platform.prices.set_per_million(
            name,
            uncached=input_,
            output=output,
            cached=cached,
            per_call=per_call,
            per_image=per_image,
            training=training,
        )
        office.say({"version": made.id})

    office.run(work)


@price.command(name="list")
def list_prices(*, office: Office = Office()) -> None:
    """List the newest version of each price."""

    async def work(platform: Platform) -> None:
        from openglm.maas.money.amounts import decimal_text, per_million

        rows = [
            {
                "model": one.model,
                "version": one.version,
                "input": per_million(one.uncached_pico),
                "cached": per_million(one.cached_pico),
                "output": per_million(one.output_pico),
                "call": decimal_text(one.per_call_nano),
                "image": decimal_text(one.per_image_nano),
                "training": per_million(one.training_pico or 0) if one.trains else None,
            }
            for one in await platform.prices.all()
        ]
        office.show(rows, ("model", "version", "input", "cached", "output", "call", "image", "training"))

    office.run(work)


@plan.command(name="list")
def list_plans(*, office: Office = Office()) -> None:
    """List the plans and their windows, in credits."""

    async def work(platform: Platform) -> None:
        plans = await platform.plans.load()
        rows = [{"plan": one.name, "title": one.title, **dict(one.windows)} for one in plans]
        office.show(rows, ("plan", "title", "5h", "week", "month"))

    office.run(work)


@plan.command(name="subscribe")
def subscribe(
    name: str, /, *, org: Org = None, months: int = 1, once: Once = None, office: Office = Office()
) -> None:
    """Subscribe an organisation; the plan's price is taken from its wallet."""

    async def work(platform: Platform) -> None:
        from openglm.maas.ids import new_id

        await platform.plans.load()
        made = await platform.plans.subscribe(
            (await org_of(platform, org)).id, name, idempotency_key=once or new_id("subscribe"), months=months
        )
        office.say({"subscription": made.id, "ends": moment(made.ends_at_ms)})

    office.run(work)


@plan.command(name="subscriptions")
def list_subscriptions(*, org: Org = None, office: Office = Office()) -> None:
    """List the subscriptions of an organisation, past ones too."""

    async def work(platform: Platform) -> None:
        rows = [
            {**asdict(one), "starts": moment(one.starts_at_ms), "ends": moment(one.ends_at_ms)}
            for one in await platform.plans.subscriptions((await org_of(platform, org)).id)
        ]
        office.show(rows, ("id", "plan", "user_id", "starts", "ends"))

    office.run(work)


@plan.command(name="end")
def end_subscription(subscription_id: str, /, *, org: Org = None, office: Office = Office()) -> None:
    """End a subscription now; nothing is paid back."""

    async def work(platform: Platform) -> None:
        await platform.plans.end((await org_of(platform, org)).id, subscription_id)

    office.run(work)


@budget.command(name="set")
def set_budget(
    amount: Amount,
    /,
    *,
    scope: Literal["org", "project", "key", "user"] = "org",
    target: Annotated[
        str | None, Parameter(help="id of the project, key or user; not for an organisation's")
    ] = None,
    period: Annotated[str, Parameter(help="total, month, week, day or 5h")] = "month",
    org: Org = None,
    office: Office = Office(),
) -> None:
    """Set what may be spent in a window."""

    async def work(platform: Platform) -> None:
        from openglm.maas.money.amounts import nano

        org_id = (await org_of(platform, org)).id
        if scope != "org" and target is None:
            raise InvalidRequest(f"say which {scope} with --target", param="target")
        made = await platform.budgets.set(org_id, scope, target or org_id, period, nano(amount))
        office.say({"budget": made.id})

    office.run(work)


@budget.command(name="list")
def list_budgets(*, org: Org = None, office: Office = Office()) -> None:
    """List budgets and what is spent of them."""

    async def work(platform: Platform) -> None:
        from openglm.maas.money.amounts import decimal_text

        rows = [
            {
                **asdict(one),
                "limit": decimal_text(one.limit_nano),
                "spent": decimal_text(one.spent_nano),
                "resets": moment(one.resets_at_ms),
            }
            for one in await platform.budgets.all((await org_of(platform, org)).id)
        ]
        office.show(rows, ("id", "scope", "target_id", "period", "limit", "spent", "resets"))

    office.run(work)


@budget.command(name="remove")
def remove_budget(budget_id: str, /, *, org: Org = None, office: Office = Office()) -> None:
    """Remove a budget."""

    async def work(platform: Platform) -> None:
        await platform.budgets.remove((await org_of(platform, org)).id, budget_id)

    office.run(work)


@invoice.command(name="list")
def list_invoices(*, org: Org = None, office: Office = Office()) -> None:
    """List the invoices that were issued to an organisation."""

    async def work(platform: Platform) -> None:
        from openglm.maas.money.amounts import decimal_text

        rows = [
            {
                "id": one.id,
                "month": one.month,
                "total": decimal_text(one.total_nano),
                "currency": one.currency,
                "issued": moment(one.issued_at_ms),
            }
            for one in await platform.invoices.issued((await org_of(platform, org)).id)
        ]
        office.show(rows, ("id", "month", "total", "currency", "issued"))

    office.run(work)


@invoice.command(name="show")
def show_invoice(
    month: Annotated[str, Parameter(help="such as 2026-11")],
    /,
    *,
    org: Org = None,
    csv: Annotated[bool, Parameter(negative=(), help="as CSV")] = False,
    office: Office = Office(),
) -> None:
    """Show the invoice of a month, or a draft of it."""

    async def work(platform: Platform) -> None:
        from openglm.maas.money import invoice_csv
        from openglm.maas.money.amounts import decimal_text

        found = await platform.invoices.month((await org_of(platform, org)).id, month)
        if csv:
            sys.stdout.write(invoice_csv(found))
            return
        office.say(
            {
                "invoice": found.id or "a draft",
                "month": found.month,
                "requests": sum(line.requests for line in found.lines),
                "subscriptions": decimal_text(found.plans_nano),
                "total": f"{decimal_text(found.total_nano)} {found.currency}",
            }
        )

    office.run(work)


@invoice.command(name="issue")
def issue_invoice(
    month: Annotated[str, Parameter(help="such as 2026-11")],
    /,
    *,
    org: Org = None,
    office: Office = Office(),
) -> None:
    """Close a month that has ended. Again gives the same invoice."""

    async def work(platform: Platform) -> None:
        from openglm.maas.money.amounts import decimal_text

        made = await platform.invoices.issue((await org_of(platform, org)).id, month)
        office.say({"invoice": made.id, "total": f"{decimal_text(made.total_nano)} {made.currency}"})

    office.run(work)


@admin.command(name="usage")
def usage(
    *,
    org: Org = None,
    csv: Annotated[bool, Parameter(negative=(), help="every request, as CSV")] = False,
    office: Office = Office(),
) -> None:
    """Show what was used and what it cost, by model."""

    async def work(platform: Platform) -> None:
        from openglm.maas.money import usage_by_model, usage_csv
        from openglm.maas.money.amounts import decimal_text

        org_id = (await org_of(platform, org)).id
        if csv:
            async for lines in usage_csv(platform.database, org_id):
                sys.stdout.write(lines)
            return
        rows = [
            {
                **asdict(one),
                "input": one.input_uncached + one.cache_write,
                "cached": one.cache_read,
                "cost": decimal_text(one.cost_nano),
            }
            for one in await usage_by_model(platform.database, org_id)
        ]
        office.show(rows, ("model", "kind", "requests", "input", "cached", "output", "cost", "credits"))

    office.run(work)
