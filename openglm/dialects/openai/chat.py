"""Chat answers on the OpenAI wire: events -> chunks of a stream, or one object.

One engine step gives a batch of events for one choice; a batch becomes as few chunks as keep the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from openglm.dialects.fields import is_object
from openglm.dialects.openai.frames import KEEP_ALIVE, Frames, Head, encode_usage, new_id
from openglm.dialects.openai.logprobs import chat_logprobs
from openglm.messages import (
    Event,
    Failure,
    Finish,
    LogprobsDelta,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)


class ChatChunks:
    """Encodes one streamed chat answer. The role comes with the first chunk of each choice."""

    keep_alive = KEEP_ALIVE

    def __init__(self, model: str, *, include_usage: bool = False, continuous_usage: bool = False):
        head = Head("chat.completion.chunk", model, new_id("chatcmpl"))
        self._frames = Frames(head, include_usage=include_usage, continuous_usage=continuous_usage)
        self._opened: set[int] = set()
        self._waiting: dict[int, list[TokenLogprob]] = {}  # logprobs of tokens that have shown no text yet

    def encode(self, choice: int, events: Sequence[Event]) -> bytes:
        """The chunks of one step. A Failure becomes an error chunk, after which nothing follows."""
        finish: Finish | None = None
        failure: Failure | None = None
        for event in events:
            if isinstance(event, UsageUpdate):
                self._frames.usage = event.usage
            elif isinstance(event, LogprobsDelta):
                self._waiting.setdefault(choice, []).extend(event.tokens)
            elif isinstance(event, Finish):
                finish = event
            elif isinstance(event, Failure):
                failure = event
        frames = [self._chunk(choice, delta) for delta in deltas(events)]
        if finish:
            frames.append(self._chunk(choice, {}, finish.reason))
        if failure:
            frames.append(self._frames.fail(failure))
        return b"".join(frames)

    def fail(self, error: Exception) -> bytes:
        return self._frames.fail(error)

    def end(self) -> bytes:
        return self._frames.end()

    def _chunk(self, choice: int, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        if choice not in self._opened:
            self._opened.add(choice)
            delta = {"role": "assistant", **delta}
        tokens = self._waiting.pop(choice, None)
        logprobs = chat_logprobs(tokens) if tokens else None
        return self._frames.chunk(
            {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        )


_ORDER = ("reasoning_content", "content", "tool_calls")  # how clients read one delta


def deltas(events: Iterable[Event]) -> Iterator[dict[str, Any]]:
    """Deltas of one step: neighbours share one as long as reading it in _ORDER keeps the events' order."""
    delta: dict[str, Any] = {}
    last = -1
    for event in events:
        value: Any
        if isinstance(event, ReasoningDelta | TextDelta):
            kind, value = int(isinstance(event, TextDelta)), event.text
        elif isinstance(event, ToolCallDelta):
            kind, value = 2, [_call_piece(event)]
        else:
            continue
        if not value:
            continue
        if kind < last:
            yield delta
            delta = {}
        name, last = _ORDER[kind], kind
        delta[name] = delta[name] + value if name in delta else value
    if delta:
        yield delta


def _call_piece(event: ToolCallDelta) -> dict[str, Any]:
    if event.name is None:
        return {"index": event.index, "function": {"arguments": event.arguments}}
    function = {"name": event.name, "arguments": event.arguments}
    return {"index": event.index, "id": event.id, "type": "function", "function": function}


@dataclass(slots=True)
class _Choice:
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: str | None = None


class ChatObject:
    """Collects one chat answer and encodes it whole."""

    def __init__(self, model: str, n: int = 1, *, logprobs: bool = False):
        self._head = Head("chat.completion", model, new_id("chatcmpl"))
        self._choices = [_Choice() for _ in range(n)]
        self._logprobs = logprobs
        self._usage = Usage()
        self.failure: Failure | None = None

    def add(self, choice: int, events: Iterable[Event]) -> None:
        into = self._choices[choice]
        for event in events:
            match event:
                case TextDelta(text):
                    into.text.append(text)
                case ReasoningDelta(text):
                    into.reasoning.append(text)
                case ToolCallDelta():
                    _grow_call(into.calls, event)
                case LogprobsDelta(tokens):
                    into.logprobs.extend(tokens)
                case UsageUpdate(usage):
                    self._usage = usage
                case Finish(reason):
                    into.finish_reason = reason
                case Failure():
                    self.failure = event

    def body(self) -> dict[str, Any]:
        choices = [self._choice(index, choice) for index, choice in enumerate(self._choices)]
        return self._head.around(choices, usage=encode_usage(self._usage))

    def _choice(self, index: int, choice: _Choice) -> dict[str, Any]:
        for call in choice.calls.values():
            call["function"]["arguments"] = call["function"]["arguments"] or "{}"  # some servers say nothing
        # A call that broke off was given back as text; it is no call.
        calls = [call for _, call in sorted(choice.calls.items()) if is_object(call["function"]["arguments"])]
        text = "".join(choice.text)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text if text or not calls else None,
            "refusal": None,
        }
        if choice.reasoning:
            message["reasoning_content"] = "".join(choice.reasoning)
        if calls:
            message["tool_calls"] = calls
        return {
            "index": index,
            "message": message,
            "logprobs": chat_logprobs(choice.logprobs) if self._logprobs else None,
            "finish_reason": choice.finish_reason,
        }


def _grow_call(calls: dict[int, dict[str, Any]], piece: ToolCallDelta) -> None:
    call = calls.setdefault(
        piece.index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    )
    if piece.id is not None:
        call["id"] = piece.id
    if piece.name is not None:
        call["function"]["name"] = piece.name
    call["function"]["arguments"] += piece.arguments
