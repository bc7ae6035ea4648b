"""R7: one budget, or one plan, for every path: each is blocked at the same point, to the nano."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from openglm.maas.outbound import GuardedSession
from openglm.maas.search.routes import TOOLS
from openglm.maas.upstreams import Channel
from tests.maas.gateway.conftest import House
from tests.maas.money.conftest import audited
from tests.maas.reliability.conftest import script

EACH = 10_000_000  # nano of one call, whatever is called: 0.01
LIMIT = 3 * EACH + EACH // 2
TURN = [{"role": "user", "content": script(tokens=3)}]
OPEN = "/api/llm-application/open"
Path = Callable[[House, Callable], str]  # one call of it: the error's text, or "" if it went well


def post(path: str, body: dict) -> Path:
    def ask(house: House, wait_until: Callable) -> str:
        answer = house.post(path, body)
        code = answer.json().get("code", 200) if answer.text.startswith("{") else 200
        return "" if answer.status_code == 200 and code == 200 else answer.text

    return ask


def page(house: House, wait_until: Callable) -> str:
    """The reader; pages of this machine are private, so its guard is told to let them pass."""
    house.platform._web = GuardedSession(allow_private=True)
    return post("/api/paas/v4/reader", {"url": f"{house.upstream.url}/page"})(house, wait_until)


def later(path: str, body: dict) -> Path:
    """Of what runs behind the client's back, the end."""

    def ask(house: House, wait_until: Callable) -> str:
        begun = house.post(path, body).json()
        found: dict = {}

        def done() -> bool:
            found.update(house.get(f"/api/paas/v4/async-result/{begun['id']}").json())
            return found["task_status"] != "PROCESSING"

        wait_until(done)
        return "" if found["task_status"] == "SUCCESS" else json.dumps(found)

    return ask


def retrieval(house: House, wait_until: Callable) -> str:
    """A question to a knowledge base with vectors, which are asked for again each time."""
    base = knowledge(house, wait_until)
    body = {"query": "How many litres?", "knowledge_ids": [base], "recall_method": "embedding"}
    return post(f"{OPEN}/knowledge/retrieve", body)(house, wait_until)


def told(house: House, wait_until: Callable) -> str:
    """A chat that is told what the base knows: two calls."""
    tool = {"type": "retrieval", "retrieval": {"knowledge_id": knowledge(house, wait_until)}}
    return post(ZHIPU, {"model": "glm", "messages": TURN, "tools": [tool]})(house, wait_until)


def knowledge(house: House, wait_until: Callable) -> str:
    found = house.get(f"{OPEN}/knowledge").json()["data"]["list"]
    return found[0]["id"]


ZHIPU = "/api/paas/v4/chat/completions"
SEARCH = {"type": "web_search", "web_search": {"enable": True, "search_query": "glm"}}
PATHS: dict[str, Path] = {
    "chat": post("/v1/chat/completions", {"model": "glm", "messages": TURN}),
    "stream": post("/v1/chat/completions", {"model": "glm", "messages": TURN, "stream": True}),
    "completions": post("/v1/completions", {"model": "glm", "prompt": script(tokens=3)}),
    "responses": post("/v1/responses", {"model": "glm", "input": "hello"}),
    "messages": post("/v1/messages", {"model": "glm", "messages": TURN, "max_tokens": 9}),
    "zhipu": post(ZHIPU, {"model": "glm", "messages": TURN}),
    "embeddings": post("/v1/embeddings", {"model": "glm", "input": "hello"}),
    "zhipu's embeddings": post("/api/paas/v4/embeddings", {"model": "glm", "input": "hello"}),
    "rerank": post("/api/paas/v4/rerank", {"model": "glm", "query": "a", "documents": ["b", "c"]}),
    "images": post("/v1/images/generations", {"model": "cogview", "prompt": "a hill"}),
    "search": post("/api/paas/v4/web_search", {"search_engine": "search_std", "search_query": "glm"}),
    "tools": post("/api/paas/v4/tools", {"model": "web-search-pro", "messages": TURN}),
    "reader": page,
    "chat with search": post(ZHIPU, {"model": "glm", "messages": TURN, "tools": [SEARCH]}),
    "retrieval": retrieval,
    "chat with retrieval": told,
    "task": later("/api/paas/v4/async/chat/completions", {"model": "glm", "messages": TURN}),
}


