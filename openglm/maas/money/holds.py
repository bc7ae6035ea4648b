"""The life of a hold, inside one transaction each: take, extend, close. Wallet, plan and budgets meet here.

A hold is open until one conditional update makes it settled, voided or recovered; whoever makes that update
moves the money, and everybody after gets the stored receipt. One that was recovered, since its node seemed
dead, may still be settled by that node: what its checkpoint missed is charged then. All of it runs under the
organisation's lock, so that no other node changes its accounts meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from openglm.errors import Conflict, DuplicateRequest, NotFound, Overloaded, PaymentRequired, PlanRefused
from openglm.maas.database import Row, Transaction
from openglm.maas.money import budgets, ledger
from openglm.maas.money.amounts import decimal_text
from openglm.maas.money.ask import TRAINING, Ask, Charge, Hold, Receipt
from openglm.maas.money.periods import moment
from openglm.maas.money.plans import bound, charge
from openglm.maas.money.prices import Price, Prices
from openglm.maas.money.subscriptions import Plans
from openglm.messages import Usage

Closed = Literal["settled", "voided", "recovered"]
USAGE_ROWS = (
    "SELECT * FROM usage_event WHERE request_id IN (:id, CAST(:id AS TEXT) || '+') AND org_id = :org_id"
    " ORDER BY created_at, request_id"
)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a request ended, for its usage row."""

    state: Closed
    status: str
    estimated: bool = False
    ttft_ms: int | None = None
    duration_ms: int | None = None


def take_hold(
    tx: Transaction, ask: Ask, price: Price | None, plans: Plans, *, node_id: str, now: int
) -> Hold:
    """Hold what the request may cost at most. `price` is None for a plan, which never reaches the wallet."""
    factor, accounts, counters = 0, "", ""
    if price is None:
        tokens = (ask.prompt_tokens, ask.output_tokens, ask.units)
        # The client's id comes first: a repeated request is a duplicate, even where the plan is used up.
        _refuse_duplicate(tx, ask)
        model = ask.base or ask.model
        grant = plans.lend(tx, ask.org_id, ask.user_id, model=model, tokens=tokens, now_ms=now)
        amount, tariff, factor = grant.amount, grant.plan.id, grant.factor_permille
        accounts = " ".join(grant.accounts)
    else:
        amount = _bound(
            price,
            ask.kind,
            ask.prompt_tokens,
            ask.output_tokens,
            units=ask.units,
            batch=ask.batch,
            images=ask.images,
        )
        tariff = price.id
        if amount:
            accounts = ledger.wallet_of(ask.org_id)
            if not ledger.set_aside(tx, accounts, amount):
                _refuse_duplicate(tx, ask)
                raise _not_covered(tx, ask.org_id, amount)
            counters = " ".join(budgets.reserve(tx, ask, amount, now))
    inserted = tx.run(
        "INSERT INTO hold (id, org_id, project_id, key_id, user_id, model, kind, dialect, endpoint,"
        " client_request_id, node_id, state, is_plan, is_batch, units, tariff, factor_permille, amount,"
        " accounts, budgets, created_at, base) VALUES (:id, :org_id, :project_id, :key_id, :user_id, :model,"
        " :kind, :dialect, :endpoint, :client_request_id, :node_id, 'open', :is_plan, :is_batch, :units,"
        " :tariff, :factor, :amount, :accounts, :budgets, :now, :base) ON CONFLICT DO NOTHING",
        id=ask.request_id,
        org_id=ask.org_id,
        project_id=ask.project_id,
        key_id=ask.key_id,
        user_id=ask.user_id,
        model=ask.model,
        kind=ask.kind,
        dialect=ask.dialect,
        endpoint=ask.endpoint,
        client_request_id=ask.client_request_id,
        node_id=node_id,
        is_plan=int(ask.plan),
        is_batch=int(ask.batch),
        units=ask.units,
        tariff=tariff,
        factor=factor,
        amount=amount,
        accounts=accounts,
        budgets=counters,
        now=now,
        base=ask.base,
    )
    if not inserted:
        _refuse_duplicate(tx, ask)
        raise AssertionError("a hold that cannot be taken has one in its way")
    return Hold(ask.request_id, ask, amount, tariff, now)


