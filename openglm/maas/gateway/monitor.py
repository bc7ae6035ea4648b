"""The meters of the coding plan, as the official usage script reads them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute, Route

from openglm.dialects.zhipu.errors import BEIJING
from openglm.errors import InvalidRequest
from openglm.maas.gateway.endpoint import json_response, wrapped
from openglm.maas.gateway.surfaces import ZHIPU

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from openglm.maas.database import Row
    from openglm.maas.identity import Caller
    from openglm.maas.money.subscriptions import Meter
    from openglm.maas.platform import Platform

UNITS = {"5h": (3, 5), "week": (6, 1), "month": (5, 1)}  # the wire's unit, and how many of it
LONGEST_MS = 366 * 86_400_000


def routes(platform: Platform) -> list[BaseRoute]:
    async def limits(request: Request) -> Response:
        caller = await platform.caller(request, endpoint="monitor")
        subscription = await platform.plans.current(caller.org_id, caller.user_id)
        meters = await platform.plans.meters(caller.org_id, caller.user_id)
        return _answer(
            {
                "level": subscription.plan if subscription else "none",
                "limits": [limit for meter in meters for limit in _limits(meter)],
            }
        )

    async def models(request: Request) -> Response:
        return _answer(models_used(await used(request, "kind <> 'tool'")))

    async def tools(request: Request) -> Response:
        return _answer(tools_used(await used(request, "kind = 'tool'")))

    async def used(request: Request, which: str) -> Sequence[Row]:
        caller = await platform.caller(request, endpoint="monitor")
        start, end = _moment(request, "startTime"), _moment(request, "endTime")
        if not 0 <= end - start <= LONGEST_MS:
            raise InvalidRequest("startTime must lie before endTime, at most a year", param="startTime")
        return await plan_usage(platform, caller, start, end, which)

    return [
        Route(f"/api/monitor/usage/{path}", wrapped(platform, ZHIPU, handler))
        for path, handler in (("quota/limit", limits), ("model-usage", models), ("tool-usage", tools))
    ]


async def plan_usage(platform: Platform, caller: Caller, start: int, end: int, which: str) -> Sequence[Row]:
    """What the plan paid for between two moments, by hour and model."""
    return await platform.database.read(
        "SELECT created_at / 3600000 AS hour, model, count(*) AS calls, sum(credits) AS credits,"
        " sum(input_uncached + cache_read + cache_write + output_text + output_reasoning) AS tokens"
        f" FROM usage_event WHERE org_id = :org AND is_plan = 1 AND status <> 'void' AND {which}"
        " AND created_at >= :start AND created_at < :end GROUP BY created_at / 3600000, model ORDER BY 1, 2",
        org=caller.org_id,
        start=start,
        end=end,
    )


def models_used(rows: Sequence[Row]) -> dict[str, Any]:
    """Calls and tokens by the hour, in sum, and by model, the most used first."""
    names = _by_size(rows, "tokens")
    summary = [
        {
            "modelName": name,
            "totalTokens": _sum(rows, "tokens", name),
            "calls": _sum(rows, "calls", name),
            "credits": _sum(rows, "credits", name),
            "sortOrder": place,
        }
        for place, name in enumerate(names, 1)
    ]
    return {
        "x_time": _hours(rows),
        "modelCallCount": _series(rows, "calls", names),
        "tokensUsage": _series(rows, "tokens", names),
        "creditsUsage": _series(rows, "credits", names),
        "totalUsage": {
            "totalModelCallCount": _sum(rows, "calls"),
            "totalTokensUsage": _sum(rows, "tokens"),
            "totalCreditsUsage": _sum(rows, "credits"),
            "modelSummaryList": summary,
        },
        "modelDataList": [
            {**one, "tokensUsage": _series(rows, "tokens", [name])}
            for name, one in zip(names, summary, strict=True)
        ],
        "modelSummaryList": summary,
        "granularity": "hourly",
    }


def tools_used(rows: Sequence[Row]) -> dict[str, Any]:
    """Calls of tools by the hour and in sum. There is no zread here, and no search apart from the web's."""
    names = _by_size(rows, "calls")
    readers = [name for name in names if name == "reader"]
    searches = [name for name in names if name != "reader"]
    summary = [
        {
            "toolCode": name,
            "toolName": name,
            "totalUsageCount": _sum(rows, "calls", name),
            "credits": _sum(rows, "credits", name),
            "sortOrder": place,
        }
        for place, name in enumerate(names, 1)
    ]
    return {
        "x_time": _hours(rows),
        "networkSearchCount": _series(rows, "calls", searches),
        "webReadMcpCount": _series(rows, "calls", readers),
        "zreadMcpCount": _series(rows, "calls", []),
        "totalUsage": {
            "totalNetworkSearchCount": sum(_sum(rows, "calls", name) for name in searches),
            "totalWebReadMcpCount": sum(_sum(rows, "calls", name) for name in readers),
            "totalZreadMcpCount": 0,
            "totalSearchMcpCount": 0,
            "totalCreditsUsage": _sum(rows, "credits"),
            "toolDetails": [
                {"modelName": one["toolCode"], "totalUsageCount": one["totalUsageCount"]} for one in summary
            ],
            "toolSummaryList": summary,
        },
        "granularity": "hourly",
    }


def _by_size(rows: Sequence[Row], count: str) -> list[str]:
    return sorted({row["model"] for row in rows}, key=lambda name: (-_sum(rows, count, name), name))


def _sum(rows: Sequence[Row], count: str, name: str | None = None) -> int:
    return sum(int(row[count]) for row in rows if name is None or row["model"] == name)


def _hours(rows: Sequence[Row]) -> list[str]:
    """The hours in which anything was used, as clocks in Beijing show them."""
    hours = sorted({row["hour"] for row in rows})
    return [f"{datetime.fromtimestamp(hour * 3600, BEIJING):%Y-%m-%d %H:%M}" for hour in hours]


def _series(rows: Sequence[Row], count: str, names: Sequence[str]) -> list[int]:
    """A number for each of these hours."""
    counted = dict.fromkeys(sorted({row["hour"] for row in rows}), 0)
    for row in rows:
        if row["model"] in names:
            counted[row["hour"]] += int(row[count])
    return list(counted.values())


def _limits(meter: Meter) -> list[dict[str, Any]]:
    """One window under both names that clients look for."""
    unit, number = UNITS[meter.period]
    limit = {
        "unit": unit,
        "number": number,
        "percentage": meter.percentage,
        "usage": meter.limit,
        "currentValue": meter.used,
        "remaining": max(0, meter.remaining),
        "nextResetTime": meter.resets_at_ms,
        "usageDetails": [{"modelCode": model, "usage": credits} for model, credits in meter.by_model],
    }
    return [{"type": kind, **limit} for kind in ("TOKENS_LIMIT", "CREDIT_LIMIT")]


def _moment(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    try:
        moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=BEIJING)
    except ValueError:
        raise InvalidRequest(
            f"{name} must look like 2026-01-31 09:00:00, got {text[:40]!r}", param=name
        ) from None
    return int(moment.timestamp() * 1000)


def _answer(data: dict[str, Any]) -> Response:
    return json_response({"code": 200, "msg": "Operation successful", "data": data, "success": True})
