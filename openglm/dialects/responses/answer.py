"""Answers on the Responses wire: events -> its numbered stream, or one response object; the two agree.

Reasoning goes out as a summary, which is where clients look for it; it is the reasoning itself. Input of a
custom tool comes whole, because its JSON wrapping is ours.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from openglm.dialects.blocks import Block, Blocks, Change, Closed, Grown, Opened
from openglm.dialects.openai.errors import encode_error, encode_failure
from openglm.dialects.openai.frames import KEEP_ALIVE
from openglm.dialects.responses.decode import ResponsesRequest
from openglm.dialects.responses.tools import INPUT
from openglm.messages import Event, Failure, Finish, ServerCall, ToolsListed, Usage, UsageUpdate

Sealing = Callable[[str], str]  # reasoning -> a token that only we can open
_encode = msgspec.json.Encoder().encode
_PREFIX = {"reasoning": "rs", "text": "msg", "call": "fc", "list": "mcpl", "server_call": "mcp"}
_ABORTED = Failure("the answer was ended on the server before it was whole")
_LAST = {"completed": "completed", "failed": "failed"}  # of a stream; all else is an incomplete response


class ResponseObject:
    """Collects one answer; `body` is the response as it stands."""

    def __init__(self, request: ResponsesRequest, seal: Sealing):
        self.id = f"resp_{secrets.token_hex(24)}"
        self.failure: Failure | None = None
        self.status = "in_progress"
        self.blocks = Blocks()
        self._request = request
        self._seal = seal
        self._created = int(time.time())
        self._usage: Usage | None = None
        self._length = False
        self._error: dict[str, Any] | None = None
        self._ids: dict[int, str] = {}

    def add(self, choice: int, events: Iterable[Event]) -> None:
        self.read(tuple(events))

    def read(self, events: Sequence[Event]) -> list[Change]:
        for event in events:
            if isinstance(event, UsageUpdate):
                self._usage = event.usage
            elif isinstance(event, Finish):
                self._length = event.reason == "length"
                if event.reason == "abort":
                    self.failure = _ABORTED
            elif isinstance(event, Failure):
                self.failure = event
        return self.blocks.read(events)

    def close(self, status: str | None = None) -> list[Change]:
        """The answer has ended: in its own time, or as `status` says."""
        changes = self.blocks.close()
        if self.status == "in_progress":
            self.status = status or ("incomplete" if self._length else "completed")
        return changes

    def broke(self, error: Exception | Failure) -> None:
        wire = encode_failure(error) if isinstance(error, Failure) else encode_error(error)
        told = wire.body["error"]
        # Of the codes that clients know.
        code = "rate_limit_exceeded" if told["code"] == "overloaded" else "server_error"
        self._error = {"code": code, "message": told["message"]}
        self.status = "failed"

    def body(self) -> dict[str, Any]:
        length = self.status == "incomplete" and self._length
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "status": self.status,
            "error": self._error,
            "incomplete_details": {"reason": "max_output_tokens"} if length else None,
            "model": self._request.chat.model,
            "output": [self.item(block) for block in self.blocks.all],
            "usage": None if self._usage is None else encode_usage(self._usage),
            "service_tier": "default",
            "top_logprobs": 0,
            **self._request.echo,
        }

    def text(self) -> str:
        """The words of the answer, without reasoning and calls."""
        return "".join(block.text for block in self.blocks.all if block.kind == "text")

    def begun(self) -> dict[str, Any]:
        return {**self.body(), "output": [], "usage": None}

    def item_id(self, block: Block) -> str:
        if block.index not in self._ids:
            prefix = "ctc" if self.is_custom(block) else _PREFIX[block.kind]
            self._ids[block.index] = f"{prefix}_{secrets.token_hex(20)}"
        return self._ids[block.index]

    def is_custom(self, block: Block) -> bool:
        return block.kind == "call" and block.name in self._request.offer.custom

    def called(self, block: Block) -> dict[str, str]:
        """A call's name as the client knows it."""
        if inside := self._request.offer.spaces.get(block.name):
            return {"namespace": inside[0], "name": inside[1]}
        return {"name": block.name}

    def item(self, block: Block, *, opening: bool = False) -> dict[str, Any]:
        """A block as an item of the output; `opening`: before its first word."""
        if block.told is not None:
            return _server_item(self.item_id(block), block.told, opening=opening)
        status = "in_progress" if opening else "completed" if block.whole else "incomplete"
        if block.kind == "reasoning":
            summary = [] if opening else [{"type": "summary_text", "text": block.text}]
            item: dict[str, Any] = {"id": self.item_id(block), "type": "reasoning", "summary": summary}
            if self._request.encrypted:
                item["encrypted_content"] = None if opening else self._seal(block.text)
            return item
        if block.kind == "text":
            content = [] if opening else [text_part(block.text)]
            return {
                "id": self.item_id(block),
                "type": "message",
                "role": "assistant",
                "status": status,
                "content": content,
            }
        if not block.call_id:
            block.call_id = f"call_{secrets.token_hex(12)}"
        call = {
            "id": self.item_id(block),
            "status": status,
            "call_id": block.call_id,
            **self.called(block),
        }
        if self.is_custom(block):
            return {**call, "type": "custom_tool_call", "input": "" if opening else custom_input(block)}
        arguments = "" if opening else (block.text or "{}")
        return {**call, "type": "function_call", "arguments": arguments}


