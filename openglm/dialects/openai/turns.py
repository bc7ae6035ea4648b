"""The `messages` and `tools` of an OpenAI chat body, as messages and tool specs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from openglm.dialects.fields import Fields, is_object
from openglm.errors import InvalidRequest
from openglm.messages import ImagePart, Message, Part, Role, TextPart, ToolCall, ToolChoice, ToolSpec

MAX_MESSAGES = 100_000
MAX_PARTS = 10_000
MAX_TOOLS = 512  # OpenAI: 128; agents with several MCP servers bring more
MAX_TOOL_CALLS = 1024  # of one message
TOOL_NAME = re.compile(r"[\w.:/-]{1,128}")  # OpenAI: 64 of [a-zA-Z0-9_-]; MCP names run longer

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",  # OpenAI's later word for it
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


def read_messages(body: Fields, name: str = "messages") -> tuple[Message, ...]:
    """The conversation so far, at least one message."""
    messages = tuple(_message(fields) for fields in body.objects(name, MAX_MESSAGES))
    if not messages:
        raise body.wrong(name, "a list of at least one message")
    return messages


def _message(fields: Fields) -> Message:
    spelling = fields.word("role", tuple(_ROLES))
    if spelling is None:
        raise fields.wrong("role", "one of " + ", ".join(_ROLES))
    role = _ROLES[spelling]
    name = fields.text("name")
    if role == "tool":
        return Message(role, _parts(fields), tool_call_id=fields.text("tool_call_id"), name=name)
    if role != "assistant":
        return Message(role, _parts(fields), name=name)
    calls = tuple(_tool_call(call) for call in fields.objects("tool_calls", MAX_TOOL_CALLS))
    reasoning = fields.text("reasoning_content")
    if reasoning is None:
        reasoning = fields.text("reasoning")
    # Only an assistant may say nothing: it called tools, or stopped before its first word.
    parts = _parts(fields) if fields.has("content") else ()
    return Message(role, parts, reasoning=reasoning, tool_calls=calls, name=name)


def _parts(fields: Fields) -> tuple[Part, ...]:
    content = fields.raw("content")
    if isinstance(content, str):
        return (TextPart(content),) if content else ()
    if not isinstance(content, list):
        raise fields.wrong("content", "a string or a list of parts")
    return tuple(_part(part) for part in fields.objects("content", MAX_PARTS))


def _part(part: Fields) -> Part:
    kind = part.raw("type")
    if kind in ("text", "refusal"):
        text = part.text(kind)
        if text is None:
            raise part.wrong(kind, "a string")
        return TextPart(text)
    if kind == "image_url":
        image = part.raw("image_url")
        if isinstance(image, str):
            return ImagePart(part.needed_text("image_url"))
        return ImagePart(part.needed_object("image_url").needed_text("url"))
    raise part.wrong("type", "text or image_url")


def _tool_call(call: Fields) -> ToolCall:
    call.word("type", ("function",))
    function = call.needed_object("function")
    return ToolCall(call.text("id") or "", function.needed_text("name"), _arguments(function))


def _arguments(function: Fields) -> str:
    """The arguments as JSON text of one object; some clients send the object itself, or nothing for none."""
    given = function.raw("arguments")
    if given is None or given == "":
        return "{}"
    if isinstance(given, dict):
        return msgspec.json.encode(given).decode()
    if isinstance(given, str) and is_object(given):
        return given
    raise function.wrong(
        "arguments",
        "JSON text of one object",
        hint="a call that the model did not finish belongs into content, as text",
    )


def read_tools(body: Fields) -> tuple[ToolSpec, ...]:
    tools = [(fields, read_tool(fields)) for fields in body.objects("tools", MAX_TOOLS)]
    return distinct(tools)


def distinct(tools: Iterable[tuple[Fields, ToolSpec]]) -> tuple[ToolSpec, ...]:
    """The tools, each with where it stands; two of one name could not be told apart in an answer."""
    found: dict[str, ToolSpec] = {}
    for fields, tool in tools:
        if tool.name in found:
            raise InvalidRequest(
                f"{fields.path} has the name of an earlier tool: {tool.name}",
                param=f"{fields.path}.function.name",
                code="invalid_value",
            )
        found[tool.name] = tool
    return tuple(found.values())


def read_tool(fields: Fields) -> ToolSpec:
    if fields.word("type", ("function",)) is None:
        raise fields.wrong("type", "function")
    function = fields.needed_object("function")
    name = function.needed_text("name")
    if not TOOL_NAME.fullmatch(name):
        raise function.wrong("name", "1 to 128 letters, digits or any of _ . : / -")
    parameters = function.object("parameters")
    return ToolSpec(
        name,
        function.text("description") or "",
        dict(parameters.data) if parameters else {},
        bool(function.flag("strict")),
    )


def read_tool_choice(body: Fields, tools: tuple[ToolSpec, ...]) -> ToolChoice:
    """auto unless the body says otherwise; required and named need tools that exist."""
    given: Any = body.raw("tool_choice")
    if given is None:
        return ToolChoice()
    choice = _named(body) if isinstance(given, dict) else _mode(body)
    if choice.mode in ("required", "named") and not tools:
        raise InvalidRequest(
            "tool_choice asks for a call, but there are no tools", param="tool_choice", code="invalid_value"
        )
    if choice.mode == "named" and choice.name not in {tool.name for tool in tools}:
        raise InvalidRequest(
            f"tool_choice names {choice.name!a}, which is not among the tools: "
            + ", ".join(tool.name for tool in tools[:20]),
            param="tool_choice.function.name",
            code="invalid_value",
        )
    return choice


def _mode(body: Fields) -> ToolChoice:
    body.word("tool_choice", ("auto", "none", "required"))
    return ToolChoice(body.raw("tool_choice"))


def _named(body: Fields) -> ToolChoice:
    choice = body.needed_object("tool_choice")
    if choice.word("type", ("function",)) is None:
        raise choice.wrong("type", "function")
    return ToolChoice("named", choice.needed_object("function").needed_text("name"))
