"""GLM-4.5, 4.6 and 4.7 (whose layout GLM-5 and 5.1 share).

All tags are tokens. 4.5 and 4.6 set parts apart by newlines, 4.7 by nothing. Both templates strip white
space around reasoning and content, so an answer that begins or ends with it does not come back so. An empty
reasoning block is `<think></think>` in 4.5 and a bare `</think>` in 4.7. The reasoning of turns before the
last user turn is left out unless `keep_reasoning`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from openglm.messages import Grammar, Message, ToolChoice, ToolSpec
from openglm.tokenizer.chat.answer import END_THINK, THINK, AnswerParser, Gaps
from openglm.tokenizer.chat.fim import fill_in_middle
from openglm.tokenizer.chat.format import (
    Parser,
    Rendered,
    Script,
    known_ids,
    last_user_index,
    stop_ids,
    stop_is_written,
    text_of,
    to_json,
    tool_of,
)
from openglm.tokenizer.chat.grammars import xml_grammar
from openglm.tokenizer.chat.lexer import Lexer
from openglm.tokenizer.chat.xml_call import TAGS, XmlReader, write_call
from openglm.tokenizer.protocol import Tokenizer

PREFIX = "[gMASK]<sop>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")


@dataclass(frozen=True)
class Glm45:
    """`gap` is what stands between parts; `prompt_thinks`: the prompt opens or closes the reasoning (4.7)."""

    name: str
    tokenizer: Tokenizer
    gap: str
    prompt_thinks: bool

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        return stop_ids(self.tokenizer, ("<|endoftext|>", "<|user|>", "<|observation|>"))

    @property
    def thinks(self) -> bool:
        return True

    @property
    def reasoning_end_token(self) -> int | None:
        return self.tokenizer.control_tokens.get(END_THINK)

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
        thinks = thinking is not False
        script = Script(self.tokenizer)
        script.template(PREFIX)
        if tools:
            self._declare(script, tools)
        current = last_user_index(messages)
        for n, message in enumerate(messages):
            stop = stop_is_written(messages, n)
            if message.role == "assistant":
                self._answer(script, message, n > current or bool(keep_reasoning), thinks)
            elif message.role == "tool":
                self._result(script, message, stop, first=n == 0 or messages[n - 1].role != "tool")
            else:
                script.tag(f"<|{message.role}|>", written=stop)
                script.text(self.gap + text_of(message))
                if message.role == "user" and not thinks and not self.prompt_thinks:
                    script.tag("/nothink")
        if generate:
            script.tag("<|assistant|>")
            if self.prompt_thinks:
                script.tag(THINK if thinks else END_THINK)
            elif not thinks:
                script.template(f"{self.gap}{THINK}{END_THINK}")
        elif messages and messages[-1].role == "assistant":
            script.tag("<|observation|>" if messages[-1].tool_calls else "<|user|>", written=True)
        return script.rendered(reasoning_open=generate and thinks and self.prompt_thinks)

    def _declare(self, script: Script, tools: Sequence[ToolSpec]) -> None:
        script.template(
            "<|system|>\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
            "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
        )
        for tool in tools:
            script.text(to_json(tool_of(tool)) + "\n")
        gap = self.gap
        pairs = "".join(
            f"<arg_key>{{arg-key-{n}}}</arg_key>{gap}<arg_value>{{arg-value-{n}}}</arg_value>{gap}"
            for n in (1, 2)
        )
        script.template(
            "</tools>\n\nFor each function call, output the function name and arguments within the following "
            f"XML format:\n<tool_call>{{function-name}}{gap}{pairs}...{gap}</tool_call>"
        )

    def _answer(self, script: Script, message: Message, keep_reasoning: bool, thinks: bool) -> None:
        reasoning = (message.reasoning or "").strip() if keep_reasoning else ""
        script.answer(message)
        script.tag("<|assistant|>")
        if reasoning:
            script.template(self.gap + THINK, written=not self.prompt_thinks)
            script.text(reasoning, written=True)
            script.tag(END_THINK, written=True)
        elif self.prompt_thinks:
            script.tag(END_THINK)
        else:
            script.template(f"{self.gap}{THINK}{END_THINK}", written=keep_reasoning and thinks)
        text = text_of(message).strip()
        if text:
            script.text(self.gap + text, written=True)
        for call in message.tool_calls:
            script.text(self.gap, written=True)
            write_call(script, call, self.gap)

    def _result(self, script: Script, message: Message, stop: bool, first: bool) -> None:
        """One role token for neighbouring results."""
        if first:
            script.tag("<|observation|>", written=stop)
        script.template(f"{self.gap}<tool_response>")
        script.text(f"{self.gap}{text_of(message)}{self.gap}")
        script.tag("</tool_response>")

    def parser(self, *, tools: Sequence[ToolSpec] = (), reasoning_open: bool = False) -> Parser:
        tags = (THINK, END_THINK, *TAGS)
        roles = known_ids(self.tokenizer, ROLES)
        return AnswerParser(
            Lexer(self.tokenizer, tags, (*self.stop_token_ids, *roles)),
            gaps=Gaps(start=self.gap, behind_think=self.gap, before_call=self.gap),
            new_reader=partial(XmlReader, tools) if tools else None,
            reasoning_open=reasoning_open,
        )

    def fill_in_middle(self, prefix: str, suffix: str) -> list[int] | None:
        return fill_in_middle(self.tokenizer, prefix, suffix, lead=PREFIX)

    def call_grammar(self, tools: Sequence[ToolSpec], choice: ToolChoice, parallel: bool) -> Grammar | None:
        return xml_grammar(self.tokenizer, tools, choice, parallel, self.gap)