def extend_hold(
    tx: Transaction, hold: Hold, usage: Usage, more_output_tokens: int, *, prices: Prices, plans: Plans
) -> Hold:
    """Hold enough for the usage so far and `more_output_tokens` beyond; never less than before.

    It is no checkpoint: whether what was used is to be charged without a settle is for the caller to say.
    """
    row = tx.one("SELECT * FROM hold WHERE id = :id AND org_id = :org_id", id=hold.id, org_id=hold.org_id)
    if row is None:
        raise NotFound("there is no request with this id")
    if row["state"] == "recovered":
        raise Overloaded("this node was taken for dead and the request was ended", hint="send it again")
    if row["state"] != "open":
        raise Conflict(f"the request is {row['state']}; it cannot hold more")
    prompt, output = usage.prompt_tokens, usage.completion_tokens + more_output_tokens
    if row["is_plan"]:
        weights = plans.by_id(tx, row["tariff"]).weights_of(row["base"] or row["model"])
        wanted = bound(weights, prompt, output, row["units"], row["factor_permille"]) if weights else 0
    else:
        wanted = _bound(
            prices.version(tx, row["tariff"]),
            row["kind"],
            prompt,
            output,
            units=row["units"],
            batch=bool(row["is_batch"]),
            images=usage.images,
        )
    more = max(0, wanted - row["amount"])
    if more:
        for account in row["accounts"].split():
            if not ledger.set_aside(tx, account, more):
                raise _no_more(tx, row, account, more)
        budgets.reserve_more(tx, row["budgets"].split(), more)
        tx.run("UPDATE hold SET amount = amount + :more WHERE id = :id", more=more, id=hold.id)
    return replace(hold, amount=row["amount"] + more)


def close_hold(
    tx: Transaction,
    hold_id: str,
    org_id: str,
    usage: Usage | None,
    ending: Ending,
    *,
    prices: Prices,
    plans: Plans,
    now: int,
) -> Receipt | None:
    """End a hold once: move the cost, release the rest, write the usage row. `usage` None costs nothing.

    None if it has ended before, in whatever way; then nothing is changed.
    """
    row = tx.one(
        "UPDATE hold SET state = :state, closed_at = :now"
        + (", client_request_id = NULL" if usage is None else "")  # it was not answered, so it may come again
        + " WHERE id = :id AND org_id = :org_id AND state = 'open' RETURNING *",
        state=ending.state,
        now=now,
        id=hold_id,
        org_id=org_id,
    )
    if row is None:
        return None
    cost = _charge(tx, row, usage, prices, plans) if usage is not None else Charge(0, ())
    balance, debt = _move(tx, row, cost.amount, now, held=row["amount"], posting=row["id"])
    receipt = _receipt(row, usage or Usage(), cost, ending, balance=balance, debt=debt)
    _write_usage(tx, row, receipt, ending, now)
    return receipt


def charge_late(
    tx: Transaction,
    ask: Ask,
    usage: Usage,
    ending: Ending,
    *,
    node_id: str,
    prices: Prices,
    plans: Plans,
    now: int,
) -> Receipt | None:
    """Settle a hold of a node that others took for dead: what was delivered beyond the checkpoint is charged,
    in a posting of its own, and the usage row is corrected where it stands; after its month was invoiced, a
    row of its own has the difference. Nothing is held by now, so it may become a debt.

    None if there is nothing of that kind: the hold ended otherwise, or the client's id is another's by now.
    """
    row = tx.one(
        "SELECT * FROM hold WHERE id = :id AND org_id = :org_id AND state = 'recovered' AND node_id = :node",
        id=ask.request_id,
        org_id=ask.org_id,
        node=node_id,
    )
    if row is None or _is_taken(tx, ask):
        return None
    before = stored_receipt(tx, ask.request_id, ask.org_id)
    cost = _charge(tx, row, usage, prices, plans)
    more = cost.amount - (before.credits if row["is_plan"] else before.cost_nano)
    if more < 0:
        return None
    tx.run(
        "UPDATE hold SET state = 'settled', client_request_id = :name WHERE id = :id",
        id=row["id"],
        name=ask.client_request_id,
    )
    balance, debt = _move(tx, row, more, now, held=0, posting=_late(row["id"]))
    receipt = _receipt(row, usage, cost, ending, balance=balance, debt=before.debt_nano + debt)
    if _is_invoiced(tx, row):
        rest = replace(
            receipt,
            request_id=_late(row["id"]),
            usage=Usage(
                **{name: count - counts(before.usage)[name] for name, count in counts(usage).items()}
            ),
            cost_nano=receipt.cost_nano - before.cost_nano,
            credits=receipt.credits - before.credits,
            debt_nano=debt,
        )
        _write_usage(tx, dict(row) | {"units": 0}, rest, ending, now)
    else:
        tx.run("DELETE FROM usage_event WHERE request_id = :id", id=row["id"])
        _write_usage(tx, row, receipt, ending, row["closed_at"])
    return receipt


def _late(request_id: str) -> str:
    """What names the part of a request that was charged late."""
    return f"{request_id}+"


def _is_invoiced(tx: Transaction, row: Row) -> bool:
    """Whether the invoice of the month in which a hold was closed has been issued."""
    month = f"{moment(row['closed_at']):%Y-%m}"
    return bool(
        tx.one(
            "SELECT 1 AS found FROM invoice WHERE org_id = :org_id AND month = :month",
            org_id=row["org_id"],
            month=month,
        )
    )


