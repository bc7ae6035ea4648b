"""Search requests and answers in the shapes of Zhipu's web_search, the older tools route, and reader."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from openglm.dialects.fields import Fields
from openglm.dialects.openai.frames import DONE
from openglm.maas.documents.html import Page
from openglm.maas.documents.terms import query_terms
from openglm.maas.search.engine import DAYS, Hit, Query, Recency

MAX_QUERY = 1000
CHARS = {"medium": 600, "high": 2500}  # of a hit's content


def read_query(fields: Fields) -> Query:
    return Query(
        text=query_text(fields, "search_query", fields.needed_text("search_query")),
        count=fields.integer("count", 1, 50) or 10,
        domain=fields.text("search_domain_filter") or None,
        recency=cast(Recency, fields.word("search_recency_filter", tuple(DAYS)) or "noLimit"),
        content_chars=CHARS[fields.word("content_size", tuple(CHARS)) or "medium"],
    )


def read_tool_query(fields: Fields) -> Query:
    """The older route takes a conversation; its last message is the query."""
    messages = list(fields.objects("messages", 1000))
    if not messages:
        raise fields.wrong("messages", "a list that is not empty")
    last = messages[-1]
    days = fields.integer("recent_days", 1, 30)
    recency: Recency = (
        "noLimit" if not days else "oneDay" if days == 1 else "oneWeek" if days <= 7 else "oneMonth"
    )
    return Query(query_text(last, "content", last.needed_text("content")), recency=recency)


def query_text(fields: Fields, name: str, text: str) -> str:
    if len(text) > MAX_QUERY:
        raise fields.wrong(name, f"a text of at most {MAX_QUERY} characters")
    return text


def results(hits: list[Hit], *, images: bool) -> list[dict[str, Any]]:
    return [
        {
            "title": hit.title,
            "link": hit.link,
            "content": hit.content,
            "icon": hit.icon,
            "media": hit.media,
            "refer": f"ref_{number}",
            "publish_date": day(hit.published_ms),
            **({"images": list(hit.images)} if images else {}),
        }
        for number, hit in enumerate(hits, 1)
    ]


def intent(query: Query, *, asked: bool) -> dict[str, str]:
    """No model judges the intent here: whoever asks for a search gets one."""
    keywords = " ".join(query_terms(query.text))
    return {"query": query.text, "intent": "SEARCH_ALL" if asked else "SEARCH_ALWAYS", "keywords": keywords}


def tool_calls(answer_id: str, query: Query, hits: list[Hit]) -> list[dict[str, Any]]:
    """What the older route says that its tool did: judged the question, and searched."""
    found = [{"index": 0, **result} for result in results(hits, images=False)]
    return [
        {
            "id": f"{answer_id}_1",
            "type": "search_intent",
            "search_intent": [{"index": 0, **intent(query, asked=True)}],
        },
        {"id": f"{answer_id}_2", "type": "search_result", "search_result": found},
    ]


def tool_answer(head: dict[str, Any], calls: list[dict[str, Any]]) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "tool", "tool_calls": calls}}
    return {**head, "choices": [choice]}


def tool_events(head: dict[str, Any], calls: list[dict[str, Any]]) -> bytes:
    """The same as a stream: a chunk for each call."""
    frames = []
    for index, call in enumerate(calls):
        delta = {"role": "tool", "tool_calls": [{"index": index, **call}]}
        finish = "stop" if index + 1 == len(calls) else None
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        frames.append(b"data: %b\n\n" % msgspec.json.encode({**head, "choices": [choice]}))
    return b"".join(frames) + DONE


def reader_result(page: Page, url: str, fields: Fields) -> dict[str, Any]:
    result: dict[str, Any] = {
        "title": page.title,
        "description": page.description,
        "url": url,
        "content": page.content,
        "publishedTime": page.published,
        "metadata": {},
    }
    if fields.flag("with_images_summary"):
        result["images"] = page.images
    if fields.flag("with_links_summary"):
        result["links"] = page.links
    return result


def day(moment_ms: int | None) -> str:
    return "" if moment_ms is None else datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%d")
