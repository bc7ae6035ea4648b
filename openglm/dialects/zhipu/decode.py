"""Zhipu bodies -> requests: chat, tokenizer, embeddings.

What OpenAI's bodies have in common with these is read by the same verbs, so its fields and bounds hold here
as an extension: temperature up to 2, several stop strings, tool_choice, n, JSON schemas. Explicit nulls,
which the SDK always sends, are absent fields. Videos, files and sounds are refused by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from openglm.dialects.fields import Fields, parse_object
from openglm.dialects.openai import decode_embedding as decode_openai_embedding
from openglm.dialects.openai.constraint import read_grammar
from openglm.dialects.openai.decode import PLAIN, read_logprobs, read_max_tokens, read_thinking, with_one_rule
from openglm.dialects.openai.sampling import read_n, read_sampling
from openglm.dialects.openai.turns import read_messages, read_tool_choice
from openglm.dialects.zhipu.images import with_whole_urls
from openglm.dialects.zhipu.tools import PlatformTools, read_tools
from openglm.messages import ChatRequest, EmbeddingRequest, Message, SamplingParams

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
MIN_USER_ID, MAX_USER_ID = 6, 128  # documented


@dataclass(frozen=True, slots=True)
class ZhipuRequest:
    """A chat request, and what of it is the platform's business instead of the model's."""

    chat: ChatRequest
    request_id: str | None = None  # the caller's own; answers repeat it, and no two may be in flight
    tool_stream: bool = False  # False: a call comes whole, in one chunk
    tools: PlatformTools = field(default_factory=PlatformTools)


@dataclass(frozen=True, slots=True)
class TokenizerCall:
    """How many tokens would this conversation have?"""

    chat: ChatRequest
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingCall:
    embedding: EmbeddingRequest
    request_id: str | None = None


def decode_chat(body: bytes, defaults: SamplingParams = PLAIN, *, coding: bool = False) -> ZhipuRequest:
    """The body of POST chat/completions. `coding`: reasoning of old turns stays unless told."""
    fields = parse_object(body)
    model = fields.needed_text("model")
    messages = _conversation(fields)
    functions, platform = read_tools(fields)
    thinking, keep_reasoning, options = read_thinking(fields)
    if coding and keep_reasoning is None:
        keep_reasoning = True
    sampling, chosen = _sampling(fields, defaults)
    stream = bool(fields.flag("stream"))
    chat = ChatRequest(
        model=model,
        messages=messages,
        tools=functions,
        tool_choice=read_tool_choice(fields, functions),
        parallel_tool_calls=fields.flag("parallel_tool_calls") is not False,
        sampling=sampling,
        chosen=chosen,
        n=read_n(fields),
        grammar=read_grammar(fields),
        thinking=thinking,
        keep_reasoning=keep_reasoning,
        template_options=options,
        cache_salt=fields.text("cache_salt") or "",
        stream=stream,
        include_usage=stream,
    )
    fields.object("sensitive_word_check")  # checked alone: what is judged is the operator's to say
    check_user_id(fields)
    return ZhipuRequest(
        with_one_rule(chat),
        request_id=read_request_id(fields),
        tool_stream=bool(fields.flag("tool_stream")),
        tools=platform,
    )


def decode_tokenizer(body: bytes) -> TokenizerCall:
    """The body of POST tokenizer."""
    fields = parse_object(body)
    model = fields.needed_text("model")
    messages = with_whole_urls(read_messages(fields))
    functions, _ = read_tools(fields)
    check_user_id(fields)
    return TokenizerCall(ChatRequest(model, messages, functions), read_request_id(fields))


def decode_embedding(body: bytes) -> EmbeddingCall:
    """The body of POST embeddings."""
    fields = parse_object(body)
    fields.needed_text("model")
    check_user_id(fields)
    return EmbeddingCall(decode_openai_embedding(body), read_request_id(fields))


def _conversation(fields: Fields) -> tuple[Message, ...]:
    messages = read_messages(_without_server_calls(fields))
    if all(message.role in ("system", "assistant") for message in messages):
        raise fields.wrong("messages", "a conversation with at least one user or tool message")
    return with_whole_urls(messages)


def _without_server_calls(fields: Fields) -> Fields:
    """The body without entries of type mcp in tool_calls, which clients send back with the answer that has
    them: what the calls gave is in that answer's words."""
    turns = fields.raw("messages")
    if not isinstance(turns, list) or not any(isinstance(t, dict) and t.get("tool_calls") for t in turns):
        return fields
    kept = [
        {**turn, "tool_calls": [call for call in turn["tool_calls"] if not _is_server_call(call)]}
        if isinstance(turn, dict) and isinstance(turn.get("tool_calls"), list)
        else turn
        for turn in turns
    ]
    return Fields({**fields.data, "messages": kept}, fields.path)


def _is_server_call(call: Any) -> bool:
    return isinstance(call, dict) and call.get("type") == "mcp"


def _sampling(fields: Fields, defaults: SamplingParams) -> tuple[SamplingParams, frozenset[str]]:
    sampling, chosen = read_sampling(
        fields, defaults, logprobs=read_logprobs(fields), max_tokens=read_max_tokens(fields)
    )
    if fields.flag("do_sample") is False:  # the SDK sends it beside a temperature of 0.01
        return replace(sampling, temperature=0.0), chosen | {"temperature"}
    return sampling, chosen


def read_request_id(fields: Fields) -> str | None:
    request_id = fields.text("request_id")
    if request_id and not _REQUEST_ID.fullmatch(request_id):
        raise fields.wrong("request_id", "1 to 128 printable ASCII characters without spaces")
    return request_id or None


def check_user_id(fields: Fields) -> None:
    """The caller's end user, whom nobody here needs to know."""
    user_id = fields.text("user_id")
    if user_id and not MIN_USER_ID <= len(user_id) <= MAX_USER_ID:
        raise fields.wrong("user_id", f"a string of {MIN_USER_ID} to {MAX_USER_ID} characters")
