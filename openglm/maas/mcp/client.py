"""One MCP server, from its handshake to its end, over streamable HTTP or the older SSE transport.

A server is a stranger: every answer is bounded in time and size, redirects are not followed, messages for an
SSE server go to its own origin alone, and what it asks of us (sampling, roots, pings) is not answered. We
speak revision 2025-06-18, which servers of later ones still take up.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.dialects.mcp import McpServer
from openglm.errors import InvalidRequest, UpstreamFailure
from openglm.maas.mcp import wire

if TYPE_CHECKING:
    from openglm.maas.outbound import GuardedSession

logger = logging.getLogger(__name__)

PROTOCOL = "2025-06-18"
HANDSHAKE_S = 15.0
LIST_S = 15.0
CALL_S = 60.0
CLOSE_S = 5.0
MAX_PAGES = 16
MAX_TOOLS = 256
MAX_DESCRIPTION = 8_000  # characters; the model reads them in every turn
MAX_SCHEMA = 65_536  # bytes


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tool gave back, as text for the model."""

    text: str
    failed: bool = False


class McpClient:
    """`open` it, use it from one loop, `close` it. Several calls may run at once."""

    def __init__(self, session: GuardedSession, server: McpServer):
        assert server.url, "whoever asks looks up the servers of the operator"
        self._session = session
        self.server = server
        self._url = server.url
        self._numbers = itertools.count(1)
        self._headers: dict[str, str] = dict(server.headers)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}  # for answers on the SSE stream
        self._stream: asyncio.Task[None] | None = None  # of the SSE transport
        self._has_session = False

    async def open(self) -> None:
        """The handshake. Without a transport named, streamable HTTP comes first, as the protocol advises."""
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                if self.server.transport == "sse":
                    await self._open_stream()
                try:
                    answer = await self._ask("initialize", _HELLO)
                except _NotThisWay:
                    if self.server.transport is not None:
                        raise
                    await self._open_stream()
                    answer = await self._ask("initialize", _HELLO)
                version = answer.get("protocolVersion")
                if not isinstance(version, str):
                    raise UpstreamFailure("the MCP server names no version of the protocol")
                self._headers["mcp-protocol-version"] = version[:40]
                await self._post(wire.notification("notifications/initialized"), None)
        except TimeoutError:
            raise self._late("its handshake", HANDSHAKE_S) from None

    async def tools(self) -> list[Tool]:
        """All its tools, page by page."""
        found: list[Tool] = []
        cursor: str | None = None
        try:
            async with asyncio.timeout(LIST_S):
                for _ in range(MAX_PAGES):
                    page = await self._ask("tools/list", {"cursor": cursor} if cursor else {})
                    listed = page.get("tools")
                    if not isinstance(listed, list):
                        raise UpstreamFailure("the MCP server lists no tools")
                    found += [_tool(one) for one in listed]
                    if len(found) > MAX_TOOLS:
                        raise UpstreamFailure(f"the MCP server has more than {MAX_TOOLS} tools")
                    cursor = page.get("nextCursor")
                    if not isinstance(cursor, str) or not cursor:
                        return found
        except TimeoutError:
            raise self._late("the list of its tools", LIST_S) from None
        raise UpstreamFailure(f"the MCP server lists its tools on more than {MAX_PAGES} pages")

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Outcome:
        """What a tool gives back. What goes wrong is an outcome too, for the model to read."""
        try:
            async with asyncio.timeout(CALL_S):
                result = await self._ask("tools/call", {"name": name, "arguments": arguments})
                return Outcome(_text_of(result), failed=result.get("isError") is True)
        except TimeoutError:
            return Outcome(self._late("the call", CALL_S).message, failed=True)
        except (UpstreamFailure, InvalidRequest) as error:
            return Outcome(error.message, failed=True)
        except Exception as error:  # whatever a stranger sends, the answer so far is not lost for it
            logger.error("a result of the MCP server %s broke its reader", self.server.label, exc_info=error)
            return Outcome("the MCP server gave what cannot be read", failed=True)

    async def close(self) -> None:
        """Tell the server that it may forget us, and let go."""
        if self._stream:
            self._stream.cancel()
            await asyncio.gather(self._stream, return_exceptions=True)
        elif self._has_session:
            with contextlib.suppress(UpstreamFailure, InvalidRequest, TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    async with self._session.streamed("DELETE", self._url, headers=self._headers):
                        pass

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        body = wire.request(number, method, params)
        if self._stream is None:
            message = await self._post(body, number)
            if message is None:
                raise UpstreamFailure("the MCP server took a question and gave no answer")
            return wire.result_of(message)
        arrived: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = arrived
        try:
            await self._post(body, None)
            await asyncio.wait((arrived, self._stream), return_when=asyncio.FIRST_COMPLETED)
            if not arrived.done():
                self._stream.result()  # raises why it ended
                raise UpstreamFailure("the MCP server ended its stream")
            return wire.result_of(arrived.result())
        finally:
            del self._waiting[number]

    async def _post(self, body: bytes, number: int | None) -> dict[str, Any] | None:
        """Send a message. Where an answer to `number` is expected in the same exchange, it comes back."""
        headers = {
            **self._headers,
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        async with self._session.streamed("POST", self._url, headers=headers, data=body) as answer:
            if answer.status >= 300:
                kind = _NotThisWay if answer.status in (400, 404, 405) else UpstreamFailure
                raise kind(f"the MCP server answered with status {answer.status}")
            if (session_id := answer.headers.get("mcp-session-id")) and len(session_id) <= 1_024:
                self._headers["mcp-session-id"] = session_id
                self._has_session = True
            if number is None:
                return None
            if answer.content_type == "text/event-stream":
                async for _, data in wire.events(answer):
                    message = wire.message_of(data)
                    if message.get("id") == number and "method" not in message:
                        return message
                return None
            message = wire.message_of(await wire.whole(answer))
            return message if message.get("id") == number else None

    async def _open_stream(self) -> None:
        """The SSE transport: a stream that names where to post, and then carries all answers."""
        posting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._stream = asyncio.create_task(self._read_stream(posting), name="mcp")
        await asyncio.wait((posting, self._stream), return_when=asyncio.FIRST_COMPLETED)
        if not posting.done():
            self._stream.result()
            raise UpstreamFailure("the MCP server ended its stream")
        self._url = posting.result()

    async def _read_stream(self, posting: asyncio.Future[str]) -> None:
        headers = {**self._headers, "accept": "text/event-stream"}
        async with self._session.streamed("GET", self._url, headers=headers) as answer:
            if answer.status != 200 or answer.content_type != "text/event-stream":
                raise UpstreamFailure(f"the MCP server gives no stream, but status {answer.status}")
            async for name, data in wire.events(answer, endless=True):
                if name == "endpoint" and not posting.done():
                    posting.set_result(_same_origin(self._url, data))
                elif name == "message":
                    message = wire.message_of(data)
                    number = message.get("id")
                    arrived = self._waiting.get(number) if isinstance(number, int) else None
                    if arrived and not arrived.done() and "method" not in message:
                        arrived.set_result(message)

    def _late(self, what: str, limit_s: float) -> UpstreamFailure:
        return UpstreamFailure(f"{what} took the MCP server more than {limit_s:g} s")


class _NotThisWay(UpstreamFailure):
    """The server does not speak streamable HTTP at this address."""


_HELLO = {
    "protocolVersion": PROTOCOL,
    "capabilities": {},
    "clientInfo": {"name": "OpenGLM", "version": "0.1"},
}


def _same_origin(url: str, data: bytes) -> str:
    """Where to post. Headers that the caller gave for one server must not go to another."""
    from yarl import URL

    here = URL(url)
    try:
        there = here.join(URL(data.decode()))
    except (ValueError, UnicodeError):
        raise UpstreamFailure("the MCP server names no address to post to") from None
    if there.origin() != here.origin():
        raise UpstreamFailure("the MCP server wants messages posted to another server")
    return str(there)


def _tool(given: Any) -> Tool:
    name = given.get("name") if isinstance(given, dict) else None
    schema = given.get("inputSchema") if isinstance(given, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= 128 or not isinstance(schema, dict | None):
        raise UpstreamFailure("the MCP server lists what is no tool")
    if len(msgspec.json.encode(schema)) > MAX_SCHEMA:
        raise UpstreamFailure(f"a schema of the MCP server has more than {MAX_SCHEMA} bytes")
    description = given.get("description")
    return Tool(name, description[:MAX_DESCRIPTION] if isinstance(description, str) else "", schema or {})


def _text_of(result: dict[str, Any]) -> str:
    """The texts of a result; what is no text is named, not shown."""
    texts = []
    content = result.get("content")
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "resource" and isinstance(part.get("resource"), dict):
            texts.append(str(part["resource"].get("text") or f"[{part['resource'].get('uri')}]"))
        elif kind == "resource_link":
            texts.append(f"[{part.get('uri')}]")
        elif kind:
            texts.append(f"[{kind} {part.get('mimeType') or ''}]".replace(" ]", "]"))
    if not texts and isinstance(result.get("structuredContent"), dict):
        return msgspec.json.encode(result["structuredContent"]).decode()
    return "\n".join(texts)
