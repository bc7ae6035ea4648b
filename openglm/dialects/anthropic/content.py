"""Content blocks of Anthropic's messages -> our messages.

Neighbouring texts become one, each on its own line, in the texts of people; the pieces of an answer are put
together as they are. What another server's tools left in an answer (server_tool_use and its results) and
redacted reasoning mean nothing here and are left out. Files and PDFs are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import msgspec

from openglm.dialects.anthropic.signature import judge
from openglm.dialects.anthropic.tools import Toolbox
from openglm.dialects.fields import Fields
from openglm.errors import InvalidRequest
from openglm.messages import ImagePart, Message, Part, TextPart, ToolCall

MAX_MESSAGES = 100_000  # as Anthropic documents
MAX_BLOCKS = 10_000
MEDIA = ("image/jpeg", "image/png", "image/gif", "image/webp")
# Claude Code's first system block counts its requests, which would make every prompt a new one to the cache.
_BILLING_LINE = "x-anthropic-billing-header:"
_LEFT_OUT = ("redacted_thinking", "server_tool_use", "mcp_tool_use", "container_upload", "compaction")


def read_system(body: Fields) -> tuple[Message, ...]:
    """The system prompt: one message, or none."""
    given = body.raw("system")
    if given is None or given == "":
        return ()
    if isinstance(given, str):
        return (Message.of("system", given),)
    if not isinstance(given, list):
        raise body.wrong("system", "a string or a list of text blocks")
    texts = [_text(block) for block in body.objects("system", MAX_BLOCKS)]
    parts = _joined([TextPart(text) for text in texts if not text.startswith(_BILLING_LINE)])
    return (Message("system", parts),) if parts else ()


def read_messages(body: Fields, key: bytes, toolbox: Toolbox) -> tuple[Message, ...]:
    """The conversation, which must wait for an answer; what it changes about tools goes into the `toolbox`.

    `key` is that of the signatures of our reasoning.
    """
    messages: list[Message] = []
    role = None
    for fields in body.objects("messages", MAX_MESSAGES):
        role = fields.word("role", ("user", "assistant", "system"))
        if role == "user":
            messages += _user(fields, toolbox)
        elif role == "assistant":
            messages += _assistant(fields, key)
        elif role == "system":
            messages += _system(fields, toolbox)
        else:
            raise fields.wrong("role", "one of user, assistant, system")
    if not messages:
        raise body.wrong("messages", "a list of at least one message that is not empty")
    if role == "assistant":
        raise InvalidRequest(
            "the conversation must end with a user message: this server begins a turn of its own and does"
            " not continue one",
            param="messages",
            code="invalid_value",
        )
    return tuple(messages)


def _system(fields: Fields, toolbox: Toolbox) -> Iterator[Message]:
    """What the client's own machinery says in between; it may say nothing and change the tools."""

    def read(block: Fields) -> Iterator[Part]:
        if block.raw("type") in ("tool_addition", "tool_removal"):
            toolbox.change(block)
        else:
            yield from _words(block)

    parts = _joined(_parts(fields, read))
    if parts:
        yield Message("system", parts)


def _user(fields: Fields, toolbox: Toolbox) -> Iterator[Message]:
    """Results of tools come first, whatever stands between them: they belong to the turn before."""
    results: list[Message] = []

    def read(block: Fields) -> Iterator[Part]:
        if block.raw("type") == "tool_result":
            results.append(_result(block, toolbox))
        else:
            yield from _words(block)

    parts = _joined(_parts(fields, read))
    yield from results
    if parts or not results:
        yield Message("user", parts)


def _assistant(fields: Fields, key: bytes) -> Iterator[Message]:
    reasoning: list[str] = []
    calls: list[ToolCall] = []

    def read(block: Fields) -> Iterator[Part]:
        kind = block.raw("type")
        if kind == "text":
            yield TextPart(_text(block))
        elif kind == "thinking":
            reasoning.append(_thinking(block, key))
        elif kind == "tool_use":
            arguments = msgspec.json.encode(block.needed_object("input").data).decode()
            calls.append(ToolCall(block.needed_text("id"), block.needed_text("name"), arguments))
        elif not isinstance(kind, str) or not (kind in _LEFT_OUT or kind.endswith("_tool_result")):
            raise block.wrong("type", "one of text, thinking, redacted_thinking, tool_use")

    text = "".join(part.text for part in _parts(fields, read) if isinstance(part, TextPart))
    thought = "".join(reasoning) or None
    if text or thought or calls:
        yield Message.of("assistant", text, reasoning=thought, tool_calls=tuple(calls))


