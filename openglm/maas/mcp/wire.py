"""JSON-RPC as MCP's transports carry it: messages whole or as server-sent events, within limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.dialects.fields import too_deep
from openglm.errors import UpstreamFailure

if TYPE_CHECKING:
    import aiohttp

MAX_ANSWER = 4 * 2**20  # bytes of one answer, whatever it carries


class RpcError(UpstreamFailure):
    """The server answered with an error of the protocol."""


def request(number: int, method: str, params: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


def notification(method: str) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "method": method})


def message_of(data: bytes) -> dict[str, Any]:
    try:
        message = msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise UpstreamFailure("the MCP server sent what is no JSON") from None
    if not isinstance(message, dict) or too_deep(message):
        raise UpstreamFailure("the MCP server sent what is no JSON-RPC message")
    return message


def result_of(message: dict[str, Any]) -> dict[str, Any]:
    error = message.get("error")
    if error is not None:
        told = error.get("message") if isinstance(error, dict) else None
        raise RpcError(f"the MCP server says: {str(told or 'it failed')[:500]}")
    result = message.get("result")
    if not isinstance(result, dict):
        raise UpstreamFailure("the MCP server answered without a result")
    return result


async def whole(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise _too_large()
    return bytes(body)


async def events(
    answer: aiohttp.ClientResponse, *, endless: bool = False
) -> AsyncIterator[tuple[str, bytes]]:
    """The name and data of each server-sent event. `endless`: the limit is that of each event alone."""
    name, data, rest, size = "message", bytearray(), b"", 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) + len(data) > MAX_ANSWER or (size > MAX_ANSWER and not endless):
            raise _too_large()
        for line in (line.removesuffix(b"\r") for line in lines):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if not line:
                if data:
                    yield name, bytes(data[:-1])
                name, data = "message", bytearray()
            elif field == b"event":
                name = value.decode("utf-8", "replace")
            elif field == b"data":
                data += value + b"\n"


def _too_large() -> UpstreamFailure:
    return UpstreamFailure(f"the MCP server sent more than {MAX_ANSWER} bytes")
