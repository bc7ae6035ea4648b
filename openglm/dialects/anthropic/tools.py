"""The tools of an Anthropic request: those declared in `tools`, and what the conversation makes of them.

A tool with `defer_loading` is kept from the model until a result names it in a `tool_reference`, as clients
that search their own tools do. System messages may bring a tool in with `tool_addition` or take it away with
`tool_removal`. What counts is the state at the end: the prompt lists tools once, before everything else.
Those that came later stand last, so that the prefix of the others stays in the cache.
"""

from __future__ import annotations

from openglm.dialects.fields import Fields
from openglm.dialects.openai.turns import MAX_TOOLS, TOOL_NAME
from openglm.errors import InvalidRequest
from openglm.messages import ToolSpec


class Toolbox:
    """`offered` are those that the model may call, once the messages have been read."""

    def __init__(self, body: Fields) -> None:
        self._declared: dict[str, ToolSpec] = {}
        self._offered: dict[str, None] = {}  # in the order in which the model meets them
        for fields in body.objects("tools", MAX_TOOLS):
            spec = _tool(fields)
            if spec.name in self._declared:
                raise InvalidRequest(
                    f"{fields.path} has the name of an earlier tool: {spec.name}",
                    param=fields.at("name"),
                    code="invalid_value",
                )
            self._declared[spec.name] = spec
            if not fields.flag("defer_loading"):
                self._offered[spec.name] = None

    @property
    def offered(self) -> tuple[ToolSpec, ...]:
        return tuple(self._declared[name] for name in self._offered)

    def found(self, reference: Fields) -> str:
        """A `tool_reference` block of a result: its tool may be called from here on. Gives its name."""
        return self._bring(reference, "tool_name")

    def change(self, block: Fields) -> None:
        """A `tool_addition` or `tool_removal` block."""
        tool = block.needed_object("tool")
        adds = block.raw("type") == "tool_addition"
        kinds = ("tool_reference", "tool_definition") if adds else ("tool_reference",)
        kind = tool.word("type", kinds)
        if kind is None:
            raise tool.wrong("type", " or ".join(kinds))
        if kind == "tool_definition":
            spec = _tool(tool.needed_object("definition"))
            self._declared[spec.name] = spec
            self._offered[spec.name] = None
        elif adds:
            self._bring(tool, "name")
        else:
            self._offered.pop(self._name(tool, "name"), None)

    def _bring(self, fields: Fields, field: str) -> str:
        name = self._name(fields, field)
        self._offered[name] = None
        return name

    def _name(self, fields: Fields, field: str) -> str:
        name = fields.needed_text(field)
        if name not in self._declared:
            raise fields.wrong(field, "the name of one of the tools")
        return name


def _tool(tool: Fields) -> ToolSpec:
    kind = tool.text("type")
    if kind not in (None, "custom"):
        raise InvalidRequest(
            f"{tool.at('type')} {kind!a} is a tool that Anthropic defines, which this server does not have",
            param=tool.at("type"),
            code="unsupported_tool",
            hint="declare a tool of your own with a name and an input_schema, and run it yourself",
        )
    name = tool.needed_text("name")
    if not TOOL_NAME.fullmatch(name):
        raise tool.wrong("name", "1 to 128 letters, digits or any of _ . : / -")
    schema = tool.needed_object("input_schema")
    return ToolSpec(name, tool.text("description") or "", dict(schema.data), bool(tool.flag("strict")))
