"""Subscriptions: who has which plan, and the windows of credits that it opens.

A window is an account of credits, so that it is held and settled exactly like a wallet. The five-hour window
opens with the first request after the one before has ended; weeks and months are counted from the start of
the subscription. Nothing here can reach a wallet, except `subscribe` for the price of the plan itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from openglm.errors import Conflict, InvalidRequest, NotFound, PaymentRequired, PlanRefused
from openglm.maas.database import Database, Row, Transaction
from openglm.maas.identity.audit import SYSTEM, Actor, note
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.money import ledger
from openglm.maas.money.amounts import decimal_text
from openglm.maas.money.periods import FIVE_HOURS_MS, cycle, milliseconds, moment, months_later
from openglm.maas.money.plans import PERIODS, SHIPPED, Plan, Weights, bound, plan_from_terms, read_plans


@dataclass(frozen=True, slots=True)
class Subscription:
    id: str
    org_id: str
    user_id: str | None  # None: every member's
    plan: str
    version: int
    starts_at_ms: int
    ends_at_ms: int


@dataclass(frozen=True, slots=True)
class Meter:
    """One window now. A window that has not opened is full, and has no reset time."""

    period: str
    limit: int
    used: int
    held: int
    resets_at_ms: int | None
    by_model: tuple[tuple[str, int], ...] = ()

    @property
    def remaining(self) -> int:
        return self.limit - self.used

    @property
    def percentage(self) -> int:
        """Whole percent used, rounded up: 100 only when nothing is left, or nearly."""
        return -(-100 * self.used // self.limit)


@dataclass(frozen=True, slots=True)
class PlanGrant:
    """What a plan lends to one request: the accounts that hold it, longest window first."""

    plan: Plan
    weights: Weights
    factor_permille: int
    amount: int
    accounts: tuple[str, ...]


class Plans:
    """Plan versions, subscriptions and meters."""

    def __init__(self, database: Database, file: Path | None = None, *, clock: Clock = wall_clock):
        """`file`: the operator's own plans, if it exists."""
        self._database = database
        self._file = file
        self._clock = clock
        self._versions: dict[tuple[str, int], Plan] = {}

    async def load(self, text: str | None = None) -> list[Plan]:
        """Store the plans of a TOML text (default: the operator's file, or else those we ship); terms that
        changed become a new version."""
        if text is None:
            text = (self._file if self._file and self._file.exists() else SHIPPED).read_text(encoding="utf-8")
        plans = read_plans(text)
        now = self._clock()

        def work(tx: Transaction) -> list[Plan]:
            stored = []
            for name, terms in plans.items():
                document = json.dumps(terms, sort_keys=True, ensure_ascii=False)
                row = tx.one(
                    "SELECT version, terms FROM plan_version WHERE plan = :plan"
                    " ORDER BY version DESC LIMIT 1",
                    plan=name,
                )
                version = row["version"] if row else 0
                if row is None or row["terms"] != document:
                    version += 1
                    tx.run(
                        "INSERT INTO plan_version (plan, version, terms, created_at)"
                        " VALUES (:plan, :version, :terms, :now)",
                        plan=name,
                        version=version,
                        terms=document,
                        now=now,
                    )
                stored.append(plan_from_terms(name, version, document))
            return stored

        return await self._database.write(work, durable=True, lock="plans")

    async def all(self) -> list[Plan]:
        """The newest version of every plan."""
        rows = await self._database.read(
            "SELECT * FROM plan_version p WHERE version ="
            " (SELECT max(version) FROM plan_version q WHERE q.plan = p.plan) ORDER BY plan"
        )
        return [plan_from_terms(row["plan"], row["version"], row["terms"]) for row in rows]

    async def subscribe(
        self,
        org_id: str,
        plan: str,
        *,
        idempotency_key: str,
        user_id: str | None = None,
        months: int = 1,
        starts_at_ms: int | None = None,
        actor: Actor = SYSTEM,
    ) -> Subscription:
        """Subscribe to the newest version. Its price, if it has one, is taken from the wallet at once."""
        if not 1 <= months <= 120:
            raise InvalidRequest(f"months must be in [1, 120], got {months}", param="months")
        now = self._clock()
        start = now if starts_at_ms is None else starts_at_ms
        end = milliseconds(months_later(moment(start), months))
        subscription_id = new_id("sub", now)

        def work(tx: Transaction) -> Subscription:
            old = tx.one(
                "SELECT * FROM subscription WHERE org_id = :org_id AND idempotency_key = :key",
                org_id=org_id,
                key=idempotency_key,
            )
            if old is not None:
                if (old["plan"], old["user_id"]) != (plan, user_id or ""):
                    raise Conflict("the idempotency key was used for another subscription")
                return _subscription(old)
            newest = tx.one("SELECT max(version) AS version FROM plan_version WHERE plan = :plan", plan=plan)
            if newest is None or newest["version"] is None:
                raise NotFound(f"there is no plan {plan!r}")
            overlapping = tx.one(
                "SELECT id FROM subscription WHERE org_id = :org_id AND user_id = :user_id"
                " AND starts_at < :end AND ends_at > :start",
                org_id=org_id,
                user_id=user_id or "",
                start=start,
                end=end,
            )
            if overlapping is not None:
                raise Conflict(
                    "there is a subscription at that time already",
                    hint="start after it ends, or end it first",
                )
            tx.run(
                "INSERT INTO subscription (id, org_id, user_id, plan, version, starts_at, ends_at,"
                " idempotency_key, created_at) VALUES (:id, :org_id, :user_id, :plan, :version, :start,"
                " :end, :key, :now)",
                id=subscription_id,
                org_id=org_id,
                user_id=user_id or "",
                plan=plan,
                version=newest["version"],
                start=start,
                end=end,
                key=idempotency_key,
                now=now,
            )
            price = self.version(tx, plan, newest["version"]).price_nano * months
            if price:
                wallet = ledger.wallet_of(org_id)
                if not ledger.withdraw(tx, wallet, price):
                    raise PaymentRequired("the wallet does not cover the plan", hint="top up the wallet")
                entries = {wallet: -price, f"revenue:plan:{plan}": price}
                ledger.post(tx, subscription_id, "plan", "nano", org_id, entries, now)
            details = {"plan": plan, "months": months, "user": user_id, "paid": decimal_text(price)}
            note(tx, now, actor, "plan.subscribe", subscription_id, org_id=org_id, details=details)
            return Subscription(subscription_id, org_id, user_id, plan, newest["version"], start, end)

        return await self._database.write(work, durable=True, lock=org_id)

    async def end(self, org_id: str, subscription_id: str, *, actor: Actor = SYSTEM) -> None:
        """End a subscription now. What is held settles; nothing new is admitted."""
        now = self._clock()

        def work(tx: Transaction) -> None:
            if not tx.run(
                "UPDATE subscription SET ends_at = :now WHERE id = :id AND org_id = :org_id"
                " AND ends_at > :now",
                id=subscription_id,
                org_id=org_id,
                now=now,
            ):
                raise NotFound("there is no running subscription with this id")
            note(tx, now, actor, "plan.end", subscription_id, org_id=org_id)

        await self._database.write(work, durable=True, lock=org_id)

    async def subscriptions(self, org_id: str) -> list[Subscription]:
        rows = await self._database.read(
            "SELECT * FROM subscription WHERE org_id = :org_id ORDER BY starts_at", org_id=org_id
        )
        return [_subscription(row) for row in rows]

    async def current(self, org_id: str, user_id: str | None) -> Subscription | None:
        """The user's own subscription, or else the organisation's."""
        row = await self._database.read_one(_CURRENT, org_id=org_id, user_id=user_id or "", now=self._clock())
        return _subscription(row) if row else None

    async def covers(self, org_id: str, user_id: str | None, model: str) -> bool:
        """Whether a subscription is running that includes the model, however much of it is used up."""
        row = await self._database.read_one(
            "SELECT s.plan AS plan, s.version AS version, p.terms AS terms"
            f" FROM ({_CURRENT}) s JOIN plan_version p ON p.plan = s.plan AND p.version = s.version",
            org_id=org_id,
            user_id=user_id or "",
            now=self._clock(),
        )
        if row is None:
            return False
        plan = self._versions.get((row["plan"], row["version"]))
        if plan is None:
            plan = plan_from_terms(row["plan"], row["version"], row["terms"])
            self._versions[row["plan"], row["version"]] = plan
        return plan.weights_of(model) is not None

    async def meters(self, org_id: str, user_id: str | None) -> list[Meter]:
        """The windows of the current subscription, shortest first; none without a subscription."""
        subscription = await self.current(org_id, user_id)
        if subscription is None:
            return []
        now = self._clock()
        terms = await self._database.read_one(
            "SELECT terms FROM plan_version WHERE plan = :plan AND version = :version",
            plan=subscription.plan,
            version=subscription.version,
        )
        assert terms is not None, "a subscription names a plan version"
        plan = plan_from_terms(subscription.plan, subscription.version, terms["terms"])
        rows = await self._database.read(_WINDOWS, id=subscription.id, now=now)
        open_now = {row["period"]: row for row in rows}
        used = await self._database.read(
            "SELECT e.account AS account, u.account AS counter, -sum(e.amount) AS credits"
            " FROM plan_window w JOIN ledger_entry e ON e.account = w.account AND e.amount < 0"
            " JOIN ledger_entry u ON u.tx = e.tx AND substr(u.account, 1, 6 + length(w.period))"
            " = 'used:' || w.period || ':'"
            " WHERE w.subscription_id = :id AND w.ends_at > :now GROUP BY e.account, u.account"
            " ORDER BY credits DESC, counter",
            id=subscription.id,
            now=now,
        )
        meters = []
        for period, limit in reversed(plan.windows):
            row = open_now.get(period)
            if row is None:
                end = None if period == "5h" else cycle(period, subscription.starts_at_ms, now)[1]
                meters.append(Meter(period, limit, 0, 0, end))
                continue
            models = tuple(
                (used_row["counter"].split(":", 2)[2], int(used_row["credits"]))
                for used_row in used
                if used_row["account"] == row["account"]
            )
            spent = row["credits"] - row["balance"]
            meters.append(Meter(period, row["credits"], spent, row["held"], row["ends_at"], models))
        return meters

    def version(self, tx: Transaction, name: str, version: int) -> Plan:
        plan = self._versions.get((name, version))
        if plan is None:
            row = tx.one(
                "SELECT terms FROM plan_version WHERE plan = :plan AND version = :version",
                plan=name,
                version=version,
            )
            if row is None:
                raise NotFound(f"there is no version {version} of the plan {name!r}")
            plan = self._versions[name, version] = plan_from_terms(name, version, row["terms"])
        return plan

    def by_id(self, tx: Transaction, plan_id: str) -> Plan:
        """`plan:lite#1`, as holds name it."""
        name, _, version = plan_id.removeprefix("plan:").rpartition("#")
        return self.version(tx, name, int(version))

    def lend(
        self,
        tx: Transaction,
        org_id: str,
        user_id: str | None,
        *,
        model: str,
        tokens: tuple[int, int, int],
        now_ms: int,
    ) -> PlanGrant:
        """Hold credits in every window, inside the hold's transaction; PlanRefused says which is used up."""
        row = tx.one(_CURRENT, org_id=org_id, user_id=user_id or "", now=now_ms)
        if row is None:
            raise _no_plan(tx, org_id, user_id, now_ms)
        plan = self.version(tx, row["plan"], row["version"])
        weights = plan.weights_of(model)
        if weights is None:
            raise PlanRefused(f"the plan {plan.title} does not include the model {model!r}", reason="model")
        factor = plan.factor_at(model, now_ms)
        amount = bound(weights, *tokens, factor)
        accounts = []
        for period, window in self._windows(tx, row, plan, now_ms):
            if not ledger.set_aside(tx, window["account"], amount):
                raise _used_up(plan, period, window["ends_at"], amount)
            accounts.append(window["account"])
        return PlanGrant(plan, weights, factor, amount, tuple(accounts))

    def _windows(self, tx: Transaction, subscription: Row, plan: Plan, now_ms: int) -> list[tuple[str, Row]]:
        found = {row["period"]: row for row in tx.all(_WINDOWS, id=subscription["id"], now=now_ms)}
        if len(found) < len(plan.windows):
            for period, credits in plan.windows:
                if period not in found:
                    _open(tx, subscription, plan, period, credits=credits, now_ms=now_ms)
            found = {row["period"]: row for row in tx.all(_WINDOWS, id=subscription["id"], now=now_ms)}
        return [(period, found[period]) for period, _ in plan.windows]


