"""OpenAI bodies -> requests: chat, completions, embeddings, and vLLM's tokenize and detokenize.

What it refuses by name, instead of ignoring it, are fields whose silent loss would change the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from openglm.dialects.fields import Fields, as_integer, parse_object, shown
from openglm.dialects.openai.constraint import read_grammar
from openglm.dialects.openai.sampling import (
    MAX_TOKEN_ID,
    MAX_TOKENS,
    MAX_TOP_LOGPROBS,
    read_n,
    read_sampling,
    token_ids,
)
from openglm.dialects.openai.turns import read_messages, read_tool_choice, read_tools
from openglm.errors import InvalidRequest
from openglm.messages import ChatRequest, CompletionRequest, EmbeddingRequest, SamplingParams

MAX_PROMPTS = 2048  # OpenAI's bound for embeddings; used for completions too
MAX_PROMPT_IDS = 4_000_000
PLAIN = SamplingParams()
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

_REFUSED = {
    "functions": "tools is its successor",
    "function_call": "tool_choice is its successor",
    "continue_final_message": "end with a user message, or use /v1/completions",
    "use_beam_search": "this server samples; n gives several answers",
    "prompt_embeds": "send text or token ids",
    "audio": "this server answers with text",
}


def decode_chat(body: bytes, defaults: SamplingParams = PLAIN) -> ChatRequest:
    """The body of POST /v1/chat/completions. `defaults` say how tokens are chosen where it does not."""
    fields = _body(body)
    tools = read_tools(fields)
    thinking, keep_reasoning, options = read_thinking(fields)
    sampling, chosen = read_sampling(
        fields, defaults, logprobs=read_logprobs(fields), max_tokens=read_max_tokens(fields)
    )
    request = ChatRequest(
        model=fields.text("model") or "",
        messages=read_messages(fields),
        tools=tools,
        tool_choice=read_tool_choice(fields, tools),
        parallel_tool_calls=fields.flag("parallel_tool_calls") is not False,
        sampling=sampling,
        chosen=chosen,
        n=read_n(fields),
        grammar=read_grammar(fields),
        thinking=thinking,
        keep_reasoning=keep_reasoning,
        template_options=options,
        cache_salt=fields.text("cache_salt") or "",
        **_streaming(fields),
    )
    return with_one_rule(request)


def with_one_rule(request: ChatRequest) -> ChatRequest:
    """The request with at most one rule for its answer: a grammar, or a call that must come."""
    if request.tools and request.grammar and request.tool_choice.mode == "auto":
        raise InvalidRequest(
            "a constrained answer cannot call tools when it likes",
            param="tool_choice",
            code="unsupported_combination",
            hint="use tool_choice none or required beside response_format, or ask in two requests",
        )
    if request.tool_choice.mode in ("required", "named"):
        return replace(request, grammar=None)  # the answer is a call; its own grammar rules it
    return request


def decode_completion(body: bytes, defaults: SamplingParams = PLAIN) -> CompletionRequest:
    """The body of POST /v1/completions: prompt is a text, token ids, or a list of either."""
    fields = _body(body)
    max_tokens = fields.integer("max_tokens", 0, MAX_TOKENS)
    n = read_n(fields)
    best_of = fields.integer("best_of", 1, MAX_TOKENS)
    if best_of is not None and best_of != n:
        raise fields.wrong("best_of", f"equal to n ({n}): this server returns every answer it makes")
    echo, suffix = bool(fields.flag("echo")), fields.text("suffix")
    if echo and suffix is not None:
        raise fields.wrong("echo", "false with suffix: the prompt is not what the model reads then")
    sampling, chosen = read_sampling(
        fields,
        defaults,
        logprobs=fields.integer("logprobs", 0, MAX_TOP_LOGPROBS),
        max_tokens=16 if max_tokens is None else max_tokens,  # OpenAI's documented default
    )
    return CompletionRequest(
        model=fields.text("model") or "",
        prompts=_inputs(fields, "prompt"),
        suffix=suffix,
        echo=echo,
        sampling=sampling,
        chosen=chosen,
        n=n,
        grammar=read_grammar(fields),
        cache_salt=fields.text("cache_salt") or "",
        **_streaming(fields),
    )


def decode_embedding(body: bytes) -> EmbeddingRequest:
    """The body of POST /v1/embeddings."""
    fields = _body(body)
    encoding = fields.word("encoding_format", ("float", "base64"))
    return EmbeddingRequest(
        model=fields.text("model") or "",
        inputs=_inputs(fields, "input"),
        dimensions=fields.integer("dimensions", 1, 2**20),
        encoding="base64" if encoding == "base64" else "float",
    )


@dataclass(frozen=True, slots=True)
class TokenizeRequest:
    """POST /tokenize: a prompt, or the messages that the chat format renders. `model` may be left out."""

    model: str | None
    prompt: str | None
    chat: ChatRequest | None
    add_bos: bool
    generate: bool  # messages: end with the opening of the assistant's turn
    return_texts: bool


def decode_tokenize(body: bytes) -> TokenizeRequest:
    fields = _body(body)
    model = fields.text("model")
    chat = None
    if fields.has("prompt") == fields.has("messages"):
        raise InvalidRequest("give either prompt or messages", param="prompt", code="invalid_value")
    if fields.has("messages"):
        thinking, keep_reasoning, options = read_thinking(fields)
        chat = ChatRequest(
            model or "",
            read_messages(fields),
            read_tools(fields),
            thinking=thinking,
            keep_reasoning=keep_reasoning,
            template_options=options,
        )
    return TokenizeRequest(
        model,
        fields.text("prompt"),
        chat,
        add_bos=fields.flag("add_special_tokens") is not False,
        generate=fields.flag("add_generation_prompt") is not False,
        return_texts=bool(fields.flag("return_token_strs")),
    )


def decode_detokenize(body: bytes) -> tuple[str | None, list[int]]:
    """POST /detokenize: the model's name, if given, and the token ids."""
    fields = _body(body)
    if not fields.has("tokens"):
        raise fields.wrong("tokens", "a list of token ids")
    return fields.text("model"), token_ids(fields, "tokens", MAX_PROMPT_IDS)


