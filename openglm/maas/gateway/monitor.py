"""The meters of the coding plan, as the official usage script reads them."""

from __future__ import annotations

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
        return await used(request, "kind <> 'tool'")

    async def tools(request: Request) -> Response:
        return await used(request, "kind = 'tool'")

    async def used(request: Request, which: str) -> Response:
        caller = await platform.caller(request, endpoint="monitor")
        start, end = _moment(request, "startTime"), _moment(request, "endTime")
        if not 0 <= end - start <= LONGEST_MS:
            raise InvalidRequest("startTime must lie before endTime, at most a year", param="startTime")
        return _answer(await usage(platform, caller, start, end, which))

    return [
        Route(f"/api/monitor/usage/{path}", wrapped(platform, ZHIPU, handler))
        for path, handler in (("quota/limit", limits), ("model-usage", models), ("tool-usage", tools))
    ]


async def usage(platform: Platform, caller: Caller, start: int, end: int, which: str) -> dict[str, Any]:
    """What the plan paid for between two moments, by hour and model, and in sum."""
    rows = await platform.database.read(
        "SELECT created_at / 3600000 AS hour, model, count(*) AS calls, sum(credits) AS credits,"
        " sum(input_uncached + cache_read + cache_write + output_text + output_reasoning) AS tokens"
        f" FROM usage_event WHERE org_id = :org AND is_plan = 1 AND status <> 'void' AND {which}"
        " AND created_at >= :start AND created_at < :end GROUP BY created_at / 3600000, model ORDER BY 1, 2",
        org=caller.org_id,
        start=start,
        end=end,
    )
    models = sorted({row["model"] for row in rows})
    hours = sorted({row["hour"] for row in rows})
    total = {name: {"calls": 0, "tokens": 0, "credits": 0} for name in models}
    for row in rows:
        for count in ("calls", "tokens", "credits"):
            total[row["model"]][count] += int(row[count])
    by_hour = {(row["hour"], row["model"]): row for row in rows}

    def series(count: str) -> list[int]:
        return [
            sum(int(by_hour[hour, name][count]) for name in models if (hour, name) in by_hour)
            for hour in hours
        ]

    return {
        "x_time": [f"{datetime.fromtimestamp(hour * 3600, BEIJING):%Y-%m-%d %H:%M}" for hour in hours],
        "modelCallCount": series("calls"),
        "tokensUsage": series("tokens"),
        "creditsUsage": series("credits"),
        "totalUsage": {
            "totalModelCallCount": sum(model["calls"] for model in total.values()),
            "totalTokensUsage": sum(model["tokens"] for model in total.values()),
            "totalCreditsUsage": sum(model["credits"] for model in total.values()),
            "modelSummaryList": [{"modelName": name, **counts} for name, counts in total.items()],
        },
    }


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
