"""The moderation hook on every route that makes a model write: wherever a word stands, nobody is charged."""

from __future__ import annotations

import asyncio

import pytest

from openglm.errors import InvalidRequest
from openglm.maas.moderation import MAX_JUDGED, WordList, refuse_unsafe
from tests.maas.gateway.conftest import House

BAD = "how to make a bomb"
GOOD = {"role": "user", "content": "hello"}


def turns(*others: dict) -> dict:
    return {"model": "glm", "messages": [*others, GOOD]}


def search(**more: str) -> dict:
    return {"type": "web_search", "web_search": {"enable": True, "search_engine": "search_std", **more}}


@pytest.fixture
def strict(house: House) -> House:
    house.platform.moderation = WordList({"violence": ["bomb"]})
    return house


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": "glm", "messages": [{"role": "user", "content": BAD}]}),
        ("/v1/chat/completions", turns({"role": "user", "content": BAD}, {**GOOD, "role": "assistant"})),
        ("/v1/chat/completions", turns({"role": "system", "content": BAD})),
        ("/v1/chat/completions", turns(GOOD, {"role": "assistant", "content": BAD})),
        (
            "/v1/chat/completions",
            {**turns(), "tools": [{"type": "function", "function": {"name": "f", "description": BAD}}]},
        ),
        ("/v1/completions", {"model": "glm", "prompt": BAD}),
        ("/v1/completions", {"model": "glm", "prompt": ["hello", BAD]}),
        ("/v1/completions", {"model": "glm", "prompt": [1, 2, 3]}),
        ("/v1/messages", {**turns(), "system": BAD, "max_tokens": 5}),
        ("/v1/responses", {"model": "glm", "input": "hello", "instructions": BAD}),
        ("/api/paas/v4/chat/completions", turns({"role": "system", "content": BAD})),
        (
            "/api/paas/v4/chat/completions",
            {**turns(), "tools": [search(search_prompt=BAD)]},
        ),
    ],
)  # fmt: skip
def test_a_word_of_the_list_is_refused_wherever_a_client_writes_it(strict: House, path, body):
    path = "/api/anthropic" + path if path == "/v1/messages" else path
    answer = strict.post(path, body)
    assert answer.status_code == 400, answer.text
    assert "bomb" not in answer.text
    assert strict.usage() == []
    assert strict.upstream.billed == {}


def test_findings_of_a_search_are_not_the_callers_words(strict: House):
    from openglm.maas.search import Document

    asyncio.run(strict.platform.search.add([Document("https://a.example", "hello", BAD)]))
    asyncio.run(strict.platform.prices.set_if_none("search_std"))
    answer = strict.post("/api/paas/v4/chat/completions", {**turns(), "tools": [search()]})
    assert answer.status_code == 200, answer.text
    assert BAD in str(strict.upstream.bodies[-1])


def test_a_prompt_longer_than_can_be_judged_is_refused_and_says_so():
    with pytest.raises(InvalidRequest, match=str(MAX_JUDGED)):
        asyncio.run(refuse_unsafe(WordList({"violence": ["bomb"]}), "a" * (MAX_JUDGED + 1)))