class Unpaid(Conflict):
    """A request that has ended and was not paid for: nothing that belongs to its bill is kept."""


def refuse_unpaid(tx: Transaction, ask: Ask) -> None:
    """For what must not be there without its bill: others may have ended it, and made the request again."""
    row = tx.one("SELECT state FROM hold WHERE id = :id AND org_id = :org", id=ask.request_id, org=ask.org_id)
    if row is None or row["state"] != "settled":
        ended = row["state"] if row else "forgotten"
        raise Unpaid(f"the request {ask.request_id} was {ended} before it could be settled")


def _is_taken(tx: Transaction, ask: Ask) -> bool:
    """Whether the client's id of a request is that of another one by now."""
    return bool(
        tx.one(
            "SELECT 1 AS found FROM hold WHERE org_id = :org_id AND client_request_id = :name AND id <> :id",
            org_id=ask.org_id,
            name=ask.client_request_id,
            id=ask.request_id,
        )
    )


def stored_receipt(tx: Transaction, request_id: str, org_id: str) -> Receipt:
    return whole_receipt(tx.all(USAGE_ROWS, id=request_id, org_id=org_id))


def whole_receipt(rows: Sequence[Row]) -> Receipt:
    """Of a request's usage rows: one, or two where a part of it was charged after an invoice."""
    if not rows:
        raise NotFound("there is no request with this id")
    first, *late = map(receipt_of, rows)
    for rest in late:
        first = replace(
            rest,
            request_id=first.request_id,
            usage=first.usage + rest.usage,
            cost_nano=first.cost_nano + rest.cost_nano,
            credits=first.credits + rest.credits,
            debt_nano=first.debt_nano + rest.debt_nano,
        )
    return first


def _receipt(
    row: Row, usage: Usage, cost: Charge, ending: Ending, *, balance: int | None, debt: int
) -> Receipt:
    return Receipt(
        request_id=row["id"],
        status=ending.status,
        usage=usage,
        cost_nano=0 if row["is_plan"] else cost.amount,
        credits=cost.amount if row["is_plan"] else 0,
        price_version=row["tariff"],
        arithmetic=cost.lines,
        balance_nano=balance,
        debt_nano=debt,
        estimated=ending.estimated,
    )


def receipts(tx: Transaction, request_ids: Sequence[str]) -> list[Receipt]:
    """What these requests have cost, as far as they have ended and something came of them."""
    ids = [name for request_id in request_ids for name in (request_id, _late(request_id))]
    names = {f"r{number}": name for number, name in enumerate(ids)}
    rows = tx.all(
        "SELECT * FROM usage_event WHERE status <> 'void'"
        f" AND request_id IN ({', '.join(f':{name}' for name in names)}) ORDER BY created_at, request_id",
        **names,
    )
    return [receipt_of(row) for row in rows]


def receipt_of(row: Row) -> Receipt:
    return Receipt(
        request_id=row["request_id"],
        status=row["status"],
        usage=usage_of(row),
        cost_nano=row["cost_nano"],
        credits=row["credits"],
        price_version=row["tariff"],
        arithmetic=tuple(row["arithmetic"].splitlines()),
        balance_nano=row["balance_nano"],
        debt_nano=row["debt_nano"],
        estimated=bool(row["estimated"]),
    )


def usage_of(row: Row) -> Usage:
    return Usage(
        row["input_uncached"],
        row["cache_read"],
        row["cache_write"],
        row["output_text"],
        row["output_reasoning"],
        row["images"],
    )


def counts(usage: Usage) -> dict[str, int]:
    return {
        "input_uncached": usage.input_uncached,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write,
        "output_text": usage.output_text,
        "output_reasoning": usage.output_reasoning,
        "images": usage.images,
    }


def _bound(
    price: Price, kind: str, prompt_tokens: int, output_tokens: int, *, units: int, batch: bool, images: int
) -> int:
    if kind == TRAINING:
        return price.training_bound(prompt_tokens + output_tokens)
    return price.bound(prompt_tokens, output_tokens, units, batch=batch, images=images)


def _charge(tx: Transaction, row: Row, usage: Usage, prices: Prices, plans: Plans) -> Charge:
    """By the version that the hold was taken at, whatever has been set since."""
    if row["is_plan"]:
        weights = plans.by_id(tx, row["tariff"]).weights_of(row["base"] or row["model"])
        assert weights is not None, "the hold was taken at this version's weights"
        return charge(weights, usage, row["units"], row["factor_permille"])
    if row["kind"] == TRAINING:
        return prices.version(tx, row["tariff"]).training_charge(usage.total_tokens)
    return prices.version(tx, row["tariff"]).charge(usage, row["units"], batch=bool(row["is_batch"]))