@pytest.fixture
def house(house: House, wait_until) -> House:
    """Everything costs the same by the call; the knowledge base is filled before the budget is set."""
    platform, prices = house.platform, house.platform.prices
    platform.router.add(Channel("draws", house.upstream.url, {"cogview": "wire", "embedding-2": "wire"}))
    for name in ("glm", "embedding-2", *TOOLS):
        asyncio.run(prices.set(name, per_call_nano=EACH))
    asyncio.run(prices.set("cogview", per_image_nano=EACH))
    base = house.post(f"{OPEN}/knowledge", {"embedding_id": 3, "name": "pumps"}).json()["data"]["id"]
    sent = httpx.post(
        f"{house.url}{OPEN}/document/upload_document/{base}",
        files={"files": ("pump.md", "The pump makes 42 litres a minute.")},
        headers={"authorization": f"Bearer {house.key}"},
        timeout=60,
    ).json()
    document = sent["data"]["successInfos"][0]["documentId"]
    wait_until(lambda: house.get(f"{OPEN}/document/{document}").json()["data"]["embedding_stat"] == 1)
    return house


def test_a_budget_blocks_every_path_at_the_same_point(house, wait_until):
    budgets = house.platform.budgets
    for name, call in PATHS.items():
        house.settled(wait_until)
        before = house.balance()
        budget = asyncio.run(budgets.set(house.org_id, "org", house.org_id, "total", LIMIT))
        for _ in range(4):
            if refused := call(house, wait_until):
                break
        assert "budget" in refused, (name, refused)
        house.settled(wait_until)
        assert before - house.balance() == 3 * EACH, name
        (spent,) = asyncio.run(budgets.all(house.org_id))
        assert (spent.spent_nano, spent.held_nano) == (3 * EACH, 0), name
        # What costs nothing is not blocked.
        count = {"model": "glm", "messages": TURN}
        assert house.post("/v1/messages/count_tokens", count).status_code == 200
        assert house.post("/api/paas/v4/tokenizer", count).status_code == 200
        asyncio.run(budgets.remove(house.org_id, budget.id))
        assert call(house, wait_until) == "", name
    house.settled(wait_until)
    audited(house.platform.database)


def test_a_budget_blocks_a_batch_at_the_same_point(house, wait_until):
    """At half the price, seven rows of twelve."""
    asyncio.run(house.platform.budgets.set(house.org_id, "org", house.org_id, "total", LIMIT))
    lines = []
    for number in range(12):
        row = {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions"}
        lines.append(json.dumps({**row, "body": {"model": "glm", "messages": TURN}}))
    file = httpx.post(
        f"{house.url}/v1/files",
        data={"purpose": "batch"},
        files={"file": ("rows.jsonl", "\n".join(lines))},
        headers={"authorization": f"Bearer {house.key}"},
    ).json()
    wanted = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    before, made = house.balance(), house.post("/v1/batches", wanted).json()
    found: dict = {}

    def done() -> bool:
        found.update(house.get(f"/v1/batches/{made['id']}").json())
        return found["status"] == "completed"

    wait_until(done)
    assert found["request_counts"] == {"total": 12, "completed": 7, "failed": 5}
    errors = house.get(f"/v1/files/{found['error_file_id']}/content").text
    assert errors.count("budget_exhausted") == 5
    house.settled(wait_until)
    assert before - house.balance() == 7 * EACH // 2
    audited(house.platform.database)


PLAN = """
[plans.p]
windows = { 5h = 10, week = 1_000 }
[models."glm"]
uncached = 0
output = 1
[models."search_*"]
uncached = 0
per_call = 3
"""
CODING = "/api/coding/paas/v4/chat/completions"
PLANNED: dict[str, Path] = {
    "coding": post(CODING, {"model": "glm", "messages": TURN, "max_tokens": 3}),
    "coding stream": post(CODING, {"model": "glm", "messages": TURN, "max_tokens": 3, "stream": True}),
    "messages": post("/api/anthropic/v1/messages", {"model": "glm", "messages": TURN, "max_tokens": 3}),
    "messages stream": post(
        "/v1/messages", {"model": "glm", "messages": TURN, "max_tokens": 3, "stream": True}
    ),
    "coding with search": post(
        CODING, {"model": "glm", "messages": TURN, "max_tokens": 3, "tools": [SEARCH]}
    ),
}


def test_a_plan_blocks_every_path_at_the_same_point_and_never_reaches_the_wallet(house, wait_until):
    """Three credits a call, of ten: three calls, whether they are answers or searches."""
    plans = house.platform.plans
    asyncio.run(plans.load(PLAN))
    balance = house.balance()
    for name, call in PLANNED.items():
        made = asyncio.run(plans.subscribe(house.org_id, "p", idempotency_key=name))
        for _ in range(4):
            if refused := call(house, wait_until):
                break
        assert "window" in refused, (name, refused)
        house.settled(wait_until)
        meter = asyncio.run(plans.meters(house.org_id, None))[0]
        assert (meter.period, meter.used, meter.held) == ("5h", 9, 0), name
        asyncio.run(plans.end(house.org_id, made.id))
    assert house.balance() == balance
    audited(house.platform.database)
