"""Formats that we do not know: the checkpoint's own template, in a sandbox.

The sandbox has no loader, hence no files, and templates can not reach attributes or change what they are
given. It does not bound their time. How user text stays harmless: see `disguise`. The parser knows what most
families share: `<think>` blocks, and tool calls by Hermes or GLM-4.5 tags where the template speaks of such.

The mask needs each turn's prompt, so it is worked out for whole conversations only (`generate=False`): what
the model wrote is what a turn adds to the prompt for it, up to its last stop token. A turn that the template
later rewrites (drops its reasoning, say) is not marked.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from openglm.errors import CheckpointError, InvalidRequest
from openglm.messages import Grammar, Message, ToolChoice, ToolSpec
from openglm.tokenizer.chat.answer import CALL, END_CALL, END_THINK, THINK, AnswerParser, CallReader, Gaps
from openglm.tokenizer.chat.disguise import Disguise, texts_in
from openglm.tokenizer.chat.fim import fill_in_middle
from openglm.tokenizer.chat.format import (
    Parser,
    Rendered,
    Script,
    arguments_of,
    stop_ids,
    text_of,
    to_json,
    tool_of,
)
from openglm.tokenizer.chat.grammars import hermes_grammar, xml_grammar
from openglm.tokenizer.chat.hermes import HermesReader
from openglm.tokenizer.chat.lexer import Lexer
from openglm.tokenizer.chat.xml_call import TAGS, XmlReader
from openglm.tokenizer.protocol import Tokenizer

_ENDS_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|user|>", "<|observation|>")
_OURS = ("messages", "tools", "add_generation_prompt", "raise_exception", "strftime_now")


class JinjaFormat:
    """`specials`: bos_token, eos_token and their kin, by those names."""

    def __init__(self, name: str, tokenizer: Tokenizer, template: str, specials: Mapping[str, str]):
        self.name = name
        self.tokenizer = tokenizer
        self._source = template
        self._specials = dict(specials)
        try:
            self._template = _environment().from_string(template)
        except jinja2.TemplateError as error:
            raise CheckpointError(
                f"the checkpoint's chat template does not compile: {error}",
                hint="name the prompt format outright",
            ) from error

    @cached_property
    def stop_token_ids(self) -> tuple[int, ...]:
        return stop_ids(self.tokenizer, [end for end in _ENDS_OF_TURN if end in self._source])

    @property
    def thinks(self) -> bool:
        return THINK in self._source or END_THINK in self._source or THINK in self.tokenizer.control_tokens

    @property
    def reasoning_end_token(self) -> int | None:
        return self.tokenizer.control_tokens.get(END_THINK)

    @property
    def _calls(self) -> str | None:
        """How the template has tools called: "xml", "hermes" or in a way that is not known here."""
        if "<arg_key>" in self._source:
            return "xml"
        return "hermes" if CALL in self._source and "arguments" in self._source else None

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
        words: dict[str, Any] = dict(options or {})
        for word in _OURS:
            if word in words:
                raise InvalidRequest(
                    f"a template option may not be called {word!r}", param="chat_template_kwargs"
                )
        if thinking is not None:
            words |= {"enable_thinking": thinking, "thinking": thinking}  # GLM's and Qwen's word, DeepSeek's
        if keep_reasoning is not None:
            words["clear_thinking"] = not keep_reasoning
        given = ([_fields(message) for message in messages], [tool_of(tool) for tool in tools], words)
        to_json(given)  # refuses what is nested too deeply
        disguise = Disguise(self.tokenizer.control_tokens, (self._source, *texts_in(given)))
        turns = [_in_disguise(fields, disguise) for fields in given[0]]
        write = partial(self._write, tools=disguise.put_on(given[1]) or None, words=disguise.put_on(given[2]))
        text = write(turns, generate)
        learnt = [message.role == "assistant" and message.weight != 0 for message in messages]
        spans = [] if generate else self._written(text, turns, learnt, write)
        script = Script(self.tokenizer)
        end = 0
        for start, stop in spans:
            self._add(script, text[end:start], disguise, written=False)
            self._add(script, text[start:stop], disguise, written=True)
            end = stop
        self._add(script, text[end:], disguise, written=False)
        return script.rendered(reasoning_open=generate and text.rstrip().endswith(THINK))

    def _write(self, turns: Sequence[Any], generate: bool, *, tools: Any, words: Mapping[str, Any]) -> str:
        try:
            return self._template.render(
                **self._specials, **words, messages=turns, tools=tools, add_generation_prompt=generate
            )
        # A template is a stranger's program: whatever it fails with, it is this that failed.
        except Exception as error:
            raise InvalidRequest(
                f"the model's chat template does not take this conversation: {error}",
                param="messages",
                code="template_refused",
            ) from error

    def _add(self, script: Script, text: str, disguise: Disguise, written: bool) -> None:
        for part in self.tokenizer.split_template(text):
            if isinstance(part, int):
                script.token(part, written)
            else:
                script.text(disguise.take_off(part), written)

    def _written(
        self, text: str, turns: Sequence[Any], learnt: Sequence[bool], write: Any
    ) -> list[tuple[int, int]]:
        """Spans of `text` that the model wrote."""
        stops = [t for t, n in self.tokenizer.control_tokens.items() if n in self.stop_token_ids]
        spans = []
        for n in range(len(turns)):
            if not learnt[n]:
                continue
            prompt, whole = write(turns[:n], True), write(turns[: n + 1], False)
            if not whole.startswith(prompt) or not text.startswith(whole):
                continue
            ends = [whole.rfind(stop) + len(stop) for stop in stops if whole.rfind(stop) >= len(prompt)]
            spans.append((len(prompt), max(ends, default=len(whole))))
        return spans

    def parser(self, *, tools: Sequence[ToolSpec] = (), reasoning_open: bool = False) -> Parser:
        calls = self._calls if tools else None
        tags: tuple[str, ...] = ()
        if self.thinks:
            tags = (THINK, END_THINK)
        gaps = Gaps(inside_think="\n", behind_think="\n\n", before_call="\n")
        if calls == "xml":
            tags, gaps = (*tags, *TAGS), Gaps()
        elif calls == "hermes":
            tags = (*tags, CALL, END_CALL)
        readers: dict[str | None, Callable[[], CallReader]] = {
            "xml": partial(XmlReader, tools),
            "hermes": HermesReader,
        }
        return AnswerParser(
            Lexer(self.tokenizer, tags, self.stop_token_ids),
            gaps=gaps,
            new_reader=readers.get(calls),
            reasoning_open=reasoning_open,
        )

    def fill_in_middle(self, prefix: str, suffix: str) -> list[int] | None:
        return fill_in_middle(self.tokenizer, prefix, suffix)

    def call_grammar(self, tools: Sequence[ToolSpec], choice: ToolChoice, parallel: bool) -> Grammar | None:
        if self._calls == "xml":
            return xml_grammar(self.tokenizer, tools, choice, parallel, gap="")
        if self._calls == "hermes":
            return hermes_grammar(self.tokenizer, tools, choice, parallel)
        return None


def _fields(message: Message) -> dict[str, Any]:
    """A turn as published templates expect it. Arguments of calls are objects there, not text."""
    fields: dict[str, Any] = {"role": message.role, "content": text_of(message)}
    if message.reasoning is not None:
        fields["reasoning_content"] = message.reasoning
    if message.tool_calls:
        fields["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": arguments_of(c)}}
            for c in message.tool_calls
        ]
    for name, value in (("tool_call_id", message.tool_call_id), ("name", message.name)):
        if value is not None:
            fields[name] = value
    return fields


def _in_disguise(fields: dict[str, Any], disguise: Disguise) -> dict[str, Any]:
    """The texts, not the names of the fields, nor the role."""
    return {name: _deep(name, value, disguise) for name, value in fields.items()}


def _deep(name: str, value: Any, disguise: Disguise) -> Any:
    if name in ("role", "type"):
        return value
    if name == "tool_calls":
        return [{k: _deep(k, v, disguise) for k, v in call.items()} for call in value]
    if name == "function":
        return {k: disguise.put_on(v) for k, v in value.items()}
    return disguise.put_on(value)


class _Generation(Extension):
    """`{% generation %}` marks what the model writes, in templates for training. Here it does nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> list[nodes.Node]:
        next(parser.stream)
        body: list[nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return body


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Without Jinja's escapes for HTML, as templates are written for."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)
