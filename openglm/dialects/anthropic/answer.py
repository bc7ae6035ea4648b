"""Answers on Anthropic's wire: events -> the strict order of its stream, or one message object.

The first event carries the prompt's tokens, which clients rely on: whoever iterates the answer tells a count
before its first word. message_delta tells the last. Counts are cumulative. There is no closing
`[DONE]`: message_stop ends a whole answer, an error event ends a broken one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from openglm.dialects.anthropic.errors import encode_error, encode_failure
from openglm.dialects.anthropic.signature import sign
from openglm.dialects.blocks import Block, Blocks, Change, Closed, Grown, Opened
from openglm.dialects.wire import WireError
from openglm.errors import UnsafeContent
from openglm.messages import Event, Failure, Finish, Usage, UsageUpdate

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_encode = msgspec.json.Encoder().encode
_DELTAS = {
    "text": ("text_delta", "text"),
    "reasoning": ("thinking_delta", "thinking"),
    "call": ("input_json_delta", "partial_json"),
}
_ABORTED = Failure("the answer was ended on the server before it was whole")


class MessageChunks:
    """Encodes one streamed answer. `key` signs its reasoning."""

    keep_alive = PING

    def __init__(self, model: str, key: bytes, *, request_id: str | None = None):
        self._model = model
        self._key = key
        self._request_id = request_id
        self._blocks = Blocks()
        self._usage = Usage()
        self._started = False
        self._broken = False
        self._refused = False
        self._finish: Finish | None = None

    def encode(self, choice: int, events: Sequence[Event]) -> bytes:
        failure: Failure | None = None
        counted = False
        for event in events:
            if isinstance(event, UsageUpdate):
                self._usage = event.usage
                counted = True
            elif isinstance(event, Finish):
                self._finish = event
                failure = _ABORTED if event.reason == "abort" else failure
            elif isinstance(event, Failure):
                failure = event
        if self._broken:
            return b""
        changes = self._blocks.read(events)
        frames = [self._start()] if changes or counted else []
        frames += [self._frame(change) for change in changes]
        if failure:
            frames.append(self._error(encode_failure(failure, self._request_id)))
        return b"".join(frames)

    def fail(self, error: Exception) -> bytes:
        """Content that was refused ends the answer in order; all else is an error event."""
        if self._broken:
            return b""
        if isinstance(error, UnsafeContent):
            self._refused = True
            return b""
        return self._error(encode_error(error, self._request_id))

    def end(self) -> bytes:
        if self._broken:
            return b""
        frames = [self._start(), *(self._frame(change) for change in self._blocks.close())]
        reason, sequence = _stop(self._finish, self._blocks)
        if self._refused:
            reason, sequence = "refusal", None
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        frames.append(_event("message_delta", delta=delta, usage=encode_usage(self._usage)))
        frames.append(_event("message_stop"))
        return b"".join(frames)

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        return _event("message_start", message=_message(self._model, [], (None, None), self._usage))

    def _error(self, wire: WireError) -> bytes:
        self._broken = True
        return b"event: error\ndata: %b\n\n" % _encode(wire.body)

    def _frame(self, change: Change) -> bytes:
        block = change.block
        match change:
            case Opened():
                return _event("content_block_start", index=block.index, content_block=_opening(block))
            case Grown():
                kind, name = _DELTAS[block.kind]
                return _event(
                    "content_block_delta", index=block.index, delta={"type": kind, name: change.text}
                )
            case Closed():
                stop = _event("content_block_stop", index=block.index)
                if block.kind != "reasoning":
                    return stop
                delta = {"type": "signature_delta", "signature": sign(self._key, block.text)}
                return _event("content_block_delta", index=block.index, delta=delta) + stop


class MessageObject:
    """Collects one answer and encodes it whole."""

    def __init__(self, model: str, key: bytes):
        self._model = model
        self._key = key
        self._blocks = Blocks()
        self._usage = Usage()
        self._finish: Finish | None = None
        self.failure: Failure | None = None

    def add(self, choice: int, events: Iterable[Event]) -> None:
        events = tuple(events)
        self._blocks.read(events)
        for event in events:
            if isinstance(event, UsageUpdate):
                self._usage = event.usage
            elif isinstance(event, Finish):
                self._finish = event
                if event.reason == "abort":
                    self.failure = _ABORTED
            elif isinstance(event, Failure):
                self.failure = event

    def body(self) -> dict[str, Any]:
        self._blocks.close()
        # A call that broke off is no call.
        content = [_whole(block, self._key) for block in self._blocks.all if block.whole]
        return _message(self._model, content, _stop(self._finish, self._blocks), self._usage)


def encode_usage(usage: Usage) -> dict[str, Any]:
    """Cached tokens stand beside the input's, not within."""
    return {
        "input_tokens": usage.input_uncached,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.output_reasoning},
    }


def _message(
    model: str, content: list[dict[str, Any]], stop: tuple[str | None, str | None], usage: Usage
) -> dict[str, Any]:
    return {
        "id": f"msg_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop[0],
        "stop_sequence": stop[1],
        "usage": encode_usage(usage),
    }


def _stop(finish: Finish | None, blocks: Blocks) -> tuple[str, str | None]:
    """Why the answer ended, and the caller's own string that ended it."""
    if finish and finish.reason == "length":
        return "max_tokens", None
    if blocks.called:  # some servers say `stop` after calls
        return "tool_use", None
    if finish and isinstance(finish.stop, str):
        return "stop_sequence", finish.stop
    return "end_turn", None


def _opening(block: Block) -> dict[str, Any]:
    if block.kind == "text":
        return {"type": "text", "text": ""}
    if block.kind == "reasoning":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "tool_use", "id": _call_id(block), "name": block.name, "input": {}}


def _whole(block: Block, key: bytes) -> dict[str, Any]:
    opening = _opening(block)
    if block.kind == "text":
        return {**opening, "text": block.text}
    if block.kind == "reasoning":
        return {**opening, "thinking": block.text, "signature": sign(key, block.text)}
    return {**opening, "input": msgspec.json.decode(block.text or "{}")}


def _call_id(block: Block) -> str:
    if not block.call_id:
        block.call_id = f"toolu_{secrets.token_hex(12)}"
    return block.call_id


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **fields}))
