"""What a model's server answers -> events: streams in any pieces, embeddings, token counts, errors.

Model servers are strangers: a line may be split anywhere, even inside a character, or be megabytes long;
usage may come in every chunk, at the end, or never; `[DONE]` may be missing. What is no answer at all raises
UpstreamFailure. An error that comes inside a stream is the answer's Failure.
"""

from __future__ import annotations

import base64
from array import array
from collections.abc import Iterator
from typing import Any

import msgspec

from openglm.dialects.openai.overflow import read_overflow
from openglm.errors import (
    LATER,
    InvalidRequest,
    ModelNotFound,
    OpenGLMError,
    Overloaded,
    RequestTooLarge,
    UpstreamFailure,
)
from openglm.messages import (
    MOST_TOKENS,
    Event,
    Failure,
    Finish,
    FinishReason,
    LogprobsDelta,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)

Steps = list[tuple[int, list[Event]]]
MAX_LINE = 64 * 2**20  # bytes of one event; a server that sends more is broken
_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "abort": "abort",
}
COUNTS_ALL = "x-openglm-counts-all"  # a header of servers whose every count is that of all choices
UNKNOWN_TOKEN = -1  # this wire names tokens by their text alone


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_creation_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    logprobs: dict[str, Any] | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class Lines:
    """The lines of a byte stream, however it is cut. Linear in time, also for one line of megabytes."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of the line that has not ended
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        *whole, rest = data.split(b"\n")
        if whole and self._pieces:
            whole[0] = b"".join((*self._pieces, whole[0]))
            self._pieces.clear()
            self._size = 0
        yield from whole
        if rest:
            self._pieces.append(rest)
            self._size += len(rest)
            if self._size > MAX_LINE:
                raise UpstreamFailure(f"the model's server sent a line of more than {MAX_LINE} bytes")

    def rest(self) -> bytes:
        return b"".join(self._pieces)


class UpstreamEvents:
    """Reads one streamed answer, of chat or of completions. `usage` is what has been counted so far.

    vLLM and SGLang count each choice for itself while they stream, and all of them at the end, in a chunk
    without choices. Where several choices are asked for, the last counts of all of them are added up; a
    server that says `counts_all` tells the whole count every time.
    """

    def __init__(self, n: int = 1, prompts: int = 1, *, counts_all: bool = False):
        self._n = n
        self._choices = n * prompts
        self._counts: dict[int, Usage] | None = {} if self._choices > 1 and not counts_all else None
        self._lines = Lines()
        self._unfinished: set[int] = set()
        self._seen = False  # an answer has begun
        self._over = False  # [DONE] or an error came; what follows is nobody's
        self.usage: Usage | None = None

    @property
    def finished(self) -> bool:
        """Whether every choice that began has ended, or the stream said that it is over."""
        return self._over or (self._seen and not self._unfinished)

    def feed(self, data: bytes, into: Steps | None = None) -> Steps:
        """The steps in the next piece of the body; usage before what came with it.

        `into` is a list that they are added to, which also keeps those before a failure that is raised.
        """
        steps: Steps = [] if into is None else into
        for line in self._lines.feed(data):
            self._read(line, steps)
        return steps

    def done(self, into: Steps | None = None) -> Steps:
        """The body has ended: the steps of a last line without its end. Raises if the answer is not whole."""
        steps: Steps = [] if into is None else into
        self._read(self._lines.rest(), steps)
        if not self.finished:
            raise UpstreamFailure(
                "the model's server closed the connection in the middle of the answer", hint=LATER
            )
        return steps

    def _read(self, line: bytes, steps: Steps) -> None:
        if self._over or not line.startswith(b"data:"):
            return  # blank lines, comments that keep the connection open, event names, carriage returns
        data = line[5:].strip()
        if data == b"[DONE]":
            self._over = True
            return
        try:
            chunk = _decode(data)
        except (msgspec.MsgspecError, ValueError) as error:
            raise UpstreamFailure(f"the model's server sent what is no chunk: {error}") from error
        if chunk.error is not None:
            self._over = True
            steps.append((0, [_failure(chunk.error)]))
            return
        self._check(chunk.choices)
        if chunk.usage is not None:
            self.usage = self._count(chunk.choices, read_usage(chunk.usage))
            place = chunk.choices[0].index if chunk.choices else 0
            steps.append((place, [UsageUpdate(self.usage)]))
        for choice in chunk.choices:
            self._seen = True
            events = list(_events(choice))
            if choice.finish_reason:
                self._unfinished.discard(choice.index)
            else:
                self._unfinished.add(choice.index)
            if not events:
                continue
            if steps and steps[-1][0] == choice.index:
                steps[-1][1].extend(events)
            else:
                steps.append((choice.index, events))

    def _check(self, choices: list[_Choice]) -> None:
        for choice in choices:
            if not 0 <= choice.index < self._choices:
                raise UpstreamFailure(
                    f"the model's server sent a choice {choice.index} where {self._choices} were asked for"
                )

    def _count(self, choices: list[_Choice], told: Usage) -> Usage:
        """The whole count so far, after this one came with these choices."""
        if self._counts is None or not choices:
            return told
        for choice in choices:
            self._counts[choice.index] = told
        # A prompt is read once, however many answers it has.
        prompts = {index // self._n: usage for index, usage in sorted(self._counts.items())}
        return Usage(
            sum(usage.input_uncached for usage in prompts.values()),
            sum(usage.cache_read for usage in prompts.values()),
            sum(usage.cache_write for usage in prompts.values()),
            sum(usage.output_text for usage in self._counts.values()),
            sum(usage.output_reasoning for usage in self._counts.values()),
        )


def read_usage(usage: _Usage) -> Usage:
    """OpenAI counts cached tokens within the prompt, reasoning within the completion; we count each once."""
    prompt, completion = usage.prompt_tokens, usage.completion_tokens or 0
    inside, outside = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = (inside.cached_tokens or 0) if inside else 0
    written = (inside.cache_creation_tokens or 0) if inside else 0
    reasoning = (outside.reasoning_tokens or 0) if outside else 0
    whole = 0 <= cached + written <= prompt <= MOST_TOKENS and min(cached, written) >= 0
    if not whole or not 0 <= reasoning <= completion <= MOST_TOKENS:
        raise UpstreamFailure("the model's server sent a usage that does not add up")
    return Usage(prompt - cached - written, cached, written, completion - reasoning, reasoning)


def _events(choice: _Choice) -> Iterator[Event]:
    if choice.logprobs:
        tokens = tuple(_logprobs(choice.logprobs))
        if tokens:
            yield LogprobsDelta(tokens)
    delta = choice.delta
    if delta is not None:
        reasoning = delta.reasoning_content or delta.reasoning
        if reasoning:
            yield ReasoningDelta(reasoning)
        if delta.content:
            yield TextDelta(delta.content)
        for call in delta.tool_calls or ():
            function = call.function or _Function()
            yield ToolCallDelta(call.index, call.id, function.name, function.arguments or "")
    if choice.text:
        yield TextDelta(choice.text)
    if choice.finish_reason:
        yield Finish(_REASONS.get(choice.finish_reason, "stop"), choice.stop_reason)


def _logprobs(given: dict[str, Any]) -> Iterator[TokenLogprob]:
    """Chat's entries, or completions' parallel lists."""
    try:
        if "tokens" in given:
            for index, text in enumerate(given["tokens"]):
                top = (given.get("top_logprobs") or [])[index : index + 1]
                candidates = tuple(
                    (UNKNOWN_TOKEN, other.encode(), float(logprob))
                    for other, logprob in ((top[0] if top else None) or {}).items()
                )
                yield TokenLogprob(UNKNOWN_TOKEN, text.encode(), given["token_logprobs"][index], candidates)
        for entry in given.get("content") or ():
            candidates = tuple(
                (UNKNOWN_TOKEN, _bytes(other), float(other["logprob"]))
                for other in entry.get("top_logprobs") or ()
            )
            yield TokenLogprob(UNKNOWN_TOKEN, _bytes(entry), entry["logprob"], candidates)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise UpstreamFailure("the model's server sent logprobs that cannot be read") from error


def _bytes(entry: dict[str, Any]) -> bytes:
    data = entry.get("bytes")
    return bytes(data) if data is not None else entry["token"].encode()


def _failure(error: Any) -> Failure:
    known = error if isinstance(error, dict) else {}
    code = str(known.get("code"))
    message = known.get("message") or "the model's server failed"
    return Failure(str(message)[:500], retryable=code in ("overloaded", "429", "503", "rate_limit_exceeded"))


class _Embedding(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]
    usage: _Usage


def decode_embeddings(body: bytes, count: int) -> tuple[list[array[float]], int]:
    """The vectors of `count` inputs in their order, as 32-bit floats of one size, and the prompt's tokens."""
    try:
        answer = msgspec.json.decode(body, type=_Embeddings)
        vectors = [
            array("f", base64.b64decode(entry.embedding, validate=True))
            if isinstance(entry.embedding, str)
            else array("f", entry.embedding)
            for entry in sorted(answer.data, key=lambda entry: entry.index)
        ]
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise UpstreamFailure(f"the model's server sent no embeddings: {error}") from error
    sizes = {len(vector) for vector in vectors}
    if len(vectors) != count or len(sizes) != 1 or 0 in sizes:
        raise UpstreamFailure(
            f"the model's server sent {len(vectors)} vectors of sizes {sorted(sizes)[:5]},"
            f" expected {count} of one size"
        )
    return vectors, read_usage(answer.usage).prompt_tokens


