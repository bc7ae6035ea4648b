"""One stream's server-sent events on the OpenAI wire.

Thousands of chunks of a stream share all but a few words, so their head is encoded once; the rest of a chunk
is one small object. Not about what a choice holds.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from openglm.dialects.openai.errors import encode_error, encode_failure
from openglm.messages import Failure, Usage

KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
_encode = msgspec.json.Encoder().encode


def new_id(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(12)}"


def encode_usage(usage: Usage) -> dict[str, Any]:
    """OpenAI's usage: cached tokens are part of the prompt's, reasoning tokens part of the completion's."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.output_reasoning},
    }


@dataclass(slots=True)
class Head:
    """What every chunk of one answer repeats."""

    object: str
    model: str
    id: str
    created: int = field(default_factory=lambda: int(time.time()))

    def around(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": self.object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
            **more,
        }


class Frames:
    """Frames of one stream. `usage` is the latest count and goes out as the client asked for it."""

    def __init__(self, head: Head, *, include_usage: bool, continuous_usage: bool):
        self._head = _encode(head.around([])).removesuffix(b"]}")
        self._tail = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._include_usage = include_usage
        self._continuous = include_usage and continuous_usage
        self._broken = False
        self.usage = Usage()

    def chunk(self, choice: dict[str, Any]) -> bytes:
        tail = self._usage_tail() if self._continuous else self._tail
        return b"data: %b%b%b" % (self._head, _encode(choice), tail)

    def fail(self, error: Exception | Failure) -> bytes:
        """An error chunk, after which nothing but the end follows."""
        self._broken = True
        wire = encode_failure(error) if isinstance(error, Failure) else encode_error(error)
        return b"data: %b\n\n" % _encode(wire.body)

    def end(self) -> bytes:
        """The chunk with the whole usage and no choices, if the client asked for it, and the closing word."""
        if self._broken or not self._include_usage:
            return DONE
        return b"data: %b%b%b" % (self._head, self._usage_tail(), DONE)

    def _usage_tail(self) -> bytes:
        return b'],"usage":%b}\n\n' % _encode(encode_usage(self.usage))
