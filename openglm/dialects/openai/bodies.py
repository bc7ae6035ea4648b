"""Requests -> the bodies that a model's server is asked with: ours, vLLM, SGLang, any that speaks OpenAI.

The twin of `decode`: decoding such a body gives the request back. Of the sampling only what the caller chose
is sent, so that a server's own defaults hold for the rest. Answers are always asked for as a stream that
counts its usage in every chunk, whatever the client wants: only so can one that breaks off be billed exactly.
Services that refuse what OpenAI does not document are asked without our extensions: their usage comes once,
at the end, and what they could not honour is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from openglm.errors import InvalidRequest
from openglm.messages import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Grammar,
    ImagePart,
    Message,
    SamplingParams,
    TextPart,
    ToolChoice,
)

_encode = msgspec.json.Encoder().encode
_STREAMED = {
    "stream": True,
    "stream_options": {"include_usage": True, "continuous_usage_stats": True},
}
_STREAMED_PLAIN = {"stream": True, "stream_options": {"include_usage": True}}
_PLAIN = frozenset(
    {
        "max_tokens",
        "temperature",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "seed",
        "stop",
        "logprobs",
    }
)


def chat_body(request: ChatRequest, model: str, *, extensions: bool = True) -> bytes:
    """The body of POST /v1/chat/completions for `model`, as the server calls it."""
    if not extensions:
        request = _plain(request)
    body: dict[str, Any] = {
        "model": model,
        "messages": [_message(message) for message in request.messages],
        **(_STREAMED if extensions else _STREAMED_PLAIN),
        **_sampling(request.sampling, request.chosen - {"logprobs"}),
    }
    if request.sampling.logprobs is not None:
        body["logprobs"] = True
        body["top_logprobs"] = request.sampling.logprobs
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                    **({"strict": True} if tool.strict else {}),
                },
            }
            for tool in request.tools
        ]
        body["tool_choice"] = _tool_choice(request.tool_choice)
        if not request.parallel_tool_calls:
            body["parallel_tool_calls"] = False
    if request.n > 1:
        body["n"] = request.n
    if request.grammar:
        body["response_format"] = _response_format(request.grammar)
    template = dict(request.template_options)
    if request.thinking is not None:
        template["enable_thinking"] = request.thinking
    if request.keep_reasoning is not None:
        template["clear_thinking"] = not request.keep_reasoning
    if template:
        body["chat_template_kwargs"] = template
    if request.cache_salt:
        body["cache_salt"] = request.cache_salt
    return _encode(body)


def completion_body(request: CompletionRequest, model: str, *, extensions: bool = True) -> bytes:
    """The body of POST /v1/completions."""
    if not extensions:
        _check_plain(request)
        request = replace(request, cache_salt="")
    prompts = list(request.prompts)
    body: dict[str, Any] = {
        "model": model,
        "prompt": prompts[0] if len(prompts) == 1 else prompts,
        **(_STREAMED if extensions else _STREAMED_PLAIN),
        **_sampling(request.sampling, request.chosen),
    }
    if request.suffix is not None:
        body["suffix"] = request.suffix
    if request.echo:
        body["echo"] = True
    if request.n > 1:
        body["n"] = request.n
    if request.grammar:
        body["response_format"] = _response_format(request.grammar)
    if request.cache_salt:
        body["cache_salt"] = request.cache_salt
    return _encode(body)


def embedding_body(request: EmbeddingRequest, model: str) -> bytes:
    """The body of POST /v1/embeddings; vectors come back as base64, which is exact and small."""
    body: dict[str, Any] = {"model": model, "input": list(request.inputs), "encoding_format": "base64"}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return _encode(body)


def tokenize_body(request: ChatRequest | str, model: str) -> bytes:
    """The body of POST /tokenize, as our own server and vLLM read it: of a conversation or of a text."""
    if isinstance(request, str):
        return _encode({"model": model, "prompt": request})
    whole = msgspec.json.decode(chat_body(request, model))
    names = ("model", "messages", "tools", "chat_template_kwargs")
    return _encode({name: whole[name] for name in names if name in whole})


def _plain(request: ChatRequest) -> ChatRequest:
    """The request in OpenAI's own words. How a service thinks is its own affair; what was thought before is
    not sent."""
    _check_plain(request)
    return replace(
        request,
        messages=tuple(replace(message, reasoning=None) for message in request.messages),
        thinking=None,
        keep_reasoning=None,
        template_options={},
        cache_salt="",
    )


def _check_plain(request: ChatRequest | CompletionRequest) -> None:
    """Raise for what would change the answer and cannot be said."""
    foreign = sorted(request.chosen - _PLAIN)
    if request.grammar and request.grammar.kind not in ("json_object", "json_schema"):
        foreign.append("response_format")
    if foreign:
        raise InvalidRequest(
            f"the service behind {request.model!r} knows no {foreign[0]}",
            param=foreign[0],
            hint="leave it out, or use another model",
        )


def _sampling(sampling: SamplingParams, chosen: frozenset[str]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name in sorted(chosen):
        value = getattr(sampling, name)
        if name == "logit_bias":
            value = {str(token_id): bias for token_id, bias in value.items()}
        elif name == "top_k" and value is None:
            value = -1  # off, said aloud
        said[name] = value
    return said


def _message(message: Message) -> dict[str, Any]:
    body: dict[str, Any] = {"role": message.role}
    if message.parts or message.role != "assistant":
        body["content"] = _content(message)
    elif not message.tool_calls:
        body["content"] = ""
    if message.name is not None:
        body["name"] = message.name
    if message.reasoning is not None:
        body["reasoning_content"] = message.reasoning
    if message.tool_calls:
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body


def _content(message: Message) -> str | list[dict[str, Any]]:
    parts: Sequence[Any] = message.parts
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return parts[0].text
    return [_part(part) for part in parts]


def _part(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": part.url}}


def _tool_choice(choice: ToolChoice) -> Any:
    if choice.mode == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _response_format(grammar: Grammar) -> dict[str, Any]:
    match grammar.kind:
        case "json_object":
            return {"type": "json_object"}
        case "json_schema":
            schema = msgspec.Raw(grammar.text.encode())
            return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        case "regex":
            return {"type": "regex", "regex": grammar.text}
        case "lark":
            return {"type": "grammar", "grammar": grammar.text}