def decode_count(body: bytes) -> int:
    """The number of tokens in an answer of POST /tokenize."""
    try:
        count = msgspec.json.decode(body)["count"]
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise UpstreamFailure("the model's server sent no token count") from error
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST_TOKENS:
        raise UpstreamFailure(f"the model's server counted {count!r} tokens")
    return count


_BLIND = ("is not a multimodal model", "At most 0 image(s)")  # vLLM, of a model that sees no images


def decode_upstream_error(status: int, body: bytes) -> OpenGLMError:
    """An answer with an error status. What the caller can mend is told to them; the rest stays inside."""
    try:
        data = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        data = None
    error = data.get("error", data) if isinstance(data, dict) else None
    known: dict[str, Any] = error if isinstance(error, dict) else {}
    message = str(known.get("message") or f"the model's server answered with status {status}")[:2000]
    param = known.get("param") if isinstance(known.get("param"), str) else None
    code = str(known.get("code") or "invalid_request")
    if too_long := read_overflow(message, code=code, param=param):
        return too_long
    if status == 404:
        return ModelNotFound(message, param="model")
    if status == 413:
        return RequestTooLarge(message, param=param)
    if status in (400, 422):
        blind = any(words in message for words in _BLIND)
        return InvalidRequest(message, param=param, code="image_not_supported" if blind else code)
    if status in (429, 503, 529):
        return Overloaded("the model's server is busy")
    return UpstreamFailure(f"the model's server answered with status {status}")
