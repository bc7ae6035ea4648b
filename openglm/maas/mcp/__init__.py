"""MCP: tools of other people's servers, listed and called for a model.

The client is ours: the official package brings another HTTP stack and some twenty-eight packages, and its
connections could not be guarded. Of the protocol it speaks what tools need: initialize, tools/list and
tools/call.
"""

from openglm.maas.mcp.client import McpClient, Outcome, Tool
from openglm.maas.mcp.servers import McpServers
from openglm.maas.mcp.toolbox import Toolbox, ToolSource, open_toolbox

__all__ = ["McpClient", "McpServers", "Outcome", "Tool", "ToolSource", "Toolbox", "open_toolbox"]
