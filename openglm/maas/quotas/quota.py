"""What is bounded, how it is counted, and the refusal.

`check` judges in the transaction that adds. That write names the holder's id as its `lock`, so that two nodes
never judge for one holder at once. The most exact limit holds: the holder's own, their tier's, that for all,
the default here; None is no bound.

What the platform makes (a batch's results, images, a training's figures and model, stored answers) is counted
and never refused: it was paid for. The request that would begin it is refused instead, so a quota is passed
by what was begun below it, and by no more. What leaves a row behind (a revoked key, an archived project, an
invitation) counts for a day after its end: who makes and ends things in a loop stops, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from openglm.errors import InvalidRequest
from openglm.maas.database import Database, Row, Transaction

GIB = 1 << 30
DAY_MS = 24 * 3600 * 1000
ALL = "*"  # as a holder: everybody
PEOPLE = "organisations"  # the quota whose holder is a person


@dataclass(frozen=True, slots=True)
class Quota:
    """`used` is SQL for one number: of :holder, of :part alone where that is named, and since :yesterday."""

    what: str  # as a refusal names it
    default: int | None
    used: str
    less: str  # what makes room


def _stored(column: str, kind: str) -> str:
    return f"SELECT {column} FROM stored WHERE org_id = :holder AND kind = '{kind}'"


def _waiting(column: str) -> str:
    return f"SELECT {column} FROM async_task WHERE org_id = :holder AND state = 'PROCESSING'"


_WAIT = "wait until some are answered"
_FILES = "delete files that are no longer needed"
_DOCUMENTS = "delete documents that are no longer needed"
_KEYS = "revoke keys; a revoked one counts for a day"
_LIVE_KEY = "org_id = :holder AND (revoked_at IS NULL OR revoked_at > :yesterday)"
QUOTAS = {
    "files": Quota("files", 50_000, _stored("number", "file"), _FILES),
    "file_bytes": Quota("bytes in files", 20 * GIB, _stored("bytes", "file"), _FILES),
    "open_batches": Quota(
        "batches that have not ended",
        100,
        "SELECT count(*) FROM batch WHERE org_id = :holder AND ended_at IS NULL",
        "wait for one to end, or cancel one",
    ),
    "waiting_tasks": Quota("asynchronous requests that wait for answers", 1_000, _waiting("count(*)"), _WAIT),
    "waiting_task_bytes": Quota(
        "bytes in asynchronous requests that wait for answers", 5 * GIB, _waiting("sum(length(body))"), _WAIT
    ),
    "open_fine_tuning_jobs": Quota(
        "fine-tuning jobs that have not ended",
        20,
        "SELECT count(*) FROM fine_tuning_job WHERE org_id = :holder AND ended_at IS NULL",
        "wait for one to end, or cancel one",
    ),
    "fine_tuned_models": Quota(
        "fine-tuned models, with the jobs that may become one",
        50,
        "SELECT (SELECT count(*) FROM model WHERE owner_org = :holder AND adapter IS NOT NULL)"
        " + (SELECT count(*) FROM fine_tuning_job WHERE org_id = :holder AND ended_at IS NULL)",
        "delete a fine-tuned model",
    ),
    "response_bytes": Quota(
        "bytes in stored responses",
        5 * GIB,
        _stored("bytes", "response"),
        "ask with store false, or delete responses; they end by themselves after 7 days",
    ),
    "knowledge_bases": Quota(
        "knowledge bases",
        1_000,
        "SELECT count(*) FROM knowledge_base WHERE org_id = :holder",
        "delete one that is no longer needed",
    ),
    "documents": Quota("documents", 10_000, _stored("number", "document"), _DOCUMENTS),
    "document_bytes": Quota("bytes in documents", 20 * GIB, _stored("bytes", "document"), _DOCUMENTS),
    "document_characters": Quota(
        "characters in documents", 100_000_000, _stored("characters", "document"), _DOCUMENTS
    ),
    "conversations": Quota(
        "conversations",
        100_000,
        "SELECT count(*) FROM chat_conversation WHERE org_id = :holder",
        "delete conversations that are no longer needed",
    ),
    "projects": Quota(
        "projects",
        100,
        "SELECT count(*) FROM project WHERE org_id = :holder"
        " AND (archived_at IS NULL OR archived_at > :yesterday)",
        "archive one; it counts for a day",
    ),
    "keys": Quota("API keys", 1_000, f"SELECT count(*) FROM api_key WHERE {_LIVE_KEY}", _KEYS),
    "project_keys": Quota(
        "API keys in one project",
        500,
        "SELECT max(live) FROM (SELECT count(*) AS live FROM api_key"
        f" WHERE {_LIVE_KEY} AND (:part = '' OR project_id = :part) GROUP BY project_id) AS of_each",
        _KEYS,
    ),
    "members": Quota(
        "members", 1_000, "SELECT count(*) FROM member WHERE org_id = :holder", "take somebody out"
    ),
    "invitations": Quota(
        "invitations that are open or were made today",
        200,
        "SELECT count(*) FROM invitation WHERE org_id = :holder AND (created_at > :yesterday"
        " OR (accepted_at IS NULL AND withdrawn_at IS NULL AND expires_at > :now))",
        "withdraw some and wait a day",
    ),
    PEOPLE: Quota(
        "organisations", 10, "SELECT count(*) FROM org WHERE founder = :holder", "use one you have"
    ),
}


class QuotaReached(InvalidRequest):
    """There is no room for more of something. Trying again cannot help; `name` is the quota's."""

    def __init__(self, name: str, *, most: int, used: int, adding: int):
        quota = QUOTAS[name]
        whose = "you" if name == PEOPLE else "your organisation"
        super().__init__(
            f"{whose} may have {most} {quota.what}, got {used} and {adding} more",
            code="quota_reached",
            hint=f"{quota.less}, or ask the operator, who can: glm admin quota set {name}",
        )
        self.name = name


