"""The `tools` of a Zhipu body: the caller's functions, and those that the platform itself works for them.

A search, a retrieval or an MCP server is no function of the model's: the platform does it before or between
the model's words, so they are read here into words of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from openglm.dialects.fields import Fields
from openglm.dialects.mcp import (
    McpServer,
    Transport,
    distinct_servers,
    read_allowed,
    read_headers,
    read_label,
    read_url,
)
from openglm.dialects.openai.turns import distinct, read_tool
from openglm.errors import InvalidRequest
from openglm.messages import ToolSpec

MAX_TOOLS = 128  # documented
MAX_BASES = 16
MAX_PROMPT = 100_000  # characters of a search's or a retrieval's prompt
_KINDS = ("function", "web_search", "retrieval", "mcp")
_RECENCIES = ("oneDay", "oneWeek", "oneMonth", "oneYear", "noLimit")


@dataclass(frozen=True, slots=True)
class WebSearch:
    """Search before answering. `query` None: the platform takes the last user message."""

    engine: str = "search_std"
    query: str | None = None
    count: int = 10
    domain: str | None = None
    recency: str = "noLimit"
    content_size: Literal["medium", "high"] = "medium"
    intent: bool = True  # False: search whatever the question is
    required: bool = False  # refuse to answer where nothing is found
    show_results: bool = False  # the hits belong into the answer
    results_first: bool = False  # before the words of a streamed answer, else after them
    prompt: str | None = None  # how hits are told to the model


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Look into knowledge bases first. The template holds {{knowledge}} and {{question}}."""

    knowledge_ids: tuple[str, ...]
    prompt_template: str | None = None


@dataclass(frozen=True, slots=True)
class PlatformTools:
    web_search: WebSearch | None = None
    retrieval: Retrieval | None = None
    mcp: tuple[McpServer, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.web_search or self.retrieval or self.mcp)


def read_tools(body: Fields) -> tuple[tuple[ToolSpec, ...], PlatformTools]:
    functions: list[tuple[Fields, ToolSpec]] = []
    searches: list[WebSearch] = []
    retrievals: list[Retrieval] = []
    servers: list[McpServer] = []
    for fields in body.objects("tools", MAX_TOOLS):
        kind = fields.word("type", _KINDS)
        if kind == "function":
            functions.append((fields, read_tool(fields)))
        elif kind == "web_search":
            searches += _web_search(fields.needed_object("web_search"))
        elif kind == "retrieval":
            retrievals.append(_retrieval(fields.needed_object("retrieval")))
        elif kind == "mcp":
            servers.append(_mcp(fields.needed_object("mcp")))
        else:
            raise fields.wrong("type", "one of " + ", ".join(_KINDS))
    for name, found in (("web_search", searches), ("retrieval", retrievals)):
        if len(found) > 1:
            raise InvalidRequest(
                f"tools must hold at most one {name}, got {len(found)}", param="tools", code="invalid_value"
            )
    platform = PlatformTools(
        next(iter(searches), None), next(iter(retrievals), None), distinct_servers(servers)
    )
    return distinct(functions), platform


def _web_search(fields: Fields) -> list[WebSearch]:
    """At most one: a search that is not enabled is none."""
    if not _switch(fields, "enable"):
        return []
    query = fields.text("search_query") or None
    intent = _switch(fields, "search_intent")
    size = fields.word("content_size", ("medium", "high")) or "medium"
    found = WebSearch(
        engine=_short(fields, "search_engine", 64) or "search_std",
        query=query,
        count=fields.integer("count", 1, 50) or 10,
        domain=_short(fields, "search_domain_filter", 255),
        recency=fields.word("search_recency_filter", _RECENCIES) or "noLimit",
        content_size=cast(Literal["medium", "high"], size),
        intent=intent is not False,
        required=bool(_switch(fields, "require_search")),
        show_results=bool(_switch(fields, "search_result")),
        results_first=fields.word("result_sequence", ("before", "after")) == "before",
        prompt=_short(fields, "search_prompt", MAX_PROMPT),
    )
    return [found]


def _retrieval(fields: Fields) -> Retrieval:
    """One base by its id, or, as an extension, several."""
    ids = fields.items("knowledge_ids", MAX_BASES)
    if not all(isinstance(one, str) and one for one in ids):
        raise fields.wrong("knowledge_ids", "a list of ids")
    return Retrieval(
        tuple(ids) or (fields.needed_text("knowledge_id"),), _short(fields, "prompt_template", MAX_PROMPT)
    )


def _mcp(fields: Fields) -> McpServer:
    transport = fields.word("transport_type", ("sse", "streamable-http"))
    return McpServer(
        read_label(fields),
        read_url(fields),
        cast(Transport | None, transport),
        read_allowed(fields) or None,
        read_headers(fields),
    )


def _switch(fields: Fields, name: str) -> bool | None:
    """A boolean; the documentation's own examples write it as text, "True"."""
    value = fields.raw(name)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return fields.flag(name)


def _short(fields: Fields, name: str, most: int) -> str | None:
    text = fields.text(name)
    if text and len(text) > most:
        raise fields.wrong(name, f"a text of at most {most} characters")
    return text or None
