"""The tools that the platform works itself: what a search finds is told to the model.

Findings stand before the question, in the words of the caller's own template where there is one. They are
charged as tools; that the model then reads them is charged as input, like every other word of the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from openglm.errors import DuplicateRequest, InvalidRequest, NotFound, NotOffered
from openglm.maas.gateway.payer import plan_pays
from openglm.maas.gateway.prompts import texts_of
from openglm.maas.knowledge.retrieve import RETRIEVAL, Question
from openglm.maas.moderation import NoModeration, refuse_unsafe
from openglm.maas.search import shapes
from openglm.maas.search.engine import Query
from openglm.maas.search.routes import charged
from openglm.messages import ChatRequest, CompletionRequest, Message, TextPart

if TYPE_CHECKING:
    from openglm.dialects.zhipu import Retrieval, WebSearch, ZhipuRequest
    from openglm.maas.gateway.call import Call
    from openglm.maas.platform import Platform

MAX_FOUND = 20_000  # characters of findings that a prompt takes in
SIZES = {"medium": 600, "high": 2_500}  # characters of one hit


async def with_findings(
    platform: Platform, call: Call, request: ZhipuRequest, *, agents: bool = False
) -> tuple[ChatRequest, Sequence[Mapping[str, Any]]]:
    """The chat with what its tools found, and a search's hits as they go out. What the caller sent has passed
    the moderation hook then; findings are not judged. `agents`: an agent brings the tools along, for whoever
    may call agents."""
    chat, tools = request.chat, request.tools
    search, retrieval = tools.web_search, tools.retrieval
    if retrieval and not agents:
        call.caller.may_call("knowledge")
    if (search or tools.mcp) and not agents:
        call.caller.may_call("tools")
    if retrieval or search:
        await _check_first(platform, call, request)
    others = [search.query, search.prompt] if search else []
    await check_input(platform, chat, *others, retrieval.prompt_template if retrieval else None)
    hits: list[dict[str, Any]] = []
    if retrieval:
        chat = await _retrieved(platform, call, chat, retrieval)
    if search:
        chat, hits = await _searched(platform, call, chat, search)
    return chat, hits


async def _check_first(platform: Platform, call: Call, request: ZhipuRequest) -> None:
    """Whatever would refuse the chat or a tool of it afterwards refuses it before anything is charged."""
    from openglm.maas.gateway.admission import Admission
    from openglm.maas.gateway.generation import known

    chat = known(platform, call, request.chat)
    await Admission(platform, call, chat, "chat", name=request.request_id).check()
    if not call.batch:
        if request.tools.retrieval:
            platform.limits.check(call.caller, RETRIEVAL, 0)
        if request.tools.web_search:
            platform.limits.check(call.caller, request.tools.web_search.engine, 0)


async def check_input(
    platform: Platform, request: ChatRequest | CompletionRequest, *others: str | None
) -> None:
    """The moderation hook over all the text that a client sends, in whatever turn it stands."""
    if not isinstance(platform.moderation, NoModeration):
        texts = [*texts_of(request), *others]
        await refuse_unsafe(platform.moderation, "\n".join(filter(None, texts)))


async def _searched(
    platform: Platform, call: Call, chat: ChatRequest, wanted: WebSearch
) -> tuple[ChatRequest, list[dict[str, Any]]]:
    if platform.search is None:
        raise NotOffered("no search engine is set up here", hint="send the request without web_search")
    query = Query(
        wanted.query or question_of(chat)[:1000],
        count=wanted.count,
        domain=wanted.domain,
        recency=wanted.recency,  # type: ignore[arg-type]  # the dialect read one of the words
        content_chars=SIZES[wanted.content_size],
    )
    # An errand's search has its name: a further try searches again, and is charged if none was before.
    name, errand = f"{call.request_id}-search", f"{call.errand}-search" if call.errand else None
    plan = await plan_pays(platform, call, wanted.engine)
    try:
        async with charged(
            platform, call.caller, wanted.engine, name, plan=plan, limited=not call.batch, errand=errand
        ):
            found = await platform.search.search(query)
    except DuplicateRequest:
        if call.errand is None:
            raise
        found = await platform.search.search(query)
    if wanted.required and not found:
        raise NotFound(f"the search found nothing for {query.text[:80]!r}, and the request demands results")
    hits = shapes.results(found, images=False)
    if not hits:
        return chat, hits
    texts = [f"[{hit['refer']}] {hit['title']}\n{hit['link']}\n{hit['content']}" for hit in hits]
    told = wanted.prompt or "Web search results. Cite them by their marks where you use them."
    text = _cut(texts)
    told = told.replace("{{search_result}}", text) if "{{search_result}}" in told else f"{told}\n\n{text}"
    return _before_question(chat, told), hits


async def _retrieved(platform: Platform, call: Call, chat: ChatRequest, wanted: Retrieval) -> ChatRequest:
    """The spans that answer the question, in the caller's template, which may take the question's place."""
    asked = question_of(chat)
    question, bases = Question(asked[:1000]), list(wanted.knowledge_ids)
    with nullcontext() if call.batch else platform.limits.enter(call.caller, RETRIEVAL, 0):
        found = await platform.knowledge.retrieve(call.caller, question, bases)
    text = _cut([f"[{number}] {one.document}\n{one.text}" for number, one in enumerate(found, 1)])
    told = wanted.prompt_template
    if told is None:
        knowledge = text or "Nothing was found that belongs to the question."
        return _before_question(chat, f"Knowledge. Cite it by its marks where you use it.\n\n{knowledge}")
    # One pass: what documents hold is never read as a template.
    values = {"{{knowledge}}": text, "{{question}}": asked}
    filled = re.sub(r"\{\{(?:knowledge|question)\}\}", lambda mark: values[mark[0]], told)
    if "{{question}}" not in told:
        return _before_question(chat, filled)
    at = _question_at(chat)
    message = chat.messages[at]
    others = tuple(part for part in message.parts if not isinstance(part, TextPart))
    message = replace(message, parts=(*others, TextPart(filled)))
    return replace(chat, messages=(*chat.messages[:at], message, *chat.messages[at + 1 :]))


def question_of(chat: ChatRequest) -> str:
    for message in reversed(chat.messages):
        if message.role == "user" and message.text:
            return message.text
    raise InvalidRequest("a search or retrieval needs a user message with text", param="messages")


def _before_question(chat: ChatRequest, text: str) -> ChatRequest:
    at = _question_at(chat)
    told = Message.of("system", text)
    return replace(chat, messages=(*chat.messages[:at], told, *chat.messages[at:]))


def _question_at(chat: ChatRequest) -> int:
    return max(at for at, message in enumerate(chat.messages) if message.role == "user" and message.text)


def _cut(texts: Sequence[str]) -> str:
    return "\n\n".join(texts)[:MAX_FOUND]
