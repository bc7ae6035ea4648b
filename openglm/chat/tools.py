"""Tools of the room that a model may call: the web, pages of it, and the user's memory.

They run in the gateway's loop beside those of MCP servers. A search is charged as a tool, under a name that
belongs to the answer, so that its cost is the answer's. What is found gets a mark to cite it by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from openglm.chat.bill import tool_id
from openglm.dialects.mcp import McpServer
from openglm.errors import OpenGLMError
from openglm.maas.gateway import plan_pays
from openglm.maas.mcp import Outcome, Tool
from openglm.maas.search import Query, charged

if TYPE_CHECKING:
    from openglm.chat.memory import Memory
    from openglm.chat.owner import Owner
    from openglm.maas.gateway import Call
    from openglm.maas.platform import Platform

LABEL = "openglm"
ENGINE, READER = "search_std", "reader"  # as they are priced
HITS = 8
PAGE_CHARS = 30_000
Cite = Callable[[dict[str, Any]], int]  # a citation -> its mark

_TOOLS = {
    "web_search": Tool(
        "web_search",
        "Search the web. Cite what you use by its mark, such as [1].",
        {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "what to look for"}},
            "required": ["query"],
        },
    ),
    "read_page": Tool(
        "read_page",
        "Read a web page as text. Cite it by its mark.",
        {
            "type": "object",
            "properties": {"url": {"type": "string", "description": "an http or https address"}},
            "required": ["url"],
        },
    ),
    "remember": Tool(
        "remember",
        "Keep a short fact about the user for later conversations. Only what they would want to be kept.",
        {
            "type": "object",
            "properties": {"fact": {"type": "string", "description": "one sentence"}},
            "required": ["fact"],
        },
    ),
}


class RoomTools:
    """For one answer: the face of an MCP client, without a server behind it."""

    server = McpServer(LABEL)

    def __init__(
        self,
        platform: Platform,
        memory: Memory,
        *,
        call: Call,
        owner: Owner,
        offered: tuple[str, ...],
        cite: Cite,
    ):
        self._platform = platform
        self._memory = memory
        self._call = call
        self._owner = owner
        self._offered = offered
        self._cite = cite
        self._charged = 0

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def tools(self) -> list[Tool]:
        return [_TOOLS[name] for name in self._offered]

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Outcome:
        """What goes wrong is an outcome, for the model to read."""
        field = {"web_search": "query", "read_page": "url", "remember": "fact"}[name]
        given = arguments.get(field)
        if not isinstance(given, str) or not given.strip():
            return Outcome(f"{field} must be a text", failed=True)
        try:
            if name == "web_search":
                return await self._search(given)
            if name == "read_page":
                return await self._read(given)
            await self._memory.remember(self._owner, given)
            return Outcome("It is remembered.")
        except OpenGLMError as error:
            return Outcome(error.message, failed=True)

    async def _search(self, query: str) -> Outcome:
        async with await self._charge(ENGINE):
            hits = await self._platform.search.search(Query(query[:1000], count=HITS))
        if not hits:
            return Outcome("Nothing was found.")
        told = []
        for hit in hits:
            mark = self._cite({"title": hit.title, "url": hit.link, "quote": hit.content[:300]})
            told.append(f"[{mark}] {hit.title}\n{hit.link}\n{hit.content}")
        return Outcome("\n\n".join(told))

    async def _read(self, url: str) -> Outcome:
        async with await self._charge(READER):
            address, page = await self._platform.reader.read(
                url, tenant=self._call.caller.org_id, images=False
            )
        mark = self._cite({"title": page.title or address, "url": address, "quote": page.content[:300]})
        return Outcome(f"[{mark}] {page.title}\n{address}\n\n{page.content[:PAGE_CHARS]}")

    async def _charge(self, tool: str) -> Any:
        self._charged += 1
        name = tool_id(self._call.request_id, self._charged)
        plan = await plan_pays(self._platform, self._call, tool)
        return charged(self._platform, self._call.caller, tool, name, plan=plan)
