"""POST /v1/responses -> what it asks for. The conversation is built later, when earlier turns are known.

Tools that OpenAI hosts are no tools here: those that a client merely offers are left out and named in the
`offer`, so that the answer can say so; one that the client demands is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from openglm.dialects.fields import Fields, parse_object
from openglm.dialects.openai.decode import EFFORTS, PLAIN, with_one_rule
from openglm.dialects.openai.sampling import MAX_TOKENS, read_sampling
from openglm.dialects.openai.turns import MAX_TOOLS
from openglm.dialects.responses.items import Opening, messages_of
from openglm.dialects.responses.tools import MAX_ITEMS, Offer, joined, read_offer, without_secrets
from openglm.messages import ChatRequest, Grammar, Message, ToolChoice, ToolSpec

ENCRYPTED = "reasoning.encrypted_content"
MAX_METADATA = 64


@dataclass(frozen=True, slots=True)
class ResponsesRequest:
    """`items` are the input's, in their wire form; `echo` is what the response repeats of the request."""

    chat: ChatRequest  # without its messages
    items: tuple[dict[str, Any], ...]
    instructions: str | None = None
    previous: str | None = None
    store: bool = True
    background: bool = False
    encrypted: bool = False  # reasoning is given out as a token that only we can read
    offer: Offer = field(default_factory=Offer)
    cache_key: str | None = None
    echo: Mapping[str, Any] = field(default_factory=dict)

    def conversation(self, earlier: Sequence[Mapping[str, Any]], open_reasoning: Opening) -> ChatRequest:
        """The chat with its messages: instructions, what was said before, and this input."""
        told = (Message.of("system", self.instructions),) if self.instructions else ()
        said = messages_of(earlier, "previous", open_reasoning)
        asked = messages_of(self.items, "input", open_reasoning)
        return with_one_rule(replace(self.chat, messages=(*told, *said, *asked)))


def decode_response(body: bytes) -> ResponsesRequest:
    """The body of POST /v1/responses."""
    fields = parse_object(body)
    offer = read_offer(fields)
    sampling, chosen = read_sampling(
        fields,
        PLAIN,
        logprobs=None,
        max_tokens=fields.integer("max_output_tokens", 1, MAX_TOKENS),
    )
    if fields.integer("top_logprobs", 0, 20):
        raise fields.wrong("top_logprobs", "left out", hint="/v1/chat/completions gives log-probabilities")
    for name in ("conversation", "prompt"):
        if fields.has(name):
            raise fields.wrong(name, "left out", hint="send the turns as input, or previous_response_id")
    reasoning = fields.object("reasoning")
    effort = reasoning.word("effort", EFFORTS) if reasoning else None
    background, store = bool(fields.flag("background")), fields.flag("store") is not False
    if background and not store:
        raise fields.wrong("background", "false where store is false: its answer is fetched later")
    include = fields.items("include", 32)
    stream = bool(fields.flag("stream"))
    choice = _tool_choice(fields, offer.specs)
    chat = ChatRequest(
        model=fields.needed_text("model"),
        messages=(),
        tools=offer.specs,
        tool_choice=choice,
        parallel_tool_calls=fields.flag("parallel_tool_calls") is not False,
        sampling=sampling,
        chosen=chosen,
        grammar=_format(fields),
        thinking=None if effort is None else effort not in ("none", "minimal"),
        template_options={} if effort is None else {"reasoning_effort": effort},
        stream=stream,
        include_usage=True,
    )
    return ResponsesRequest(
        chat,
        _items(fields),
        instructions=fields.text("instructions"),
        previous=fields.text("previous_response_id") or None,
        store=store,
        background=background,
        encrypted=ENCRYPTED in include,
        offer=offer,
        cache_key=fields.text("prompt_cache_key") or None,
        echo=_echo(fields, effort),
    )


def decode_compaction(body: bytes) -> ResponsesRequest:
    """The body of POST /v1/responses/compact: a conversation that shall become short."""
    fields = parse_object(body)
    return ResponsesRequest(
        ChatRequest(fields.needed_text("model"), messages=(), include_usage=True),
        _items(fields),
        instructions=fields.text("instructions"),
        previous=fields.text("previous_response_id") or None,
        cache_key=fields.text("prompt_cache_key") or None,
    )


def _items(fields: Fields) -> tuple[dict[str, Any], ...]:
    """The input's items; a text is one message of the user."""
    given = fields.raw("input")
    if isinstance(given, str):
        return ({"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]},)
    items = tuple(dict(item.data) for item in fields.objects("input", MAX_ITEMS))
    if not items and not fields.has("previous_response_id"):
        raise fields.wrong("input", "a text or a list of at least one item")
    return items


def _tool_choice(fields: Fields, tools: tuple[ToolSpec, ...]) -> ToolChoice:
    given = fields.raw("tool_choice")
    if given is None:
        return ToolChoice()
    if isinstance(given, str):
        fields.word("tool_choice", ("auto", "none", "required"))
        if given == "required" and not tools:
            raise fields.wrong("tool_choice", "auto or none where there are no tools")
        return ToolChoice(given)  # type: ignore[arg-type]  # one of the words
    choice = fields.needed_object("tool_choice")
    if choice.word("type", ("function", "custom")) is None:
        raise choice.wrong("type", "function or custom")
    name = joined(choice.text("namespace"), choice.needed_text("name"))
    if name not in {tool.name for tool in tools}:
        raise choice.wrong("name", "the name of one of the tools")
    return ToolChoice("named", name)


def _format(fields: Fields) -> Grammar | None:
    text = fields.object("text")
    form = text.object("format") if text else None
    if form is None:
        return None
    kind = form.word("type", ("text", "json_object", "json_schema"))
    if kind is None:
        raise form.wrong("type", "text, json_object or json_schema")
    if kind == "text":
        return None
    if kind == "json_object":
        return Grammar("json_object")
    return Grammar("json_schema", msgspec.json.encode(form.needed_object("schema").data).decode())


def _echo(fields: Fields, effort: str | None) -> dict[str, Any]:
    """What a response repeats of its request, with the defaults that hold here."""
    metadata = fields.object("metadata")
    if metadata and (
        len(metadata.data) > MAX_METADATA
        or not all(isinstance(value, str) for value in metadata.data.values())
    ):
        raise fields.wrong("metadata", f"an object of at most {MAX_METADATA} texts")
    if fields.has("truncation"):
        fields.word("truncation", ("disabled", "auto"))
    reasoning = fields.object("reasoning")
    text = fields.object("text")
    form = text.object("format") if text else None
    return {
        "background": bool(fields.flag("background")),
        "instructions": fields.text("instructions"),
        "max_output_tokens": fields.raw("max_output_tokens"),
        "metadata": dict(metadata.data) if metadata else {},
        "parallel_tool_calls": fields.flag("parallel_tool_calls") is not False,
        "previous_response_id": fields.text("previous_response_id"),
        "prompt_cache_key": fields.text("prompt_cache_key"),
        "reasoning": {"effort": effort, "summary": reasoning.text("summary") if reasoning else None},
        "store": fields.flag("store") is not False,
        "temperature": fields.raw("temperature"),
        "text": {"format": dict(form.data) if form else {"type": "text"}},
        "tool_choice": fields.raw("tool_choice") or "auto",
        "tools": [without_secrets(tool.data) for tool in fields.objects("tools", MAX_TOOLS)],
        "top_p": fields.raw("top_p"),
        "truncation": "disabled",
        "user": fields.text("user"),
    }
