"""R7 and R13: one budget for every path; clocks that jump and keys that end while an answer runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from openglm.asgi import Running
from openglm.maas.gateway import create_app
from openglm.maas.ids import wall_clock
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from openglm.maas.upstreams import Channel
from tests.maas.fake_upstream import FakeUpstream
from tests.maas.gateway.conftest import House
from tests.maas.money.conftest import audited
from tests.maas.reliability.conftest import script

TURN = [{"role": "user", "content": script(tokens=3)}]
Path = Callable[[House, Callable], str]  # the error's text, or "" if it went well


def post(path: str, body: dict) -> Path:
    def ask(house: House, wait_until: Callable) -> str:
        answer = house.post(path, body)
        return "" if answer.status_code == 200 else f"{answer.status_code} {answer.text}"

    return ask


def task(house: House, wait_until: Callable) -> str:
    answer = house.post("/api/paas/v4/async/chat/completions", {"model": "glm", "messages": TURN})
    headers = {"authorization": f"Bearer {house.key}"}
    if answer.status_code != 200:
        return f"{answer.status_code} {answer.text}"
    found: dict = {}

    def done() -> bool:
        found.update(
            httpx.get(f"{house.url}/api/paas/v4/async-result/{answer.json()['id']}", headers=headers).json()
        )
        return found["task_status"] != "PROCESSING"

    wait_until(done)
    return "" if found["task_status"] == "SUCCESS" else json.dumps(found)


def batch(house: House, wait_until: Callable) -> str:
    headers = {"authorization": f"Bearer {house.key}"}
    row = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
    row["body"] = {"model": "glm", "messages": TURN}
    file = httpx.post(
        f"{house.url}/v1/files",
        data={"purpose": "batch"},
        files={"file": ("rows.jsonl", json.dumps(row).encode())},
        headers=headers,
    ).json()
    made = house.post(
        "/v1/batches",
        {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"},
    ).json()
    found: dict = {}

    def done() -> bool:
        found.update(httpx.get(f"{house.url}/v1/batches/{made['id']}", headers=headers).json())
        return found["status"] in ("completed", "failed")

    wait_until(done)
    if found.get("error_file_id"):
        return httpx.get(f"{house.url}/v1/files/{found['error_file_id']}/content", headers=headers).text
    return "" if found["request_counts"]["completed"] == 1 else json.dumps(found)


PATHS: dict[str, Path] = {
    "chat": post("/v1/chat/completions", {"model": "glm", "messages": TURN}),
    "stream": post("/v1/chat/completions", {"model": "glm", "messages": TURN, "stream": True}),
    "completions": post("/v1/completions", {"model": "glm", "prompt": script(tokens=3)}),
    "responses": post("/v1/responses", {"model": "glm", "input": "hello"}),
    "messages": post("/v1/messages", {"model": "glm", "messages": TURN, "max_tokens": 9}),
    "zhipu": post("/api/paas/v4/chat/completions", {"model": "glm", "messages": TURN}),
    "embeddings": post("/v1/embeddings", {"model": "glm", "input": "hello"}),
    "search": post("/api/paas/v4/web_search", {"search_engine": "search_std", "search_query": "glm"}),
    "tool": post(
        "/api/paas/v4/chat/completions",
        {
            "model": "glm",
            "messages": TURN,
            "tools": [{"type": "web_search", "web_search": {"enable": True, "search_query": "glm"}}],
        },
    ),
    "task": task,
    "batch": batch,
}


@pytest.mark.parametrize("name", PATHS)
def test_a_budget_stops_every_path_before_anything_is_asked_or_charged(house, wait_until, name):
    """R7: with a budget of next to nothing each path is refused; without it the same request goes through."""
    platform = house.platform
    asyncio.run(platform.prices.set_per_million("*", uncached="1", output="1", per_call="0.01"))
    asyncio.run(platform.prices.set("search_std", per_call_nano=10_000_000))  # free, until it is priced
    budget = asyncio.run(platform.budgets.set(house.org_id, "org", house.org_id, "total", 1))
    refused = PATHS[name](house, wait_until)
    assert "budget" in refused, refused
    house.settled(wait_until)
    assert house.balance() == 10 * 10**9
    assert house.upstream.bodies == []
    asyncio.run(platform.budgets.remove(house.org_id, budget.id))
    assert PATHS[name](house, wait_until) == ""
    house.settled(wait_until)
    assert house.balance() < 10 * 10**9


def test_a_key_that_is_revoked_while_an_answer_runs_ends_with_that_answer(house, wait_until):
    """R13: what was begun is finished and paid; the next request is refused."""
    key_id = house.key.partition(".")[0]
    body = {"model": "glm", "stream": True}
    body["messages"] = [{"role": "user", "content": script(tokens=60, pace_s=0.005)}]
    headers = {"authorization": f"Bearer {house.key}"}
    with (
        httpx.Client(timeout=60) as client,
        client.stream("POST", f"{house.url}/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        asyncio.run(house.platform.keys.revoke(house.org_id, key_id))
        assert "data: [DONE]" in list(lines)
    house.settled(wait_until)
    assert house.usage()[0]["output_text"] == 60
    assert house.post("/v1/chat/completions", body).status_code == 401


@pytest.mark.parametrize("jump_ms", [-86_400_000, -5_000, 5_000, 86_400_000])
def test_a_clock_that_jumps_while_an_answer_runs_changes_no_bill(database_url, tmp_path, wait_until, jump_ms):
    """R13."""
    offset = 0
    settings = Settings(data=tmp_path, database_url=database_url)
    platform = Platform(settings, serves=False, clock=lambda: wall_clock() + offset)

    async def furnish() -> tuple[str, str]:
        ann = await platform.accounts.add("ann@example.com", "a long and odd passphrase", "Ann")
        await platform.prices.set_per_million("glm", uncached="1", output="4")
        await platform.wallet.top_up(ann.org_id, 10**10, idempotency_key="start")
        return ann.org_id, (await platform.keys.create(ann.org_id, ann.project_id, "tests")).key

    org_id, key = asyncio.run(furnish())
    body = {"model": "glm", "stream": True}
    body["messages"] = [{"role": "user", "content": script(tokens=60, pace_s=0.005)}]
    with FakeUpstream() as upstream, Running(create_app(platform)) as url:
        platform.router.add(Channel("fake", upstream.url, {"glm": "wire"}, leaving="cancel"))
        headers = {"authorization": f"Bearer {key}"}
        for _ in range(2):
            with (
                httpx.Client(timeout=60) as client,
                client.stream("POST", f"{url}/v1/chat/completions", json=body, headers=headers) as answer,
            ):
                lines = answer.iter_lines()
                next(lines)
                offset += jump_ms
                assert "data: [DONE]" in list(lines)
        read = platform.database.read_now
        wait_until(lambda: not read("SELECT 1 FROM hold WHERE state = 'open'"))
        rows = read("SELECT * FROM usage_event")
        assert [row["output_text"] for row in rows] == [60, 60]
        left = asyncio.run(platform.wallet.balance(org_id)).balance_nano
        assert left == 10**10 - sum(row["cost_nano"] for row in rows)
        audited(platform.database)
