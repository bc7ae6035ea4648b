"""The audit log: who did what to whom, from where. Rows are added in the transaction of what they tell of.

The database itself refuses to change or delete a row. Details hold ids, names and roles, never a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from openglm.errors import InvalidRequest
from openglm.logs import redact
from openglm.maas.database import Database, Row, Transaction
from openglm.maas.ids import new_id

MAX_PAGE = 200


@dataclass(frozen=True, slots=True)
class Actor:
    """Whose deed it is. Without a user it is the platform's own, or the operator's at the machine."""

    user_id: str | None = None
    ip: str | None = None


SYSTEM = Actor()


@dataclass(frozen=True, slots=True)
class AuditRow:
    id: str
    org_id: str | None
    actor_id: str | None
    action: str
    target: str
    details: dict[str, Any]
    ip: str | None
    at: int


@dataclass(frozen=True, slots=True)
class AuditPage:
    rows: tuple[AuditRow, ...]  # newest first
    next: str | None  # give it as `after` for older rows


def note(
    tx: Transaction,
    now: int,
    actor: Actor,
    action: str,
    target: str,
    *,
    org_id: str | None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Add one row inside a transaction. Text that looks like a secret is masked even here."""
    tx.run(
        "INSERT INTO audit_log (id, org_id, actor_id, action, target, details, ip, at)"
        " VALUES (:id, :org, :actor, :action, :target, :details, :ip, :at)",
        id=new_id("aud", now),
        org=org_id,
        actor=actor.user_id,
        action=action,
        target=redact(target),
        details=redact(msgspec.json.encode(dict(details or {})).decode()),
        ip=actor.ip,
        at=now,
    )


class Audit:
    """Read rows page by page. Who does something notes it."""

    def __init__(self, database: Database):
        self._database = database

    async def page(self, org_id: str, *, after: str | None = None, limit: int = 50) -> AuditPage:
        """One organisation's rows."""
        return await self._page("org_id = :org AND ", after, limit, org=org_id)

    async def page_of_platform(self, *, after: str | None = None, limit: int = 50) -> AuditPage:
        """Everybody's rows: for the platform's operators only."""
        return await self._page("", after, limit)

    async def _page(self, where: str, after: str | None, limit: int, **values: Any) -> AuditPage:
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidRequest(f"limit must be from 1 to {MAX_PAGE}, got {limit}", param="limit")
        rows = await self._database.read(
            f"SELECT * FROM audit_log WHERE {where}id < :after ORDER BY id DESC LIMIT :count",
            after=after or "~",
            count=limit + 1,
            **values,
        )
        found = tuple(_row(row) for row in rows[:limit])
        return AuditPage(found, found[-1].id if len(rows) > limit else None)


def _row(row: Row) -> AuditRow:
    values = {name: row[name] for name in ("id", "org_id", "actor_id", "action", "target", "ip", "at")}
    return AuditRow(**values, details=msgspec.json.decode(row["details"]))