class ResponseEvents:
    """Encodes one streamed answer. `response` is what it amounts to, also while it grows."""

    keep_alive = KEEP_ALIVE

    def __init__(self, response: ResponseObject, *, first_number: int = 0):
        self.response = response
        self._number = first_number
        self._started = False
        self._broken = False
        self._rest: bytes | None = None  # what `end` tells of a response that was closed

    def encode(self, choice: int, events: Sequence[Event]) -> bytes:
        if self._broken:
            return b""
        frames = [self._start()]
        for change in self.response.read(events):
            frames += self._frames(change)
        if self.response.failure:
            frames.append(self._break(self.response.failure))
        return b"".join(frames)

    def fail(self, error: Exception) -> bytes:
        return b"" if self._broken else self._start() + self._break(error)

    def close(self, status: str | None = None) -> None:
        """The answer has ended: the response is what it will be, and `end` tells the frames of that."""
        if self._broken or self._rest is not None:
            return
        frames = [self._start()]
        for change in self.response.close(status):
            frames += self._frames(change)
        self._rest = b"".join((*frames, self.last()))

    def end(self, status: str | None = None) -> bytes:
        self.close(status)
        rest, self._rest = self._rest or b"", b""
        return rest

    def last(self) -> bytes:
        kind = _LAST.get(self.response.status, "incomplete")
        return self._event(f"response.{kind}", response=self.response.body())

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        begun = self.response.begun()
        return self._event("response.created", response=begun) + self._event(
            "response.in_progress", response=begun
        )

    def _break(self, error: Exception | Failure) -> bytes:
        self._broken, self._rest = True, None
        self.response.broke(error)
        return self.last()

    def _frames(self, change: Change) -> list[bytes]:
        block = change.block
        at: dict[str, Any] = {"output_index": block.index, "item_id": self.response.item_id(block)}
        match change:
            case Opened():
                return [
                    self._event(
                        "response.output_item.added",
                        output_index=block.index,
                        item=self.response.item(block, opening=True),
                    ),
                    *self._opened(block, at),
                ]
            case Grown():
                return self._grown(block, change.text, at)
            case Closed():
                return [
                    *self._closed(block, at),
                    self._event(
                        "response.output_item.done",
                        output_index=block.index,
                        item=self.response.item(block),
                    ),
                ]

    def _opened(self, block: Block, at: dict[str, Any]) -> list[bytes]:
        if block.told is not None:
            return [self._event(f"response.{_server_kind(block.told)}.in_progress", **at)]
        if block.kind == "text":
            return [self._event("response.content_part.added", **at, content_index=0, part=text_part(""))]
        if block.kind == "reasoning":
            part = {"type": "summary_text", "text": ""}
            return [self._event("response.reasoning_summary_part.added", **at, summary_index=0, part=part)]
        return []

    def _grown(self, block: Block, text: str, at: dict[str, Any]) -> list[bytes]:
        if block.kind == "text":
            return [self._event("response.output_text.delta", **at, content_index=0, delta=text, logprobs=[])]
        if block.kind == "reasoning":
            return [self._event("response.reasoning_summary_text.delta", **at, summary_index=0, delta=text)]
        if block.told is not None:  # the arguments come whole, before the call is made
            return [
                self._event("response.mcp_call_arguments.delta", **at, delta=text),
                self._event("response.mcp_call_arguments.done", **at, arguments=block.text),
            ]
        if self.response.is_custom(block):
            return []
        return [self._event("response.function_call_arguments.delta", **at, delta=text)]

    def _closed(self, block: Block, at: dict[str, Any]) -> list[bytes]:
        text = block.text
        if block.told is not None:
            failed = isinstance(block.told, ServerCall) and block.told.output is None
            ending = "failed" if failed else "completed"
            return [self._event(f"response.{_server_kind(block.told)}.{ending}", **at)]
        if block.kind == "text":
            done = self._event("response.output_text.done", **at, content_index=0, text=text, logprobs=[])
            part = self._event("response.content_part.done", **at, content_index=0, part=text_part(text))
            return [done, part]
        if block.kind == "reasoning":
            summary = {"type": "summary_text", "text": text}
            return [
                self._event("response.reasoning_summary_text.done", **at, summary_index=0, text=text),
                self._event("response.reasoning_summary_part.done", **at, summary_index=0, part=summary),
            ]
        if self.response.is_custom(block):
            given = custom_input(block)
            return [
                self._event("response.custom_tool_call_input.delta", **at, delta=given),
                self._event("response.custom_tool_call_input.done", **at, input=given),
            ]
        return [
            self._event(
                "response.function_call_arguments.done",
                **at,
                name=self.response.called(block)["name"],
                arguments=text or "{}",
            )
        ]

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(data))


