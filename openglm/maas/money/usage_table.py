"""What was used: rows, sums by model, and CSV. One row for each request that ended, however it ended.

Sums leave out what was void: a request that was refused, or got nothing, is nobody's request.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from openglm.errors import InvalidRequest
from openglm.maas.database import Database
from openglm.maas.money.amounts import decimal_text
from openglm.maas.money.periods import moment

PAGE = 1_000
COLUMNS = (
    "created_at", "request_id", "project_id", "key_id", "user_id", "model", "kind", "dialect", "endpoint",
    "status", "estimated", "is_plan", "is_batch", "units", "input_uncached", "cache_read", "cache_write",
    "output_text", "output_reasoning", "images", "cost_nano", "debt_nano", "credits", "tariff", "ttft_ms",
    "duration_ms",
)  # fmt: skip
_SUMS = (
    "requests", "units", "input_uncached", "cache_read", "cache_write", "output", "cost_nano", "credits",
    "images",
)  # fmt: skip
GROUPS = {
    "day": "created_at - created_at % 86400000",
    "model": "model",
    "project": "project_id",
    "key": "key_id",
    "user": "user_id",
    "kind": "kind",
}
MOST_GROUPS = 10_000
ONLY = ("request_id", "model", "project_id", "key_id", "user_id", "kind")  # what a page may be limited to
_FIRST_OF_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """Sums of one model, kind, and way to pay."""

    model: str
    kind: str
    is_plan: bool
    is_batch: bool
    requests: int
    units: int
    input_uncached: int
    cache_read: int
    cache_write: int
    output: int
    cost_nano: int
    credits: int
    images: int = 0  # invoices from before there were any do not name them


async def usage_rows(
    database: Database,
    org_id: str,
    *,
    start_ms: int = 0,
    end_ms: int = 2**62,
    after: tuple[int, str] | None = None,
    newest: bool = False,
    only: Mapping[str, str] | None = None,
    limit: int = PAGE,
) -> list[dict[str, Any]]:
    """Rows in order of time, or newest first; the last row's (created_at, request_id) is where the next page
    goes on. `only` names values of the columns ONLY."""
    wanted = dict(only or {})
    assert wanted.keys() <= set(ONLY), wanted
    sign, turn = ("<", " DESC") if newest else (">", "")
    at, last_id = after or ((2**62, "") if newest else (-1, ""))
    limits = "".join(f" AND {name} = :only_{name}" for name in wanted)
    rows = await database.read(
        f"SELECT {', '.join(COLUMNS)}, arithmetic, balance_nano FROM usage_event WHERE org_id = :org_id"
        f" AND created_at >= :start AND created_at < :end AND created_at {sign}= :at"
        f" AND (created_at {sign} :at OR request_id {sign} :id){limits}"
        f" ORDER BY created_at{turn}, request_id{turn} LIMIT :limit",
        org_id=org_id,
        start=start_ms,
        end=end_ms,
        at=at,
        id=last_id,
        limit=limit,
        **{f"only_{name}": value for name, value in wanted.items()},
    )
    return [{name: row[name] for name in (*COLUMNS, "arithmetic", "balance_nano")} for row in rows]


async def usage_by_model(
    database: Database, org_id: str, *, start_ms: int = 0, end_ms: int = 2**62, user_id: str | None = None
) -> list[ModelUsage]:
    mine = "" if user_id is None else " AND user_id = :user_id"
    rows = await database.read(
        "SELECT model, kind, is_plan, is_batch, count(*) AS requests, sum(units) AS units,"
        " sum(input_uncached) AS input_uncached, sum(cache_read) AS cache_read,"
        " sum(cache_write) AS cache_write, sum(output_text + output_reasoning) AS output,"
        " sum(cost_nano) AS cost_nano, sum(credits) AS credits, sum(images) AS images FROM usage_event"
        f" WHERE org_id = :org_id AND created_at >= :start AND created_at < :end AND status <> 'void'{mine}"
        " GROUP BY model, kind, is_plan, is_batch ORDER BY model, kind, is_plan, is_batch",
        org_id=org_id,
        start=start_ms,
        end=end_ms,
        user_id=user_id,
    )
    return [
        ModelUsage(
            row["model"],
            row["kind"],
            bool(row["is_plan"]),
            bool(row["is_batch"]),
            *(int(row[name]) for name in _SUMS),
        )
        for row in rows
    ]


async def usage_sums(
    database: Database, org_id: str, by: tuple[str, ...], *, start_ms: int = 0, end_ms: int = 2**62
) -> list[tuple[dict[str, Any], dict[str, int]]]:
    """Sums of each group, largest cost first within a day. `by` is of GROUPS; a day is its first ms UTC."""
    wrong = [word for word in by if word not in GROUPS]
    if wrong or not by:
        raise InvalidRequest(f"by must be of {', '.join(GROUPS)}, got {', '.join(by)!r}", param="by")
    columns = ", ".join(GROUPS[word] for word in by)
    named = ", ".join(f"{GROUPS[word]} AS group_{word}" for word in by)
    first = "group_day, " if "day" in by else ""
    rows = await database.read(
        f"SELECT {named}, count(*) AS requests, sum(units) AS units, sum(input_uncached) AS input_uncached,"
        " sum(cache_read) AS cache_read, sum(cache_write) AS cache_write,"
        " sum(output_text + output_reasoning) AS output, sum(cost_nano) AS cost_nano,"
        " sum(credits) AS credits, sum(images) AS images FROM usage_event"
        " WHERE org_id = :org_id AND created_at >= :start AND created_at < :end AND status <> 'void'"
        f" GROUP BY {columns} ORDER BY {first}cost_nano DESC, requests DESC LIMIT :most",
        org_id=org_id,
        start=start_ms,
        end=end_ms,
        most=MOST_GROUPS,
    )
    return [
        ({word: row[f"group_{word}"] for word in by}, {name: int(row[name]) for name in _SUMS})
        for row in rows
    ]


async def usage_csv(
    database: Database, org_id: str, *, start_ms: int = 0, end_ms: int = 2**62
) -> AsyncIterator[str]:
    """The rows as CSV, a page at a time, with the cost in the currency as a last column."""
    yield csv_line([*COLUMNS, "cost"])
    after = None
    while True:
        rows = await usage_rows(database, org_id, start_ms=start_ms, end_ms=end_ms, after=after)
        if rows:
            yield "".join(
                csv_line(
                    [
                        moment(row["created_at"]).isoformat(timespec="milliseconds"),
                        *(row[name] for name in COLUMNS[1:]),
                        decimal_text(row["cost_nano"]),
                    ]
                )
                for row in rows
            )
        if len(rows) < PAGE:
            return
        after = (rows[-1]["created_at"], rows[-1]["request_id"])


def csv_line(cells: list[Any]) -> str:
    """One line. Text that a spreadsheet would run as a formula is quoted with an apostrophe."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(
        f"'{cell}" if isinstance(cell, str) and cell.startswith(_FIRST_OF_FORMULA) else cell for cell in cells
    )
    return out.getvalue()