def _thinking(block: Fields, key: bytes) -> str:
    """Reasoning of ours; that of others is left out."""
    thinking = block.text("thinking") or ""
    verdict = judge(key, thinking, block.text("signature"))
    if verdict == "edited":
        raise InvalidRequest(
            f"{block.at('thinking')} is not the reasoning that its signature was made for",
            param=block.at("signature"),
            code="invalid_signature",
            hint="send thinking blocks back as they came, or leave them out",
        )
    return thinking if verdict == "ours" else ""


def _result(block: Fields, toolbox: Toolbox) -> Message:
    def read(inner: Fields) -> Iterator[Part]:
        if inner.raw("type") == "tool_reference":
            yield TextPart(f"The tool {toolbox.found(inner)} can be called now.")
        else:
            yield from _words(inner)

    parts = _joined(_parts(block, read) if block.has("content") else [])
    if block.flag("is_error"):
        text = "".join(part.text for part in parts if isinstance(part, TextPart))
        if "error" not in text[:80].lower():
            parts = _joined([TextPart("Error:"), *parts])
    return Message("tool", parts, tool_call_id=block.needed_text("tool_use_id"))


def _parts(fields: Fields, read: Callable[[Fields], Iterator[Part]]) -> list[Part]:
    content = fields.raw("content")
    if isinstance(content, str):
        return [TextPart(content)] if content else []
    if not isinstance(content, list):
        raise fields.wrong("content", "a string or a list of content blocks")
    return [part for block in fields.objects("content", MAX_BLOCKS) for part in read(block)]


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    joined: list[Part] = []
    for is_text, run in groupby(parts, lambda part: isinstance(part, TextPart)):
        if not is_text:
            joined += run
        elif text := _lines([part.text for part in run if isinstance(part, TextPart) and part.text]):
            joined.append(TextPart(text))
    return tuple(joined)


def _lines(texts: list[str]) -> str:
    return "".join(text if text.endswith("\n") else text + "\n" for text in texts[:-1]) + "".join(texts[-1:])


def _words(block: Fields) -> Iterator[Part]:
    """The blocks that people and tools may send."""
    kind = block.raw("type")
    if kind == "text":
        yield TextPart(_text(block))
    elif kind == "image":
        yield ImagePart(_image(block.needed_object("source")))
    elif kind == "document":
        yield from _document(block)
    elif kind == "search_result":
        head = f"{block.needed_text('title')}\n{block.needed_text('source')}"
        yield from (TextPart(head), *_parts(block, _words))
    else:
        raise block.wrong("type", "one of text, image, document, search_result, tool_result")


def _text(block: Fields) -> str:
    if block.word("type", ("text",)) is None:
        raise block.wrong("type", "text")
    text = block.text("text")
    if text is None:
        raise block.wrong("text", "a string")
    return text


def _image(source: Fields) -> str:
    kind = source.word("type", ("base64", "url"))
    if kind == "url":
        return source.needed_text("url")
    if kind is None:
        raise source.wrong("type", "base64 or url")
    media = source.word("media_type", MEDIA)
    if media is None:
        raise source.wrong("media_type", "one of " + ", ".join(MEDIA))
    return f"data:{media};base64,{source.needed_text('data')}"


def _document(block: Fields) -> Iterator[Part]:
    source = block.needed_object("source")
    kind = source.raw("type")
    if kind not in ("text", "content"):
        raise InvalidRequest(
            f"{source.at('type')} must be text or content: this server reads no PDFs or files here",
            param=source.at("type"),
            code="document_not_supported",
            hint="send their text",
        )
    head: list[Any] = [block.text("title"), block.text("context")]
    yield from (TextPart(line) for line in head if line)
    if kind == "text":
        yield TextPart(source.needed_text("data"))
    else:
        yield from _parts(source, _words)
