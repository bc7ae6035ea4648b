"""The `tools` of a Responses body: functions, plain-text tools, both of these in namespaces, and MCP servers.

A namespace is how agents group the tools of one MCP server that they call themselves. Models know single
names: `mail` and `send` are one function `mail__send` to them, and two words again in the call that goes out.
What else OpenAI hosts is no tool here: it is left out and named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from openglm.dialects.fields import Fields
from openglm.dialects.mcp import (
    McpServer,
    distinct_servers,
    read_allowed,
    read_headers,
    read_label,
    read_url,
)
from openglm.dialects.openai.turns import MAX_TOOLS, TOOL_NAME, distinct
from openglm.messages import ToolSpec

INPUT = "input"  # the one argument of a plain-text tool, whose input is any text
_PLAIN_TEXT = {"type": "object", "properties": {INPUT: {"type": "string"}}, "required": [INPUT]}
MAX_ITEMS = 10_000  # of the input


@dataclass(frozen=True, slots=True)
class Offer:
    specs: tuple[ToolSpec, ...] = ()
    custom: frozenset[str] = frozenset()  # names of tools whose input is plain text
    spaces: Mapping[str, tuple[str, str]] = field(
        default_factory=dict
    )  # a name -> its namespace and name there
    servers: tuple[McpServer, ...] = ()  # whose tools the platform calls
    left_out: tuple[str, ...] = ()  # kinds that nobody here can work


def read_offer(body: Fields) -> Offer:
    """The tools of the body, and those that items of its input bring along."""
    found: list[tuple[Fields, ToolSpec]] = []
    custom: list[str] = []
    spaces: dict[str, tuple[str, str]] = {}
    servers: list[McpServer] = []
    left_out: list[str] = []
    for space, tool in _declared(body):
        kind = tool.needed_text("type")
        if kind == "mcp":
            servers.append(_server(tool))
            continue
        if kind not in ("function", "custom"):
            left_out.append(kind)
            continue
        spec = _function(tool) if kind == "function" else _plain_text(tool)
        if space:
            inside = spec.name
            spec = _of(space, tool, spec)
            spaces[spec.name] = (space.needed_text("name"), inside)
        found.append((tool, spec))
        if kind == "custom":
            custom.append(spec.name)
    return Offer(
        distinct(found),
        frozenset(custom),
        spaces,
        distinct_servers(servers),
        tuple(dict.fromkeys(left_out)),
    )


def joined(namespace: str | None, name: str) -> str:
    """The name of a function as the model knows it."""
    if not namespace:
        return name
    return namespace + name if namespace.endswith("__") else f"{namespace}__{name}"


def without_secrets(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as a response repeats it: what opens an MCP server is neither kept nor shown."""
    if tool.get("type") != "mcp":
        return dict(tool)
    return {name: value for name, value in tool.items() if name not in ("headers", "authorization")}


def _server(tool: Fields) -> McpServer:
    for name in ("connector_id", "tunnel_id"):
        if tool.has(name):
            raise tool.wrong(name, "left out", hint="name the server by its server_url")
    if tool.raw("require_approval") != "never":
        raise tool.wrong(
            "require_approval", "never", hint="nobody is asked for approval here: allow harmless tools alone"
        )
    if isinstance(tool.raw("allowed_tools"), dict):
        allowed = read_allowed(tool.needed_object("allowed_tools"), "tool_names")
    else:
        allowed = read_allowed(tool)
    headers = read_headers(tool)
    if token := tool.text("authorization"):
        given = Fields({"headers": {"Authorization": f"Bearer {token}"}}, tool.path)
        headers = (*(pair for pair in headers if pair[0].lower() != "authorization"), *read_headers(given))
    return McpServer(read_label(tool), read_url(tool), None, allowed, headers)


def _declared(body: Fields) -> Iterator[tuple[Fields | None, Fields]]:
    """Each tool that is no namespace, with the one around it."""
    bodies = [body]
    if isinstance(body.raw("input"), list):
        bodies += [
            item for item in body.objects("input", MAX_ITEMS) if item.raw("type") == "additional_tools"
        ]
    for around in bodies:
        for tool in around.objects("tools", MAX_TOOLS):
            if tool.raw("type") != "namespace":
                yield None, tool
                continue
            for inner in tool.objects("tools", MAX_TOOLS):
                yield tool, inner


def _function(tool: Fields) -> ToolSpec:
    parameters = tool.object("parameters")
    return ToolSpec(
        _name(tool),
        tool.text("description") or "",
        dict(parameters.data) if parameters else {},
        bool(tool.flag("strict")),
    )


def _plain_text(tool: Fields) -> ToolSpec:
    """A tool whose input is any text; how it must look is told in words, for no parser holds it."""
    description = tool.text("description") or ""
    form = tool.object("format")
    if form and form.word("type", ("text", "grammar")) == "grammar":
        syntax, definition = form.needed_text("syntax"), form.needed_text("definition")
        description += f"\n\nThe {INPUT} must follow this {syntax} grammar:\n{definition}"
    return ToolSpec(_name(tool), description, _PLAIN_TEXT)


def _of(space: Fields, tool: Fields, spec: ToolSpec) -> ToolSpec:
    """A tool of a namespace. What the namespace says of itself is said once, by its first tool."""
    name = joined(_name(space), spec.name)
    if not TOOL_NAME.fullmatch(name):
        raise tool.wrong("name", f"shorter: with its namespace it is {name!a}, of more than 128 characters")
    about = space.text("description")
    if about and tool.path.endswith(".tools[0]"):
        return replace(spec, name=name, description=f"{about}\n\n{spec.description}".strip())
    return replace(spec, name=name)


def _name(tool: Fields) -> str:
    name = tool.needed_text("name")
    if not TOOL_NAME.fullmatch(name):
        raise tool.wrong("name", "1 to 128 letters, digits or any of _ . : / -")
    return name
