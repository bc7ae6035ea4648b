"""Items of a conversation on the Responses wire -> messages.

Reasoning, words and calls of one assistant's turn are items of their own there and one message here. A call
of an MCP server's tool is a call with its result. Items of tools that OpenAI hosts are passed over: their
results are in the words that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from openglm.dialects.fields import Fields, is_object
from openglm.dialects.responses.tools import INPUT, joined
from openglm.errors import InvalidRequest
from openglm.messages import ImagePart, Message, Part, Role, TextPart, ToolCall

MAX_PARTS = 10_000
COMPACTED = "What was said before, in short:"  # stands before the text of a compaction
Opening = Callable[[str], str | None]  # a sealed text -> the text, None for one that is not ours
ROLES: dict[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}
_PASSED_OVER = (
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "mcp_list_tools",
    "additional_tools",  # read with the tools
)


class _Turns:
    """Messages so far, and the assistant's turn that is being put together."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._reasoning: list[str] = []
        self._parts: list[Part] = []
        self._calls: list[ToolCall] = []

    def add(self, message: Message) -> None:
        self.close()
        self.messages.append(message)

    def reason(self, text: str) -> None:
        if self._parts or self._calls:
            self.close()
        self._reasoning.append(text)

    def say(self, parts: Sequence[Part]) -> None:
        if self._calls:
            self.close()
        self._parts += parts

    def call(self, call: ToolCall) -> None:
        self._calls.append(call)

    def close(self) -> None:
        if self._reasoning or self._parts or self._calls:
            self.messages.append(
                Message(
                    "assistant",
                    tuple(self._parts),
                    reasoning="".join(self._reasoning) or None,
                    tool_calls=tuple(self._calls),
                )
            )
        self._reasoning, self._parts, self._calls = [], [], []


def messages_of(
    items: Sequence[Mapping[str, Any]], name: str, open_reasoning: Opening
) -> tuple[Message, ...]:
    """The messages that items make; `name` is where they stand, for errors."""
    turns = _Turns()
    for index, item in enumerate(items):
        _read(Fields(item, f"{name}[{index}]"), turns, open_reasoning)
    turns.close()
    return tuple(turns.messages)


def _read(item: Fields, turns: _Turns, open_reasoning: Opening) -> None:
    kind = item.text("type") or ("message" if item.has("role") else "")
    match kind:
        case "message":
            _message(item, turns)
        case "reasoning":
            if text := _reasoning(item, open_reasoning):
                turns.reason(text)
        case "compaction":
            _compaction(item, turns, open_reasoning)
        case "function_call":
            arguments = item.text("arguments") or "{}"
            if not is_object(arguments):
                raise item.wrong("arguments", "JSON text of one object")
            turns.call(ToolCall(item.needed_text("call_id"), _called(item), arguments))
        case "custom_tool_call":
            wrapped = msgspec.json.encode({INPUT: item.text("input") or ""}).decode()
            turns.call(ToolCall(item.needed_text("call_id"), _called(item), wrapped))
        case "mcp_call":
            _server_call(item, turns)
        case "function_call_output" | "custom_tool_call_output":
            result = Message("tool", _parts(item, "output"), tool_call_id=item.needed_text("call_id"))
            turns.add(result)
        case "item_reference":
            raise InvalidRequest(
                f"{item.at('id')} refers to an item by its id, which is not kept here",
                param=item.at("id"),
                code="unsupported_value",
                hint="send the item itself, or previous_response_id",
            )
        case _ if kind in _PASSED_OVER:
            pass
        case _:
            raise item.wrong(
                "type",
                "message, reasoning, function_call, function_call_output, custom_tool_call or"
                " custom_tool_call_output",
            )


def _compaction(item: Fields, turns: _Turns, open_sealed: Opening) -> None:
    if summary := open_sealed(item.text("encrypted_content") or ""):
        turns.add(Message.of("system", f"{COMPACTED}\n{summary}"))


def _called(item: Fields) -> str:
    return joined(item.text("namespace"), item.needed_text("name"))


def _server_call(item: Fields, turns: _Turns) -> None:
    arguments, call_id = item.text("arguments") or "{}", item.needed_text("id")
    turns.call(ToolCall(call_id, item.needed_text("name"), arguments if is_object(arguments) else "{}"))
    output = item.text("output")
    told = output if output is not None else msgspec.json.encode(item.raw("error")).decode()
    turns.add(Message.of("tool", told, tool_call_id=call_id))


def _message(item: Fields, turns: _Turns) -> None:
    spelling = item.word("role", tuple(ROLES))
    if spelling is None:
        raise item.wrong("role", "one of " + ", ".join(ROLES))
    parts = _parts(item, "content")
    if ROLES[spelling] == "assistant":
        turns.say(parts)
    else:
        turns.add(Message(ROLES[spelling], parts))


def _parts(item: Fields, name: str) -> tuple[Part, ...]:
    content = item.raw(name)
    if isinstance(content, str):
        return (TextPart(content),) if content else ()
    if not isinstance(content, list):
        raise item.wrong(name, "a string or a list of parts")
    return tuple(_part(part) for part in item.objects(name, MAX_PARTS))


def _part(part: Fields) -> Part:
    match part.raw("type"):
        case "input_text" | "output_text" | "text" | "summary_text":
            text = part.text("text")
            if text is None:
                raise part.wrong("text", "a string")
            return TextPart(text)
        case "refusal":
            return TextPart(part.text("refusal") or "")
        case "input_image":
            if part.has("file_id"):
                raise part.wrong("file_id", "left out: send image_url, which may be a data URL")
            return ImagePart(part.needed_text("image_url"))
        case _:
            raise part.wrong("type", "input_text, output_text or input_image")


def _reasoning(item: Fields, open_reasoning: Opening) -> str:
    """Its sealed text, else its content, else its summary."""
    sealed = item.text("encrypted_content")
    if sealed and (text := open_reasoning(sealed)) is not None:
        return text
    for name in ("content", "summary"):
        text = "".join(part.text("text") or "" for part in item.objects(name, MAX_PARTS))
        if text:
            return text
    return ""
