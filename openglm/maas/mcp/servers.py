"""MCP servers for answers: those that a request names by address, and the operator's by their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from openglm.dialects.mcp import McpServer
from openglm.errors import InvalidRequest
from openglm.maas.limits import FairQueue
from openglm.maas.mcp.client import McpClient
from openglm.maas.mcp.toolbox import Toolbox, ToolSource, open_toolbox
from openglm.maas.outbound import GuardedSession
from openglm.messages import ToolSpec

AT_ONCE = 64  # answers; each has at most MAX_SERVERS streams and as many calls open as a turn may make
OF_ONE = 16  # tenant


class McpServers:
    """`open` a toolbox for an answer and close it at its end. `named` are the servers of the operator."""

    def __init__(self, named: Sequence[McpServer]):
        self.named = named
        # A place is held from before the first connection to the end of the answer, which may be minutes for
        # a tool that hangs; so nobody waits for a connection while they hold others.
        self.places = FairQueue(AT_ONCE, each=OF_ONE, what="the client of MCP servers")
        # Streams stay open, and there are as many as the places allow.
        self.strangers_web = GuardedSession(connections=None)
        self._operators_web = GuardedSession(allow_private=True, connections=None)

    async def open(
        self,
        servers: Sequence[McpServer],
        taken: Sequence[ToolSpec],
        *,
        tenant: str,
        ours: Sequence[ToolSource] = (),
    ) -> Toolbox:
        """The tools of a request's servers, once it is the tenant's turn; `taken` are the client's own
        functions, `ours` the platform's tools."""
        if not servers:
            return await open_toolbox((), taken, self.client, ours=ours)
        await self.places.enter(tenant)
        try:
            box = await open_toolbox(servers, taken, self.client, ours=ours)
        except BaseException:
            self.places.leave(tenant)
            raise
        return replace(box, closed=partial(self.places.leave, tenant))

    async def close(self) -> None:
        await self.strangers_web.close()
        await self._operators_web.close()

    def client(self, server: McpServer) -> McpClient:
        """For a server that a request names: a stranger's URL from public addresses alone, or one that the
        operator has set up, wherever it is."""
        if server.url:
            return McpClient(self.strangers_web, server)
        ours = next((one for one in self.named if one.label == server.label), None)
        if ours is None:
            raise InvalidRequest(
                f"the MCP server {server.label!r} has no server_url, and none of that name is set up here",
                param="tools",
                code="invalid_value",
            )
        if server.headers:
            raise InvalidRequest(
                "headers may be given with a server_url alone", param="tools", code="unsupported_combination"
            )
        allowed = server.allowed_tools
        if ours.allowed_tools is not None and allowed is not None:
            allowed = tuple(name for name in allowed if name in ours.allowed_tools)
        return McpClient(
            self._operators_web,
            replace(ours, allowed_tools=ours.allowed_tools if allowed is None else allowed),
        )
