"""The plan's meters as the official usage script and status lines ask for them and read the answers."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from urllib.parse import quote

import httpx
import pytest

from openglm.dialects.zhipu.errors import BEIJING
from openglm.maas.money import Prices
from openglm.maas.search import Document
from tests.maas.gateway.conftest import YUAN, House

CODING = "/api/coding/paas/v4/chat/completions"


def script(**words) -> dict:
    return {"model": "glm", "messages": [{"role": "user", "content": json.dumps(words)}]}


def ask(house: House, path: str, query: str = "", key: str | None = None) -> httpx.Response:
    """As the script asks: the key alone, no Bearer, and a content type though there is no content."""
    headers = {
        "Authorization": house.key if key is None else key,
        "Accept-Language": "en-US,en",
        "Content-Type": "application/json",
    }
    return httpx.get(f"{house.url}/api/monitor/usage/{path}{query}", headers=headers)


def window() -> str:
    """From this hour of yesterday to the end of this hour, encoded as encodeURIComponent does."""
    now = datetime.now(BEIJING).replace(minute=0, second=0)
    moments = (now - timedelta(days=1), now.replace(minute=59, second=59))
    start, end = (quote(f"{moment:%Y-%m-%d %H:%M:%S}", safe="!~*'()") for moment in moments)
    return f"?startTime={start}&endTime={end}"


@pytest.fixture
def used(house: House, wait_until) -> House:
    """A plan that paid for one chat and one search within it."""

    async def furnish() -> None:
        await house.platform.plans.subscribe(house.org_id, "pro", idempotency_key="one")
        await Prices(house.platform.database).set("search_std", per_call_nano=YUAN)
        await house.platform.search.add([Document("https://a.example", "Tides", "The moon makes tides.")])

    asyncio.run(furnish())
    tool = {"type": "web_search", "web_search": {"enable": True, "search_query": "tides"}}
    answer = house.post(CODING, {**script(tokens=10, prompt=20), "tools": [tool]})
    assert answer.status_code == 200, answer.text
    house.settled(wait_until)
    assert house.balance() == 10 * YUAN
    return house


def test_the_usage_of_models_has_hours_sums_and_a_list_by_model(used: House):
    answer = ask(used, "model-usage", window())
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert [len(data[name]) for name in ("x_time", "modelCallCount", "tokensUsage")] == [1, 1, 1]
    assert datetime.strptime(data["x_time"][0], "%Y-%m-%d %H:%M")
    total = data["totalUsage"]
    assert (total["totalModelCallCount"], total["totalTokensUsage"]) == (1, 30)
    (model,) = total["modelSummaryList"]
    assert (model["modelName"], model["totalTokens"], model["sortOrder"]) == ("glm", 30, 1)
    assert data["modelDataList"][0]["tokensUsage"] == [30]


def test_the_usage_of_tools_counts_searches_and_pages_read(used: House):
    data = ask(used, "tool-usage", window()).json()["data"]
    total = data["totalUsage"]
    names = ("totalNetworkSearchCount", "totalWebReadMcpCount", "totalZreadMcpCount", "totalSearchMcpCount")
    assert [total[name] for name in names] == [1, 0, 0, 0]
    assert data["networkSearchCount"] == [1]
    assert total["toolDetails"] == [{"modelName": "search_std", "totalUsageCount": 1}]


def test_the_limits_come_shortest_first_as_the_script_and_status_lines_read_them(used: House):
    answer = ask(used, "quota/limit").json()
    assert (answer["success"], answer["code"], answer["data"]["level"]) == (True, 200, "pro")
    limits = answer["data"]["limits"]
    first = next(limit for limit in limits if limit["type"] == "TOKENS_LIMIT")  # what a status line shows
    assert (first["unit"], first["number"]) == (3, 5)
    assert first["usageDetails"] == [
        {"modelCode": "search_std", "usage": 2000},
        {"modelCode": "glm", "usage": 50},
    ]
    assert (first["currentValue"], first["usage"]) == (2050, 30_000_000)
    assert first["remaining"] == first["usage"] - first["currentValue"]
    assert first["percentage"] == 1
    assert 0 < first["nextResetTime"] - used.platform.clock() <= 5 * 3_600_000
    kinds = [(limit["type"], limit["unit"]) for limit in limits]
    assert kinds == [(kind, unit) for unit in (3, 6, 5) for kind in ("TOKENS_LIMIT", "CREDIT_LIMIT")]


def test_without_a_plan_there_are_no_limits_and_nothing_was_used(house: House):
    answer = ask(house, "quota/limit").json()
    assert (answer["success"], answer["data"]) == (True, {"level": "none", "limits": []})
    data = ask(house, "model-usage", window()).json()["data"]
    assert (data["x_time"], data["totalUsage"]["totalTokensUsage"]) == ([], 0)


def test_a_wrong_key_and_a_wrong_time_are_told_with_a_status_that_the_script_prints(house: House):
    refused = ask(house, "quota/limit", key="nonsense")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "1002")
    backwards = "?startTime=2026-01-02%2000:00:00&endTime=2026-01-01%2000:00:00"
    for query in ("", "?startTime=yesterday", window() + "x", backwards):
        told = ask(house, "tool-usage", query)
        assert (told.status_code, told.json()["error"]["code"]) == (400, "1210")
