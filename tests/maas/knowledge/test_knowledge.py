"""Knowledge bases from the upload to the answer, over HTTP, on both databases."""

from __future__ import annotations

import httpx
import pytest

from tests.maas.gateway.conftest import house  # noqa: F401

OPEN = "/api/llm-application/open"
MANUAL = "# Pump\n\nThe pump makes 42 litres a minute.\n\n# Filter\n\n滤芯每六个月更换一次。\n"


@pytest.fixture
def ask(house):  # noqa: F811
    def call(method: str, path: str, **more) -> dict:
        answer = httpx.request(
            method,
            house.url + path,
            headers={"authorization": f"Bearer {house.key}"},
            timeout=60,
            **more,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    return call


@pytest.fixture
def base(ask) -> str:
    return ask("POST", f"{OPEN}/knowledge", json={"embedding_id": 3, "name": "manuals"})["data"]["id"]


def uploaded(ask, wait_until, base: str, name: str, content: str) -> str:
    sent = ask("POST", f"{OPEN}/document/upload_document/{base}", files={"files": (name, content)})
    (taken,) = sent["data"]["successInfos"]
    document = taken["documentId"]
    wait_until(lambda: ask("GET", f"{OPEN}/document/{document}")["data"]["embedding_stat"] != 0)
    return document


def test_spans_that_come_back_are_spans_of_the_text(ask, wait_until, base):
    document = uploaded(ask, wait_until, base, "manual.md", MANUAL)
    text = ask("GET", f"{OPEN}/document/{document}/text")["data"]["text"]
    for question, expected in (
        ("How many litres does the pump make?", "42 litres"),
        ("滤芯多久更换", "六个月"),
    ):
        body = {"query": question, "knowledge_ids": [base]}
        best = ask("POST", f"{OPEN}/knowledge/retrieve", json=body)["data"][0]
        assert expected in best["text"]
        place = best["metadata"]
        assert text[place["start"] : place["end"]] == best["text"]
        assert place["doc_id"] == document


def test_a_chat_is_told_what_the_base_knows(ask, wait_until, base, house):  # noqa: F811
    uploaded(ask, wait_until, base, "manual.md", MANUAL)
    tool = {"type": "retrieval", "retrieval": {"knowledge_id": base}}
    body = {
        "model": "glm",
        "messages": [{"role": "user", "content": "pump litres?"}],
        "tools": [tool],
    }
    assert ask("POST", "/api/paas/v4/chat/completions", json=body)["choices"]
    missing = {**body, "tools": [{"type": "retrieval", "retrieval": {"knowledge_id": "kb_none"}}]}
    assert house.post("/api/paas/v4/chat/completions", missing).status_code >= 400


def test_a_document_that_cannot_be_read_says_why(ask, wait_until, base):
    document = uploaded(ask, wait_until, base, "broken.pdf", "this is no PDF")
    row = ask("GET", f"{OPEN}/document/{document}")["data"]
    assert row["embedding_stat"] == 2
    assert "PDF" in row["failInfo"]["embedding_msg"]
    refused = ask("POST", f"{OPEN}/document/upload_document/{base}", files={"files": ("a.exe", "x")})
    assert "exe" in refused["data"]["failedInfos"][0]["failReason"]


def test_what_is_deleted_is_found_no_more(ask, wait_until, base, house):  # noqa: F811
    document = uploaded(ask, wait_until, base, "manual.md", MANUAL)
    ask("DELETE", f"{OPEN}/document/{document}")
    assert ask("GET", f"{OPEN}/document/{document}")["code"] != 200
    body = {"query": "pump", "knowledge_ids": [base]}
    assert ask("POST", f"{OPEN}/knowledge/retrieve", json=body)["data"] == []
    ask("DELETE", f"{OPEN}/knowledge/{base}")
    assert ask("GET", f"{OPEN}/knowledge")["data"]["total"] == 0
    wait_until(lambda: not house.rows("SELECT 1 FROM knowledge_chunk"))


def test_rerank_puts_the_document_that_answers_first(ask):
    body = {
        "model": "rerank",
        "query": "pump litres",
        "documents": ["Filters are blue.", "The pump makes 42 litres."],
        "return_documents": True,
        "top_n": 1,
    }
    (best,) = ask("POST", "/api/paas/v4/rerank", json=body)["results"]
    assert best["index"] == 1
    assert best["document"] == "The pump makes 42 litres."
