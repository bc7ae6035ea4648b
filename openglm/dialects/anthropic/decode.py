"""Anthropic bodies -> requests: POST messages and messages/count_tokens.

Fields nobody knows are ignored; `cache_control` is a hint that needs no answer, since prefixes are cached
anyway. Thinking is off unless asked for, as this wire promises; `adaptive`, or an effort alone, leaves it to
the model. Of the context edits `clear_thinking_20251015` is honoured; the others are ignored, since they make
a prompt shorter only where the server counts it. Tools that the server itself would have to run are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from openglm.dialects.anthropic.content import read_messages, read_system
from openglm.dialects.anthropic.tools import Toolbox
from openglm.dialects.fields import Fields, parse_object
from openglm.dialects.openai.decode import EFFORTS
from openglm.dialects.openai.sampling import MAX_STOP_CHARS, MAX_STOP_STRINGS, MAX_TOKENS, read_sampling
from openglm.errors import InvalidRequest
from openglm.messages import ChatRequest, Grammar, Message, SamplingParams, ToolChoice, ToolSpec

PLAIN = SamplingParams()
MAX_EDITS = 64
_REFUSED = {  # what would change the answer, an error code, a hint
    "mcp_servers": ("unsupported_field", "call them as tools"),
    "thread": ("thread_unsupported_request", "send the whole conversation in messages"),
    "compaction": ("unsupported_field", "ask for a summary in a message of your own"),
}
_CHOICES = {
    "auto": ToolChoice("auto"),
    "any": ToolChoice("required"),
    "tool": ToolChoice("named"),
    "none": ToolChoice("none"),
}


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """A chat request, and whose end user it is for."""

    chat: ChatRequest
    user_id: str | None = None


def decode_messages(body: bytes, key: bytes, defaults: SamplingParams = PLAIN) -> MessagesRequest:
    """The body of POST messages. `key` is that of the signatures of our reasoning."""
    fields = parse_object(body)
    chat = _prompt(fields, key)
    max_tokens = fields.integer("max_tokens", 1, MAX_TOKENS)
    if max_tokens is None:
        raise fields.wrong("max_tokens", f"an integer from 1 to {MAX_TOKENS}")
    sampling, chosen = read_sampling(fields, defaults, logprobs=None, max_tokens=max_tokens)
    if stop := _stop_sequences(fields):
        sampling, chosen = replace(sampling, stop=stop), chosen | {"stop"}
    stream = bool(fields.flag("stream"))
    metadata = fields.object("metadata")
    chat = replace(chat, sampling=sampling, chosen=chosen, stream=stream, include_usage=stream)
    return MessagesRequest(chat, metadata.text("user_id") if metadata else None)


def decode_count(body: bytes, key: bytes) -> ChatRequest:
    """The body of POST messages/count_tokens."""
    return _prompt(parse_object(body), key)


def _prompt(fields: Fields, key: bytes) -> ChatRequest:
    """All that the prompt is made of."""
    for name, (code, hint) in _REFUSED.items():
        if fields.raw(name):
            raise InvalidRequest(f"{name} is not supported", param=name, code=code, hint=hint)
    model = fields.needed_text("model")
    toolbox = Toolbox(fields)
    messages = (*read_system(fields), *read_messages(fields, key, toolbox))
    tools = toolbox.offered
    choice, parallel = _tool_choice(fields, tools)
    output = fields.object("output_config") or Fields({}, "output_config")
    effort = output.word("effort", EFFORTS)
    keep, messages = _kept_reasoning(fields, messages)
    return ChatRequest(
        model=model,
        messages=messages,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        grammar=_grammar(fields, output, tools, choice),
        thinking=_thinking(fields, effort),
        keep_reasoning=keep,
        template_options={} if effort is None else {"reasoning_effort": effort},
    )


def _thinking(fields: Fields, effort: str | None) -> bool | None:
    thinking = fields.object("thinking")
    if thinking is None:
        return False if effort is None else None
    kinds = {"enabled": True, "adaptive": None, "disabled": False}
    kind = thinking.word("type", tuple(kinds))
    if kind is None:
        raise thinking.wrong("type", "one of " + ", ".join(kinds))
    thinking.integer("budget_tokens", 0, MAX_TOKENS)
    return kinds[kind]


def _kept_reasoning(fields: Fields, messages: tuple[Message, ...]) -> tuple[bool | None, tuple[Message, ...]]:
    """Whether reasoning of old turns stays, and the messages without that which does not."""
    management = fields.object("context_management") or Fields({})
    for edit in management.objects("edits", MAX_EDITS):
        if edit.raw("type") != "clear_thinking_20251015":
            continue
        keep = edit.raw("keep")
        if keep == "all":
            return True, messages
        wish = edit.object("keep") or Fields({"type": "thinking_turns", "value": 1})
        if wish.word("type", ("all", "thinking_turns")) == "all":
            return True, messages
        turns = wish.integer("value", 1, MAX_TOKENS)
        return True, _last_thoughts(messages, 1 if turns is None else turns)
    return None, messages


def _last_thoughts(messages: Sequence[Message], turns: int) -> tuple[Message, ...]:
    """The messages with the reasoning of the last turns that have any. Results of tools end no turn."""
    kept: list[Message] = []
    counted = False  # this turn
    for message in reversed(messages):
        if message.role == "user":
            counted = False
        elif message.reasoning is not None and not counted:
            counted = True
            turns -= 1
        kept.append(message if turns >= 0 else replace(message, reasoning=None))
    return tuple(reversed(kept))


def _tool_choice(fields: Fields, tools: tuple[ToolSpec, ...]) -> tuple[ToolChoice, bool]:
    """Which call must come, and whether several may."""
    choice = fields.object("tool_choice")
    if choice is None:
        return ToolChoice(), True
    kind = choice.word("type", tuple(_CHOICES))
    if kind is None:
        raise choice.wrong("type", "one of " + ", ".join(_CHOICES))
    parallel = not choice.flag("disable_parallel_tool_use")
    if kind in ("auto", "none"):
        return _CHOICES[kind], parallel
    if not tools:
        raise InvalidRequest(
            "tool_choice asks for a call, but there are no tools", param="tool_choice", code="invalid_value"
        )
    if kind == "any":
        return _CHOICES[kind], parallel
    name = choice.needed_text("name")
    if name not in {tool.name for tool in tools}:
        names = ", ".join(tool.name for tool in tools[:20])
        raise choice.wrong("name", f"the name of one of the tools ({names})")
    return ToolChoice("named", name), parallel


def _grammar(
    fields: Fields, output: Fields, tools: tuple[ToolSpec, ...], choice: ToolChoice
) -> Grammar | None:
    """The schema of the answer, in its place of today or in the one that beta clients know."""
    form = output.object("format") or fields.object("output_format")
    if form is None:
        return None
    if form.word("type", ("json_schema",)) is None:
        raise form.wrong("type", "json_schema")
    schema: dict[str, Any] = dict(form.needed_object("schema").data)
    if choice.mode in ("required", "named"):
        return None  # the answer is a call; its own grammar rules it
    if tools and choice.mode == "auto":
        raise InvalidRequest(
            f"{form.path} cannot go with tools that the model calls when it likes",
            param=form.path,
            code="unsupported_combination",
            hint="use tool_choice none, any or tool beside it, or ask in two requests",
        )
    return Grammar("json_schema", msgspec.json.encode(schema).decode())


def _stop_sequences(fields: Fields) -> tuple[str, ...]:
    texts = fields.items("stop_sequences", MAX_STOP_STRINGS)
    for text in texts:
        if not isinstance(text, str) or not 1 <= len(text) <= MAX_STOP_CHARS:
            raise fields.wrong("stop_sequences", f"a list of strings of 1 to {MAX_STOP_CHARS} characters")
    return tuple(texts)