def _body(body: bytes) -> Fields:
    fields = parse_object(body)
    for name, hint in _REFUSED.items():
        if fields.raw(name):
            raise InvalidRequest(f"{name} is not supported", param=name, code="unsupported_field", hint=hint)
    return fields


def _streaming(fields: Fields) -> dict[str, Any]:
    options = fields.object("stream_options")
    continuous = bool(options and options.flag("continuous_usage_stats"))
    return {
        "stream": bool(fields.flag("stream")),
        "include_usage": continuous or bool(options and options.flag("include_usage")),
        "continuous_usage": continuous,
    }


def read_logprobs(fields: Fields) -> int | None:
    wanted = fields.flag("logprobs")
    top = fields.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    if top and not wanted:
        raise fields.wrong("top_logprobs", "left out unless logprobs is true")
    return (top or 0) if wanted else None


def read_max_tokens(fields: Fields) -> int | None:
    newer = fields.integer("max_completion_tokens", 1, MAX_TOKENS)
    older = fields.integer("max_tokens", 1, MAX_TOKENS)
    return older if newer is None else newer


def read_thinking(fields: Fields) -> tuple[bool | None, bool | None, dict[str, Any]]:
    """(think?, keep old reasoning?, further template words), from the four spellings in use.

    The plainest spelling wins: thinking.type, then enable_thinking, then the template's, then the effort.
    """
    template = fields.object("chat_template_kwargs") or Fields({}, "chat_template_kwargs")
    options = dict(template.data)
    thinking = fields.object("thinking") or Fields({}, "thinking")
    kind = thinking.word("type", ("enabled", "disabled", "adaptive"))
    effort = fields.word("reasoning_effort", EFFORTS)
    wishes = [
        None if kind in (None, "adaptive") else kind == "enabled",
        fields.flag("enable_thinking"),
        template.flag("enable_thinking"),
        template.flag("thinking"),
        None if effort is None else effort not in ("none", "minimal"),
    ]
    forgets = [thinking.flag("clear_thinking"), template.flag("clear_thinking")]
    for name in ("enable_thinking", "thinking", "clear_thinking"):
        options.pop(name, None)
    if effort is not None:
        options.setdefault("reasoning_effort", effort)
    forget = next((wish for wish in forgets if wish is not None), None)
    return (
        next((wish for wish in wishes if wish is not None), None),
        None if forget is None else not forget,
        options,
    )


def _inputs(fields: Fields, name: str) -> tuple[str | tuple[int, ...], ...]:
    """A text, a list of texts, one list of token ids, or a list of such lists; nothing empty."""
    given = fields.raw(name)
    expected = "a string, a list of strings, a list of token ids, or a list of such lists, none of them empty"
    if isinstance(given, str) and (given or name == "prompt"):
        return (given,)
    if not isinstance(given, list) or not given:
        raise fields.wrong(name, expected)
    if all(as_integer(item) is not None for item in given):
        return (tuple(token_ids(fields, name, MAX_PROMPT_IDS)),)
    if len(given) > MAX_PROMPTS:
        raise fields.wrong(name, f"a list of at most {MAX_PROMPTS} inputs")
    return tuple(_input(item, f"{fields.at(name)}[{index}]") for index, item in enumerate(given))


def _input(item: Any, path: str) -> str | tuple[int, ...]:
    if isinstance(item, str) and item:
        return item
    if isinstance(item, list) and item:
        ids = [as_integer(value) for value in item]
        if all(value is not None and 0 <= value <= MAX_TOKEN_ID for value in ids):
            return tuple(ids)  # type: ignore[arg-type]
    raise InvalidRequest(
        f"{path} must be a string or a list of token ids, not empty, got {shown(item)}",
        param=path,
        code="invalid_value",
    )