def _move(
    tx: Transaction, row: Row, cost: int, now: int, *, held: int, posting: str
) -> tuple[int | None, int]:
    """Take the cost from every account of the hold, as far as each covers it: (wallet after, debt)."""
    org_id = row["org_id"]
    entries: dict[str, int] = {}
    balance, missing = None, 0
    for account in row["accounts"].split():
        taken, after = ledger.take(tx, account, held, cost)
        entries[account] = -taken
        missing += cost - taken
        if row["is_plan"]:
            _, subscription_id, period, _ = account.split(":")
            entries[f"used:{period}:{row['model']}"] = cost
            debtor = ledger.debt_of(subscription_id)
        else:
            balance = after
            entries[f"revenue:{row['model']}"] = cost
            debtor = ledger.debt_of(org_id)
    budgets.spend(tx, row["budgets"].split(), held, cost)
    if missing:
        entries[debtor] = -missing
        # Credits beyond a window are forgiven with it; money beyond a wallet is owed.
        if not row["is_plan"]:
            ledger.add(tx, debtor, org_id, "nano", amount=-missing, now_ms=now)
    ledger.post(tx, posting, "usage", "credit" if row["is_plan"] else "nano", org_id, entries, now)
    return balance, 0 if row["is_plan"] else missing


def _write_usage(tx: Transaction, row: Row, receipt: Receipt, ending: Ending, now: int) -> None:
    tx.run(
        "INSERT INTO usage_event (request_id, org_id, project_id, key_id, user_id, model, kind, dialect,"
        " endpoint, is_plan, is_batch, units, input_uncached, cache_read, cache_write, output_text,"
        " output_reasoning, images, cost_nano, debt_nano, credits, balance_nano, tariff, arithmetic, status,"
        " estimated, ttft_ms, duration_ms, created_at) VALUES (:request_id, :org_id, :project_id, :key_id,"
        " :user_id, :model, :kind, :dialect, :endpoint, :is_plan, :is_batch, :units, :input_uncached,"
        " :cache_read, :cache_write, :output_text, :output_reasoning, :images, :cost_nano, :debt_nano,"
        " :credits, :balance_nano, :tariff, :arithmetic, :status, :estimated, :ttft_ms, :duration_ms, :now)",
        request_id=receipt.request_id,
        org_id=row["org_id"],
        project_id=row["project_id"],
        key_id=row["key_id"],
        user_id=row["user_id"],
        model=row["model"],
        kind=row["kind"],
        dialect=row["dialect"],
        endpoint=row["endpoint"],
        is_plan=row["is_plan"],
        is_batch=row["is_batch"],
        units=row["units"],
        cost_nano=receipt.cost_nano,
        debt_nano=receipt.debt_nano,
        credits=receipt.credits,
        balance_nano=receipt.balance_nano,
        tariff=receipt.price_version,
        arithmetic="\n".join(receipt.arithmetic),
        status=receipt.status,
        estimated=int(receipt.estimated),
        ttft_ms=ending.ttft_ms,
        duration_ms=now - row["created_at"] if ending.duration_ms is None else ending.duration_ms,
        now=now,
        **counts(receipt.usage),
    )


def _refuse_duplicate(tx: Transaction, ask: Ask) -> None:
    row = tx.one(
        "SELECT state FROM hold WHERE id = :id"
        " OR (org_id = :org_id AND client_request_id = :client_request_id)",
        id=ask.request_id,
        org_id=ask.org_id,
        client_request_id=ask.client_request_id,
    )
    if row is None:
        return
    running = row["state"] == "open"
    raise DuplicateRequest(
        f"a request with the id {ask.client_request_id or ask.request_id!r}"
        f" {'is running' if running else 'was answered'}",
        running=running,
        hint="send a new request_id",
    )


def _not_covered(tx: Transaction, org_id: str, amount: int) -> PaymentRequired:
    row = tx.one("SELECT balance, held FROM account WHERE id = :id", id=ledger.wallet_of(org_id))
    free = row["balance"] - row["held"] if row else 0
    return PaymentRequired(
        f"the request may cost up to {decimal_text(amount)}, the wallet has {decimal_text(free)} free",
        hint="top up the wallet, or ask for fewer tokens",
    )


def _no_more(tx: Transaction, row: Row, account: str, more: int) -> PaymentRequired | PlanRefused:
    if not row["is_plan"]:
        return _not_covered(tx, row["org_id"], more)
    window = tx.one("SELECT period, ends_at FROM plan_window WHERE account = :account", account=account)
    assert window is not None, "a plan's account has its window"
    return PlanRefused(
        f"the {window['period']} window of the plan does not cover {more} credits more",
        reason=window["period"],
        resets_at_ms=window["ends_at"],
        hint="wait for the reset; a plan never spends the wallet",
    )