CLOCK_STEP_MS = 60_000  # by which clocks of nodes may differ, or be set back, without a second window
_CURRENT = (
    "SELECT * FROM subscription WHERE org_id = :org_id AND user_id IN (:user_id, '')"
    " AND starts_at <= :now AND ends_at > :now ORDER BY user_id DESC LIMIT 1"
)
_WINDOWS = (
    "SELECT w.period AS period, w.account AS account, w.ends_at AS ends_at, w.credits AS credits,"
    " a.balance AS balance, a.held AS held FROM plan_window w JOIN account a ON a.id = w.account"
    # A clock that was set back has left windows in the future; of the others the first to end comes last.
    f" WHERE w.subscription_id = :id AND w.ends_at > :now AND w.starts_at <= :now + {CLOCK_STEP_MS}"
    " ORDER BY w.ends_at DESC"
)


def _open(tx: Transaction, subscription: Row, plan: Plan, period: str, *, credits: int, now_ms: int) -> None:
    if period == "5h":
        start, end = now_ms, now_ms + FIVE_HOURS_MS
    else:
        start, end = cycle(period, subscription["starts_at"], now_ms)
    account = f"plan-window:{subscription['id']}:{period}:{start}"
    org_id = subscription["org_id"]
    tx.run(
        "INSERT INTO plan_window (subscription_id, period, starts_at, ends_at, credits, account)"
        " VALUES (:id, :period, :start, :end, :credits, :account)",
        id=subscription["id"],
        period=period,
        start=start,
        end=end,
        credits=credits,
        account=account,
    )
    ledger.add(tx, account, org_id, "credit", amount=credits, now_ms=now_ms)
    entries = {account: credits, f"plan-limit:{plan.name}": -credits}
    ledger.post(tx, f"open:{account}", "window", "credit", org_id, entries, now_ms)


