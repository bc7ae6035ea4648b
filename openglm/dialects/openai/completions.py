"""Raw completions and embeddings on the OpenAI wire."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from openglm.dialects.openai.frames import KEEP_ALIVE, Frames, Head, encode_usage, new_id
from openglm.dialects.openai.logprobs import CompletionLogprobs
from openglm.messages import (
    Event,
    Failure,
    Finish,
    LogprobsDelta,
    TextDelta,
    TokenLogprob,
    Usage,
    UsageUpdate,
)


class CompletionChunks:
    """Encodes one streamed completion; choice p * n + i is answer i to prompt p."""

    keep_alive = KEEP_ALIVE

    def __init__(self, model: str, *, include_usage: bool = False, continuous_usage: bool = False):
        head = Head("text_completion", model, new_id("cmpl"))
        self._frames = Frames(head, include_usage=include_usage, continuous_usage=continuous_usage)
        self._logprobs: dict[int, CompletionLogprobs] = {}
        self._waiting: dict[int, list[TokenLogprob]] = {}  # logprobs of tokens that have shown no text yet

    def encode(self, choice: int, events: Sequence[Event]) -> bytes:
        """The chunk of one step, if it has text or ends; a Failure becomes an error chunk."""
        text = ""
        reason: str | None = None
        failure: Failure | None = None
        for event in events:
            match event:
                case TextDelta(piece):
                    text += piece
                case UsageUpdate(usage):
                    self._frames.usage = usage
                case LogprobsDelta(tokens):
                    self._waiting.setdefault(choice, []).extend(tokens)
                case Finish():
                    reason = event.reason
                case Failure():
                    failure = event
        frame = self._chunk(choice, text, reason) if text or reason else b""
        return frame + self._frames.fail(failure) if failure else frame

    def fail(self, error: Exception) -> bytes:
        return self._frames.fail(error)

    def end(self) -> bytes:
        return self._frames.end()

    def _chunk(self, choice: int, text: str, reason: str | None) -> bytes:
        tokens = self._waiting.pop(choice, None)
        logprobs = None
        if tokens:
            logprobs = self._logprobs.setdefault(choice, CompletionLogprobs()).encode(tokens)
        return self._frames.chunk(
            {"index": choice, "text": text, "logprobs": logprobs, "finish_reason": reason}
        )


class CompletionObject:
    """Collects the answers to one completion request and encodes them whole."""

    def __init__(self, model: str, choices: int, *, logprobs: bool = False):
        self._head = Head("text_completion", model, new_id("cmpl"))
        self._texts: list[list[str]] = [[] for _ in range(choices)]
        self._tokens: list[list[TokenLogprob]] = [[] for _ in range(choices)]
        self._reasons: list[str | None] = [None] * choices
        self._logprobs = logprobs
        self._usage = Usage()
        self.failure: Failure | None = None

    def add(self, choice: int, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case TextDelta(text):
                    self._texts[choice].append(text)
                case LogprobsDelta(tokens):
                    self._tokens[choice].extend(tokens)
                case UsageUpdate(usage):
                    self._usage = usage
                case Finish(reason):
                    self._reasons[choice] = reason
                case Failure():
                    self.failure = event

    def body(self) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "text": "".join(texts),
                "logprobs": CompletionLogprobs().encode(tokens) if self._logprobs else None,
                "finish_reason": reason,
            }
            for index, (texts, tokens, reason) in enumerate(
                zip(self._texts, self._tokens, self._reasons, strict=True)
            )
        ]
        return self._head.around(choices, usage=encode_usage(self._usage))


def encode_embeddings(
    vectors: Iterable[array[float]], *, model: str, encoding: Literal["float", "base64"], prompt_tokens: int
) -> dict[str, Any]:
    """Vectors of 32-bit floats; base64 holds them little-endian. OpenAI's own clients ask for base64."""
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(vector, encoding)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def _vector(vector: array[float], encoding: Literal["float", "base64"]) -> list[float] | str:
    if encoding == "float":
        return vector.tolist()
    return base64.b64encode(vector.tobytes()).decode()