@dataclass(frozen=True, slots=True)
class Standing:
    """How a holder stands to one quota. `limit` None: no bound."""

    name: str
    what: str
    used: int
    limit: int | None


def check(tx: Transaction, holder: str, now: int, *, part: str = "", **adding: int) -> None:
    """Raise QuotaReached unless all that is named fits: `files=1, file_bytes=512`."""
    for name, more in adding.items():
        rows = tx.all(_sql(name), **_values(name, holder, now, part))
        _refuse(_standing(name, holder, rows), more)


async def look(database: Database, holder: str, now: int, **adding: int) -> None:
    """As `check`, before work whose result is never refused, or whose bytes are not yet here."""
    for name, more in adding.items():
        rows = await database.read(_sql(name), **_values(name, holder, now, ""))
        _refuse(_standing(name, holder, rows), more)


async def standing(database: Database, holder: str, now: int, name: str) -> Standing:
    rows = await database.read(_sql(name), **_values(name, holder, now, ""))
    return _standing(name, holder, rows)


def _sql(name: str) -> str:
    """What is used, in a row for each limit that somebody has set for the holder, or in one."""
    return (
        f"SELECT coalesce(({QUOTAS[name].used}), 0) AS used, q.holder, q.most"
        " FROM (SELECT 1 AS one) AS always LEFT JOIN quota q ON q.name = :name"
        " AND (q.holder = :holder OR q.holder = '*' OR q.holder = (SELECT tier FROM org WHERE id = :holder))"
    )


def _values(name: str, holder: str, now: int, part: str) -> dict[str, str | int]:
    return {"name": name, "holder": holder, "part": part, "now": now, "yesterday": now - DAY_MS}


def _standing(name: str, holder: str, rows: Sequence[Row]) -> Standing:
    quota = QUOTAS[name]
    limits = sorted(
        (row for row in rows if row["holder"] is not None),
        key=lambda row: (row["holder"] != holder, row["holder"] == ALL),
    )
    return Standing(name, quota.what, int(rows[0]["used"]), limits[0]["most"] if limits else quota.default)


def _refuse(found: Standing, adding: int) -> None:
    if found.limit is not None and found.used + adding > found.limit:
        raise QuotaReached(found.name, most=found.limit, used=found.used, adding=adding)
