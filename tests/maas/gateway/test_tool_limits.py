"""What is free of charge, or charged by the call, is within the caller's limits like everything else."""

from __future__ import annotations

import asyncio

import pytest

from openglm.maas.limits import Rule
from tests.maas.gateway.conftest import House

ZHIPU = "/api/paas/v4"
SEARCH = {"search_engine": "search_std", "search_query": "blanks"}
TALK = [{"role": "user", "content": "hello"}]
RETRIEVE = {"query": "hello", "knowledge_ids": ["none"]}


@pytest.fixture
def limited(house: House) -> House:
    """One request a minute of each model and each tool."""
    asyncio.run(house.platform.limits.rules.put(Rule(rpm=1)))
    asyncio.run(house.platform.limits.reload())
    return house


def test_every_tool_is_within_the_callers_limits_in_every_dialect(limited: House):
    for path, body, code in (
        (f"{ZHIPU}/web_search", SEARCH, "1303"),
        (f"{ZHIPU}/tools", {"model": "web-search-pro", "messages": TALK}, "1303"),
        (f"{ZHIPU}/reader", {"url": "http://127.0.0.1/"}, "1303"),
        (f"{ZHIPU}/rerank", {"model": "rerank", "query": "a", "documents": ["b"]}, "1303"),
        ("/v1/moderations", {"input": "hello"}, "rate_limit_exceeded"),
        (f"{ZHIPU}/moderations", {"input": "hello"}, "1303"),
        ("/api/llm-application/open/knowledge/retrieve", RETRIEVE, 1303),
        (f"{ZHIPU}/knowledge/retrieve", RETRIEVE, "1303"),
        ("/v1/responses/input_tokens", {"model": "glm", "input": "hello"}, "rate_limit_exceeded"),
        ("/v1/messages/count_tokens", {"model": "glm", "messages": TALK}, "rate_limit_error"),
        (f"{ZHIPU}/tokenizer", {"model": "glm", "messages": TALK}, "1303"),
    ):
        first, second = limited.post(path, body), limited.post(path, body)
        found = second.json().get("error", second.json())
        assert code in (found.get("code"), found.get("type")), (path, first.text, second.text)
        assert int(second.headers["retry-after"]) > 0, path


def test_a_chat_that_searches_is_within_the_limits_of_the_search_and_pays_for_nothing_where_it_is_not(
    limited: House, wait_until
):
    asyncio.run(limited.platform.limits.rules.put(Rule(model="glm", rpm=100)))
    asyncio.run(limited.platform.limits.reload())
    search = {"type": "web_search", "web_search": {"enable": True, "search_engine": "search_std"}}
    asked = {"model": "glm", "messages": [{"role": "user", "content": '{"tokens": 3}'}], "tools": [search]}
    assert limited.post(f"{ZHIPU}/chat/completions", asked).status_code == 200
    limited.settled(wait_until)
    paid = limited.balance()
    refused = limited.post(f"{ZHIPU}/chat/completions", asked)
    assert refused.json()["error"]["code"] == "1303"
    assert limited.post(f"{ZHIPU}/web_search", SEARCH).json()["error"]["code"] == "1303"
    limited.settled(wait_until)
    assert limited.balance() == paid
