"""A server of the Model Context Protocol on its standard streams, with one tool: it shouts a word."""

from __future__ import annotations

import json
import sys
from typing import Any

WORD = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "initialize":
        server = {"name": "loud", "version": "1"}
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": server,
        }
    if method == "tools/list":
        return {"tools": [{"name": "shout", "description": "Shouts a word.", "inputSchema": WORD}]}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": params["arguments"]["word"].upper()}]}
    return {}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        result = answer(message["method"], message.get("params") or {})
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
