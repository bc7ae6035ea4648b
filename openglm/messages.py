"""The words that all layers share: messages, requests, usage, and the events of an answer.

Frozen, plain, and free of torch. Wire formats are translated to and from these in `dialects`;
prompt formats in `tokenizer.chat`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MOST_TOKENS = 2**40  # of one request; what is larger is a fault of whoever counted
Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "abort"]


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image by URL, data URL or bare base64. Text models refuse it by name."""

    url: str


Part = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class ToolSpec:
    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)  # JSON schema of the arguments
    strict: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    arguments: str  # JSON text of one object


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `reasoning` and `tool_calls` belong to assistant turns, `tool_call_id` to tool results.

    `weight` 0: training does not learn this assistant turn, it only reads it.
    """

    role: Role
    parts: tuple[Part, ...] = ()
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    weight: Literal[0, 1] = 1

    @classmethod
    def of(cls, role: Role, text: str, **more: Any) -> Message:
        return cls(role, (TextPart(text),) if text else (), **more)

    @property
    def text(self) -> str:
        """All text parts joined. Parts of other kinds are the caller's business."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


@dataclass(frozen=True, slots=True)
class ToolChoice:
    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None  # only with "named"


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer must look like. `text` is a JSON schema, a regex, or a Lark grammar, by `kind`.

    `json_object` is any JSON object and needs no text. `after_token` is the id of the token that ends a
    free first part (the close of the reasoning, say); None constrains from the first token.
    """

    kind: Literal["json_object", "json_schema", "regex", "lark"]
    text: str = ""
    after_token: int | None = None


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose tokens. Defaults are plain sampling at temperature 1; temperature 0 is greedy."""

    max_tokens: int | None = None  # None: up to the end of the context
    min_tokens: int = 0  # no end of sequence and no stop before this many tokens
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    min_p: float = 0.0
    repetition_penalty: float = 1.0  # over prompt and answer; CTRL, arXiv:1909.05858
    presence_penalty: float = 0.0  # over the answer only, as OpenAI documents it
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()  # added to the model's own end-of-sequence ids
    ignore_eos: bool = False
    logprobs: int | None = None  # None: none; 0: the chosen token's only; k: and the top k


@dataclass(frozen=True, slots=True)
class ChatRequest:
    model: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True
    sampling: SamplingParams = SamplingParams()
    chosen: frozenset[str] = frozenset()  # fields of `sampling` that the caller set itself
    n: int = 1
    grammar: Grammar | None = None
    thinking: bool | None = None  # None: the model's own default
    keep_reasoning: bool | None = None  # reasoning of old turns; None: the prompt format's own rule
    # Further words for a template that the checkpoint itself brings.
    template_options: Mapping[str, Any] = field(default_factory=dict)
    cache_salt: str = ""  # requests with different salts never share cached prefixes
    stream: bool = False
    include_usage: bool = False  # a last chunk with the usage
    continuous_usage: bool = False  # usage so far in every chunk


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """Raw continuation of each prompt (text or token ids); with `suffix`, filling in the middle."""

    model: str
    prompts: tuple[str | tuple[int, ...], ...]
    suffix: str | None = None
    echo: bool = False
    sampling: SamplingParams = SamplingParams()
    chosen: frozenset[str] = frozenset()  # as in ChatRequest
    n: int = 1
    grammar: Grammar | None = None
    cache_salt: str = ""
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    encoding: Literal["float", "base64"] = "float"


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """Images from words. `options` (size, quality, ...) are those alone that the caller set."""

    model: str
    prompt: str
    n: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request, each counted once, and images that it made.

    Prompt = uncached + cache_read + cache_write.
    """

    input_uncached: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output_text: int = 0
    output_reasoning: int = 0
    images: int = 0

    @property
    def prompt_tokens(self) -> int:
        return self.input_uncached + self.cache_read + self.cache_write

    @property
    def completion_tokens(self) -> int:
        return self.output_text + self.output_reasoning

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_uncached + other.input_uncached,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.output_text + other.output_text,
            self.output_reasoning + other.output_reasoning,
            self.images + other.images,
        )


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's log-probability and the likeliest alternatives, best first. `data` are its exact bytes."""

    token_id: int
    data: bytes
    logprob: float | None  # None: the first token of an echoed prompt has no context
    top: tuple[tuple[int, bytes, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of call number `index`. The first piece carries `id` and the whole `name`, once."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class LogprobsDelta:
    tokens: tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True)
class UsageUpdate:
    usage: Usage


@dataclass(frozen=True, slots=True)
class Finish:
    """`stop` is the stop string or stop token id that ended the answer, if one of the caller's did."""

    reason: FinishReason
    stop: str | int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer broke off. `retryable`: the same request may succeed later."""

    message: str
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class ToolsListed:
    """The tools of a server whose tools the platform calls for the model. No engine says this.

    `index` counts these events and all calls of an answer, the client's too.
    """

    index: int
    id: str
    server: str
    tools: tuple[ToolSpec, ...]


@dataclass(frozen=True, slots=True)
class ServerCall:
    """A call that the platform makes for the model: said once without, and once with its outcome."""

    index: int
    id: str
    server: str
    name: str
    arguments: str
    output: str | None = None
    error: str | None = None

    @property
    def ended(self) -> bool:
        return self.output is not None or self.error is not None


Event = (
    ReasoningDelta
    | TextDelta
    | ToolCallDelta
    | LogprobsDelta
    | UsageUpdate
    | Finish
    | Failure
    | ToolsListed
    | ServerCall
)
