"""Moderation: the word list finds its words through spelling tricks; both answers' shapes."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from openglm.errors import OpenGLMError, UnsafeContent
from openglm.maas.identity import Caller
from openglm.maas.limits import Limits
from openglm.maas.moderation import NoModeration, Verdict, WordList, folded, refuse_unsafe, routes

LIST = WordList({"violence": ["Bomb", "炸弹"], "spam": ["buy now"], "empty": []})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a BOMB!", ["violence"]),
        ("ｂｏｍｂ", ["violence"]),
        ("bo\u200bmb", ["violence"]),
        ("做炸弹的人", ["violence"]),
        ("bombastic", []),
        ("buy now a bomb", ["violence", "spam"]),
        ("", []),
        ("天气很好", []),
    ],
)
def test_the_word_list_finds_words_not_parts_of_words(text: str, found: list[str]) -> None:
    assert asyncio.run(LIST.check(text)) == [Verdict(name) for name in found]


def test_long_texts_are_judged_whole_and_hold_nobody_up() -> None:
    unfolds = "\ufdfa" * 300_000  # each into eighteen characters
    assert folded("e\u0301" * 40_000) == "\xe9" * 40_000

    async def longest_wait() -> float:
        judged = asyncio.gather(*(LIST.check(unfolds + "a bomb") for _ in range(4)))
        longest, last = 0.0, time.perf_counter()
        while not judged.done():
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        assert judged.result() == [[Verdict("violence")]] * 4
        return longest

    assert asyncio.run(longest_wait()) < 1


def test_without_a_list_everything_passes() -> None:
    assert asyncio.run(NoModeration().check("bomb")) == []


def test_a_refusal_names_the_category_and_not_the_word() -> None:
    with pytest.raises(UnsafeContent, match="violence") as refused:
        asyncio.run(refuse_unsafe(LIST, "a bomb"))
    assert "bomb" not in str(refused.value)
    asyncio.run(refuse_unsafe(LIST, "flowers"))


def test_both_dialects_answer_in_their_shape() -> None:
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.testclient import TestClient

    async def caller(request, endpoint):
        return Caller("org", "project", "key")

    def wrap(dialect, handler):
        async def answer(request):
            try:
                return await handler(request)
            except OpenGLMError as error:
                return JSONResponse({"kind": type(error).__name__}, 400)

        return answer

    platform = SimpleNamespace(caller=caller, limits=Limits(None), moderation=LIST, clock=lambda: 5000)
    client = TestClient(Starlette(routes=routes(platform, wrap)))
    asked = {"model": "moderation", "input": ["a bomb", {"type": "text", "text": "flowers"}]}
    results = client.post("/v1/moderations", json=asked).json()["results"]
    assert [result["flagged"] for result in results] == [True, False]
    assert results[0]["categories"] == {"violence": True, "spam": False, "empty": False}
    assert results[1]["category_scores"] == {"violence": 0.0, "spam": 0.0, "empty": 0.0}
    body = client.post("/api/paas/v4/moderations", json=asked).json()
    assert [result["risk_level"] for result in body["result_list"]] == ["REJECT", "PASS"]
    assert body["created"] == 5
    for wrong in ({}, {"input": []}, {"input": 3}, {"input": [""]}, {"input": ["x"] * 65}):
        assert client.post("/v1/moderations", json=wrong).json() == {"kind": "InvalidRequest"}
