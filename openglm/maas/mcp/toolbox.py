"""The tools of all MCP servers of one request, under names that the model can tell apart.

A tool keeps its own name where no other tool and no function of the client has it; else its server's label
stands before it. Results are cut to what a prompt can take, visibly. What they say is text: nothing in it is
obeyed here.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from openglm.dialects.mcp import McpServer
from openglm.errors import InvalidRequest
from openglm.maas.mcp.client import McpClient, Outcome, Tool
from openglm.messages import ToolCall, ToolSpec

MAX_SERVERS = 8  # of one request: each is a stranger that we knock at
MAX_SPECS = 256  # of all servers together
RESULT_CHARS = 50_000
_ODD = re.compile(r"[^A-Za-z0-9_-]")


class ToolSource(Protocol):
    """Where tools come from: a client of an MCP server, or a room of ours with tools of its own."""

    server: McpServer

    async def open(self) -> None: ...

    async def tools(self) -> list[Tool]: ...

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Outcome: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name that the model says leads."""

    server: McpServer
    client: ToolSource
    tool: Tool


@dataclass(frozen=True, slots=True)
class Toolbox:
    """`places` by the names that the model says; `listed` is what each server has, for answers to show."""

    places: Mapping[str, Place]
    listed: tuple[tuple[str, tuple[ToolSpec, ...]], ...]
    clients: tuple[ToolSource, ...]
    closed: Callable[[], None] = lambda: None  # called once, at the end

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model is offered."""
        return tuple(
            ToolSpec(name, place.tool.description, place.tool.schema) for name, place in self.places.items()
        )

    async def call(self, call: ToolCall) -> Outcome:
        place = self.places[call.name]
        try:
            arguments = msgspec.json.decode(call.arguments or "{}")
        except (msgspec.MsgspecError, ValueError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            return Outcome("the arguments are no JSON object", failed=True)
        outcome = await place.client.call(place.tool.name, arguments)
        if len(outcome.text) <= RESULT_CHARS:
            return outcome
        left_out = len(outcome.text) - RESULT_CHARS
        return Outcome(
            f"{outcome.text[:RESULT_CHARS]}\n[{left_out} more characters were cut]", outcome.failed
        )

    async def close(self) -> None:
        try:
            await asyncio.gather(*(client.close() for client in self.clients), return_exceptions=True)
        finally:
            self.closed()


async def open_toolbox(
    servers: Sequence[McpServer],
    taken: Sequence[ToolSpec],
    connect: Callable[[McpServer], McpClient],
    *,
    ours: Sequence[ToolSource] = (),
) -> Toolbox:
    """Ask all servers for their tools. One that cannot be asked fails the request: it was counted on.

    `taken` are the client's own functions; `connect` makes the client for a server; `ours` are offered first.
    """
    if len(servers) > MAX_SERVERS:
        raise InvalidRequest(
            f"at most {MAX_SERVERS} MCP servers can be asked at once, got {len(servers)}", param="tools"
        )
    clients = (*ours, *(connect(server) for server in servers))
    servers = [client.server for client in clients]
    asking = [asyncio.create_task(_tools(client)) for client in clients]
    try:
        found = await asyncio.gather(*asking)
        places = _named([*zip(servers, clients, found, strict=True)], {spec.name for spec in taken})
    except BaseException:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await Toolbox({}, (), clients).close()
        raise
    listed = tuple(_shown(server, tools) for server, tools in zip(servers, found, strict=True))
    return Toolbox(places, listed, clients)


def _named(found: Sequence[tuple[McpServer, ToolSource, list[Tool]]], taken: set[str]) -> dict[str, Place]:
    counts = Counter(_fit(tool.name) for _, _, tools in found for tool in tools)
    places: dict[str, Place] = {}
    for server, client, tools in found:
        for tool in tools:
            name = _fit(tool.name)
            if counts[name] > 1 or name in taken:
                name = _fit(f"{server.label}__{tool.name}")
            while name in places or name in taken:  # long ones, or two that differ in odd letters alone
                name = f"{name[:56]}_{len(places)}"
            places[name] = Place(server, client, tool)
    if len(places) > MAX_SPECS:
        raise InvalidRequest(
            f"the MCP servers have {len(places)} tools together, and a model is offered at most {MAX_SPECS}",
            param="tools",
            hint="name the ones that matter in allowed_tools",
        )
    return places


async def _tools(client: ToolSource) -> list[Tool]:
    await client.open()
    tools, allowed = await client.tools(), client.server.allowed_tools
    return [tool for tool in tools if allowed is None or tool.name in allowed]


def _shown(server: McpServer, tools: Sequence[Tool]) -> tuple[str, tuple[ToolSpec, ...]]:
    return server.label, tuple(ToolSpec(tool.name, tool.description, tool.schema) for tool in tools)


def _fit(name: str) -> str:
    """A name that every wire takes: 64 letters, digits, _ or -."""
    return _ODD.sub("_", name)[:64]
