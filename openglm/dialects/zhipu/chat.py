"""Chat answers on Zhipu's wire: events -> chunks of a stream, or one object.

Unlike OpenAI's: every delta says its role, the last chunk carries the usage whether asked for or not, and
without `tool_stream` calls come whole. `model_context_window_exceeded` is never said: an engine reports the
end of the context as `length`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from openglm.dialects import openai
from openglm.dialects.fields import is_object
from openglm.dialects.openai.chat import deltas
from openglm.dialects.openai.frames import DONE, KEEP_ALIVE
from openglm.dialects.openai.logprobs import chat_logprobs
from openglm.dialects.zhipu.errors import encode_error, encode_failure
from openglm.dialects.zhipu.shapes import new_id
from openglm.messages import (
    Event,
    Failure,
    Finish,
    FinishReason,
    LogprobsDelta,
    ServerCall,
    TokenLogprob,
    ToolCallDelta,
    ToolsListed,
    Usage,
    UsageUpdate,
)

_encode = msgspec.json.Encoder().encode
REASONS: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "abort": "network_error",
}
Hits = Sequence[Mapping[str, Any]]  # of a web search, as they go out


class ChatChunks:
    """Encodes one streamed chat answer."""

    keep_alive = KEEP_ALIVE

    def __init__(
        self,
        model: str,
        *,
        request_id: str | None = None,
        tool_stream: bool = False,
        web_search: Hits = (),
        results_first: bool = False,
    ):
        answer_id = new_id()
        head = {
            "id": answer_id,
            "request_id": request_id or answer_id,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
            "choices": [],
        }
        self._head = _encode(head).removesuffix(b"]}")
        self._tool_stream = tool_stream
        self._first = {"web_search": web_search} if web_search and results_first else {}
        self._last = {"web_search": web_search} if web_search and not results_first else {}
        self._usage = Usage()
        self._logprobs: dict[int, list[TokenLogprob]] = {}  # of tokens that have shown no text yet
        self._calls: dict[int, dict[int, _Call]] = {}  # of each choice, while they grow
        self._end: dict[str, Any] | None = None  # the last choice that ended waits for the usage
        self._broken = False

    def encode(self, choice: int, events: Sequence[Event]) -> bytes:
        """The chunks of one step. A Failure becomes an error chunk, after which nothing follows."""
        finish: Finish | None = None
        failure: Failure | None = None
        for event in events:
            if isinstance(event, UsageUpdate):
                self._usage = event.usage
            elif isinstance(event, LogprobsDelta):
                self._logprobs.setdefault(choice, []).extend(event.tokens)
            elif isinstance(event, Finish):
                finish = event
            elif isinstance(event, Failure):
                failure = event
            elif isinstance(event, ToolCallDelta) and not self._tool_stream:
                self._hold(choice, event)
        shown = events
        if self._calls and not self._tool_stream:
            shown = [event for event in events if not isinstance(event, ToolCallDelta)]
        frames = [self._frame(self._choice(choice, {"tool_calls": [one]})) for one in server_entries(events)]
        frames += [self._frame(self._choice(choice, delta)) for delta in deltas(shown)]
        if finish:
            frames += [self._frame(self._choice(choice, delta)) for delta in self._whole_calls(choice)]
            if self._end:
                frames.append(self._frame(self._end))
            self._end = self._choice(choice, {"content": ""}, REASONS[finish.reason])
        if failure:
            frames.append(self._error(encode_failure(failure).body))
        return b"".join(frames)

    def fail(self, error: Exception) -> bytes:
        return self._error(encode_error(error).body)

    def end(self) -> bytes:
        if self._broken:
            return DONE
        more = {"usage": openai.encode_usage(self._usage), **self._last}
        return self._frame(self._end, **more) + DONE

    def _choice(self, choice: int, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        body: dict[str, Any] = {"index": choice, "delta": {"role": "assistant", **delta}}
        if finish_reason:
            body["finish_reason"] = finish_reason
        if tokens := self._logprobs.pop(choice, None):
            body["logprobs"] = chat_logprobs(tokens)
        return body

    def _frame(self, choice: dict[str, Any] | None, **more: Any) -> bytes:
        if self._first:
            more, self._first = {**self._first, **more}, {}
        shown = _encode(choice) if choice else b""
        tail = b"," + _encode(more)[1:] if more else b"}"
        return b"data: %b%b]%b\n\n" % (self._head, shown, tail)

    def _error(self, body: dict[str, Any]) -> bytes:
        self._broken = True
        return b"data: %b\n\n" % _encode(body)

    def _hold(self, choice: int, piece: ToolCallDelta) -> None:
        call = self._calls.setdefault(choice, {}).setdefault(piece.index, _Call())
        call.id = call.id or piece.id
        call.name = call.name or piece.name
        call.arguments.append(piece.arguments)

    def _whole_calls(self, choice: int) -> Iterable[dict[str, Any]]:
        """One delta with the calls; one that broke off was given back as text and is no call."""
        held = sorted(self._calls.pop(choice, {}).items())
        whole = [
            ToolCallDelta(index, call.id, call.name, "".join(call.arguments) or "{}") for index, call in held
        ]
        return deltas([call for call in whole if is_object(call.arguments)])


@dataclass(slots=True)
class _Call:
    id: str | None = None
    name: str | None = None
    arguments: list[str] = field(default_factory=list)


class ChatObject:
    """Collects one chat answer and encodes it whole."""

    def __init__(
        self,
        model: str,
        n: int = 1,
        *,
        request_id: str | None = None,
        logprobs: bool = False,
        web_search: Hits = (),
    ):
        self._whole = openai.ChatObject(model, n, logprobs=logprobs)
        self._id = new_id()
        self._request_id = request_id or self._id
        self._web_search = web_search
        self._server: list[dict[str, Any]] = []  # entries of tools that the platform called

    @property
    def failure(self) -> Failure | None:
        return self._whole.failure

    @failure.setter
    def failure(self, failure: Failure | None) -> None:
        self._whole.failure = failure

    def add(self, choice: int, events: Iterable[Event]) -> None:
        events = tuple(events)
        self._whole.add(choice, events)
        self._server += server_entries(events)

    def body(self) -> dict[str, Any]:
        whole = self._whole.body()
        body = {
            "id": self._id,
            "request_id": self._request_id,
            "created": whole["created"],
            "model": whole["model"],
            "choices": [_reshaped(choice, self._server) for choice in whole["choices"]],
            "usage": whole["usage"],
        }
        return {**body, "web_search": list(self._web_search)} if self._web_search else body


def server_entries(events: Iterable[Event]) -> list[dict[str, Any]]:
    """What the platform did with tools of servers, as entries of tool_calls: lists, and calls that ended."""
    entries: list[dict[str, Any]] = []
    for event in events:
        mcp: dict[str, Any]
        if isinstance(event, ToolsListed):
            tools = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
                for tool in event.tools
            ]
            mcp = {"type": "mcp_list_tools", "tools": tools}
        elif isinstance(event, ServerCall) and event.ended:
            mcp = {"type": "mcp_call", "name": event.name, "arguments": event.arguments}
            mcp |= {"output": event.output} if event.error is None else {"error": event.error}
        else:
            continue
        mcp = {"id": event.id, "server_label": event.server, **mcp}
        entries.append({"index": event.index, "id": event.id, "type": "mcp", "mcp": mcp})
    return entries


def _reshaped(choice: dict[str, Any], server: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    message = {name: value for name, value in choice["message"].items() if name != "refusal"}
    if server or "tool_calls" in message:
        calls = message.get("tool_calls", ())
        message["tool_calls"] = [
            *server,
            *({"index": i, **call} for i, call in enumerate(calls, len(server))),
        ]
    reason = choice["finish_reason"]
    shaped = {"index": choice["index"], "finish_reason": REASONS.get(reason, reason), "message": message}
    return {**shaped, "logprobs": choice["logprobs"]} if choice["logprobs"] else shaped