def _server_kind(told: ToolsListed | ServerCall) -> str:
    return "mcp_call" if isinstance(told, ServerCall) else "mcp_list_tools"


def _server_item(item_id: str, told: ToolsListed | ServerCall, *, opening: bool) -> dict[str, Any]:
    """What the platform did with the tools of a server."""
    item: dict[str, Any] = {"id": item_id, "type": _server_kind(told), "server_label": told.server}
    if isinstance(told, ToolsListed):
        listed = [
            {
                "name": tool.name,
                "description": tool.description,
                "input_schema": tool.parameters,
                "annotations": None,
            }
            for tool in (() if opening else told.tools)
        ]
        return {**item, "tools": listed, "error": None}
    status = "completed" if told.output is not None else "failed" if told.ended else "incomplete"
    error = None
    if told.error is not None:
        error = {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": told.error}]}
    return {
        **item,
        "status": "in_progress" if opening else status,
        "name": told.name,
        "arguments": told.arguments,
        "output": told.output,
        "error": error,
        "approval_request_id": None,
    }


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def custom_input(block: Block) -> str:
    """The text within our JSON wrapping; what broke off is shown as it came."""
    try:
        wrapped = msgspec.json.decode(block.text or "{}")
    except (ValueError, RecursionError):
        return block.text
    given = wrapped.get(INPUT) if isinstance(wrapped, dict) else None
    return given if isinstance(given, str) else block.text


def encode_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.output_reasoning},
        "total_tokens": usage.total_tokens,
    }
