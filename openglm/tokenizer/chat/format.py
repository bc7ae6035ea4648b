"""What a prompt format offers, and the two things all of them are written with: `Script` and plain helpers.

A prompt is written as a script: control tags by name, and runs of text in between. The text of a run is
encoded in one piece by `Tokenizer.encode`, which can not yield a control token, so what a user wrote is
safe wherever it lands. A run ends where the model's own words begin or end, because that is where the ids
meet in serving: prompt ids stop there and sampled ids follow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from openglm.errors import InvalidRequest
from openglm.messages import Event, Grammar, ImagePart, Message, ToolCall, ToolChoice, ToolSpec
from openglm.tokenizer.protocol import Tokenizer


@dataclass(frozen=True)
class Rendered:
    """A conversation as ids. `mask` is True where the model writes, its stop token included, except in turns
    of weight 0."""

    ids: list[int]
    mask: list[bool]
    reasoning_open: bool = False  # the prompt ends inside a reasoning block


class Parser(Protocol):
    """Sampled ids to events, as they come. However they are cut into calls, the joined events are equal."""

    def feed(self, ids: Sequence[int]) -> list[Event]: ...

    def finish(self, tail: str = "") -> list[Event]:
        """What was held back. `tail` is the text of the last tokens, cut before a stop string."""


class ChatFormat(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def thinks(self) -> bool:
        """Whether the model may reason before it answers."""

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        """Tokens that end an assistant turn."""

    @property
    def reasoning_end_token(self) -> int | None:
        """The token behind which a grammar may start while thinking is on."""

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[ToolSpec] = (),
        thinking: bool | None = None,
        keep_reasoning: bool | None = None,
        generate: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> Rendered:
        """`generate`: end with the opening of an assistant turn. `options`: words for a brought template."""

    def parser(self, *, tools: Sequence[ToolSpec] = (), reasoning_open: bool = False) -> Parser:
        """Without `tools` a tool call is text like any other."""

    def fill_in_middle(self, prefix: str, suffix: str) -> list[int] | None:
        """A prompt for the text between the two; None: this model was not trained for it."""

    def call_grammar(self, tools: Sequence[ToolSpec], choice: ToolChoice, parallel: bool) -> Grammar | None:
        """One call, or with `parallel` one or more, to any tool (required) or to one (named); else None."""


class Script:
    """Ids and mask under construction. `written` says that the model, not the template, writes this."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._mask: list[bool] = []
        self._run: list[str] = []
        self._run_written = False
        self._counts = True  # whether what is written now goes into the mask

    def answer(self, message: Message) -> None:
        """An assistant turn begins; what is written from here on, its stop token included, is its own."""
        if self._run_written:
            self._end_run()
        self._counts = message.weight != 0

    def text(self, text: str, written: bool = False) -> None:
        """Ordinary text, the template's or anyone's."""
        if written != self._run_written:
            self._end_run()
            self._run_written = written
        self._run.append(text)

    def template(self, text: str, written: bool = False) -> None:
        """Trusted text, in which tags may stand."""
        for part in self._tokenizer.split_template(text):
            if isinstance(part, int):
                self.token(part, written)
            else:
                self.text(part, written)

    def tag(self, text: str, written: bool = False) -> None:
        """A control token by its text; plain text where the vocabulary has no such token."""
        token_id = self._tokenizer.control_tokens.get(text)
        if token_id is None:
            self.text(text, written)
        else:
            self.token(token_id, written)

    def token(self, token_id: int, written: bool = False) -> None:
        self._end_run()
        self._ids.append(token_id)
        self._mask.append(written and self._counts)

    def rendered(self, reasoning_open: bool = False) -> Rendered:
        self._end_run()
        return Rendered(self._ids, self._mask, reasoning_open)

    def _end_run(self) -> None:
        ids = self._tokenizer.encode("".join(self._run))
        self._ids += ids
        self._mask += [self._run_written and self._counts] * len(ids)
        self._run = []


def known_ids(tokenizer: Tokenizer, texts: Iterable[str]) -> tuple[int, ...]:
    """The ids of those control tokens that this vocabulary has."""
    return tuple(tokenizer.control_tokens[text] for text in texts if text in tokenizer.control_tokens)


def stop_ids(tokenizer: Tokenizer, texts: Iterable[str]) -> tuple[int, ...]:
    return tuple(dict.fromkeys((*tokenizer.eos_token_ids, *known_ids(tokenizer, texts))))


def text_of(message: Message) -> str:
    """The turn's text. Text models refuse an image by name."""
    for part in message.parts:
        if isinstance(part, ImagePart):
            raise InvalidRequest(
                "this model reads text only, but a message holds an image",
                param="messages",
                code="image_not_supported",
                hint="send the text alone, or use a model that sees",
            )
    return message.text


def to_json(value: Any, indent: int | None = None) -> str:
    """As published templates write JSON: no escapes beyond what JSON asks for."""
    try:
        return json.dumps(value, ensure_ascii=False, indent=indent)
    except RecursionError:
        raise InvalidRequest("a tool or its arguments are nested too deeply", param="tools") from None


def function_of(tool: ToolSpec) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = tool.parameters
    return function


def tool_of(tool: ToolSpec) -> dict[str, Any]:
    return {"type": "function", "function": function_of(tool)}


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """The arguments of a call in the history, which a client sends back as JSON text."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"the arguments of tool call {call.name!r} are not JSON: {error}",
            param="messages",
            code="invalid_tool_arguments",
            hint="send the arguments back as the model gave them",
        ) from None
    if not isinstance(arguments, dict):
        raise InvalidRequest(
            f"the arguments of tool call {call.name!r} are a {type(arguments).__name__}, expected an object",
            param="messages",
            code="invalid_tool_arguments",
        )
    return arguments


def last_user_index(messages: Sequence[Message]) -> int:
    """-1 if no user spoke."""
    return max((n for n, message in enumerate(messages) if message.role == "user"), default=-1)


def stop_is_written(messages: Sequence[Message], n: int) -> bool:
    """In formats where a turn ends by the next turn's role token: whether the model wrote turn `n`'s role.

    It did if it spoke before and would have ended so: a result follows calls, the user follows all else.
    """
    if n == 0 or messages[n - 1].role != "assistant":
        return False
    return messages[n].role == ("tool" if messages[n - 1].tool_calls else "user")


def chosen_tools(tools: Sequence[ToolSpec], choice: ToolChoice) -> Sequence[ToolSpec]:
    """The tools that an answer must call one of; none if it is free not to call."""
    if choice.mode == "required":
        return tools
    if choice.mode != "named":
        return ()
    named = [tool for tool in tools if tool.name == choice.name]
    if not named:
        raise InvalidRequest(
            f"tool_choice names {choice.name!r}, which is not among the tools: "
            f"{', '.join(tool.name for tool in tools) or 'none'}",
            param="tool_choice",
            code="unknown_tool",
        )
    return named
