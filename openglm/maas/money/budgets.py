"""Budgets: the most that an organisation, project, key or user may spend in a window of time.

They are judged where the hold is taken, in the same transaction, for every dialect and kind of request. What
is held counts as spent until it settles, so that no race can pass a budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from openglm.errors import BudgetExhausted, InvalidRequest, NotFound
from openglm.maas.database import Database, Row, Transaction
from openglm.maas.identity.audit import SYSTEM, Actor, note
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.money.amounts import checked_amount, decimal_text
from openglm.maas.money.ask import Ask
from openglm.maas.money.periods import calendar_window

Scope = Literal["org", "project", "key", "user"]
SCOPES = ("org", "project", "key", "user")
MANY = 1_000  # budgets of one organisation
_TARGETS: dict[Scope, str] = {
    "project": "SELECT 1 FROM project WHERE org_id = :org AND id = :target",
    "key": "SELECT 1 FROM api_key WHERE org_id = :org AND id = :target",
    "user": "SELECT 1 FROM member WHERE org_id = :org AND user_id = :target",
}


@dataclass(frozen=True, slots=True)
class Budget:
    id: str
    org_id: str
    scope: str
    target_id: str
    period: str
    limit_nano: int
    spent_nano: int = 0
    held_nano: int = 0
    resets_at_ms: int | None = None


class Budgets:
    """Set, list and remove budgets."""

    def __init__(self, database: Database, *, clock: Clock = wall_clock):
        self._database = database
        self._clock = clock

    def check(self, period: str, limit_nano: int) -> None:
        """Raise if no budget can be like this."""
        checked_amount(limit_nano, param="limit", least=0)
        calendar_window(period, self._clock())

    async def set(
        self,
        org_id: str,
        scope: Scope,
        target_id: str,
        period: str,
        limit_nano: int,
        *,
        actor: Actor = SYSTEM,
    ) -> Budget:
        """Set the one budget of this target and period. What was spent in the window so far stays spent."""
        if scope not in SCOPES:
            raise InvalidRequest(f"scope must be one of {', '.join(SCOPES)}, got {scope!r}", param="scope")
        self.check(period, limit_nano)
        now = self._clock()
        budget_id = new_id("budget", now)

        def work(tx: Transaction) -> Row | None:
            _check_target(tx, org_id, scope, target_id)
            details = {"scope": scope, "period": period, "limit": decimal_text(limit_nano)}
            note(tx, now, actor, "budget.set", target_id, org_id=org_id, details=details)
            return tx.one(
                "INSERT INTO budget (id, org_id, scope, target_id, period, limit_nano, created_at)"
                " VALUES (:id, :org_id, :scope, :target_id, :period, :limit_nano, :now)"
                " ON CONFLICT (org_id, scope, target_id, period)"
                " DO UPDATE SET limit_nano = excluded.limit_nano RETURNING *",
                id=budget_id,
                org_id=org_id,
                scope=scope,
                target_id=target_id,
                period=period,
                limit_nano=limit_nano,
                now=now,
            )

        row = await self._database.write(work, durable=True, lock=org_id)
        assert row is not None, "an upsert returns its row"
        return (await self._status([row]))[0]

    async def all(self, org_id: str) -> list[Budget]:
        rows = await self._database.read(
            "SELECT * FROM budget WHERE org_id = :org_id ORDER BY id LIMIT :many", org_id=org_id, many=MANY
        )
        return await self._status(list(rows))

    async def remove(self, org_id: str, budget_id: str, *, actor: Actor = SYSTEM) -> None:
        now = self._clock()

        def work(tx: Transaction) -> None:
            row = tx.one(
                "DELETE FROM budget WHERE id = :id AND org_id = :org_id RETURNING scope, target_id, period",
                id=budget_id,
                org_id=org_id,
            )
            if row is None:
                raise NotFound("there is no budget with this id")
            note(tx, now, actor, "budget.remove", budget_id, org_id=org_id, details=dict(row))

        await self._database.write(work, durable=True, lock=org_id)

    async def _status(self, rows: list[Row]) -> list[Budget]:
        now = self._clock()
        found = []
        for row in rows:
            start, end = calendar_window(row["period"], now)
            counter = await self._database.read_one(
                "SELECT spent, held FROM budget_counter WHERE budget_id = :id AND starts_at = :start",
                id=row["id"],
                start=start,
            )
            spent, held = (counter["spent"], counter["held"]) if counter else (0, 0)
            found.append(
                Budget(
                    row["id"],
                    row["org_id"],
                    row["scope"],
                    row["target_id"],
                    row["period"],
                    row["limit_nano"],
                    spent,
                    held,
                    end,
                )
            )
        return found


def _check_target(tx: Transaction, org_id: str, scope: Scope, target_id: str) -> None:
    """A budget on nothing would limit nothing, and nobody would see it."""
    if scope == "org":
        if target_id != org_id:
            raise InvalidRequest("the target of an org budget is the org itself", param="target_id")
        return
    if not tx.one(_TARGETS[scope], org=org_id, target=target_id):
        what = {"project": "project", "key": "API key", "user": "member"}[scope]
        raise NotFound(f"no {what} {target_id[:80]!r} here")


def reserve(tx: Transaction, ask: Ask, amount: int, now_ms: int) -> list[str]:
    """Hold the amount in every budget that covers the request: `ID:WINDOW` of each. BudgetExhausted if one
    does not."""
    rows = tx.all(
        "SELECT id, scope, period, limit_nano FROM budget WHERE org_id = :org_id AND ("
        "(scope = 'org' AND target_id = :org_id) OR (scope = 'project' AND target_id = :project_id)"
        " OR (scope = 'key' AND target_id = :key_id) OR (scope = 'user' AND target_id = :user_id))"
        " ORDER BY id",
        org_id=ask.org_id,
        project_id=ask.project_id,
        key_id=ask.key_id,
        user_id=ask.user_id or "",
    )
    counters = []
    for row in rows:
        start, end = calendar_window(row["period"], now_ms)
        held = _reserve(tx, row["id"], start, amount, row["limit_nano"])
        if not held:
            tx.run(
                "INSERT INTO budget_counter (budget_id, starts_at) VALUES (:id, :start)"
                " ON CONFLICT DO NOTHING",
                id=row["id"],
                start=start,
            )
            held = _reserve(tx, row["id"], start, amount, row["limit_nano"])
        if not held:
            raise exhausted(row["scope"], row["period"], row["limit_nano"], end)
        counters.append(f"{row['id']}:{start}")
    return counters


def reserve_more(tx: Transaction, counters: list[str], amount: int) -> None:
    """Raise what is held in budgets that a hold names already."""
    for counter in counters:
        budget_id, start = _parts(counter)
        row = tx.one("SELECT scope, period, limit_nano FROM budget WHERE id = :id", id=budget_id)
        limit = row["limit_nano"] if row else None  # None: removed since, so it limits nothing
        if not _reserve(tx, budget_id, start, amount, limit) and row:
            raise exhausted(
                row["scope"], row["period"], row["limit_nano"], calendar_window(row["period"], start)[1]
            )


def spend(tx: Transaction, counters: list[str], held: int, cost: int) -> None:
    """Release a hold and count what was spent, in the window the hold was taken in."""
    for counter in counters:
        budget_id, start = _parts(counter)
        tx.run(
            "UPDATE budget_counter SET spent = spent + :cost, held = held - :held"
            " WHERE budget_id = :id AND starts_at = :start",
            id=budget_id,
            start=start,
            held=held,
            cost=cost,
        )


def exhausted(scope: str, period: str, limit_nano: int, resets_at_ms: int | None) -> BudgetExhausted:
    return BudgetExhausted(
        f"the {period} budget of the {scope}, {decimal_text(limit_nano)}, does not cover this request",
        resets_at_ms=resets_at_ms,
        hint="wait for its reset, or ask who set it to raise it",
    )


def _reserve(tx: Transaction, budget_id: str, start: int, amount: int, limit_nano: int | None) -> bool:
    guard = "" if limit_nano is None else " AND spent + held + :amount <= :limit_nano"
    return (
        tx.run(
            "UPDATE budget_counter SET held = held + :amount"
            f" WHERE budget_id = :id AND starts_at = :start{guard}",
            id=budget_id,
            start=start,
            amount=amount,
            limit_nano=limit_nano,
        )
        == 1
    )


def _parts(counter: str) -> tuple[str, int]:
    budget_id, _, start = counter.rpartition(":")
    return budget_id, int(start)
