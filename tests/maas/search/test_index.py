"""The local index and the HTTP engine: what is found, in what order, and what filters leave out."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from openglm.errors import UpstreamFailure
from openglm.maas.search import Document, LocalIndex, Query, SearxngEngine
from openglm.maas.search.engine import in_domain

NOW = 1_800_000_000_000
DAY = 86_400_000


@pytest.fixture
def index(tmp_path: Path) -> LocalIndex:
    index = LocalIndex(tmp_path / "search.db", clock=lambda: NOW)
    documents = [
        Document(
            "https://a.example/1",
            "智谱清言",
            "大语言模型的开放平台。" * 50 + "价格很低",
            published_ms=NOW - DAY // 2,
        ),
        Document("https://docs.b.example/2", "Cats", "A cat sat on the mat", published_ms=NOW - 40 * DAY),
        Document("https://b.example/3", "Dogs", "A dog met a cat", media="B"),
    ]
    asyncio.run(index.add(documents))
    return index


def links(index: LocalIndex, text: str, **options) -> list[str]:
    return [hit.link for hit in asyncio.run(index.search(Query(text, **options)))]


def test_chinese_is_found_by_pairs_and_english_by_words(index: LocalIndex) -> None:
    assert links(index, "开放平台") == ["https://a.example/1"]
    assert set(links(index, "CAT")) == {"https://docs.b.example/2", "https://b.example/3"}
    assert links(index, "cats")[0] == "https://docs.b.example/2"
    assert links(index, "nothing-of-that") == []


def test_filters_leave_out_other_domains_old_pages_and_too_many(index: LocalIndex) -> None:
    assert set(links(index, "cat", domain="b.example")) == {"https://docs.b.example/2", "https://b.example/3"}
    assert links(index, "cat", domain="docs.b.example") == ["https://docs.b.example/2"]
    assert links(index, "平台 cat", recency="oneDay") == ["https://a.example/1"]
    assert len(links(index, "cat", count=1)) == 1
    assert not in_domain("https://evil-b.example", "b.example")


def test_a_passage_is_cut_around_what_was_asked_for(index: LocalIndex) -> None:
    (hit,) = asyncio.run(index.search(Query("价格", content_chars=40)))
    assert "价格" in hit.content
    assert len(hit.content) <= 40


def test_a_link_added_again_is_replaced_and_a_removed_one_is_gone(index: LocalIndex) -> None:
    asyncio.run(index.add([Document("https://b.example/3", "Birds", "A bird")]))
    assert links(index, "dog") == []
    assert links(index, "bird") == ["https://b.example/3"]
    assert asyncio.run(index.remove("https://b.example/3"))
    assert not asyncio.run(index.remove("https://b.example/3"))
    assert links(index, "bird") == []


@pytest.mark.parametrize(
    "text", ['"', "a OR", "NEAR(", "*", "a:b", "\0", "'; DROP TABLE page", "cat " * 10_000]
)
def test_no_query_is_taken_for_search_syntax(index: LocalIndex, text: str) -> None:
    asyncio.run(index.search(Query(text)))


def test_an_http_engine_is_asked_and_its_answer_read() -> None:
    asked = []

    async def fetch(url: str) -> bytes:
        asked.append(url)
        good = {"title": "T", "url": "https://a.example/x", "content": "c" * 900, "engine": "e"}
        return json.dumps({"results": [good, {"url": "javascript:x"}]}).encode()

    engine = SearxngEngine("http://search.local/", fetch)
    (hit,) = asyncio.run(engine.search(Query("a&b", recency="oneWeek", content_chars=10)))
    assert (hit.title, hit.content, hit.media) == ("T", "c" * 10, "e")
    assert asked == ["http://search.local/search?format=json&q=a%26b&time_range=week"]

    async def broken(url: str) -> bytes:
        return b"<html>"

    with pytest.raises(UpstreamFailure):
        asyncio.run(SearxngEngine("http://x", broken).search(Query("a")))
