"""What a key may call, and what those who may not call it are told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.maas.gateway.conftest import House

TURN = [{"role": "user", "content": "What is in the papers?"}]


@pytest.fixture
def chat_key(house: House) -> str:
    (project,) = house.rows("SELECT id FROM project")
    keys = house.platform.keys
    made = asyncio.run(keys.create(house.org_id, project["id"], "talks", endpoints=["chat"]))
    return made.key


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/glm", "/api/paas/v4/models", "/api/anthropic/v1/models"]
)
def test_every_key_lists_the_models_that_it_may_use(house: House, chat_key, path):
    answer = httpx.get(house.url + path, headers={"authorization": f"Bearer {chat_key}"})
    assert answer.status_code == 200
    assert "glm" in answer.text


def test_a_route_that_is_not_offered_says_so_to_every_key(house: House, chat_key):
    answer = house.post("/api/paas/v4/videos/generations", {"model": "glm"}, chat_key)
    assert answer.json()["error"]["code"] == "1222"


@pytest.mark.parametrize(
    ("tool", "word"),
    [
        ({"type": "retrieval", "retrieval": {"knowledge_id": "1"}}, "knowledge"),
        ({"type": "web_search", "web_search": {"enable": True, "search_query": "papers"}}, "tools"),
    ],
)
def test_a_tool_in_a_chat_needs_the_words_of_its_own_route(house: House, chat_key, tool, word):
    body = {"model": "glm", "messages": TURN, "tools": [tool]}
    answer = house.post("/api/paas/v4/chat/completions", body, chat_key)
    assert answer.json()["error"]["code"] == "1220"
    assert word in answer.json()["error"]["message"]
    assert house.usage() == []


def test_an_unknown_model_and_one_without_a_price_are_told_apart(house: House):
    from openglm.maas.upstreams import Channel

    house.platform.router.add(Channel("far", house.upstream.url, {"glm-4.5-air": "x"}))
    unknown = house.post("/v1/chat/completions", {"model": "nothing", "messages": TURN}).json()["error"]
    unpriced = house.post("/v1/chat/completions", {"model": "glm-4.5-air", "messages": TURN}).json()["error"]
    assert "there is no model 'nothing'" in unknown["message"]
    assert "glm" not in unknown["message"]  # other people's models are not told
    assert "glm admin price set glm-4.5-air" in unpriced["message"]
    assert unknown["code"] == unpriced["code"] == "model_not_found"


def test_every_word_of_a_route_is_one_that_a_key_can_have():
    """`may_call` refuses words that are not in the table; here no word of the table is asked nowhere."""
    from openglm.maas.identity.caller import ENDPOINTS

    root = Path(__file__).parents[3] / "openglm" / "maas"
    source = "".join(path.read_text() for path in root.rglob("*.py") if path.name != "caller.py")
    assert not [word for word in ENDPOINTS if f'"{word}"' not in source]
