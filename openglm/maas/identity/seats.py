"""The caller that somebody signed in is: what people do in a browser is metered and limited as their own.

There is no key behind it. Whoever may hold a key of their own in an organisation may also call its models so.
"""

from __future__ import annotations

from openglm.errors import Forbidden, NotFound, Unauthorized
from openglm.maas.database import Database
from openglm.maas.identity.caller import Caller
from openglm.maas.identity.roles import as_role, require

SEAT = "key_browser"  # what stands for the key in usage and limits


async def seated(database: Database, user_id: str, org_id: str | None = None) -> Caller:
    """In that organisation, else in the first one that they belong to."""
    row = await database.read_one(
        _SEAT + (" AND m.org_id = :org" if org_id else "") + _FIRST, **_ids(user_id, org_id)
    )
    if row is None:
        raise NotFound(f"no organisation {(org_id or '')[:80]!r} here")
    require(as_role(row["role"]), "keys.own")
    if row["disabled_at"] is not None:
        raise Forbidden("this organisation is switched off", hint="ask the platform's operator")
    if row["project_id"] is None:
        raise Forbidden("this organisation has no project", hint="make one in the console")
    return Caller(
        row["org_id"],
        row["project_id"],
        SEAT,
        user_id,
        row["tier"],
        body_days=row["body_days"],
    )


async def still_seated(database: Database, caller: Caller) -> Caller:
    """As they stand now; Unauthorized once they have left, or their organisation has ended."""
    try:
        return await seated(database, caller.user_id or "", caller.org_id)
    except (NotFound, Forbidden) as error:
        raise Unauthorized(error.message, reason="rejected") from error


def _ids(user_id: str, org_id: str | None) -> dict[str, str]:
    return {"user": user_id, **({"org": org_id} if org_id else {})}


_SEAT = """
SELECT m.org_id, m.role, o.tier, o.disabled_at, p.id AS project_id, p.body_days
FROM member m
JOIN app_user u ON u.id = m.user_id AND u.disabled_at IS NULL
JOIN org o ON o.id = m.org_id
LEFT JOIN project p ON p.id =
    (SELECT min(f.id) FROM project f WHERE f.org_id = m.org_id AND f.archived_at IS NULL)
WHERE m.user_id = :user"""
_FIRST = " ORDER BY m.org_id LIMIT 1"