def _no_plan(tx: Transaction, org_id: str, user_id: str | None, now_ms: int) -> PlanRefused:
    ended = tx.one(
        "SELECT max(ends_at) AS ended FROM subscription WHERE org_id = :org_id"
        " AND user_id IN (:user_id, '') AND ends_at <= :now",
        org_id=org_id,
        user_id=user_id or "",
        now=now_ms,
    )
    if ended is not None and ended["ended"] is not None:
        return PlanRefused(
            f"the subscription ended at {_utc(ended['ended'])}", reason="expired", hint="renew the plan"
        )
    return PlanRefused("there is no subscription", reason="none", hint="subscribe to a plan")


def _used_up(plan: Plan, period: str, ends_at: int, amount: int) -> PlanRefused:
    assert period in PERIODS
    words = {"5h": "5-hour", "week": "weekly", "month": "monthly"}
    return PlanRefused(
        f"the {words[period]} window of the plan {plan.title} does not cover up to {amount} credits; "
        f"it resets at {_utc(ends_at)}",
        reason=period,  # type: ignore[arg-type]
        resets_at_ms=ends_at,
        hint="wait for the reset; a plan never spends the wallet",
    )


def _utc(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _subscription(row: Row) -> Subscription:
    return Subscription(
        row["id"],
        row["org_id"],
        row["user_id"] or None,
        row["plan"],
        row["version"],
        row["starts_at"],
        row["ends_at"],
    )
