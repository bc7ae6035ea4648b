"""One agent, read from its table, and what it makes of the caller's variables.

Instructions are a Jinja template of the operator's over the variables that the agent declares. What a caller
sends is a value there, never a template.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jinja2
import jinja2.meta
import msgspec
from jinja2.sandbox import ImmutableSandboxedEnvironment

from openglm.dialects.fields import Fields, is_number
from openglm.dialects.openai.sampling import MAX_TOKENS, read_sampling
from openglm.dialects.zhipu.tools import PlatformTools, read_tools
from openglm.errors import InvalidRequest, OpenGLMError
from openglm.messages import SamplingParams

Kind = Literal["text", "number", "boolean", "list", "object"]
KINDS: dict[str, tuple[str, Any]] = {  # how errors call it, and what it is where nothing is said
    "text": ("a text", ""),
    "number": ("a number", 0),
    "boolean": ("true or false", False),
    "list": ("a list", []),
    "object": ("an object", {}),
}
MAX_VALUE = 20_000  # bytes of one variable as JSON
_environment = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, undefined=jinja2.ChainableUndefined
)


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    kind: Kind
    default: Any
    needed: bool = False
    values: tuple[Any, ...] = ()  # () = any
    description: str = ""

    def checked(self, value: Any) -> Any:
        """A caller's value, if it is one that the agent takes."""
        fits = {
            "text": isinstance(value, str),
            "number": is_number(value),
            "boolean": isinstance(value, bool),
            "list": isinstance(value, list),
            "object": isinstance(value, dict),
        }
        param = f"custom_variables.{self.name}"
        if not fits[self.kind]:
            raise _wrong(param, KINDS[self.kind][0], value)
        if self.values and value not in self.values:
            raise _wrong(param, "one of " + ", ".join(map(str, self.values)), value)
        if len(msgspec.json.encode(value)) > MAX_VALUE:
            raise _wrong(param, f"at most {MAX_VALUE} bytes of JSON", "more")
        return value


@dataclass(frozen=True, slots=True)
class Agent:
    id: str
    name: str
    description: str
    instructions: jinja2.Template
    model: str | None
    variables: Mapping[str, Variable]
    sampling: SamplingParams
    chosen: frozenset[str]  # fields of `sampling` that the table names
    thinking: bool | None
    tools: PlatformTools
    remembers: bool  # turns are kept, and a conversation can go on
    later: bool  # answers are always fetched later

    def told(self, given: Mapping[str, Any]) -> str:
        """The instructions for a caller's variables; one that the agent does not have is an error."""
        for name in given:
            if name not in self.variables:
                near = difflib.get_close_matches(name, self.variables, 1)
                known = ", ".join(self.variables) or "none"
                raise InvalidRequest(
                    f"the agent {self.id} has no variable {name[:60]!r}",
                    param=f"custom_variables.{name[:60]}",
                    code="invalid_value",
                    hint=f"did you mean {near[0]}?" if near else f"it has: {known}",
                )
        values = {}
        for name, variable in self.variables.items():
            if given.get(name) is not None:
                values[name] = variable.checked(given[name])
            elif variable.needed:
                raise InvalidRequest(
                    f"the agent {self.id} needs custom_variables.{name}",
                    param=f"custom_variables.{name}",
                    code="missing_field",
                    hint=variable.description or None,
                )
            else:
                values[name] = variable.default
        try:
            return self.instructions.render(values).strip()
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise InvalidRequest(
                f"the agent {self.id} can make nothing of these variables: {error}", param="custom_variables"
            ) from error

    def shown(self) -> dict[str, Any]:
        """What a caller may know of it."""
        return {
            "id": self.id,
            "object": "agent",
            "name": self.name,
            "description": self.description,
            "remembers": self.remembers,
            "custom_variables": [
                {
                    "name": one.name,
                    "type": one.kind,
                    "default": one.default,
                    "required": one.needed,
                    "values": list(one.values),
                    "description": one.description,
                }
                for one in self.variables.values()
            ],
        }


def read_agent(agent_id: str, table: Any, default_model: str | None) -> Agent:
    """One [agents.ID] table; what is wrong in it is an OpenGLMError that says where."""
    where = f"[agents.{agent_id}]"
    if not isinstance(table, dict):
        raise OpenGLMError(f"{where} must be a table")
    _known(where, table, _KEYS)
    try:
        fields = Fields(table, where)
        variables = {
            name: _variable(f"{where}.variables.{name}", name, one)
            for name, one in (fields.object("variables") or Fields({})).data.items()
        }
        sampling_fields = fields.object("sampling") or Fields({})
        _known(f"{where}.sampling", sampling_fields.data, _SAMPLING)
        sampling, chosen = read_sampling(
            sampling_fields,
            SamplingParams(),
            logprobs=None,
            max_tokens=sampling_fields.integer("max_tokens", 1, MAX_TOKENS),
        )
        functions, tools = read_tools(fields)
        if functions:
            raise OpenGLMError(f"{where}: an agent has no functions: there is no client to call them")
        return Agent(
            agent_id,
            fields.text("name") or agent_id,
            fields.text("description") or "",
            _template(where, fields.needed_text("instructions"), variables),
            fields.text("model") or default_model,
            variables,
            sampling,
            chosen,
            fields.flag("thinking"),
            tools,
            bool(fields.flag("remembers")),
            bool(fields.flag("async")),
        )
    except InvalidRequest as error:
        raise OpenGLMError(error.message, hint=error.hint) from error


_KEYS = (
    "name", "description", "instructions", "model", "variables", "sampling", "thinking", "tools", "remembers",
    "async",
)  # fmt: skip
_SAMPLING = (
    "max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "stop", "seed",
)  # fmt: skip


def _variable(where: str, name: str, table: Any) -> Variable:
    if not isinstance(table, dict):
        raise OpenGLMError(f"{where} must be a table")
    _known(where, table, ("type", "default", "needed", "values", "description"))
    fields = Fields(table, where)
    kind = fields.word("type", tuple(KINDS)) or "text"
    made = Variable(
        name,
        kind,  # type: ignore[arg-type]  # one of the words
        table.get("default", KINDS[kind][1]),
        bool(fields.flag("needed")),
        tuple(fields.items("values", 1_000)),
        fields.text("description") or "",
    )
    if "default" in table:
        made.checked(table["default"])
    return made


def _template(where: str, text: str, variables: Mapping[str, Variable]) -> jinja2.Template:
    try:
        used = jinja2.meta.find_undeclared_variables(_environment.parse(text))
        if unknown := sorted(used - variables.keys()):
            raise OpenGLMError(
                f"{where}: the instructions use {', '.join(unknown)}, which no variable declares"
            )
        return _environment.from_string(text)
    except jinja2.TemplateSyntaxError as error:
        raise OpenGLMError(f"{where}: line {error.lineno} of the instructions: {error.message}") from error


def _known(where: str, table: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in table:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]}?" if near else "known: " + ", ".join(names)
            raise OpenGLMError(f"{where}: unknown key {name!r}", hint=hint)


def _wrong(param: str, expected: str, got: Any) -> InvalidRequest:
    return InvalidRequest(
        f"{param} must be {expected}, got {ascii(got)[:80]}", param=param, code="invalid_value"
    )
